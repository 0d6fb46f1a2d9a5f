//! What waits for room goes as soon as it may, and waiting costs nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::proto::link::frame;

fn at(ms: u64) -> Now {
    Now {
        mono: Duration::from_millis(ms),
        wall_ms: 0,
    }
}

fn name(n: usize) -> PortName {
    format!("port-{n:06}").parse().unwrap()
}

fn up(limits: &Limits, window: usize) -> Outbound {
    let mut out = Outbound::new(limits);
    let terms = Terms {
        format: Format::cbor(),
        frame_bytes_max: limits.frame_bytes_max,
        message_bytes_max: limits.message_bytes_max,
        keepalive: Keepalive::new(Duration::from_secs(3600), 0, Duration::ZERO),
    };
    out.activate(terms, window, at(0));
    out
}

fn send(out: &mut Outbound, port: &PortName, bytes: usize) {
    send_numbered(out, port, bytes, 0, false);
}

/// By the way of small messages where it is one, or by that of all.
fn send_numbered(out: &mut Outbound, port: &PortName, bytes: usize, n: u64, small: bool) {
    let message = Message::encode(&(n, "x".repeat(bytes)), &Limits::default()).unwrap();
    let size = message.encoded_len();
    if !small || !out.push_small(port, message.bytes(), message.format(), size) {
        let watch = false;
        out.push(port, Item::Send { message, watch });
    }
}

/// The peer, as far as the window goes: what came whole, in order, and what it has dealt with.
#[derive(Default)]
struct Far {
    whole: VecDeque<(PortName, u64)>,
    /// The numbers of the messages that came, by port.
    came: BTreeMap<PortName, Vec<u64>>,
    open: BTreeMap<u32, Vec<u8>>,
    sizes: BTreeMap<u32, u64>,
    done: u64,
    held: BTreeMap<PortName, u64>,
}

impl Far {
    /// Takes what is transmitted. How many frames there were.
    fn take(&mut self, out: &mut Outbound, budget: usize) -> usize {
        let mut bytes = Vec::new();
        out.transmit(&mut bytes, budget, at(0));
        let (mut rest, mut frames) = (&bytes[..], 0);
        while let Some(inner) = frame::peek(rest, usize::MAX).unwrap() {
            rest = &rest[LENGTH_BYTES + inner.len()..];
            frames += 1;
            match Frame::decode(inner).unwrap() {
                Frame::FragmentFirst { lane, total, data } => {
                    self.sizes.insert(lane, total);
                    self.more(lane, data);
                }
                Frame::FragmentMore { lane, data } => self.more(lane, data),
                _ => self.whole(inner),
            }
        }
        frames
    }

    fn more(&mut self, lane: u32, data: &[u8]) {
        let open = self.open.entry(lane).or_default();
        open.extend_from_slice(data);
        if open.len() as u64 == self.sizes[&lane] {
            let inner = self.open.remove(&lane).unwrap();
            self.whole(&inner);
        }
    }

    fn whole(&mut self, inner: &[u8]) {
        if let Frame::Send { port, payload, .. } = Frame::decode(inner).unwrap() {
            let port: PortName = port.parse().unwrap();
            let message = Message::from_wire(payload.to_vec().into(), Format::cbor());
            let (n, _) = message.decode::<(u64, String)>(&Limits::default()).unwrap();
            self.came.entry(port.clone()).or_default().push(n);
            self.whole.push_back((port, lane::cost(inner.len())));
        }
    }

    /// Deals with the next that came, or holds it.
    fn deal(&mut self, out: &mut Outbound, hold: bool) {
        let Some((port, cost)) = self.whole.pop_front() else {
            return;
        };
        if hold {
            *self.held.entry(port.clone()).or_default() += cost;
            out.handle_hold(&port, cost).unwrap();
        }
        self.done += cost;
        out.handle_progress(self.done, at(0)).unwrap();
    }

    fn resume(&mut self, out: &mut Outbound, port: &PortName) {
        if let Some(bytes) = self.held.remove(port) {
            out.handle_resume(port, bytes).unwrap();
        }
    }
}

// P8
#[test]
fn a_progress_costs_what_it_frees_however_many_ports_wait() {
    const STUCK: usize = 20_000;
    let limits = Limits::default();
    let mut out = up(&limits, 64 << 10);
    let mut far = Far::default();
    // one large message holds the place of those that the window does not count, others all but a little of the rest
    send(&mut out, &name(0), 60 << 10);
    far.take(&mut out, usize::MAX);
    far.deal(&mut out, true);
    let mut filled = 0;
    while out.window.room().free > 4 << 10 {
        filled += 1;
        send(&mut out, &name(filled), 600);
        far.take(&mut out, usize::MAX);
        far.deal(&mut out, true);
    }
    // and many more wait for a place
    for n in 0..STUCK {
        send(&mut out, &name(1000 + n), 3000);
    }
    far.take(&mut out, usize::MAX);
    assert!(far.whole.is_empty());
    let healthy = name(999_999);
    let before = out.turns;
    for _ in 0..1000 {
        send(&mut out, &healthy, 40);
        assert_eq!(far.take(&mut out, usize::MAX), 1, "a small one passes");
        far.deal(&mut out, false);
    }
    let turns = out.turns - before;
    assert!(turns <= 4000, "{turns} turns for 1000 messages");
    // what the window has room for goes, the oldest first, and the rest goes on waiting
    for port in 1..=filled {
        far.resume(&mut out, &name(port));
    }
    let before = out.turns;
    let went = far.take(&mut out, usize::MAX);
    assert!((5..=20).contains(&went), "{went}");
    let turns = out.turns - before;
    assert!(turns <= 4 * went as u64, "{turns} turns for {went}");
    let ports: Vec<_> = far.whole.iter().map(|(port, _)| port.clone()).collect();
    let oldest: Vec<_> = (0..went).map(|n| name(1000 + n)).collect();
    assert_eq!(ports, oldest);
}

