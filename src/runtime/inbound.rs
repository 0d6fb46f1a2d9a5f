//! What peers do to the ports of this node: the registry as the links' sessions see it.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    LinkSink, NodePorts,
    port::{Item, PortCell},
    registry::{Registry, Target},
    reply::Answer,
};
use crate::proto::{
    id::{NodeId, PortId, PortName},
    link::LinkId,
    message::{Batch, Message, Reason},
    node::session::{Delivery, Ports},
    policy::{Asked, Operation, PeerPolicy, PortFacts},
    ports::mailbox::Overflow,
};

impl Ports for Registry {
    type Port = Target;

    fn find(&self, name: &str) -> Option<Target> {
        Registry::find(self, name)
    }

    fn deliver(&self, port: &Target, link: LinkId, batch: &mut Batch) -> Delivery {
        match port {
            Target::Port(cell) => self.take_batch(cell, link, batch),
            Target::Reply(cell) => {
                if let Some(message) = batch.next() {
                    self.answer(cell, message);
                }
                if batch.is_empty() {
                    Delivery::Done
                } else {
                    Delivery::Dead
                }
            }
        }
    }

    fn spawned_by(&self, port: &Target, node: &NodeId) -> bool {
        match port {
            Target::Port(cell) => cell.spawned_by() == Some(node),
            Target::Reply(_) => false,
        }
    }

    fn is_registered(&self, port: &Target, wanted: &dyn Fn(&str) -> bool) -> bool {
        match port {
            Target::Port(cell) => self.config.registered.is_in(cell.name(), wanted),
            Target::Reply(_) => false,
        }
    }

    fn is_reply(&self, port: &Target) -> bool {
        matches!(port, Target::Reply(_))
    }

    fn kill(&self, port: &Target, _link: LinkId, reason: Reason, within: Duration) {
        match port {
            Target::Port(cell) => {
                self.kill_cell(cell, reason, within.min(self.limits().kill_wait));
            }
            Target::Reply(cell) => {
                self.end_reply(cell, Some(Answer::Died(reason.clone())), &reason);
            }
        }
    }

    fn watch(&self, port: &Target, link: LinkId) -> Result<(), Reason> {
        let name = match port {
            Target::Port(cell) => {
                let mut inner = cell.lock();
                if !inner.dead {
                    inner.more().watchers.add_link(link);
                    return Ok(());
                }
                cell.name()
            }
            Target::Reply(cell) => {
                let mut inner = cell.lock();
                if inner.is_open() {
                    inner.more().add_link(link);
                    return Ok(());
                }
                cell.id().name()
            }
        };
        Err(Registry::dead_reason(self, name))
    }

    fn dead_reason(&self, name: &PortName) -> Reason {
        Registry::dead_reason(self, name)
    }

    fn unwatch(&self, port: &Target, link: LinkId) {
        match port {
            Target::Port(cell) => {
                let mut inner = cell.lock();
                if let Some(more) = inner.extras() {
                    more.watchers.remove_link(link);
                }
                inner.tidy();
            }
            Target::Reply(cell) => {
                if let Some(watchers) = cell.lock().watchers() {
                    watchers.remove_link(link);
                }
            }
        }
    }

    fn loss_acknowledged(&self, port: &Target, link: LinkId) {
        let Target::Port(cell) = port else { return };
        let mut inner = cell.lock();
        if inner.dead {
            return;
        }
        let mark = inner
            .extras()
            .and_then(|more| more.broken.iter_mut().find(|(broken, _)| *broken == link));
        match mark {
            Some((_, acknowledged @ false)) => *acknowledged = true,
            _ => return,
        }
        inner.mailbox.push_control(Item::LossAck(link));
        let start = inner.start_running();
        drop(inner);
        if start {
            self.start(cell);
        }
    }

    fn spawn(
        &self,
        _link: LinkId,
        by: &NodeId,
        name: &PortName,
        function: &str,
        args: Message,
    ) -> Result<Target, Reason> {
        let id = PortId::new(self.node().clone(), name.clone());
        self.spawn_named(id, Some(by.clone()), function, args)
            .map(Target::Port)
    }
}

impl Registry {
    fn take_batch(&self, cell: &Arc<PortCell>, link: LinkId, batch: &mut Batch) -> Delivery {
        let mut inner = cell.lock();
        if inner.dead {
            return Delivery::Dead;
        }
        let mut delivery = Delivery::Done;
        let mut overflow = None;
        if !inner.push_batch(batch, link) {
            if inner.mailbox.limits().overflow == Overflow::Kill && !cell.name().is_node_port() {
                overflow = Some(inner.mailbox.count());
            } else {
                inner.mailbox.wait_for_room(link);
                delivery = Delivery::Full;
            }
        }
        let start = inner.start_running();
        drop(inner);
        if start {
            self.start(cell);
        }
        if let Some(waiting) = overflow {
            self.overflow(cell, waiting);
            return Delivery::Dead;
        }
        delivery
    }

    /// Whether a message of that link that the port cannot handle kills it (P4).
    pub(super) fn may_kill(&self, cell: &PortCell, link: LinkId) -> bool {
        let Some((node, policy)) = self.peer_of(link) else {
            return false;
        };
        let asked = Asked::Port(PortFacts {
            name: cell.name().as_str(),
            is_spawned: &|| cell.spawned_by() == Some(&node),
            is_registered: &|wanted| self.config.registered.is_in(cell.name(), wanted),
        });
        !cell.name().is_node_port() && policy.decide(Operation::Kill, &asked).allowed
    }
}

impl NodePorts for Registry {
    fn attach(&self, links: Weak<dyn LinkSink>) {
        if !self.set_links(links) {
            tracing::error!("a second mesh on the ports of one node");
        }
    }

    fn link_up(&self, link: LinkId, node: &NodeId, policy: &Arc<PeerPolicy>) {
        self.set_link(link, node, policy);
    }

    fn link_policy(&self, link: LinkId, policy: &Arc<PeerPolicy>) {
        self.set_policy(link, policy);
    }

    fn link_down(&self, link: LinkId) {
        self.forget_link(link);
    }
}
