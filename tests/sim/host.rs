//! One simulated node: the protocol's parts as the runtime joins them, one event at a time.

use std::{collections::BTreeMap, num::NonZeroU64, time::Duration};

use bytes::BytesMut;
use portmesh::{
    Incarnation, Limits, NodeId, PortId, PortName,
    proto::{
        close::{CloseReason, code},
        codec::Format,
        id::PortNames,
        link::LinkId,
        message::Message,
        monitor::WatchId,
        node::{
            peer::{Fired, LinkParams, Peer, PeerFrame, Reply, SendRefused, Wake},
            session::{Reactions, Session, SessionParams},
        },
        peers::{Candidate, Peers, PeersOutput},
    },
};

use crate::{
    history::{No, What},
    mutants::Mutant,
    net::{Chunk, ConnId},
    ports::{PortOut, SimPorts},
    wire::{self, Early, Hello},
    world::{Event, World},
};

mod connections;
mod outputs;

/// How much the writer takes at a time.
const WRITE_BYTES: usize = 4 << 10;

/// What a monitor does when it fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFire {
    Nothing,
    /// Sends to the same port again, at once.
    Send,
    /// Monitors and sends again, at once.
    Again,
}

#[derive(Debug)]
struct Watching {
    to: PortId,
    id: WatchId,
    on_fire: OnFire,
}

#[derive(Debug)]
enum Stage {
    /// Answers the hello that comes.
    Accepted,
    /// Sent its hello, awaits the other.
    Dialed,
    /// Sent its answer, awaits READY.
    Answered,
    /// Not a link yet; `told`: ACTIVATE was read, nothing after it is.
    Candidate {
        told: bool,
    },
    Link(Box<Session<SimPorts>>),
}

#[derive(Debug)]
struct Conn {
    conn: ConnId,
    side: usize,
    stage: Stage,
    /// The dial of ours that made it.
    dial: Option<NodeId>,
    hello: Option<Hello>,
    data: BytesMut,
    /// The writer has something to do: `out` to write, or (`more`) to ask for more.
    awake: bool,
    more: bool,
    out: Vec<u8>,
    until: Option<Duration>,
}

#[derive(Debug)]
pub struct Node {
    pub host: usize,
    pub life: u32,
    pub id: NodeId,
    pub hello: Hello,
    limits: Limits,
    peers: Peers,
    remote: BTreeMap<NodeId, Peer<No>>,
    conns: BTreeMap<LinkId, Conn>,
    by_conn: BTreeMap<(ConnId, usize), LinkId>,
    pub ports: SimPorts,
    names: PortNames,
    next_link: u64,
    timer: Option<Duration>,
    watches: BTreeMap<No, Watching>,
    probing: Vec<LinkId>,
    /// Messages that wait for room.
    waiting: BTreeMap<NodeId, Vec<(PortId, usize)>>,
    /// The mutant that never asks whether the time has come.
    deaf: bool,
    /// The mutant that fires late keeps them here.
    late: Vec<(No, portmesh::proto::message::Reason)>,
}

impl Node {
    pub fn new(host: usize, life: u32, hello: Hello, limits: Limits, w: &mut World) -> Self {
        let service = Duration::from_micros(w.rng.range(10, 3_000));
        let reused = w.mutant == Mutant::ReuseNames;
        let named = if reused {
            Incarnation::new(1, host as u128)
        } else {
            hello.incarnation
        };
        let me = match w.mutant {
            Mutant::BothDecide => "A".parse().unwrap(),
            _ => hello.node.clone(),
        };
        Node {
            host,
            life,
            id: hello.node.clone(),
            peers: Peers::new(me, hello.incarnation, &limits),
            ports: SimPorts::new(hello.node.clone(), limits.clone(), service, w.mutant),
            names: PortNames::new(named),
            hello,
            limits,
            remote: BTreeMap::new(),
            conns: BTreeMap::new(),
            by_conn: BTreeMap::new(),
            next_link: 1,
            timer: None,
            watches: BTreeMap::new(),
            probing: Vec::new(),
            waiting: BTreeMap::new(),
            deaf: w.mutant == Mutant::NeverTimeOut,
            late: Vec::new(),
        }
    }

