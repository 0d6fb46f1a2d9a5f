//! A network in memory: the same handshake and frames as on a real one, with cuts, delays and hangs at will.
//!
//! Meant for tests, those of programs that use Portmesh too: many nodes in one process, no sockets, and with tokio's
//! paused clock no waiting. There is no TLS on it, and it says so in [`Connection::security`].

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};

use self::pipe::{End, Faults, Wire};
use crate::{
    proto::id::NodeId,
    runtime::transport::{
        BoxFuture, ConnectError, Connection, Incoming, Listener, Mode, Transport,
    },
};

mod pipe;

/// Connections that wait for a listener to take them; further dials wait.
const BACKLOG: usize = 128;

/// A network of hosts in memory. Cheap to clone: all clones are the same network.
///
/// A host is a name; what it listens on are addresses, any texts. Faults are between hosts, last until they are healed,
/// and hold for connections that exist and for those that are dialled meanwhile.
///
/// ```
/// use portmesh::transport::memory::MemoryNetwork;
/// let network = MemoryNetwork::new();
/// let (_a, _b) = (network.host("a"), network.host("b"));
/// network.cut("a", "b");
/// network.heal("a", "b");
/// ```
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    net: Arc<Net>,
}

#[derive(Default)]
struct Net {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    listeners: BTreeMap<String, Listening>,
    faults: BTreeMap<(String, String), Between>,
    wires: Vec<Alive>,
    /// How many there may be before those that are gone are looked for.
    wires_max: usize,
    next_port: u16,
    buffer_bytes: Option<usize>,
}

/// What goes from one host to another goes through.
#[derive(Debug, Clone, Copy, Default)]
struct Between {
    faults: Faults,
    cut: bool,
}

struct Listening {
    host: String,
    queue: mpsc::Sender<Incoming>,
    key: [u8; 32],
}

/// A connection, by the hosts of its dialling and its accepting end.
struct Alive {
    from: String,
    to: String,
    wire: Weak<Wire>,
}

impl MemoryNetwork {
    /// A network without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A network whose connections buffer that many bytes in each direction (64 KiB by default): a writer waits when they
    /// are not read.
    #[must_use]
    pub fn with_buffer_bytes(bytes: usize) -> Self {
        let network = Self::new();
        network.lock().buffer_bytes = Some(bytes);
        network
    }

    /// The transport of one host: give it to one node, and again to the node that takes its place after a restart, so that
    /// it keeps its key. Two transports of the same host have different keys.
    #[must_use]
    pub fn host(&self, name: &str) -> Arc<MemoryTransport> {
        Arc::new(MemoryTransport {
            network: self.clone(),
            host: name.to_owned(),
            key: random(),
            connect_timeout: Duration::from_secs(5),
        })
    }

    /// Breaks all connections between two hosts: both ends see an error at once, and new dials fail at once.
    pub fn cut(&self, a: &str, b: &str) {
        let mut state = self.lock();
        for (from, to) in [(a, b), (b, a)] {
            state.between(from, to).cut = true;
        }
        for (wire, _) in state.wires_of(a, b) {
            wire.cut();
        }
        drop(state);
        self.net.changed.notify_waiters();
    }

    /// From now on nothing that `from` sends arrives at `to`, and neither end is told: a black hole in one direction. Call
    /// it for both directions to make a peer vanish. Healed, what was sent meanwhile arrives. Dials between the two, in
    /// either direction, hang until their time is over.
    pub fn hang(&self, from: &str, to: &str) {
        self.change(from, to, |between| between.faults.hung = true);
    }

    /// From now on what `from` sends arrives at `to` that much later.
    pub fn delay(&self, from: &str, to: &str, by: Duration) {
        self.change(from, to, |between| between.faults.delay = by);
    }

    /// The connections that now exist between two hosts never carry another byte nor an error, as after the power loss of
    /// one of them. New ones are not affected. Not healed.
    pub fn abandon(&self, a: &str, b: &str) {
        for (wire, _) in self.lock().wires_of(a, b) {
            wire.abandon();
        }
    }

