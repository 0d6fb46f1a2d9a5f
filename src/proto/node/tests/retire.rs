//! Idle links end without a loss, whatever is done at that moment.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::proto::{
    close::code,
    link::frame::{Frame, close_frame, kind},
    monitor::WatchId,
    node::peer::{LinkParams, PeerFrame},
};

const IDLE: u64 = 1000;

fn limits() -> Limits {
    Limits {
        idle_timeout: Duration::from_millis(IDLE),
        link_timeout: Duration::from_secs(100),
        ..small_limits()
    }
}

fn pair() -> Pair {
    let mut pair = Pair::new(&limits());
    for side in [&mut pair.a, &mut pair.b] {
        side.ports.open("p", 1000);
    }
    pair.activate(&Format::cbor());
    pair.rest();
    pair
}

impl Side {
    /// What the runtime does every now and then.
    fn retire(&mut self) {
        let link = self.peer.link().unwrap();
        let heard = self.session.as_ref().unwrap().idle_since();
        self.peer.retire(link, heard, self.now);
    }

    /// Reads what has come; why the link ends, if it does.
    fn read_all(&mut self) -> Result<(), CloseReason> {
        let bytes = std::mem::take(&mut self.wire);
        self.read(&bytes)?;
        self.settle_ports()
    }

    /// Ends the link, as the driver does. What is left to say to the peer, and whether the peer has to dial.
    fn end(&mut self, reason: CloseReason) -> (Vec<u8>, bool) {
        let reason = self.peer.why(reason, false);
        let words = close_frame(&reason).unwrap_or_default();
        let session = self.session.take().unwrap();
        session.close(&self.ports);
        self.ports.link_down(self.peer.link().unwrap());
        let closed = self.peer.close(&reason);
        self.note(closed.fired);
        let wake = self.peer.reopen();
        self.input.clear();
        (words, wake.dial)
    }

    fn send(&mut self, n: u64) {
        let _ = self.peer.send(&name("p"), numbered(n, 0)).unwrap();
    }

    fn got(&self) -> Vec<u64> {
        while !self.ports.is_idle() {
            self.ports.handle(&name("p"), 100, |_| false);
        }
        self.ports.numbers("p")
    }
}

impl Pair {
    /// Lets time pass until `a` asks. The bytes of it.
    fn ask(&mut self) -> Vec<u8> {
        self.advance(IDLE);
        self.a.retire();
        let bytes = self.a.transmit(usize::MAX);
        assert_eq!(kinds(&bytes), [kind::RETIRE]);
        bytes
    }

    /// A link is made anew, and everything goes over it.
    fn again(&mut self) {
        self.a.wire.clear();
        self.b.wire.clear();
        self.activate(&Format::cbor());
        self.rest();
    }
}

#[test]
fn an_idle_link_ends_and_what_was_queued_meanwhile_goes_over_the_next() {
    let mut pair = pair();
    pair.a.send(1);
    pair.b.send(1);
    pair.rest();
    pair.advance(IDLE - 200);
    pair.a.retire();
    assert_eq!(pair.a.transmit(usize::MAX), b"", "not yet");
    let asked = pair.ask();
    // messages, monitors and calls after it wait, on the fast way too
    pair.a.send(2);
    pair.a.peer.monitor(&name("p"), 1);
    pair.a.peer.monitor(&PortName::node_port(), 2);
    let call = pair.a.peer.call(&name("p"), numbered(3, 0), 3);
    assert!(!call.unwrap().1.writer);
    assert_eq!(pair.a.transmit(usize::MAX), b"");
    // keepalive goes on
    let keepalive = {
        pair.advance(2500);
        pair.a.transmit(usize::MAX)
    };
    assert_eq!(kinds(&keepalive), [kind::PING]);
    pair.b.wire = [asked, keepalive].concat();
    assert_eq!(pair.b.read_all(), Err(CloseReason::Idle));
    // nor does the other side send anything from then on
    pair.b.send(2);
    pair.b.peer.monitor(&name("p"), 1);
    assert!(!kinds(&pair.b.transmit(usize::MAX)).contains(&kind::SEND));
    let (words, dial) = pair.b.end(CloseReason::Idle);
    assert!(dial, "there is something to send");
    pair.a.wire = words;
    let reason = pair.a.read_all().unwrap_err();
    assert!(matches!(reason, CloseReason::ByPeer(code::IDLE, _)));
    assert_eq!(pair.a.peer.why(reason.clone(), false), CloseReason::Idle);
    assert!(pair.a.end(reason).1);
    pair.again();
    assert_eq!(pair.b.got(), [1, 2, 3]);
    assert_eq!(pair.a.got(), [1, 2]);
    assert!(pair.a.fired.is_empty() && pair.b.fired.is_empty());
    // the monitors are there: they fire when the port dies
    pair.b.ports.die(&name("p"), Reason::die("now"));
    pair.b.settle_ports().unwrap();
    pair.rest();
    let fired: Vec<u32> = pair.a.fired.iter().map(|fired| fired.0).collect();
    assert_eq!(fired, [1, 3]);
}

