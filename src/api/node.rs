//! The node: everything a program does in the mesh begins here.

use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use super::{
    actor::{self, Actor},
    builder::NodeBuilder,
    call::Call,
    db::Db,
    error::{RunError, SendError, SpawnError},
    events::{Events, NodeStats},
    inner::NodeInner,
    message::FromMessage,
    monitor::{Monitoring, Registration},
    port::PortBuilder,
    spawn::SpawnTarget,
    timer::After,
};
use crate::{
    proto::{
        codec::CBOR,
        id::{Incarnation, NodeId, PortId},
        message::{EncodeError, Encoded, IntoMessage, Message, Reason},
        policy::Policy,
    },
    runtime::{
        Watch,
        db::DbHost,
        events::LinkInfo,
        local::LocalFull,
        mesh::{Mesh, MeshSendError},
        port::PortCell,
        registry::Registry,
        reply::ReplyCell,
        turns::sends,
    },
};

/// A node of the mesh, or a node by itself with no mesh at all. Cheap to clone: all clones are the same node.
///
/// It runs until [`shutdown`](Self::shutdown); or until the last of its clones, [`Port`](super::port::Port)s and
/// [`Context`](super::context::Context)s is dropped, then it ends at once and flushes nothing.
///
/// ```
/// use portmesh::{Context, Node, PortId};
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let node = Node::builder("me").start().await?; // no listener, no seed: local ports only
/// let adder = node.port()
///     .on("sum", async |_: &mut (), cx: &Context, (a, b, reply): (u64, u64, PortId)| {
///         cx.send(&reply, a + b)
///     })
///     .open();
/// let sum: u64 = node.call(adder.id(), ("sum", 1, 2)).within(Duration::from_secs(2)).await?;
/// assert_eq!(sum, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Node {
    inner: Arc<NodeInner>,
}

/// Where a port is.
enum Place<'a> {
    Here,
    There(&'a Mesh<Registry>),
    /// On another node, and there is no mesh.
    Nowhere,
}

impl Node {
    pub(crate) fn new(registry: Arc<Registry>, db: Arc<DbHost>) -> Self {
        Node {
            inner: Arc::new(NodeInner {
                registry,
                db,
                tables: Default::default(),
                mesh: OnceLock::new(),
                #[cfg(feature = "tls")]
                live: OnceLock::new(),
            }),
        }
    }

    pub(crate) fn from_inner(inner: Arc<NodeInner>) -> Self {
        Node { inner }
    }

    pub(crate) fn inner(&self) -> &NodeInner {
        &self.inner
    }

    pub(crate) fn downgrade(&self) -> Weak<NodeInner> {
        Arc::downgrade(&self.inner)
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.inner.registry
    }

    pub(crate) fn db_host(&self) -> &Arc<DbHost> {
        &self.inner.db
    }

