//! The schedule of the seeds, step by step in tables, and that none is ever forgotten.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

fn at(ms: u64) -> Now {
    Now {
        mono: Duration::from_millis(ms),
        wall_ms: 0,
    }
}

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn linked(name: &str) -> SeedResult {
    SeedResult::Linked(node(name))
}

fn failed() -> SeedResult {
    SeedResult::Failed("nobody".to_owned())
}

fn seeds(count: usize) -> Seeds {
    let addrs = (0..count).map(|n| format!("seed{n}"));
    Seeds::new(addrs, 7, SeedPauses::default())
}

fn tries(seeds: &mut Seeds) -> Vec<usize> {
    std::iter::from_fn(|| seeds.poll_output())
        .map(|SeedOutput::Try(index)| index)
        .collect()
}

/// What happens at second 10, and the outcome.
#[derive(Clone, Copy)]
enum Step {
    /// An answer and then that result, at the only seed.
    Answers(&'static str),
    Fails,
    Own,
    Up(&'static str),
    Down(&'static str),
    Attach,
    Detach,
    /// The time of the next try comes, and it is tried.
    Tried,
}

/// When the seed is tried next: after so many milliseconds from the last step.
#[derive(Debug, Clone, Copy)]
enum Next {
    Never,
    Within(u64, u64),
}

#[test]
fn a_seed_is_tried_when_it_should_be() {
    use Next::*;
    use Step::*;
    const SOON: Next = Within(50, 1000);
    let cases: &[(&str, &[Step], Next)] = &[
        ("failed", &[Fails], Within(150, 250)),
        ("failed twice", &[Fails, Tried, Fails], Within(300, 500)),
        ("linked", &[Up("a"), Answers("a")], Never),
        ("its link ended", &[Up("a"), Answers("a"), Down("a")], SOON),
        (
            "its link ended before it was told of",
            &[Answers("a")],
            SOON,
        ),
        (
            "another link ended",
            &[Up("b"), Up("a"), Answers("a"), Down("b")],
            Never,
        ),
        (
            "linked by another way while it waits",
            &[Up("a"), Answers("a"), Down("a"), Tried, Fails, Up("a")],
            Never,
        ),
        (
            "a try failed and its node is linked by another way",
            &[Up("a"), Answers("a"), Down("a"), Tried, Up("a"), Fails],
            Never,
        ),
        (
            "another node answers",
            &[
                Up("a"),
                Answers("a"),
                Down("a"),
                Tried,
                Up("b"),
                Answers("b"),
                Up("a"),
            ],
            Never,
        ),
        (
            "another node's link ended",
            &[
                Up("a"),
                Answers("a"),
                Down("a"),
                Tried,
                Up("b"),
                Answers("b"),
                Up("a"),
                Down("b"),
            ],
            SOON,
        ),
        (
            "pauses begin anew after a link",
            &[
                Fails,
                Tried,
                Fails,
                Tried,
                Fails,
                Tried,
                Up("a"),
                Answers("a"),
                Down("a"),
                Tried,
                Fails,
            ],
            Within(150, 250),
        ),
        ("own", &[Own], Within(225_000, 375_000)),
        ("own, attached", &[Attach, Own], Within(225_000, 375_000)),
        (
            "attached, never answered",
            &[Fails, Attach],
            Within(150, 250),
        ),
        (
            "attached before it answers",
            &[Attach, Fails, Tried, Fails],
            Within(300, 500),
        ),
        (
            "attached, its link ended",
            &[Up("a"), Answers("a"), Attach, Down("a")],
            Never,
        ),
        (
            "attached while it waits",
            &[Up("a"), Answers("a"), Down("a"), Attach],
            Never,
        ),
        (
            "attached while it is tried, and it fails",
            &[Up("a"), Answers("a"), Down("a"), Tried, Attach, Fails],
            Never,
        ),
        (
            "attached, answered without a link",
            &[Attach, Answers("a")],
            Never,
        ),
        (
            "no longer attached",
            &[Up("a"), Answers("a"), Attach, Down("a"), Detach],
            SOON,
        ),
        (
            "no longer attached, linked",
            &[Up("a"), Answers("a"), Attach, Detach],
            Never,
        ),
        (
            "pauses begin anew when no longer attached",
            &[
                Fails, Tried, Fails, Tried, Fails, Attach, Detach, Tried, Fails,
            ],
            Within(150, 250),
        ),
        (
            "attached, its link came back and ended",
            &[
                Up("a"),
                Answers("a"),
                Attach,
                Down("a"),
                Up("a"),
                Detach,
                Down("a"),
            ],
            SOON,
        ),
    ];
    for (name, steps, next) in cases {
        let mut seeds = seeds(1);
        assert_eq!(tries(&mut seeds), [0]);
        let mut now = at(10_000);
        for step in *steps {
            match *step {
                Answers(name) => {
                    seeds.handle_answer(0, &node(name));
                    seeds.handle_result(0, linked(name), now);
                }
                Fails => _ = seeds.handle_result(0, failed(), now),
                Own => _ = seeds.handle_result(0, SeedResult::Own, now),
                Up(name) => seeds.handle_link(&node(name), true, now),
                Down(name) => seeds.handle_link(&node(name), false, now),
                Attach => seeds.set_attached(true, now),
                Detach => seeds.set_attached(false, now),
                Tried => {
                    now.mono = seeds.poll_timeout().expect(name);
                    seeds.handle_timeout(now);
                    assert_eq!(tries(&mut seeds), [0], "{name}");
                    assert_eq!(seeds.poll_timeout(), None, "one try at a time: {name}");
                }
            }
        }
        let due = seeds.poll_timeout().map(|at| at - now.mono);
        let fine = match (next, due) {
            (Never, None) => true,
            (Within(from, to), Some(due)) => {
                (u128::from(*from)..=u128::from(*to)).contains(&due.as_millis())
            }
            _ => false,
        };
        assert!(fine, "{name}: {due:?}, not {next:?}");
    }
}

// L4
#[test]
fn pauses_grow_to_the_longest_with_jitter() {
    let mut seeds = seeds(1);
    let mut now = at(0);
    let mut base = Duration::from_millis(200);
    for _ in 0..40 {
        assert_eq!(tries(&mut seeds), [0]);
        seeds.handle_result(0, failed(), now);
        let due = seeds.poll_timeout().unwrap();
        let pause = due - now.mono;
        assert!(pause >= base * 3 / 4 && pause <= base * 5 / 4, "{pause:?}");
        base = (base * 2).min(Duration::from_secs(30));
        now.mono = due;
        seeds.handle_timeout(now);
    }
    assert_eq!(base, Duration::from_secs(30));
}

#[test]
fn nodes_that_lost_the_same_seed_do_not_come_back_together() {
    let returns = |random| {
        let mut seeds = Seeds::new(["a".to_owned()], random, SeedPauses::default());
        seeds.handle_link(&node("a"), true, at(0));
        seeds.handle_result(0, linked("a"), at(0));
        seeds.handle_link(&node("a"), false, at(0));
        seeds.poll_timeout().unwrap().as_millis() / 100
    };
    let moments: BTreeSet<_> = (0..100).map(returns).collect();
    assert!(moments.len() >= 8, "{moments:?}");
}

#[test]
fn a_node_that_loses_its_home_tries_its_seeds_one_after_the_other_in_some_order() {
    let mut seeds = seeds(8);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for (index, name) in names.iter().enumerate() {
        seeds.handle_result(index, linked(name), at(0));
    }
    seeds.set_attached(true, at(0));
    tries(&mut seeds);
    assert_eq!(seeds.poll_timeout(), None);
    seeds.set_attached(false, at(1000));
    let mut order = Vec::new();
    while let Some(due) = seeds.poll_timeout() {
        assert!(due <= Duration::from_secs(2));
        let now = Now {
            mono: due,
            wall_ms: 0,
        };
        seeds.handle_timeout(now);
        order.extend(tries(&mut seeds));
    }
    assert_ne!(order, (0..8).collect::<Vec<_>>());
    order.sort_unstable();
    assert_eq!(order, (0..8).collect::<Vec<_>>());
}

#[test]
fn who_answered_where_is_known_before_the_link_and_until_another_answers() {
    let mut seeds = seeds(2);
    let names = |seeds: &Seeds| {
        let nodes = seeds.nodes();
        nodes.iter().map(|n| n.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(seeds.untried(), 2);
    assert!(seeds.handle_answer(0, &node("a")));
    assert!(!seeds.handle_answer(0, &node("a")));
    assert_eq!(names(&seeds), ["a"]);
    assert_eq!(seeds.untried(), 2, "the link is not there yet");
    assert!(seeds.handle_result(0, failed(), at(0)));
    assert!(seeds.handle_result(1, failed(), at(0)));
    assert_eq!(seeds.untried(), 0);
    assert_eq!(names(&seeds), ["a"], "a failure makes nobody a stranger");
    // an answer to nothing
    assert!(!seeds.handle_answer(0, &node("x")));
    assert!(!seeds.handle_result(0, linked("x"), at(0)));
    assert!(!seeds.handle_result(9, linked("x"), at(0)));
    assert_eq!(names(&seeds), ["a"]);

    tries(&mut seeds);
    seeds.handle_timeout(at(1000));
    assert_eq!(tries(&mut seeds), [0, 1]);
    assert!(seeds.handle_answer(0, &node("b")));
    assert!(!seeds.handle_result(1, failed(), at(1000)), "no news");
    assert_eq!(names(&seeds), ["b"]);
    seeds.handle_result(0, SeedResult::Own, at(1000));
    assert!(names(&seeds).is_empty());
}

#[derive(Debug, Clone)]
enum Op {
    Link(u8, bool),
    Attached(bool),
    Answer(u8, u8),
    Result(u8, u8),
    Wait(u16),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..4u8, any::<bool>()).prop_map(|(node, up)| Op::Link(node, up)),
        any::<bool>().prop_map(Op::Attached),
        (0..3u8, 0..4u8).prop_map(|(seed, node)| Op::Answer(seed, node)),
        (0..3u8, 0..8u8).prop_map(|(seed, what)| Op::Result(seed, what)),
        (0..2000u16).prop_map(Op::Wait),
    ]
}

proptest! {
    // L4
    #[test]
    fn no_seed_is_ever_forgotten(random: u64, ops in proptest::collection::vec(op(), 0..200)) {
        let mut seeds = Seeds::new((0..3).map(|n| n.to_string()), random, SeedPauses::default());
        let mut now = at(0);
        let mut trying = BTreeSet::new();
        let mut up = BTreeSet::new();
        let mut attached = false;
        let name = |n: u8| node(&format!("n{n}"));
        let take = |seeds: &mut Seeds, trying: &mut BTreeSet<usize>| {
            for index in tries(seeds) {
                assert!(trying.insert(index), "two tries of one seed at a time");
            }
        };
        for op in ops {
            take(&mut seeds, &mut trying);
            match op {
                Op::Link(n, is_up) => {
                    if is_up { up.insert(name(n)); } else { up.remove(&name(n)); }
                    seeds.handle_link(&name(n), is_up, now);
                }
                Op::Attached(is) => {
                    attached = is;
                    seeds.set_attached(is, now);
                }
                Op::Answer(seed, n) => _ = seeds.handle_answer(seed.into(), &name(n)),
                Op::Result(seed, what) => {
                    let result = match what {
                        n @ 0..4 => SeedResult::Linked(name(n)),
                        4 => SeedResult::Own,
                        _ => failed(),
                    };
                    let seed = usize::from(seed);
                    trying.remove(&seed);
                    seeds.handle_result(seed, result, now);
                }
                Op::Wait(ms) => {
                    now.mono += Duration::from_millis(ms.into());
                    seeds.handle_timeout(now);
                }
            }
            take(&mut seeds, &mut trying);
            for (index, seed) in seeds.seeds.iter().enumerate() {
                let answered = seed.node.as_ref();
                match seed.phase {
                    Phase::Trying => prop_assert!(trying.contains(&index)),
                    Phase::Waiting(at) => {
                        prop_assert!(at <= now.mono + Duration::from_secs(375));
                        prop_assert!(!answered.is_some_and(|n| up.contains(n)));
                        prop_assert!(!attached || answered.is_none());
                    }
                    Phase::Linked => prop_assert!(answered.is_some_and(|n| up.contains(n))),
                    Phase::Attached => prop_assert!(attached && answered.is_some()),
                }
            }
        }
        // and when nothing is left that it could rest for, each is tried again
        for n in 0..4 {
            seeds.handle_link(&name(n), false, now);
        }
        seeds.set_attached(false, now);
        take(&mut seeds, &mut trying);
        now.mono += Duration::from_secs(375);
        seeds.handle_timeout(now);
        take(&mut seeds, &mut trying);
        prop_assert_eq!(trying.len(), 3);
    }
}
