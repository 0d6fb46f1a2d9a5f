//! Messages that came together: their bytes in one allocation, handed on as one thing.

use std::vec;

use bytes::Bytes;

use super::Message;
use crate::proto::codec::Format;

/// Messages of one link to one port, in order. What a read brought is copied, moved and counted once, not once a message;
/// only whoever handles them takes them out one by one.
///
/// ```
/// use portmesh::{Limits, Message, proto::message::Batch};
///
/// let limits = Limits::default();
/// let first = Message::encode(&("ping", 1), &limits)?;
/// let second = Message::encode(&("ping", 2), &limits)?;
/// let mut batch = Batch::of([&first, &second]);
/// assert_eq!(batch.len(), 2);
/// assert_eq!(batch.next(), Some(first));
/// assert_eq!(batch.next_len(), Some(second.encoded_len()));
/// assert_eq!(batch.next(), Some(second));
/// assert!(batch.is_empty());
/// # Ok::<(), portmesh::EncodeError>(())
/// ```
#[derive(Debug)]
pub struct Batch {
    format: Format,
    bytes: Bytes,
    /// The length of the first message, so that one alone needs no list.
    first: Option<usize>,
    rest: vec::IntoIter<usize>,
}

impl Batch {
    /// So many messages as there are lengths, whose bytes stand one behind the other.
    pub(crate) fn new(bytes: Bytes, lens: Vec<usize>, format: Format) -> Self {
        let mut rest = lens.into_iter();
        Batch {
            format,
            bytes,
            first: rest.next(),
            rest,
        }
    }
    /// One message.
    pub(crate) fn one(bytes: Bytes, format: Format) -> Self {
        Batch {
            first: Some(bytes.len()),
            format,
            bytes,
            rest: Vec::new().into_iter(),
        }
    }
    /// Copies messages of one format into a batch. Those of another format than the first one's are left out.
    pub fn of<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Self {
        let mut format = None;
        let mut bytes = Vec::new();
        let mut lens = Vec::new();
        for message in messages {
            if format.get_or_insert_with(|| message.format.clone()) == &message.format {
                bytes.extend_from_slice(message.bytes());
                lens.push(message.encoded_len());
            }
        }
        Self::new(bytes.into(), lens, format.unwrap_or(Format::cbor()))
    }
    /// How many messages are in it.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }
    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }
    /// Bytes of all of them.
    pub fn encoded_len(&self) -> usize {
        self.bytes.len()
    }
    /// Bytes of the next one.
    pub fn next_len(&self) -> Option<usize> {
        self.first
    }
    /// Bytes of each.
    pub fn lens(&self) -> impl Iterator<Item = usize> {
        self.first.iter().chain(self.rest.as_slice()).copied()
    }
    /// Takes the next message out if its first value is that text, as it can be seen without reading the rest.
    pub fn next_if_tagged(&mut self, tag: &str) -> Option<Message> {
        let bytes = self.bytes.get(..self.next_len()?)?;
        if self.format.is_tagged(bytes, tag) {
            self.next()
        } else {
            None
        }
    }
    /// Takes the first so many out, as a batch of their own.
    pub fn split_to(&mut self, count: usize) -> Batch {
        if count >= self.len() {
            // as nearly always: there is room for all of them
            let none = Batch::new(Bytes::new(), Vec::new(), self.format.clone());
            return std::mem::replace(self, none);
        }
        let mut lens = Vec::with_capacity(count);
        while lens.len() < count
            && let Some(len) = self.first.take()
        {
            lens.push(len);
            self.first = self.rest.next();
        }
        let bytes = lens.iter().sum::<usize>();
        let bytes = self.bytes.split_to(bytes.min(self.bytes.len()));
        Batch::new(bytes, lens, self.format.clone())
    }
}

impl Iterator for Batch {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        let len = self.first.take()?;
        self.first = self.rest.next();
        let bytes = match self.first {
            Some(_) => self.bytes.split_to(len.min(self.bytes.len())),
            // no counter is touched for the last one
            None => std::mem::take(&mut self.bytes),
        };
        Some(Message::from_wire(bytes, self.format.clone()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::proto::limits::Limits;

    fn messages(count: u64) -> Vec<Message> {
        let limits = Limits::default();
        let all = (0..count).map(|n| Message::encode(&("n", 1 << n), &limits).unwrap());
        all.collect()
    }

    #[test]
    fn a_batch_split_anywhere_has_every_message_once_and_in_order() {
        let all = messages(5);
        for at in 0..=7 {
            let mut rest = Batch::of(&all);
            let front = rest.split_to(at);
            assert_eq!(front.len(), at.min(5));
            assert_eq!(rest.len(), 5 - at.min(5));
            let bytes = |part: &[Message]| part.iter().map(Message::encoded_len).sum::<usize>();
            assert_eq!(front.encoded_len(), bytes(&all[..at.min(5)]));
            assert_eq!(rest.encoded_len(), bytes(&all[at.min(5)..]));
            assert_eq!(front.lens().count(), front.len());
            let got: Vec<Message> = front.chain(rest).collect();
            assert_eq!(got, all, "split at {at}");
        }
    }

    #[test]
    fn a_batch_of_one_or_none() {
        let [message] = messages(1).try_into().unwrap();
        let mut one = Batch::one(message.bytes().clone(), Format::cbor());
        assert_eq!(
            (one.len(), one.next_len()),
            (1, Some(message.encoded_len()))
        );
        assert_eq!(one.next(), Some(message));
        assert_eq!((one.len(), one.next_len(), one.next()), (0, None, None));
        assert!(Batch::of([]).is_empty());
    }
}
