//! What a node is started from.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, OnceLock},
};

#[cfg(feature = "tls")]
use super::{
    credentials::{self, Live},
    sources::{Sources, Stamps},
};
use super::{
    error::StartError,
    events::Events,
    message::FromMessage,
    node::Node,
    node_port,
    service::{self, Service},
    spawn::{InitFn, Spawnable},
};
#[cfg(feature = "tls")]
use crate::transport::tls::{Identity, Membership, State};
use crate::{
    proto::{
        codec::Format,
        handshake::{Credentials, DEFAULT_CLUSTER, Secrets},
        id::NodeId,
        limits::Limits,
        message::IntoMessage,
        naming::{self, NodePattern},
        policy::{Operation, Policy, Rule},
    },
    runtime::{
        db::{DbConfig, DbHost},
        entropy,
        events::EventSender,
        mesh::{Mesh, MeshConfig},
        policy::PolicyHandle,
        registered::Registered,
        registry::{Function, Registry, RegistryConfig},
        transport::SharedTransport,
    },
};

/// Describes a node: [`Node::builder`]. Nothing happens before [`start`](Self::start).
///
/// Without any of listeners, seeds and addresses the node has no mesh: no socket, no task, no need of a secret (P10).
///
/// ```no_run
/// use portmesh::{Identity, Init, Node, PortId};
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::builder("worker/%n/%u")
///     .identity(Identity::from_pem_file("node.pem")?) // or .secret(Secret::from_file("mesh.secret")?)
///     .listen("*:4040")
///     .seed("seed.example.net:4040")
///     .spawnable("count.words", async |cx: &Init, (lines_from,): (PortId,)| { /* … */ })
///     .start()
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is started before `.start().await`"]
pub struct NodeBuilder {
    pub(super) name: String,
    pub(super) trusted: Vec<NodePattern>,
    /// Rules that hold whatever the policy is.
    pub(super) always: Vec<Rule>,
    #[cfg(feature = "tls")]
    pub(super) identity: Option<Identity>,
    pub(super) secrets: Option<Secrets>,
    #[cfg(feature = "tls")]
    pub(super) sources: Sources,
    #[cfg(feature = "tls")]
    pub(super) stamps: Stamps,
    #[cfg(feature = "tls")]
    pub(super) crls: Vec<String>,
    #[cfg(feature = "tls")]
    pub(super) state: State,
    pub(super) cluster: Option<String>,
    pub(super) transport: Option<SharedTransport>,
    pub(super) listen: Vec<String>,
    pub(super) advertise: Vec<String>,
    pub(super) seeds: Vec<String>,
    pub(super) global: Option<bool>,
    pub(super) addresses: BTreeMap<NodeId, Vec<String>>,
    pub(super) formats: Vec<Format>,
    pub(super) limits: Option<Limits>,
    pub(super) policy: Option<Policy>,
    pub(super) functions: HashMap<String, Arc<dyn Function>>,
    pub(super) services: Vec<Service>,
    /// Told to the functions when there is the node: one of this builder, and those of builders that went into it.
    pub(super) node: Vec<NodeCell>,
}

/// Where a function finds its node.
pub(super) type NodeCell = Arc<OnceLock<std::sync::Weak<super::inner::NodeInner>>>;

impl NodeBuilder {
    pub(crate) fn new(name: String) -> Self {
        NodeBuilder {
            name,
            trusted: Vec::new(),
            always: Vec::new(),
            #[cfg(feature = "tls")]
            identity: None,
            secrets: None,
            #[cfg(feature = "tls")]
            sources: Sources::default(),
            #[cfg(feature = "tls")]
            stamps: Stamps::default(),
            #[cfg(feature = "tls")]
            crls: Vec::new(),
            #[cfg(feature = "tls")]
            state: State::None,
            cluster: None,
            transport: None,
            listen: Vec::new(),
            advertise: Vec::new(),
            seeds: Vec::new(),
            global: None,
            addresses: BTreeMap::new(),
            formats: Vec::new(),
            limits: None,
            policy: None,
            functions: HashMap::new(),
            services: Vec::new(),
            node: vec![NodeCell::default()],
        }
    }

    /// The name of the node, in place of the one that was given before: see [`Node::builder`].
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The secret that all nodes of the cluster share, or several: the first is used, all are accepted. With an
    /// identity as well the node dials with the identity and accepts both.
    pub fn secret(mut self, secret: impl Into<Secrets>) -> Self {
        self.secrets = Some(secret.into());
        #[cfg(feature = "tls")]
        {
            self.sources.secrets = None;
        }
        self
    }

    /// A directory of this node's own for its key and the keys of others (secret mode); made if there is none. A name
    /// without `%u` needs it in secret mode.
    #[cfg(feature = "tls")]
    pub fn state_dir(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.state = State::Directory(path.into());
        self
    }

    /// Allows a name without `%u` in secret mode without a state directory: anybody who has the secret can take the
    /// name while this node is away.
    #[cfg(feature = "tls")]
    pub fn unpinned(mut self) -> Self {
        self.state = State::Unpinned;
        self
    }

