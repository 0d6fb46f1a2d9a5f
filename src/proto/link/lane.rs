//! One lane: what waits for one port of the peer, in order (P1, M4).

use std::{collections::VecDeque, time::Duration};

use smol_str::SmolStr;

use super::{
    FRAME_COST,
    frame::{Frame, LENGTH_BYTES, kind},
    outbound::Waiting,
    packed::Packed,
    sink::{FrameSink, put_message},
    window::{LaneIndex, Share},
};
use crate::proto::{
    codec::Format,
    id::{PortName, map::NameMap},
    limits::Limits,
    message::{EncodeError, Message},
};

/// What waits in a lane.
#[derive(Debug)]
pub(crate) enum Item {
    /// A message; with a monitor on its port.
    Send { message: Message, watch: bool },
    /// Small messages, encoded for this link.
    Packed(Packed),
    /// A new port.
    Spawn { function: SmolStr, args: Message },
    /// The end of the port, at the latest at `deadline`.
    Kill { reason: Message, deadline: Duration },
    /// Watch the port.
    Monitor,
    /// No longer.
    Unmonitor,
    /// The monitors of a loss have fired.
    LossAck,
    /// Something for the database there; in a lane of its own.
    Db(Message),
}

impl Item {
    /// How many messages and spawns it is: what a program can queue without end, and so counts in the outbound queue.
    pub(crate) fn count(&self) -> usize {
        match self {
            Item::Send { .. } | Item::Spawn { .. } => 1,
            Item::Packed(packed) => packed.count(),
            _ => 0,
        }
    }

    /// Whether it is any.
    pub(crate) fn counts(&self) -> bool {
        self.count() > 0
    }

    /// Whether what it says depends on when it goes out.
    pub(crate) fn is_timed(&self) -> bool {
        matches!(self, Item::Kill { .. })
    }

    /// Whether it is the database's.
    pub(crate) fn is_db(&self) -> bool {
        matches!(self, Item::Db(_))
    }

    pub(crate) fn payload(&self) -> Option<&Message> {
        match self {
            Item::Send { message, .. } => Some(message),
            Item::Spawn { args, .. } => Some(args),
            Item::Kill { reason, .. } => Some(reason),
            Item::Db(message) => Some(message),
            _ => None,
        }
    }

    /// Writes its payload in the format of the link, once.
    pub(crate) fn transcode(&mut self, to: &Format, limits: &Limits) -> Result<(), EncodeError> {
        let (Item::Send { message, .. }
        | Item::Spawn { args: message, .. }
        | Item::Kill {
            reason: message, ..
        }
        | Item::Db(message)) = self
        else {
            return Ok(());
        };
        message.transcode(to, limits)
    }

    /// Bytes of kind and body before the payload.
    pub(crate) fn head_len(&self, port: &PortName) -> usize {
        let name = 1 + port.as_str().len();
        1 + match self {
            Item::Send { .. } => name + 1,
            Item::Spawn { function, .. } => name + 1 + function.len().min(255),
            Item::Kill { .. } => name + 4,
            Item::Monitor | Item::Unmonitor | Item::LossAck => name,
            // each frame has its own
            Item::Db(_) | Item::Packed(_) => 0,
        }
    }

    /// Appends kind and body without the payload, which is always their last field.
    pub(crate) fn encode_head(&self, port: &PortName, now: Duration, out: &mut Vec<u8>) {
        let port = port.as_str();
        match self {
            Item::Send { watch, .. } => Frame::Send {
                watch: *watch,
                port,
                payload: &[],
            },
            Item::Packed(_) => return,
            Item::Spawn { function, .. } => Frame::Spawn {
                name: port,
                function,
                args: &[],
            },
            Item::Kill { deadline, .. } => Frame::Kill {
                port,
                wait_ms: deadline
                    .saturating_sub(now)
                    .as_millis()
                    .try_into()
                    .unwrap_or(u32::MAX),
                reason: &[],
            },
            Item::Monitor => Frame::Monitor { port },
            Item::Unmonitor => Frame::Unmonitor { port },
            Item::LossAck => Frame::LossAck { port },
            Item::Db(_) => Frame::Db { payload: &[] },
        }
        .encode_inner(out);
    }
}

/// What a frame of a lane counts for in the window, by the bytes of its kind and body.
pub(crate) fn cost(inner_len: usize) -> u64 {
    inner_len as u64 + FRAME_COST
}