    pub fn next_name(&self) -> PortName {
        self.names.next_name()
    }

    fn log(&self, w: &mut World, what: What) {
        w.log(self.host, self.life, what);
    }

    // --- what the program does ---

    fn remote(&mut self, node: &NodeId) -> &mut Peer<No> {
        let limits = &self.limits;
        let new = || Peer::new(node.clone(), limits);
        self.remote.entry(node.clone()).or_insert_with(new)
    }

    pub fn send(&mut self, w: &mut World, to: &PortId, tag: &str, size: usize) {
        let no = w.no();
        let message = w.message(tag, no, size);
        let bytes = message.encoded_len();
        let result = self.remote(to.node()).send(to.name(), message);
        self.sent(w, to, no, bytes, result);
    }

    fn sent(
        &mut self,
        w: &mut World,
        to: &PortId,
        message: No,
        bytes: usize,
        result: Result<Wake, SendRefused>,
    ) {
        let to = to.clone();
        match result {
            Ok(wake) => {
                if self.peers.link(to.node()).is_none() {
                    w.count("sent without a link");
                }
                let node = to.node().clone();
                self.log(w, What::Sent { to, message, bytes });
                self.wake(w, &node, wake);
            }
            Err(refused) => {
                w.count("send refused");
                if matches!(refused, SendRefused::Full(_)) && message.is_multiple_of(2) {
                    w.count("waits for room");
                    let waiting = self.waiting.entry(to.node().clone()).or_default();
                    waiting.push((to.clone(), bytes));
                }
                self.log(w, What::SendRefused { to, message });
            }
        }
    }

    pub fn call(&mut self, w: &mut World, to: &PortId, size: usize) {
        let (no, watch) = (w.no(), w.no());
        let message = w.message("m", no, size);
        let bytes = message.encoded_len();
        let result = self.remote(to.node()).call(to.name(), message, watch);
        match result {
            Ok((id, wake)) => {
                self.watching(w, to, watch, id, OnFire::Nothing);
                self.sent(w, to, no, bytes, Ok(wake));
            }
            Err((refused, _)) => self.sent(w, to, no, bytes, Err(refused)),
        }
    }

    pub fn monitor(&mut self, w: &mut World, to: &PortId, on_fire: OnFire) {
        let watch = w.no();
        let (id, wake) = self.remote(to.node()).monitor(to.name(), watch);
        self.watching(w, to, watch, id, on_fire);
        self.wake(w, to.node(), wake);
    }

    fn watching(&mut self, w: &mut World, to: &PortId, watch: No, id: WatchId, on_fire: OnFire) {
        let to = to.clone();
        self.log(
            w,
            What::Monitored {
                to: to.clone(),
                watch,
            },
        );
        self.watches.insert(watch, Watching { to, id, on_fire });
    }

    /// Takes back the `nth` of its monitors.
    pub fn unmonitor(&mut self, w: &mut World, nth: usize) {
        let at = nth % self.watches.len().max(1);
        let Some(watch) = self.watches.keys().nth(at).copied() else {
            return;
        };
        let Some(Watching { to, id, .. }) = self.watches.remove(&watch) else {
            return;
        };
        let (taken, wake) = self.remote(to.node()).unmonitor(to.name(), id);
        w.count("monitor taken back");
        let taken = taken.is_some();
        self.log(w, What::Unmonitored { watch, taken });
        self.wake(w, to.node(), wake);
    }

