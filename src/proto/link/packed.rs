//! Small messages that wait for one port, packed as the frames that they go out as: one buffer in place of an item and an
//! allocation each.

use bytes::Bytes;

use super::frame::{LENGTH_BYTES, kind, put_name};
use crate::proto::{codec::Format, id::PortName, message::Message};

/// A buffer that has so many bytes takes no further message.
const FULL_BYTES: usize = 16 << 10;

/// Bytes before the payload in the frame of a message.
pub(crate) fn head_len(port: &PortName) -> usize {
    LENGTH_BYTES + 3 + port.as_str().len()
}

/// Appends the whole frame of a message without a monitor, whose payload the closure appends. `false`, and nothing of use is
/// appended: it could not, or the frame is longer than any may be.
pub(crate) fn put(
    out: &mut Vec<u8>,
    port: &PortName,
    payload: impl FnOnce(&mut Vec<u8>) -> bool,
) -> bool {
    let is_watch = 0;
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind::SEND, is_watch]);
    put_name(out, port.as_str());
    if !payload(out) {
        return false;
    }
    let inner = out.len() - start - LENGTH_BYTES;
    match (
        u32::try_from(inner),
        out.get_mut(start..start + LENGTH_BYTES),
    ) {
        (Ok(inner), Some(length)) => {
            length.copy_from_slice(&inner.to_be_bytes());
            true
        }
        _ => false,
    }
}

/// Whole frames, each a message without a monitor.
#[derive(Debug)]
pub(crate) struct Packed {
    frames: Vec<u8>,
    /// So much of it is out.
    done: usize,
    /// How many messages are not.
    count: usize,
    /// What stands before each payload, in bytes.
    head: usize,
}

impl Packed {
    /// For messages to that port.
    pub(crate) fn new(port: &PortName) -> Self {
        Packed {
            frames: Vec::new(),
            done: 0,
            count: 0,
            head: head_len(port),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.frames.len() >= FULL_BYTES
    }

    /// One more frame. How many bytes of payload it has.
    pub(crate) fn push(&mut self, frame: &[u8]) -> usize {
        self.frames.extend_from_slice(frame);
        self.count += 1;
        frame.len().saturating_sub(self.head)
    }

    /// How many messages wait.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Bytes of kind and body of the first frame behind `skip` bytes of those that wait.
    pub(crate) fn inner_len(&self, skip: usize) -> Option<usize> {
        let rest = self.frames.get(self.done.checked_add(skip)?..)?;
        let (length, _) = rest.split_first_chunk::<LENGTH_BYTES>()?;
        usize::try_from(u32::from_be_bytes(*length)).ok()
    }

    /// Takes out so many frames, of so many bytes together. How many bytes of payload they have.
    pub(crate) fn take(&mut self, frames: usize, bytes: usize, out: &mut Vec<u8>) -> usize {
        let end = self.done.saturating_add(bytes).min(self.frames.len());
        out.extend_from_slice(self.frames.get(self.done..end).unwrap_or_default());
        self.done = end;
        self.count = self.count.saturating_sub(frames);
        bytes.saturating_sub(frames.saturating_mul(self.head))
    }

    /// What waits, as messages of that format.
    pub(crate) fn into_messages(mut self, format: &Format) -> Vec<Message> {
        let mut messages = Vec::with_capacity(self.count);
        while let Some(inner) = self.inner_len(0) {
            let end = self.done + LENGTH_BYTES + inner;
            let payload = self.frames.get(self.done + self.head..end);
            let payload = Bytes::copy_from_slice(payload.unwrap_or_default());
            messages.push(Message::from_wire(payload, format.clone()));
            self.done = end;
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::proto::{limits::Limits, link::frame::Frame};

    fn message(n: usize) -> Message {
        Message::encode(&(n, "x".repeat(n)), &Limits::default()).unwrap()
    }

    fn frame(port: &PortName, message: &Message) -> Vec<u8> {
        let (mut frame, payload) = (Vec::new(), message.bytes());
        Frame::Send {
            watch: false,
            port: port.as_str(),
            payload,
        }
        .encode(&mut frame);
        frame
    }

    #[test]
    fn packed_messages_are_the_frames_that_single_ones_would_be() {
        let port: PortName = "a/port".parse().unwrap();
        let mut packed = Packed::new(&port);
        let (mut expected, mut payloads) = (Vec::new(), 0);
        for n in 0..40 {
            let message = message(n);
            let mut put_frame = Vec::new();
            let done = put(&mut put_frame, &port, |out| {
                out.extend_from_slice(message.bytes());
                true
            });
            assert!(done);
            assert_eq!(packed.push(&put_frame), message.encoded_len());
            payloads += message.encoded_len();
            expected.extend(frame(&port, &message));
        }
        assert_eq!(packed.count(), 40);
        let (mut out, mut taken) = (Vec::new(), 0);
        while let Some(inner) = packed.inner_len(0) {
            taken += packed.take(1, LENGTH_BYTES + inner, &mut out);
        }
        assert_eq!(out, expected);
        assert_eq!((taken, packed.count()), (payloads, 0));
    }

    #[test]
    fn what_is_left_of_packed_messages_is_those_messages() {
        let port: PortName = "p".parse().unwrap();
        let mut packed = Packed::new(&port);
        let sent: Vec<Message> = (0..10).map(message).collect();
        for message in &sent {
            packed.push(&frame(&port, message));
        }
        let skip = LENGTH_BYTES + packed.inner_len(0).unwrap();
        let both = skip + LENGTH_BYTES + packed.inner_len(skip).unwrap();
        packed.take(2, both, &mut Vec::new());
        let left = packed.into_messages(&Format::cbor());
        let left: Vec<&Bytes> = left.iter().map(Message::bytes).collect();
        let expected: Vec<&Bytes> = sent.iter().skip(2).map(Message::bytes).collect();
        assert_eq!(left, expected);
    }
}
