//! Which connection to another node is the link (L1, L2): simultaneous connects, incarnations, probes, dials.
//!
//! The node with the smaller ID decides: it activates one connection and closes the others. Nobody sends messages on
//! a connection before its activation. A second connection waits while the link is probed; a link that answers stays,
//! one that does not is lost, its monitors fire, and only then the newcomer is activated.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use self::slot::{Rules, Slot, Turn};
use super::{
    close::CloseReason,
    id::{Incarnation, NodeId},
    limits::{Limits, Now},
    link::LinkId,
};

mod slot;
#[cfg(test)]
mod tests;

/// Connections of all nodes together that may wait to be made links.
const CANDIDATES_MAX: usize = 1024;
/// Lives of nodes that are not linked any more which are remembered at a time.
const REMEMBERED_MAX: usize = 4096;

/// An authenticated connection that is not a link yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Names the connection; the link keeps the name.
    pub link: LinkId,
    /// The peer's proven node ID.
    pub node: NodeId,
    /// The peer's life.
    pub incarnation: Incarnation,
    /// What proves the identity (a digest of the peer's public key in secret mode with pinning; of cluster and node
    /// ID in certificate mode): a newcomer with another one never replaces a link.
    pub identity: [u8; 32],
    /// Whether it answers a [`PeersOutput::Dial`]; false for accepted ones and for those opened to a seed's address.
    pub dialed: bool,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeersOutput {
    /// Open a connection to that node; answered once, by a candidate with `dialed` set or by [`Peers::handle_dial_failed`].
    Dial(NodeId),
    /// The connection is the link: where `tell` is set send ACTIVATE on it first. Node up (L5).
    Activate {
        /// The connection.
        link: LinkId,
        /// Its node.
        node: NodeId,
        /// Whether we decide.
        tell: bool,
    },
    /// Close a connection that is not the link (tell the peer why). It is forgotten here.
    Refuse {
        /// The connection.
        link: LinkId,
        /// Why.
        reason: CloseReason,
    },
    /// The link is lost: close it, `Peer::close`, fire, `Peer::reopen`. Node down (L5). It is forgotten here.
    Lost {
        /// The link.
        link: LinkId,
        /// Its node.
        node: NodeId,
        /// Why.
        reason: CloseReason,
    },
    /// Send a ping on the link and call [`Peers::handle_alive`] at the next byte from it.
    Probe(LinkId),
    /// No connection could be made and none is under way: `Peer::close` with this, fire, `Peer::reopen` (M5).
    Unreachable {
        /// The node.
        node: NodeId,
        /// Why.
        reason: CloseReason,
    },
}

/// See the module. One a node, with the node driver; nothing on the message path comes here.
///
/// After each input [`Self::poll_output`] is called until it is empty.
#[derive(Debug)]
pub struct Peers {
    me: NodeId,
    incarnation: Incarnation,
    rules: Rules,
    nodes: BTreeMap<NodeId, Slot>,
    /// The node of every connection, candidates and links.
    connections: BTreeMap<LinkId, NodeId>,
    timers: BTreeSet<(Duration, NodeId)>,
    remembered: VecDeque<NodeId>,
    links: usize,
    outputs: VecDeque<PeersOutput>,
}

impl Peers {
    /// For a node of that name and life.
    pub fn new(me: NodeId, incarnation: Incarnation, limits: &Limits) -> Self {
        Peers {
            me,
            incarnation,
            rules: Rules::new(limits),
            nodes: BTreeMap::new(),
            connections: BTreeMap::new(),
            timers: BTreeSet::new(),
            remembered: VecDeque::new(),
            links: 0,
            outputs: VecDeque::new(),
        }
    }

    /// The name and life of this node.
    pub fn me(&self) -> (&NodeId, Incarnation) {
        (&self.me, self.incarnation)
    }

    /// A link to that node is wanted (a send, a monitor): dials if there is none and none is being made. Answered by
    /// [`PeersOutput::Activate`] or [`PeersOutput::Unreachable`], unless there is a link already.
    pub fn want(&mut self, node: &NodeId, now: Now) {
        if *node != self.me {
            self.turn(node, now.mono, |slot, _| slot.want());
        }
    }

    /// A connection has authenticated, whoever opened it.
    pub fn handle_candidate(&mut self, candidate: Candidate, now: Now) {
        if self.connections.contains_key(&candidate.link) {
            return;
        }
        let full = self.connections.len() - self.links >= CANDIDATES_MAX;
        if candidate.node == self.me {
            self.outputs.push_back(PeersOutput::Refuse {
                link: candidate.link,
                reason: CloseReason::NodeIdInUse,
            });
            return;
        }
        let node = candidate.node.clone();
        self.connections.insert(candidate.link, node.clone());
        self.turn(&node, now.mono, |slot, turn| {
            slot.admit(candidate, full, turn)
        });
    }

