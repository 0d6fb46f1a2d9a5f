//! A run: nodes, the network between them, a plan, and the loop that lets one thing happen after the other.

use std::time::Duration;

use portmesh::{Incarnation, Limits, NodeId, PortId, PortName, proto::ports::mailbox::Overflow};

use crate::{
    history::{History, What},
    host::{Node, OnFire},
    mutants::Mutant,
    net::Net,
    plan::{self, HOSTS, Op},
    ports::text_reason,
    rng::Rng,
    wire::Hello,
    world::{Event, World},
};

pub mod crowd;
mod faults;

/// More than any run needs.
const STEPS_MAX: u64 = 400_000;
/// Extra host: a second process of some node's ID.
const IMPOSTOR: usize = HOSTS;

/// A run that has ended.
#[derive(Debug)]
pub struct Run {
    pub clean: bool,
    pub limits: Limits,
    pub history: History,
    pub nodes: Vec<NodeId>,
    pub net: Net,
    pub steps: u64,
}

#[derive(Debug, Default)]
struct Host {
    node: Option<Node>,
    lives: u32,
    hung_until: Duration,
    deferred: Vec<Event>,
    /// Counts up, so that a stale wake or restart is known.
    ends: Option<Duration>,
}

struct Cluster {
    w: World,
    hosts: Vec<Host>,
    names: Vec<NodeId>,
    calm: bool,
    start: Duration,
}

/// When a run begins.
pub fn start() -> Duration {
    Duration::from_secs(1000)
}

/// The bounds: small, so that they are met.
pub fn limits() -> Limits {
    Limits {
        frame_bytes_max: 4 << 10,
        fragment_bytes_max: 1 << 10,
        message_bytes_max: 64 << 10,
        window_bytes: 48 << 10,
        outbound_bytes_max: 160 << 10,
        outbound_count_max: 300,
        mailbox_bytes_max: 16 << 10,
        mailbox_count_max: 50,
        monitors_per_link_max: 10_000,
        link_timeout: Duration::from_secs(3),
        probe_timeout: Duration::from_secs(1),
        kill_wait: Duration::from_secs(1),
        auth_timeout: Duration::from_secs(1),
        idle_timeout: Duration::ZERO,
        ..Limits::default()
    }
}

/// Plays one seed.
pub fn run(seed: u64, mutant: Mutant) -> Run {
    play(seed, mutant, false)
}

/// Plays one seed on a network that changes bytes of links.
pub fn run_corrupt(seed: u64) -> Run {
    play(seed, Mutant::None, true)
}

fn play(seed: u64, mutant: Mutant, corrupt: bool) -> Run {
    let clean = seed.is_multiple_of(4);
    let mut rng = Rng::new(seed);
    let plan = plan::draw(&mut rng, clean);
    let mut net = Net::new(HOSTS + 1, Rng::new(rng.next()));
    net.corrupt = corrupt;
    // which node decides differs
    let mut letters = vec!["a", "b", "c", "d"];
    let names: Vec<NodeId> = (0..HOSTS)
        .map(|_| {
            let at = rng.below(letters.len() as u64) as usize;
            letters.remove(at).parse().unwrap()
        })
        .collect();
    let addresses = names.iter().cloned().zip(0..).collect();
    let mut bounds = limits();
    if seed % 3 == 1 {
        // links come and go
        bounds.idle_timeout = Duration::from_millis(100 + seed * 37 % 900);
    }
    if mutant == Mutant::NoFragments {
        bounds.fragment_bytes_max = 128 << 10;
        bounds.frame_bytes_max = 256 << 10;
    }
    let w = World::new(bounds.clone(), net, addresses, rng, mutant);
    let start = start();
    let mut cluster = Cluster {
        w,
        hosts: (0..=HOSTS).map(|_| Host::default()).collect(),
        names,
        calm: false,
        start,
    };
    for host in 0..HOSTS {
        cluster.start(host, None);
    }
    for (at, op) in plan {
        cluster.w.at(start + at, Event::Op(op));
    }
    let steps = cluster.play();
    cluster.finish();
    Run {
        clean,
        limits: bounds,
        history: cluster.w.history,
        nodes: cluster.names,
        net: cluster.w.net,
        steps,
    }
}

