//! A run: consecutive messages to one port in what was read, handed on as one batch.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;

use crate::proto::{codec::Format, id::PortName, message::Message};

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
    /// Where the payloads are in what was read.
    pub(super) payloads: Vec<Range<usize>>,
}

/// Copies the payloads and makes messages of them.
pub(super) fn messages(
    data: &[u8],
    payloads: &[Range<usize>],
    format: &Format,
    batch: &mut VecDeque<Message>,
) {
    let mut rest = payloads;
    while !rest.is_empty() {
        let mut bytes = 0;
        let mut count = 0;
        for range in rest {
            if count > 0 && bytes + range.len() > CHUNK_BYTES {
                break;
            }
            bytes += range.len();
            count += 1;
        }
        let (group, others) = rest.split_at_checked(count).unwrap_or((rest, &[]));
        rest = others;
        let mut chunk = Vec::with_capacity(bytes);
        for range in group {
            chunk.extend_from_slice(data.get(range.clone()).unwrap_or_default());
        }
        let mut chunk = Bytes::from(chunk);
        for range in group {
            let payload = chunk.split_to(range.len().min(chunk.len()));
            batch.push_back(Message::from_wire(payload, format.clone()));
        }
    }
}
