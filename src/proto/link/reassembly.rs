//! Fragmented messages on their way in. Nothing is allocated from a declared length, and all of them together stay
//! within what the window allows.
//!
//! A fragment that is not all there is *expected*: what comes of it is read straight to where it belongs.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, buf::Limit};

use super::{
    FRAME_COST, OPEN_MESSAGES_MAX,
    frame::{FragmentHead, kind},
    spares,
};
use crate::proto::close::CloseReason;

/// What is reserved at once for a message: 64 KiB, and what stands before them.
const FIRST_BYTES: usize = (64 << 10) + 1024;
/// What is reserved for it later, in times of what has come of it.
const GROWTH: usize = 4;

#[derive(Debug)]
struct Open {
    total: usize,
    data: Vec<u8>,
}

impl Open {
    /// Room for more, for as much as `needed` at least: some times what has come, but never beyond the message.
    fn grow(&mut self, needed: usize) {
        let (len, left) = (self.data.len(), self.total - self.data.len());
        if self.data.capacity() - len < needed.min(left) {
            let more = (len * GROWTH).max(FIRST_BYTES) - len;
            self.data.reserve_exact(more.max(needed).min(left));
        }
    }
}

/// What is still to come of the fragment that is on its way, never nothing.
#[derive(Debug, Clone, Copy)]
struct Expected {
    lane: u32,
    bytes: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    open: BTreeMap<u32, Open>,
    /// What the open messages will be when they are whole, as counted in the window.
    declared: u64,
    /// What is here of them.
    bytes: usize,
    expected: Option<Expected>,
}

/// What a message has to be for its first fragment to be taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// The longest kind and body.
    pub(crate) message_max: usize,
    /// What the window leaves for it.
    pub(crate) room: u64,
}

fn wrong<T>(text: impl Into<String>) -> Result<T, CloseReason> {
    Err(CloseReason::Protocol(text.into()))
}

impl Reassembly {
    /// What the open messages count for in the window.
    pub(crate) fn declared(&self) -> u64 {
        self.declared
    }

    /// The bytes that are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A FRAGMENT_FIRST. The message, when that was all of it.
    pub(crate) fn handle_first(
        &mut self,
        lane: u32,
        total: u64,
        data: &[u8],
        terms: Terms,
    ) -> Result<Option<Bytes>, CloseReason> {
        let first = data.first().copied();
        if self.begin(lane, total, first, data.len(), terms)? {
            return Ok(Some(Bytes::copy_from_slice(data)));
        }
        Ok(self.append(lane, data))
    }

    /// Checks what is known of a message when its first fragment comes, and opens it. `true`: that is all of it.
    fn begin(
        &mut self,
        lane: u32,
        total: u64,
        first: Option<u8>,
        bytes: usize,
        terms: Terms,
    ) -> Result<bool, CloseReason> {
        let message_max = terms.message_max;
        let total = match usize::try_from(total) {
            Ok(total) if total <= message_max => total,
            _ => {
                return wrong(format!(
                    "a message of {total} bytes, the limit is {message_max}"
                ));
            }
        };
        match first {
            Some(kind::SEND | kind::SPAWN | kind::KILL | kind::DB) => {}
            Some(other) => return wrong(format!("fragments of a frame of kind {other:#04x}")),
            None => return wrong("an empty fragment"),
        }
        if bytes > total {
            return wrong("a fragment longer than its message");
        }
        if bytes == total {
            return Ok(true);
        }
        if self.open.contains_key(&lane) {
            return wrong(format!(
                "a message begins within another one of lane {lane}"
            ));
        }
        if self.open.len() >= OPEN_MESSAGES_MAX {
            return wrong(format!(
                "more than {OPEN_MESSAGES_MAX} messages in fragments"
            ));
        }
        let cost = total as u64 + FRAME_COST;
        if cost > terms.room {
            return wrong("more under way than the window allows");
        }
        self.declared += cost;
        // a spare one is not much larger than what it will hold
        let spare = spares::own(|spares| spares.take(total.min(FIRST_BYTES), total + total / 4));
        let data = spare.unwrap_or_default();
        self.open.insert(lane, Open { total, data });
        Ok(false)
    }

