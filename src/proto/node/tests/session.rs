//! The inbound half on its own: what it makes of bytes, and what it refuses.

use super::*;
use crate::proto::{
    link::frame::{Frame, REASON_BYTES_MAX},
    node::peer::PeerFrame,
};

/// A session of node `b` with node `a`, and what it reads.
pub(super) struct Inbound {
    pub(super) session: Session<TestPorts>,
    pub(super) ports: TestPorts,
    pub(super) out: Reactions,
    pub(super) now: Now,
}

const NULL: &[u8] = &[0x81, 0xf6];

impl Inbound {
    pub(super) fn new(limits: &Limits) -> Self {
        let params = session_params(&node("a"), link(1), &Format::cbor());
        Inbound {
            session: Session::new(params, limits, std::sync::Arc::default(), at(0)),
            ports: TestPorts::default(),
            out: Reactions::default(),
            now: at(0),
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CloseReason> {
        self.out = Reactions::default();
        let mut data = BytesMut::from(bytes);
        let result = self
            .session
            .handle_bytes(&mut data, self.now, &self.ports, &mut self.out);
        assert!(result.is_err() || data.is_empty());
        result
    }

    pub(super) fn frames(&mut self, frames: &[Frame<'_>]) -> Result<(), CloseReason> {
        let mut bytes = Vec::new();
        for frame in frames {
            frame.encode(&mut bytes);
        }
        self.bytes(&bytes)
    }

    fn room(&mut self, port: &str) {
        self.out = Reactions::default();
        self.session
            .handle_room(&name(port), self.now, &self.ports, &mut self.out);
    }

    /// What is told of what was dealt with by now.
    fn progress(&self, done: u64) -> Reply {
        let at = self.now.mono;
        Reply::Progress { done, at }
    }

    /// What was told, without PROGRESS.
    fn told(&self) -> Vec<Reply> {
        let replies = self.out.replies.iter();
        replies
            .filter(|reply| !matches!(reply, Reply::Progress { .. }))
            .cloned()
            .collect()
    }

    fn spawned(&self) -> PortName {
        name(&format!("{}x", incarnation(&node("a")).port_prefix()))
    }
}

pub(super) fn send<'a>(port: &'a str, payload: &'a [u8]) -> Frame<'a> {
    Frame::Send {
        watch: false,
        port,
        payload,
    }
}

fn hold(port: &str, bytes: u64) -> Reply {
    let port = name(port);
    Reply::Hold { port, bytes }
}

fn resume(port: &str, bytes: u64) -> Reply {
    let port = name(port);
    Reply::Resume { port, bytes }
}

fn settled(port: &str) -> Reply {
    Reply::LossSettled { port: name(port) }
}

pub(super) fn assert_protocol(result: Result<(), CloseReason>, text: &str) {
    match result {
        Err(CloseReason::Protocol(why)) => assert!(why.contains(text), "{why:?} is not {text:?}"),
        other => panic!("{other:?} instead of {text:?}"),
    }
}

// P1
#[test]
fn messages_are_handed_on_in_portions_where_what_comes_is_answered() {
    let mut bytes = Vec::new();
    for _ in 0..100 {
        send("p", NULL).encode(&mut bytes);
    }
    for (answers, expected) in [(false, &[100][..]), (true, &[32, 32, 32, 4])] {
        let mut inbound = Inbound::new(&Limits::default());
        inbound.ports.open("p", 1000);
        inbound.out.portion.max = 32;
        inbound.out.portion.answers = answers;
        let mut data = BytesMut::from(&*bytes);
        let mut portions = Vec::new();
        loop {
            let (session, ports) = (&mut inbound.session, &inbound.ports);
            session
                .handle_bytes(&mut data, at(0), ports, &mut inbound.out)
                .unwrap();
            portions.push(inbound.out.portion.handed());
            if !inbound.out.portion.is_more() {
                break;
            }
        }
        assert_eq!(portions, expected);
        assert!(data.is_empty());
    }
}

#[test]
fn a_portion_ends_after_some_have_been_woken_and_the_rest_follows_in_order() {
    let limits = Limits::default();
    let reason: &[u8] = crate::proto::node::reason::NORMAL;
    let mut bytes = Vec::new();
    for n in 0..100 {
        let port = format!("p{n}");
        Frame::Down {
            port: &port,
            reason,
        }
        .encode(&mut bytes);
        Frame::Ping(n).encode(&mut bytes);
    }
    // the beginning of one more
    bytes.extend([0, 0]);
    let mut whole = Inbound::new(&limits);
    let mut data = BytesMut::from(&*bytes);
    let (session, ports) = (&mut whole.session, &whole.ports);
    session
        .handle_bytes(&mut data, at(0), ports, &mut whole.out)
        .unwrap();
    assert!(!whole.out.portion.is_more() && data.len() == 2);
    assert_eq!(whole.out.portion.take_woken(), 100);

    let mut some = Inbound::new(&limits);
    some.out.portion.max = 16;
    let mut data = BytesMut::from(&*bytes);
    let mut portions = Vec::new();
    loop {
        let (session, ports) = (&mut some.session, &some.ports);
        session
            .handle_bytes(&mut data, at(0), ports, &mut some.out)
            .unwrap();
        portions.push(some.out.portion.take_woken());
        if !some.out.portion.is_more() {
            break;
        }
    }
    // a quarter of what is there, but never less than sixteen
    let (first, last) = (portions.first().unwrap(), portions.last().unwrap());
    assert!((25..30).contains(first) && *last <= 16, "{portions:?}");
    assert_eq!(portions.iter().sum::<usize>(), 100);
    assert_eq!(data.len(), 2);
    assert_eq!(some.out.frames, whole.out.frames);
    assert_eq!(some.out.replies, whole.out.replies);
}

#[test]
fn a_run_of_messages_to_one_port_is_one_batch_and_counts_once() {
    let mut inbound = Inbound::new(&Limits::default());
    inbound.ports.open("p", 100);
    inbound.ports.open("q", 100);
    let messages: Vec<Message> = (0..20).map(|n| numbered(n, 3)).collect();
    let mut frames: Vec<Frame<'_>> = Vec::new();
    for message in &messages {
        let port = if (8..12).contains(&frames.len()) {
            "q"
        } else {
            "p"
        };
        frames.push(send(port, message.bytes()));
    }
    inbound.frames(&frames).unwrap();
    let batches = inbound.ports.world().batches.clone();
    assert_eq!(batches, [(name("p"), 8), (name("q"), 4), (name("p"), 8)]);
    let cost: u64 = frames_cost(&frames);
    assert_eq!(inbound.out.replies, [inbound.progress(cost)]);
    inbound.ports.handle(&name("p"), 100, |_| false);
    let numbers: Vec<u64> = (0..8).chain(12..20).collect();
    assert_eq!(inbound.ports.numbers("p"), numbers);
}

pub(super) fn frames_cost(frames: &[Frame<'_>]) -> u64 {
    let cost = |frame: &Frame<'_>| {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        bytes.len() as u64 - 4 + 64
    };
    frames.iter().map(cost).sum()
}

#[test]
fn bytes_may_come_cut_anywhere() {
    let message = numbered(5, 100);
    let mut bytes = Vec::new();
    for frame in [
        send("p", message.bytes()),
        Frame::Ping(3),
        Frame::Monitor { port: "p" },
        send("p", message.bytes()),
    ] {
        frame.encode(&mut bytes);
    }
    for cut in 0..bytes.len() {
        let mut inbound = Inbound::new(&Limits::default());
        inbound.ports.open("p", 100);
        let mut data = BytesMut::new();
        let mut replies = Vec::new();
        for part in [&bytes[..cut], &bytes[cut..]] {
            data.extend_from_slice(part);
            let mut out = Reactions::default();
            let now = inbound.now;
            inbound
                .session
                .handle_bytes(&mut data, now, &inbound.ports, &mut out)
                .unwrap();
            replies.extend(out.replies);
        }
        assert!(data.is_empty());
        replies.retain(|reply| !matches!(reply, Reply::Progress { .. }));
        assert_eq!(replies, [Reply::Pong(3)]);
        inbound.ports.handle(&name("p"), 100, |_| false);
        assert_eq!(inbound.ports.numbers("p"), [5, 5]);
        assert!(
            inbound.ports.world().ports[&name("p")]
                .watchers
                .contains(&link(1))
        );
    }
}

// P2 P6
#[test]
fn a_message_to_a_port_that_is_not_there_is_told_once_and_what_follows_is_dropped() {
    let mut inbound = Inbound::new(&Limits::default());
    inbound.frames(&[send("p", NULL), send("p", NULL)]).unwrap();
    let told = inbound.told();
    assert!(
        matches!(&told[..], [Reply::Loss { port, count: 2, .. }] if port.as_str() == "p"),
        "{told:?}"
    );
    // the port may live by now: what follows is dropped all the same
    inbound.ports.open("p", 10);
    inbound.frames(&[send("p", NULL)]).unwrap();
    assert_eq!(inbound.told(), []);
    inbound
        .frames(&[Frame::LossAck { port: "p" }, send("p", NULL)])
        .unwrap();
    assert_eq!(inbound.told(), [settled("p")]);
    assert_eq!(inbound.ports.world().batches.len(), 1);
    // all of it was dealt with
    let all = [send("p", NULL); 4];
    let ack = frames_cost(&[Frame::LossAck { port: "p" }]);
    let done = inbound.progress(frames_cost(&all) + ack);
    assert_eq!(inbound.out.replies.last(), Some(&done));
}

// P2
#[test]
fn losses_that_nobody_acknowledges_close_the_link() {
    let limits = Limits {
        monitors_per_link_max: 10,
        ..Limits::default()
    };
    let mut inbound = Inbound::new(&limits);
    for n in 0..10 {
        inbound.frames(&[send(&format!("p{n}"), NULL)]).unwrap();
    }
    let result = inbound.frames(&[send("p10", NULL)]);
    assert_protocol(result, "losses");
}

// P8 M4
#[test]
fn what_is_ordered_behind_messages_for_a_full_mailbox_waits_with_them() {
    let mut inbound = Inbound::new(&Limits::default());
    inbound.ports.open("p", 2);
    let frames: Vec<Message> = (0..5).map(|n| numbered(n, 0)).collect();
    let mut all: Vec<Frame<'_>> = frames.iter().map(|m| send("p", m.bytes())).collect();
    let one = frames_cost(&all[..1]);
    all.push(Frame::Monitor { port: "p" });
    all.push(send("p", frames[0].bytes()));
    inbound.frames(&all).unwrap();
    let monitor = frames_cost(&[Frame::Monitor { port: "p" }]);
    assert_eq!(
        inbound.told(),
        [hold("p", 3 * one), hold("p", monitor), hold("p", one)]
    );
    assert_eq!(
        inbound.out.replies.last(),
        Some(&inbound.progress(frames_cost(&all))),
        "dealt with, and held"
    );
    assert_eq!(inbound.session.held_bytes() as u64, 4 * one + monitor);
    let watchers = |inbound: &Inbound| inbound.ports.world().ports[&name("p")].watchers.len();
    inbound.ports.handle(&name("p"), 2, |_| false);
    inbound.room("p");
    assert_eq!(inbound.told(), [resume("p", 2 * one)]);
    assert_eq!(watchers(&inbound), 0, "one message is still before it");
    inbound.ports.handle(&name("p"), 2, |_| false);
    inbound.room("p");
    assert_eq!(inbound.told(), [resume("p", 2 * one + monitor)]);
    assert_eq!(watchers(&inbound), 1);
    inbound.ports.handle(&name("p"), 2, |_| false);
    assert_eq!(inbound.ports.numbers("p"), [0, 1, 2, 3, 4, 0]);
    assert_eq!(inbound.session.held_bytes(), 0);
}

// P8 P2
#[test]
fn what_is_held_for_a_port_that_dies_is_a_loss() {
    let mut inbound = Inbound::new(&Limits::default());
    inbound.ports.open("p", 1);
    let all = [
        send("p", NULL),
        send("p", NULL),
        Frame::Monitor { port: "p" },
        send("p", NULL),
    ];
    inbound.frames(&all).unwrap();
    inbound.ports.die(&name("p"), Reason::die("x"));
    inbound.room("p");
    let told = inbound.told();
    assert!(
        matches!(
            &told[..],
            [
                Reply::Loss { count: 1, .. },
                Reply::Down { reason, .. },
                Reply::Resume { bytes, .. }
            ] if *bytes == frames_cost(&all[1..]) && *reason == Reason::die("x")
        ),
        "{told:?}"
    );
    assert_eq!(inbound.session.held_bytes(), 0);
}

fn spawn_in(inbound: &mut Inbound, function: &str) -> PortName {
    let port = inbound.spawned();
    inbound
        .frames(&[Frame::Spawn {
            name: port.as_str(),
            function,
            args: &[0x80],
        }])
        .unwrap();
    port
}

fn kill(port: &str, wait_ms: u32) -> Frame<'_> {
    Frame::Kill {
        port,
        wait_ms,
        reason: &[0x80],
    }
}

// M4
#[test]
fn a_kill_waits_for_held_messages_as_long_as_it_may() {
    let mut inbound = Inbound::new(&Limits::default());
    let port = spawn_in(&mut inbound, "good");
    let p = port.as_str();
    let mut all = vec![send(p, NULL); 6];
    all.push(kill(p, 3000));
    all.push(send(p, NULL));
    inbound.frames(&all).unwrap();
    assert_eq!(inbound.ports.world().kills, []);
    assert_eq!(inbound.session.poll_timeout(), Duration::from_secs(3));
    // room in time: the kill goes behind the messages, with what is left of its wait
    inbound.ports.handle(&port, 4, |_| false);
    inbound.now = at(1000);
    inbound.room(p);
    let kills = inbound.ports.world().kills.clone();
    assert_eq!(kills, [(port.clone(), Duration::from_secs(2))]);
    assert_eq!(inbound.session.poll_timeout(), Duration::from_secs(10));
    // no room in time: the messages before it are dropped
    let mut inbound = Inbound::new(&Limits::default());
    spawn_in(&mut inbound, "good");
    inbound.frames(&all).unwrap();
    inbound.now = at(2999);
    let mut out = Reactions::default();
    let now = inbound.now;
    inbound
        .session
        .handle_timeout(now, &inbound.ports, &mut out)
        .unwrap();
    assert_eq!(out.replies, []);
    inbound
        .session
        .handle_timeout(at(3000), &inbound.ports, &mut out)
        .unwrap();
    let kills = inbound.ports.world().kills.clone();
    assert_eq!(kills, [(port.clone(), Duration::ZERO)]);
    assert!(inbound.ports.find(p).is_none());
    // what came behind it found a dead port
    assert!(
        matches!(
            &out.replies[..],
            [Reply::Loss { count: 1, .. }, Reply::Resume { .. }]
        ),
        "{:?}",
        out.replies
    );
    assert_eq!(inbound.session.held_bytes(), 0);
}

// M4
#[test]
fn a_kill_that_waited_long_enough_with_its_sender_does_not_wait_again() {
    let mut inbound = Inbound::new(&Limits::default());
    let port = spawn_in(&mut inbound, "good");
    let p = port.as_str();
    let mut all = vec![send(p, NULL); 6];
    all.push(kill(p, 0));
    inbound.frames(&all).unwrap();
    assert!(inbound.ports.find(p).is_none());
    // and nobody waits longer than this node lets wait
    let mut inbound = Inbound::new(&Limits::default());
    spawn_in(&mut inbound, "good");
    inbound.frames(&[kill(p, u32::MAX)]).unwrap();
    let kills = inbound.ports.world().kills.clone();
    assert_eq!(kills, [(port, Duration::from_secs(5))]);
}

// M1
#[test]
fn only_the_spawner_kills_and_nobody_kills_the_node() {
    let mut inbound = Inbound::new(&Limits::default());
    inbound.ports.open("p", 10);
    inbound.ports.open("", 10);
    inbound
        .frames(&[kill("p", 5000), kill("", 5000), kill("nobody", 0)])
        .unwrap();
    let told = inbound.told();
    let refused: Vec<&str> = told
        .iter()
        .map(|reply| match reply {
            Reply::KillRefused { port, .. } => port.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(refused, ["p", ""]);
    assert_eq!(inbound.out.refused.len(), 2);
    assert_eq!(inbound.ports.world().kills, []);
    // where its sender dropped messages for it, that is told (P2)
    inbound.frames(&[kill("p", 0)]).unwrap();
    assert!(matches!(&inbound.told()[..], [Reply::Loss { .. }]));
}

// S1
#[test]
fn a_spawned_port_takes_messages_at_once_and_has_the_spawners_prefix() {
    let mut inbound = Inbound::new(&Limits::default());
    let port = inbound.spawned();
    let p = port.as_str();
    let message = numbered(1, 0);
    let spawn = Frame::Spawn {
        name: p,
        function: "good",
        args: &[0x80],
    };
    inbound
        .frames(&[spawn, send(p, message.bytes()), Frame::Monitor { port: p }])
        .unwrap();
    assert_eq!(inbound.told(), []);
    inbound.ports.handle(&port, 10, |_| false);
    assert_eq!(inbound.ports.numbers(p), [1]);
    let prefix = incarnation(&node("a")).port_prefix();
    for wrong in ["", "x", &prefix, &prefix[1..]] {
        let mut inbound = Inbound::new(&Limits::default());
        let spawn = Frame::Spawn {
            name: wrong,
            function: "good",
            args: &[0x80],
        };
        assert_protocol(inbound.frames(&[spawn]), "not the peer's to give");
    }
}

// S2
#[test]
fn a_spawn_that_fails_tells_its_monitors_why() {
    let mut inbound = Inbound::new(&Limits::default());
    let port = spawn_in(&mut inbound, "bad");
    inbound
        .frames(&[Frame::Monitor {
            port: port.as_str(),
        }])
        .unwrap();
    let reason = Reason::no_such_function("bad");
    assert_eq!(inbound.told(), [Reply::Down { port, reason }]);
}

// M2 S4
#[test]
fn a_call_to_a_port_that_is_not_there_hears_so_before_its_message_is_lost() {
    let mut inbound = Inbound::new(&Limits::default());
    inbound
        .frames(&[Frame::Send {
            watch: true,
            port: "p",
            payload: NULL,
        }])
        .unwrap();
    let told = inbound.told();
    assert!(
        matches!(&told[..], [Reply::Down { reason, .. }, Reply::Loss { .. }]
            if reason.tag() == Some("no_such_port")),
        "{told:?}"
    );
}

// M2
#[test]
fn monitors_end_at_their_limit_and_the_dead_do_not_count() {
    let limits = Limits {
        monitors_per_link_max: 4,
        ..Limits::default()
    };
    let mut inbound = Inbound::new(&limits);
    for n in 0..40 {
        let port = format!("p{n}");
        inbound.ports.open(&port, 1);
        // asked twice: once
        let monitor = Frame::Monitor { port: &port };
        inbound.frames(&[monitor, monitor]).unwrap();
        assert_eq!(inbound.told(), []);
        if n >= 3 {
            let dead = name(&format!("p{}", n - 3));
            inbound.ports.die(&dead, Reason::normal());
        }
    }
    inbound.ports.open("one", 1);
    inbound.frames(&[Frame::Monitor { port: "one" }]).unwrap();
    assert_eq!(inbound.told(), []);
    inbound.ports.open("more", 1);
    inbound.frames(&[Frame::Monitor { port: "more" }]).unwrap();
    let told = inbound.told();
    assert!(
        matches!(&told[..], [Reply::Down { reason, .. }] if reason.tag() == Some("not_permitted")),
        "{told:?}"
    );
    // one is given back
    inbound
        .frames(&[
            Frame::Unmonitor { port: "one" },
            Frame::Monitor { port: "more" },
        ])
        .unwrap();
    assert_eq!(inbound.told(), []);
    let watched = inbound
        .ports
        .world()
        .ports
        .values()
        .filter(|p| !p.watchers.is_empty())
        .count();
    assert_eq!(watched, 4);
    let Inbound { session, ports, .. } = inbound;
    session.close(&ports);
    assert!(ports.world().ports.values().all(|p| p.watchers.is_empty()));
}

// M7
#[test]
fn silence_for_the_link_timeout_loses_the_link_and_any_byte_ends_it() {
    let mut inbound = Inbound::new(&Limits::default());
    let mut out = Reactions::default();
    assert_eq!(inbound.session.poll_timeout(), Duration::from_secs(10));
    let mut timeout = |session: &mut Session<TestPorts>, ms, ports: &TestPorts| {
        session.handle_timeout(at(ms), ports, &mut out)
    };
    assert_eq!(timeout(&mut inbound.session, 9999, &inbound.ports), Ok(()));
    // a byte of a message that is not whole yet counts
    inbound.now = at(9999);
    let mut data = BytesMut::from(&[0, 0][..]);
    let mut reactions = Reactions::default();
    inbound
        .session
        .handle_bytes(&mut data, at(9999), &inbound.ports, &mut reactions)
        .unwrap();
    assert!(reactions.alive);
    assert_eq!(
        timeout(&mut inbound.session, 19_998, &inbound.ports),
        Ok(())
    );
    assert_eq!(
        timeout(&mut inbound.session, 19_999, &inbound.ports),
        Err(CloseReason::Timeout(Duration::from_secs(10)))
    );
}

#[test]
fn a_pong_tells_the_round_trip_and_cannot_lie_about_it_much() {
    let mut inbound = Inbound::new(&Limits::default());
    inbound.now = at(1000);
    let sent = Duration::from_millis(990).as_nanos() as u64;
    inbound.frames(&[Frame::Pong(sent)]).unwrap();
    assert_eq!(inbound.out.rtt, Some(Duration::from_millis(10)));
    inbound.frames(&[Frame::Pong(u64::MAX)]).unwrap();
    assert_eq!(inbound.out.rtt, None);
}

#[test]
fn frames_about_what_we_send_are_handed_on_in_order() {
    let mut inbound = Inbound::new(&Limits::default());
    let port = "p";
    inbound
        .frames(&[
            Frame::Hold { port, bytes: 1 },
            Frame::Progress(2),
            Frame::Resume { port, bytes: 3 },
            Frame::Loss {
                port,
                count: 4,
                text: "why",
            },
            Frame::Down {
                port,
                reason: &[0x81, 0x63, b'd', b'i', b'e'],
            },
        ])
        .unwrap();
    let port = name(port);
    assert_eq!(
        inbound.out.frames,
        [
            PeerFrame::Hold {
                port: port.clone(),
                bytes: 1
            },
            PeerFrame::Progress(2),
            PeerFrame::Resume {
                port: port.clone(),
                bytes: 3
            },
            PeerFrame::Loss {
                port: port.clone(),
                count: 4,
                text: "why".into()
            },
            PeerFrame::Down {
                port,
                reason: Reason(vec!["die".into()])
            },
        ]
    );
}

// P4
#[test]
fn a_malformed_envelope_closes_the_link_and_says_what_it_was() {
    let long = vec![b'x'; 513];
    let text = |kind: u8, head: &[u8], tail: &[u8]| [&[kind], head, tail].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "length 0"),
        (vec![0x00], "unknown kind 0x00"),
        (
            [vec![0x05], vec![0; 16_385]].concat(),
            "RENEW that is too long",
        ),
        (vec![0x0d, 1, 2], "unknown kind 0x0d"),
        (vec![0x16], "unknown kind 0x16"),
        (vec![0x21], "unknown kind 0x21"),
        (vec![0xff], "unknown kind 0xff"),
        (vec![0x01], "0x01 that ends within"),
        (vec![0x01, 0, 0, 0, 0, 0, 0, 0], "0x01 that ends within"),
        (vec![0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0], "0x01 with more"),
        (vec![0x03], "ACTIVATE on an active link"),
        (vec![0x03, 0], "0x03 with more"),
        (vec![0x04, 0], "0x04 that ends within"),
        (text(0x04, &[0, 9], &long), "0x04 with a bad name or text"),
        (text(0x04, &[0, 9], &[0xff]), "0x04 with a bad name or text"),
        (vec![0x06, 0], "0x06 that ends within"),
        (vec![0x07, 1, b'p', 0], "0x07 that ends within"),
        (vec![0x08, 1, b'p', 0], "0x08 that ends within"),
        (vec![0x09, 1, b'p', 0], "0x09 that ends within"),
        (
            text(0x09, &[1, b'p', 0, 0, 0, 0, 0, 0, 0, 1], &long),
            "0x09 with a bad name or text",
        ),
        (vec![0x0a], "0x0a that ends within"),
        (vec![0x10], "0x10 that ends within"),
        (vec![0x10, 0], "0x10 that ends within"),
        (vec![0x10, 0, 5, b'p'], "0x10 that ends within"),
        (vec![0x10, 0, 1, b'#'], "0x10 with a bad name or text"),
        (vec![0x10, 0, 1, 0xff], "0x10 with a bad name or text"),
        (vec![0x10, 2, 1, b'p'], "unknown flags 0x02"),
        (vec![0x11, 1, b'p'], "0x11 that ends within"),
        (vec![0x11, 1, b'p', 1, 0xff], "0x11 with a bad name or text"),
        (vec![0x12, 1, b'p', 0, 0, 0], "0x12 that ends within"),
        (vec![0x12, 1, b'p', 0, 0, 0, 0], "a reason that is none"),
        (vec![0x13, 1, b'p', 0], "0x13 with more"),
        (vec![0x14], "0x14 that ends within"),
        (vec![0x15, 1, b'p', 0xff], "a reason that is none"),
        (
            text(0x15, &[1, b'p'], &vec![0; REASON_BYTES_MAX + 1]),
            "a reason of",
        ),
        (vec![0x18, 0, 0, 0, 1], "0x18 that ends within"),
        (vec![0x19, 0, 0], "0x19 that ends within"),
    ];
    for (inner, text) in cases {
        let mut inbound = Inbound::new(&Limits::default());
        inbound.ports.open("p", 10);
        let mut bytes = (inner.len() as u32).to_be_bytes().to_vec();
        bytes.extend(&inner);
        // what came before it is handed on
        let mut before = Vec::new();
        send("p", NULL).encode(&mut before);
        let result = inbound.bytes(&[before, bytes].concat());
        assert_protocol(result, text);
        assert_eq!(inbound.ports.world().batches.len(), 1);
    }
}

#[test]
fn a_frame_over_the_limit_closes_the_link_before_it_has_come() {
    let limits = Limits {
        frame_bytes_max: 5000,
        ..Limits::default()
    };
    let mut inbound = Inbound::new(&limits);
    let mut data = BytesMut::from(&4996_u32.to_be_bytes()[..]);
    let mut out = Reactions::default();
    let result = inbound
        .session
        .handle_bytes(&mut data, at(0), &inbound.ports, &mut out);
    assert_eq!(result, Ok(()));
    assert_protocol(
        inbound.bytes(&4997_u32.to_be_bytes()),
        "a frame of 5001 bytes",
    );
}

#[test]
fn the_peers_word_ends_the_link() {
    let mut inbound = Inbound::new(&Limits::default());
    let close = Frame::Close {
        code: 77,
        text: "enough",
    };
    assert_eq!(
        inbound.frames(&[close]),
        Err(CloseReason::ByPeer(77, "enough".into()))
    );
}

pub(super) fn first(lane: u32, total: u64, data: &[u8]) -> Frame<'_> {
    Frame::FragmentFirst { lane, total, data }
}

pub(super) fn more(lane: u32, data: &[u8]) -> Frame<'_> {
    Frame::FragmentMore { lane, data }
}