    /// Ends all faults between two hosts.
    pub fn heal(&self, a: &str, b: &str) {
        for (from, to) in [(a, b), (b, a)] {
            self.change(from, to, |between| *between = Between::default());
        }
    }

    /// How many connections between the two hosts have an end in use.
    #[must_use]
    pub fn connections(&self, a: &str, b: &str) -> usize {
        self.lock().wires_of(a, b).len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.net
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, from: &str, to: &str, how: impl FnOnce(&mut Between)) {
        let mut state = self.lock();
        let between = state.between(from, to);
        how(between);
        let faults = between.faults;
        for (wire, dialled_by_to) in state.wires_of(from, to) {
            wire.set_faults(dialled_by_to, faults);
        }
        drop(state);
        self.net.changed.notify_waiters();
    }
}

impl State {
    fn between(&mut self, from: &str, to: &str) -> &mut Between {
        self.faults
            .entry((from.to_owned(), to.to_owned()))
            .or_default()
    }

    /// Forgets connections that are gone, when there are twice as many as were left the last time.
    fn tidy(&mut self) {
        if self.wires.len() >= self.wires_max {
            self.wires.retain(|alive| alive.wire.strong_count() > 0);
            self.wires_max = 2 * self.wires.len().max(32);
        }
    }

    /// The connections between two hosts; whether `b` dialled.
    fn wires_of(&mut self, a: &str, b: &str) -> Vec<(Arc<Wire>, bool)> {
        self.wires.retain(|alive| alive.wire.strong_count() > 0);
        self.wires
            .iter()
            .filter_map(|alive| {
                let dialled_by_a = alive.from == a && alive.to == b;
                let dialled_by_b = alive.from == b && alive.to == a;
                let wire = alive.wire.upgrade()?;
                (dialled_by_a || dialled_by_b).then_some((wire, dialled_by_b && !dialled_by_a))
            })
            .collect()
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("MemoryNetwork")
            .field("addresses", &state.listeners.keys())
            .field("faults", &state.faults)
            .finish_non_exhaustive()
    }
}

/// The transport of one host of a [`MemoryNetwork`]. Its key, which stands for the one of its node, is random.
pub struct MemoryTransport {
    network: MemoryNetwork,
    host: String,
    key: [u8; 32],
    connect_timeout: Duration,
}

impl fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl MemoryTransport {
    /// The name of its host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    async fn connect(&self, addr: &str) -> io::Result<Connection> {
        loop {
            // asked for before the look, so that no change is missed
            let changed = self.network.net.changed.notified();
            match self.try_connect(addr)? {
                Attempt::Hangs => changed.await,
                Attempt::Through(through) => {
                    let Through {
                        round_trip,
                        queue,
                        incoming,
                        connection,
                    } = *through;
                    tokio::time::sleep(round_trip).await;
                    return match queue.send(incoming).await {
                        Ok(()) => Ok(connection),
                        Err(_) => Err(io::ErrorKind::ConnectionRefused.into()),
                    };
                }
            }
        }
    }

    fn try_connect(&self, addr: &str) -> io::Result<Attempt> {
        let mut state = self.network.lock();
        let Some(listening) = state.listeners.get(addr) else {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                "nobody listens there on the memory network",
            ));
        };
        let (host, peer_key, queue) = (
            listening.host.clone(),
            listening.key,
            listening.queue.clone(),
        );
        let there = *state.between(&self.host, &host);
        let back = *state.between(&host, &self.host);
        if there.cut || back.cut {
            return Err(io::Error::new(
                io::ErrorKind::HostUnreachable,
                "the memory network is cut",
            ));
        }
        if there.faults.hung || back.faults.hung {
            return Ok(Attempt::Hangs);
        }
        let buffer_bytes = state.buffer_bytes.unwrap_or(64 << 10);
        let wire = Wire::new(buffer_bytes, [there.faults, back.faults]);
        let (near, far) = End::pair(&wire);
        state.tidy();
        state.wires.push(Alive {
            from: self.host.clone(),
            to: host,
            wire: Arc::downgrade(&wire),
        });
        let exporter = random();
        let from = format!("memory:{}", self.host);
        let accepted = connection(far, from.clone(), exporter, peer_key, self.key);
        Ok(Attempt::Through(Box::new(Through {
            round_trip: there.faults.delay + back.faults.delay,
            queue,
            incoming: Incoming {
                peer_ip: None,
                peer_addr: from,
                secure: Box::pin(async { Ok(accepted) }),
            },
            connection: connection(near, addr.to_owned(), exporter, self.key, peer_key),
        })))
    }
}

