//! Frames: their form on the wire, made and read without a copy of the payload.
//!
//! `u32 length of the rest | u8 kind | body`, integers big endian, names `u8 length | bytes`; see the protocol's page
//! in the manual. Nothing is allocated from a length that the peer declares.

use crate::proto::{close::CloseReason, id};

mod early;
mod fragment;

pub use early::{EarlyFrame, close_frame, take_early};
pub use fragment::{FRAGMENT_HEAD_BYTES, FragmentHead};

/// Bytes of the length that begins a frame.
pub const LENGTH_BYTES: usize = 4;
/// Every node takes frames of at least this many bytes, the length included.
pub const FRAME_BYTES_MIN: usize = 1024;
/// The longest text of a CLOSE or a LOSS, in bytes.
pub const TEXT_BYTES_MAX: usize = 512;
/// The longest reason of a KILL or a DOWN, in bytes of its encoded form. A longer one is shortened by who sends it.
pub const REASON_BYTES_MAX: usize = 16 << 10;

/// The kinds, as they are on the wire.
pub mod kind {
    #![allow(missing_docs)]
    pub const PING: u8 = 0x01;
    pub const PONG: u8 = 0x02;
    pub const ACTIVATE: u8 = 0x03;
    pub const CLOSE: u8 = 0x04;
    pub const RENEW: u8 = 0x05;
    pub const PROGRESS: u8 = 0x06;
    pub const HOLD: u8 = 0x07;
    pub const RESUME: u8 = 0x08;
    pub const LOSS: u8 = 0x09;
    pub const LOSS_ACK: u8 = 0x0a;
    pub const RETIRE: u8 = 0x0b;
    pub const STAY: u8 = 0x0c;
    pub const SEND: u8 = 0x10;
    pub const SPAWN: u8 = 0x11;
    pub const KILL: u8 = 0x12;
    pub const MONITOR: u8 = 0x13;
    pub const UNMONITOR: u8 = 0x14;
    pub const DOWN: u8 = 0x15;
    pub const FRAGMENT_FIRST: u8 = 0x18;
    pub const FRAGMENT_MORE: u8 = 0x19;
    pub const DB: u8 = 0x20;
}

/// What is wrong with a frame. It closes the link (P4).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame has no kind.
    #[error("a frame of length 0")]
    Empty,
    /// Longer than this node takes.
    #[error("a frame of {bytes} bytes, the limit is {max}")]
    TooLong {
        /// Its length with the length field.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Its kind is not known, or not switched on.
    #[error("a frame of the unknown kind {0:#04x}")]
    UnknownKind(u8),
    /// The body ends too early.
    #[error("a frame of kind {0:#04x} that ends within its body")]
    Short(u8),
    /// The body goes on behind its end.
    #[error("a frame of kind {0:#04x} with more than its body")]
    Long(u8),
    /// A name or a text in it is not one.
    #[error("a frame of kind {0:#04x} with a bad name or text")]
    BadText(u8),
    /// Flags that have no meaning.
    #[error("a SEND with the unknown flags {0:#04x}")]
    BadFlags(u8),
    /// Only PING, PONG, ACTIVATE and CLOSE are legal before the activation.
    #[error("a frame of kind {0:#04x} before the connection is the link")]
    TooEarly(u8),
}

impl From<FrameError> for CloseReason {
    fn from(error: FrameError) -> Self {
        CloseReason::Protocol(error.to_string())
    }
}

/// One frame. Names are checked when it is read; payloads are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame<'a> {
    /// Asks for a [`Frame::Pong`] with the same number.
    Ping(u64),
    /// The answer.
    Pong(u64),
    /// The connection is the link (from the node with the smaller ID).
    Activate,
    /// The sender closes: a code and a text for people.
    Close {
        /// See [`CloseReason::code`].
        code: u16,
        /// Why.
        text: &'a str,
    },
    /// A new certificate or secret of the sender's. Legal only where both have the feature `renew`.
    Renew(&'a [u8]),
    /// So much of what came in lanes is dealt with, in all.
    Progress(u64),
    /// So much more is held for a full mailbox.
    Hold {
        /// The port.
        port: &'a str,
        /// How much.
        bytes: u64,
    },
    /// So much is held no longer.
    Resume {
        /// The port.
        port: &'a str,
        /// How much.
        bytes: u64,
    },
    /// Messages to that port were dropped, and all further ones are, until a [`Frame::LossAck`]. Of none: a kill was refused,
    /// and that is all.
    Loss {
        /// The port.
        port: &'a str,
        /// How many so far.
        count: u64,
        /// Why.
        text: &'a str,
    },
    /// All that was told to watch that port has been told of the loss.
    LossAck {
        /// The port.
        port: &'a str,
    },
    /// The link is idle for the sender, which sends nothing in lanes until the answer: CLOSE or [`Frame::Stay`].
    Retire,
    /// The link is needed.
    Stay,
    /// A message.
    Send {
        /// Whether the sender also monitors the port.
        watch: bool,
        /// The port.
        port: &'a str,
        /// The message, encoded.
        payload: &'a [u8],
    },
    /// A new port.
    Spawn {
        /// Its name.
        name: &'a str,
        /// The function that makes it.
        function: &'a str,
        /// The arguments, encoded.
        args: &'a [u8],
    },
    /// The end of a port.
    Kill {
        /// The port.
        port: &'a str,
        /// How long it may wait for earlier messages.
        wait_ms: u32,
        /// The reason, encoded.
        reason: &'a [u8],
    },
    /// The sender wants to be told of the port's death.
    Monitor {
        /// The port.
        port: &'a str,
    },
    /// No longer.
    Unmonitor {
        /// The port.
        port: &'a str,
    },
    /// The port is dead.
    Down {
        /// The port.
        port: &'a str,
        /// The reason, encoded.
        reason: &'a [u8],
    },
    /// Something for the database of the other node. Legal only where both have the feature `db`.
    Db {
        /// A list of values, encoded.
        payload: &'a [u8],
    },
    /// The beginning of a SEND, SPAWN, KILL or DB that comes in pieces.
    FragmentFirst {
        /// Names it among those that are open.
        lane: u32,
        /// Bytes of the whole: kind and body.
        total: u64,
        /// The first of them.
        data: &'a [u8],
    },
    /// More of it.
    FragmentMore {
        /// Which.
        lane: u32,
        /// The next bytes.
        data: &'a [u8],
    },
}

