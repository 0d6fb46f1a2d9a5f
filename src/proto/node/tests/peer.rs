//! The outbound half on its own: what it writes, when, and what it refuses.

use bytes::Bytes;

use super::*;
use crate::proto::{
    link::frame::{Frame, kind},
    node::peer::{LinkParams, PeerFrame, SendRefused},
    value::Value,
};

fn peer(limits: &Limits) -> Peer<u32> {
    Peer::new(node("b"), limits)
}

fn up(limits: &Limits) -> Peer<u32> {
    let mut peer = peer(limits);
    peer.activate(link_params(link(1), &Format::cbor(), limits), at(0));
    peer
}

fn transmit(peer: &mut Peer<u32>, now: Now) -> Vec<u8> {
    let mut out = Vec::new();
    peer.transmit(&mut out, usize::MAX, now);
    out
}

/// Everything that the peer will send without hearing from the other side, as frames.
fn sent(peer: &mut Peer<u32>, now: Now) -> Vec<Vec<u8>> {
    frames(&transmit(peer, now))
}

fn progress(peer: &mut Peer<u32>, done: u64) {
    let handled = peer.handle(link(1), PeerFrame::Progress(done), at(0));
    assert_eq!(handled.close, None);
}

/// What the frames of lanes among these count for.
fn cost(frames: &[Vec<u8>]) -> u64 {
    let lanes = [kind::LOSS_ACK, 0x10, 0x11, 0x12, 0x13, 0x14];
    let own = frames.iter().filter(|frame| lanes.contains(&frame[0]));
    own.map(|frame| frame.len() as u64 + 64).sum()
}

// P3
#[test]
fn what_is_sent_before_the_link_is_up_goes_out_when_it_is() {
    let limits = Limits::default();
    let mut peer = peer(&limits);
    let port = name("p");
    let wake = peer.send(&port, numbered(1, 0)).unwrap();
    assert!(wake.dial && !wake.writer);
    let wake = peer.send(&port, numbered(2, 0)).unwrap();
    assert!(!wake.dial, "one dial is enough");
    assert_eq!(transmit(&mut peer, at(0)), b"");
    let wake = peer.activate(link_params(link(1), &Format::cbor(), &limits), at(0));
    assert!(wake.writer);
    let sent = sent(&mut peer, at(0));
    assert_eq!(sent.len(), 2);
    assert_eq!(
        Frame::decode(&sent[1]).unwrap(),
        Frame::Send {
            watch: false,
            port: "p",
            payload: numbered(2, 0).bytes()
        }
    );
}