#[test]
fn a_link_that_nobody_needs_any_more_is_not_dialled_again() {
    let mut pair = pair();
    pair.b.wire = pair.ask();
    let reason = pair.b.read_all().unwrap_err();
    let (words, dial) = pair.b.end(reason);
    assert!(!dial);
    pair.a.wire = words;
    let reason = pair.a.read_all().unwrap_err();
    assert!(!pair.a.end(reason).1);
    assert!(!pair.a.peer.is_wanted() && !pair.b.peer.is_wanted());
}

#[test]
fn the_peer_says_stay_where_it_needs_the_link() {
    type Need = fn(&mut Side);
    let needs: [(&str, Need); 6] = [
        ("a queued message", |b| b.send(7)),
        ("a monitor", |b| {
            b.peer.monitor(&name("p"), 7);
        }),
        ("a monitor on the node", |b| {
            b.peer.monitor(&PortName::node_port(), 7);
        }),
        ("it is kept", |b| b.peer.keep(true)),
        ("something for the database", |b| {
            let link = b.peer.link().unwrap();
            b.peer.send_db(link, numbered(7, 0));
        }),
        ("a loss that is not settled", |b| {
            let (port, count, text) = (name("x"), 1, "gone".to_owned());
            let link = b.peer.link().unwrap();
            b.peer.reply(link, Reply::Loss { port, count, text });
        }),
    ];
    for (what, need) in needs {
        let mut pair = pair();
        pair.b.wire = pair.ask();
        need(&mut pair.b);
        assert_eq!(pair.b.read_all(), Ok(()), "{what}");
        // it goes on with what it needs the link for, and so does the one that asked
        pair.a.send(1);
        pair.rest();
        assert_eq!(pair.b.got(), [1], "{what}");
        if what == "a queued message" {
            assert_eq!(pair.a.got(), [7]);
        }
        assert!(pair.a.fired.is_empty() && pair.b.fired.is_empty());
        // the clock begins anew
        pair.advance(IDLE / 2);
        pair.a.retire();
        assert!(!kinds(&pair.a.transmit(usize::MAX)).contains(&kind::RETIRE));
    }
}

#[test]
fn who_needs_the_link_does_not_ask() {
    type Need = fn(&mut Pair);
    let needs: [(&str, Need); 4] = [
        ("a monitor", |pair| {
            pair.a.peer.monitor(&PortName::node_port(), 7);
        }),
        ("it is kept", |pair| pair.a.peer.keep(true)),
        ("a message that is held", |pair| {
            pair.b.ports.open("full", 0);
            let _ = pair.a.peer.send(&name("full"), numbered(1, 0)).unwrap();
            pair.rest();
        }),
        ("a call", |pair| {
            let called = pair.a.peer.call(&name("p"), numbered(1, 0), 1);
            called.unwrap();
            pair.rest();
        }),
    ];
    for (what, need) in needs {
        let mut pair = pair();
        need(&mut pair);
        pair.advance(10 * IDLE);
        pair.a.retire();
        assert!(
            !kinds(&pair.a.transmit(usize::MAX)).contains(&kind::RETIRE),
            "{what}"
        );
    }
    // what is held keeps the other side too from asking
    let mut pair = pair();
    pair.b.ports.open("full", 0);
    let _ = pair.a.peer.send(&name("full"), numbered(1, 0)).unwrap();
    pair.rest();
    pair.advance(10 * IDLE);
    pair.b.retire();
    assert!(!kinds(&pair.b.transmit(usize::MAX)).contains(&kind::RETIRE));
    // never, without the feature, for a link that is wanted for ever, or with a timeout of zero
    let zero = Limits {
        idle_timeout: Duration::ZERO,
        ..limits()
    };
    for (retire, pinned, limits) in [
        (false, false, limits()),
        (true, true, limits()),
        (true, false, zero),
    ] {
        let mut peer: Peer<u32> = Peer::new(node("b"), &limits);
        let params = LinkParams {
            retire,
            pinned,
            ..link_params(link(1), &Format::cbor(), &limits)
        };
        peer.activate(params, at(0));
        let wake = peer.retire(link(1), Some(Duration::ZERO), at(1 << 40));
        assert!(!wake.writer);
    }
}

