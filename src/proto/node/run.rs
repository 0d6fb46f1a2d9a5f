//! A run: consecutive messages to one port in what was read, handed on as one batch.

use std::ops::Range;

use bytes::Bytes;

use crate::proto::{codec::Format, id::PortName, message::Batch};

/// Messages of a run share a copy of about this size. It keeps a message that waits from pinning what was read with it,
/// and costs few allocations.
const CHUNK_BYTES: usize = 16 << 10;

/// Where the messages of a run go.
#[derive(Debug)]
pub(super) enum Target<T> {
    /// To a living port.
    Port(T),
    /// Behind what is held for it.
    Held,
    /// Nowhere, and the peer has to be told why.
    Lost(String),
    /// Nowhere, and the peer was told.
    Dropped,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Run<T> {
    pub(super) name: PortName,
    pub(super) target: Target<T>,
    /// Where in what was read the head of its first frame is, which those of further messages are equal to; `None` where
    /// that one was more than a message.
    pub(super) head: Option<Range<usize>>,
    /// Where the payloads are in what was read.
    pub(super) payloads: Vec<Range<usize>>,
}

/// Takes the first payloads and copies them into a batch of about [`CHUNK_BYTES`] at most, or of one message.
pub(super) fn take_batch(data: &[u8], payloads: &mut &[Range<usize>], format: &Format) -> Batch {
    let mut bytes = 0;
    let mut count = 0;
    for range in *payloads {
        if count > 0 && bytes + range.len() > CHUNK_BYTES {
            break;
        }
        bytes += range.len();
        count += 1;
    }
    let (group, rest) = payloads.split_at_checked(count).unwrap_or((payloads, &[]));
    *payloads = rest;
    if let [range] = group {
        let payload = data.get(range.clone()).unwrap_or_default();
        return Batch::one(Bytes::copy_from_slice(payload), format.clone());
    }
    let mut chunk = Vec::with_capacity(bytes);
    for range in group {
        chunk.extend_from_slice(data.get(range.clone()).unwrap_or_default());
    }
    let lens = group.iter().map(Range::len).collect();
    Batch::new(chunk.into(), lens, format.clone())
}