    /// The database of the mesh, as this node uses it (R1–R10).
    pub fn db(&self) -> Db<'_> {
        Db::new(self)
    }

    fn mesh(&self) -> Option<&Arc<Mesh<Registry>>> {
        self.inner.mesh.get()
    }

    fn place(&self, port: &PortId) -> Place<'_> {
        if port.node() == self.id() {
            Place::Here
        } else {
            self.mesh()
                .map_or(Place::Nowhere, |mesh| Place::There(mesh))
        }
    }

    /// Describes a node to be started. The name may contain `%n` for the host's name and `%u` for a random part.
    pub fn builder(name: impl Into<String>) -> NodeBuilder {
        NodeBuilder::new(name.into())
    }

    /// Its ID.
    pub fn id(&self) -> &NodeId {
        self.registry().node()
    }

    /// This life of it.
    pub fn incarnation(&self) -> Incarnation {
        self.registry().incarnation()
    }

    /// Describes a port to be opened.
    pub fn port(&self) -> PortBuilder<()> {
        PortBuilder::new(self.clone(), None)
    }

    /// Describes a port that is a typed actor, to be opened.
    pub fn actor<T: Actor>(&self, actor: T) -> PortBuilder<T> {
        actor::equip(self.port(), actor)
    }

    /// Sends a message. Never blocks and never waits for a link (P3). Accepted means: it is handed to the port, or the
    /// monitors that this node holds on that port fire (P2).
    ///
    /// A tuple is the list of values, an enum its tag and fields, a [`Message`] itself, anything else a list of one.
    ///
    /// ```
    /// # use portmesh::{Node, PortId};
    /// # fn example(node: &Node, peer: &PortId) -> Result<(), portmesh::SendError> {
    /// node.send(peer, ("log", 17, "a line"))?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`SendError`]; nothing was sent then.
    #[doc(alias = "snd")]
    pub fn send(&self, to: &PortId, message: impl IntoMessage) -> Result<(), SendError> {
        let limits = self.registry().limits();
        let place = self.place(to);
        let format = match &place {
            Place::There(mesh) => mesh.format_towards(to.node()),
            Place::Here | Place::Nowhere => &CBOR,
        };
        message.lend(format, limits, |message| self.send_to(place, to, message))?
    }

    fn send_encoded(&self, to: &PortId, message: Encoded<'_>) -> Result<(), SendError> {
        self.send_to(self.place(to), to, message)
    }

    fn send_to(&self, place: Place, to: &PortId, message: Encoded) -> Result<(), SendError> {
        if self.registry().is_closed() {
            return Err(SendError::ShutDown(message.into_message()));
        }
        match place {
            Place::Here => self
                .registry()
                .send(to.name(), message.into_message())
                .map_err(|LocalFull(message)| SendError::Full(message)),
            Place::There(mesh) => Ok(mesh.send(to, message)?),
            Place::Nowhere => {
                self.registry().count_lost_to(to, 1, NO_MESH);
                Ok(())
            }
        }
    }

    /// Likewise, and waits for room (P3); now and then it lets other tasks run. Dropping the future takes the message back.
    ///
    /// # Errors
    /// See [`SendError`], without [`SendError::Full`].
    #[doc(alias = "snd")]
    pub async fn send_wait(
        &self,
        to: &PortId,
        message: impl IntoMessage + Send,
    ) -> Result<(), SendError> {
        sends().await;
        let message = match self.send(to, message) {
            Err(SendError::Full(message)) => message,
            done => return done,
        };
        match self.place(to) {
            Place::Here => {
                self.registry().send_wait(to.name(), message).await;
                Ok(())
            }
            Place::There(mesh) => Ok(mesh.send_wait(to, message).await?),
            Place::Nowhere => self.send_encoded(to, message.into()),
        }
    }

    /// For what monitors and timers send: there is nobody to be told of a refusal.
    pub(crate) fn send_forced(&self, to: &PortId, message: Message) {
        if let Place::Here = self.place(to) {
            self.registry().send_forced(to.name(), message);
        } else if let Err(error) = self.send_encoded(to, Encoded::Whole(message)) {
            tracing::warn!(%to, %error, "a monitor's or a timer's message is lost");
            self.registry().count_lost_to(to, 1, &error.to_string());
        }
    }

    /// Asks a port something: sends the message with a reply port appended, and awaits the reply (S4). See [`Call`].
    ///
    /// ```
    /// # use portmesh::{Node, PortId};
    /// # use std::time::Duration;
    /// # async fn example(node: &Node, peer: &PortId) -> Result<(), portmesh::CallError> {
    /// let answer: u64 = node.call(peer, ("sum", 1, 2)).within(Duration::from_secs(2)).await?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "cal")]
    pub fn call<T: FromMessage>(&self, to: &PortId, message: impl IntoMessage) -> Call<T> {
        Call::new(self, to, message)
    }

    pub(crate) fn send_call(
        &self,
        to: &PortId,
        request: Message,
        reply: Arc<ReplyCell>,
    ) -> Result<Registration, SendError> {
        match self.place(to) {
            Place::There(mesh) => Ok(Registration::Remote(mesh.call(to, request, reply)?)),
            Place::Here | Place::Nowhere => {
                let registration = self.register(to, reply);
                if let Err(error) = self.send_encoded(to, request.into()) {
                    self.unregister(to, registration);
                    return Err(error);
                }
                Ok(registration)
            }
        }
    }

    /// Watches a port's death (M2). The node's own port, `node-id` alone, stands for the link to it (M5).
    #[doc(alias = "mon")]
    pub fn monitor(&self, port: &PortId) -> Monitoring<'_> {
        Monitoring::new(self, port.clone())
    }

    pub(crate) fn register(&self, port: &PortId, watch: Watch) -> Registration {
        match self.place(port) {
            Place::Here => self
                .registry()
                .monitor(port.name(), watch)
                .map_or(Registration::None, Registration::Local),
            Place::There(mesh) => Registration::Remote(mesh.monitor(port, watch)),
            Place::Nowhere => {
                let reason = Reason::transport_error(port.node(), NO_MESH);
                crate::runtime::behaviour::shielded("a monitor's callback", || {
                    watch.fire(&reason);
                });
                Registration::None
            }
        }
    }

    pub(crate) fn unregister(&self, port: &PortId, registration: Registration) {
        match registration {
            Registration::None => {}
            Registration::Local(id) => self.registry().unmonitor(port.name(), id),
            Registration::Remote(id) => {
                if let Some(mesh) = self.mesh() {
                    mesh.unmonitor(port, id);
                }
            }
        }
    }

    /// Kills a port, behind what was sent to it before (M4). `()` is the reason of a normal death. Nothing happens where
    /// there is no such port, or it is a node's own (M1).
    ///
    /// ```
    /// # use portmesh::{Node, PortId};
    /// # fn example(node: &Node, peer: &PortId) -> Result<(), portmesh::EncodeError> {
    /// node.kill(peer, ("too_hot", 451))?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The reason cannot be encoded; nothing happened.
    #[doc(alias = "kil")]
    pub fn kill(&self, port: &PortId, reason: impl IntoMessage) -> Result<(), EncodeError> {
        let reason = self.reason(reason)?;
        self.kill_raw(port, reason);
        Ok(())
    }

    pub(crate) fn kill_raw(&self, port: &PortId, reason: Reason) {
        match self.place(port) {
            Place::Here => self.registry().kill(port.name(), reason),
            Place::There(mesh) => mesh.kill(port, &reason),
            Place::Nowhere => {}
        }
    }

    /// What a monitor does: a port of this node is dead at once (M6).
    pub(crate) fn kill_linked(&self, port: &PortId, reason: Reason) {
        match self.place(port) {
            Place::Here => self.registry().kill_now(port.name(), reason),
            _ => self.kill_raw(port, reason),
        }
    }

    pub(crate) fn reason(&self, reason: impl IntoMessage) -> Result<Reason, EncodeError> {
        let limits = self.registry().limits();
        let message = reason.into_args(limits)?;
        Ok(Reason(message.values(limits)?))
    }

    /// Makes a new port on a node, with a function that is registered there under that name (S1, S2). Returns the new
    /// port's ID at once, without waiting for anything: messages and monitors may be sent to it right away. What goes
    /// wrong over there, the port dies of: `["no_such_function", name]`, `["not_permitted", …]`, `["die", text]`.
    ///
    /// ```
    /// # use portmesh::{Node, PortId};
    /// # fn example(node: &Node, me: &PortId) -> Result<(), portmesh::SpawnError> {
    /// let worker = node.spawn("worker/b", "count.words", (me,))?;
    /// node.monitor(&worker).call(|reason| eprintln!("the worker ended: {reason}")).detach();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`SpawnError`]; there is no port then.
    pub fn spawn(
        &self,
        on: impl SpawnTarget,
        function: &str,
        args: impl IntoMessage,
    ) -> Result<PortId, SpawnError> {
        let on = on.to_node()?;
        if function.len() > crate::proto::id::NAME_BYTES_MAX {
            return Err(SpawnError::FunctionName(function.len()));
        }
        let registry = self.registry();
        let args = args.into_args(registry.limits())?;
        if registry.is_closed() {
            return Err(SpawnError::ShutDown);
        }
        if on == *self.id() {
            return Ok(registry.spawn(function, args));
        }
        let id = PortId::new(on, registry.next_id().name().clone());
        if let Some(mesh) = self.mesh() {
            mesh.spawn(&id, function, args)?;
        }
        Ok(id)
    }

    /// Something to happen later (S5).
    ///
    /// ```
    /// # use portmesh::{Node, PortId};
    /// # use std::time::Duration;
    /// # fn example(node: &Node, peer: &PortId) -> Result<(), portmesh::EncodeError> {
    /// let timer = node.after(Duration::from_secs(5)).send(peer, "tick")?; // dropping it cancels it
    /// timer.detach();
    /// # Ok(()) }
    /// ```
    pub fn after(&self, delay: Duration) -> After<'_> {
        After::new(self, delay)
    }

    pub(crate) fn work(
        &self,
        cell: &Arc<PortCell>,
        work: Box<dyn Any + Send>,
        forced: bool,
    ) -> Result<(), RunError> {
        self.registry()
            .work(cell, work, forced)
            .map_err(|back| back.map_or(RunError::Dead, |_| RunError::Full))
    }

    /// The links that are up, by node ID.
    pub fn links(&self) -> Vec<LinkInfo> {
        self.mesh().map(|mesh| mesh.links()).unwrap_or_default()
    }

    /// What happens in the mesh from now on: nodes up and down (L5), messages undelivered, connections refused.
    pub fn events(&self) -> Events {
        Events::new(
            self.registry().events(),
            self.mesh().map(|mesh| mesh.events()),
        )
    }

    /// Where this node listens, with the ports that the system chose.
    pub fn listen_addrs(&self) -> Vec<String> {
        self.mesh()
            .map(|mesh| mesh.listen_addrs())
            .unwrap_or_default()
    }

    /// Where others can reach this node: what is advertised, else what its listeners come to. Empty for a private node.
    pub fn advertised(&self) -> Vec<String> {
        let mesh = self.mesh();
        mesh.map(|mesh| mesh.advertised()).unwrap_or_default()
    }

    /// Whether this is a global node of its mesh.
    pub fn is_global(&self) -> bool {
        self.mesh().is_some_and(|mesh| mesh.is_global())
    }

    /// Counters, and what is held now.
    pub fn stats(&self) -> NodeStats {
        NodeStats {
            ports: self.registry().count(),
            undelivered: self.registry().lost(),
            #[cfg(feature = "tls")]
            certificate_expires: self.identity().map(|identity| identity.not_after()),
            #[cfg(not(feature = "tls"))]
            certificate_expires: None,
            mesh: self.mesh().map(|mesh| mesh.stats()).unwrap_or_default(),
        }
    }

    /// Replaces the policy ([`NodeBuilder::policy`]), for the links that are up too, from what is read of them next:
    /// monitors, subscriptions and global nodes that it does not permit end. What was taken before stays.
    pub fn set_policy(&self, policy: Policy) {
        if let Some(mesh) = self.mesh() {
            mesh.set_policy(policy);
        }
    }

    /// Stops in order (L6): accepts no more connections, sends what waits for other nodes within `flush` at most, tells
    /// the peers, closes the links; then all ports of this node die with `["shutdown"]`. All monitors that are left
    /// fire. Returns when all is done; a second call waits for the first.
    pub async fn shutdown(&self, flush: Duration) {
        if let Some(mesh) = self.mesh() {
            mesh.shutdown(flush).await;
        }
        self.db_host().end();
        self.registry().close(&crate::runtime::local::shutdown());
    }
}

const NO_MESH: &str =
    "this node has no mesh: it was started without listeners, seeds and addresses";

impl From<MeshSendError> for SendError {
    fn from(error: MeshSendError) -> Self {
        match error {
            MeshSendError::Full(message) => SendError::Full(message),
            MeshSendError::ShutDown(message) => SendError::ShutDown(message),
            MeshSendError::TooLarge { message, max } => SendError::TooLarge {
                bytes: message.encoded_len(),
                max,
            },
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(self.id()).finish()
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}
impl Eq for Node {}