#[derive(Debug, Clone)]
enum Op {
    Send {
        port: usize,
        bytes: usize,
        small: bool,
    },
    Take {
        budget: usize,
    },
    Deal {
        count: usize,
    },
    Hold,
    Resume {
        port: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![4 => 1..100_usize, 3 => 300..2000_usize, 1 => 4000..20_000_usize];
    prop_oneof![
        6 => (0..30_usize, size, any::<bool>())
            .prop_map(|(port, bytes, small)| Op::Send { port, bytes, small }),
        3 => prop_oneof![Just(1_usize), Just(2000), Just(100_000)].prop_map(|budget| Op::Take { budget }),
        2 => (1..5_usize).prop_map(|count| Op::Deal { count }),
        2 => Just(Op::Hold),
        2 => (0..30_usize).prop_map(|port| Op::Resume { port }),
    ]
}

/// Whether a lane waits for something that is there.
fn waits_in_vain(out: &mut Outbound) -> bool {
    let fragments = out.partials < PARTIALS_MAX;
    for n in 0..30 {
        let Some(index) = out.lanes.find(&name(n)) else {
            continue;
        };
        let frame = out.terms.as_ref().unwrap().frame_bytes_max;
        let room = out.window.room();
        let lane = out.lanes.get(index).unwrap();
        if lane.place != Place::Blocked || !lane.is_ready() || lane.partial.is_some() {
            continue;
        }
        let item = &lane.items[0].item;
        let inner = match item {
            Item::Packed(packed) => packed.inner_len(0).unwrap(),
            item => item.head_len(&lane.port) + item.payload().unwrap().encoded_len(),
        };
        let cost = lane::cost(inner);
        let whole = inner + LENGTH_BYTES <= frame;
        let fits = match out.window.need(&lane.share, cost, false) {
            Some((bytes, alone)) => bytes <= room.free || (alone && room.alone),
            None => false,
        };
        if fits && (whole || fragments) {
            return true;
        }
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    // P1 P2 P8 P9
    #[test]
    fn no_lane_waits_for_room_that_is_there(ops in proptest::collection::vec(op(), 1..300)) {
        let limits = Limits { fragment_bytes_max: 1024, ..Limits::default() };
        let mut out = up(&limits, 8 << 10);
        let mut far = Far::default();
        let mut sent = BTreeMap::<PortName, Vec<u64>>::new();
        for (n, op) in ops.into_iter().enumerate() {
            match op {
                Op::Send { port, bytes, small } => {
                    send_numbered(&mut out, &name(port), bytes, n as u64, small);
                    sent.entry(name(port)).or_default().push(n as u64);
                }
                Op::Take { budget } => {
                    far.take(&mut out, budget);
                }
                Op::Deal { count } => (0..count).for_each(|_| far.deal(&mut out, false)),
                Op::Hold => far.deal(&mut out, true),
                Op::Resume { port } => far.resume(&mut out, &name(port)),
            }
            if out.ring.is_empty() {
                prop_assert!(!waits_in_vain(&mut out));
            }
        }
        // nothing is stuck for ever once nothing is held
        for _ in 0..10_000 {
            for port in 0..30 {
                far.resume(&mut out, &name(port));
            }
            far.take(&mut out, usize::MAX);
            if far.whole.is_empty() {
                break;
            }
            far.deal(&mut out, false);
        }
        prop_assert_eq!(far.came, sent);
        prop_assert!(!out.is_busy());
        prop_assert_eq!((out.queued.bytes, out.queued.count), (0, 0));
        prop_assert!(out.blocked.is_empty());
    }
}

#[test]
fn a_link_that_waits_keeps_no_large_buffer() {
    let limits = Limits::default();
    let mut out = up(&limits, 1 << 30);
    let mut buf = Vec::new();
    for _ in 0..3 {
        for n in 0..100 {
            send(&mut out, &name(n), 1000);
        }
        assert!(out.ready.capacity() > 64 << 10);
        // what a writer does: it brings a large buffer along, and is done with what it got
        buf.reserve(64 << 10);
        let mut transmitted = 0;
        loop {
            out.transmit(&mut buf, 64 << 10, at(0));
            if buf.is_empty() {
                break;
            }
            transmitted += buf.len();
            buf.clear();
        }
        assert!(transmitted > 100_000);
        assert!(out.ready.capacity() <= 4 << 10, "{}", out.ready.capacity());
        assert!(buf.capacity() >= 64 << 10, "the writer has it");
    }
}