// P3 P7
#[test]
fn what_is_sent_before_the_format_is_known_is_written_in_it_later() {
    let limits = Limits::default();
    let mut peer = peer(&limits);
    peer.send(&name("p"), numbered(7, 0)).unwrap();
    peer.activate(link_params(link(1), &Format::json(), &limits), at(0));
    peer.send(&name("p"), numbered(8, 0)).unwrap();
    let sent = sent(&mut peer, at(0));
    let payload = |frame: &Vec<u8>| match Frame::decode(frame).unwrap() {
        Frame::Send { payload, .. } => String::from_utf8(payload.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    };
    let payloads: Vec<String> = sent.iter().map(payload).collect();
    assert_eq!(payloads, [r#"["m",7,""]"#, r#"["m",8,""]"#]);
}

// P3 P8
#[test]
fn a_full_queue_hands_the_message_back_and_tells_when_there_is_room() {
    let limits = Limits {
        outbound_bytes_max: 1000,
        outbound_count_max: 10,
        ..Limits::default()
    };
    let mut peer = peer(&limits);
    let port = name("p");
    // by bytes: a message larger than the queue passes when it is empty
    peer.send(&port, sized(2000)).unwrap();
    assert!(!peer.has_room(&port, 1));
    let Err(SendRefused::Full(back)) = peer.send(&port, sized(10)) else {
        panic!("it was taken");
    };
    assert_eq!(back.encoded_len(), 10);
    // nothing is queued, no monitor added
    let Err((SendRefused::Full(_), watch)) = peer.call(&port, sized(10), 5) else {
        panic!("it was taken");
    };
    assert_eq!(watch, 5);
    peer.activate(link_params(link(1), &Format::cbor(), &limits), at(0));
    let mut out = Vec::new();
    assert!(peer.transmit(&mut out, 1 << 20, at(0)).room);
    assert!(!peer.transmit(&mut out, 1 << 20, at(0)).room, "told once");
    assert!(peer.has_room(&port, 1000));
    // by count, at n - 1, n, n + 1: one port gets as much as is free besides, and so on
    let mut peer = self::peer(&limits);
    for (port, most) in [("p", 5), ("q", 3), ("r", 1), ("s", 1)] {
        let port = name(port);
        for n in 0..most {
            assert!(peer.has_room(&port, 1), "{port} {n}");
            peer.send(&port, sized(5)).unwrap();
        }
        assert!(!peer.has_room(&port, 1), "{port}");
        assert!(peer.send(&port, sized(5)).is_err());
    }
    assert!(peer.send(&name("t"), sized(5)).is_err());
}

// P8
#[test]
fn what_is_sent_without_end_to_a_stuck_port_leaves_room_for_others() {
    let limits = Limits {
        outbound_bytes_max: 64 << 10,
        window_bytes: 16 << 10,
        ..Limits::default()
    };
    let mut peer = up(&limits);
    let stuck = ["s", "t", "u"].map(name);
    let mut held = [0; 3];
    let mut done = 0;
    // each holds what it has got, and is sent to until nothing more is taken
    for (port, held) in stuck.iter().zip(&mut held) {
        while peer.send(port, sized(500)).is_ok() {}
        let frames = sent(&mut peer, at(0));
        *held = cost(&frames);
        done += *held;
        let hold = PeerFrame::Hold {
            port: port.clone(),
            bytes: *held,
        };
        assert!(peer.handle(link(1), hold, at(0)).close.is_none());
        progress(&mut peer, done);
        while peer.send(port, sized(500)).is_ok() {}
        assert!(!peer.has_room(port, 500));
        assert!(transmit(&mut peer, at(0)).is_empty());
    }
    // another one gets all it is sent, for ever
    let healthy = name("h");
    let mut waits = false;
    let mut refused = 0;
    for n in 0..1000 {
        let now = at(n);
        while !waits {
            waits = peer.send(&healthy, sized(100)).is_err();
            refused += u32::from(waits);
        }
        let mut out = Vec::new();
        waits &= !peer.transmit(&mut out, 1 << 20, now).room;
        let frames = frames(&out);
        assert!(frames.len() > 5, "{n}: {}", frames.len());
        done += cost(&frames);
        progress(&mut peer, done);
    }
    assert!(refused > 50, "who waits to send to it is told: {refused}");
    // and the others go on when they may
    for (port, held) in stuck.iter().zip(held) {
        let resume = PeerFrame::Resume {
            port: port.clone(),
            bytes: held,
        };
        assert!(peer.handle(link(1), resume, at(1000)).close.is_none());
    }
    let mut told = false;
    while !peer.is_flushed() {
        let mut out = Vec::new();
        told |= peer.transmit(&mut out, 1 << 20, at(1000)).room;
        done += cost(&frames(&out));
        progress(&mut peer, done);
    }
    assert!(told && peer.has_room(&stuck[0], 500));
}

// P3
#[test]
fn a_message_that_the_peer_does_not_take_is_refused_or_lost() {
    let limits = Limits::default();
    let mut peer = peer(&limits);
    let port = name("p");
    peer.send(&port, sized(101)).unwrap();
    let (_, _) = peer.monitor(&port, 1);
    peer.send(&port, sized(50)).unwrap();
    let params = LinkParams {
        peer_message_bytes_max: 100,
        ..link_params(link(1), &Format::cbor(), &limits)
    };
    peer.activate(params, at(0));
    // known now: refused at once
    let refused = peer.send(&port, sized(101));
    assert!(matches!(
        refused,
        Err(SendRefused::TooLarge { max: 100, .. })
    ));
    peer.send(&port, sized(100)).unwrap();
    // accepted before: a loss, and nothing later goes to that port before its monitors have fired (P2)
    let mut out = Vec::new();
    let transmit = peer.transmit(&mut out, usize::MAX, at(0));
    assert!(transmit.lost);
    assert_eq!(out, b"");
    let lost = peer.take_lost();
    assert_eq!(lost.fired.len(), 1);
    assert_eq!(lost.fired[0].reason.tag(), Some("transport_error"));
    assert_eq!(lost.settle, std::slice::from_ref(&port));
    assert_eq!(sent(&mut peer, at(0)), Vec::<Vec<u8>>::new());
    peer.settle(link(1), &port);
    assert_eq!(
        kinds(&self::transmit(&mut peer, at(0))),
        [kind::MONITOR, kind::SEND, kind::SEND]
    );
}

// P9
#[test]
fn a_large_message_does_not_hold_up_small_ones_to_other_ports() {
    let limits = Limits::default();
    let mut peer = up(&limits);
    peer.send(&name("big"), sized(1 << 20)).unwrap();
    let mut out = Vec::new();
    // a few fragments are out when the small one comes
    assert!(peer.transmit(&mut out, 64 << 10, at(0)).more);
    peer.send(&name("small"), sized(10)).unwrap();
    let rest = kinds(&transmit(&mut peer, at(0)));
    let small = rest.iter().position(|&kind| kind == kind::SEND).unwrap();
    assert!(small <= 1, "after one more fragment: {rest:?}");
    assert!(rest.len() > 20);
    assert_eq!(rest.last(), Some(&kind::FRAGMENT_MORE));
    // and many large ones share the link
    progress(&mut peer, {
        let head = 1 + 1 + 1 + 3;
        (1 << 20) + head + 64 + (10 + 1 + 1 + 1 + 5 + 64)
    });
    for n in 0..4 {
        let port = name(&format!("big{n}"));
        peer.send(&port, sized(100 << 10)).unwrap();
    }
    let sent = sent(&mut peer, at(0));
    let firsts: Vec<usize> = (0..sent.len())
        .filter(|&at| sent[at][0] == kind::FRAGMENT_FIRST)
        .collect();
    assert_eq!(firsts, [0, 1, 2, 3], "by turns");
}

// P1 M4 S1
#[test]
fn what_goes_to_one_port_goes_in_order() {
    let limits = Limits::default();
    let mut peer = peer(&limits);
    let port = name("p");
    let args = Message::encode_args(&(), &limits).unwrap();
    peer.spawn(&port, "f", args).unwrap();
    peer.send(&port, sized(100_000)).unwrap();
    peer.monitor(&port, 1);
    peer.send(&port, numbered(1, 0)).unwrap();
    peer.kill(&port, &Reason::normal(), at(0));
    peer.activate(link_params(link(1), &Format::cbor(), &limits), at(0));
    let mut kinds = kinds(&transmit(&mut peer, at(0)));
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            kind::SPAWN,
            kind::FRAGMENT_FIRST,
            kind::FRAGMENT_MORE,
            kind::MONITOR,
            kind::SEND,
            kind::KILL
        ]
    );
}

// P8
#[test]
fn the_window_is_never_exceeded_and_one_lane_takes_a_quarter_of_what_is_free() {
    let limits = Limits {
        window_bytes: 40_000,
        ..Limits::default()
    };
    let mut peer = up(&limits);
    let mut all = 0;
    let mut each = Vec::new();
    for lane in 0..20 {
        for _ in 0..300 {
            let port = name(&format!("p{lane}"));
            peer.send(&port, sized(100)).unwrap();
        }
        let sent = cost(&sent(&mut peer, at(0)));
        each.push(sent);
        all += sent;
        assert!(all <= 40_000);
    }
    assert!((7_500..=10_000).contains(&each[0]), "{each:?}");
    assert!(each.iter().all(|&sent| sent > 0), "{each:?}");
    // all of it dealt with: the next of each lane go
    progress(&mut peer, all);
    assert!(!sent(&mut peer, at(0)).is_empty());
}

// P8
#[test]
fn a_message_over_its_share_passes_alone() {
    let limits = Limits {
        window_bytes: 10_000,
        ..Limits::default()
    };
    let mut peer = up(&limits);
    peer.send(&name("x"), sized(50_000)).unwrap();
    peer.send(&name("y"), sized(50_000)).unwrap();
    peer.send(&name("z"), sized(100)).unwrap();
    let first = sent(&mut peer, at(0));
    let begun = first.iter().filter(|f| f[0] == kind::FRAGMENT_FIRST);
    assert_eq!(begun.count(), 1, "one at a time");
    assert!(
        first.iter().any(|f| f[0] == kind::SEND),
        "small ones pass it"
    );
    // in any order: the small one went first or between
    let small = 1 + 1 + 2 + 100 + 64;
    let large = 1 + 1 + 2 + 50_000 + 64;
    progress(&mut peer, small);
    assert_eq!(cost(&sent(&mut peer, at(0))), 0);
    progress(&mut peer, small + large);
    assert_eq!(sent(&mut peer, at(0))[0][0], kind::FRAGMENT_FIRST);
}

// P8
#[test]
fn a_port_that_is_held_stops_its_own_lane_only() {
    let mut peer = up(&Limits::default());
    let held = name("held");
    peer.send(&held, sized(100)).unwrap();
    peer.send(&held, sized(100)).unwrap();
    let out = sent(&mut peer, at(0));
    let one = cost(&out) / 2;
    let hold = |bytes| PeerFrame::Hold {
        port: held.clone(),
        bytes,
    };
    let resume = |bytes| PeerFrame::Resume {
        port: held.clone(),
        bytes,
    };
    let handled = peer.handle(link(1), hold(one), at(0));
    assert_eq!(handled.close, None);
    progress(&mut peer, 2 * one);
    peer.send(&held, sized(10)).unwrap();
    peer.send(&name("free"), sized(10)).unwrap();
    let out = sent(&mut peer, at(0));
    assert_eq!(out.len(), 1);
    assert_eq!(&out[0][3..7], b"free");
    assert!(!peer.is_flushed());
    let handled = peer.handle(link(1), resume(one), at(0));
    assert!(handled.close.is_none() && handled.wake.writer);
    assert_eq!(sent(&mut peer, at(0)).len(), 1);
}

#[test]
fn what_cannot_be_closes_the_link() {
    let port = name("p");
    let hold = |bytes| PeerFrame::Hold {
        port: name("p"),
        bytes,
    };
    let resume = |bytes| PeerFrame::Resume {
        port: name("p"),
        bytes,
    };
    // one message of 84 is under way each time
    let cases: Vec<(Vec<PeerFrame>, &str)> = vec![
        (vec![PeerFrame::Progress(85)], "beyond"),
        (vec![PeerFrame::Progress(u64::MAX)], "beyond"),
        (vec![PeerFrame::Progress(1)], "within"),
        (
            vec![PeerFrame::Progress(84), PeerFrame::Progress(0)],
            "back",
        ),
        (vec![hold(85)], "more than is under way"),
        (vec![hold(u64::MAX)], "more than is under way"),
        (
            vec![hold(84), PeerFrame::Progress(84), hold(1)],
            "more than",
        ),
        (
            vec![PeerFrame::Progress(84), hold(1)],
            "nothing is under way",
        ),
        (vec![resume(1)], "more than is held"),
        (vec![hold(10), resume(11)], "more than is held"),
        (vec![PeerFrame::Progress(84), resume(1)], "nothing is held"),
    ];
    for (frames, text) in cases {
        let mut peer = up(&Limits::default());
        peer.send(&port, sized(16)).unwrap();
        assert_eq!(cost(&sent(&mut peer, at(0))), 84);
        let mut last = None;
        for frame in &frames {
            assert_eq!(last, None, "{frames:?}");
            last = peer.handle(link(1), frame.clone(), at(0)).close;
        }
        match last {
            Some(CloseReason::Protocol(why)) => assert!(why.contains(text), "{frames:?}: {why}"),
            other => panic!("{frames:?}: {other:?}"),
        }
    }
}

fn loss(port: &str) -> PeerFrame {
    PeerFrame::Loss {
        port: name(port),
        count: 1,
        text: "gone".into(),
    }
}

// P2
#[test]
fn nothing_goes_to_a_port_between_a_loss_and_its_monitors_firing() {
    let mut peer = up(&Limits::default());
    let port = name("p");
    peer.monitor(&port, 1);
    peer.send(&port, sized(10)).unwrap();
    assert_eq!(sent(&mut peer, at(0)).len(), 2);
    let handled = peer.handle(link(1), loss("p"), at(0));
    assert_eq!(handled.settle.as_ref(), Some(&port));
    assert_eq!(handled.fired.len(), 1);
    assert_eq!(handled.fired[0].watch, 1);
    assert_eq!(
        handled.fired[0].reason.values(),
        [
            Value::from("transport_error"),
            Value::from("b"),
            Value::from("gone")
        ]
    );
    // sent from inside the firing, as it were
    peer.send(&port, sized(11)).unwrap();
    peer.send(&name("other"), sized(10)).unwrap();
    assert_eq!(kinds(&transmit(&mut peer, at(0))), [kind::SEND]);
    assert!(peer.settle(link(1), &port).writer);
    assert_eq!(
        kinds(&transmit(&mut peer, at(0))),
        [kind::LOSS_ACK, kind::SEND]
    );
    // it is asked for still
    peer.monitor(&port, 2);
    assert_eq!(transmit(&mut peer, at(0)), b"");
}

// P2
#[test]
fn a_loss_within_a_large_message_is_acknowledged_behind_it() {
    let mut peer = up(&Limits::default());
    let port = name("p");
    peer.send(&port, sized(100_000)).unwrap();
    peer.send(&port, sized(10)).unwrap();
    let mut out = Vec::new();
    peer.transmit(&mut out, 1, at(0));
    assert_eq!(kinds(&out), [kind::FRAGMENT_FIRST]);
    peer.handle(link(1), loss("p"), at(0));
    // the rest of what was begun is of no use to anybody, and ends all the same
    let rest = kinds(&transmit(&mut peer, at(0)));
    assert!(rest.iter().all(|&kind| kind == kind::FRAGMENT_MORE));
    peer.settle(link(1), &port);
    assert_eq!(
        kinds(&transmit(&mut peer, at(0))),
        [kind::LOSS_ACK, kind::SEND]
    );
}

// P2
#[test]
fn a_loss_told_twice_does_no_harm() {
    let mut peer = up(&Limits::default());
    let port = name("p");
    peer.handle(link(1), loss("p"), at(0));
    peer.handle(link(1), loss("p"), at(0));
    peer.settle(link(1), &port);
    assert_eq!(transmit(&mut peer, at(0)), b"", "one is not settled");
    peer.settle(link(1), &port);
    assert_eq!(kinds(&transmit(&mut peer, at(0))), [kind::LOSS_ACK]);
    peer.settle(link(1), &port);
    assert_eq!(transmit(&mut peer, at(0)), b"");
}

#[test]
fn a_flood_of_losses_closes_the_link() {
    let limits = Limits {
        monitors_per_link_max: 10,
        ..Limits::default()
    };
    let mut peer = up(&limits);
    for n in 0..10 {
        let handled = peer.handle(link(1), loss(&format!("p{n}")), at(0));
        assert_eq!(handled.close, None);
    }
    let handled = peer.handle(link(1), loss("p10"), at(0));
    assert!(matches!(handled.close, Some(CloseReason::Protocol(_))));
}

// M2
#[test]
fn a_port_is_asked_for_once_however_many_monitors_it_has() {
    let mut peer = up(&Limits::default());
    let port = name("p");
    let (first, _) = peer.monitor(&port, 1);
    peer.monitor(&port, 2);
    peer.call(&port, sized(5), 3).unwrap();
    let out = sent(&mut peer, at(0));
    assert_eq!(out[0][0], kind::MONITOR);
    assert_eq!(out[1][..2], [kind::SEND, 0]);
    assert_eq!(peer.unmonitor(&port, first).0, Some(1));
    assert_eq!(peer.unmonitor(&port, first).0, None);
    let down = PeerFrame::Down {
        port: port.clone(),
        reason: Reason::die("x"),
    };
    let handled = peer.handle(link(1), down.clone(), at(0));
    let fired: Vec<u32> = handled.fired.iter().map(|fired| fired.watch).collect();
    assert_eq!(fired, [2, 3]);
    assert_eq!(handled.fired[0].reason, Reason::die("x"));
    // once
    assert!(peer.handle(link(1), down, at(0)).fired.is_empty());
    // and it is asked for anew, now in the call's own frame
    peer.call(&port, sized(5), 4).unwrap();
    assert_eq!(sent(&mut peer, at(0))[0][..2], [kind::SEND, 1]);
}

// M2
#[test]
fn ports_that_nothing_monitors_any_more_are_given_back_in_the_end() {
    let mut peer = up(&Limits::default());
    for n in 0..1100 {
        let port = name(&format!("p{n}"));
        let (id, _) = peer.monitor(&port, n);
        assert!(peer.unmonitor(&port, id).0.is_some());
    }
    let kinds = kinds(&transmit(&mut peer, at(0)));
    let count = |kind| kinds.iter().filter(|&&other| other == kind).count();
    assert_eq!(count(kind::MONITOR), 1100);
    assert_eq!(count(kind::UNMONITOR), 1100 - 1024);
    // without a link nothing is asked, and nothing piles up
    let mut peer = self::peer(&Limits::default());
    for n in 0..5000 {
        let port = name(&format!("p{n}"));
        let (id, _) = peer.monitor(&port, n);
        assert!(peer.unmonitor(&port, id).0.is_some());
    }
    peer.activate(
        link_params(link(1), &Format::cbor(), &Limits::default()),
        at(0),
    );
    let kinds = self::kinds(&transmit(&mut peer, at(0)));
    assert_eq!(kinds, [kind::MONITOR; 1024]);
}

// M5
#[test]
fn a_monitor_on_the_node_opens_a_link_and_fires_with_it_alone() {
    let mut peer = peer(&Limits::default());
    let port = PortName::node_port();
    let (_, wake) = peer.monitor(&port, 1);
    assert!(wake.dial);
    peer.activate(
        link_params(link(1), &Format::cbor(), &Limits::default()),
        at(0),
    );
    assert_eq!(transmit(&mut peer, at(0)), b"", "never on the wire");
    let down = PeerFrame::Down {
        port,
        reason: Reason::normal(),
    };
    assert!(peer.handle(link(1), down, at(0)).fired.is_empty());
    let closed = peer.close(&CloseReason::Transport("cut".into()));
    assert_eq!(closed.fired.len(), 1);
    assert_eq!(closed.fired[0].reason.tag(), Some("transport_error"));
}

// M6
#[test]
fn every_monitor_leaves_with_its_link_before_anything_later_can_go() {
    let limits = Limits::default();
    let mut peer = up(&limits);
    let port = name("p");
    peer.monitor(&port, 1);
    peer.send(&port, sized(10)).unwrap();
    transmit(&mut peer, at(0));
    peer.send(&port, sized(11)).unwrap();
    let closed = peer.close(&CloseReason::Transport("cut".into()));
    assert_eq!(closed.lost, 2);
    assert_eq!(closed.fired.len(), 1);
    // queued from inside the firing: belongs to the next link, which cannot come up yet
    let wake = peer.send(&port, sized(12)).unwrap();
    assert!(!wake.dial);
    let params = link_params(link(2), &Format::cbor(), &limits);
    peer.activate(params.clone(), at(0));
    assert_eq!(peer.link(), None);
    assert!(peer.reopen().dial);
    assert!(peer.activate(params, at(0)).writer);
    let out = sent(&mut peer, at(0));
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].len(), 1 + 1 + 2 + 12);
    // what the old link's session still says is not heard
    let handled = peer.handle(link(1), loss("p"), at(0));
    assert!(handled.settle.is_none());
    peer.reply(link(1), Reply::Ping(1));
    assert_eq!(transmit(&mut peer, at(0)), b"");
}

