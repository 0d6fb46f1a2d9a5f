//! What goes out over one link: control frames first, then what was written at once, then the lanes by turns.
//!
//! A frame whose lane is idle is written straight into a buffer that the writer takes as it is. Everything else waits
//! in the lane of its port, and lanes take turns (deficit round robin, Shreedhar and Varghese), one fragment or as many
//! small messages a turn, so that a large message never holds up another lane (P9).

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use super::{
    DB_BACKLOG_MAX, OPEN_MESSAGES_MAX,
    control::Control,
    downs::Downs,
    frame::{FRAME_BYTES_MIN, Frame, LENGTH_BYTES},
    keepalive::Keepalive,
    lane::{self, Entry, Item, Lanes, Place, Queued},
    window::{LaneIndex, Lie, Window},
};
use crate::proto::{
    codec::Format,
    id::PortName,
    limits::{Limits, Now},
    link::sink::{FrameSink, put_message},
    message::Message,
};

mod blocked;
mod queue;
mod rest;
mod serve;
mod small;
#[cfg(test)]
mod tests;

pub(crate) use blocked::Waiting;
use blocked::{Blocked, Need};
use queue::Hungry;

/// The fast path stops when so many bytes are ready for the writer.
const READY_BYTES: usize = 64 << 10;
/// How many messages this node has in fragments on the way; fewer than the peer must allow.
const PARTIALS_MAX: usize = OPEN_MESSAGES_MAX / 4;

/// For how many lanes room is kept for what a PROGRESS says of them.
const DONE_KEPT_MAX: usize = 64;

/// What was agreed on with the peer.
#[derive(Debug)]
pub(crate) struct Terms {
    /// How payloads are written.
    pub(crate) format: Format,
    /// The longest frame that is sent.
    pub(crate) frame_bytes_max: usize,
    /// The largest message that the peer takes, in its CBOR form.
    pub(crate) message_bytes_max: usize,
    /// When a PING goes out because nothing else did.
    pub(crate) keepalive: Keepalive,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbound {
    limits: Limits,
    terms: Option<Terms>,
    window: Window,
    pub(crate) control: Control,
    pub(crate) downs: Downs,
    ready: Vec<u8>,
    lanes: Lanes,
    ring: VecDeque<LaneIndex>,
    blocked: Blocked,
    /// When kills that wait end their wait.
    kills: BTreeSet<(Duration, LaneIndex)>,
    partials: usize,
    queued: Queued,
    hungry: Hungry,
    /// Acknowledgements of losses that are not out yet.
    acks: usize,
    lost: Vec<(PortName, String)>,
    db: Backlog,
    /// When the last frame of a lane went out, or the link came up.
    last_lane: Duration,
    /// There are frames of lanes in what is ready. (Senders do not look at the clock: the writer does.)
    is_lane_ready: bool,
    /// Nothing goes out in lanes: the peer was asked whether the link may end, or that is agreed.
    is_quiet: bool,
    /// Room for what one PROGRESS says of each lane, empty in between.
    done: Vec<(LaneIndex, u64)>,
    /// Turns that lanes had.
    #[cfg(test)]
    turns: u64,
}

/// What waits in the lane of the database.
#[derive(Debug)]
struct Backlog {
    lane: PortName,
    bytes: usize,
    /// Its engine was told to wait.
    starved: bool,
    /// Something of it cannot go over this link: its engine must not go on as if it had.
    broken: Option<String>,
}

impl Outbound {
    pub(crate) fn new(limits: &Limits) -> Self {
        Outbound {
            limits: limits.clone(),
            terms: None,
            window: Window::new(0),
            control: Control::new(limits.window_bytes),
            downs: Downs::default(),
            ready: Vec::new(),
            lanes: Lanes::default(),
            ring: VecDeque::new(),
            blocked: Blocked::default(),
            kills: BTreeSet::new(),
            partials: 0,
            queued: Queued::default(),
            hungry: Hungry::default(),
            acks: 0,
            lost: Vec::new(),
            db: Backlog {
                lane: PortName::db_lane(),
                bytes: 0,
                starved: false,
                broken: None,
            },
            last_lane: Duration::ZERO,
            is_lane_ready: false,
            is_quiet: false,
            done: Vec::new(),
            #[cfg(test)]
            turns: 0,
        }
    }