enum Attempt {
    Hangs,
    Through(Box<Through>),
}

struct Through {
    round_trip: Duration,
    queue: mpsc::Sender<Incoming>,
    incoming: Incoming,
    connection: Connection,
}

fn connection(
    stream: End,
    peer_addr: String,
    exporter: [u8; 32],
    own_key: [u8; 32],
    peer_key: [u8; 32],
) -> Connection {
    Connection {
        stream: Box::new(stream),
        peer_addr,
        exporter,
        own_key,
        peer_key,
        mode: Mode::Secret,
        certified: None,
        chain: Vec::new(),
        expires: None,
        generation: 0,
        in_process: true,
        security: "memory, no TLS".to_owned(),
        proof: format!(
            "memory key {:02x}{:02x}{:02x}{:02x}",
            peer_key[0], peer_key[1], peer_key[2], peer_key[3]
        ),
    }
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    // without a source of randomness there are zeros: nothing is secret on this network
    if SystemRandom::new().fill(&mut bytes).is_err() {
        tracing::warn!("no randomness for a key of the memory network");
    }
    bytes
}

impl Transport for MemoryTransport {
    fn dial<'a>(
        &'a self,
        addr: &'a str,
        _expect: Option<&'a NodeId>,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(async move {
            let connected = timeout(self.connect_timeout, self.connect(addr)).await;
            connected
                .map_err(|_| ConnectError::Timeout {
                    addr: addr.to_owned(),
                    what: "connecting",
                    limit: self.connect_timeout,
                })?
                .map_err(|source| ConnectError::Connect {
                    addr: addr.to_owned(),
                    source,
                })
        })
    }

    /// Any text is an address; where it ends with `:0` a number that is free takes the place of the 0.
    fn listen<'a>(
        &'a self,
        addr: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, ConnectError>> {
        Box::pin(async move {
            let (queue, waiting) = mpsc::channel(BACKLOG);
            let mut state = self.network.lock();
            let mut addr = addr.to_owned();
            if let Some(host) = addr.strip_suffix(":0").map(str::to_owned) {
                while addr.ends_with(":0") || state.listeners.contains_key(&addr) {
                    state.next_port = state.next_port.wrapping_add(1);
                    addr = format!("{host}:{}", state.next_port);
                }
            }
            if state.listeners.contains_key(&addr) {
                return Err(ConnectError::Connect {
                    addr,
                    source: io::ErrorKind::AddrInUse.into(),
                });
            }
            state.listeners.insert(
                addr.clone(),
                Listening {
                    host: self.host.clone(),
                    queue,
                    key: self.key,
                },
            );
            let listener = MemoryListener {
                network: self.network.clone(),
                addr,
                waiting,
            };
            Ok(Box::new(listener) as Box<dyn Listener>)
        })
    }
}

/// Listens on one address until it is dropped.
struct MemoryListener {
    network: MemoryNetwork,
    addr: String,
    waiting: mpsc::Receiver<Incoming>,
}

impl Listener for MemoryListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming>> {
        Box::pin(async {
            match self.waiting.recv().await {
                Some(incoming) => Ok(incoming),
                // its own sender sits in the network until it is dropped
                None => std::future::pending().await,
            }
        })
    }

    fn local_addr(&self) -> String {
        self.addr.clone()
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        self.network.lock().listeners.remove(&self.addr);
    }
}

#[cfg(test)]
mod tests;