    pub fn kill(&mut self, w: &mut World, to: &PortId) {
        let kill = w.no();
        self.log(
            w,
            What::KillSent {
                to: to.clone(),
                kill,
            },
        );
        let now = w.now();
        let reason = World::kill_reason(kill);
        let wake = self.remote(to.node()).kill(to.name(), &reason, now);
        self.wake(w, to.node(), wake);
    }

    pub fn spawn(
        &mut self,
        w: &mut World,
        node: &NodeId,
        function: &'static str,
    ) -> Option<PortId> {
        let name = self.next_name();
        let args = Message::encode_args(&(), &self.limits).unwrap();
        let result = self.remote(node).spawn(&name, function, args);
        let wake = result.ok()?;
        let port = PortId::new(node.clone(), name);
        self.log(
            w,
            What::SpawnSent {
                port: port.clone(),
                function,
            },
        );
        self.wake(w, node, wake);
        Some(port)
    }

    pub fn want(&mut self, w: &mut World, node: &NodeId) {
        self.peers.want(node, w.now());
    }

    /// Which of its monitors is on a port that lives.
    pub fn watches_living(&self, lives: impl Fn(&PortId) -> bool) -> Option<(usize, PortId)> {
        let mut watches = (0..).zip(self.watches.values());
        let living = watches.find(|(_, watch)| lives(&watch.to) && !watch.to.name().is_node_port());
        living.map(|(nth, watch)| (nth, watch.to.clone()))
    }

    /// Its ports.
    pub fn living(&self) -> Vec<PortId> {
        let names = self.ports.living().into_iter();
        names
            .map(|name| PortId::new(self.id.clone(), name))
            .collect()
    }

    pub fn has_link(&self, node: &NodeId) -> bool {
        self.peers.link(node).is_some()
    }

    /// Those that wait for room try again.
    fn retry(&mut self, w: &mut World, node: &NodeId) {
        for (to, bytes) in self.waiting.remove(node).into_iter().flatten() {
            self.send(w, &to, "m", bytes);
        }
    }

    // --- what follows from commands ---

    fn wake(&mut self, w: &mut World, node: &NodeId, wake: Wake) {
        if wake.writer
            && let Some((link, _)) = self.peers.link(node)
            && let Some(conn) = self.conns.get_mut(&link)
        {
            conn.awake = true;
            conn.more = true;
        }
        if wake.dial {
            self.peers.want(node, w.now());
        }
        if wake.overrun
            && let Some((link, _)) = self.peers.link(node)
        {
            w.count("overrun");
            self.end(w, link, CloseReason::Overrun);
        }
    }

    fn fire(&mut self, w: &mut World, fired: Vec<Fired<No>>) {
        for Fired {
            port: _,
            watch,
            reason,
        } in fired
        {
            match w.mutant {
                Mutant::ForgetMonitor if watch % 8 == 3 => continue,
                Mutant::FireTwice if watch % 8 == 3 => self.fire_one(w, watch, &reason),
                Mutant::FireLate => {
                    self.late.push((watch, reason));
                    continue;
                }
                _ => {}
            }
            self.fire_one(w, watch, &reason);
        }
    }

    fn fire_one(&mut self, w: &mut World, watch: No, reason: &portmesh::proto::message::Reason) {
        let reason = reason.clone();
        self.log(w, What::Fired { watch, reason });
        let Some(watching) = self.watches.remove(&watch) else {
            return;
        };
        if watching.on_fire == OnFire::Again {
            self.monitor(w, &watching.to, OnFire::Nothing);
        }
        if watching.on_fire != OnFire::Nothing {
            w.count("sent while a monitor fired");
            self.send(w, &watching.to, "m", 10);
        }
    }

    /// All monitors of a node fire, and only then it may be linked again.
    fn end_epoch(&mut self, w: &mut World, node: &NodeId, reason: &CloseReason) {
        let closed = self.remote(node).close(reason);
        self.fire(w, closed.fired);
        let wake = self.remote(node).reopen();
        self.wake(w, node, wake);
        self.retry(w, node);
    }
    // --- time ---

