//! Nodes for tests of the mesh alone: ports that are read by hand, and a network to put them on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    sync::{Arc, Mutex, OnceLock, Weak},
    time::Duration,
};

use portmesh::{
    Limits, NodeId, PortId, PortName,
    proto::{
        codec::Format,
        link::LinkId,
        message::{Batch, Message, Reason},
        monitor::WatchId,
        node::{
            peer::Reply,
            session::{Delivery, Ports},
        },
        ports::mailbox::{Mailbox, MailboxLimits, Overflow},
    },
    runtime::{
        self, LinkSink, NodePorts,
        auth::Credentials,
        entropy,
        events::{EventReceiver, EventSender, NodeEvent},
        mesh::{Mesh, MeshConfig, MeshSendError},
        transport::SharedTransport,
    },
    transport::memory::{MemoryNetwork, MemoryTransport},
};
use tokio::{
    sync::{Notify, broadcast},
    time::{Instant, sleep, timeout},
};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until it is so.
#[track_caller]
pub(crate) fn eventually(what: &str, is: impl Fn() -> bool) -> impl Future<Output = ()> {
    let from = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        while !is() {
            assert!(start.elapsed() < PATIENCE, "never: {what} ({from})");
            sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Waits for it, within reason.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("never: {what}"),
    }
}

#[derive(Debug)]
enum Item {
    Message(Message),
    Kill(Reason),
    Acknowledged,
}

/// A port whose mailbox the test reads.
pub(crate) struct TestPort {
    pub(crate) name: PortName,
    state: Mutex<PortState>,
    arrived: Notify,
    sink: Arc<OnceLock<Weak<dyn LinkSink>>>,
}

struct PortState {
    mailbox: Mailbox<Item>,
    watchers: BTreeSet<LinkId>,
    dead: Option<Reason>,
}

impl TestPort {
    fn sink(&self) -> Option<Arc<dyn LinkSink>> {
        self.sink.get()?.upgrade()
    }

    /// The next message, decoded.
    pub(crate) async fn next<T: serde::de::DeserializeOwned>(&self) -> T {
        let message = soon("a message", self.next_message()).await;
        message.decode(&Limits::default()).unwrap()
    }

    /// The next message.
    pub(crate) async fn next_message(&self) -> Message {
        loop {
            let arrived = self.arrived.notified();
            if let Some(message) = self.try_next() {
                return message;
            }
            arrived.await;
        }
    }

    /// The next message, if one is there.
    pub(crate) fn try_next(&self) -> Option<Message> {
        loop {
            let mut state = self.state.lock().unwrap();
            let item = state.mailbox.pop()?;
            let waiting = state.mailbox.take_waiting();
            drop(state);
            for link in waiting {
                if let Some(sink) = self.sink() {
                    sink.room(link, &self.name);
                }
            }
            match item {
                Item::Message(message) => return Some(message),
                Item::Kill(reason) => self.die(reason),
                Item::Acknowledged => {}
            }
        }
    }

    /// How many messages wait in it, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.mailbox.count(), state.mailbox.bytes())
    }

    /// The port dies.
    pub(crate) fn die(&self, reason: Reason) {
        let mut state = self.state.lock().unwrap();
        if state.dead.is_some() {
            return;
        }
        state.dead = Some(reason.clone());
        let watchers = std::mem::take(&mut state.watchers);
        let (_, waiting) = state.mailbox.close();
        drop(state);
        let Some(sink) = self.sink() else { return };
        for link in watchers {
            let down = Reply::Down {
                port: self.name.clone(),
                reason: reason.clone(),
            };
            sink.reply(link, down);
        }
        for link in waiting {
            sink.room(link, &self.name);
        }
    }
}

/// The ports of one node.
pub(crate) struct TestPorts {
    ports: Mutex<BTreeMap<PortName, Arc<TestPort>>>,
    sink: Arc<OnceLock<Weak<dyn LinkSink>>>,
    limits: Limits,
    node: NodeId,
}

impl TestPorts {
    pub(crate) fn new(node: &NodeId, limits: &Limits) -> Arc<Self> {
        let ports = Arc::new(TestPorts {
            node: node.clone(),
            ports: Mutex::default(),
            sink: Arc::default(),
            limits: limits.clone(),
        });
        ports.open("");
        ports
    }