impl Cluster {
    fn play(&mut self) -> u64 {
        self.play_until(self.start + plan::END, STEPS_MAX)
    }

    /// Lets happen what happens until then, in fewer steps than that.
    fn play_until(&mut self, end: Duration, steps_max: u64) -> u64 {
        let mut steps = 0;
        while let Some(next) = self.w.queue.first_entry() {
            if next.key().0 > end {
                break;
            }
            let ((at, _), event) = next.remove_entry();
            self.w.now = at;
            steps += 1;
            assert!(
                steps < steps_max,
                "the run does not come to an end: {event:?}"
            );
            self.happen(event);
            for signal in std::mem::take(&mut self.w.net.signals) {
                let event = Event::Signal {
                    host: signal.host,
                    conn: signal.conn,
                    side: signal.side,
                };
                self.w.at(signal.at, event);
            }
        }
        steps
    }

    fn hello(&mut self, host: usize, of: usize, older: bool) -> Hello {
        let ms = self.w.now.as_millis() as u64;
        let ms = if older { ms - 900_000 } else { ms };
        Hello {
            node: self.names[of].clone(),
            incarnation: Incarnation::new(ms, u128::from(self.w.rng.next()) << 16),
            identity: of as u8,
            window: (self.w.limits.window_bytes / (1 + host % 2)) as u32,
            frame_max: self.w.limits.frame_bytes_max as u32,
            message_max: (self.w.limits.message_bytes_max / (1 + 2 * (of % 2))) as u32,
            link_timeout: self.w.limits.link_timeout,
            json: self.w.rng.one_in(3),
        }
    }

    fn start(&mut self, host: usize, hello: Option<Hello>) {
        let hello = hello.unwrap_or_else(|| self.hello(host, host, false));
        self.hosts[host].lives += 1;
        let life = self.hosts[host].lives;
        let mut limits = self.w.limits.clone();
        limits.window_bytes = hello.window as usize;
        limits.message_bytes_max = hello.message_max as usize;
        if self.w.mutant == Mutant::TimeOutEarly {
            limits.link_timeout /= 5;
        }
        self.w.alive[host] = true;
        let node = hello.node.clone();
        self.w.log(host, life, What::Started { node });
        let node = Node::new(host, life, hello, limits, &mut self.w);
        node.ports.set_now(self.w.now);
        node.ports
            .open(&PortName::node_port(), Duration::ZERO, Overflow::PushBack);
        for (micros, overflow) in [
            (10, Overflow::PushBack),
            (60_000, Overflow::PushBack),
            (30_000, Overflow::Kill),
        ] {
            let name = node.next_name();
            node.ports
                .open(&name, Duration::from_micros(micros), overflow);
            self.w.directory.push(PortId::new(node.id.clone(), name));
        }
        self.hosts[host].node = Some(node);
        self.with(host, |_, _| ());
    }

    /// Does something on a node that lives, and what follows from it.
    fn with(&mut self, host: usize, f: impl FnOnce(&mut Node, &mut World)) {
        if let Some(node) = &mut self.hosts[host].node {
            node.ports.set_now(self.w.now);
            f(node, &mut self.w);
            node.settle(&mut self.w);
        }
    }

    fn is_life(&self, host: usize, life: u32) -> bool {
        let node = self.hosts[host].node.as_ref();
        node.is_some_and(|node| node.life == life)
    }

    /// Whether the host is hung, and will see this later.
    fn defer(&mut self, host: usize, event: &Event) -> bool {
        let hung = self.hosts[host].hung_until > self.w.now;
        if hung {
            self.hosts[host].deferred.push(event.clone());
        }
        hung
    }