// M4
#[test]
fn a_kill_waits_five_seconds_for_what_is_before_it_and_no_longer() {
    let mut peer = up(&Limits::default());
    let port = name("p");
    peer.send(&port, sized(16)).unwrap();
    transmit(&mut peer, at(0));
    let hold = PeerFrame::Hold {
        port: port.clone(),
        bytes: 84,
    };
    peer.handle(link(1), hold, at(0));
    peer.send(&port, sized(10)).unwrap();
    peer.call(&port, sized(10), 1).unwrap();
    peer.kill(&port, &Reason::die("x"), at(1000));
    peer.kill(&port, &Reason::die("y"), at(1500));
    peer.send(&port, sized(12)).unwrap();
    assert_eq!(transmit(&mut peer, at(1000)), b"");
    // the budget counts from the call, the earlier of the two
    assert!(peer.poll_timeout() <= Some(Duration::from_millis(2500)));
    assert_eq!(kinds(&transmit(&mut peer, at(5999))), [kind::PING]);
    assert_eq!(peer.poll_timeout(), Some(Duration::from_millis(6000)));
    let out = sent(&mut peer, at(6000));
    // the messages before it are gone, the monitor that rode on one is not; what is behind waits for the mailbox
    let kinds: Vec<u8> = out.iter().map(|frame| frame[0]).collect();
    assert_eq!(kinds, [kind::MONITOR, kind::KILL]);
    let expected = Message::encode_args(&Reason::die("x"), &Limits::default()).unwrap();
    assert_eq!(
        Frame::decode(&out[1]).unwrap(),
        Frame::Kill {
            port: "p",
            wait_ms: 0,
            reason: expected.bytes()
        }
    );
    assert!(peer.poll_timeout() > Some(Duration::from_millis(6000)));
}

