//! Small messages, which come by the million: written as frames from the bytes they were encoded in, at once or into the
//! lane's packed ones.

use std::ops::Range;

use super::{Need, Outbound, READY_BYTES, serve::Step};
use crate::proto::{
    codec::Format,
    id::PortName,
    link::{
        frame::LENGTH_BYTES,
        lane::{self, Entry, Item},
        packed::{self, Packed},
        window::LaneIndex,
    },
};

/// What is longer is not copied more often than it must be.
const SMALL_BYTES: usize = 4 << 10;

impl Outbound {
    /// Sends a message of these bytes, so many in CBOR, or queues it, in the link's format. `false`: it is not for this way, and
    /// nothing has happened.
    pub(crate) fn push_small(
        &mut self,
        port: &PortName,
        payload: &[u8],
        format: &Format,
        size: usize,
    ) -> bool {
        let Some(terms) = &self.terms else {
            return false;
        };
        let is_small =
            !self.is_quiet && payload.len() < SMALL_BYTES && size <= terms.message_bytes_max;
        if !is_small || !self.has_room(port, payload.len()) {
            return false;
        }
        let Some(frame) = self.encode_small(port, payload, format) else {
            return false;
        };
        let index = self.lanes.open(port);
        let Some(lane) = self.lanes.get(index) else {
            self.ready.truncate(frame.start);
            return false;
        };
        let cost = lane::cost(frame.len() - LENGTH_BYTES);
        if self.ring.is_empty()
            && frame.start < READY_BYTES
            && lane.is_clear()
            && self.window.take(&mut lane.share, cost)
        {
            self.window.sent(index, cost, true);
            self.is_lane_ready = true;
            return true;
        }
        let start = frame.start;
        let frame = self.ready.get(frame).unwrap_or_default();
        let size = match lane.items.back_mut() {
            Some(Entry {
                item: Item::Packed(packed),
                size,
                ..
            }) if !packed.is_full() => {
                let payload = packed.push(frame);
                *size += payload;
                payload
            }
            _ => {
                let mut packed = Packed::new(port);
                let size = packed.push(frame);
                let generation = (!lane.share.is_held()).then(|| self.downs.enter());
                lane.items.push_back(Entry {
                    item: Item::Packed(packed),
                    size,
                    generation,
                });
                size
            }
        };
        self.ready.truncate(start);
        lane.queued.enter(size, 1);
        self.queued.enter(size, 1);
        self.schedule(index);
        true
    }

    /// Writes the frame behind what is ready: where.
    fn encode_small(
        &mut self,
        port: &PortName,
        payload: &[u8],
        format: &Format,
    ) -> Option<Range<usize>> {
        let terms = self.terms.as_ref()?;
        let start = self.ready.len();
        let done = packed::put(&mut self.ready, port, |out| {
            let is_same = *format == terms.format;
            if is_same {
                out.extend_from_slice(payload);
            }
            is_same || (format.is_cbor() && terms.format.transcode(payload, out))
        });
        let end = self.ready.len();
        if !done || end - start > terms.frame_bytes_max {
            self.ready.truncate(start);
            return None;
        }
        Some(start..end)
    }

    /// As many of the packed messages in front of that lane as its turn and the window allow.
    pub(super) fn serve_packed(&mut self, index: LaneIndex, out: &mut Vec<u8>) -> Step {
        let Some(lane) = self.lanes.get(index) else {
            return Step::Nothing;
        };
        let Some(Entry {
            item: Item::Packed(packed),
            size,
            ..
        }) = lane.items.front_mut()
        else {
            return Step::Nothing;
        };
        let (mut frames, mut bytes) = (0, 0);
        let mut blocked = None;
        while let Some(inner) = packed.inner_len(bytes) {
            if bytes > 0 && bytes as i64 >= lane.deficit {
                break;
            }
            let cost = lane::cost(inner);
            let taken = if lane.kill_due {
                self.window.take_urgent(&mut lane.share, cost)
            } else {
                self.window.take(&mut lane.share, cost)
            };
            if !taken {
                blocked = Some(self.window.need(&lane.share, cost, lane.kill_due));
                break;
            }
            self.window.sent(index, cost, true);
            frames += 1;
            bytes += LENGTH_BYTES + inner;
        }
        if let (0, Some(need)) = (frames, blocked) {
            return Step::Blocked(Need::of(need));
        }
        let payloads = packed.take(frames, bytes, out);
        *size = size.saturating_sub(payloads);
        let is_over = packed.count() == 0;
        self.left(index, payloads, frames);
        if is_over {
            self.pop(index);
        }
        Step::Sent(bytes)
    }
}