#[test]
fn both_may_ask_at_once() {
    let mut pair = pair();
    let asked = pair.ask();
    pair.b.retire();
    let crossed = pair.b.transmit(usize::MAX);
    assert_eq!(kinds(&crossed), [kind::RETIRE]);
    pair.a.send(1);
    pair.b.send(1);
    pair.b.wire = asked;
    pair.a.wire = crossed;
    // what needs the link now goes over the next
    assert_eq!(pair.a.read_all(), Err(CloseReason::Idle));
    assert_eq!(pair.b.read_all(), Err(CloseReason::Idle));
    pair.a.end(CloseReason::Idle);
    pair.b.end(CloseReason::Idle);
    pair.again();
    assert_eq!(pair.a.got(), [1]);
    assert_eq!(pair.b.got(), [1]);
}

// P2 M2 M6
#[test]
fn a_link_that_breaks_before_the_answer_is_lost_like_any_other() {
    let mut pair = pair();
    pair.b.wire = pair.ask();
    pair.a.send(1);
    pair.a.peer.monitor(&name("p"), 1);
    let reason = CloseReason::Transport("cut".into());
    assert_eq!(pair.a.peer.why(reason.clone(), false), reason);
    let lost = pair.a.close();
    assert_eq!(lost, 1);
    assert_eq!(pair.a.fired.len(), 1);
    // for the one that has agreed nothing was under way
    let agreed = pair.b.read_all().unwrap_err();
    pair.b.send(1);
    assert_eq!(pair.b.peer.why(reason, false), CloseReason::Idle);
    pair.b.end(agreed);
    pair.again();
    assert_eq!(pair.a.got(), [1]);
    // the word that the link is idle, from a peer that was not asked
    let reason = CloseReason::from_wire(code::IDLE, "idle");
    pair.b.peer.monitor(&name("p"), 1);
    assert_eq!(pair.b.peer.why(reason.clone(), true), reason);
    let closed = pair.b.peer.close(&reason);
    assert_eq!(closed.fired.len(), 1);
}

#[test]
fn a_connection_of_the_same_life_in_its_place_is_an_answer_too() {
    let mut pair = pair();
    pair.ask();
    pair.a.send(1);
    let moved = pair.a.peer.why(CloseReason::Replaced, true);
    assert_eq!(moved, CloseReason::Idle);
    assert_eq!(
        pair.a.peer.why(CloseReason::Replaced, false),
        CloseReason::Replaced
    );
    let closed = pair.a.peer.close(&moved);
    assert_eq!(closed.lost, 0);
    assert!(pair.a.peer.reopen().dial);
}

#[test]
fn what_makes_no_sense_closes_the_link() {
    let word = |frame: Frame<'_>| {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        bytes
    };
    let mut asked = pair();
    let error = asked.b.read(&word(Frame::Stay)).unwrap_err();
    assert!(error.to_string().contains("STAY without RETIRE"));

    let mut pair = pair();
    pair.b.ports.open("full", 0);
    let send = Frame::Send {
        watch: false,
        port: "full",
        payload: &[0x81, 1],
    };
    let bytes = [word(send), word(Frame::Retire)].concat();
    let error = pair.b.read(&bytes).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("RETIRE with something under way")
    );

    for frame in [Frame::Retire, Frame::Stay, Frame::Renew(&[1])] {
        let mut pair = self::pair();
        let params = SessionParams {
            retire: false,
            renew: false,
            ..session_params(&node("a"), link(1), &Format::cbor())
        };
        let now = pair.b.now;
        pair.b.session = Some(Session::new(
            params,
            &limits(),
            std::sync::Arc::default(),
            now,
        ));
        let error = pair.b.read(&word(frame)).unwrap_err();
        assert!(error.to_string().contains("unknown kind"), "{error}");
    }
    // one answer is enough, however often somebody asks
    let mut peer: Peer<u32> = Peer::new(node("b"), &limits());
    peer.activate(link_params(link(1), &Format::cbor(), &limits()), at(0));
    peer.keep(true);
    for _ in 0..1000 {
        peer.handle(link(1), PeerFrame::Retire, at(0));
    }
    let mut out = Vec::new();
    peer.transmit(&mut out, usize::MAX, at(0));
    assert_eq!(kinds(&out), [kind::STAY]);
}