// M4
#[test]
fn a_kill_tells_how_long_it_may_still_wait() {
    let mut peer = peer(&Limits::default());
    peer.kill(&name("p"), &Reason::normal(), at(1000));
    peer.activate(
        link_params(link(1), &Format::cbor(), &Limits::default()),
        at(2500),
    );
    let out = sent(&mut peer, at(2500));
    assert!(matches!(
        Frame::decode(&out[0]).unwrap(),
        Frame::Kill { wait_ms: 3500, .. }
    ));
    // M1: the node port cannot be killed
    peer.kill(&PortName::node_port(), &Reason::normal(), at(2500));
    assert_eq!(transmit(&mut peer, at(2500)), b"");
}

// M7
#[test]
fn a_quiet_link_is_kept_alive_by_pings() {
    let mut peer = up(&Limits::default());
    // up to a quarter earlier than it must
    let between = |due: Duration, from: u64| {
        let since = due - at(from).mono;
        assert!(at(1875).mono <= since && since <= at(2500).mono, "{due:?}");
        Now {
            mono: due,
            wall_ms: 0,
        }
    };
    let due = between(peer.poll_timeout().unwrap(), 0);
    let mut before = due;
    before.mono -= Duration::from_nanos(1);
    assert_eq!(transmit(&mut peer, before), b"");
    assert_eq!(kinds(&transmit(&mut peer, due)), [kind::PING]);
    assert!(peer.poll_timeout().unwrap() > due.mono + at(1800).mono);
    peer.send(&name("p"), sized(5)).unwrap();
    transmit(&mut peer, at(4000));
    // nothing but what is needed
    between(peer.poll_timeout().unwrap(), 4000);
}