    fn poll_timeout(&self) -> Option<Duration> {
        let conns = self.conns.values().filter_map(|conn| match &conn.stage {
            Stage::Link(session) => (!self.deaf).then(|| session.poll_timeout()),
            _ => conn.until,
        });
        // a writer that the network holds up comes back by itself
        let blocked = |peer: &&Peer<No>| {
            let conn = peer.link().and_then(|link| self.conns.get(&link));
            conn.is_none_or(|conn| !conn.awake)
        };
        let remote = self.remote.values().filter(blocked);
        let remote = remote.filter_map(Peer::poll_timeout);
        let others = [self.peers.poll_timeout(), self.ports.poll_timeout()];
        conns
            .chain(remote)
            .chain(others.into_iter().flatten())
            .min()
    }

    pub fn handle_timer(&mut self, w: &mut World) {
        self.timer = None;
        let now = w.now();
        for (watch, reason) in std::mem::take(&mut self.late) {
            self.fire_one(w, watch, &reason);
        }
        self.ports.handle_timeout();
        self.peers.handle_timeout(now);
        self.perform(w);
        for link in self.conns.keys().copied().collect::<Vec<_>>() {
            let Some(conn) = self.conns.get_mut(&link) else {
                continue;
            };
            if let Stage::Link(session) = &mut conn.stage {
                if session.poll_timeout() > w.now || self.deaf {
                    self.retire(w, link);
                    continue;
                }
                let mut out = Reactions::default();
                let result = session.handle_timeout(now, &self.ports, &mut out);
                self.react(w, link, out);
                if let Err(reason) = result {
                    w.count("link timed out");
                    self.end(w, link, reason);
                }
            } else if conn.until.is_some_and(|until| until <= w.now) {
                w.count("hello timed out");
                let text = "the handshake took too long";
                self.end(w, link, CloseReason::Transport(text.into()));
            }
        }
        let due: Vec<_> = self
            .remote
            .iter()
            .filter(|(_, peer)| peer.poll_timeout().is_some_and(|at| at <= w.now))
            .map(|(node, _)| node.clone())
            .collect();
        for node in due {
            let writer = Wake {
                writer: true,
                ..Wake::default()
            };
            self.wake(w, &node, writer);
        }
    }

    // --- the end ---

    /// The process is gone. `silently`: nobody is told, as when the host loses power.
    pub fn crash(&mut self, w: &mut World, silently: bool) {
        for conn in self.conns.values() {
            if silently {
                w.net.black_hole(conn.conn, 0);
                w.net.black_hole(conn.conn, 1);
            } else {
                w.net.reset(conn.conn, conn.side, w.now);
            }
        }
        if !self.watches.is_empty() {
            w.count("crashed while it monitored");
        }
    }

    /// What must not be left when everything is quiet.
    pub fn stuck(&self) -> Vec<String> {
        let mut stuck = Vec::new();
        for (port, waiting) in self.ports.waiting() {
            stuck.push(format!("{waiting} messages wait in the mailbox of {port}"));
        }
        for (node, peer) in &self.remote {
            if peer.link().is_some() && !peer.is_flushed() {
                stuck.push(format!("what was sent to {node} is not flushed: {peer:?}"));
            }
            if peer.link().is_none() && peer.is_wanted() {
                stuck.push(format!(
                    "{node} is wanted and nothing is under way: {peer:?}"
                ));
            }
        }
        for (node, waiting) in &self.waiting {
            let waiting = waiting.len();
            stuck.push(format!("{waiting} senders wait for room to {node}"));
        }
        for (link, conn) in &self.conns {
            match &conn.stage {
                Stage::Link(session) if session.held_bytes() > 0 => {
                    stuck.push(format!("{link:?} holds {} bytes", session.held_bytes()));
                }
                Stage::Link(_) => {}
                other => stuck.push(format!("{link:?} is {other:?}")),
            }
        }
        stuck
    }
}
