//! The writer's side: control frames, what is ready, then the lanes by turns.

use std::{collections::VecDeque, time::Duration};

use super::{DB_BACKLOG_MAX, Need, Outbound, PARTIALS_MAX, write};
use crate::proto::{
    limits::Now,
    link::{
        frame::{Frame, LENGTH_BYTES},
        lane::{self, Entry, Item, Partial, Place},
        sink::FrameSink,
        window::LaneIndex,
    },
    message::Message,
};

/// What is kept for what is ready next, while nothing is.
const READY_KEPT_BYTES: usize = 4 << 10;

impl Outbound {
    /// When [`Self::transmit`] has something to do though nothing new came.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        let terms = self.terms.as_ref()?;
        [
            Some(terms.keepalive.due()),
            self.control.poll_timeout(),
            self.downs.poll_timeout(),
            self.kills.first().map(|&(deadline, _)| deadline),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Appends about `budget` bytes of frames.
    pub(crate) fn transmit(&mut self, sink: &mut dyn FrameSink, budget: usize, now: Now) -> Sent {
        let start = sink.size();
        let buf = sink.bytes();
        if self.terms.is_none() {
            return Sent::default();
        }
        self.end_kill_waits(now);
        let along = !self.ready.is_empty() || !self.ring.is_empty();
        self.control.transmit(buf, along, now);
        if self.ready.is_empty() {
            self.give_back(buf);
        } else if buf.is_empty() {
            std::mem::swap(buf, &mut self.ready);
        } else {
            buf.append(&mut self.ready);
        }
        if std::mem::take(&mut self.is_lane_ready) {
            self.last_lane = now.mono;
        }
        while !self.is_quiet && sink.size() - start < budget {
            let Some(index) = self.ring.pop_front() else {
                break;
            };
            self.serve(index, sink, now);
            self.admit();
            self.last_lane = now.mono;
        }
        self.window.mark(now.mono);
        self.downs.transmit(sink.bytes(), now);
        if let Some(terms) = &mut self.terms {
            if sink.size() > start {
                terms.keepalive.sent(now.mono);
            } else if terms.keepalive.ping(now.mono) {
                Frame::Ping(now.mono.as_nanos() as u64).encode(sink.bytes());
            }
        }
        Sent {
            more: !self.is_quiet && !self.ring.is_empty(),
            room: self.tell_room(),
            lost: !self.lost.is_empty() || self.db.broken.is_some(),
            db_room: self.db.bytes <= DB_BACKLOG_MAX / 2 && std::mem::take(&mut self.db.starved),
        }
    }

    /// Nothing is ready: the larger one of the two buffers is the writer's, and a link that waits keeps none that is large.
    fn give_back(&mut self, buf: &mut Vec<u8>) {
        if buf.is_empty() && buf.capacity() < self.ready.capacity() {
            std::mem::swap(buf, &mut self.ready);
        }
        if self.ready.capacity() > READY_KEPT_BYTES {
            self.ready = Vec::new();
        }
    }

    /// Something has changed for a lane itself: if it waits it may try again.
    pub(super) fn retry(&mut self, index: LaneIndex) {
        if let Some(lane) = self.lanes.get(index)
            && lane.place == Place::Blocked
        {
            lane.place = Place::Ring;
            self.ring.push_back(index);
            if let Some(waiting) = lane.waiting {
                self.blocked.leave(index, waiting);
            }
        }
    }

    /// There may be room now: the round is not empty while a lane could go.
    pub(super) fn admit_first(&mut self) {
        if self.ring.is_empty() {
            self.admit();
        }
    }

    /// One of the lanes that wait, and could go now, tries again. Called after each turn.
    pub(super) fn admit(&mut self) {
        let fragments = self.partials < PARTIALS_MAX;
        if let Some(index) = self.blocked.next(self.window.room(), fragments) {
            self.retry(index);
        }
    }

    fn end_kill_waits(&mut self, now: Now) {
        while let Some(&(deadline, index)) = self.kills.first() {
            if deadline > now.mono {
                break;
            }
            self.kills.pop_first();
            let Some(lane) = self.lanes.get(index) else {
                continue;
            };
            let dropped = lane.end_kill_wait();
            self.retry(index);
            for entry in &dropped {
                self.leave(index, entry);
            }
            self.schedule(index);
        }
    }

    /// One turn of one lane.
    fn serve(&mut self, index: LaneIndex, sink: &mut dyn FrameSink, now: Now) {
        let (Some(terms), Some(lane)) = (&self.terms, self.lanes.get(index)) else {
            return;
        };
        #[cfg(test)]
        {
            self.turns += 1;
        }
        lane.place = Place::Idle;
        lane.deficit = lane.deficit.min(0) + terms.frame_bytes_max as i64;
        loop {
            let step = self.serve_one(index, sink, now);
            let Some(lane) = self.lanes.get(index) else {
                return;
            };
            match step {
                Step::Sent(bytes) => {
                    lane.waiting = None;
                    lane.deficit -= bytes as i64;
                    if lane.deficit <= 0 {
                        break;
                    }
                }
                Step::Blocked(need) => {
                    lane.deficit = 0;
                    lane.place = Place::Blocked;
                    lane.waiting = Some(self.blocked.enter(index, need, lane.waiting));
                    return;
                }
                Step::Nothing => {
                    lane.deficit = 0;
                    break;
                }
            }
        }
        self.schedule(index);
    }

    /// One frame of one lane.
    fn serve_one(&mut self, index: LaneIndex, sink: &mut dyn FrameSink, now: Now) -> Step {
        let (Some(terms), Some(lane)) = (&self.terms, self.lanes.get(index)) else {
            return Step::Nothing;
        };
        if let Some(partial) = &mut lane.partial {
            let (bytes, last) = partial.encode_next(index, terms.frame_bytes_max, sink);
            if last {
                self.end_partial(index);
            }
            return Step::Sent(bytes);
        }
        if !lane.is_ready() {
            return Step::Nothing;
        }
        let Some(entry) = lane.items.front_mut() else {
            return Step::Nothing;
        };
        if matches!(entry.item, Item::Packed(_)) {
            return self.serve_packed(index, sink.bytes());
        }
        let is_db = entry.item.is_db();
        let sized = entry.item.counts() || is_db;
        let in_cbor = entry.item.payload().and_then(Message::size);
        let size = in_cbor.unwrap_or(entry.size);
        let problem = if sized && size > terms.message_bytes_max {
            Some(format!(
                "a message of {size} bytes, the peer takes {}",
                terms.message_bytes_max
            ))
        } else {
            let result = entry.item.transcode(&terms.format, &self.limits);
            result.err().map(|error| error.to_string())
        };
        if let Some(text) = problem {
            if is_db {
                self.db.broken = Some(text);
            } else {
                lane.fences += 1;
                self.lost.push((lane.port.clone(), text));
            }
            self.pop(index);
            return Step::Nothing;
        }
        let payload_len = entry.item.payload().map_or(0, |m| m.encoded_len());
        let inner = entry.item.head_len(&lane.port) + payload_len;
        let cost = lane::cost(inner);
        let whole = inner + LENGTH_BYTES <= terms.frame_bytes_max;
        if !whole && self.partials >= PARTIALS_MAX {
            return Step::Blocked(Need::Fragments);
        }
        let taken = if lane.kill_due {
            self.window.take_urgent(&mut lane.share, cost)
        } else {
            self.window.take(&mut lane.share, cost)
        };
        if !taken {
            let need = self.window.need(&lane.share, cost, lane.kill_due);
            return Step::Blocked(Need::of(need));
        }
        if whole {
            write(sink, &lane.port, &entry.item, inner, now.mono);
            self.window.sent(index, cost, entry.item.counts());
            self.pop(index);
            return Step::Sent(inner + LENGTH_BYTES);
        }
        let mut head = Vec::with_capacity(inner - payload_len);
        entry.item.encode_head(&lane.port, now.mono, &mut head);
        self.begin_partial(index, head);
        self.serve_one(index, sink, now)
    }

    /// Takes the first item out of its lane: it is out, or will never be.
    pub(super) fn pop(&mut self, index: LaneIndex) {
        if let Some(entry) = self.take_front(index) {
            self.leave(index, &entry);
        }
    }

    fn take_front(&mut self, index: LaneIndex) -> Option<Entry> {
        let lane = self.lanes.get(index)?;
        let entry = lane.items.pop_front()?;
        match entry.item {
            Item::Kill { .. } => {
                lane.kill_due = false;
                if let Some(deadline) = lane.kill.take() {
                    self.kills.remove(&(deadline, index));
                }
            }
            Item::Monitor => lane.asks = lane.asks.saturating_sub(1),
            Item::LossAck => {
                lane.ack_queued = false;
                self.acks = self.acks.saturating_sub(1);
            }
            _ => {}
        }
        if lane.items.is_empty() && lane.items.capacity() > 64 {
            lane.items = VecDeque::new();
        }
        Some(entry)
    }

    fn begin_partial(&mut self, index: LaneIndex, head: Vec<u8>) {
        if let Some(entry) = self.take_front(index)
            && let Some(lane) = self.lanes.get(index)
        {
            lane.partial = Some(Partial::new(head, entry));
            self.partials += 1;
        }
    }

    fn end_partial(&mut self, index: LaneIndex) {
        let Some(partial) = self.lanes.get(index).and_then(|lane| lane.partial.take()) else {
            return;
        };
        let cost = lane::cost(partial.total());
        self.window.sent(index, cost, partial.counts);
        if partial.counts {
            self.left(index, partial.size, 1);
        } else if partial.is_db {
            self.db.bytes = self.db.bytes.saturating_sub(partial.size);
        }
        if let Some(generation) = partial.generation {
            self.downs.leave(generation);
        }
        self.partials -= 1;
    }
}

/// What became of a lane's try.
pub(super) enum Step {
    Sent(usize),
    Blocked(Need),
    Nothing,
}

/// What [`Outbound::transmit`] did.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) more: bool,
    pub(crate) room: bool,
    pub(crate) lost: bool,
    pub(crate) db_room: bool,
}