#[test]
fn a_small_progress_waits_a_little_and_a_large_one_does_not() {
    let limits = Limits::default();
    let mut peer = up(&limits);
    let progress = |done, ms| Reply::Progress {
        done,
        at: at(ms).mono,
    };
    assert!(!peer.reply(link(1), progress(100, 0)).writer);
    assert_eq!(transmit(&mut peer, at(0)), b"");
    assert_eq!(peer.poll_timeout(), Some(Duration::from_millis(20)));
    assert_eq!(peer.poll_progress(), Some(Duration::from_millis(20)));
    assert!(!peer.reply(link(1), progress(200, 10)).writer);
    let mut expected = Vec::new();
    Frame::Progress(200).encode(&mut expected);
    assert_eq!(transmit(&mut peer, at(20)), expected);
    // along with something
    peer.reply(link(1), progress(300, 25));
    peer.send(&name("p"), sized(5)).unwrap();
    assert_eq!(
        kinds(&transmit(&mut peer, at(30))),
        [kind::PROGRESS, kind::SEND]
    );
    // at once
    let much = 300 + limits.window_bytes as u64 / 16;
    assert!(peer.reply(link(1), progress(much, 30)).writer);
    assert_eq!(kinds(&transmit(&mut peer, at(30))), [kind::PROGRESS]);
}