// M2
#[test]
fn a_monitor_on_a_port_that_was_asked_for_before_is_asked_for_anew() {
    let mut pair = pair();
    let (id, _) = pair.a.peer.monitor(&name("p"), 1);
    pair.rest();
    // nothing monitors it any more, and the peer is not told
    assert!(pair.a.peer.unmonitor(&name("p"), id).0.is_some());
    for stays in [true, false] {
        pair.b.peer.keep(stays);
        pair.b.wire = pair.ask();
        // taken back, and set again
        let (id, _) = pair.a.peer.monitor(&name("p"), 2);
        pair.a.peer.unmonitor(&name("p"), id);
        let (id, _) = pair.a.peer.monitor(&name("p"), 3);
        match pair.b.read_all() {
            Ok(()) => {
                assert!(stays);
                pair.rest();
                assert!(pair.a.peer.unmonitor(&name("p"), id).0.is_some());
            }
            Err(reason) => {
                assert!(!stays);
                pair.a.wire = pair.b.end(reason).0;
                let reason = pair.a.read_all().unwrap_err();
                pair.a.end(reason);
                pair.again();
            }
        }
    }
    pair.b.ports.die(&name("p"), Reason::die("now"));
    pair.b.settle_ports().unwrap();
    pair.rest();
    assert_eq!(pair.a.fired, [(3, Reason::die("now"))]);
}

#[derive(Debug, Clone)]
enum Op {
    Send {
        padding: usize,
    },
    Monitor,
    Unmonitor,
    Keep(bool),
    Db,
    Out {
        budget: usize,
    },
    In {
        bytes: usize,
    },
    Handle,
    Retire,
    Time {
        ms: u64,
    },
    /// Everything arrives, and time passes.
    Calm,
}

fn op() -> impl Strategy<Value = (bool, Op)> {
    let op = prop_oneof![
        3 => prop_oneof![4 => 0..50_usize, 1 => 900..5000_usize].prop_map(|padding| Op::Send { padding }),
        1 => Just(Op::Monitor),
        2 => Just(Op::Unmonitor),
        1 => any::<bool>().prop_map(Op::Keep),
        1 => Just(Op::Db),
        8 => prop_oneof![Just(1_usize), Just(100_000)].prop_map(|budget| Op::Out { budget }),
        8 => prop_oneof![1..60_usize, Just(20_000_usize)].prop_map(|bytes| Op::In { bytes }),
        3 => Just(Op::Handle),
        8 => Just(Op::Retire),
        4 => (1..2 * IDLE).prop_map(|ms| Op::Time { ms }),
        4 => Just(Op::Calm),
    ];
    (any::<bool>(), op)
}

/// What one side has done.
#[derive(Default)]
struct Done {
    sent: u64,
    watches: Vec<WatchId>,
    /// What the side says last; the other one reads it behind everything else.
    gone: bool,
}

/// Both sides, and a link that is made anew when it has ended on both and one of them wants it.
struct Cycle {
    pair: Pair,
    a: Done,
    b: Done,
    ends: usize,
}

impl Cycle {
    fn sides(&mut self, is_a: bool) -> (&mut Side, &mut Done, &mut Side) {
        let Cycle { pair, a, b, .. } = self;
        if is_a {
            (&mut pair.a, a, &mut pair.b)
        } else {
            (&mut pair.b, b, &mut pair.a)
        }
    }

