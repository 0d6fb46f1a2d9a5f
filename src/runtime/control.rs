//! The four frames that are legal before a connection is the link.

use bytes::{Buf, BytesMut};

use crate::proto::close::CloseReason;

/// The longest of them, behind the length field.
const CONTROL_BYTES_MAX: usize = 1024;
/// The longest text that goes with a close.
const TEXT_BYTES_MAX: usize = 512;

/// PING, PONG, ACTIVATE, CLOSE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Control {
    Ping(u64),
    Pong(u64),
    Activate,
    Close(CloseReason),
}

impl Control {
    /// What the peer is told of that end; `None`: nothing, it knows or is not there.
    pub(super) fn close(reason: &CloseReason) -> Option<Self> {
        code(reason).map(|_| Control::Close(reason.clone()))
    }

    /// Appends the frame.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        let kind = match self {
            Control::Ping(number) => {
                body.extend(number.to_be_bytes());
                1
            }
            Control::Pong(number) => {
                body.extend(number.to_be_bytes());
                2
            }
            Control::Activate => 3,
            Control::Close(reason) => {
                body.extend(code(reason).unwrap_or_default().to_be_bytes());
                let mut text = reason.to_string();
                while text.len() > TEXT_BYTES_MAX {
                    text.pop();
                }
                body.extend(text.as_bytes());
                4
            }
        };
        let length = u32::try_from(body.len() + 1).unwrap_or(u32::MAX);
        out.extend(length.to_be_bytes());
        out.push(kind);
        out.extend(body);
    }

    /// Takes the first complete frame out of `data`. `Err`: it is not one of these.
    pub(super) fn take(data: &mut BytesMut) -> Result<Option<Self>, CloseReason> {
        let Some(header) = data.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*header) as usize;
        if length == 0 || length > CONTROL_BYTES_MAX {
            let text = format!("a frame of {length} bytes before ACTIVATE");
            return Err(CloseReason::Protocol(text));
        }
        if data.len() < 4 + length {
            return Ok(None);
        }
        data.advance(4);
        let frame = data.split_to(length);
        let (kind, body) = frame.split_first().unwrap_or((&0, &[]));
        match (kind, body) {
            (1, &[a, b, c, d, e, f, g, h]) => Ok(Some(Control::Ping(u64::from_be_bytes([
                a, b, c, d, e, f, g, h,
            ])))),
            (2, &[a, b, c, d, e, f, g, h]) => Ok(Some(Control::Pong(u64::from_be_bytes([
                a, b, c, d, e, f, g, h,
            ])))),
            (3, &[]) => Ok(Some(Control::Activate)),
            (4, &[a, b, ref text @ ..]) => {
                let text = String::from_utf8_lossy(text).into_owned();
                let reason = by_peer(u16::from_be_bytes([a, b]), text);
                Ok(Some(Control::Close(reason)))
            }
            _ => Err(CloseReason::Protocol(format!(
                "a frame of kind {kind:#04x} and {length} bytes before ACTIVATE"
            ))),
        }
    }
}

fn code(reason: &CloseReason) -> Option<u16> {
    Some(match reason {
        CloseReason::Shutdown => 1,
        CloseReason::Duplicate => 2,
        CloseReason::NodeIdInUse => 3,
        CloseReason::OldIncarnation => 4,
        CloseReason::Replaced => 5,
        CloseReason::Timeout(_) => 6,
        CloseReason::Protocol(_) => 7,
        CloseReason::NotActivated => 8,
        CloseReason::Overrun => 9,
        _ => return None,
    })
}

fn by_peer(code: u16, text: String) -> CloseReason {
    match code {
        1 => CloseReason::PeerShutdown,
        2 => CloseReason::Duplicate,
        code => CloseReason::ByPeer(code, text),
    }
}
