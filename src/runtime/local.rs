//! What this node itself does to its ports: send, monitor, kill, spawn (P10).

use std::sync::Arc;

use tokio::{sync::futures::OwnedNotified, time::Instant};

use super::{
    Watch,
    behaviour::{Fault, shielded},
    port::{Item, PortCell},
    registry::{Registry, Target},
    reply::Answer,
};
use crate::proto::{
    id::{NodeId, PortId, PortName},
    message::{Message, Reason},
    monitor::WatchId,
    ports::mailbox::{Overflow, Push},
    value::Value,
};

/// A local send that was refused; here is the message.
#[derive(Debug)]
pub struct LocalFull(pub Message);

/// What a reply port dies with when its call ended without a reply.
pub fn cancelled() -> Reason {
    Reason(vec![Value::Text("cancelled".into())])
}

/// What ports die with when their node stops.
pub fn shutdown() -> Reason {
    Reason(vec![Value::Text("shutdown".into())])
}

/// What to do where there is no room.
enum How<'a> {
    /// Give the message back.
    Try,
    /// Put it in all the same.
    Forced,
    /// Give the message back, and here what to wait for.
    Wait(&'a mut Option<OwnedNotified>),
}

impl Registry {
    /// A message from this node. A port that is not there takes it as well: it is lost, and there is no monitor to tell (P2).
    pub fn send(&self, name: &PortName, message: Message) -> Result<(), LocalFull> {
        match self.find(name.as_str()) {
            Some(Target::Port(cell)) => self.push(&cell, message, How::Try),
            Some(Target::Reply(cell)) => {
                self.answer(&cell, message);
                Ok(())
            }
            None => {
                let id = PortId::new(self.node().clone(), name.clone());
                self.count_lost_to(&id, 1, "no such port");
                Ok(())
            }
        }
    }

    /// Likewise, whether there is room or not: for what is bounded by the program itself (monitors, timers).
    pub fn send_forced(&self, name: &PortName, message: Message) {
        match self.find(name.as_str()) {
            Some(Target::Port(cell)) => {
                let _ = self.push(&cell, message, How::Forced);
            }
            _ => {
                let _ = self.send(name, message);
            }
        }
    }

    /// Likewise, waits for room.
    pub async fn send_wait(&self, name: &PortName, mut message: Message) {
        loop {
            let Some(Target::Port(cell)) = self.find(name.as_str()) else {
                let _ = self.send(name, message);
                return;
            };
            let mut room = None;
            match self.push(&cell, message, How::Wait(&mut room)) {
                Ok(()) => return,
                Err(LocalFull(back)) => message = back,
            }
            if let Some(room) = room {
                room.await;
            }
        }
    }

    fn push(&self, cell: &Arc<PortCell>, message: Message, how: How<'_>) -> Result<(), LocalFull> {
        let mut inner = cell.lock();
        if inner.dead {
            drop(inner);
            self.count_lost(cell, 1);
            return Ok(());
        }
        if let How::Forced = how {
            inner.mailbox.push_control(Item::Message(message));
        } else if let Push::Full(message) = inner.push_message(message) {
            if inner.mailbox.limits().overflow == Overflow::PushBack {
                if let How::Wait(room) = how {
                    // under the lock, so that room that comes right after is not missed
                    let notify = inner.room.get_or_insert_default().clone();
                    *room = Some(notify.notified_owned());
                }
                return Err(LocalFull(message));
            }
            let waiting = inner.mailbox.count();
            drop(inner);
            self.overflow(cell, waiting);
            self.count_lost(cell, 1);
            return Ok(());
        }
        let start = inner.start_running();
        drop(inner);
        if start {
            self.start(cell);
        }
        Ok(())
    }

    /// The mailbox is full and that kills the port (P8).
    pub(super) fn overflow(&self, cell: &Arc<PortCell>, waiting: usize) {
        if !cell.name().is_node_port() {
            self.die(cell, Reason::mailbox_overflow(waiting));
        }
    }

    /// The reply of a call.
    pub(super) fn answer(&self, cell: &super::reply::ReplyCell, message: Message) {
        if !self.end_reply(cell, Some(Answer::Reply(message)), &Reason::normal()) {
            self.count_lost_to(cell.id(), 1, "no such port");
        }
    }

    /// Monitors a port of this node. Fires before this returns where the port is not there; then there is no ID.
    pub fn monitor(&self, name: &PortName, watch: Watch) -> Option<WatchId> {
        let refused = match self.find(name.as_str()) {
            Some(Target::Port(cell)) => {
                let mut inner = cell.lock();
                if !inner.dead {
                    return Some(inner.watch(watch));
                }
                watch
            }
            Some(Target::Reply(cell)) => {
                let mut inner = cell.lock();
                if inner.is_open() {
                    return Some(inner.watch(watch));
                }
                watch
            }
            None => watch,
        };
        let reason = self.dead_reason(name);
        shielded("a monitor's callback", || refused.fire(&reason));
        None
    }