    /// A port of that name.
    pub(crate) fn open(&self, name: &str) -> Arc<TestPort> {
        let name: PortName = name.parse().unwrap();
        let port = Arc::new(TestPort {
            name: name.clone(),
            state: Mutex::new(PortState {
                mailbox: Mailbox::new(MailboxLimits {
                    bytes_max: self.limits.mailbox_bytes_max,
                    count_max: self.limits.mailbox_count_max,
                    overflow: Overflow::PushBack,
                }),
                watchers: BTreeSet::new(),
                dead: None,
            }),
            arrived: Notify::new(),
            sink: self.sink.clone(),
        });
        self.ports.lock().unwrap().insert(name, port.clone());
        port
    }
}

impl Ports for TestPorts {
    type Port = Arc<TestPort>;

    fn find(&self, name: &str) -> Option<Self::Port> {
        let port = self.ports.lock().unwrap().get(name).cloned()?;
        let living = port.state.lock().unwrap().dead.is_none();
        living.then_some(port)
    }

    fn deliver(&self, port: &Self::Port, link: LinkId, batch: &mut Batch) -> Delivery {
        let mut state = port.state.lock().unwrap();
        if state.dead.is_some() {
            return Delivery::Dead;
        }
        while let Some(bytes) = batch.next_len() {
            if !state.mailbox.fits(bytes) {
                state.mailbox.wait_for_room(link);
                break;
            }
            if let Some(message) = batch.next() {
                state.mailbox.push(Item::Message(message), bytes);
            }
        }
        drop(state);
        port.arrived.notify_waiters();
        if batch.is_empty() {
            Delivery::Done
        } else {
            Delivery::Full
        }
    }

    fn spawned_by(&self, _: &Self::Port, _: &NodeId) -> bool {
        true
    }

    fn kill(&self, port: &Self::Port, _: LinkId, reason: Reason, _: Duration) {
        let mut state = port.state.lock().unwrap();
        state.mailbox.push_control(Item::Kill(reason));
        drop(state);
        port.arrived.notify_waiters();
    }

    fn watch(&self, port: &Self::Port, link: LinkId) -> Result<(), Reason> {
        let mut state = port.state.lock().unwrap();
        match &state.dead {
            Some(reason) => Err(reason.clone()),
            None => {
                state.watchers.insert(link);
                Ok(())
            }
        }
    }

    fn dead_reason(&self, name: &PortName) -> Reason {
        let ports = self.ports.lock().unwrap();
        let port = ports.get(name).map(|port| port.state.lock().unwrap());
        let dead = port.and_then(|state| state.dead.clone());
        dead.unwrap_or_else(|| {
            let id = PortId::new(self.node.clone(), name.clone());
            Reason::no_such_port(&id)
        })
    }

    fn unwatch(&self, port: &Self::Port, link: LinkId) {
        port.state.lock().unwrap().watchers.remove(&link);
    }

    fn loss_acknowledged(&self, port: &Self::Port, _: LinkId) {
        let mut state = port.state.lock().unwrap();
        state.mailbox.push_control(Item::Acknowledged);
    }

    fn spawn(
        &self,
        _: LinkId,
        _: &NodeId,
        name: &PortName,
        _: &str,
        _: Message,
    ) -> Result<Self::Port, Reason> {
        Ok(self.open(name.as_str()))
    }
}

impl NodePorts for TestPorts {
    fn attach(&self, links: Weak<dyn LinkSink>) {
        self.sink.set(links).expect("attached once");
    }
}

/// Makes the nodes of one test.
pub(crate) struct Rig {
    pub(crate) network: MemoryNetwork,
    pub(crate) limits: Limits,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Rig {
            network: MemoryNetwork::new(),
            limits: Limits::default(),
        }
    }

    /// What a node of that name on a host of that name is made from. It listens on its own name.
    pub(crate) fn config(&self, name: &str) -> MeshConfig {
        self.config_on(name, self.network.host(name))
    }

    /// Likewise with a transport that was there before.
    pub(crate) fn config_on(&self, name: &str, transport: Arc<MemoryTransport>) -> MeshConfig {
        self.config_of(name, transport, name)
    }

    /// Likewise with any transport.
    pub(crate) fn config_of(
        &self,
        name: &str,
        transport: SharedTransport,
        listen: &str,
    ) -> MeshConfig {
        MeshConfig {
            node: name.parse().unwrap(),
            incarnation: entropy::incarnation().unwrap(),
            cluster: "test".to_owned(),
            limits: self.limits.clone(),
            formats: vec![Format::cbor()],
            policy: Arc::default(),
            transport,
            credentials: Credentials::in_memory(),
            listen: vec![listen.to_owned()],
            advertise: Vec::new(),
            seeds: Vec::new(),
            addresses: BTreeMap::new(),
            db: None,
            features: Vec::new(),
            global: None,
            directory: None,
            events: EventSender::default(),
        }
    }

    /// A node that knows the others by their addresses.
    pub(crate) async fn node(&self, name: &str, others: &[&str]) -> TestNode {
        let mut config = self.config(name);
        for other in others {
            let addrs = vec![(*other).to_owned()];
            config.addresses.insert(other.parse().unwrap(), addrs);
        }
        TestNode::start(config).await
    }
}

