//! Where frames are written: bytes, and among them long payloads that are not copied.

use std::{collections::VecDeque, ops::Range};

use bytes::{Buf, Bytes};

use crate::proto::message::Message;

/// From this length on a payload is kept rather than copied: below it the bookkeeping costs more than the copy.
const KEPT_BYTES_MIN: usize = 4 << 10;

/// Takes frames, in order.
pub trait FrameSink {
    /// What is short is appended here.
    fn bytes(&mut self) -> &mut Vec<u8>;
    /// How many bytes were written in all, those of payloads too.
    fn size(&self) -> usize;
    /// Appends that part of a payload.
    fn put_payload(&mut self, payload: &Bytes, part: Range<usize>);
}

/// Appends that part of the bytes of a message.
pub(crate) fn put_message(sink: &mut dyn FrameSink, message: &Message, part: Range<usize>) {
    let mut before = 0;
    for (bytes, piece) in message.parts() {
        let len = piece.len();
        let within = |at: usize| piece.start + at.saturating_sub(before).min(len);
        let range = within(part.start)..within(part.end);
        if !range.is_empty() {
            sink.put_payload(bytes, range);
        }
        before += len;
    }
}

impl FrameSink for Vec<u8> {
    fn bytes(&mut self) -> &mut Vec<u8> {
        self
    }
    fn size(&self) -> usize {
        self.len()
    }
    fn put_payload(&mut self, payload: &Bytes, part: Range<usize>) {
        self.extend_from_slice(payload.get(part).unwrap_or_default());
    }
}

/// Bytes, and where payloads stand among them; what of all that is still to be written.
#[derive(Debug, Default)]
pub struct Spliced {
    bytes: Vec<u8>,
    /// So much of `bytes` is written.
    done: usize,
    /// Payloads, each with the place in `bytes` that it stands before.
    payloads: VecDeque<(usize, Bytes)>,
}

impl FrameSink for Spliced {
    fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
    fn size(&self) -> usize {
        let payloads = self.payloads.iter().map(|(_, payload)| payload.len());
        self.bytes.len() - self.done + payloads.sum::<usize>()
    }
    fn put_payload(&mut self, payload: &Bytes, part: Range<usize>) {
        if part.len() < KEPT_BYTES_MIN {
            self.bytes.put_payload(payload, part);
        } else if part.end <= payload.len() {
            let at = self.bytes.len();
            self.payloads.push_back((at, payload.slice(part)));
        }
    }
}

impl Spliced {
    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.done == self.bytes.len() && self.payloads.is_empty()
    }
    /// What is to be written, in order, in pieces that are not empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = self.done;
        let between = self.payloads.iter().flat_map(move |(at, payload)| {
            let range = std::mem::replace(&mut from, *at)..*at;
            [self.bytes.get(range), Some(&payload[..])]
        });
        let last = self.payloads.back().map_or(self.done, |(at, _)| *at);
        between
            .chain([self.bytes.get(last..)])
            .flatten()
            .filter(|piece| !piece.is_empty())
    }
    /// So many bytes are written.
    pub fn advance(&mut self, mut count: usize) {
        while let Some((at, payload)) = self.payloads.front_mut() {
            let before = *at - self.done;
            if count < before {
                break;
            }
            count -= before;
            self.done = *at;
            let part = count.min(payload.len());
            payload.advance(part);
            count -= part;
            if !payload.is_empty() {
                return;
            }
            self.payloads.pop_front();
        }
        self.done = self.bytes.len().min(self.done + count);
        if self.is_empty() {
            self.bytes.clear();
            self.done = 0;
        }
    }
    /// What it has room for without asking for memory.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
    /// Gives its memory back, if nothing is to be written.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            *self = Spliced::default();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Op {
        Short(usize),
        Payload(usize, usize),
        Write(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0..100usize).prop_map(Op::Short),
            (0..3 * KEPT_BYTES_MIN, 0..100usize).prop_map(|(len, from)| Op::Payload(len, from)),
            (0..3 * KEPT_BYTES_MIN).prop_map(Op::Write),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        // P1
        #[test]
        fn what_is_written_is_what_was_put_in_whatever_is_copied(ops in proptest::collection::vec(op(), 0..30)) {
            let mut spliced = Spliced::default();
            let mut plain = Vec::new();
            let mut written = 0;
            let data: Bytes = (0..=255u8).cycle().take(4 * KEPT_BYTES_MIN).collect();
            for op in ops {
                match op {
                    Op::Short(len) => {
                        spliced.bytes().extend_from_slice(&data[..len]);
                        plain.extend_from_slice(&data[..len]);
                    }
                    Op::Payload(len, from) => {
                        spliced.put_payload(&data, from..from + len);
                        plain.put_payload(&data, from..from + len);
                    }
                    Op::Write(most) => {
                        let first = spliced.pieces().next().map_or(0, <[u8]>::len);
                        // within a piece, at its end, and over it
                        let count = most.min(spliced.size()).min(first + most % 7);
                        spliced.advance(count);
                        written += count;
                    }
                }
                prop_assert_eq!(spliced.pieces().collect::<Vec<_>>().concat(), &plain[written..]);
                prop_assert_eq!(spliced.size(), plain.len() - written);
                prop_assert_eq!(spliced.is_empty(), plain.len() == written);
            }
        }
    }
}
