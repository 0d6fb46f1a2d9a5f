//! Fragments that are read straight to where they belong.

use bytes::BufMut;
use proptest::prelude::*;

use super::{session::*, *};
use crate::proto::link::frame::Frame;

/// What the runtime does: reads at most so many bytes at once, to where the session wants them. Returns how many bytes
/// went past the buffer.
fn read(inbound: &mut Inbound, mut stream: &[u8], mut sizes: impl Iterator<Item = usize>) -> usize {
    let mut input = BytesMut::new();
    let (mut direct, mut replies) = (0, Vec::new());
    while !stream.is_empty() || inbound.session.has_come() {
        let mut is_head = true;
        for _ in 0..3 {
            let most = sizes.next().unwrap_or(usize::MAX).min(stream.len());
            if let Some(mut place) = inbound.session.place() {
                assert!(place.remaining_mut() > 0);
                let count = most.min(place.remaining_mut());
                let (now, later) = stream.split_at(count);
                place.put_slice(now);
                stream = later;
                direct += count;
                if inbound.session.placed(count) {
                    break;
                }
                continue;
            }
            let wanted = inbound.session.wanted(&input).filter(|_| is_head);
            is_head = wanted.is_some();
            let (now, later) = stream.split_at(most.min(wanted.unwrap_or(usize::MAX)));
            input.extend_from_slice(now);
            stream = later;
            if is_head {
                inbound.session.expect(&mut input).unwrap();
            }
        }
        let mut out = Reactions::default();
        let now = inbound.now;
        inbound
            .session
            .handle_bytes(&mut input, now, &inbound.ports, &mut out)
            .unwrap();
        assert!(out.alive);
        replies.extend(out.replies);
    }
    assert!(input.is_empty());
    assert_eq!(inbound.session.held_bytes(), 0);
    inbound.out.replies = replies;
    direct
}

#[derive(Debug, Clone)]
struct Part {
    lane: u32,
    bytes: usize,
}

/// Frames of messages to the ports `p0` to `p3`, those of one port in order, and how many messages there are.
fn stream(sizes: &[usize], parts: &[Part]) -> (Vec<u8>, u64) {
    let mut waiting: Vec<VecDeque<Vec<u8>>> = vec![VecDeque::new(); 4];
    for (n, &size) in sizes.iter().enumerate() {
        let port = format!("p{}", n % 4);
        let mut bytes = Vec::new();
        send(&port, numbered(n as u64, size).bytes()).encode(&mut bytes);
        waiting[n % 4].push_back(bytes[4..].to_vec());
    }
    let (mut out, mut at) = (Vec::new(), [0; 4]);
    let all = (0..4).map(|lane| Part { lane, bytes: 700 });
    for part in parts.iter().cloned().chain(all.cycle()) {
        let lane = part.lane as usize;
        if waiting.iter().all(VecDeque::is_empty) {
            break;
        }
        let Some(inner) = waiting[lane].front() else {
            continue;
        };
        let end = inner.len().min(at[lane] + part.bytes.max(1));
        let data = &inner[at[lane]..end];
        let total = inner.len() as u64;
        match at[lane] {
            0 if data.len() == inner.len() => {
                out.extend((inner.len() as u32).to_be_bytes());
                out.extend(inner);
            }
            0 => first(part.lane, total, data).encode(&mut out),
            _ => more(part.lane, data).encode(&mut out),
        }
        at[lane] = end;
        if end == inner.len() {
            waiting[lane].pop_front();
            at[lane] = 0;
        }
    }
    (out, sizes.len() as u64)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // P1, P2
    #[test]
    fn what_is_read_past_the_buffer_is_what_was_sent(
        sizes in proptest::collection::vec(prop_oneof![0..50usize, 0..20_000usize], 1..12),
        parts in proptest::collection::vec((0..4u32, prop_oneof![1..30usize, 0..6000usize]), 0..60),
        reads in proptest::collection::vec(prop_oneof![1..30usize, 1..9000usize], 1..60),
    ) {
        let parts: Vec<Part> = parts.into_iter().map(|(lane, bytes)| Part { lane, bytes }).collect();
        let (bytes, count) = stream(&sizes, &parts);
        let limits = Limits { frame_bytes_max: 32 << 10, ..Limits::default() };
        let mut inbound = Inbound::new(&limits);
        let mut at_once = Inbound::new(&limits);
        for inbound in [&mut inbound, &mut at_once] {
            for n in 0..4 {
                inbound.ports.open(&format!("p{n}"), 1000);
            }
        }
        read(&mut inbound, &bytes, reads.into_iter().cycle());
        at_once.bytes(&bytes).unwrap();
        let progress = |inbound: &Inbound| inbound.out.replies.last().cloned();
        prop_assert_eq!(progress(&inbound), progress(&at_once));
        for n in 0..4 {
            let port = format!("p{n}");
            for inbound in [&mut inbound, &mut at_once] {
                inbound.ports.handle(&name(&port), 1000, |_| false);
            }
            let numbers: Vec<u64> = (n..count).step_by(4).collect();
            prop_assert_eq!(inbound.ports.numbers(&port), numbers);
        }
        let handled = |inbound: &Inbound| inbound.ports.world().handled.clone();
        prop_assert_eq!(handled(&inbound), handled(&at_once));
    }
}

