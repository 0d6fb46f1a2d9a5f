//! Fragments that are read straight to where they belong.

use bytes::{Buf, Bytes, BytesMut, buf::Limit};

use super::{Cx, HEAD_BYTES_MAX, Ports, Session};
use crate::proto::{
    close::CloseReason,
    link::{
        frame::{self, FRAGMENT_HEAD_BYTES, FragmentHead, FrameError, kind},
        reassembly::Terms,
    },
};

/// What was read past the buffer, and what is still to be done about that.
#[derive(Debug, Default)]
pub(super) struct Direct {
    /// The last frame of a lane was a fragment: the next one is likely to be one too.
    pub(super) fragments: bool,
    /// Bytes came since they were asked for last.
    came: bool,
    /// A message is there whole and not handed on.
    whole: Option<Bytes>,
}

impl Direct {
    pub(super) fn take_came(&mut self) -> bool {
        std::mem::take(&mut self.came)
    }
}

impl<P: Ports> Session<P> {
    /// Where the next bytes are to be read to, where they are known to be of a fragment; else they go where
    /// [`Self::handle_bytes`] gets them from. After that: [`Self::placed`].
    pub fn place(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        self.open.place()
    }

    /// So many bytes are there now. `true`: a message is complete, call [`Self::handle_bytes`] before more is read.
    pub fn placed(&mut self, count: usize) -> bool {
        self.direct.came |= count > 0;
        if let Some(whole) = self.open.placed(count) {
            self.direct.whole = Some(whole);
        }
        self.direct.whole.is_some()
    }

    /// How many bytes say whether what comes next can be read straight to where it belongs, if that is likely. `None`:
    /// read as much as there is. `data` is what [`Self::handle_bytes`] left, and what was read since.
    pub fn wanted(&self, data: &[u8]) -> Option<usize> {
        let more = FRAGMENT_HEAD_BYTES.saturating_sub(data.len());
        (self.direct.fragments && !self.open.is_expecting() && more > 0).then_some(more)
    }

    /// Looks at the beginning of a frame. `true`: it is a fragment, and [`Self::place`] is where the rest of it goes.
    ///
    /// # Errors
    /// The peer broke the protocol.
    pub fn expect(&mut self, data: &mut BytesMut) -> Result<bool, CloseReason> {
        let max = self.limits.frame_bytes_max;
        if self.direct.whole.is_some() || frame::peek(data, max)?.is_some() {
            return Ok(false);
        }
        let Some(head) = FragmentHead::peek(data) else {
            return Ok(false);
        };
        self.check_fragments_of(head.first.map(|(_, kind)| kind))?;
        let terms = self.terms();
        if !self.open.expect(&head, terms)? {
            return Ok(false);
        }
        data.advance(head.len);
        // all of it, since the fragment is longer
        let (taken, _) = self.open.take_expected(data);
        data.advance(taken);
        self.direct.fragments = true;
        self.direct.came = true;
        Ok(true)
    }

    /// Takes out of `data` what belongs to a fragment that began earlier; hands on the message that is complete.
    pub(super) fn take_expected(
        &mut self,
        data: &mut BytesMut,
        cx: &mut Cx<'_, P>,
    ) -> Result<(), CloseReason> {
        let (taken, whole) = self.open.take_expected(data);
        data.advance(taken);
        match self.direct.whole.take().or(whole) {
            Some(whole) => self.handle_whole(whole, cx),
            None => Ok(()),
        }
    }

    pub(super) fn check_fragments_of(&self, first: Option<u8>) -> Result<(), CloseReason> {
        if first == Some(kind::DB) && !self.params.db {
            return Err(FrameError::UnknownKind(kind::DB).into());
        }
        Ok(())
    }

    pub(super) fn terms(&self) -> Terms {
        Terms {
            message_max: self.payload_bytes_max().saturating_add(HEAD_BYTES_MAX),
            room: self.kept_max().saturating_sub(self.kept()),
        }
    }

    /// Whether bytes were read straight to where they belong since [`Self::handle_bytes`] was called last.
    pub fn has_come(&self) -> bool {
        self.direct.came
    }
}