    /// A link is up: what waits may go.
    pub(crate) fn activate(&mut self, mut terms: Terms, window: usize, now: Now) {
        terms.frame_bytes_max = self
            .limits
            .fragment_bytes_max
            .min(terms.frame_bytes_max)
            .max(FRAME_BYTES_MIN);
        self.window = Window::new(window);
        self.terms = Some(terms);
        self.last_lane = now.mono;
    }

    /// Everything but what is queued from now on is gone. How many messages and spawns were not known to be dealt with.
    pub(crate) fn reset(&mut self) -> u64 {
        let lost = self.queued.count as u64 + self.window.unprocessed_messages();
        *self = Outbound::new(&self.limits);
        lost
    }

    pub(crate) fn terms(&self) -> Option<&Terms> {
        self.terms.as_ref()
    }

    /// Whether anything waits or is not known to be dealt with.
    pub(crate) fn is_busy(&self) -> bool {
        self.lanes.len() > 0 || self.window.is_unprocessed()
    }

    /// Whether nothing waits to be written, and nothing that was written is not known to be dealt with.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.is_busy() && self.ready.is_empty() && self.control_bytes() == 0
    }

    /// Whether the writer has something to do.
    pub(crate) fn is_sendable(&self) -> bool {
        self.terms.is_some()
            && (!self.ready.is_empty()
                || (!self.is_quiet && !self.ring.is_empty())
                || self.control.is_urgent()
                || self.downs.is_new())
    }

    /// Control frames that wait, in bytes: those that have their own place, and what is ready beyond what the fast path
    /// puts there.
    pub(crate) fn control_bytes(&self) -> usize {
        let messages = self
            .terms
            .as_ref()
            .map_or(0, |terms| READY_BYTES + terms.frame_bytes_max);
        self.control.len() + self.downs.len() + self.ready.len().saturating_sub(messages)
    }

    /// Sends an item at once, or queues it behind what waits for the same port.
    pub(crate) fn push(&mut self, port: &PortName, item: Item) {
        let index = self.lanes.open(port);
        if let Some(item) = self.write_at_once(index, item) {
            self.queue(port, item);
        }
    }

    /// Likewise something of the database, in its lane.
    pub(crate) fn push_db(&mut self, message: Message) {
        let lane = self.db.lane.clone();
        self.push(&lane, Item::Db(message));
    }

    /// Whether more of the database may be queued. Where not, [`Sent::db_room`] tells when.
    pub(crate) fn db_room(&mut self) -> bool {
        let room = self.db.bytes < DB_BACKLOG_MAX;
        self.db.starved |= !room;
        room
    }

    /// Queues an item in the lane of its port.
    pub(crate) fn queue(&mut self, port: &PortName, item: Item) {
        let index = self.lanes.open(port);
        let size = item.payload().map_or(0, |message| message.encoded_len());
        // news of deaths do not wait for the database
        let is_waited_for = !item.is_db();
        if item.is_db() {
            self.db.bytes += size;
        }
        let Some(lane) = self.lanes.get(index) else {
            return;
        };
        if item.counts() {
            lane.queued.enter(size, item.count());
            self.queued.enter(size, item.count());
        }
        match &item {
            Item::Kill { deadline, .. } => {
                if lane.kill.is_some() || lane.kill_due {
                    // the one that waits kills the port; nobody could tell a second one
                    return;
                }
                lane.kill = Some(*deadline);
                self.kills.insert((*deadline, index));
            }
            Item::Monitor => lane.asks += 1,
            _ => {}
        }
        lane.items.push_back(Entry {
            item,
            size,
            generation: (is_waited_for && !lane.share.is_held()).then(|| self.downs.enter()),
        });
        self.schedule(index);
    }

