//! What is known of a connection, and the links that are up, as the ports and everybody else see them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};

use super::{
    auth::{Basis, Binding, Established, LinkProof, feature},
    cells::PeerCell,
    events::LinkInfo,
    transport::{Mode, Stream},
};
use crate::proto::{
    codec::Format,
    id::{Incarnation, NodeId, PortName},
    link::LinkId,
    policy::{PeerIdentity, Proof},
};

/// What is known of an authenticated connection.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) link: LinkId,
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) identity: [u8; 32],
    pub(super) addr: String,
    /// We opened it.
    pub(super) initiator: bool,
    /// It answers a dial that the driver asked for.
    pub(super) dialed: bool,
    /// We opened it to one of our seeds' addresses.
    pub(super) dialled_seed: bool,
    /// Whether both have the feature `db`.
    pub(super) db: bool,
    /// Whether both have the feature `retire`.
    pub(super) retire: bool,
    /// Whether both have the feature `renew`.
    pub(super) renew: bool,
    pub(super) binding: Binding,
    /// What the generations of certificates and of secrets were when the connection began.
    pub(super) generations: (u64, u64),
    /// All features that the peer says it has.
    pub(super) peer_features: Vec<String>,
    pub(super) mode: Mode,
    pub(super) security: String,
    /// For people: the key or certificate that the connection began with.
    pub(super) shown: String,
    /// As the link began; what holds now is [`LinkHandle::proof`].
    pub(super) proof: LinkProof,
    pub(super) format: Format,
    pub(super) peer_window_bytes: usize,
    pub(super) peer_frame_bytes_max: usize,
    pub(super) peer_message_bytes_max: usize,
    pub(super) peer_link_timeout: Duration,
}

/// Who wanted a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The peer.
    Accepted,
    /// The driver.
    Dialled,
    /// One of our seeds is at its other end.
    Seed,
}

/// A link that is up.
#[derive(Debug)]
pub(super) struct LinkHandle {
    pub(super) facts: Arc<Facts>,
    pub(super) cell: Arc<PeerCell>,
    pub(super) up_at: Duration,
    proof: Mutex<LinkProof>,
    proofs: AtomicU64,
    /// The last round trip in microseconds and 1, or 0.
    rtt: AtomicU64,
    /// The driver wants to hear of the next byte.
    probed: AtomicBool,
    /// The writer ends the link when nothing is left to transmit (L6).
    flushing: AtomicBool,
    /// More control frames wait than the peer may leave unread.
    overrun: AtomicBool,
    /// Ports with room for what the session holds; no more than it holds messages for.
    room: Mutex<BTreeSet<PortName>>,
    pub(super) reader: Notify,
}

impl Facts {
    /// Takes an established connection apart.
    pub(super) fn new(
        link: LinkId,
        established: Established,
        addr: String,
        origin: Origin,
    ) -> (Self, Box<dyn Stream>) {
        let limits = established.limits;
        let agreed = |feature: &str| established.features.iter().any(|f| f == feature);
        let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let facts = Facts {
            link,
            node: established.node,
            incarnation: established.incarnation,
            identity: established.identity,
            addr,
            initiator: established.initiator,
            dialed: origin == Origin::Dialled,
            dialled_seed: origin == Origin::Seed,
            db: agreed(feature::DB),
            retire: agreed(feature::RETIRE),
            renew: agreed(feature::RENEW),
            binding: established.binding,
            generations: established.generations,
            peer_features: established.peer_features,
            mode: established.mode,
            security: established.security,
            shown: established.shown,
            proof: established.proof,
            format: established.format,
            peer_window_bytes: bytes(limits.window_bytes),
            peer_frame_bytes_max: bytes(limits.frame_bytes),
            peer_message_bytes_max: bytes(limits.message_bytes),
            peer_link_timeout: limits.link_timeout(),
        };
        (facts, established.stream)
    }
}

impl LinkHandle {
    pub(super) fn new(facts: Arc<Facts>, cell: Arc<PeerCell>, up_at: Duration) -> Arc<Self> {
        Arc::new(LinkHandle {
            proof: Mutex::new(facts.proof.clone()),
            facts,
            cell,
            up_at,
            proofs: AtomicU64::new(0),
            rtt: AtomicU64::new(0),
            probed: AtomicBool::new(false),
            flushing: AtomicBool::new(false),
            overrun: AtomicBool::new(false),
            room: Mutex::default(),
            reader: Notify::new(),
        })
    }

    pub(super) fn give_room(&self, port: &PortName) {
        let room = self.room.lock();
        room.unwrap_or_else(PoisonError::into_inner)
            .insert(port.clone());
        self.reader.notify_one();
    }

    /// The driver is told of the next byte.
    pub(super) fn ask_whether_alive(&self) {
        self.probed.store(true, Ordering::Relaxed);
    }

