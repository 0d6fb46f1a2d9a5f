//! Frames on a connection that is not the link yet.

use bytes::BytesMut;

use super::{FRAME_BYTES_MIN, Frame, FrameError, LENGTH_BYTES, peek};
use crate::proto::close::CloseReason;

/// What may come on a connection before it is the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EarlyFrame {
    /// To be answered with a PONG of that number.
    Ping(u64),
    /// The answer to ours.
    Pong(u64),
    /// The connection is the link.
    Activate,
    /// The peer closes.
    Close(CloseReason),
}

/// Takes the first frame out of `data`, on a connection that is not the link yet. `None`: it is not all there.
///
/// What follows ACTIVATE is left in `data` for the session.
///
/// # Errors
/// Everything but PING, PONG, ACTIVATE and CLOSE.
///
/// ```
/// use bytes::BytesMut;
/// use portmesh::proto::link::frame::{EarlyFrame, Frame, take_early};
/// let mut bytes = Vec::new();
/// Frame::Ping(7).encode(&mut bytes);
/// let mut data = BytesMut::from(&bytes[..]);
/// assert_eq!(take_early(&mut data)?, Some(EarlyFrame::Ping(7)));
/// assert_eq!(take_early(&mut data)?, None);
/// # Ok::<(), portmesh::proto::link::frame::FrameError>(())
/// ```
pub fn take_early(data: &mut BytesMut) -> Result<Option<EarlyFrame>, FrameError> {
    let Some(inner) = peek(data, FRAME_BYTES_MIN)? else {
        return Ok(None);
    };
    let whole = inner.len() + LENGTH_BYTES;
    let early = match Frame::decode(inner)? {
        Frame::Ping(n) => EarlyFrame::Ping(n),
        Frame::Pong(n) => EarlyFrame::Pong(n),
        Frame::Activate => EarlyFrame::Activate,
        Frame::Close { code, text } => EarlyFrame::Close(CloseReason::from_wire(code, text)),
        other => return Err(FrameError::TooEarly(other.kind())),
    };
    bytes::Buf::advance(data, whole);
    Ok(Some(early))
}

/// The CLOSE frame that tells this reason, where there is something to tell the peer.
pub fn close_frame(reason: &CloseReason) -> Option<Vec<u8>> {
    let code = reason.code()?;
    let text = match reason {
        CloseReason::Protocol(text) => text.clone(),
        other => other.to_string(),
    };
    let mut out = Vec::new();
    Frame::Close { code, text: &text }.encode(&mut out);
    Some(out)
}
