//! How ports end, and who is told: watchers, links, the listeners to losses.

use std::{
    cell::RefCell,
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Watch,
    behaviour::shielded,
    events::NodeEvent,
    port::{Item, PortCell, Remains},
    registry::{Registry, Target},
    reply::{Answer, ReplyCell},
};
use crate::proto::{id::PortId, link::LinkId, message::Reason, node::peer::Reply};

type Cascade = VecDeque<(Vec<Watch>, Reason)>;

thread_local! {
    /// The deaths that the monitors being fired on this thread have caused, and whose monitors are still to fire.
    static CASCADE: RefCell<Option<Cascade>> = const { RefCell::new(None) };
}

/// Fires monitors, and those of the ports that die of it, and so on: one after the other, so that a long chain of ports
/// that die with each other does not need a deep stack. When the outermost call returns, all have fired.
pub(super) fn fire(watches: Vec<Watch>, reason: &Reason) {
    if watches.is_empty() {
        return;
    }
    let outermost = CASCADE.with_borrow_mut(|cascade| match cascade {
        Some(cascade) => {
            cascade.push_back((watches, reason.clone()));
            false
        }
        None => {
            *cascade = Some(Cascade::from([(watches, reason.clone())]));
            true
        }
    });
    if !outermost {
        return;
    }
    while let Some((watches, reason)) = CASCADE.with_borrow_mut(|cascade| {
        let next = cascade.as_mut().and_then(VecDeque::pop_front);
        if next.is_none() {
            *cascade = None;
        }
        next
    }) {
        for watch in watches {
            shielded("a monitor's callback", || watch.fire(&reason));
        }
    }
}

impl Registry {
    /// Kills the port here and now. Its running handler ends at its next await. `false`: it was dead.
    pub fn die(&self, cell: &Arc<PortCell>, reason: Reason) -> bool {
        let mut inner = cell.lock();
        let Some(mut remains) = inner.bury() else {
            return false;
        };
        cell.set_urgent();
        if remains.was_starting {
            self.failed().insert(cell.name().clone(), reason.clone());
        }
        // before anybody can find it dead or gone, so that no loss of a message to it is told before its death
        self.tell_death(cell.id(), std::mem::take(&mut remains.links), &reason);
        self.remove(cell.name());
        drop(inner);
        let lost: usize = remains.items.iter().map(Item::messages).sum();
        self.count_lost(cell, lost as u64);
        if let Some(room) = remains.room.take() {
            room.notify_waiters();
        }
        if let Some(waker) = remains.waker.take() {
            waker.wake();
        }
        self.tell_room(cell, std::mem::take(&mut remains.waiting));
        let ties = std::mem::take(&mut remains.ties);
        shielded("dropping what was tied to a port", || drop(ties));
        let watches = std::mem::take(&mut remains.watches);
        fire(watches, &reason);
        tracing::debug!(port = %cell.id(), ?reason, "port died");
        let Remains {
            items,
            behaviours,
            table,
            ..
        } = remains;
        shielded("dropping a port", || drop((items, behaviours, table)));
        true
    }

    /// The reply port is gone: answered, cancelled or killed.
    pub fn end_reply(&self, cell: &ReplyCell, answer: Option<Answer>, reason: &Reason) -> bool {
        let mut inner = cell.lock();
        let Some(waker) = inner.end(answer) else {
            return false;
        };
        let mut watches = Vec::new();
        if let Some(watchers) = inner.watchers() {
            self.tell_death(cell.id(), watchers.take_links(), reason);
            watches = watchers.take_local();
        }
        self.remove(cell.id().name());
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        fire(watches, reason);
        true
    }

    fn tell_death(&self, id: &PortId, watching: Vec<LinkId>, reason: &Reason) {
        if watching.is_empty() {
            return;
        }
        if let Some(links) = self.links() {
            for link in watching {
                links.reply(
                    link,
                    Reply::Down {
                        port: id.name().clone(),
                        reason: reason.clone(),
                    },
                );
            }
        }
    }

    /// All ports die; there are no new ones from now on.
    pub fn close(&self, reason: &Reason) {
        self.map.close(|target| match target {
            Target::Port(cell) => {
                self.die(&cell, reason.clone());
            }
            Target::Reply(cell) => {
                let answer = Answer::Died(reason.clone());
                self.end_reply(&cell, Some(answer), reason);
            }
        });
        // a node that never started has ports whose tasks still wait for that
        self.release();
    }

    /// Whether [`Self::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.map.is_closed()
    }

    pub(super) fn count_lost(&self, cell: &PortCell, count: u64) {
        self.count_lost_to(cell.id(), count, "the port died");
    }

    pub(crate) fn count_lost_to(&self, to: &PortId, count: u64, why: &str) {
        if count == 0 {
            return;
        }
        self.lost.fetch_add(count, Ordering::Relaxed);
        if self.events.has_listeners() {
            self.events.send(NodeEvent::Undelivered {
                to: to.clone(),
                count,
                reason: why.to_owned(),
            });
        }
    }
}