    /// The name of the cluster: nodes of others are refused. Default: that of the certificate, or `portmesh`.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = Some(name.into());
        self
    }

    /// Listens there: `host:port`, `*` for every local address or for a port that the system picks, no port for 4040.
    /// Several are possible; a node that listens nowhere is private.
    pub fn listen(mut self, addr: impl Into<String>) -> Self {
        self.listen.push(addr.into());
        self
    }

    /// Where others reach the listeners, `host:port`, where that is not where they listen: behind a translation of
    /// addresses, in a container. Several are possible. Default: the listen addresses, with the addresses of this host's
    /// interfaces for `*`.
    pub fn advertise(mut self, addr: impl Into<String>) -> Self {
        self.advertise.push(addr.into());
        self
    }

    /// Whether this is a global node. Default: it is when it has no seed but itself.
    pub fn global(mut self, global: bool) -> Self {
        self.global = Some(global);
        self
    }

    /// An address that is tried at the start, and again until it answers, to find the mesh (L4): `host:port`, no port for
    /// 4040. The name is resolved anew at every try, and all its addresses are used. It may be this node's own. Several
    /// are possible.
    pub fn seed(mut self, addr: impl Into<String>) -> Self {
        self.seeds.push(addr.into());
        self
    }

    /// Takes nodes of these IDs for global nodes when they say that they are, besides those that answer at this node's
    /// seeds. Nobody becomes one by their own word, and what a rule of the policy denies counts more. See [`Self::global`].
    ///
    /// ```no_run
    /// # use portmesh::Node;
    /// # fn example() -> Result<(), portmesh::ParseIdError> {
    /// let builder = Node::builder("seed/a").listen("*:4040").global(true).trust_global("seed/*".parse()?);
    /// # Ok(()) }
    /// ```
    pub fn trust_global(mut self, nodes: NodePattern) -> Self {
        self.trusted.push(nodes);
        self
    }

    /// Where a node can be reached. Several a node are possible.
    pub fn address(mut self, node: NodeId, addr: impl Into<String>) -> Self {
        self.addresses.entry(node).or_default().push(addr.into());
        self
    }

    /// A format for the links, after those given before. Default: CBOR, then JSON.
    pub fn format(mut self, format: Format) -> Self {
        self.formats.push(format);
        self
    }

    /// Formats for the links, the preferred one first, after those given before.
    pub fn formats(mut self, formats: impl IntoIterator<Item = Format>) -> Self {
        self.formats.extend(formats);
        self
    }

    /// Every bound.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Who may do what here. Default: see [`Policy`]. [`Node::set_policy`] replaces it later.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        #[cfg(feature = "tls")]
        {
            self.sources.policy = None;
        }
        self
    }
    /// A rule besides the policy, which stays when that is replaced.
    pub fn policy_rule(mut self, rule: Rule) -> Self {
        self.always.push(rule);
        self
    }

    /// Another transport than TCP with TLS, for example [`memory`](crate::transport::memory). Without a secret it is
    /// trusted to be reachable for members only.
    pub fn transport(mut self, transport: SharedTransport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Registers an init function under a name, so that others, and this node, can [spawn](Node::spawn) it. A later one
    /// of the same name replaces the former. See [`Init`](super::context::Init).
    pub fn spawnable<A, F>(mut self, name: impl Into<String>, init: F) -> Self
    where
        A: FromMessage + Send + 'static,
        F: for<'a> InitFn<'a, A> + Send + Sync + 'static,
    {
        let cell = self.node.first().cloned().unwrap_or_default();
        let function = Spawnable::<F, A>::new(init, cell);
        self.functions.insert(name.into(), Arc::new(function));
        self
    }

    /// Starts a registered function with the node: when all else has started it is spawned here with these arguments, behind
    /// the services before it, and the start is over when its init function has returned. If that fails, or there is no such
    /// function, the node does not start.
    ///
    /// ```
    /// # use portmesh::{Init, Node};
    /// # async fn start() -> Result<(), portmesh::StartError> {
    /// let node = Node::builder("a")
    ///     .spawnable("clock", async |cx: &Init, (seconds,): (u64,)| { /* … */ })
    ///     .service("clock", (60,))
    ///     .start()
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn service(mut self, function: impl Into<String>, args: impl IntoMessage) -> Self {
        self.services.push(Service::new(function.into(), args));
        self
    }

    /// Starts the node, in the current tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn start(self) -> Result<Node, StartError> {
        self.begin(false).await.map(|(node, _)| node)
    }

    /// Starts the node, and listens to all that happens to it from its beginning: [`Node::events`] tells what happens from
    /// the call on, and by then a seed may have answered, or refused this node.
    ///
    /// ```no_run
    /// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = portmesh::Node::builder("hello/%u").seed("a.example.net");
    /// let (node, mut events) = builder.start_with_events().await?;
    /// println!("the first that befell {} was {:?}", node.id(), events.next().await);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Self::start`].
    ///
    /// # Panics
    /// As [`Self::start`].
    pub async fn start_with_events(self) -> Result<(Node, Events), StartError> {
        let (node, events) = self.begin(true).await?;
        let events = events.unwrap_or_else(|| node.events());
        Ok((node, events))
    }

    async fn begin(mut self, listen: bool) -> Result<(Node, Option<Events>), StartError> {
        service::check(&self.services, &self.functions)?;
        let services = std::mem::take(&mut self.services);
        let limits = self.limits.take().unwrap_or_default();
        let policy = self.policy.take().unwrap_or_default();
        let random = u128::from_le_bytes(entropy::random()?);
        let name = naming::expand(&self.name, &super::host::name(), random).map_err(|source| {
            StartError::Name {
                name: self.name.clone(),
                source,
            }
        })?;
        let has_mesh = !(self.listen.is_empty()
            && self.advertise.is_empty()
            && self.seeds.is_empty()
            && self.addresses.is_empty());
        let incarnation = entropy::incarnation()?;
        let trusted = std::mem::take(&mut self.trusted).into_iter();
        let global = |nodes| Rule::for_pattern(nodes).allow_all(Operation::Global);
        let mut always = std::mem::take(&mut self.always);
        always.extend(trusted.map(global));
        let policy = Arc::new(PolicyHandle::new(policy, always));
        let registered = Arc::new(Registered::default());
        let registry = Registry::new(RegistryConfig {
            node: name.clone(),
            incarnation,
            limits: limits.clone(),
            registered: registered.clone(),
            functions: std::mem::take(&mut self.functions),
        });
        let of_mesh = EventSender::default();
        let events = listen.then(|| {
            let mesh = has_mesh.then(|| of_mesh.subscribe());
            Events::new(registry.events(), mesh)
        });
        let db = DbHost::new(
            DbConfig {
                node: name.clone(),
                life: incarnation,
                policy: policy.clone(),
                registered,
                limits: limits.clone(),
                seed: u64::from_le_bytes(entropy::random()?),
            },
            registry.event_sender(),
        );
        let node = Node::new(registry.clone(), db.clone());
        for cell in &self.node {
            let _ = cell.set(node.downgrade());
        }
        node_port::open(&node);
        if has_mesh {
            let (transport, credentials, cluster) = self.membership(&name, &node, &limits)?;
            if self.formats.is_empty() {
                self.formats = vec![Format::cbor(), Format::json()];
            }
            let config = MeshConfig {
                node: name,
                incarnation,
                cluster,
                limits,
                formats: self.formats,
                policy,
                transport,
                credentials,
                listen: self.listen,
                advertise: self.advertise,
                seeds: self.seeds,
                addresses: self.addresses,
                db: Some(db.clone()),
                features: Vec::new(),
                global: self.global,
                directory: Some(db.clone()),
                events: of_mesh,
            };
            let mesh = Mesh::start(config, registry.clone()).await?;
            node.inner().set_mesh(mesh.clone());
            db.attach(&mesh);
            #[cfg(feature = "tls")]
            if node.identity().is_some() {
                tokio::spawn(super::crl::spread(node.downgrade(), db.clone()));
            }
        } else {
            db.begin_alone();
        }
        registry.release();
        service::start(&node, services).await?;
        Ok((node, events))
    }

    #[cfg(feature = "tls")]
    fn membership(
        &mut self,
        name: &NodeId,
        node: &Node,
        limits: &Limits,
    ) -> Result<(SharedTransport, Credentials, String), StartError> {
        if let Some(transport) = self.transport.take() {
            return Ok(self.over(transport));
        }
        let membership = Membership {
            node: name.clone(),
            cluster: self.cluster.take(),
            identity: self.identity.take(),
            secrets: self.secrets.take(),
            state: std::mem::take(&mut self.state),
        };
        let prepared = membership.prepare(limits)?;
        let transport = Arc::new(prepared.transport);
        for crls in &self.crls {
            transport.add_crls(crls)?;
        }
        let sources = std::mem::take(&mut self.sources);
        let stamps = std::mem::take(&mut self.stamps);
        let live = Live::new(transport.clone(), sources, stamps);
        node.inner().set_live(live);
        let events = node.registry().event_sender();
        tokio::spawn(credentials::watch(node.downgrade(), events));
        Ok((transport, prepared.credentials, prepared.cluster))
    }

    #[cfg(not(feature = "tls"))]
    fn membership(
        &mut self,
        _name: &NodeId,
        _node: &Node,
        _limits: &Limits,
    ) -> Result<(SharedTransport, Credentials, String), StartError> {
        match self.transport.take() {
            Some(transport) => Ok(self.over(transport)),
            None => Err(StartError::NoTransport),
        }
    }

    fn over(&mut self, transport: SharedTransport) -> (SharedTransport, Credentials, String) {
        let credentials = match self.secrets.take() {
            Some(secrets) => Credentials::secret(secrets),
            None => Credentials::in_memory(),
        };
        let cluster = self.cluster.take();
        let cluster = cluster.unwrap_or_else(|| DEFAULT_CLUSTER.to_owned());
        (transport, credentials, cluster)
    }
}

impl fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeBuilder")
            .field("name", &self.name)
            .field("listen", &self.listen)
            .field("seeds", &self.seeds)
            .finish_non_exhaustive()
    }
}
