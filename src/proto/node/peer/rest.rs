//! The end of a link that nobody uses, without a loss: asking, answering, and what is kept for the next link.
//!
//! The side that finds the link idle asks (RETIRE) and sends nothing in lanes until the answer. When it asks, all that it
//! sent has been dealt with, and it holds no monitor; so nothing of its own can be lost with the link. The other side
//! agrees only where the same is so for it, and sends nothing either from then on. What is queued meanwhile was never
//! under way: it is for the next link, as if it had been queued without one.

use std::time::Duration;

use super::{Handled, LinkId, Peer, Wake};
use crate::proto::{
    close::{CloseReason, code},
    id::PortName,
    limits::Now,
    link::{frame::Frame, lane::Item, window::Lie},
    monitor::WatchId,
};

/// Where a link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// In use.
    Active,
    /// The peer was asked, and has not answered.
    Retiring,
    /// It ends, as both want.
    Retired,
}

impl<W> Peer<W> {
    /// Whether the link is to stay though nothing is sent over it. It is forgotten when the link ends.
    pub fn keep(&mut self, kept: bool) {
        self.kept = kept && self.link.is_some();
    }

    /// Asks the peer whether the link may end, where nobody has used it for `Limits::idle_timeout`. To be called every now
    /// and then. `heard`: since when nothing came in lanes, where nothing that came is held
    /// ([`Session::idle_since`](crate::proto::node::session::Session::idle_since)).
    pub fn retire(&mut self, link: LinkId, heard: Option<Duration>, now: Now) -> Wake {
        let timeout = self.limits.idle_timeout;
        let may = self.link == Some(link) && self.may_retire && self.rest == Rest::Active;
        let (true, false, Some(heard), Some(sent)) =
            (may, timeout.is_zero(), heard, self.idle_since())
        else {
            return Wake::default();
        };
        if heard.max(sent).saturating_add(timeout) > now.mono {
            return Wake::default();
        }
        self.set_rest(Rest::Retiring);
        self.out.control.push(Frame::Retire);
        self.wake()
    }

    /// Why the link has ended, as far as this side is concerned: the peer's word that it was idle counts only where it was
    /// asked. `moved`: the same life of the peer has made another connection the link, and so had ended this one; where it
    /// was asked that is an answer too.
    pub fn why(&self, reason: CloseReason, moved: bool) -> CloseReason {
        let agreed = match self.rest {
            Rest::Active => false,
            Rest::Retiring => moved || matches!(reason, CloseReason::ByPeer(code::IDLE, _)),
            Rest::Retired => true,
        };
        if agreed { CloseReason::Idle } else { reason }
    }

    /// Since when nothing was sent in lanes, where nothing on this side needs the link.
    fn idle_since(&self) -> Option<Duration> {
        let needed = self.kept || self.pinned || !self.watches.is_empty();
        (!needed).then(|| self.out.idle_since())?
    }

    pub(super) fn set_rest(&mut self, rest: Rest) {
        self.rest = rest;
        self.out.set_quiet(rest != Rest::Active);
    }

    /// RETIRE.
    pub(super) fn handle_retire(&mut self, handled: &mut Handled<W>) {
        if self.rest == Rest::Active && self.idle_since().is_none() {
            self.out.control.stay();
        } else {
            // where both have asked, neither has anything under way
            self.set_rest(Rest::Retired);
            handled.close = Some(CloseReason::Idle);
        }
    }

    /// STAY.
    pub(super) fn handle_stay(&mut self, now: Now) -> Result<(), Lie> {
        if self.rest != Rest::Retiring {
            return Err(Lie("STAY without RETIRE"));
        }
        self.set_rest(Rest::Active);
        self.out.touch(now.mono);
        Ok(())
    }

    /// Adds a monitor; whether the peer has to be asked. While the link may end, what the peer was asked before does not
    /// count: the next link's does not know it. (To be asked twice changes nothing for the peer.)
    pub(super) fn add_watch(&mut self, port: &PortName, watch: W) -> (WatchId, bool) {
        let (id, ask) = self.watches.add(port, watch);
        let anew =
            self.rest != Rest::Active && !port.is_node_port() && !self.out.is_asked_for(port);
        (id, ask || anew)
    }

    /// The peer is not asked any more for ports that were monitored and are not.
    pub(super) fn evict(&mut self) {
        while let Some(port) = self.watches.evict() {
            if !self.out.cancel_monitor(&port) || self.rest != Rest::Active {
                self.out.queue(&port, Item::Unmonitor);
            }
        }
    }

    /// The link ends with nothing lost: what is queued, and the monitors that were added since, are for the next one.
    pub(super) fn rest(&mut self) {
        self.out.rest();
        for port in self.watches.forget_idle() {
            self.out.cancel_monitor(&port);
        }
    }
}