/// An item in its place.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) item: Item,
    /// Bytes of its payload when it was queued; of packed messages those of all that wait.
    pub(crate) size: usize,
    /// What waits for this and everything older to be out; see [`super::downs`].
    pub(crate) generation: Option<u64>,
}

/// A message that goes out in fragments, room for all of it being taken.
#[derive(Debug)]
pub(crate) struct Partial {
    head: Vec<u8>,
    payload: Option<Message>,
    at: usize,
    /// Whether it is a message or a spawn.
    pub(crate) counts: bool,
    /// Whether it is the database's.
    pub(crate) is_db: bool,
    /// Bytes of its payload when it was queued.
    pub(crate) size: usize,
    /// As in [`Entry`].
    pub(crate) generation: Option<u64>,
}

impl Partial {
    pub(crate) fn new(head: Vec<u8>, entry: Entry) -> Self {
        Partial {
            head,
            payload: entry.item.payload().cloned(),
            at: 0,
            counts: entry.item.counts(),
            is_db: entry.item.is_db(),
            size: entry.size,
            generation: entry.generation,
        }
    }

    pub(crate) fn total(&self) -> usize {
        let payload = self.payload.as_ref().map_or(0, Message::encoded_len);
        self.head.len() + payload
    }

    /// Appends the next fragment, a frame of at most `frame_bytes_max`. How long it is, and whether it was the last.
    pub(crate) fn encode_next(
        &mut self,
        lane: u32,
        frame_bytes_max: usize,
        sink: &mut dyn FrameSink,
    ) -> (usize, bool) {
        let start = sink.size();
        let out = sink.bytes();
        let first = self.at == 0;
        let fields = if first { 1 + 4 + 8 } else { 1 + 4 };
        let room = frame_bytes_max.saturating_sub(LENGTH_BYTES + fields).max(1);
        let end = self.total().min(self.at.saturating_add(room));
        let length = (fields + end - self.at) as u32;
        out.extend_from_slice(&length.to_be_bytes());
        out.push(if first {
            kind::FRAGMENT_FIRST
        } else {
            kind::FRAGMENT_MORE
        });
        out.extend_from_slice(&lane.to_be_bytes());
        if first {
            out.extend_from_slice(&(self.total() as u64).to_be_bytes());
        }
        let split = self.head.len();
        if let Some(part) = self.head.get(self.at..end.min(split)) {
            out.extend_from_slice(part);
        }
        let from = self.at.max(split) - split;
        if let Some(payload) = &self.payload {
            put_message(sink, payload, from..end.max(split) - split);
        }
        self.at = end;
        (sink.size() - start, end == self.total())
    }
}

/// Messages and spawns that wait.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Queued {
    pub(crate) bytes: usize,
    pub(crate) count: usize,
}

impl Queued {
    pub(crate) fn enter(&mut self, bytes: usize, count: usize) {
        self.bytes += bytes;
        self.count += count;
    }

    pub(crate) fn leave(&mut self, bytes: usize, count: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.count = self.count.saturating_sub(count);
    }

    /// What is left of these bounds.
    pub(crate) fn free(&self, bytes_max: usize, count_max: usize) -> Queued {
        Queued {
            bytes: bytes_max.saturating_sub(self.bytes),
            count: count_max.saturating_sub(self.count),
        }
    }

    /// Whether one more message fits.
    pub(crate) fn fits(&self, bytes: usize, into: Queued) -> bool {
        self.count < into.count && self.bytes.saturating_add(bytes) <= into.bytes
    }
}

/// In which list of the link a lane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In none.
    Idle,
    /// In the round.
    Ring,
    /// Among those that wait for room in the window or for a fragmented message to end.
    Blocked,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) port: PortName,
    pub(crate) items: VecDeque<Entry>,
    pub(crate) partial: Option<Partial>,
    pub(crate) queued: Queued,
    /// A message was refused because so much of this lane waits.
    pub(crate) starved: bool,
    pub(crate) share: Share,
    pub(crate) place: Place,
    /// Where it waits or waited, until something of it goes out.
    pub(crate) waiting: Option<Waiting>,
    /// What it may still send in its turn; below zero: what it sent too much.
    pub(crate) deficit: i64,
    /// Losses whose monitors have not all fired: nothing new goes out (P2).
    pub(crate) fences: u32,
    /// Whether one of them was told by the peer and is to be acknowledged.
    pub(crate) ack_owed: bool,
    /// Whether the acknowledgement waits at the front.
    pub(crate) ack_queued: bool,
    /// When the kill that waits here ends its wait.
    pub(crate) kill: Option<Duration>,
    /// The kill ended its wait: what is before it goes at once.
    pub(crate) kill_due: bool,
    /// MONITORs that wait here.
    pub(crate) asks: u32,
}

