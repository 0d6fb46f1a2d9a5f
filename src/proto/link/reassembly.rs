//! Fragmented messages on their way in. Nothing is allocated from a declared length, and all of them together stay
//! within what the window allows.

use std::collections::BTreeMap;

use super::{FRAME_COST, OPEN_MESSAGES_MAX, frame::kind};
use crate::proto::close::CloseReason;

/// What is reserved at once for a message.
const FIRST_BYTES: usize = 64 << 10;

#[derive(Debug)]
struct Open {
    total: usize,
    data: Vec<u8>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    open: BTreeMap<u32, Open>,
    /// What the open messages will be when they are whole, as counted in the window.
    declared: u64,
    /// What is here of them.
    bytes: usize,
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

    /// A FRAGMENT_FIRST. The message, when that was all of it. `message_max`: the longest kind and body; `room`: what
    /// the window leaves for it.
    pub(crate) fn handle_first(
        &mut self,
        lane: u32,
        total: u64,
        data: &[u8],
        message_max: usize,
        room: u64,
    ) -> Result<Option<Vec<u8>>, CloseReason> {
        let total = match usize::try_from(total) {
            Ok(total) if total <= message_max => total,
            _ => {
                return wrong(format!(
                    "a message of {total} bytes, the limit is {message_max}"
                ));
            }
        };
        match data.first() {
            Some(&(kind::SEND | kind::SPAWN | kind::KILL | kind::DB)) => {}
            Some(other) => return wrong(format!("fragments of a frame of kind {other:#04x}")),
            None => return wrong("an empty fragment"),
        }
        if data.len() > total {
            return wrong("a fragment longer than its message");
        }
        if data.len() == total {
            return Ok(Some(data.to_vec()));
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
        if cost > room {
            return wrong("more under way than the window allows");
        }
        let mut kept = Vec::with_capacity(total.min(FIRST_BYTES.max(data.len())));
        kept.extend_from_slice(data);
        self.declared += cost;
        self.bytes += data.len();
        self.open.insert(lane, Open { total, data: kept });
        Ok(None)
    }

    /// A FRAGMENT_MORE. The message, when that was the last of it.
    pub(crate) fn handle_more(
        &mut self,
        lane: u32,
        data: &[u8],
    ) -> Result<Option<Vec<u8>>, CloseReason> {
        if data.is_empty() {
            return wrong("an empty fragment");
        }
        let Some(open) = self.open.get_mut(&lane) else {
            return wrong(format!("a fragment of no message, lane {lane}"));
        };
        if data.len() > open.total - open.data.len() {
            return wrong("a fragment longer than the rest of its message");
        }
        if open.data.capacity() - open.data.len() < data.len() {
            // doubles, but never beyond the message
            let more = open
                .data
                .len()
                .max(data.len())
                .min(open.total - open.data.len());
            open.data.reserve_exact(more);
        }
        open.data.extend_from_slice(data);
        self.bytes += data.len();
        if open.data.len() < open.total {
            return Ok(None);
        }
        let whole = self.open.remove(&lane).map(|open| open.data);
        if let Some(whole) = &whole {
            self.bytes -= whole.len();
            self.declared -= whole.len() as u64 + FRAME_COST;
        }
        Ok(whole)
    }
}
