//! Whether the peer may do what it asks for to a port, and what follows when that changes.

use std::sync::Arc;

use super::{Cx, Ports, Reactions, Session};
use crate::proto::{
    id::PortName,
    limits::Now,
    message::Reason,
    node::peer::Reply,
    policy::{Asked, Denial, Operation, PeerPolicy, PortFacts},
};

/// How many refusals one batch tells.
const REFUSALS_TOLD_MAX: usize = 8;

/// Notes a refusal, to be counted and audited.
pub(super) fn refused<P>(cx: &mut Cx<'_, P>, denial: Denial) {
    cx.out.denied += 1;
    if cx.out.refused.len() < REFUSALS_TOLD_MAX {
        cx.out.refused.push(denial);
    }
}

impl<P: Ports> Session<P> {
    /// What the peer may do from now on. Monitors that it may not have any more fire with `["not_permitted", …]`.
    pub fn set_policy(
        &mut self,
        policy: Arc<PeerPolicy>,
        now: Now,
        ports: &P,
        out: &mut Reactions,
    ) {
        self.policy = policy;
        let mut cx = Cx {
            ports,
            out,
            now: now.mono,
        };
        if self.policy.is_open(Operation::Monitor) {
            return;
        }
        for name in self.watched.names() {
            // of a port that has died it has been told
            let Some(port) = ports.find(name.as_str()) else {
                continue;
            };
            if let Err(denial) = self.permit(Operation::Monitor, &name, &port, &cx) {
                self.watched.remove(&name);
                ports.unwatch(&port, self.params.link);
                let reason = Reason::not_permitted(&denial.text);
                refused(&mut cx, denial);
                cx.out.replies.push(Reply::Down { port: name, reason });
            }
        }
    }

    pub(super) fn permit(
        &self,
        operation: Operation,
        name: &PortName,
        port: &P::Port,
        cx: &Cx<'_, P>,
    ) -> Result<(), Denial> {
        // whether a link is lost its other end knows anyway (M5)
        let is_of_link = operation == Operation::Monitor && name.is_node_port();
        let is_reply = || operation != Operation::Kill && cx.ports.is_reply(port);
        if self.policy.is_open(operation) || is_of_link || is_reply() {
            return Ok(());
        }
        let node = &self.params.node;
        let facts = PortFacts {
            name: name.as_str(),
            is_spawned: &|| cx.ports.spawned_by(port, node),
            is_registered: &|wanted| cx.ports.is_registered(port, wanted),
        };
        self.policy.check(node, operation, &Asked::Port(facts))
    }

    /// A refusal that is not the policy's.
    pub(super) fn limited(&self, operation: Operation, name: &PortName, text: String) -> Denial {
        Denial {
            operation,
            target: name.to_string(),
            by: None,
            text,
        }
    }
}
