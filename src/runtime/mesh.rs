//! The mesh of one node: what is sent to other nodes, their links, and who may connect.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{
    DbLinks, Directory, NodePorts, Watch,
    auth::{AuthConfig, feature},
    cells::{OuterIds, PeerCell, fire, split},
    dial::Dials,
    driver::{Driver, Event},
    events::{EventSender, LinkInfo, MeshStats},
    listen,
    places::Places,
    policy::PolicyHandle,
    renew,
    seeds::{self, SeedsHandle},
    shared::{Parts, Shared},
    transport::{ConnectError, SharedTransport},
};
use crate::proto::{
    close::CloseReason,
    codec::Format,
    db::engine::GLOBAL,
    handshake::{Credentials, HandshakeError},
    id::{Incarnation, NodeId, PortId},
    limits::Limits,
    link::LinkId,
    message::{Encoded, Message, Reason},
    monitor::WatchId,
    node::peer::{Fired, Peer, SendRefused, Wake},
    peers::Peers,
    policy::{Denial, Policy},
};

/// How long a shutdown waits for connections that close politely.
const PART_TIME: Duration = Duration::from_secs(3);

/// What a mesh is made from.
#[derive(Clone)]
pub struct MeshConfig {
    /// The name of this node.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// The name of its cluster: nodes of another one are refused.
    pub cluster: String,
    /// Every bound.
    pub limits: Limits,
    /// Formats that links may use, the preferred one first.
    pub formats: Vec<Format>,
    /// Who may do what here.
    pub policy: Arc<PolicyHandle>,
    /// Makes and takes connections.
    pub transport: SharedTransport,
    /// What this node proves its membership with.
    pub credentials: Credentials,
    /// Where to listen.
    pub listen: Vec<String>,
    /// Where others reach the listeners; none: as the transport sees it.
    pub advertise: Vec<String>,
    /// Addresses that are tried until they answer, and again when their node goes (L4).
    pub seeds: Vec<String>,
    /// Where nodes can be dialled.
    pub addresses: BTreeMap<NodeId, Vec<String>>,
    /// The node's database. Without one the node takes no part in it, and does not greet as if it did.
    pub db: Option<Arc<dyn DbLinks>>,
    /// What the node greets with besides the features that it has anyway.
    pub features: Vec<String>,
    /// Whether this node is a global one; `None`: when it has no seed but itself.
    pub global: Option<bool>,
    /// Asked for nodes that no address is known of, or none that answers (L3).
    pub directory: Option<Arc<dyn Directory>>,
    /// Where it tells what happens.
    pub events: EventSender,
}

/// Why a mesh does not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeshStartError {
    /// This node cannot say who it is.
    #[error(transparent)]
    Auth(#[from] HandshakeError),
    /// One of the listeners cannot listen.
    #[error("cannot listen on {addr}")]
    Listen {
        /// Its address.
        addr: String,
        /// Why.
        #[source]
        source: ConnectError,
    },
    /// A seed, an address of a node or one to advertise can never be dialled.
    #[error("{what} cannot be used")]
    Address {
        /// What it is for.
        what: &'static str,
        /// Why.
        #[source]
        source: ConnectError,
    },
    /// There is nothing to advertise.
    #[error(
        "{addr:?} is to be advertised, but this node listens nowhere: give a listen address too"
    )]
    NothingToAdvertise {
        /// The first address.
        addr: String,
    },
}

/// Why a message was not sent. Nothing was queued; the message comes back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeshSendError {
    /// What waits for that node is at its limit (P3, P8).
    #[error("the outbound queue to the node is full")]
    Full(Message),
    /// The node takes no message of that size.
    #[error("the message is larger than the {max} bytes that the node takes")]
    TooLarge {
        /// The message.
        message: Message,
        /// The largest that it takes, in bytes of the CBOR form.
        max: usize,
    },
    /// This node has shut down (L6).
    #[error("this node is shut down")]
    ShutDown(Message),
}

impl From<SendRefused> for MeshSendError {
    fn from(refused: SendRefused) -> Self {
        match refused {
            SendRefused::Full(message) => MeshSendError::Full(message),
            SendRefused::TooLarge { message, max } => MeshSendError::TooLarge { message, max },
        }
    }
}