    /// A byte has come; whether the driver wants to know.
    pub(super) fn is_alive(&self) -> bool {
        self.probed.load(Ordering::Relaxed) && self.probed.swap(false, Ordering::Relaxed)
    }

    /// Ends the link when all is transmitted (L6).
    pub(super) fn flush(&self) {
        self.flushing.store(true, Ordering::Relaxed);
        self.cell.writer.notify_one();
    }

    pub(super) fn is_flushing(&self) -> bool {
        self.flushing.load(Ordering::Relaxed)
    }

    pub(super) fn overrun(&self) {
        self.overrun.store(true, Ordering::Relaxed);
        self.reader.notify_one();
    }

    pub(super) fn is_overrun(&self) -> bool {
        self.overrun.load(Ordering::Relaxed)
    }

    /// The ports that have room now.
    pub(super) fn take_room(&self) -> BTreeSet<PortName> {
        let room = self.room.lock();
        std::mem::take(&mut *room.unwrap_or_else(PoisonError::into_inner))
    }

    /// What proves now who is at the other end.
    pub(super) fn proof(&self) -> LinkProof {
        let proof = self.proof.lock();
        proof.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_proof(&self, new: LinkProof) {
        let proof = self.proof.lock();
        *proof.unwrap_or_else(PoisonError::into_inner) = new;
        // whoever sees the number finds the proof
        self.proofs.fetch_add(1, Ordering::Release);
        self.reader.notify_one();
    }

    /// How often the proof was renewed.
    pub(super) fn proofs(&self) -> u64 {
        self.proofs.load(Ordering::Acquire)
    }

    /// Who the peer is now, for the policy.
    pub(super) fn peer(&self) -> PeerIdentity {
        let (proof, secret) = match self.proof().basis {
            Basis::Certificate(_) => (Proof::Certificate, None),
            Basis::Secret(id) => (Proof::Secret, id),
        };
        PeerIdentity {
            node: self.facts.node.clone(),
            proof: Some(proof),
            secret: secret.map(|id| id.to_string()),
        }
    }

    pub(super) fn measured(&self, round_trip: Duration) {
        let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX - 1);
        self.rtt.store(micros + 1, Ordering::Relaxed);
    }

    pub(super) fn info(&self, mono: Duration) -> LinkInfo {
        let facts = &self.facts;
        let proof = self.proof();
        LinkInfo {
            node: facts.node.clone(),
            incarnation: facts.incarnation,
            addr: facts.addr.clone(),
            initiator: facts.initiator,
            mode: facts.mode,
            security: facts.security.clone(),
            proof: proof.text,
            expires: proof.expires,
            format: facts.format.name().to_owned(),
            rtt: match self.rtt.load(Ordering::Relaxed) {
                0 => None,
                more => Some(Duration::from_micros(more - 1)),
            },
            age: mono.saturating_sub(self.up_at),
        }
    }
}

const LINK_SHARDS: usize = 16;

/// The links that are up: by name in shards, for the ports; by node, for everybody else.
pub(super) struct Links {
    shards: [RwLock<BTreeMap<LinkId, Arc<LinkHandle>>>; LINK_SHARDS],
    nodes: watch::Sender<BTreeMap<NodeId, Arc<LinkHandle>>>,
}

impl Default for Links {
    fn default() -> Self {
        Links {
            shards: std::array::from_fn(|_| RwLock::default()),
            nodes: watch::Sender::new(BTreeMap::new()),
        }
    }
}

impl Links {
    fn shard(&self, link: LinkId) -> &RwLock<BTreeMap<LinkId, Arc<LinkHandle>>> {
        let [first, ..] = &self.shards;
        let at = (link.0.get() % LINK_SHARDS as u64) as usize;
        self.shards.get(at).unwrap_or(first)
    }

    pub(super) fn get(&self, link: LinkId) -> Option<Arc<LinkHandle>> {
        let shard = self.shard(link).read();
        let shard = shard.unwrap_or_else(PoisonError::into_inner);
        shard.get(&link).cloned()
    }

    pub(super) fn insert(&self, handle: &Arc<LinkHandle>) {
        let link = handle.facts.link;
        let shard = self.shard(link).write();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        shard.insert(link, handle.clone());
        drop(shard);
        self.nodes.send_modify(|nodes| {
            nodes.insert(handle.facts.node.clone(), handle.clone());
        });
    }

    pub(super) fn remove(&self, link: LinkId, node: &NodeId) {
        let shard = self.shard(link).write();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        shard.remove(&link);
        drop(shard);
        self.nodes.send_modify(|nodes| {
            nodes.remove(node);
        });
    }

    /// The links by node, and news of their changes.
    pub(super) fn watch(&self) -> watch::Receiver<BTreeMap<NodeId, Arc<LinkHandle>>> {
        self.nodes.subscribe()
    }

    pub(super) fn all(&self) -> Vec<Arc<LinkHandle>> {
        self.nodes.borrow().values().cloned().collect()
    }
}
