//! Random and mutated bytes: nothing panics, nothing grows beyond its bounds, and whoever lies is cut off.

use proptest::prelude::*;

use super::*;
use crate::proto::link::frame::{Frame, LENGTH_BYTES};

fn short_name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[pq]?",
        1 => "[a-z#]{0,3}",
        1 => Just("x".repeat(255)),
    ]
}

/// Payloads: a list, an empty one, and what is none.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(vec![0x81, 0x01]),
        Just(vec![0x80]),
        proptest::collection::vec(any::<u8>(), 0..20),
        Just(vec![0x81; 600]),
    ]
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![0..400_u64, Just(u64::MAX), any::<u64>()]
}

/// A frame, well-formed or nearly so.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let encoded = |frame: Frame<'_>| {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        bytes
    };
    let prefix = incarnation(&node("a")).port_prefix();
    prop_oneof![
        6 => (any::<bool>(), short_name(), payload()).prop_map(move |(watch, port, payload)| {
            encoded(Frame::Send { watch, port: &port, payload: &payload })
        }),
        2 => (short_name(), any::<bool>(), payload()).prop_map(move |(name, good, args)| {
            let name = format!("{prefix}{name}");
            let name = name.get(..255).unwrap_or(&name);
            let function = if good { "good" } else { "bad" };
            encoded(Frame::Spawn { name, function, args: &args })
        }),
        2 => (short_name(), 0..100_u32, payload()).prop_map(move |(port, wait_ms, reason)| {
            encoded(Frame::Kill { port: &port, wait_ms, reason: &reason })
        }),
        2 => short_name().prop_map(move |port| encoded(Frame::Monitor { port: &port })),
        1 => short_name().prop_map(move |port| encoded(Frame::Unmonitor { port: &port })),
        1 => short_name().prop_map(move |port| encoded(Frame::LossAck { port: &port })),
        1 => length().prop_map(move |n| encoded(Frame::Progress(n))),
        1 => (short_name(), length()).prop_map(move |(port, bytes)| encoded(Frame::Hold { port: &port, bytes })),
        1 => (short_name(), length()).prop_map(move |(port, bytes)| encoded(Frame::Resume { port: &port, bytes })),
        1 => (short_name(), length()).prop_map(move |(port, count)| {
            encoded(Frame::Loss { port: &port, count, text: "why" })
        }),
        1 => (short_name(), payload()).prop_map(move |(port, reason)| {
            encoded(Frame::Down { port: &port, reason: &reason })
        }),
        2 => (0..4_u32, length(), payload()).prop_map(move |(lane, total, mut data)| {
            data.insert(0, if total % 3 == 0 { 0x20 } else { 0x10 });
            encoded(Frame::FragmentFirst { lane, total, data: &data })
        }),
        1 => payload().prop_map(move |payload| encoded(Frame::Db { payload: &payload })),
        3 => (0..4_u32, payload()).prop_map(move |(lane, data)| encoded(Frame::FragmentMore { lane, data: &data })),
        1 => any::<bool>().prop_map(move |stay| encoded(if stay { Frame::Stay } else { Frame::Retire })),
        1 => any::<u64>().prop_map(move |n| encoded(Frame::Ping(n))),
        1 => any::<u64>().prop_map(move |n| encoded(Frame::Pong(n))),
        1 => proptest::collection::vec(any::<u8>(), 1..40).prop_map(|body| {
            [&(body.len() as u32).to_be_bytes()[..], &body].concat()
        }),
    ]
}

/// Node `b` reads all of it, in parts, while it sends and its ports work; then its link ends.
fn swallow(parts: &[Vec<u8>]) {
    let limits = small_limits();
    let mut side = Side::new("b", "a", &limits);
    side.ports.open("p", 2);
    side.ports.open("", 2);
    side.activate(link(1), &Format::cbor());
    let bound = limits.window_bytes + limits.message_bytes_max + (32 << 10);
    for (n, part) in parts.iter().enumerate() {
        side.peer.monitor(&name("p"), n as u32);
        side.peer.send(&name("q"), sized(40)).ok();
        let result = side.read(part);
        assert!(side.session.as_ref().unwrap().held_bytes() <= bound);
        if let Err(reason) = result {
            assert!(!reason.to_string().is_empty());
            break;
        }
        if n % 3 == 0 {
            side.ports.handle(&name("p"), 1, |_| false);
        }
        side.now.mono += Duration::from_millis(20);
        if side.settle_ports().is_err() || side.tick().is_err() {
            break;
        }
        side.transmit(500);
    }
    side.close();
    assert!(side.peer.is_flushed());
    let world = side.ports.world();
    assert!(world.ports.values().all(|port| port.watchers.is_empty()));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn frames_that_lie_do_no_harm(parts in proptest::collection::vec(frame(), 1..60)) {
        swallow(&parts);
    }

    #[test]
    fn random_bytes_do_no_harm(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..10)) {
        swallow(&parts);
    }

    #[test]
    fn mutated_frames_do_no_harm(
        frames in proptest::collection::vec(frame(), 1..30),
        mutations in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut bytes = frames.concat();
        for (index, byte) in mutations {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        let mut parts = Vec::new();
        let mut from = 0;
        for cut in cuts.into_iter().chain([bytes.len()]) {
            parts.push(bytes[from..cut].to_vec());
            from = cut;
        }
        swallow(&parts);
    }

    #[test]
    fn a_frame_reads_back_what_was_written(bytes in frame()) {
        let inner = &bytes[LENGTH_BYTES..];
        if let Ok(frame) = Frame::decode(inner) {
            let mut again = Vec::new();
            frame.encode(&mut again);
            prop_assert_eq!(&again, &bytes);
        }
    }
}