/// Appends a name or a text of at most 255 bytes; what is longer is cut (names never are).
pub(crate) fn put_name(out: &mut Vec<u8>, name: &str) {
    let bytes = name.as_bytes();
    let bytes = bytes.get(..255).unwrap_or(bytes);
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

/// A text cut to `max` bytes at a character's end.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

impl<'a> Frame<'a> {
    /// Its kind on the wire.
    pub fn kind(&self) -> u8 {
        match self {
            Frame::Ping(_) => kind::PING,
            Frame::Pong(_) => kind::PONG,
            Frame::Activate => kind::ACTIVATE,
            Frame::Close { .. } => kind::CLOSE,
            Frame::Renew(_) => kind::RENEW,
            Frame::Progress(_) => kind::PROGRESS,
            Frame::Hold { .. } => kind::HOLD,
            Frame::Resume { .. } => kind::RESUME,
            Frame::Loss { .. } => kind::LOSS,
            Frame::LossAck { .. } => kind::LOSS_ACK,
            Frame::Retire => kind::RETIRE,
            Frame::Stay => kind::STAY,
            Frame::Send { .. } => kind::SEND,
            Frame::Spawn { .. } => kind::SPAWN,
            Frame::Kill { .. } => kind::KILL,
            Frame::Monitor { .. } => kind::MONITOR,
            Frame::Unmonitor { .. } => kind::UNMONITOR,
            Frame::Down { .. } => kind::DOWN,
            Frame::FragmentFirst { .. } => kind::FRAGMENT_FIRST,
            Frame::FragmentMore { .. } => kind::FRAGMENT_MORE,
            Frame::Db { .. } => kind::DB,
        }
    }

    /// Appends the whole frame, length first. The caller keeps to the length limits.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH_BYTES]);
        self.encode_inner(out);
        let length = (out.len() - start - LENGTH_BYTES) as u32;
        if let Some(field) = out.get_mut(start..start + LENGTH_BYTES) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Appends kind and body.
    pub(crate) fn encode_inner(&self, out: &mut Vec<u8>) {
        out.push(self.kind());
        match *self {
            Frame::Ping(n) | Frame::Pong(n) | Frame::Progress(n) => {
                out.extend_from_slice(&n.to_be_bytes());
            }
            Frame::Activate | Frame::Retire | Frame::Stay => {}
            Frame::Close { code, text } => {
                out.extend_from_slice(&code.to_be_bytes());
                out.extend_from_slice(cut(text, TEXT_BYTES_MAX).as_bytes());
            }
            Frame::Hold { port, bytes } | Frame::Resume { port, bytes } => {
                put_name(out, port);
                out.extend_from_slice(&bytes.to_be_bytes());
            }
            Frame::Loss { port, count, text } => {
                put_name(out, port);
                out.extend_from_slice(&count.to_be_bytes());
                out.extend_from_slice(cut(text, TEXT_BYTES_MAX).as_bytes());
            }
            Frame::LossAck { port } | Frame::Monitor { port } | Frame::Unmonitor { port } => {
                put_name(out, port);
            }
            Frame::Send {
                watch,
                port,
                payload,
            } => {
                out.push(u8::from(watch));
                put_name(out, port);
                out.extend_from_slice(payload);
            }
            Frame::Spawn {
                name,
                function,
                args,
            } => {
                put_name(out, name);
                put_name(out, function);
                out.extend_from_slice(args);
            }
            Frame::Kill {
                port,
                wait_ms,
                reason,
            } => {
                put_name(out, port);
                out.extend_from_slice(&wait_ms.to_be_bytes());
                out.extend_from_slice(reason);
            }
            Frame::Down { port, reason } => {
                put_name(out, port);
                out.extend_from_slice(reason);
            }
            Frame::Renew(body) | Frame::Db { payload: body } => out.extend_from_slice(body),
            Frame::FragmentFirst { lane, total, data } => {
                out.extend_from_slice(&lane.to_be_bytes());
                out.extend_from_slice(&total.to_be_bytes());
                out.extend_from_slice(data);
            }
            Frame::FragmentMore { lane, data } => {
                out.extend_from_slice(&lane.to_be_bytes());
                out.extend_from_slice(data);
            }
        }
    }

    /// Reads kind and body: what follows the length field.
    ///
    /// # Errors
    /// Anything that is not exactly one frame of a kind that is switched on.
    pub fn decode(inner: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        let (&kind, body) = inner.split_first().ok_or(FrameError::Empty)?;
        let mut body = Body { kind, rest: body };
        let frame = match kind {
            kind::PING => Frame::Ping(body.u64()?),
            kind::PONG => Frame::Pong(body.u64()?),
            kind::ACTIVATE => Frame::Activate,
            kind::CLOSE => Frame::Close {
                code: u16::from_be_bytes(body.take()?),
                text: body.text()?,
            },
            kind::RENEW => Frame::Renew(body.all()),
            kind::PROGRESS => Frame::Progress(body.u64()?),
            kind::HOLD => Frame::Hold {
                port: body.port()?,
                bytes: body.u64()?,
            },
            kind::RESUME => Frame::Resume {
                port: body.port()?,
                bytes: body.u64()?,
            },
            kind::LOSS => Frame::Loss {
                port: body.port()?,
                count: body.u64()?,
                text: body.text()?,
            },
            kind::LOSS_ACK => Frame::LossAck { port: body.port()? },
            kind::RETIRE => Frame::Retire,
            kind::STAY => Frame::Stay,
            kind::SEND => {
                let [flags] = body.take()?;
                if flags > 1 {
                    return Err(FrameError::BadFlags(flags));
                }
                Frame::Send {
                    watch: flags == 1,
                    port: body.port()?,
                    payload: body.all(),
                }
            }
            kind::SPAWN => Frame::Spawn {
                name: body.port()?,
                function: body.name()?,
                args: body.all(),
            },
            kind::KILL => Frame::Kill {
                port: body.port()?,
                wait_ms: u32::from_be_bytes(body.take()?),
                reason: body.all(),
            },
            kind::MONITOR => Frame::Monitor { port: body.port()? },
            kind::UNMONITOR => Frame::Unmonitor { port: body.port()? },
            kind::DOWN => Frame::Down {
                port: body.port()?,
                reason: body.all(),
            },
            kind::FRAGMENT_FIRST => Frame::FragmentFirst {
                lane: u32::from_be_bytes(body.take()?),
                total: body.u64()?,
                data: body.all(),
            },
            kind::FRAGMENT_MORE => Frame::FragmentMore {
                lane: u32::from_be_bytes(body.take()?),
                data: body.all(),
            },
            kind::DB => Frame::Db {
                payload: body.all(),
            },
            other => return Err(FrameError::UnknownKind(other)),
        };
        if body.rest.is_empty() {
            Ok(frame)
        } else {
            Err(FrameError::Long(kind))
        }
    }
}

/// What is left of a body.
struct Body<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(FrameError::Short(self.kind))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u64(&mut self) -> Result<u64, FrameError> {
        self.take().map(u64::from_be_bytes)
    }

    fn all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// A text to the end.
    fn text(&mut self) -> Result<&'a str, FrameError> {
        let bytes = self.all();
        if bytes.len() > TEXT_BYTES_MAX {
            return Err(FrameError::BadText(self.kind));
        }
        std::str::from_utf8(bytes).map_err(|_| FrameError::BadText(self.kind))
    }

    /// A text behind its length.
    fn name(&mut self) -> Result<&'a str, FrameError> {
        let [length] = self.take()?;
        let (name, rest) = self
            .rest
            .split_at_checked(length.into())
            .ok_or(FrameError::Short(self.kind))?;
        self.rest = rest;
        std::str::from_utf8(name).map_err(|_| FrameError::BadText(self.kind))
    }

    /// The name of a port.
    fn port(&mut self) -> Result<&'a str, FrameError> {
        let name = self.name()?;
        id::check(name).map_err(|_| FrameError::BadText(self.kind))?;
        Ok(name)
    }
}

/// The first frame in `data` without its length, if it is all there; its whole length is 4 bytes more. The length is
/// checked as soon as it is there, before anything is kept for it.
///
/// # Errors
/// [`FrameError::Empty`] and [`FrameError::TooLong`].
pub fn peek(data: &[u8], frame_bytes_max: usize) -> Result<Option<&[u8]>, FrameError> {
    let Some((length, rest)) = data.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    let bytes = length.saturating_add(LENGTH_BYTES);
    let max = frame_bytes_max.max(FRAME_BYTES_MIN);
    if length == 0 {
        return Err(FrameError::Empty);
    }
    if bytes > max {
        return Err(FrameError::TooLong { bytes, max });
    }
    Ok(rest.get(..length))
}