    /// A FRAGMENT_MORE. The message, when that was the last of it.
    pub(crate) fn handle_more(
        &mut self,
        lane: u32,
        data: &[u8],
    ) -> Result<Option<Bytes>, CloseReason> {
        self.check_more(lane, data.len())?;
        Ok(self.append(lane, data))
    }

    fn check_more(&self, lane: u32, bytes: usize) -> Result<(), CloseReason> {
        if bytes == 0 {
            return wrong("an empty fragment");
        }
        let Some(open) = self.open.get(&lane) else {
            return wrong(format!("a fragment of no message, lane {lane}"));
        };
        if bytes > open.total - open.data.len() {
            return wrong("a fragment longer than the rest of its message");
        }
        Ok(())
    }

    /// More of an open message, as much as was checked. The message, when that was the last of it.
    fn append(&mut self, lane: u32, data: &[u8]) -> Option<Bytes> {
        let open = self.open.get_mut(&lane)?;
        open.grow(data.len());
        open.data.extend_from_slice(data);
        self.came(lane, data.len())
    }

    fn came(&mut self, lane: u32, bytes: usize) -> Option<Bytes> {
        self.bytes += bytes;
        let open = self.open.get(&lane)?;
        if open.data.len() < open.total {
            return None;
        }
        let whole = self.open.remove(&lane)?.data;
        self.bytes -= whole.len();
        self.declared -= whole.len() as u64 + FRAME_COST;
        Some(spares::own(|spares| spares.lend(whole)))
    }

    // --- a fragment that is still coming ---

    /// A fragment has begun: what comes next is of it. `false`: it has to be there as a whole.
    pub(crate) fn expect(
        &mut self,
        head: &FragmentHead,
        terms: Terms,
    ) -> Result<bool, CloseReason> {
        match head.first {
            _ if head.bytes == 0 => return Ok(false),
            Some((total, first)) => {
                let bytes = head.bytes;
                if total == bytes as u64
                    || self.begin(head.lane, total, Some(first), bytes, terms)?
                {
                    return Ok(false);
                }
            }
            None => self.check_more(head.lane, head.bytes)?,
        }
        self.expected = Some(Expected {
            lane: head.lane,
            bytes: head.bytes,
        });
        Ok(true)
    }

    /// Whether a fragment is on its way.
    pub(crate) fn is_expecting(&self) -> bool {
        self.expected.is_some()
    }

    /// Where the next bytes belong, if they are of a fragment.
    pub(crate) fn place(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        let expected = self.expected?;
        let open = self.open.get_mut(&expected.lane)?;
        open.grow(1);
        let room = open.data.capacity() - open.data.len();
        Some((&mut open.data).limit(room.min(expected.bytes)))
    }

    /// So many bytes were put there. The message, when that was the last of it.
    pub(crate) fn placed(&mut self, count: usize) -> Option<Bytes> {
        let expected = self.expected.as_mut()?;
        let lane = expected.lane;
        expected.bytes = expected.bytes.saturating_sub(count);
        if expected.bytes == 0 {
            self.expected = None;
        }
        self.came(lane, count)
    }

    /// Takes from the front of `data` what is of the fragment on its way: how much, and the message when that was the
    /// last of it.
    pub(crate) fn take_expected(&mut self, data: &[u8]) -> (usize, Option<Bytes>) {
        let Some(expected) = &mut self.expected else {
            return (0, None);
        };
        let count = expected.bytes.min(data.len());
        let Expected { lane, .. } = *expected;
        expected.bytes -= count;
        if expected.bytes == 0 {
            self.expected = None;
        }
        let data = data.get(..count).unwrap_or_default();
        (count, self.append(lane, data))
    }
}
