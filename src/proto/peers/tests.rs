//! Tables of inputs and the whole list of outputs that each must give.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::{collections::BTreeMap, num::NonZeroU64};

use super::*;

/// This node is `m`: the node `z` leaves the decision to it, the node `a` decides itself.
const ME: &str = "m";
const SECOND: u64 = 1000;

#[derive(Debug, Clone)]
enum In {
    Want(&'static str),
    /// A connection: number, node, life.
    Dialed(u64, &'static str, u64),
    Accepted(u64, &'static str, u64),
    /// An accepted one whose identity is another.
    Stranger(u64, &'static str, u64),
    Told(u64),
    ToldWrongly(u64),
    Alive(u64),
    Closed(u64, CloseReason),
    DialFailed(&'static str, CloseReason),
    /// Milliseconds since the start; the timeout is handled.
    At(u64),
    Shutdown,
}
use In::*;

fn node(text: &str) -> NodeId {
    text.parse().unwrap()
}
fn link(number: u64) -> LinkId {
    LinkId(NonZeroU64::new(number).unwrap())
}
fn dial(to: &str) -> PeersOutput {
    PeersOutput::Dial(node(to))
}
fn up(number: u64, of: &str) -> PeersOutput {
    PeersOutput::Activate {
        link: link(number),
        node: node(of),
        tell: *of > *ME,
    }
}
fn refuse(number: u64, reason: CloseReason) -> PeersOutput {
    PeersOutput::Refuse {
        link: link(number),
        reason,
    }
}
fn lost(number: u64, of: &str, reason: CloseReason) -> PeersOutput {
    PeersOutput::Lost {
        link: link(number),
        node: node(of),
        reason,
    }
}
fn probe(number: u64) -> PeersOutput {
    PeersOutput::Probe(link(number))
}
fn unreachable(of: &str, reason: CloseReason) -> PeersOutput {
    PeersOutput::Unreachable {
        node: node(of),
        reason,
    }
}
fn cut() -> CloseReason {
    CloseReason::Transport("cut".into())
}
fn by_peer() -> CloseReason {
    CloseReason::from_wire(crate::proto::close::code::DUPLICATE, "another")
}
fn refused() -> CloseReason {
    CloseReason::Transport("connection refused".into())
}
use CloseReason::{Duplicate, NodeIdInUse, NotActivated, OldIncarnation, Replaced};

struct Bench {
    peers: Peers,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        Bench {
            peers: Peers::new(node(ME), Incarnation::new(1, 0), &Limits::default()),
            now: Now {
                mono: Duration::from_secs(100),
                wall_ms: 0,
            },
        }
    }

    fn step(&mut self, input: In) -> Vec<PeersOutput> {
        let candidate = |number, of: &str, life, identity, dialed| Candidate {
            link: link(number),
            node: node(of),
            incarnation: Incarnation::new(life, 0),
            identity: [identity; 32],
            dialed,
        };
        let (peers, now) = (&mut self.peers, self.now);
        match input {
            Want(to) => peers.want(&node(to), now),
            Dialed(n, of, life) => peers.handle_candidate(candidate(n, of, life, 1, true), now),
            Accepted(n, of, life) => peers.handle_candidate(candidate(n, of, life, 1, false), now),
            Stranger(n, of, life) => peers.handle_candidate(candidate(n, of, life, 2, false), now),
            Told(n) => peers.handle_activate(link(n), now).unwrap(),
            ToldWrongly(n) => {
                let error = peers.handle_activate(link(n), now).unwrap_err();
                assert!(matches!(error, CloseReason::Protocol(_)), "{error:?}");
            }
            Alive(n) => peers.handle_alive(link(n), now),
            Closed(n, reason) => peers.handle_closed(link(n), reason, now),
            DialFailed(of, reason) => peers.handle_dial_failed(&node(of), reason, now),
            At(ms) => {
                self.now.mono = Duration::from_secs(100) + Duration::from_millis(ms);
                peers.handle_timeout(self.now);
            }
            Shutdown => peers.handle_shutdown(),
        }
        std::iter::from_fn(|| self.peers.poll_output()).collect()
    }
}

/// Runs the table, and checks after each step what holds always (L1, L5).
fn run(table: impl IntoIterator<Item = (In, Vec<PeersOutput>)>) -> Bench {
    let mut bench = Bench::new();
    let mut up: BTreeMap<NodeId, LinkId> = BTreeMap::new();
    for (at, (input, expected)) in table.into_iter().enumerate() {
        let outputs = bench.step(input.clone());
        assert_eq!(outputs, expected, "step {at}: {input:?}");
        for output in outputs {
            match output {
                PeersOutput::Activate { link, node, .. } => {
                    assert_eq!(up.insert(node, link), None, "two links, step {at}");
                }
                PeersOutput::Lost { link, node, .. } => {
                    assert_eq!(up.remove(&node), Some(link), "step {at}");
                }
                PeersOutput::Refuse { link, .. } => {
                    assert!(!up.values().any(|up| *up == link), "step {at}");
                }
                _ => {}
            }
        }
        let links = up.iter().map(|(node, link)| (*link, node.clone()));
        assert_eq!(bench.peers.links(), links.collect::<Vec<_>>(), "step {at}");
    }
    bench
}

#[test]
fn a_wish_is_answered_by_one_dial_and_then_by_the_link() {
    run([
        (Want("z"), vec![dial("z")]),
        (Want("z"), vec![]),
        (Dialed(1, "z", 1), vec![up(1, "z")]),
        (Want("z"), vec![]),
        (Closed(1, cut()), vec![lost(1, "z", cut())]),
        (Closed(1, cut()), vec![]),
        (Want("z"), vec![dial("z")]),
    ]);
    run([
        (Want("a"), vec![dial("a")]),
        (Dialed(1, "a", 1), vec![]),
        (Want("a"), vec![]),
        (Told(1), vec![up(1, "a")]),
        (Closed(1, cut()), vec![lost(1, "a", cut())]),
        (Told(1), vec![]),
    ]);
}

// M5
#[test]
fn a_wish_that_nothing_can_fulfil_ends_as_unreachable_once() {
    run([
        (Want("z"), vec![dial("z")]),
        (
            DialFailed("z", refused()),
            vec![unreachable("z", refused())],
        ),
        (DialFailed("z", refused()), vec![]),
        (Want("z"), vec![dial("z")]),
        (DialFailed("z", cut()), vec![unreachable("z", cut())]),
    ]);
    // the connection that the dial made is refused or ends before it is the link
    run([
        (Want("a"), vec![dial("a")]),
        (Dialed(1, "a", 1), vec![]),
        (Closed(1, NodeIdInUse), vec![unreachable("a", NodeIdInUse)]),
    ]);
    // nobody decides
    run([
        (Want("a"), vec![dial("a")]),
        (Dialed(1, "a", 1), vec![]),
        (At(5999), vec![]),
        (
            At(6000),
            vec![refuse(1, NotActivated), unreachable("a", NotActivated)],
        ),
        (Told(1), vec![]),
    ]);
    // the wish came while an accepted connection waited: its end says nothing about a dial
    run([
        (Accepted(1, "a", 1), vec![]),
        (Want("a"), vec![]),
        (Closed(1, cut()), vec![dial("a")]),
        (
            DialFailed("a", refused()),
            vec![unreachable("a", refused())],
        ),
    ]);
    // a dial fails while another connection waits
    run([
        (Want("a"), vec![dial("a")]),
        (Accepted(1, "a", 1), vec![]),
        (DialFailed("a", refused()), vec![]),
        (Closed(1, cut()), vec![unreachable("a", refused())]),
    ]);
    // a dial that nobody waits for any more fails
    run([
        (Want("z"), vec![dial("z")]),
        (Accepted(1, "z", 1), vec![up(1, "z")]),
        (DialFailed("z", refused()), vec![]),
        (Closed(1, cut()), vec![lost(1, "z", cut())]),
        (Want("z"), vec![dial("z")]),
    ]);
    // a dial goes on while the link comes and goes; a second one is not made
    run([
        (Want("z"), vec![dial("z")]),
        (Accepted(1, "z", 1), vec![up(1, "z")]),
        (Closed(1, cut()), vec![lost(1, "z", cut())]),
        (Want("z"), vec![]),
        (Dialed(2, "z", 1), vec![up(2, "z")]),
    ]);
}

// L1
#[test]
fn the_smaller_id_keeps_one_of_two_simultaneous_connections_and_nothing_is_lost() {
    // we decide: the second waits until the first has answered
    run([
        (Want("z"), vec![dial("z")]),
        (Accepted(1, "z", 1), vec![up(1, "z")]),
        (Dialed(2, "z", 1), vec![probe(1)]),
        (Alive(1), vec![refuse(2, Duplicate)]),
        (At(2 * SECOND), vec![]),
    ]);
    // the other decides, whichever it takes
    for (kept, closed) in [(1, 2), (2, 1)] {
        run([
            (Want("a"), vec![dial("a")]),
            (Accepted(1, "a", 1), vec![]),
            (Dialed(2, "a", 1), vec![]),
            (Told(kept), vec![up(kept, "a")]),
            (Closed(closed, Duplicate), vec![]),
            (At(10 * SECOND), vec![]),
        ]);
        run([
            (Want("a"), vec![dial("a")]),
            (Accepted(1, "a", 1), vec![]),
            (Dialed(2, "a", 1), vec![]),
            (Closed(closed, Duplicate), vec![]),
            (Told(kept), vec![up(kept, "a")]),
        ]);
    }
}

// L1
#[test]
fn a_dial_that_ended_as_duplicate_fails_only_with_the_other_connection() {
    // the other one dies before it is the link
    run([
        (Want("a"), vec![dial("a")]),
        (Accepted(1, "a", 1), vec![]),
        (Dialed(2, "a", 1), vec![]),
        (Closed(2, Duplicate), vec![]),
        (Closed(1, cut()), vec![dial("a")]),
        (
            DialFailed("a", refused()),
            vec![unreachable("a", refused())],
        ),
    ]);
    // the other one is not to be seen here yet: it is waited for
    run([
        (Want("a"), vec![dial("a")]),
        (Dialed(1, "a", 1), vec![]),
        (Closed(1, Duplicate), vec![]),
        (Want("a"), vec![]),
        (Accepted(2, "a", 1), vec![]),
        (Told(2), vec![up(2, "a")]),
        (At(2 * SECOND), vec![]),
    ]);
    // the peer believes in a connection that has ended here: dial again, and not for ever
    run([
        (Want("a"), vec![dial("a")]),
        (DialFailed("a", Duplicate), vec![]),
        (At(999), vec![]),
        (At(SECOND), vec![dial("a")]),
        (Dialed(1, "a", 1), vec![]),
        (Closed(1, Duplicate), vec![]),
        (At(2 * SECOND), vec![dial("a")]),
        (DialFailed("a", by_peer()), vec![]),
        (At(3 * SECOND), vec![dial("a")]),
        (
            DialFailed("a", Duplicate),
            vec![unreachable("a", Duplicate)],
        ),
        (Want("a"), vec![dial("a")]),
    ]);
}

// L2
#[test]
fn a_second_connection_of_the_linked_life_replaces_a_link_that_does_not_answer() {
    run([
        (Accepted(1, "z", 1), vec![up(1, "z")]),
        (Accepted(2, "z", 1), vec![probe(1)]),
        (At(999), vec![]),
        (At(SECOND), vec![lost(1, "z", Replaced), up(2, "z")]),
        (Alive(1), vec![]),
        (Closed(1, cut()), vec![]),
        (At(5 * SECOND), vec![]),
    ]);
    // it ends while it is probed
    run([
        (Accepted(1, "z", 1), vec![up(1, "z")]),
        (Accepted(2, "z", 1), vec![probe(1)]),
        (Closed(1, cut()), vec![lost(1, "z", cut()), up(2, "z")]),
        (At(5 * SECOND), vec![]),
    ]);
    // the newcomer goes away: there is no reason to end the link, and a later one is probed for anew
    run([
        (Accepted(1, "z", 1), vec![up(1, "z")]),
        (Accepted(2, "z", 1), vec![probe(1)]),
        (Closed(2, cut()), vec![]),
        (At(5 * SECOND), vec![]),
        (Accepted(3, "z", 1), vec![probe(1)]),
        (At(6 * SECOND), vec![lost(1, "z", Replaced), up(3, "z")]),
    ]);
    // of several the latest to arrive is taken
    run([
        (Accepted(1, "z", 1), vec![up(1, "z")]),
        (Accepted(2, "z", 1), vec![probe(1)]),
        (Accepted(3, "z", 1), vec![]),
        (
            At(SECOND),
            vec![lost(1, "z", Replaced), up(3, "z"), refuse(2, Duplicate)],
        ),
    ]);
}

// L2
#[test]
fn a_newer_life_is_refused_while_the_older_answers_and_replaces_it_otherwise() {
    // we decide
    run([
        (Accepted(1, "z", 1), vec![up(1, "z")]),
        (Accepted(2, "z", 2), vec![probe(1)]),
        (Alive(1), vec![]),
        (At(999), vec![]),
        (At(SECOND), vec![refuse(2, NodeIdInUse)]),
        (At(5 * SECOND), vec![]),
    ]);
    run([
        (Accepted(1, "z", 1), vec![up(1, "z")]),
        (Accepted(2, "z", 2), vec![probe(1)]),
        (At(SECOND), vec![lost(1, "z", Replaced), up(2, "z")]),
    ]);
    // the answer was the last that a dying life had sent
    run([
        (Accepted(1, "z", 1), vec![up(1, "z")]),
        (Accepted(2, "z", 2), vec![probe(1)]),
        (Alive(1), vec![]),
        (Closed(1, cut()), vec![lost(1, "z", cut()), up(2, "z")]),
    ]);
    // the other decides, and says so before the probe has ended
    run([
        (Accepted(1, "a", 1), vec![]),
        (Told(1), vec![up(1, "a")]),
        (Accepted(2, "a", 2), vec![probe(1)]),
        (Told(2), vec![]),
        (Alive(1), vec![]),
        (At(SECOND), vec![refuse(2, NodeIdInUse)]),
    ]);
    run([
        (Accepted(1, "a", 1), vec![]),
        (Told(1), vec![up(1, "a")]),
        (Accepted(2, "a", 2), vec![probe(1)]),
        (Told(2), vec![]),
        (At(SECOND), vec![lost(1, "a", Replaced), up(2, "a")]),
    ]);
    // or after it
    run([
        (Accepted(1, "a", 1), vec![]),
        (Told(1), vec![up(1, "a")]),
        (Accepted(2, "a", 2), vec![probe(1)]),
        (At(SECOND), vec![lost(1, "a", Replaced)]),
        (Told(2), vec![up(2, "a")]),
    ]);
}

// L2
#[test]
fn an_older_life_is_refused_as_long_as_the_newer_is_linked_waits_or_is_remembered() {
    run([
        (Accepted(1, "z", 2), vec![up(1, "z")]),
        (Accepted(2, "z", 1), vec![refuse(2, OldIncarnation)]),
        (Closed(1, cut()), vec![lost(1, "z", cut())]),
        (Accepted(3, "z", 1), vec![refuse(3, OldIncarnation)]),
        (At(79 * SECOND), vec![]),
        (Accepted(4, "z", 1), vec![refuse(4, OldIncarnation)]),
        (At(80 * SECOND), vec![]),
        (Accepted(5, "z", 1), vec![up(5, "z")]),
    ]);
    run([
        (Accepted(1, "a", 2), vec![]),
        (Accepted(2, "a", 1), vec![refuse(2, OldIncarnation)]),
        (Accepted(3, "a", 3), vec![refuse(1, OldIncarnation)]),
        (Told(3), vec![up(3, "a")]),
    ]);
    // what we dialed turns out to be the older one
    run([
        (Accepted(1, "z", 2), vec![up(1, "z")]),
        (Closed(1, cut()), vec![lost(1, "z", cut())]),
        (Want("z"), vec![dial("z")]),
        (
            Dialed(2, "z", 1),
            vec![refuse(2, OldIncarnation), unreachable("z", OldIncarnation)],
        ),
    ]);
}

// L2
#[test]
fn another_identity_never_replaces_a_link() {
    for of in ["a", "z"] {
        let told = if of == "a" {
            vec![(Accepted(1, of, 1), vec![]), (Told(1), vec![up(1, of)])]
        } else {
            vec![(Accepted(1, of, 1), vec![up(1, of)])]
        };
        run(told.into_iter().chain([
            (Stranger(2, of, 2), vec![refuse(2, NodeIdInUse)]),
            (At(5 * SECOND), vec![]),
            // its lives are not ours to compare, once the link has ended
            (Closed(1, cut()), vec![lost(1, of, cut())]),
        ]));
    }
    run([
        (Accepted(1, "a", 5), vec![]),
        (Stranger(2, "a", 2), vec![]),
        (Told(2), vec![up(2, "a"), refuse(1, NodeIdInUse)]),
    ]);
    run([
        (Accepted(1, "z", 5), vec![up(1, "z")]),
        (Closed(1, cut()), vec![lost(1, "z", cut())]),
        (Stranger(2, "z", 2), vec![up(2, "z")]),
    ]);
}

// L1 M6
#[test]
fn the_link_is_lost_before_the_connection_that_the_decider_took_instead_is_up() {
    run([
        (Accepted(1, "a", 1), vec![]),
        (Told(1), vec![up(1, "a")]),
        (Accepted(2, "a", 1), vec![]),
        (Told(2), vec![lost(1, "a", Replaced), up(2, "a")]),
    ]);
    // it does not say so: the second is closed in the end, the link stays
    run([
        (Accepted(1, "a", 1), vec![]),
        (Told(1), vec![up(1, "a")]),
        (Accepted(2, "a", 1), vec![]),
        (At(6 * SECOND), vec![refuse(2, NotActivated)]),
    ]);
}

#[test]
fn only_the_decider_may_activate_and_only_once() {
    run([
        (Accepted(1, "z", 1), vec![up(1, "z")]),
        (ToldWrongly(1), vec![]),
        (Accepted(2, "z", 1), vec![probe(1)]),
        (ToldWrongly(2), vec![]),
        (Accepted(3, "a", 1), vec![]),
        (Told(3), vec![up(3, "a")]),
        (ToldWrongly(3), vec![]),
        (Accepted(4, "a", 2), vec![probe(3)]),
        (Told(4), vec![]),
        (ToldWrongly(4), vec![]),
        (Told(99), vec![]),
    ]);
}

// P8
#[test]
fn connections_that_wait_are_bounded_for_one_node_and_for_all() {
    run([
        (Accepted(1, "a", 1), vec![]),
        (Accepted(2, "a", 1), vec![]),
        (Accepted(3, "a", 1), vec![]),
        (Accepted(4, "a", 1), vec![]),
        (Accepted(5, "a", 1), vec![refuse(5, Duplicate)]),
        (Closed(2, cut()), vec![]),
        (Accepted(6, "a", 1), vec![]),
    ]);
    let mut bench = Bench::new();
    let candidate = |number: u64| Candidate {
        link: link(number),
        node: node(&format!("a{number}")),
        incarnation: Incarnation::new(1, 0),
        identity: [1; 32],
        dialed: number > 1024,
    };
    for number in 1..=1024 {
        bench.peers.handle_candidate(candidate(number), bench.now);
    }
    assert_eq!(bench.peers.poll_output(), None);
    bench.peers.want(&node("a1025"), bench.now);
    assert_eq!(bench.peers.poll_output(), Some(dial("a1025")));
    bench.peers.handle_candidate(candidate(1025), bench.now);
    let outputs: Vec<_> = std::iter::from_fn(|| bench.peers.poll_output()).collect();
    let expected = [refuse(1025, Duplicate), unreachable("a1025", Duplicate)];
    assert_eq!(outputs, expected);
}

#[test]
fn what_is_kept_of_nodes_that_are_gone_is_bounded_and_ends() {
    let mut bench = Bench::new();
    for number in 1..=5000 {
        let of: &'static str = format!("z{number}").leak();
        bench.step(Accepted(number, of, 1));
        bench.step(Closed(number, cut()));
    }
    assert_eq!(bench.peers.nodes.len(), REMEMBERED_MAX);
    bench.step(At(80 * SECOND));
    assert_eq!(bench.peers.nodes.len(), 0);
    assert_eq!(bench.peers.poll_timeout(), None);
    assert!(bench.peers.connections.is_empty());
}

#[test]
fn a_node_never_links_itself() {
    run([
        (Want(ME), vec![]),
        (Accepted(1, ME, 1), vec![refuse(1, NodeIdInUse)]),
    ]);
}

// L6
#[test]
fn after_shutdown_nothing_is_made_and_links_stay_until_they_are_closed() {
    let stopped = || CloseReason::Shutdown;
    run([
        (Accepted(1, "z", 1), vec![up(1, "z")]),
        (Accepted(2, "z", 1), vec![probe(1)]),
        (Accepted(3, "a", 1), vec![]),
        (Want("b"), vec![dial("b")]),
        (Want("c"), vec![dial("c")]),
        (DialFailed("c", Duplicate), vec![]),
        (
            Shutdown,
            vec![
                refuse(3, stopped()),
                unreachable("b", stopped()),
                unreachable("c", stopped()),
                refuse(2, stopped()),
            ],
        ),
        (Accepted(4, "y", 1), vec![refuse(4, stopped())]),
        (Dialed(5, "b", 1), vec![refuse(5, stopped())]),
        (DialFailed("c", refused()), vec![]),
        (Want("y"), vec![unreachable("y", stopped())]),
        (At(20 * SECOND), vec![]),
        (Closed(1, cut()), vec![lost(1, "z", cut())]),
    ]);
}