    fn step(&mut self, is_a: bool, op: &Op) {
        let (side, done, other) = self.sides(is_a);
        let link = side.peer.link();
        match *op {
            Op::Send { padding } => {
                let message = numbered(done.sent, padding);
                if side.peer.send(&name("p"), message).is_ok() {
                    done.sent += 1;
                }
            }
            Op::Monitor => {
                let (id, _) = side.peer.monitor(&name("p"), 0);
                done.watches.push(id);
            }
            Op::Unmonitor => {
                if let Some(id) = done.watches.pop() {
                    assert!(side.peer.unmonitor(&name("p"), id).0.is_some());
                }
            }
            Op::Keep(kept) => side.peer.keep(kept),
            Op::Db => {
                if let Some(link) = link {
                    side.peer.send_db(link, numbered(0, 2000));
                }
            }
            Op::Out { budget } => {
                if !done.gone {
                    let bytes = side.transmit(budget);
                    other.wire.extend(bytes);
                }
            }
            Op::In { bytes } => {
                if done.gone || side.wire.is_empty() {
                    return;
                }
                let rest = side.wire.split_off(bytes.min(side.wire.len()));
                let part = std::mem::replace(&mut side.wire, rest);
                if let Err(reason) = side.read(&part).and_then(|()| side.settle_ports()) {
                    assert_eq!(side.peer.why(reason.clone(), false), CloseReason::Idle);
                    let (words, _) = side.end(reason);
                    other.wire.extend(words);
                    done.gone = true;
                    self.ends += 1;
                }
            }
            Op::Handle => {
                side.ports.handle(&name("p"), 100, |_| false);
                if !done.gone {
                    side.settle_ports().unwrap();
                }
            }
            Op::Retire => {
                if !done.gone {
                    side.retire();
                }
            }
            Op::Time { ms } => self.pair.advance(ms),
            Op::Calm => {
                self.calm();
                self.pair.advance(IDLE);
            }
        }
        let wanted = self.pair.a.peer.is_wanted() || self.pair.b.peer.is_wanted();
        if self.a.gone && self.b.gone && wanted {
            self.up();
        }
    }

    fn calm(&mut self) {
        for _ in 0..4 {
            for is_a in [true, false] {
                self.step(is_a, &Op::Out { budget: 100_000 });
                self.step(!is_a, &Op::In { bytes: usize::MAX });
                self.step(is_a, &Op::Handle);
            }
            self.pair.advance(30);
        }
    }

    fn up(&mut self) {
        for (side, done) in [
            (&mut self.pair.a, &mut self.a),
            (&mut self.pair.b, &mut self.b),
        ] {
            side.wire.clear();
            done.gone = false;
        }
        self.pair.activate(&Format::cbor());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    // P1 P2 M2 M6
    #[test]
    fn links_that_come_and_go_lose_nothing_and_fire_nothing(
        ops in proptest::collection::vec(op(), 1..400),
    ) {
        let mut cycle = Cycle { pair: pair(), a: Done::default(), b: Done::default(), ends: 0 };
        for (is_a, op) in &ops {
            cycle.step(*is_a, op);
        }
        // the rest of an end that was begun, then everything that waits
        cycle.calm();
        cycle.calm();
        if cycle.a.gone && cycle.b.gone {
            cycle.up();
        }
        prop_assert_eq!(cycle.a.gone, cycle.b.gone);
        for _ in 0..50 {
            cycle.pair.rest();
            cycle.step(true, &Op::Handle);
            cycle.step(false, &Op::Handle);
        }
        let all = |done: &Done| (0..done.sent).collect::<Vec<_>>();
        prop_assert_eq!(cycle.pair.b.got(), all(&cycle.a));
        prop_assert_eq!(cycle.pair.a.got(), all(&cycle.b));
        prop_assert!(cycle.pair.a.fired.is_empty() && cycle.pair.b.fired.is_empty());
        // every monitor that is left is known to the other side, and fires
        for is_a in [true, false] {
            let (_, done, other) = cycle.sides(is_a);
            let left = done.watches.len();
            other.ports.die(&name("p"), Reason::die("end"));
            other.settle_ports().unwrap();
            cycle.pair.rest();
            let (side, ..) = cycle.sides(is_a);
            prop_assert_eq!(side.fired.len(), left);
        }
    }
}

#[test]
fn the_random_cycles_are_cycles() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let ops = proptest::collection::vec(op(), 400);
    let mut ends = BTreeMap::new();
    for _ in 0..40 {
        let mut cycle = Cycle {
            pair: pair(),
            a: Done::default(),
            b: Done::default(),
            ends: 0,
        };
        for (is_a, op) in ops.new_tree(&mut runner).unwrap().current() {
            cycle.step(is_a, &op);
        }
        *ends.entry(cycle.ends).or_insert(0) += 1;
    }
    let counts: BTreeSet<usize> = ends.keys().copied().collect();
    assert!(counts.last().is_some_and(|most| *most >= 4), "{ends:?}");
    assert!(ends.get(&0).copied().unwrap_or(0) < 30, "{ends:?}");
}