#[test]
fn nearly_all_of_large_messages_is_read_to_where_it_belongs() {
    let parts: Vec<Part> = (0..12)
        .map(|_| Part {
            lane: 0,
            bytes: 32 << 10,
        })
        .collect();
    let (bytes, _) = stream(&[300_000], &parts);
    let mut inbound = Inbound::new(&Limits::default());
    inbound.ports.open("p0", 10);
    let direct = read(&mut inbound, &bytes, std::iter::repeat(16 << 10));
    // but for what was read before the first one was seen
    assert!(direct > 240_000, "{direct} of 300,000 bytes");
    inbound.ports.handle(&name("p0"), 10, |_| false);
    assert_eq!(inbound.ports.numbers("p0"), [0]);
}

#[test]
fn a_fragment_that_cannot_be_is_refused_by_its_head() {
    let limits = small_limits();
    let most = (limits.message_bytes_max + 1 + 4 + 2 * 256) as u64;
    let begun = first(1, 100, &[0x10; 40]);
    let cases: [(Vec<Frame<'_>>, &str); 6] = [
        (vec![more(1, &[0; 50])], "of no message"),
        (vec![begun, more(1, &[0; 61])], "longer than the rest"),
        (vec![begun, begun], "within another one"),
        (vec![first(2, most + 1, &[0x10; 40])], "the limit is"),
        (vec![first(2, 39, &[0x10; 40])], "longer than its message"),
        (vec![first(2, 100, &[0x13; 40])], "kind 0x13"),
    ];
    for (frames, text) in cases {
        let mut bytes = Vec::new();
        for frame in &frames {
            frame.encode(&mut bytes);
        }
        // the end of the last one never comes
        bytes.truncate(bytes.len() - 20);
        let mut inbound = Inbound::new(&limits);
        assert_protocol(inbound.bytes(&bytes), text);
    }
}

// P8
#[test]
fn no_more_is_allocated_for_a_message_than_some_times_what_came_of_it() {
    let limits = Limits::default();
    let total = limits.message_bytes_max as u64;
    let mut inbound = Inbound::new(&limits);
    let data = vec![0x10; 32 << 10];
    inbound.frames(&[first(1, total, &data)]).unwrap();
    let mut came = data.len();
    while came < 8 << 20 {
        let mut bytes = Vec::new();
        more(1, &data).encode(&mut bytes);
        bytes.truncate(4 + 5 + 1);
        inbound.bytes(&bytes).unwrap();
        came += 1;
        let mut left = data.len() - 1;
        while left > 0 {
            let mut place = inbound.session.place().unwrap();
            let room = place.remaining_mut();
            assert!(
                came + place.get_ref().capacity() - place.get_ref().len() <= came * 4 + (65 << 10)
            );
            let count = room.min(left);
            place.put_slice(&data[..count]);
            assert!(!inbound.session.placed(count));
            came += count;
            left -= count;
        }
        assert_eq!(inbound.session.held_bytes(), came);
    }
    assert_eq!(
        inbound.session.place().map(|_| ()),
        None,
        "the fragment has ended"
    );
}
