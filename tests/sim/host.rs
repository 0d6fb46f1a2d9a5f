//! One simulated node: the protocol's parts as the runtime joins them, one event at a time.

use std::{collections::BTreeMap, num::NonZeroU64, time::Duration};

use bytes::BytesMut;
use portmesh::{
    Incarnation, Limits, NodeId, PortId, PortName,
    proto::{
        close::CloseReason,
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
        policy::Policy,
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
    Candidate { told: bool },
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
    awake: bool,
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
        Node {
            host,
            life,
            id: hello.node.clone(),
            peers: Peers::new(hello.node.clone(), hello.incarnation, &limits),
            ports: SimPorts::new(limits.clone(), service, w.mutant),
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
        let now = w.now();
        let result = self.remote(to.node()).send(to.name(), message, now);
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
            Err(_) => {
                w.count("send refused");
                self.log(w, What::SendRefused { to, message });
            }
        }
    }

    pub fn call(&mut self, w: &mut World, to: &PortId, size: usize) {
        let (no, watch) = (w.no(), w.no());
        let message = w.message("m", no, size);
        let bytes = message.encoded_len();
        let now = w.now();
        let result = self.remote(to.node()).call(to.name(), message, watch, now);
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
        let now = w.now();
        let (id, wake) = self.remote(to.node()).monitor(to.name(), watch, now);
        self.watching(w, to, watch, id, on_fire);
        self.wake(w, to.node(), wake);
    }

    fn watching(&mut self, w: &mut World, to: &PortId, watch: No, id: WatchId, on_fire: OnFire) {
        let to = to.clone();
        self.log(w, What::Monitored { to: to.clone(), watch });
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
        self.log(w, What::KillSent { to: to.clone(), kill });
        let now = w.now();
        let reason = World::kill_reason(kill);
        let wake = self.remote(to.node()).kill(to.name(), &reason, now);
        self.wake(w, to.node(), wake);
    }

    pub fn spawn(&mut self, w: &mut World, node: &NodeId, function: &'static str) -> Option<PortId> {
        let name = self.next_name();
        let args = Message::encode_args(&(), &self.limits).unwrap();
        let now = w.now();
        let result = self.remote(node).spawn(&name, function, args, now);
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

    /// Its ports.
    pub fn living(&self) -> Vec<PortId> {
        let names = self.ports.living().into_iter();
        names.map(|name| PortId::new(self.id.clone(), name)).collect()
    }

    pub fn has_link(&self, node: &NodeId) -> bool {
        self.peers.link(node).is_some()
    }

    // --- what follows from commands ---

    fn wake(&mut self, w: &mut World, node: &NodeId, wake: Wake) {
        if wake.writer
            && let Some((link, _)) = self.peers.link(node)
            && let Some(conn) = self.conns.get_mut(&link)
        {
            conn.awake = true;
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
    }

    // --- connections ---

    fn add_conn(&mut self, conn: ConnId, side: usize, stage: Stage, until: Duration) -> LinkId {
        let link = LinkId(NonZeroU64::new(self.next_link).unwrap());
        self.next_link += 1;
        self.by_conn.insert((conn, side), link);
        self.conns.insert(
            link,
            Conn {
                conn,
                side,
                stage,
                dial: None,
                hello: None,
                data: BytesMut::new(),
                awake: false,
                until: Some(until),
            },
        );
        link
    }

    /// The network says whether somebody is there.
    pub fn handle_dialed(&mut self, w: &mut World, node: NodeId, conn: Option<ConnId>) {
        let Some(conn) = conn else {
            let reason = CloseReason::Transport("connection refused".into());
            return self.peers.handle_dial_failed(&node, reason, w.now());
        };
        let link = self.add_conn(conn, 0, Stage::Dialed, w.now + self.limits.auth_timeout);
        if let Some(made) = self.conns.get_mut(&link) {
            made.dial = Some(node);
        }
        w.net.write(conn, 0, wire::hello(&self.hello), w.now);
    }

    pub fn handle_accepted(&mut self, w: &World, conn: ConnId) {
        self.add_conn(conn, 1, Stage::Accepted, w.now + self.limits.auth_timeout);
    }

    pub fn handle_signal(&mut self, w: &mut World, conn: ConnId, side: usize) {
        let Some(&link) = self.by_conn.get(&(conn, side)) else {
            return;
        };
        for chunk in w.net.read(conn, side, w.now) {
            match chunk {
                Chunk::Bytes(bytes) => {
                    if let Some(conn) = self.conns.get_mut(&link) {
                        conn.data.extend_from_slice(&bytes);
                    }
                    self.process(w, link);
                }
                Chunk::End(text) => self.end(w, link, CloseReason::Transport(text.into())),
            }
        }
    }

    /// Reads what has come on a connection.
    fn process(&mut self, w: &mut World, link: LinkId) {
        while let Some(conn) = self.conns.get_mut(&link) {
            if let Stage::Link(_) = conn.stage {
                return self.read_link(w, link);
            }
            if let Stage::Candidate { told: true } = conn.stage {
                return;
            }
            let Some(frame) = wire::take(&mut conn.data) else {
                return;
            };
            self.early(w, link, frame);
        }
    }

    fn early(&mut self, w: &mut World, link: LinkId, frame: Early) {
        let Some(conn) = self.conns.get_mut(&link) else {
            return;
        };
        let (id, side) = (conn.conn, conn.side);
        match (&mut conn.stage, frame) {
            (Stage::Accepted, Early::Hello(hello)) => {
                conn.hello = Some(hello);
                conn.stage = Stage::Answered;
                w.net.write(id, side, wire::hello(&self.hello), w.now);
            }
            (Stage::Dialed, Early::Hello(hello)) => {
                w.net.write(id, side, wire::ready(), w.now);
                conn.hello = Some(hello);
                self.candidate(w, link);
            }
            (Stage::Answered, Early::Ready) => self.candidate(w, link),
            (Stage::Candidate { told }, Early::Activate) => {
                *told = true;
                if let Err(reason) = self.peers.handle_activate(link, w.now()) {
                    self.end(w, link, reason);
                }
            }
            (_, Early::Close(code, text)) => {
                self.end(w, link, CloseReason::from_wire(code, text));
            }
            (Stage::Candidate { .. }, Early::Ping) => {}
            (stage, other) => panic!("{other:?} in {stage:?}"),
        }
    }

    fn candidate(&mut self, w: &mut World, link: LinkId) {
        let Some(conn) = self.conns.get_mut(&link) else {
            return;
        };
        let Some(hello) = &conn.hello else { return };
        conn.stage = Stage::Candidate { told: false };
        conn.until = None;
        let dialed = conn.dial.take().is_some();
        if let Some((_, life)) = self.peers.link(&hello.node) {
            let same = life == hello.incarnation;
            w.count(match same {
                true => "second connection of a linked life",
                false => "connection of another life of a linked node",
            });
        }
        let candidate = Candidate {
            link,
            node: hello.node.clone(),
            incarnation: hello.incarnation,
            identity: [hello.identity; 32],
            dialed,
        };
        self.peers.handle_candidate(candidate, w.now());
    }

    /// The connection has ended, or has to.
    fn end(&mut self, w: &mut World, link: LinkId, reason: CloseReason) {
        let Some(conn) = self.conns.get_mut(&link) else {
            return;
        };
        match conn.stage {
            Stage::Candidate { .. } | Stage::Link(_) => {
                if matches!(conn.stage, Stage::Candidate { .. }) {
                    self.close_conn(w, link, &reason);
                }
                self.peers.handle_closed(link, reason, w.now());
                // a link is closed when `Peers` says that it is lost
                self.perform(w);
            }
            Stage::Accepted | Stage::Dialed | Stage::Answered => {
                let dial = conn.dial.take();
                self.close_conn(w, link, &reason);
                if let Some(node) = dial {
                    self.peers.handle_dial_failed(&node, reason, w.now());
                }
            }
        }
    }

    fn close_conn(&mut self, w: &mut World, link: LinkId, reason: &CloseReason) {
        let Some(conn) = self.conns.remove(&link) else {
            return;
        };
        self.by_conn.remove(&(conn.conn, conn.side));
        if let Some((code, text)) = reason.to_wire() {
            let frame = wire::close(code, &text);
            w.net.write(conn.conn, conn.side, frame, w.now);
        }
        w.net.close(conn.conn, conn.side, w.now);
        if let Stage::Link(session) = conn.stage {
            if session.held_bytes() > 0 {
                w.count("held messages at the end of a link");
            }
            session.close(&self.ports);
        }
    }

    fn node_of(&self, link: LinkId) -> Option<NodeId> {
        Some(self.conns.get(&link)?.hello.as_ref()?.node.clone())
    }

    // --- a link ---

    fn read_link(&mut self, w: &mut World, link: LinkId) {
        let mut out = Reactions::default();
        let Some(conn) = self.conns.get_mut(&link) else {
            return;
        };
        let Stage::Link(session) = &mut conn.stage else {
            return;
        };
        let now = w.now();
        let result = session.handle_bytes(&mut conn.data, now, &self.ports, &mut out);
        self.react(w, link, out);
        if let Err(reason) = result {
            if let CloseReason::Protocol(text) = &reason {
                let text = format!("protocol error: {text}");
                self.log(w, What::Stuck { text });
            }
            self.end(w, link, reason);
        }
    }

    fn room(&mut self, w: &mut World, link: LinkId, port: &PortName) {
        let mut out = Reactions::default();
        let Some(conn) = self.conns.get_mut(&link) else {
            return;
        };
        if let Stage::Link(session) = &mut conn.stage {
            session.handle_room(port, w.now(), &self.ports, &mut out);
            self.react(w, link, out);
        }
    }

    fn react(&mut self, w: &mut World, link: LinkId, out: Reactions) {
        let Some(node) = self.node_of(link) else {
            return;
        };
        if out.alive && let Some(at) = self.probing.iter().position(|p| *p == link) {
            if w.mutant != Mutant::ProbeUnheard {
                self.probing.remove(at);
                self.log(w, What::Answered { link });
                self.peers.handle_alive(link, w.now());
            }
        }
        for reply in out.replies {
            self.reply(w, &node, link, reply);
        }
        for frame in out.frames {
            let now = w.now();
            let loss = match &frame {
                PeerFrame::Loss { port, .. } => Some(port.clone()),
                _ => None,
            };
            if let Some(port) = loss.clone() {
                w.count("loss told");
                let port = PortId::new(node.clone(), port);
                self.log(w, What::LossTold { port });
            }
            let handled = self.remote(&node).handle(link, frame, now);
            if loss.is_some() && !handled.fired.is_empty() {
                w.count("monitor fired by a loss");
            }
            self.fire(w, handled.fired);
            if let Some(port) = handled.settle
                && w.mutant != Mutant::NeverSettle
            {
                let wake = self.remote(&node).settle(link, &port);
                self.wake(w, &node, wake);
            }
            self.wake(w, &node, handled.wake);
            if let Some(reason) = handled.close {
                let text = format!("protocol error: {reason}");
                self.log(w, What::Stuck { text });
                return self.end(w, link, reason);
            }
        }
    }

    fn reply(&mut self, w: &mut World, node: &NodeId, link: LinkId, reply: Reply) {
        match &reply {
            Reply::Hold { .. } => w.count("hold told"),
            Reply::Loss { .. } if self.remote(node).is_wanted() => {
                w.count("loss told while sending the other way");
            }
            _ => {}
        }
        let wake = self.remote(node).reply(link, reply);
        self.wake(w, node, wake);
    }

    // --- outputs ---

    fn perform(&mut self, w: &mut World) {
        while let Some(output) = self.peers.poll_output() {
            match output {
                PeersOutput::Dial(node) => self.dial(w, node),
                PeersOutput::Activate { link, node, tell } => self.activate(w, link, node, tell),
                PeersOutput::Refuse { link, reason } => self.refuse(w, link, &reason),
                PeersOutput::Lost { link, node, reason } => self.lost(w, link, &node, reason),
                PeersOutput::Probe(link) => {
                    self.log(w, What::Probed { link });
                    self.probing.push(link);
                    if let Some(node) = self.node_of(link) {
                        self.reply(w, &node, link, Reply::Ping(7));
                    }
                }
                PeersOutput::Unreachable { node, reason } => {
                    w.count("unreachable");
                    let peer = node.clone();
                    let why = reason.clone();
                    self.log(w, What::Unreachable { peer, reason: why });
                    self.end_epoch(w, &node, &reason);
                }
            }
        }
    }

    fn dial(&mut self, w: &mut World, node: NodeId) {
        let target = w.addresses[&node];
        let delay = w.net.connect_delay(self.host, target);
        let event = Event::Dialed {
            host: self.host,
            life: self.life,
            node,
            target,
        };
        w.after(delay, event);
    }

    fn activate(&mut self, w: &mut World, link: LinkId, node: NodeId, tell: bool) {
        let Some(conn) = self.conns.get_mut(&link) else {
            return;
        };
        let Some(hello) = &conn.hello else { return };
        if tell {
            w.net.write(conn.conn, conn.side, wire::activate(), w.now);
        }
        let format = if hello.json && self.hello.json {
            Format::json()
        } else {
            Format::cbor()
        };
        let params = LinkParams {
            link,
            format: format.clone(),
            peer_window_bytes: hello.window as usize,
            peer_frame_bytes_max: hello.frame_max as usize,
            peer_message_bytes_max: hello.message_max as usize,
            keepalive: hello.link_timeout.min(self.limits.link_timeout) / 4,
        };
        let session = SessionParams {
            link,
            node: node.clone(),
            incarnation: hello.incarnation,
            format,
            link_timeout: self.limits.link_timeout,
        };
        let now = w.now();
        let session = Session::new(session, &self.limits, Policy::default(), now);
        conn.stage = Stage::Link(Box::new(session));
        let id = conn.conn;
        let peer = node.clone();
        self.log(w, What::Up { peer, link, conn: id });
        let wake = self.remote(&node).activate(params, now);
        self.wake(w, &node, wake);
        self.process(w, link);
    }

    fn refuse(&mut self, w: &mut World, link: LinkId, reason: &CloseReason) {
        w.count(match reason {
            CloseReason::Duplicate => "refused as a duplicate",
            CloseReason::NodeIdInUse => "refused: node ID in use",
            CloseReason::OldIncarnation => "refused: older life",
            CloseReason::NotActivated => "refused: not activated in time",
            _ => "refused otherwise",
        });
        if let (Some(peer), Some(conn)) = (self.node_of(link), self.conns.get(&link)) {
            let turned = What::Turned {
                peer,
                conn: conn.conn,
                reason: reason.clone(),
            };
            self.log(w, turned);
        }
        self.close_conn(w, link, reason);
    }

    fn lost(&mut self, w: &mut World, link: LinkId, node: &NodeId, reason: CloseReason) {
        self.probing.retain(|probed| *probed != link);
        if reason == CloseReason::Replaced {
            w.count("link replaced");
        }
        if self.remote(node).is_wanted() {
            w.count("link lost with something under way");
        }
        if let Some(conn) = self.conns.get(&link).map(|conn| conn.conn) {
            let (peer, reason) = (node.clone(), reason.clone());
            self.log(
                w,
                What::Down {
                    peer,
                    link,
                    conn,
                    reason,
                },
            );
        }
        self.close_conn(w, link, &reason);
        self.end_epoch(w, node, &reason);
    }

    /// Everything that follows from an event, until nothing does.
    pub fn settle(&mut self, w: &mut World) {
        loop {
            self.perform(w);
            let out = self.ports.take_out();
            if out.is_empty() {
                break;
            }
            for out in out {
                self.port_out(w, out);
            }
        }
        self.flush(w);
        self.measure(w);
        let next = self.poll_timeout();
        if let Some(next) = next
            && self.timer.is_none_or(|timer| next < timer || timer <= w.now)
        {
            self.timer = Some(next);
            let (host, life) = (self.host, self.life);
            w.at(next, Event::Timer { host, life });
        }
    }

    fn port_out(&mut self, w: &mut World, out: PortOut) {
        match out {
            PortOut::Reply(link, reply) => {
                if let Some(node) = self.node_of(link) {
                    self.reply(w, &node, link, reply);
                }
            }
            PortOut::Room(link, port) => self.room(w, link, &port),
            PortOut::Step(port, at) => {
                let (host, life) = (self.host, self.life);
                w.at(at, Event::PortStep { host, life, port });
            }
            PortOut::Log(what) => self.log(w, what),
            PortOut::Count(what) => w.count(what),
        }
    }

    fn flush(&mut self, w: &mut World) {
        let links: Vec<_> = self.conns.keys().copied().collect();
        for link in links {
            let Some(node) = self.node_of(link) else {
                continue;
            };
            while let Some(conn) = self.conns.get_mut(&link)
                && conn.awake
                && matches!(conn.stage, Stage::Link(_))
            {
                let (id, side) = (conn.conn, conn.side);
                let room = w.net.room(id, side).min(WRITE_BYTES);
                if room == 0 {
                    w.count("writer waits for the network");
                    break; // a signal comes
                }
                let mut buf = Vec::new();
                let now = w.now();
                let transmit = self.remote(&node).transmit(&mut buf, room, now);
                if let Some(conn) = self.conns.get_mut(&link) {
                    conn.awake = transmit.more;
                }
                assert!(!transmit.more || !buf.is_empty(), "more, but nothing came");
                if !buf.is_empty() {
                    w.net.write(id, side, buf, w.now);
                }
                if transmit.lost {
                    let lost = self.remote(&node).take_lost();
                    self.fire(w, lost.fired);
                    for port in lost.settle {
                        let wake = self.remote(&node).settle(link, &port);
                        self.wake(w, &node, wake);
                    }
                }
            }
        }
        self.perform(w);
    }

    fn measure(&mut self, w: &mut World) {
        if let Some((value, bound)) = self.ports.measure() {
            let what = "mailbox";
            self.log(w, What::Measured { what, value, bound });
        }
        let bound = self.limits.window_bytes.max(self.limits.message_bytes_max * 2);
        let held = self.conns.values().map(|conn| match &conn.stage {
            Stage::Link(session) => session.held_bytes(),
            _ => 0,
        });
        let value = held.max().unwrap_or(0);
        if value > bound {
            let what = "held by a session";
            self.log(w, What::Measured { what, value, bound });
        }
    }

    // --- time ---

    fn poll_timeout(&self) -> Option<Duration> {
        let conns = self.conns.values().filter_map(|conn| match &conn.stage {
            Stage::Link(session) => Some(session.poll_timeout()),
            _ => conn.until,
        });
        let remote = self.remote.values().filter_map(Peer::poll_timeout);
        let others = [self.peers.poll_timeout(), self.ports.poll_timeout()];
        conns.chain(remote).chain(others.into_iter().flatten()).min()
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
                if session.poll_timeout() > w.now || w.mutant == Mutant::NeverTimeOut {
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