    fn happen(&mut self, event: Event) {
        match &event {
            Event::Signal { host, .. }
            | Event::Timer { host, .. }
            | Event::PortStep { host, .. }
            | Event::Dialed { host, .. }
                if self.defer(*host, &event) => {}
            Event::Signal { host, conn, side } => {
                self.with(*host, |node, w| node.handle_signal(w, *conn, *side));
            }
            Event::Timer { host, life } if self.is_life(*host, *life) => {
                self.with(*host, |node, w| node.handle_timer(w));
            }
            Event::PortStep { host, life, port } if self.is_life(*host, *life) => {
                self.with(*host, |node, _| node.ports.step(port));
            }
            Event::Dialed {
                host,
                life,
                node,
                target,
            } if self.is_life(*host, *life) => {
                let there = self.hosts[*target].node.is_some();
                let conn = there.then(|| self.w.net.open(*host, *target));
                if let (Some(conn), Some(node)) = (conn, &mut self.hosts[*target].node) {
                    // a hung host's kernel accepts all the same
                    node.handle_accepted(&self.w, conn);
                }
                self.with(*host, |at, w| at.handle_dialed(w, node.clone(), conn));
            }
            Event::Wake { host } => self.wake(*host),
            Event::Restart { host, older } if self.hosts[*host].node.is_none() => {
                self.w.count("restart");
                let hello = self.hello(*host, *host, *older);
                self.start(*host, Some(hello));
            }
            Event::Op(op) => self.op(op.clone()),
            _ => {}
        }
    }

    fn wake(&mut self, host: usize) {
        if self.hosts[host].hung_until > self.w.now {
            return;
        }
        if self.hosts[host].ends.take().is_some()
            && let Some(node) = &self.hosts[host].node
        {
            let life = node.life;
            self.w.log(host, life, What::Woke);
        }
        for event in std::mem::take(&mut self.hosts[host].deferred) {
            self.happen(event);
        }
    }

    fn op(&mut self, op: Op) {
        if let Some(host) = program_of(&op)
            && self.defer(host, &Event::Op(op.clone()))
        {
            return;
        }
        match op {
            Op::Send {
                host,
                port,
                tag,
                size,
                times,
            } => {
                if let Some(to) = self.port(host, port) {
                    self.with(host, |node, w| {
                        for _ in 0..times {
                            node.send(w, &to, tag, size);
                        }
                    });
                }
            }
            Op::Overtake { host, port, size } => {
                if let Some(to) = self.port(host, port) {
                    let others = self.w.directory.iter().rev();
                    let others = others.filter(|id| id.node() == to.node() && **id != to);
                    let others = others.filter(|id| self.lives(id));
                    let others: Vec<_> = others.take(4).cloned().collect();
                    self.with(host, |node, w| {
                        node.send(w, &to, "m", size);
                        for other in &others {
                            node.send(w, other, "m", 10);
                        }
                    });
                }
            }
            Op::Crossing { host } => self.cross(host),
            Op::Call { host, port, size } => {
                if let Some(to) = self.port(host, port) {
                    self.with(host, |node, w| node.call(w, &to, size));
                }
            }
            Op::Monitor {
                host,
                port,
                on_fire,
            } => {
                if let Some(to) = self.port(host, port) {
                    self.with(host, |node, w| node.monitor(w, &to, on_fire));
                }
            }
            Op::MonitorNode { host, of } => {
                let to = PortId::of_node(self.names[of].clone());
                self.with(host, |node, w| node.monitor(w, &to, OnFire::Nothing));
            }
            Op::Unmonitor { host, nth } => self.with(host, |node, w| node.unmonitor(w, nth)),
            Op::Kill {
                host,
                port,
                messages,
                foreign,
            } => {
                if let Some(to) = self.own(host, port, foreign) {
                    self.with(host, |node, w| {
                        for size in 0..messages {
                            node.send(w, &to, "m", size as usize * 30);
                        }
                        node.kill(w, &to);
                        node.send(w, &to, "m", 5);
                    });
                }
            }
            Op::Spawn {
                host,
                on,
                function,
                messages,
            } => {
                let to = self.names[on].clone();
                let mut made = None;
                self.with(host, |node, w| {
                    made = node.spawn(w, &to, function);
                    if let Some(port) = &made {
                        node.monitor(w, port, OnFire::Nothing);
                        for size in 0..messages {
                            node.send(w, port, "m", size as usize * 50);
                        }
                    }
                });
                self.w.directory.extend(made);
            }
            Op::Die { host, port } => {
                let of = &self.names[host];
                let ports = self.w.directory.iter().filter(|id| id.node() == of);
                let ports: Vec<_> = ports.map(|id| id.name().clone()).collect();
                if let Some(name) = ports.get(port as usize % ports.len().max(1)) {
                    let reason = text_reason("die", "by itself");
                    self.with(host, |node, _| node.ports.die(name, reason));
                }
            }
            fault => self.fault(fault),
        }
    }

