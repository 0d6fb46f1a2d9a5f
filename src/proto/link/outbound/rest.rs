//! The end of a link that nobody uses: what must be over before it, and what is kept for the next one.

use std::time::Duration;

use super::Outbound;
use crate::proto::{codec::Format, link::lane::Item};

impl Outbound {
    /// Since when nothing went out in lanes. `None`: something waits, is under way or held, or a loss is not settled.
    pub(crate) fn idle_since(&self) -> Option<Duration> {
        let is_idle = !self.is_busy() && self.lost.is_empty() && self.control.is_settled();
        is_idle.then_some(self.last_lane)
    }

    /// From now on nothing goes out in lanes, or it may again.
    pub(crate) fn set_quiet(&mut self, is_quiet: bool) {
        self.is_quiet = is_quiet;
    }

    /// The peer needs the link: it was as if something had been sent.
    pub(crate) fn touch(&mut self, now: Duration) {
        self.last_lane = self.last_lane.max(now);
    }

    /// The link has ended while nothing was under way: what was queued meanwhile is for the next one, but for what only
    /// this one knew.
    pub(crate) fn rest(&mut self) {
        let fresh = Outbound::new(&self.limits);
        let old = std::mem::replace(self, fresh);
        self.hungry = old.hungry;
        let format = old.terms.map_or_else(Format::cbor, |terms| terms.format);
        for lane in old.lanes.into_lanes() {
            for entry in lane.items {
                match entry.item {
                    Item::Unmonitor | Item::LossAck | Item::Db(_) => {}
                    Item::Packed(packed) => {
                        for message in packed.into_messages(&format) {
                            let watch = false;
                            self.queue(&lane.port, Item::Send { message, watch });
                        }
                    }
                    item => self.queue(&lane.port, item),
                }
            }
        }
    }
}