#[test]
fn fragments_of_many_lanes_come_together() {
    let mut inbound = Inbound::new(&Limits::default());
    inbound.ports.open("p", 10);
    let message = numbered(9, 50);
    let mut inner = Vec::new();
    send("p", message.bytes()).encode(&mut inner);
    let inner = &inner[4..];
    let total = inner.len() as u64;
    inbound
        .frames(&[
            first(7, total, &inner[..1]),
            first(8, total, &inner[..30]),
            more(7, &inner[1..2]),
            more(8, &inner[30..]),
            more(7, &inner[2..]),
            // a number is free again when its message is whole
            first(7, total, inner),
        ])
        .unwrap();
    inbound.ports.handle(&name("p"), 10, |_| false);
    assert_eq!(inbound.ports.numbers("p"), [9, 9, 9]);
    assert_eq!(
        inbound.out.replies,
        [inbound.progress(3 * (total + 64))],
        "as if they had come whole"
    );
    assert_eq!(inbound.session.held_bytes(), 0);
}

#[test]
fn fragments_that_cannot_be_close_the_link() {
    let limits = small_limits();
    let inner: Vec<u8> = {
        let mut bytes = Vec::new();
        send("p", &[0; 100]).encode(&mut bytes);
        bytes[4..].to_vec()
    };
    let most = (limits.message_bytes_max + 1 + 4 + 2 * 256) as u64;
    let cases: Vec<(Vec<Frame<'_>>, &str)> = vec![
        (vec![more(1, b"x")], "of no message"),
        (vec![more(1, b"")], "an empty fragment"),
        (vec![first(1, 10, b"")], "an empty fragment"),
        (vec![first(1, u64::MAX, &inner)], "the limit is"),
        (vec![first(1, most + 1, &inner)], "the limit is"),
        (vec![first(1, 0, &inner)], "longer than its message"),
        (vec![first(1, 50, &inner)], "longer than its message"),
        (
            vec![first(1, 50, &inner[..10]), more(1, &inner)],
            "longer than the rest",
        ),
        (
            vec![first(1, 500, &inner), first(1, 500, &inner)],
            "within another one",
        ),
        (vec![first(1, 50, &[0x13, 1, b'p'])], "kind 0x13"),
        (vec![first(1, 50, &[0x18, 1, b'p'])], "kind 0x18"),
        (vec![first(1, 2, &[0x10, 9])], "unknown flags"),
        (
            (1..=3).map(|lane| first(lane, most, &inner)).collect(),
            "more under way than the window allows",
        ),
    ];
    for (frames, text) in cases {
        let mut inbound = Inbound::new(&limits);
        assert_protocol(inbound.frames(&frames), text);
    }
    let mut inbound = Inbound::new(&Limits::default());
    for lane in 0..256 {
        inbound.frames(&[first(lane, 101, &inner[..100])]).unwrap();
    }
    assert_protocol(
        inbound.frames(&[first(256, 101, &inner[..100])]),
        "more than 256",
    );
}