/// See the module. `P` is the ports of the node. When it is dropped everything ends at once, as by a shutdown that flushes
/// nothing.
pub struct Mesh<P: NodePorts> {
    pub(super) shared: Arc<Shared<P>>,
    places: Places,
    global: bool,
    seeds: SeedsHandle,
}

impl<P: NodePorts> fmt::Debug for Mesh<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh")
            .field("node", &self.shared.node)
            .field("listen_addrs", &self.places.listen)
            .field("global", &self.global)
            .finish_non_exhaustive()
    }
}

impl<P: NodePorts> Mesh<P> {
    /// Listens, starts the driver and begins to dial the seeds.
    ///
    /// # Errors
    /// [`MeshStartError`]; nothing is left running then.
    pub async fn start(mut config: MeshConfig, ports: Arc<P>) -> Result<Arc<Self>, MeshStartError> {
        config.complete()?;
        let mut listeners = Vec::new();
        for addr in &config.listen {
            let listener = config.transport.listen(addr).await;
            let listener = listener.map_err(|source| MeshStartError::Listen {
                addr: addr.clone(),
                source,
            })?;
            listeners.push(listener);
        }
        let places = Places {
            listen: listeners.iter().map(|l| l.local_addr()).collect(),
            advertise: config.advertise,
        };
        let global = match config.global {
            Some(global) => global,
            None => {
                places
                    .has_all(&config.transport, config.seeds.clone())
                    .await
            }
        };
        // what the greeting says of this node has to be known by now
        let mut features = config.features;
        features.extend([feature::RETIRE, feature::RENEW].map(str::to_owned));
        if let Some(db) = &config.db {
            features.push(feature::DB.to_owned());
            if global {
                features.push(GLOBAL.to_owned());
            }
            db.begin(global);
        }
        let auth = AuthConfig::new(
            config.node.clone(),
            config.incarnation,
            &config.cluster,
            config.formats,
            features,
            &config.limits,
            config.credentials,
        )?;
        let peers = Peers::new(config.node.clone(), config.incarnation, &config.limits);
        let (driver, events) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(Parts {
            node: config.node,
            limits: config.limits,
            policy: config.policy,
            auth,
            transport: config.transport,
            ports,
            db: config.db,
            addresses: config.addresses,
            driver,
            events: config.events,
        }));
        let sink: Weak<Shared<P>> = Arc::downgrade(&shared);
        shared.ports.attach(sink);
        tracing::info!(
            node = %shared.node, incarnation = %config.incarnation, global, listen_addrs = ?places.listen,
            advertised = ?places.advertised(&shared.transport), "node started"
        );
        for listener in listeners {
            listen::start(&shared, listener);
        }
        renew::start(&shared);
        let seeds = seeds::start(&shared, config.seeds, places.clone());
        let dials = Dials::new(shared.clone(), seeds.untried.clone(), config.directory);
        tokio::spawn(Driver::new(shared.clone(), peers, events, dials).run());
        Ok(Arc::new(Mesh {
            shared,
            places,
            global,
            seeds,
        }))
    }

    /// Queues a message to a port of another node. Never blocks, and needs no link (P3).
    ///
    /// # Errors
    /// [`MeshSendError`], with the message.
    pub fn send<'a>(
        &self,
        to: &PortId,
        message: impl Into<Encoded<'a>>,
    ) -> Result<(), MeshSendError> {
        let sent = self.command(to, message.into(), |peer, message| {
            let sent = peer.send(to.name(), message);
            split(sent.map(|wake| ((), wake)))
        });
        match sent {
            Ok((sent, _)) => Ok(sent?),
            Err(message) => Err(MeshSendError::ShutDown(message.into_message())),
        }
    }

    /// Runs a command on the peer that a port belongs to, and does what it asks for. With its result comes what the
    /// numbers of that peer's monitors begin at. `Err`: the node is shut down; what it was for comes back.
    fn command<T, R>(
        &self,
        to: &PortId,
        item: T,
        command: impl FnOnce(&mut Peer<Watch>, T) -> (R, Wake),
    ) -> Result<(R, OuterIds), T> {
        let then = |cell: &PeerCell, (done, wake)| {
            self.shared.wake(cell, to.node(), wake);
            (done, cell.outer_ids())
        };
        self.shared.cells.with(to.node(), item, command, then)
    }

    /// Likewise, and waits for room where there is none. Dropped while it waits, it has sent nothing.
    ///
    /// # Errors
    /// As [`Self::send`], never [`MeshSendError::Full`].
    pub async fn send_wait(&self, to: &PortId, message: Message) -> Result<(), MeshSendError> {
        let mut message = message;
        let mut waiting: Option<Arc<PeerCell>> = None;
        loop {
            {
                // asked for before the attempt, so that no room is missed
                let mut room = pin!(waiting.as_ref().map(|cell| cell.room.notified()));
                if let Some(room) = room.as_mut().as_pin_mut() {
                    room.enable();
                }
                match self.send(to, message) {
                    Err(MeshSendError::Full(back)) => message = back,
                    other => return other,
                }
                if let Some(room) = room.as_mut().as_pin_mut() {
                    room.await;
                }
            }
            waiting = self.shared.cells.get(to.node());
        }
    }

    /// A message and a monitor on its port in one frame (S4). On `Err` the watch is dropped uncalled.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn call(
        &self,
        to: &PortId,
        message: Message,
        watch: Watch,
    ) -> Result<WatchId, MeshSendError> {
        // a watch may do anything when it is dropped: not under the lock
        let called = self.command(to, (message, watch), |peer, (message, watch)| {
            split(peer.call(to.name(), message, watch))
        });
        let (called, ids) = called.map_err(|(message, _)| MeshSendError::ShutDown(message))?;
        let id = called.map_err(|(refused, _)| refused)?;
        Ok(ids.outer(id))
    }

    /// Monitors a port of another node. After a shutdown it fires at once, before this returns.
    pub fn monitor(&self, to: &PortId, watch: Watch) -> WatchId {
        let monitored = self.command(to, watch, |peer, watch| peer.monitor(to.name(), watch));
        match monitored {
            Ok((id, ids)) => ids.outer(id),
            Err(watch) => {
                fire([Fired {
                    port: to.name().clone(),
                    watch,
                    reason: Reason::transport_error(to.node(), CloseReason::Shutdown),
                }]);
                WatchId(u64::MAX)
            }
        }
    }

    /// Takes a monitor back: when this returns it has fired, is firing, or never will.
    pub fn unmonitor(&self, to: &PortId, id: WatchId) {
        if let Some(cell) = self.shared.cells.get(to.node())
            && let Some(id) = cell.outer_ids().inner(id)
        {
            let (watch, wake) = cell.lock().peer.unmonitor(to.name(), id);
            // what the watch holds may do anything when it is dropped
            drop(watch);
            self.shared.wake(&cell, to.node(), wake);
        }
    }

    /// Kills a port of another node, behind what was sent to it before (M4). After a shutdown it does nothing.
    pub fn kill(&self, to: &PortId, reason: &Reason) {
        let now = self.shared.clock.now();
        let _ = self.command(to, (), |peer, ()| ((), peer.kill(to.name(), reason, now)));
    }

    /// Asks for a new port of that name on another node (S1).
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn spawn(&self, port: &PortId, function: &str, args: Message) -> Result<(), MeshSendError> {
        let spawned = self.command(port, args, |peer, args| {
            let spawned = peer.spawn(port.name(), function, args);
            split(spawned.map(|wake| ((), wake)))
        });
        let (spawned, _) = spawned.map_err(MeshSendError::ShutDown)?;
        Ok(spawned?)
    }

    /// Sends something to the database of that link's node. Ignored when the link is gone, or is none of the database's.
    pub fn send_db(&self, link: LinkId, message: Message) {
        if let Some(handle) = self.shared.links.get(link).filter(|link| link.facts.db) {
            let wake = handle.cell.lock().peer.send_db(link, message);
            self.shared.wake(&handle.cell, &handle.facts.node, wake);
        }
    }

    /// Whether the database may send more over that link; where not, [`DbLinks::room`] is called when it may, unless the
    /// link ends before.
    pub fn db_room(&self, link: LinkId) -> bool {
        let handle = self.shared.links.get(link);
        handle.is_some_and(|link| link.cell.lock().peer.db_room())
    }

    /// A link to that node is wanted, though nothing is queued for it: dials where there is none.
    pub fn want(&self, node: &NodeId) {
        self.shared.tell_driver(Event::Want(node.clone()));
    }

    /// Whether the link to that node is to stay though nothing is sent over it. It is forgotten when the link ends, and does
    /// nothing without one.
    pub fn keep(&self, node: &NodeId, kept: bool) {
        if let Some(cell) = self.shared.cells.get(node) {
            cell.lock().peer.keep(kept);
        }
    }

    /// Ends a link; what was accepted for its node is lost as with any link that is lost. Ignored when it is gone.
    pub fn close_link(&self, link: LinkId, reason: CloseReason) {
        self.shared.tell_driver(Event::End(link, reason));
    }

    /// Where this node listens, with the ports that the system chose.
    pub fn listen_addrs(&self) -> Vec<String> {
        self.places.listen.clone()
    }

    /// Where others can reach this node: what is configured, else what the transport makes of the listen addresses now.
    /// Empty for a private node.
    pub fn advertised(&self) -> Vec<String> {
        self.places.advertised(&self.shared.transport)
    }

    /// Whether this node is a global one.
    pub fn is_global(&self) -> bool {
        self.global
    }

    /// The nodes that answered last at the addresses of this node's seeds, as they proved there. One is in it before its
    /// link from there is up, and until another answers at its address.
    pub fn seed_nodes(&self) -> watch::Receiver<BTreeSet<NodeId>> {
        self.seeds.nodes.clone()
    }

    /// How many seeds this node has.
    pub fn seed_count(&self) -> usize {
        self.seeds.count
    }

    /// How many seeds have not been tried once, to the end.
    pub fn seeds_untried(&self) -> watch::Receiver<usize> {
        self.seeds.untried.clone()
    }

    /// Whether this node has all it wants of its seeds: then those that have answered once are left alone until it no
    /// longer has.
    pub fn set_attached(&self, attached: bool) {
        self.seeds.attached.send_replace(attached);
    }

    /// The links that are up, by node ID.
    pub fn links(&self) -> Vec<LinkInfo> {
        let mono = self.shared.clock.now().mono;
        let links = self.shared.links.all();
        links.iter().map(|link| link.info(mono)).collect()
    }

    /// The database refused something to a node: it is counted and audited as what a link refuses.
    pub fn denied(&self, node: &NodeId, denial: &Denial) {
        let links = self.shared.links.all();
        let link = links.iter().find(|link| link.facts.node == *node);
        let addr = link.map_or("", |link| &link.facts.addr);
        self.shared.counters.denied.add(1);
        self.shared.audit(node, addr, denial);
    }

    /// Replaces the policy. It counts for everything that is read of links from now on; monitors of other nodes that it
    /// does not permit fire.
    pub fn set_policy(&self, policy: Policy) {
        self.shared.set_policy(policy);
    }

    /// Counters.
    pub fn stats(&self) -> MeshStats {
        self.shared.stats()
    }

    /// Stops in order (L6): accepts and sends no more, transmits what is queued within `flush` at most, tells the peers,
    /// closes. All monitors that are left fire. Returns when everything has ended; again at once.
    pub async fn shutdown(&self, flush: Duration) {
        let (done, ended) = oneshot::channel();
        self.shared.tell_driver(Event::Shutdown { flush, done });
        // an error says that the driver has ended before
        let _ = ended.await;
        // what still closes politely does so within a second or two
        let _ = timeout(PART_TIME, self.shared.stage.closed()).await;
    }
}

impl<P: NodePorts> Drop for Mesh<P> {
    fn drop(&mut self) {
        let (done, _) = oneshot::channel();
        let flush = Duration::ZERO;
        self.shared.tell_driver(Event::Shutdown { flush, done });
    }
}
