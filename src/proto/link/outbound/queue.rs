//! How much may wait (P3, P8), and who is told when there is room again.
//!
//! One lane may have as much waiting as is free of the queue besides, half of it where it is alone (the dynamic threshold
//! of Choudhury and Hahne): what is sent without end to a port that is stuck leaves room for all other ports.

use super::Outbound;
use crate::proto::{
    id::PortName,
    link::{
        lane::{Entry, Queued},
        window::LaneIndex,
    },
};

/// Whether senders may wait for room.
#[derive(Debug, Default)]
pub(crate) struct Hungry {
    /// The queue was full for one whose lane was not: told when half of the queue is free, or nothing more can go out now.
    refused: bool,
    /// A lane that had too much waiting has room: told at once.
    roomy: bool,
}

impl Outbound {
    fn free(&self) -> Queued {
        let limits = &self.limits;
        self.queued
            .free(limits.outbound_bytes_max, limits.outbound_count_max)
    }

    fn is_half_empty(&self) -> bool {
        let limits = &self.limits;
        self.queued.bytes <= limits.outbound_bytes_max / 2
            && self.queued.count <= limits.outbound_count_max / 2
    }

    /// Whether a message of that size may be queued for that port. Where not, [`Sent::room`](super::serve::Sent) tells when.
    pub(crate) fn has_room(&mut self, port: &PortName, bytes: usize) -> bool {
        let free = self.free();
        if self.queued.count == 0
            || (self.queued.count < free.count
                && self.queued.bytes.saturating_add(bytes) <= free.bytes)
        {
            // no lane has more than the whole queue
            return true;
        }
        let lane = self.lanes.find(port);
        if let Some(lane) = lane.and_then(|index| self.lanes.get(index))
            && lane.queued.count > 0
            && !lane.queued.fits(bytes, free)
        {
            lane.starved = true;
            return false;
        }
        let fits = Queued::default().fits(bytes, free);
        self.hungry.refused |= !fits;
        fits
    }

    /// An item is not in its lane any more.
    pub(super) fn leave(&mut self, index: LaneIndex, entry: &Entry) {
        if entry.item.counts() {
            self.left(index, entry.size, entry.item.count());
        } else if entry.item.is_db() {
            self.db.bytes = self.db.bytes.saturating_sub(entry.size);
        }
        if let Some(generation) = entry.generation {
            self.downs.leave(generation);
        }
    }

    /// So many messages or spawns of that lane do not wait any more.
    pub(super) fn left(&mut self, index: LaneIndex, size: usize, count: usize) {
        self.queued.leave(size, count);
        let free = self.free();
        if let Some(lane) = self.lanes.get(index) {
            lane.queued.leave(size, count);
            // not for each message
            if lane.starved
                && lane.queued.bytes <= free.bytes / 2
                && lane.queued.count <= free.count / 2
            {
                lane.starved = false;
                self.hungry.roomy = true;
            }
        }
    }

    /// Whether senders that wait are to be woken.
    pub(super) fn tell_room(&mut self) -> bool {
        let refused = self.hungry.refused && (self.ring.is_empty() || self.is_half_empty());
        let told = refused || self.hungry.roomy;
        if refused {
            self.hungry.refused = false;
        }
        self.hungry.roomy = false;
        told
    }
}