impl Lane {
    pub(crate) fn new(port: PortName) -> Self {
        Lane {
            port,
            items: VecDeque::new(),
            partial: None,
            queued: Queued::default(),
            starved: false,
            share: Share::default(),
            place: Place::Idle,
            waiting: None,
            deficit: 0,
            fences: 0,
            ack_owed: false,
            ack_queued: false,
            kill: None,
            kill_due: false,
            asks: 0,
        }
    }

    /// Whether something could go out, were there room in the window.
    pub(crate) fn is_ready(&self) -> bool {
        self.partial.is_some()
            || (!self.items.is_empty()
                && self.fences == 0
                && (!self.share.is_held() || self.kill_due))
    }

    /// Whether a new item may go out before any other of this lane, were there room.
    pub(crate) fn is_clear(&self) -> bool {
        self.items.is_empty() && self.partial.is_none() && self.fences == 0 && !self.share.is_held()
    }

    /// Whether nothing is to be remembered of it.
    pub(crate) fn is_over(&self) -> bool {
        self.place == Place::Idle
            && self.items.is_empty()
            && self.partial.is_none()
            && self.fences == 0
            && self.share.is_idle()
    }

    /// The kill's wait is over: takes out the messages before it, keeping what else is ordered and the monitors that
    /// rode on messages.
    pub(crate) fn end_kill_wait(&mut self) -> Vec<Entry> {
        self.kill = None;
        self.kill_due = true;
        let end = self
            .items
            .iter()
            .position(|entry| matches!(entry.item, Item::Kill { .. }))
            .unwrap_or(0);
        let mut dropped = Vec::new();
        let mut kept = VecDeque::new();
        for (at, entry) in std::mem::take(&mut self.items).into_iter().enumerate() {
            match entry.item {
                Item::Send { watch, .. } if at < end => {
                    if watch {
                        self.asks += 1;
                        kept.push_back(Entry {
                            item: Item::Monitor,
                            size: 0,
                            generation: None,
                        });
                    }
                    dropped.push(entry);
                }
                Item::Packed(_) if at < end => dropped.push(entry),
                _ => kept.push_back(entry),
            }
        }
        self.items = kept;
        dropped
    }
}

/// All lanes of one link, by name and by index. An index is used again when its lane is over.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    slots: Vec<Option<Lane>>,
    free: Vec<LaneIndex>,
    names: NameMap<LaneIndex>,
    /// The lane that was looked up last.
    last: LaneIndex,
}

impl Lanes {
    pub(crate) fn get(&mut self, index: LaneIndex) -> Option<&mut Lane> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    pub(crate) fn find(&mut self, port: &PortName) -> Option<LaneIndex> {
        let last = self.last;
        if self.get(last).is_some_and(|lane| lane.port == *port) {
            return Some(last);
        }
        let index = *self.names.get(port)?;
        self.last = index;
        Some(index)
    }

    /// The lane of that port, a new one where there is none.
    pub(crate) fn open(&mut self, port: &PortName) -> LaneIndex {
        let last = self.last;
        if self.get(last).is_some_and(|lane| lane.port == *port) {
            return last;
        }
        let Lanes {
            slots, free, names, ..
        } = self;
        let index = *names.or_insert_with(port, || {
            let lane = Some(Lane::new(port.clone()));
            let index = free.pop().unwrap_or(slots.len() as LaneIndex);
            match slots.get_mut(index as usize) {
                Some(slot) => *slot = lane,
                None => slots.push(lane),
            }
            index
        });
        self.last = index;
        index
    }

    /// Forgets the lane if nothing is to be remembered of it.
    pub(crate) fn tidy(&mut self, index: LaneIndex) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        if let Some(lane) = slot.as_ref().filter(|lane| lane.is_over()) {
            self.names.remove(&lane.port);
            *slot = None;
            self.free.push(index);
            if self.names.is_empty() && self.slots.len() > 1024 {
                // what one burst to many ports took
                *self = Lanes::default();
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// All of them, in no order.
    pub(crate) fn into_lanes(self) -> impl Iterator<Item = Lane> {
        self.slots.into_iter().flatten()
    }
}