#[test]
fn what_is_held_is_told_before_the_progress_that_covers_it() {
    let mut peer = up(&Limits::default());
    let port = name("p");
    let hold = |bytes| Reply::Hold {
        port: name("p"),
        bytes,
    };
    let (done, at_once) = (500, at(0).mono);
    peer.reply(link(1), Reply::Progress { done, at: at_once });
    peer.reply(link(1), hold(100));
    peer.reply(link(1), hold(50));
    let resume = Reply::Resume {
        port: port.clone(),
        bytes: 30,
    };
    peer.reply(link(1), resume);
    let mut expected = Vec::new();
    let frame = Frame::Hold {
        port: "p",
        bytes: 120,
    };
    frame.encode(&mut expected);
    Frame::Progress(500).encode(&mut expected);
    assert_eq!(transmit(&mut peer, at(0)), expected);
}

#[test]
fn one_loss_a_port_is_told_until_it_is_acknowledged() {
    let mut peer = up(&Limits::default());
    let loss = Reply::Loss {
        port: name("p"),
        count: 1,
        text: "x".repeat(10_000),
    };
    peer.reply(link(1), loss.clone());
    peer.reply(link(1), loss.clone());
    let out = sent(&mut peer, at(0));
    assert_eq!(out.len(), 1);
    assert!(out[0].len() < 600, "its text is cut");
    let settled = Reply::LossSettled { port: name("p") };
    peer.reply(link(1), settled);
    peer.reply(link(1), loss);
    assert_eq!(sent(&mut peer, at(0)).len(), 1);
}

