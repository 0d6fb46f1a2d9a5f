//! What is ordered against messages and is none: spawns, kills, monitors, acknowledgements (M4, S1).

use std::time::Duration;

use super::{Cx, Ports, Session, permit::refused};
use crate::proto::{
    close::CloseReason,
    id::PortName,
    message::{Message, Reason},
    node::{held::Item, peer::Reply},
    policy::{Asked, Operation},
};

/// How many refused spawns are remembered.
const REFUSED_MAX: usize = 1024;

impl<P: Ports> Session<P> {
    pub(super) fn spawn(
        &mut self,
        name: PortName,
        function: &str,
        args: Message,
        cx: &mut Cx<'_, P>,
    ) -> Result<(), CloseReason> {
        let own = name.as_str().strip_prefix(self.prefix.as_str());
        if own.is_none_or(str::is_empty) {
            let text = format!("a spawn of {name:?}, which is not the peer's to give");
            return Err(CloseReason::Protocol(text));
        }
        let by = &self.params.node;
        let operation = Operation::to_spawn(function);
        let spawned = match self.policy.check(by, operation, &Asked::Name(function)) {
            Ok(()) => cx.ports.spawn(self.params.link, by, &name, function, args),
            Err(denial) => {
                let reason = Reason::not_permitted(&denial.text);
                refused(cx, denial);
                Err(reason)
            }
        };
        if let Err(reason) = spawned {
            if self.unborn.len() >= REFUSED_MAX {
                self.unborn.pop_front();
            }
            self.unborn.push_back((name, reason));
        }
        Ok(())
    }

    pub(super) fn kill(
        &mut self,
        name: &PortName,
        reason: Reason,
        wait: Duration,
        cost: u64,
        cx: &mut Cx<'_, P>,
    ) {
        let Some(port) = cx.ports.find(name.as_str()) else {
            return;
        };
        let permitted = if name.is_node_port() {
            let text = "the node port cannot be killed".to_owned();
            Err(self.limited(Operation::Kill, name, text))
        } else {
            self.permit(Operation::Kill, name, &port, cx)
        };
        if let Err(denial) = permitted {
            let text = denial.text.clone();
            refused(cx, denial);
            if wait.is_zero() {
                // the sender may have dropped messages for the sake of this kill
                self.lose(name, 1, text, cx);
            } else {
                let port = name.clone();
                cx.out.replies.push(Reply::KillRefused { port, text });
            }
            return;
        }
        let item = Item::Kill {
            reason,
            deadline: cx.now + wait,
            cost,
        };
        let held = self.held.contains(name.as_str());
        if let Some(item) = self.hold(name, item, cx) {
            self.apply(name, Some(&port), item, cx);
        }
        if held && wait.is_zero() {
            self.end_kill_wait(name, cx);
        }
    }

    /// Does it, behind what is held for the port.
    pub(super) fn ordered(&mut self, name: &PortName, item: Item, cx: &mut Cx<'_, P>) {
        if let Some(item) = self.hold(name, item, cx) {
            let port = cx.ports.find(name.as_str());
            self.apply(name, port.as_ref(), item, cx);
        }
    }

    pub(super) fn apply(
        &mut self,
        name: &PortName,
        port: Option<&P::Port>,
        item: Item,
        cx: &mut Cx<'_, P>,
    ) {
        let link = self.params.link;
        match item {
            Item::Messages { .. } => {}
            Item::Watch { .. } => self.watch(name, port, cx),
            Item::Unwatch { .. } => {
                if self.watched.remove(name)
                    && let Some(port) = port
                {
                    cx.ports.unwatch(port, link);
                }
            }
            Item::LossAck { .. } => {
                if let Some(port) = port {
                    cx.ports.loss_acknowledged(port, link);
                }
            }
            Item::Kill {
                reason, deadline, ..
            } => {
                if let Some(port) = port {
                    let within = deadline.saturating_sub(cx.now);
                    cx.ports.kill(port, link, reason, within);
                }
            }
        }
    }

    fn watch(&mut self, name: &PortName, port: Option<&P::Port>, cx: &mut Cx<'_, P>) {
        if let Err(reason) = self.try_watch(name, port, cx) {
            let port = name.clone();
            cx.out.replies.push(Reply::Down { port, reason });
        }
    }

    fn try_watch(
        &mut self,
        name: &PortName,
        port: Option<&P::Port>,
        cx: &mut Cx<'_, P>,
    ) -> Result<(), Reason> {
        let Some(port) = port else {
            let unborn = self.unborn.iter().find(|(other, _)| other == name);
            return Err(
                unborn.map_or_else(|| cx.ports.dead_reason(name), |(_, reason)| reason.clone())
            );
        };
        if let Err(denial) = self.permit(Operation::Monitor, name, port, cx) {
            let reason = Reason::not_permitted(&denial.text);
            refused(cx, denial);
            return Err(reason);
        }
        if self.watched.contains(name) {
            return Ok(());
        }
        let max = self.limits.monitors_per_link_max;
        let is_alive = |name: &str| cx.ports.find(name).is_some();
        if !self.watched.has_room(max, is_alive) {
            let text = format!("more than {max} monitors over one link");
            let reason = Reason::not_permitted(&text);
            refused(cx, self.limited(Operation::Monitor, name, text));
            return Err(reason);
        }
        cx.ports.watch(port, self.params.link)?;
        self.watched.insert(name);
        Ok(())
    }
}