    /// The fast path. Gives the item back when it has to wait.
    fn write_at_once(&mut self, index: LaneIndex, item: Item) -> Option<Item> {
        let (Some(terms), Some(lane)) = (&self.terms, self.lanes.get(index)) else {
            return Some(item);
        };
        let payload = item.payload();
        let inner = item.head_len(&lane.port) + payload.map_or(0, |message| message.encoded_len());
        let at_once = !item.is_timed()
            && !self.is_quiet
            && self.ring.is_empty()
            && self.ready.len() < READY_BYTES
            && lane.is_clear()
            && inner + LENGTH_BYTES <= terms.frame_bytes_max
            && payload.is_none_or(|message| *message.format() == terms.format)
            && self.window.take(&mut lane.share, lane::cost(inner));
        if !at_once {
            return Some(item);
        }
        write(&mut self.ready, &lane.port, &item, inner, Duration::ZERO);
        self.window.sent(index, lane::cost(inner), item.counts());
        self.is_lane_ready = true;
        None
    }

    /// Takes a MONITOR that still waits out of its lane. `false`: it is on its way, or there is none.
    pub(crate) fn cancel_monitor(&mut self, port: &PortName) -> bool {
        let Some(index) = self.lanes.find(port) else {
            return false;
        };
        let Some(lane) = self.lanes.get(index) else {
            return false;
        };
        if lane.asks == 0 {
            return false;
        }
        let is_ask = |entry: &Entry| matches!(entry.item, Item::Monitor);
        let Some(entry) = lane
            .items
            .iter()
            .rposition(is_ask)
            .and_then(|at| lane.items.remove(at))
        else {
            return false;
        };
        lane.asks -= 1;
        self.leave(index, &entry);
        self.retry(index);
        self.schedule(index);
        true
    }

    /// Whether a MONITOR waits in the lane of that port.
    pub(crate) fn is_asked_for(&mut self, port: &PortName) -> bool {
        let index = self.lanes.find(port);
        let lane = index.and_then(|index| self.lanes.get(index));
        lane.is_some_and(|lane| lane.asks > 0)
    }

    /// Puts the lane into the round where it has something to send.
    fn schedule(&mut self, index: LaneIndex) {
        let Some(lane) = self.lanes.get(index) else {
            return;
        };
        match lane.place {
            Place::Idle if lane.is_ready() => {
                lane.place = Place::Ring;
                self.ring.push_back(index);
            }
            Place::Idle => self.lanes.tidy(index),
            Place::Ring | Place::Blocked => {}
        }
    }

    // --- what the peer says ---

    /// PROGRESS.
    pub(crate) fn handle_progress(&mut self, progress: u64, now: Now) -> Result<(), Lie> {
        let mut done = std::mem::take(&mut self.done);
        let freed = |lane, cost| {
            match done.last_mut() {
                Some((last, sum)) if *last == lane => *sum += cost,
                _ => done.push((lane, cost)),
            };
        };
        let result = self.window.handle_progress(progress, now.mono, freed);
        for (index, cost) in done.drain(..) {
            if let Some(lane) = self.lanes.get(index) {
                self.window.free(&mut lane.share, cost);
            }
            self.retry(index);
            self.lanes.tidy(index);
        }
        // of a burst to many ports it would keep much
        if done.capacity() <= DONE_KEPT_MAX {
            self.done = done;
        }
        self.admit_first();
        result
    }

    /// HOLD.
    pub(crate) fn handle_hold(&mut self, port: &PortName, bytes: u64) -> Result<(), Lie> {
        let lane = self
            .lanes
            .find(port)
            .and_then(|index| self.lanes.get(index))
            .ok_or(Lie("HOLD for a port that nothing is under way to"))?;
        let began = !lane.share.is_held();
        self.window.hold(&mut lane.share, bytes)?;
        if began {
            // DOWNs do not wait for a port that is stuck
            for entry in &mut lane.items {
                if let Some(generation) = entry.generation.take() {
                    self.downs.leave(generation);
                }
            }
        }
        Ok(())
    }