// S4
#[test]
fn the_last_words_of_a_port_come_before_the_news_of_its_death() {
    let mut peer = up(&Limits::default());
    // a large answer waits in its lane
    peer.send(&name("asker"), sized(200_000)).unwrap();
    let down = Reply::Down {
        port: name("worker"),
        reason: Reason::normal(),
    };
    peer.reply(link(1), down.clone());
    let kinds_sent = kinds(&transmit(&mut peer, at(0)));
    assert_eq!(kinds_sent.last(), Some(&kind::DOWN));
    assert!(kinds_sent.len() > 5);
    // and a small one, written at once
    peer.send(&name("asker2"), sized(20)).unwrap();
    peer.reply(link(1), down.clone());
    assert_eq!(kinds(&transmit(&mut peer, at(0))), [kind::SEND, kind::DOWN]);
    // a lane that cannot move holds it up for a second at most
    for n in 0..50 {
        let port = name(&format!("p{n}"));
        peer.send(&port, sized(3 << 20)).ok();
    }
    transmit(&mut peer, at(0));
    peer.reply(link(1), down);
    let due = peer.poll_timeout();
    assert!(!kinds(&transmit(&mut peer, at(10))).contains(&kind::DOWN));
    assert!(peer.poll_timeout() < due.max(Some(Duration::from_millis(1011))));
    assert!(kinds(&transmit(&mut peer, at(1010))).contains(&kind::DOWN));
}