/// A node.
pub(crate) struct TestNode {
    pub(crate) name: NodeId,
    pub(crate) mesh: Arc<Mesh<TestPorts>>,
    pub(crate) ports: Arc<TestPorts>,
    events: Mutex<EventReceiver>,
    seen: Mutex<Vec<NodeEvent>>,
    limits: Limits,
}

impl TestNode {
    pub(crate) async fn start(config: MeshConfig) -> TestNode {
        let ports = TestPorts::new(&config.node, &config.limits);
        let limits = config.limits.clone();
        let name = config.node.clone();
        let mesh = Mesh::start(config, ports.clone()).await.unwrap();
        TestNode {
            name,
            events: Mutex::new(mesh.events()),
            mesh,
            ports,
            seen: Mutex::default(),
            limits,
        }
    }

    pub(crate) fn send<T: serde::Serialize>(
        &self,
        to: &str,
        message: T,
    ) -> Result<(), MeshSendError> {
        let message = Message::encode(&message, &self.limits).unwrap();
        self.mesh.send(&pid(to), message)
    }

    /// A monitor; what it fired with.
    pub(crate) fn monitor(&self, to: &str) -> Fire {
        let fire = Fire::default();
        let inner = fire.clone();
        let watch = runtime::watch(move |reason: &Reason| inner.set(reason));
        fire.0
            .id
            .set(self.mesh.monitor(&pid(to), watch))
            .expect("a new one");
        fire
    }

    /// All events so far.
    pub(crate) fn events(&self) -> Vec<NodeEvent> {
        let mut events = self.events.lock().unwrap();
        let mut seen = self.seen.lock().unwrap();
        loop {
            match events.try_recv() {
                Ok(event) => seen.push((*event).clone()),
                Err(broadcast::error::TryRecvError::Empty) => break,
                Err(broadcast::error::TryRecvError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
        }
        seen.clone()
    }

    /// Whether that node is linked.
    pub(crate) fn linked(&self, node: &str) -> bool {
        let links = self.mesh.links();
        links.iter().any(|link| link.node.as_str() == node)
    }

    pub(crate) async fn until_linked(&self, node: &str) {
        eventually(&format!("{node} linked"), || self.linked(node)).await;
    }

    pub(crate) async fn until_not_linked(&self, node: &str) {
        eventually(&format!("{node} not linked"), || !self.linked(node)).await;
    }

    /// The ups and downs of that node, in order.
    pub(crate) fn ups_and_downs(&self, of: &str) -> Vec<&'static str> {
        self.events()
            .iter()
            .filter_map(|event| match event {
                NodeEvent::Up { node, .. } if node.as_str() == of => Some("up"),
                NodeEvent::Down { node, .. } if node.as_str() == of => Some("down"),
                _ => None,
            })
            .collect()
    }
}

pub(crate) fn pid(text: &str) -> PortId {
    text.parse().unwrap()
}

/// A monitor of a test's.
#[derive(Clone, Default)]
pub(crate) struct Fire(Arc<FireState>);

#[derive(Default)]
struct FireState {
    id: OnceLock<WatchId>,
    fired: Mutex<Vec<(Reason, Option<Instant>)>>,
}

impl Fire {
    fn set(&self, reason: &Reason) {
        let at = tokio::runtime::Handle::try_current().map(|_| Instant::now());
        self.0.fired.lock().unwrap().push((reason.clone(), at.ok()));
    }

    pub(crate) fn id(&self) -> WatchId {
        *self.0.id.get().expect("a monitor")
    }

    /// With what it fired; at most once.
    pub(crate) fn reason(&self) -> Option<Reason> {
        let fired = self.0.fired.lock().unwrap();
        assert!(fired.len() <= 1, "fired {} times", fired.len());
        fired.first().map(|(reason, _)| reason.clone())
    }

    pub(crate) fn at(&self) -> Instant {
        self.0.fired.lock().unwrap()[0].1.expect("in a runtime")
    }

    pub(crate) async fn until_fired(&self) -> Reason {
        eventually("a monitor fires", || self.reason().is_some()).await;
        self.reason().unwrap()
    }
}

impl fmt::Debug for Fire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.reason())
    }
}
