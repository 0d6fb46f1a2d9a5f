//! Which connection to another node is the link (L1, L2): simultaneous connects, incarnations, probes, dials.
//!
//! The node with the smaller ID decides: it activates one connection and closes the others. Nobody sends messages on
//! a connection before its activation. A second connection waits while the link is probed; a link that answers stays,
//! one that does not is lost, its monitors fire, and only then the newcomer is activated.

use std::time::Duration;

use super::{
    close::CloseReason,
    id::{Incarnation, NodeId},
    limits::{Limits, Now},
    link::LinkId,
};

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
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeersOutput {
    /// Open a connection to that node; answered by a candidate, or by [`Peers::handle_dial_failed`].
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
    /// Close a connection that is not the link (tell the peer why).
    Refuse {
        /// The connection.
        link: LinkId,
        /// Why.
        reason: CloseReason,
    },
    /// The link is lost: close it, `Peer::close`, fire, `Peer::reopen`. Node down (L5).
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
#[derive(Debug)]
pub struct Peers {}

#[allow(unused_variables)]
impl Peers {
    /// For a node of that name and life.
    pub fn new(me: NodeId, incarnation: Incarnation, limits: &Limits) -> Self {
        todo!()
    }
    /// A link to that node is wanted (a send, a monitor): dials if there is none and none is being made.
    pub fn want(&mut self, node: &NodeId, now: Now) {
        todo!()
    }
    /// A connection has authenticated, whoever opened it.
    pub fn handle_candidate(&mut self, candidate: Candidate, now: Now) {
        todo!()
    }
    /// ACTIVATE came on that connection. `Err`: it was not the peer's to send.
    pub fn handle_activate(&mut self, link: LinkId, now: Now) -> Result<(), CloseReason> {
        todo!()
    }
    /// A byte came on a link that is being probed.
    pub fn handle_alive(&mut self, link: LinkId, now: Now) {
        todo!()
    }
    /// A connection, link or not, has ended.
    pub fn handle_closed(&mut self, link: LinkId, reason: CloseReason, now: Now) {
        todo!()
    }
    /// The dial ended without a candidate.
    pub fn handle_dial_failed(&mut self, node: &NodeId, reason: CloseReason, now: Now) {
        todo!()
    }
    /// The node stops: no dials, no activations; refuses all candidates.
    pub fn handle_shutdown(&mut self) {
        todo!()
    }
    /// A time that was asked for has come.
    pub fn handle_timeout(&mut self, now: Now) {
        todo!()
    }
    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Duration> {
        todo!()
    }
    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<PeersOutput> {
        todo!()
    }
    /// The link of that node, its life, if it is up.
    pub fn link(&self, node: &NodeId) -> Option<(LinkId, Incarnation)> {
        todo!()
    }
    /// All links that are up.
    pub fn links(&self) -> Vec<(LinkId, NodeId)> {
        todo!()
    }
}
