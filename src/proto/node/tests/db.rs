//! The frames of the database: their lane, what they cost, and who may send them.

use super::*;
use crate::proto::{
    link::{
        DB_BACKLOG_MAX,
        frame::{Frame, kind},
    },
    node::peer::{LinkParams, PeerFrame},
};

fn pair() -> Pair {
    let mut pair = Pair::new(&small_limits());
    pair.activate(&Format::cbor());
    pair
}

fn numbers(db: &[Message]) -> Vec<u64> {
    db.iter().map(number).collect()
}

#[test]
fn what_is_sent_to_the_database_arrives_in_order_long_or_short() {
    for format in [Format::cbor(), Format::json()] {
        let mut pair = Pair::new(&small_limits());
        pair.activate(&format);
        pair.b.ports.open("p", 100);
        for n in 0..60 {
            // some in fragments, some longer than their share of the window
            let padding = [0, 900, 3000, 9000][n as usize % 4];
            pair.a.peer.send_db(link(1), numbered(n, padding));
            let _ = pair.a.peer.send(&name("p"), numbered(n, 0)).unwrap();
            if n % 5 == 0 {
                pair.flow();
            }
        }
        assert!(!pair.a.peer.is_flushed());
        pair.rest();
        assert_eq!(numbers(&pair.b.db), (0..60).collect::<Vec<_>>());
        assert!(pair.b.db.iter().all(|message| *message.format() == format));
        assert!(pair.a.peer.is_flushed());
        pair.b.ports.handle(&name("p"), 100, |_| false);
        assert_eq!(pair.b.ports.numbers("p"), (0..60).collect::<Vec<_>>());
    }
}

#[test]
fn it_has_a_lane_of_its_own_and_costs_what_other_frames_cost() {
    let limits = Limits {
        window_bytes: 40_000,
        ..Limits::default()
    };
    let mut peer: Peer<u32> = Peer::new(node("b"), &limits);
    peer.activate(link_params(link(1), &Format::cbor(), &limits), at(0));
    let sent = |peer: &mut Peer<u32>| {
        let mut out = Vec::new();
        peer.transmit(&mut out, usize::MAX, at(0));
        frames(&out)
    };
    for _ in 0..300 {
        peer.send_db(link(1), sized(100));
    }
    let out = sent(&mut peer);
    let one = 1 + 100 + 64;
    assert!(out.iter().all(|frame| frame[0] == kind::DB));
    // a quarter of what is free, and not more
    assert_eq!(
        out.len(),
        (1..)
            .take_while(|n| n * one <= (40_000 - (n - 1) * one) / 4)
            .count()
    );
    // another lane is not held up by it
    let _ = peer.send(&name("p"), sized(10)).unwrap();
    assert_eq!(kinds_of(&sent(&mut peer)), [kind::SEND]);
    // nor is the news of a death
    let port = name("dead");
    let reason = Reason::normal();
    peer.reply(link(1), Reply::Down { port, reason });
    assert_eq!(kinds_of(&sent(&mut peer)), [kind::DOWN]);
    let done = PeerFrame::Progress(out.len() as u64 * one);
    assert_eq!(peer.handle(link(1), done, at(0)).close, None);
    assert!(!sent(&mut peer).is_empty());
}

fn kinds_of(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.iter().map(|frame| frame[0]).collect()
}

#[test]
fn it_counts_neither_in_the_queue_nor_among_what_is_lost() {
    let limits = small_limits();
    let mut peer: Peer<u32> = Peer::new(node("b"), &limits);
    peer.activate(link_params(link(1), &Format::cbor(), &limits), at(0));
    for n in 0..300 {
        peer.send_db(link(1), numbered(n, 1000));
    }
    assert!(peer.has_room(&name("p"), limits.outbound_bytes_max));
    assert!(!peer.is_flushed());
    let closed = peer.close(&CloseReason::Transport("cut".into()));
    assert_eq!(closed.lost, 0);
    let wake = peer.reopen();
    assert!(!wake.dial, "what was for the old link is gone with it");
    // what is for a link that is gone is ignored
    assert_eq!(peer.send_db(link(1), numbered(1, 0)), Default::default());
    assert!(peer.is_flushed() && !peer.is_wanted());
}

#[test]
fn its_engine_is_told_when_to_wait_and_when_to_go_on() {
    let limits = Limits {
        window_bytes: 1 << 20,
        ..Limits::default()
    };
    let mut peer: Peer<u32> = Peer::new(node("b"), &limits);
    peer.activate(link_params(link(1), &Format::cbor(), &limits), at(0));
    // what is written at once does not wait; a long one is longer than a frame
    let long = 40_000;
    for _ in 0..6 {
        peer.send_db(link(1), sized(long));
    }
    assert!(6 * long > DB_BACKLOG_MAX);
    let mut out = Vec::new();
    let mut told = 0;
    assert!(!peer.db_room());
    for _ in 0..20 {
        let transmit = peer.transmit(&mut out, 1, at(0));
        if transmit.db_room {
            told += 1;
            let begun = frames(&out).len() * (32 << 10);
            assert!(6 * long <= begun + DB_BACKLOG_MAX / 2 + long);
            assert!(peer.db_room());
        }
    }
    assert_eq!(told, 1, "told once");
}

#[test]
fn what_cannot_go_over_the_link_ends_it() {
    let limits = Limits::default();
    let mut peer: Peer<u32> = Peer::new(node("b"), &limits);
    let params = LinkParams {
        peer_message_bytes_max: 50_000,
        ..link_params(link(1), &Format::cbor(), &limits)
    };
    peer.activate(params, at(0));
    peer.send_db(link(1), sized(50_001));
    let mut out = Vec::new();
    assert!(peer.transmit(&mut out, usize::MAX, at(0)).lost);
    let lost = peer.take_lost();
    assert!(lost.fired.is_empty() && lost.settle.is_empty());
    assert!(lost.close.unwrap().to_string().contains("50001"));
}

#[test]
fn without_the_feature_it_is_an_unknown_kind() {
    let mut whole = Vec::new();
    Frame::Db {
        payload: &[0x81, 1],
    }
    .encode(&mut whole);
    let mut first = Vec::new();
    Frame::FragmentFirst {
        lane: 1,
        total: 500,
        data: &[kind::DB, 0x81],
    }
    .encode(&mut first);
    for bytes in [whole, first] {
        let mut pair = pair();
        assert_eq!(pair.b.read(&bytes), Ok(()));
        let params = SessionParams {
            db: false,
            ..session_params(&node("a"), link(1), &Format::cbor())
        };
        let now = pair.b.now;
        pair.b.session = Some(Session::new(
            params,
            &small_limits(),
            std::sync::Arc::default(),
            now,
        ));
        let error = pair.b.read(&bytes).unwrap_err();
        assert!(error.to_string().contains("unknown kind 0x20"), "{error}");
    }
}
