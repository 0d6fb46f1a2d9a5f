//! Random operations on a pair, checked against the contract as a model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::proto::{message::IntoMessage, monitor::WatchId};

#[derive(Debug, Clone)]
enum Op {
    Send { port: usize, padding: usize },
    Call { port: usize },
    Monitor { port: usize },
    Unmonitor { nth: usize },
    Spawn { bad: bool },
    Kill { port: usize },
    Handle { port: usize, count: usize },
    Die { port: usize },
    Out { budget: usize },
    In { bytes: usize },
    Back,
    Time { ms: u64 },
    Cut,
    Up { json: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let port = 0..6_usize;
    prop_oneof![
        8 => (port.clone(), prop_oneof![5 => 0..40_usize, 2 => 500..4000_usize, 1 => 9000..20_000_usize])
            .prop_map(|(port, padding)| Op::Send { port, padding }),
        2 => port.clone().prop_map(|port| Op::Call { port }),
        3 => port.clone().prop_map(|port| Op::Monitor { port }),
        1 => (0..8_usize).prop_map(|nth| Op::Unmonitor { nth }),
        1 => any::<bool>().prop_map(|bad| Op::Spawn { bad }),
        1 => port.clone().prop_map(|port| Op::Kill { port }),
        6 => (port.clone(), 1..6_usize).prop_map(|(port, count)| Op::Handle { port, count }),
        1 => port.prop_map(|port| Op::Die { port }),
        6 => prop_oneof![Just(1_usize), Just(3000), Just(100_000)].prop_map(|budget| Op::Out { budget }),
        6 => prop_oneof![1..60_usize, 500..9000_usize].prop_map(|bytes| Op::In { bytes }),
        5 => Just(Op::Back),
        2 => prop_oneof![5 => 1..100_u64, 1 => 4000..6000_u64].prop_map(|ms| Op::Time { ms }),
        1 => Just(Op::Cut),
        2 => any::<bool>().prop_map(|json| Op::Up { json }),
    ]
}

#[derive(Debug)]
struct Watched {
    port: PortName,
    id: WatchId,
    /// The number of the message that will be sent next when it was set.
    since: u64,
    fired: u32,
    cancelled: bool,
}

/// Node `a` sends to the ports of `b`.
struct Model {
    pair: Pair,
    names: Vec<PortName>,
    next: u64,
    spawned: u64,
    /// Accepted messages by port.
    sent: BTreeMap<PortName, Vec<u64>>,
    watches: Vec<Watched>,
    /// How much of what `b` handled was checked.
    checked: usize,
    last: BTreeMap<PortName, u64>,
    seen: BTreeSet<u64>,
}

/// Every seventh message is one that its handler refuses.
fn is_bad(message: &Message) -> bool {
    number(message) % 7 == 6
}

impl Model {
    fn new() -> Self {
        let pair = Pair::new(&small_limits());
        let mut names: Vec<PortName> = (0..4).map(|n| name(&format!("p{n}"))).collect();
        for port in names.iter().take(3) {
            pair.b.ports.open(port.as_str(), 3);
        }
        names.truncate(4); // the fourth never lives
        Model {
            pair,
            names,
            next: 0,
            spawned: 0,
            sent: BTreeMap::new(),
            watches: Vec::new(),
            checked: 0,
            last: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }

    fn port(&self, port: usize) -> PortName {
        self.names[self
            .names
            .len()
            .saturating_sub(6)
            .max(port % self.names.len())]
        .clone()
    }

    fn step(&mut self, op: &Op) {
        let now = self.pair.a.now;
        let limits = small_limits();
        match *op {
            Op::Send { port, padding } => {
                let port = self.port(port);
                // the sender may be wrong about the link's format
                let format = match self.next % 2 {
                    0 => Format::json(),
                    _ => Format::cbor(),
                };
                let text = "x".repeat(padding);
                let sent = ("m", self.next, text).lend(&format, &Limits::default(), |message| {
                    self.pair.a.peer.send(&port, message)
                });
                if sent.unwrap().is_ok() {
                    self.sent.entry(port).or_default().push(self.next);
                }
                self.next += 1;
            }
            Op::Call { port } => {
                let port = self.port(port);
                let watch = self.watches.len() as u32;
                let message = numbered(self.next, 0);
                // the monitor is there before the message
                let since = self.next;
                if let Ok((id, _)) = self.pair.a.peer.call(&port, message, watch) {
                    self.sent.entry(port.clone()).or_default().push(self.next);
                    self.watch(port, id, since);
                }
                self.next += 1;
            }
            Op::Monitor { port } => {
                let port = self.port(port);
                let watch = self.watches.len() as u32;
                let (id, _) = self.pair.a.peer.monitor(&port, watch);
                self.watch(port, id, self.next);
            }
            Op::Unmonitor { nth } => {
                let count = self.watches.len();
                if let Some(watch) = self.watches.get_mut(count.saturating_sub(1 + nth)) {
                    let (back, _) = self.pair.a.peer.unmonitor(&watch.port, watch.id);
                    assert_eq!(
                        back.is_some(),
                        watch.fired == 0 && !watch.cancelled,
                        "it either fired or was taken back (M2)"
                    );
                    watch.cancelled |= back.is_some();
                }
            }
            Op::Spawn { bad } => {
                let prefix = incarnation(&self.pair.a.me).port_prefix();
                let port = name(&format!("{prefix}{}", self.spawned));
                self.spawned += 1;
                let function = if bad { "bad" } else { "good" };
                let args = Message::encode_args(&(), &limits).unwrap();
                if self.pair.a.peer.spawn(&port, function, args).is_ok() {
                    self.names.push(port);
                }
            }
            Op::Kill { port } => {
                let port = self.port(port);
                self.pair.a.peer.kill(&port, &Reason::die("killed"), now);
            }
            Op::Handle { port, count } => {
                let port = self.port(port);
                self.handle(&port, count);
            }
            Op::Die { port } => {
                // the first two stay, so that something always arrives
                let port = self.port(port.max(2));
                if port != self.names[0] && port != self.names[1] {
                    self.pair.b.ports.die(&port, Reason::die("of itself"));
                    self.pair.b.settle_ports().unwrap();
                }
            }
            Op::Out { budget } => {
                let bytes = self.pair.a.transmit(budget);
                self.pair.b.wire.extend(bytes);
            }
            Op::In { bytes } => {
                let b = &mut self.pair.b;
                let count = bytes.min(b.wire.len());
                let bytes: Vec<u8> = b.wire.drain(..count).collect();
                if count > 0 {
                    b.read(&bytes).unwrap();
                    b.settle_ports().unwrap();
                }
            }
            Op::Back => {
                let bytes = self.pair.b.transmit(100_000);
                if !bytes.is_empty() {
                    self.pair.a.read(&bytes).unwrap();
                }
            }
            Op::Time { ms } => {
                self.pair.advance(ms);
                for side in [&mut self.pair.a, &mut self.pair.b] {
                    match side.tick() {
                        Ok(()) | Err(CloseReason::Timeout(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            Op::Cut => self.pair.cut(),
            Op::Up { json } => {
                if self.pair.a.session.is_none() {
                    let format = if json { Format::json() } else { Format::cbor() };
                    self.pair.activate(&format);
                }
            }
        }
        self.check();
    }

    fn watch(&mut self, port: PortName, id: WatchId, since: u64) {
        self.watches.push(Watched {
            port,
            id,
            since,
            fired: 0,
            cancelled: false,
        });
    }

    fn handle(&mut self, port: &PortName, count: usize) {
        self.pair.b.ports.handle(port, count, is_bad);
        self.pair.b.settle_ports().unwrap();
    }

    fn check(&mut self) {
        for (watch, _) in std::mem::take(&mut self.pair.a.fired) {
            let watch = &mut self.watches[watch as usize];
            watch.fired += 1;
            assert_eq!(watch.fired, 1, "a monitor fires once (M2)");
            assert!(!watch.cancelled, "a monitor taken back never fires (M2)");
        }
        if let Some(session) = &self.pair.b.session {
            let limits = small_limits();
            let most = limits.window_bytes + limits.message_bytes_max * 8 + (16 << 10) * 8 + 2000;
            assert!(session.held_bytes() <= most);
        }
        let handled = self.pair.b.ports.world().handled.clone();
        for (port, message) in handled.iter().skip(self.checked) {
            let n = number(message);
            assert!(self.seen.insert(n), "at most once (P1)");
            if let Some(last) = self.last.insert(port.clone(), n) {
                assert!(last < n, "in the order in which they were sent (P1)");
            }
            let holes = self.holes(port, n);
            self.assert_told(port, &holes);
        }
        self.checked = handled.len();
    }

    /// Accepted messages to that port before `end` that never came.
    fn holes(&self, port: &PortName, end: u64) -> Vec<u64> {
        let sent = self.sent.get(port).into_iter().flatten().copied();
        sent.filter(|n| *n < end && !self.seen.contains(n))
            .collect()
    }

    fn assert_told(&self, port: &PortName, holes: &[u64]) {
        for watch in self.watches.iter().filter(|watch| watch.port == *port) {
            let hole = holes.iter().find(|&&n| watch.since <= n);
            if let Some(n) = hole {
                assert!(
                    watch.fired > 0 || watch.cancelled,
                    "message {n} to {port} is lost and monitor {:?} was not told (P2)",
                    watch.id
                );
            }
        }
    }

    /// The link comes up, everything is handled, and every hole has been told.
    fn end(&mut self) {
        if self.pair.a.session.is_none() {
            self.pair.activate(&Format::cbor());
        }
        for side in [&mut self.pair.a, &mut self.pair.b] {
            let bytes = std::mem::take(&mut side.wire);
            if !bytes.is_empty() {
                side.read(&bytes).unwrap();
            }
        }
        for _ in 0..2000 {
            self.pair.rest();
            self.pair.a.tick().unwrap();
            self.pair.b.tick().unwrap();
            for port in self.names.clone() {
                self.handle(&port, 100);
            }
            self.pair.rest();
            self.check();
            let idle = self.pair.b.ports.is_idle();
            if idle && self.pair.a.peer.is_flushed() && self.pair.b.peer.is_flushed() {
                break;
            }
        }
        assert!(self.pair.a.peer.is_flushed(), "all is dealt with");
        assert_eq!(self.pair.b.session.as_ref().unwrap().held_bytes(), 0);
        for port in self.names.clone() {
            let holes = self.holes(&port, u64::MAX);
            self.assert_told(&port, &holes);
        }
        // a port that is dead keeps no monitor waiting
        for watch in &self.watches {
            let lives = self.pair.b.ports.find(watch.port.as_str()).is_some();
            assert!(
                lives || watch.fired > 0 || watch.cancelled,
                "{:?} on the dead port {} never fired (M2)",
                watch.id,
                watch.port
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    // P1 P2 M2 M6 P8
    #[test]
    fn messages_arrive_in_order_once_or_their_monitors_fire(ops in proptest::collection::vec(op(), 1..250)) {
        let mut model = Model::new();
        for op in &ops {
            model.step(op);
        }
        model.end();
    }
}
