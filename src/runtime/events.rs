//! What a mesh tells those who want to know: events, counters, and its links as they are now.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use tokio::sync::broadcast;

use super::{NodePorts, mesh::Mesh, transport::Mode};
use crate::proto::{
    close::CloseReason,
    db::name::{Family, Key, WriteRefused},
    id::{Incarnation, NodeId, PortId},
};

/// Something that happened to the mesh of this node. Listeners that fall behind lose the oldest ones.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// A link to that node is up. Up and down alternate per node (L5).
    Up {
        /// The node.
        node: NodeId,
        /// Its life.
        incarnation: Incarnation,
        /// The link as it began: who proved what, and how it is protected.
        link: Box<LinkInfo>,
    },
    /// The link to that node is lost; all monitors on ports behind it have fired (M6).
    Down {
        /// The node.
        node: NodeId,
        /// Why.
        reason: CloseReason,
    },
    /// A node has proved itself anew over its link: with a new certificate, or another secret.
    Renewed {
        /// The node.
        node: NodeId,
        /// What proves it now, for people.
        proof: String,
        /// When that expires; never with a secret.
        expires: Option<SystemTime>,
    },
    /// This node's certificate expires then: told 30, 7 and 1 days before, and when it has.
    Expires {
        /// When.
        expires: SystemTime,
    },
    /// Messages that `send` had accepted were dropped, or may have been (P2).
    Undelivered {
        /// The port; the node's own port where a link was lost that carried messages to several.
        to: PortId,
        /// How many.
        count: u64,
        /// Why, for people.
        reason: String,
    },
    /// The node of that port did not take a kill from this one: nothing has happened to the port.
    KillRefused {
        /// The port.
        port: PortId,
        /// Why, for people.
        reason: String,
    },
    /// A node that was wanted cannot be reached.
    Unreachable {
        /// The node.
        node: NodeId,
        /// Why.
        reason: CloseReason,
    },
    /// A connection was refused, by this node or by the peer. Told as often as it is logged: rate-limited per address.
    Refused {
        /// Where the connection came from or went to.
        addr: String,
        /// The node it claimed or proved to be, where that is known.
        node: Option<NodeId>,
        /// Why, for people.
        reason: String,
    },
    /// This node has another home, or has lost the one it had and looks for one. Never for a global node.
    Home(Option<NodeId>),
    /// An entry of this node was refused by its home after it had been set: it is gone.
    DbRefused {
        /// Its family.
        family: Family,
        /// Its key.
        key: Key,
        /// Why.
        why: WriteRefused,
    },
    /// Several nodes, this one among them, own one key. Told again when something about that changes.
    DbConflict {
        /// The family.
        family: Family,
        /// The key.
        key: Key,
        /// Who owns it, the one first whose entry shows.
        owners: Vec<NodeId>,
    },
    /// That node and this one do not both take each other for global nodes, though both say that they are.
    NotGlobal {
        /// The node.
        node: NodeId,
        /// Who does not, and what to do, for people.
        text: String,
    },
    /// The clock of a global node and this node's differ by more than is borne (5 s).
    ClockSkew {
        /// The node.
        node: NodeId,
        /// By how much it is ahead, in milliseconds.
        ms: i64,
    },
}

/// Events that a listener may lag behind.
const EVENTS_MAX: usize = 1024;

/// What listeners hear.
pub type EventReceiver = broadcast::Receiver<Arc<NodeEvent>>;

/// Where it is told what happens. Clones tell the same listeners. It takes no memory before somebody listens: most nodes
/// are never asked.
#[derive(Debug, Clone, Default)]
pub struct EventSender(Arc<OnceLock<broadcast::Sender<Arc<NodeEvent>>>>);

impl EventSender {
    /// What is told from now on.
    pub fn subscribe(&self) -> EventReceiver {
        let sender = self.0.get_or_init(|| broadcast::Sender::new(EVENTS_MAX));
        sender.subscribe()
    }

    /// Whether anybody listens.
    pub fn has_listeners(&self) -> bool {
        let sender = self.0.get();
        sender.is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Tells it to those who listen now.
    pub fn send(&self, event: NodeEvent) {
        if let Some(sender) = self.0.get() {
            // they may have gone
            let _ = sender.send(Arc::new(event));
        }
    }
}

impl<P: NodePorts> Mesh<P> {
    /// What happens from now on.
    pub fn events(&self) -> EventReceiver {
        self.shared.events.subscribe()
    }
}

/// A link as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkInfo {
    /// The node at the other end.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Where it connected from, or where we connected to.
    pub addr: String,
    /// Whether we opened the connection.
    pub initiator: bool,
    /// How membership was proved.
    pub mode: Mode,
    /// For people: TLS version and cipher.
    pub security: String,
    /// For people: what proved the identity.
    pub proof: String,
    /// When what proved the identity expires; never with a secret.
    pub expires: Option<SystemTime>,
    /// The format that payloads travel in.
    pub format: String,
    /// The last round trip that was measured.
    pub rtt: Option<Duration>,
    /// How long it has been up.
    pub age: Duration,
}

/// Counters since the node started, and what is held now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MeshStats {
    /// Links that came up.
    pub links_up: u64,
    /// Links that were lost.
    pub links_down: u64,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that were dialled, successfully or not.
    pub dialled: u64,
    /// Dials that ended without an authenticated connection.
    pub dials_failed: u64,
    /// Connections turned away before authentication because of a limit.
    pub refused_by_limit: u64,
    /// Connections whose TLS or authentication failed.
    pub refused_by_auth: u64,
    /// Authenticated connections that were not made the link.
    pub refused_by_rule: u64,
    /// Proofs of new certificates and secrets that were accepted over links.
    pub renewed: u64,
    /// Proofs of new certificates and secrets that were refused over links.
    pub renewals_refused: u64,
    /// Links that were ended because what proved the peer expired, was revoked or was removed.
    pub unproven: u64,
    /// Things that the policy of this node refused to other nodes.
    pub denied: u64,
    /// Errors of `accept`, which went on.
    pub accept_errors: u64,
    /// Messages accepted by `send` and not known to be delivered (P2).
    pub lost: u64,
    /// Bytes read from links.
    pub bytes_in: u64,
    /// Bytes written to links.
    pub bytes_out: u64,
    /// Connections that have not authenticated yet, now.
    pub unauthenticated: usize,
    /// Links that are up, now.
    pub links: usize,
}