    /// Takes a monitor back.
    pub fn unmonitor(&self, name: &PortName, id: WatchId) {
        let watch = match self.find(name.as_str()) {
            Some(Target::Port(cell)) => {
                let mut inner = cell.lock();
                let watch = inner.extras().and_then(|more| more.watchers.remove(id));
                inner.tidy();
                watch
            }
            Some(Target::Reply(cell)) => cell.lock().watchers().and_then(|all| all.remove(id)),
            None => None,
        };
        shielded("dropping a monitor", || drop(watch));
    }

    /// Why a port that is not there is not there.
    pub fn dead_reason(&self, name: &PortName) -> Reason {
        let known = self.failed().get(name.as_str()).cloned();
        known.unwrap_or_else(|| {
            Reason::no_such_port(&PortId::new(self.node().clone(), name.clone()))
        })
    }

    /// Kills a port, behind what waits for it, within [`kill_wait`](crate::Limits::kill_wait) (M4). Nothing happens where
    /// there is none; the node port cannot be killed (M1).
    pub fn kill(&self, name: &PortName, reason: Reason) {
        match self.find(name.as_str()) {
            Some(Target::Port(cell)) => self.kill_cell(&cell, reason, self.limits().kill_wait),
            Some(Target::Reply(cell)) => {
                self.end_reply(&cell, Some(Answer::Died(reason.clone())), &reason);
            }
            None => {}
        }
    }

    /// What a monitor does to a port of this node: it is dead when this returns, so that nothing that it still had to
    /// do can come behind the loss that the monitor tells of (M6).
    pub fn kill_now(&self, name: &PortName, reason: Reason) {
        match self.find(name.as_str()) {
            Some(Target::Port(cell)) if !cell.name().is_node_port() => {
                self.die(&cell, reason);
            }
            Some(Target::Port(_)) | None => {}
            Some(Target::Reply(_)) => self.kill(name, reason),
        }
    }

    pub(super) fn kill_cell(
        &self,
        cell: &Arc<PortCell>,
        reason: Reason,
        within: std::time::Duration,
    ) {
        if cell.name().is_node_port() {
            tracing::debug!("the node port cannot be killed");
            return;
        }
        // M4: a deadline that the clock cannot hold is none
        let Some(at) = Instant::now().checked_add(within) else {
            return;
        };
        let mut inner = cell.lock();
        if inner.dead {
            return;
        }
        match &mut inner.more().kill {
            // the earlier one comes first and is enough; all that a second can do is to end its wait sooner
            Some((deadline, _)) => *deadline = at.min(*deadline),
            kill @ None => {
                *kill = Some((at, reason.clone()));
                inner.mailbox.push_control(Item::Kill(reason));
            }
        }
        cell.set_urgent();
        let waker = inner.waker.take();
        let start = inner.start_running();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        if start {
            self.start(cell);
        }
    }

    /// The port dies when the handler that runs returns, or at once if none runs (M4).
    pub fn stop(&self, cell: &Arc<PortCell>, reason: Reason) {
        if cell.name().is_node_port() {
            return;
        }
        let mut inner = cell.lock();
        if inner.dead {
            return;
        }
        inner.more().stop.get_or_insert(reason);
        cell.set_urgent();
        let start = inner.start_running();
        drop(inner);
        if start {
            self.start(cell);
        }
    }

    /// A new port on this node, equipped by the function of that name in its own task (S1, S3).
    pub fn spawn(&self, function: &str, args: Message) -> PortId {
        let id = self.next_id();
        if let Err(reason) = self.spawn_named(id.clone(), None, function, args) {
            self.failed().insert(id.name().clone(), reason);
        }
        id
    }

    pub(super) fn spawn_named(
        &self,
        id: PortId,
        by: Option<NodeId>,
        function: &str,
        args: Message,
    ) -> Result<Arc<PortCell>, Reason> {
        let Some(init) = self.config.functions.get(function) else {
            return Err(Reason::no_such_function(function));
        };
        let made = shielded("a spawnable function", || init.init(args));
        let Some((behaviour, work)) = made else {
            return Err(Reason::die(format_args!("{function} panicked")));
        };
        let limits = self.mailbox_limits().clone();
        let cell = PortCell::new(id, limits, behaviour, None, by, true);
        {
            let mut inner = cell.lock();
            inner.mailbox.push_control(Item::Work(work));
            inner.running = true;
        }
        if !self.insert(Target::Port(cell.clone())) {
            let remains = cell.lock().bury();
            shielded("dropping a port", || drop(remains));
            return Err(if self.is_closed() {
                shutdown()
            } else {
                Reason::die(format_args!("the name {} is taken", cell.name()))
            });
        }
        self.start(&cell);
        Ok(cell)
    }

    /// A message from this node to its node port that nothing handles: the local form of a loss (P2).
    pub(super) fn lose_on_node_port(&self, cell: &Arc<PortCell>, fault: &Fault) {
        self.count_lost(cell, 1);
        let watches = cell.lock().more().watchers.take_local();
        let reason = Reason::transport_error(self.node(), fault.loss_text());
        super::death::fire(watches, &reason);
    }
}