// P8
#[test]
fn a_peer_that_ignores_the_window_is_cut_off() {
    let limits = small_limits();
    let mut inbound = Inbound::new(&limits);
    inbound.ports.open("p", 1);
    let payload = vec![0; 1000];
    let mut most = 0;
    let result = loop {
        let result = inbound.frames(&[send("p", &payload)]);
        if result.is_err() {
            break result;
        }
        most = inbound.session.held_bytes();
        assert!(most < 60_000);
    };
    assert_protocol(result, "more under way than the window allows");
    assert!(most > limits.window_bytes + limits.message_bytes_max);
    // a message over the limit
    let limits = Limits {
        message_bytes_max: 100,
        ..Limits::default()
    };
    let mut inbound = Inbound::new(&limits);
    inbound.frames(&[send("p", &[0; 100])]).unwrap();
    assert_protocol(
        inbound.frames(&[send("p", &[0; 101])]),
        "a message of 101 bytes, the limit is 100",
    );
}

#[test]
fn acknowledgements_of_nothing_change_nothing() {
    let mut inbound = Inbound::new(&Limits::default());
    inbound.ports.open("p", 10);
    let ack = Frame::LossAck { port: "p" };
    inbound.frames(&[ack, ack, send("p", NULL), ack]).unwrap();
    assert_eq!(inbound.told(), [settled("p"), settled("p"), settled("p")]);
    let frames = [
        Frame::Unmonitor { port: "p" },
        Frame::Unmonitor { port: "q" },
    ];
    inbound.frames(&frames).unwrap();
    assert_eq!(inbound.told(), []);
}

#[test]
fn renewals_are_handed_on_in_order_and_only_a_few_a_batch() {
    let mut inbound = Inbound::new(&Limits::default());
    let renewals = [&b"one"[..], b"", b"two"];
    inbound.frames(&renewals.map(Frame::Renew)).unwrap();
    assert_eq!(inbound.out.renewals, renewals.map(<[u8]>::to_vec));
    let flood = inbound.frames(&[Frame::Renew(b"more"); 9]);
    assert_protocol(flood, "too many of them");
}