    fn cross(&mut self, host: usize) {
        let node = self.hosts[host].node.as_ref();
        let Some((nth, to)) = node.and_then(|node| node.watches_living(|id| self.lives(id))) else {
            return;
        };
        let owner = self.names.iter().position(|name| name == to.node());
        if let Some(owner) = owner
            && self.hosts[owner].hung_until <= self.w.now
        {
            let reason = text_reason("die", "by itself");
            self.with(owner, |node, _| node.ports.die(to.name(), reason));
        }
        self.with(host, |node, w| node.unmonitor(w, nth));
    }

    /// A port of another node: mostly one that lives, else any that ever was.
    fn port(&self, host: usize, number: u64) -> Option<PortId> {
        let own = &self.names[host % HOSTS];
        let others = self.w.directory.iter().filter(|id| id.node() != own);
        let (any, pick) = (number.is_multiple_of(5), number / 5);
        let there = |id: &&PortId| any || self.lives(id);
        let from: Vec<_> = others.filter(there).collect();
        let at = pick as usize % from.len().max(1);
        from.get(at).map(|id| (*id).clone())
    }

    fn lives(&self, id: &PortId) -> bool {
        let host = self.names.iter().position(|name| name == id.node());
        let node = host.and_then(|host| self.hosts[host].node.as_ref());
        node.is_some_and(|node| node.ports.lives(id.name()))
    }

    /// A port that this life of the node spawned; else one that it did not.
    fn own(&self, host: usize, number: u64, foreign: bool) -> Option<PortId> {
        let prefix = self.hosts[host]
            .node
            .as_ref()?
            .hello
            .incarnation
            .port_prefix();
        let own = |id: &&PortId| id.name().as_str().starts_with(&prefix);
        let other = |id: &&PortId| *id.node() != self.names[host];
        let ports = self.w.directory.iter().filter(other);
        let ports = ports.filter(|id| number.is_multiple_of(8) || self.lives(id));
        let ports: Vec<_> = ports.filter(|id| own(id) != foreign).collect();
        let at = number as usize % ports.len().max(1);
        ports.get(at).map(|id| (*id).clone())
    }

    fn finish(&mut self) {
        for host in &self.hosts {
            if let Some(node) = &host.node {
                for text in node.stuck() {
                    self.w.log(node.host, node.life, What::Stuck { text });
                }
            }
        }
    }
}

/// The host whose program does this.
fn program_of(op: &Op) -> Option<usize> {
    match *op {
        Op::Send { host, .. }
        | Op::Crossing { host }
        | Op::Overtake { host, .. }
        | Op::Call { host, .. }
        | Op::Monitor { host, .. }
        | Op::MonitorNode { host, .. }
        | Op::Unmonitor { host, .. }
        | Op::Kill { host, .. }
        | Op::Spawn { host, .. }
        | Op::Die { host, .. } => Some(host),
        _ => None,
    }
}
