//! What the programs on the nodes do, and what goes wrong: drawn from the seed before the run begins.

use std::time::Duration;

use crate::{host::OnFire, rng::Rng};

/// Nodes in a run. One host more is there for a second process of a node's ID.
pub const HOSTS: usize = 4;
/// When the faults end.
pub const CALM: Duration = Duration::from_secs(20);
/// When handlers that are stuck end.
pub const UNSTICK: Duration = Duration::from_secs(26);
/// When every node sends a last message to every port: nothing may be stuck.
pub const LAST: Duration = Duration::from_secs(48);
/// When the run ends.
pub const END: Duration = Duration::from_secs(56);

/// One step. Ports are named by a number that picks one of those that are known then.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    Send {
        host: usize,
        port: u64,
        tag: &'static str,
        size: usize,
        times: u64,
    },
    /// A large message, and small ones to other ports of its node behind it.
    Overtake {
        host: usize,
        port: u64,
        size: usize,
    },
    Call {
        host: usize,
        port: u64,
        size: usize,
    },
    Monitor {
        host: usize,
        port: u64,
        on_fire: OnFire,
    },
    MonitorNode {
        host: usize,
        of: usize,
    },
    Unmonitor {
        host: usize,
        nth: usize,
    },
    /// Kills a port that this node spawned, after some messages; or (`foreign`) one that it may not kill.
    Kill {
        host: usize,
        port: u64,
        messages: u64,
        foreign: bool,
    },
    Spawn {
        host: usize,
        on: usize,
        function: &'static str,
        messages: u64,
    },
    /// A port ends from inside.
    Die {
        host: usize,
        port: u64,
    },

    Cut {
        a: usize,
        b: usize,
    },
    /// What `from` sends on its connections to `to` goes nowhere, and nobody is told.
    HalfOpen {
        from: usize,
        to: usize,
    },
    /// Nothing passes for a while, then all of it does.
    Stall {
        from: usize,
        to: usize,
        lasts: Duration,
    },
    Hang {
        host: usize,
        lasts: Duration,
    },
    Crash {
        host: usize,
        silently: bool,
        restart: Option<Duration>,
        older: bool,
    },
    /// Both want a link at the same time.
    Both {
        a: usize,
        b: usize,
    },
    /// A second process with the ID of `of` starts and asks for links.
    Impostor {
        of: usize,
        newer: bool,
        stranger: bool,
        lasts: Duration,
    },
    /// Only `a` learns that its connection to `b` has failed, and connects again.
    CutOneSide {
        a: usize,
        b: usize,
    },
    /// Both connect, and what `from` sends on the new connections is soon lost.
    BadConnect {
        from: usize,
        to: usize,
        after: Duration,
    },
    /// A monitored port dies, and its monitor is taken back at the same time.
    Crossing {
        host: usize,
    },
    /// No faults from now on.
    Calm,
    /// Handlers that are stuck end.
    Unstick,
    Last,
}

/// A plan: when, what. Without faults if `clean`.
pub fn draw(rng: &mut Rng, clean: bool) -> Vec<(Duration, Op)> {
    let mut plan = Vec::new();
    let span = CALM.as_millis() as u64 - 200;
    let ops = rng.range(40, 160);
    for _ in 0..ops {
        let at = Duration::from_millis(rng.below(span));
        let op = step(rng);
        // a burst of different things at one moment, now and then
        if rng.one_in(4) {
            for _ in 0..rng.range(1, 6) {
                plan.push((at, step(rng)));
            }
        }
        plan.push((at, op));
    }
    for _ in 0..rng.range(1, 4) {
        let (a, b) = two(rng);
        plan.push((Duration::from_millis(rng.below(50)), Op::Both { a, b }));
    }
    if !clean {
        // a storm, now and then
        let faults = if rng.one_in(6) {
            rng.range(20, 60)
        } else {
            rng.range(1, 14)
        };
        for _ in 0..faults {
            plan.push((Duration::from_millis(rng.below(span)), fault(rng)));
        }
    }
    plan.push((CALM, Op::Calm));
    plan.push((UNSTICK, Op::Unstick));
    plan.push((LAST, Op::Last));
    plan
}

fn two(rng: &mut Rng) -> (usize, usize) {
    let a = rng.below(HOSTS as u64) as usize;
    let b = (a + 1 + rng.below(HOSTS as u64 - 1) as usize) % HOSTS;
    (a, b)
}

fn size(rng: &mut Rng) -> usize {
    let (from, to) = match rng.below(20) {
        0 => (20_000, 60_000),
        1 => (4_000, 20_000),
        2..=4 => (500, 4_000),
        _ => (0, 200),
    };
    rng.range(from, to) as usize
}

fn step(rng: &mut Rng) -> Op {
    let (host, other) = two(rng);
    let port = rng.next();
    match rng.below(24) {
        0..=7 => Op::Send {
            host,
            port,
            tag: "m",
            size: size(rng),
            times: if rng.one_in(4) { rng.range(2, 50) } else { 1 },
        },
        8 => Op::Overtake {
            host,
            port,
            size: rng.range(15_000, 60_000) as usize,
        },
        9 => Op::Send {
            host,
            port,
            tag: "refuse",
            size: 10,
            times: 1,
        },
        10 | 11 => Op::Call {
            host,
            port,
            size: size(rng),
        },
        15 if rng.one_in(3) => Op::Crossing { host },
        12..=15 => Op::Monitor {
            host,
            port,
            on_fire: match rng.below(3) {
                0 => OnFire::Send,
                1 => OnFire::Again,
                _ => OnFire::Nothing,
            },
        },
        16 => Op::MonitorNode { host, of: other },
        17 => Op::Unmonitor {
            host,
            nth: rng.next() as usize,
        },
        18 | 19 => Op::Kill {
            host,
            port,
            messages: if rng.one_in(3) {
                rng.range(8, 30)
            } else {
                rng.below(4)
            },
            foreign: rng.one_in(4),
        },
        20..=22 => Op::Spawn {
            host,
            on: other,
            function: match rng.below(9) {
                0 => "missing",
                1 => "fails",
                2 | 3 => "slow",
                4 => "stuck",
                _ => "works",
            },
            messages: rng.below(6),
        },
        _ => Op::Die { host, port },
    }
}

fn fault(rng: &mut Rng) -> Op {
    let (a, b) = two(rng);
    let lasts = Duration::from_millis(match rng.below(3) {
        0 => rng.range(10, 400),
        1 => rng.range(400, 1_200),
        _ => rng.range(4_500, 7_000),
    });
    match rng.below(15) {
        12 | 13 => Op::CutOneSide { a, b },
        14 => Op::BadConnect {
            from: a,
            to: b,
            after: Duration::from_micros(rng.range(100, 150_000)),
        },
        0..=2 => Op::Cut { a, b },
        3 | 4 => Op::HalfOpen { from: a, to: b },
        5 => Op::Stall {
            from: a,
            to: b,
            lasts,
        },
        6 | 7 => Op::Hang { host: a, lasts },
        8 | 9 => Op::Crash {
            host: a,
            silently: rng.one_in(3),
            restart: (!rng.one_in(5)).then(|| Duration::from_millis(rng.range(1, 3_000))),
            older: rng.one_in(6),
        },
        10 => Op::Both { a, b },
        _ => Op::Impostor {
            of: a,
            newer: !rng.one_in(4),
            stranger: rng.one_in(4),
            lasts: Duration::from_millis(rng.range(500, 6_000)),
        },
    }
}