#[test]
fn a_peer_that_does_not_read_is_noticed() {
    let limits = Limits {
        outbound_bytes_max: 1000,
        monitors_per_link_max: 10,
        ..Limits::default()
    };
    let mut peer = up(&limits);
    let down = |n| Reply::Down {
        port: name(&format!("port{n}")),
        reason: Reason::die("because it had to"),
    };
    // what is asked for and read never adds up
    for n in 0..1000 {
        assert!(!peer.reply(link(1), down(n)).overrun);
        transmit(&mut peer, at(0));
    }
    assert!((0..10_000).any(|n| peer.reply(link(1), down(n)).overrun));
}

#[test]
fn a_reason_that_is_too_long_keeps_its_tag() {
    let mut peer = up(&Limits::default());
    let long = Reason(vec!["too_hot".into(), "x".repeat(100_000).into()]);
    peer.kill(&name("p"), &long, at(0));
    let out = sent(&mut peer, at(0));
    let Frame::Kill { reason, .. } = Frame::decode(&out[0]).unwrap() else {
        panic!("{out:?}");
    };
    let values = Message::from_wire(Bytes::copy_from_slice(reason), Format::cbor())
        .values(&Limits::default())
        .unwrap();
    assert_eq!(values[0].as_str(), Some("too_hot"));
    assert!(reason.len() < 300);
}