    /// RESUME.
    pub(crate) fn handle_resume(&mut self, port: &PortName, bytes: u64) -> Result<(), Lie> {
        let index = self
            .lanes
            .find(port)
            .ok_or(Lie("RESUME for a port that nothing is held for"))?;
        if let Some(lane) = self.lanes.get(index) {
            self.window.resume(&mut lane.share, bytes)?;
        }
        self.retry(index);
        self.schedule(index);
        self.admit_first();
        Ok(())
    }

    /// LOSS, or one of our own (`ack`: whether the peer waits for an acknowledgement): nothing new goes out to that port
    /// until [`Self::settle`].
    pub(crate) fn fence(&mut self, port: &PortName, ack: bool) -> Result<(), Lie> {
        let index = self.lanes.open(port);
        let Some(lane) = self.lanes.get(index) else {
            return Ok(());
        };
        lane.fences += 1;
        if ack && !lane.ack_owed && !lane.ack_queued {
            lane.ack_owed = true;
            self.acks += 1;
            if self.acks > self.limits.monitors_per_link_max {
                return Err(Lie("more losses than monitors may be"));
            }
        }
        Ok(())
    }

    /// The monitors of one loss have fired.
    pub(crate) fn settle(&mut self, port: &PortName) {
        let Some(index) = self.lanes.find(port) else {
            return;
        };
        let Some(lane) = self.lanes.get(index) else {
            return;
        };
        lane.fences = lane.fences.saturating_sub(1);
        if lane.fences == 0 && std::mem::take(&mut lane.ack_owed) {
            lane.ack_queued = true;
            lane.items.push_front(Entry {
                item: Item::LossAck,
                size: 0,
                generation: None,
            });
        }
        self.retry(index);
        self.schedule(index);
    }

    /// Messages that could not go over this link, by port, each fenced.
    pub(crate) fn take_lost(&mut self) -> Vec<(PortName, String)> {
        std::mem::take(&mut self.lost)
    }

    /// Why something of the database could not go over this link: it cannot go on.
    pub(crate) fn take_db_broken(&mut self) -> Option<String> {
        self.db.broken.take()
    }

    /// A DOWN, behind what was queued before it.
    pub(crate) fn down(&mut self, port: &PortName, reason: &[u8]) {
        let port = port.as_str();
        self.last_words(Frame::Down { port, reason });
    }

    /// A LOSS, behind the DOWNs before it, unless one of that port is told and unsettled.
    pub(crate) fn loss(&mut self, port: &PortName, count: u64, text: &str) {
        if self.control.tell_loss(port) {
            let port = port.as_str();
            self.last_words(Frame::Loss { port, count, text });
        }
    }

    /// A LOSS of no messages: the word about a kill.
    pub(crate) fn kill_refused(&mut self, port: &PortName, text: &str) {
        let (port, count) = (port.as_str(), 0);
        self.last_words(Frame::Loss { port, count, text });
    }

    fn last_words(&mut self, frame: Frame<'_>) {
        if self.downs.is_clear() {
            return frame.encode(&mut self.ready);
        }
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        if let Some(frame) = self.downs.push(bytes) {
            self.ready.extend_from_slice(&frame);
        }
    }
}

/// Appends one whole frame.
fn write(sink: &mut dyn FrameSink, port: &PortName, item: &Item, inner: usize, now: Duration) {
    let out = sink.bytes();
    out.extend_from_slice(&(inner as u32).to_be_bytes());
    item.encode_head(port, now, out);
    if let Some(payload) = item.payload() {
        put_message(sink, payload, 0..payload.encoded_len());
    }
}