    /// ACTIVATE came on that connection. What follows it there is not read until [`PeersOutput::Activate`].
    /// `Err`: it was not the peer's to send: close the connection with this and call [`Self::handle_closed`].
    pub fn handle_activate(&mut self, link: LinkId, now: Now) -> Result<(), CloseReason> {
        let Some(node) = self.connections.get(&link).cloned() else {
            return Ok(()); // it crossed our closing of that connection
        };
        if self.me < node {
            let text = format!("{node} sent ACTIVATE, which only {} may", self.me);
            return Err(CloseReason::Protocol(text));
        }
        let mut first = false;
        self.turn(&node, now.mono, |slot, _| first = slot.activate(link));
        if first {
            Ok(())
        } else {
            Err(CloseReason::Protocol(format!("{node} sent ACTIVATE twice")))
        }
    }

    /// A byte came on a link that is being probed.
    pub fn handle_alive(&mut self, link: LinkId, now: Now) {
        if let Some(node) = self.connections.get(&link).cloned() {
            self.turn(&node, now.mono, |slot, turn| slot.alive(link, turn));
        }
    }

    /// A connection, link or not, has ended. Does nothing for those that were lost or refused before.
    pub fn handle_closed(&mut self, link: LinkId, reason: CloseReason, now: Now) {
        if let Some(node) = self.connections.remove(&link) {
            self.turn(&node, now.mono, |slot, turn| {
                slot.closed(link, reason, turn)
            });
        }
    }

    /// The dial ended without a candidate.
    pub fn handle_dial_failed(&mut self, node: &NodeId, reason: CloseReason, now: Now) {
        if self.nodes.contains_key(node) {
            self.turn(node, now.mono, |slot, turn| slot.dial_failed(reason, turn));
        }
    }

    /// The node stops: no dials, no activations; refuses all candidates. Links stay until [`Self::handle_closed`].
    pub fn handle_shutdown(&mut self) {
        self.rules.shutdown = true;
        for node in self.nodes.keys().cloned().collect::<Vec<_>>() {
            // with shutdown set nothing depends on the time
            self.turn(&node, Duration::ZERO, |_, _| ());
        }
    }

    /// A time that was asked for has come.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((at, node)) = self.timers.first().cloned()
            && at <= now.mono
        {
            self.turn(&node, now.mono, |slot, turn| slot.timeout(turn));
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<PeersOutput> {
        self.outputs.pop_front()
    }

    /// The link of that node, its life, if it is up.
    pub fn link(&self, node: &NodeId) -> Option<(LinkId, Incarnation)> {
        self.nodes.get(node)?.link()
    }

    /// All links that are up.
    pub fn links(&self) -> Vec<(LinkId, NodeId)> {
        self.nodes
            .iter()
            .filter_map(|(node, slot)| Some((slot.link()?.0, node.clone())))
            .collect()
    }

    /// One input for one node, what follows from it, and the books that are kept over all nodes.
    fn turn(&mut self, node: &NodeId, now: Duration, input: impl FnOnce(&mut Slot, &mut Turn<'_>)) {
        let decide = self.me < *node;
        let slot = self
            .nodes
            .entry(node.clone())
            .or_insert_with(|| Slot::new(decide));
        let timer = slot.timer();
        let mut turn = Turn {
            node,
            now,
            rules: &self.rules,
            outputs: Vec::new(),
        };
        input(slot, &mut turn);
        slot.resolve(&mut turn);
        let outputs = turn.outputs;

        let next = slot.timer();
        let idle = slot.is_idle();
        if timer != next {
            self.timers.extend(next.map(|at| (at, node.clone())));
            if let Some(at) = timer {
                self.timers.remove(&(at, node.clone()));
            }
        }
        if idle {
            self.nodes.remove(node);
        }
        for output in &outputs {
            match output {
                PeersOutput::Refuse { link, .. } => {
                    self.connections.remove(link);
                }
                PeersOutput::Activate { .. } => self.links += 1,
                PeersOutput::Lost { link, .. } => {
                    self.links -= 1;
                    self.connections.remove(link);
                    self.remembered.push_back(node.clone());
                }
                _ => {}
            }
        }
        self.outputs.extend(outputs);
        if self.remembered.len() > REMEMBERED_MAX
            && let Some(oldest) = self.remembered.pop_front()
            && self.nodes.contains_key(&oldest)
        {
            self.turn(&oldest, now, Slot::forget);
        }
    }
}
