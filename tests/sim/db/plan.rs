//! What a run does, from its seed: how large the mesh is, what its nodes write and read, what goes wrong.

use std::time::Duration;

use portmesh::Limits;

use crate::rng::Rng;

/// When the last action is.
pub const LENGTH: Duration = Duration::from_secs(50);
pub const LINK_TIMEOUT: Duration = Duration::from_secs(3);

/// What nodes are there, and with what bounds.
#[derive(Debug, Clone)]
pub struct Setup {
    pub globals: usize,
    pub leaves: usize,
    /// Whom each node asks at first, by number.
    pub seeds: Vec<Vec<usize>>,
    pub limits: Limits,
    pub families: usize,
    pub keys: u64,
    /// Messages under way on one link in one direction.
    pub room: usize,
    /// Nothing goes wrong but that homes die, one at a time (R5).
    pub only_homes: bool,
    /// Values are so large that changes travel in several parts.
    pub large: bool,
}

#[derive(Debug, Clone)]
pub enum Act {
    Set {
        host: usize,
        family: usize,
        key: u64,
        waits: bool,
    },
    Remove {
        host: usize,
        family: usize,
        keys: Vec<u64>,
    },
    /// One that the node itself refuses.
    BadSet {
        host: usize,
        what: u64,
    },
    Watch {
        host: usize,
        family: usize,
        pace: Duration,
    },
    Unwatch {
        host: usize,
    },
    Query {
        host: usize,
        family: usize,
        key: Option<u64>,
    },
    Cut {
        late: bool,
    },
    HalfOpen {
        both: bool,
    },
    Stall {
        time: Duration,
    },
    Partition {
        groups: Vec<bool>,
        time: Duration,
    },
    Hang {
        host: usize,
        time: Duration,
    },
    Crash {
        host: usize,
        told: bool,
        back: Option<Duration>,
    },
    Stop {
        host: usize,
        back: Option<Duration>,
    },
    Jump {
        host: usize,
        ms: i64,
    },
    CloseIdle,
}

pub fn setup(seed: u64, rng: &mut Rng) -> Setup {
    let only_homes = seed % 5 == 4;
    let is_big = rng.one_in(12);
    let (globals, leaves) = match is_big {
        true => (rng.range(3, 7), rng.range(6, 20)),
        false => (rng.range(3, 4), rng.range(1, 5)),
    };
    let (globals, leaves) = (globals as usize, leaves as usize);
    let mut seeds: Vec<Vec<usize>> = Vec::new();
    for host in 0..globals + leaves {
        let mut own: Vec<usize> = Vec::new();
        for _ in 0..rng.range(1, 3) {
            let seed = rng.below(globals as u64) as usize;
            if seed != host && !own.contains(&seed) {
                own.push(seed);
            }
        }
        // the mesh hangs together
        let before = rng.below(host.min(globals) as u64) as usize;
        if host > 0 && !own.iter().any(|seed| *seed < host) {
            own.push(before);
        }
        seeds.push(own);
    }
    let large = rng.one_in(10);
    let mut limits = Limits {
        link_timeout: LINK_TIMEOUT,
        db_tombstones_max: rng.range(1, 4) as usize,
        db_grace: Duration::from_secs(rng.range(4, 6)),
        ..Limits::default()
    };
    if !only_homes && rng.one_in(6) {
        limits.db_node_entries_max = rng.range(6, 16) as usize;
    }
    if !only_homes && rng.one_in(6) {
        limits.db_entries_max = (globals * globals) + leaves * 4 + 10;
    }
    Setup {
        globals,
        leaves,
        seeds,
        limits,
        families: rng.range(1, 3) as usize,
        keys: rng.range(4, 10),
        room: [1, 2, 4, 64][rng.below(4) as usize],
        only_homes,
        large,
    }
}

/// The plan, in the order of time.
pub fn plan(setup: &Setup, rng: &mut Rng) -> Vec<(Duration, Act)> {
    let hosts = setup.globals + setup.leaves;
    let mut plan = Vec::new();
    for host in 0..hosts {
        if host < setup.globals && !rng.one_in(2) {
            continue;
        }
        let family = rng.below(setup.families as u64) as usize;
        let at = Duration::from_millis(rng.range(0, 8_000));
        plan.push((at, watch(host, family, rng)));
    }
    let mut at = Duration::from_millis(500);
    let pause = if hosts > 10 { 300 } else { 450 };
    while at < LENGTH {
        at += Duration::from_millis(rng.range(1, pause * 2));
        // now and then all at once
        for _ in 0..if rng.one_in(20) { 12 } else { 1 } {
            plan.push((at, work(setup, rng)));
        }
    }
    if setup.only_homes {
        let mut at = Duration::from_secs(8);
        while at < LENGTH {
            let host = rng.below(setup.globals as u64) as usize;
            let back = Some(Duration::from_millis(rng.range(9_000, 12_000)));
            let act = match rng.below(4) {
                0 => Act::Stop { host, back },
                1 => Act::Hang {
                    host,
                    time: Duration::from_millis(rng.range(9_000, 12_000)),
                },
                told => Act::Crash {
                    host,
                    told: told == 2,
                    back,
                },
            };
            plan.push((at, act));
            // until all have found together again
            at += Duration::from_secs(38);
        }
    } else {
        let mut at = Duration::from_secs(4);
        let most = [800, 2_500, 6_000][rng.below(3) as usize];
        while at < LENGTH {
            plan.push((at, fault(setup, rng)));
            at += Duration::from_millis(rng.range(1, most * 2));
        }
    }
    plan.sort_by_key(|(at, _)| *at);
    plan
}

fn watch(host: usize, family: usize, rng: &mut Rng) -> Act {
    let slow = Duration::from_millis(rng.range(50, 5_000));
    let pace = if rng.one_in(2) { slow } else { Duration::ZERO };
    Act::Watch { host, family, pace }
}

fn work(setup: &Setup, rng: &mut Rng) -> Act {
    let host = rng.below((setup.globals + setup.leaves) as u64) as usize;
    let family = rng.below(setup.families as u64) as usize;
    let key = rng.below(setup.keys);
    match rng.below(20) {
        0..=9 => Act::Set {
            host,
            family,
            key,
            waits: rng.one_in(2),
        },
        10..=14 => {
            let few = if rng.one_in(3) { rng.range(2, 4) } else { 1 };
            let keys = (0..few).map(|more| (key + more) % setup.keys).collect();
            Act::Remove { host, family, keys }
        }
        15 => Act::BadSet {
            host,
            what: rng.below(4),
        },
        16 => watch(host, family, rng),
        17 => Act::Unwatch { host },
        _ => Act::Query {
            host,
            family,
            key: rng.one_in(2).then_some(key),
        },
    }
}

fn fault(setup: &Setup, rng: &mut Rng) -> Act {
    let hosts = (setup.globals + setup.leaves) as u64;
    let host = match rng.one_in(2) {
        true => rng.below(setup.globals as u64),
        false => rng.below(hosts),
    } as usize;
    let ms = |rng: &mut Rng, from, to| Duration::from_millis(rng.range(from, to));
    match rng.below(16) {
        0..=2 => Act::Cut {
            late: rng.one_in(3),
        },
        3 | 4 => Act::HalfOpen {
            both: rng.one_in(3),
        },
        5 | 6 => Act::Stall {
            time: ms(rng, 50, 4_000),
        },
        7 | 8 => Act::Partition {
            groups: (0..hosts).map(|_| rng.one_in(2)).collect(),
            time: ms(rng, 500, 20_000),
        },
        9 | 10 => Act::Hang {
            host,
            time: ms(rng, 200, 12_000),
        },
        11 | 12 => Act::Crash {
            host,
            told: rng.one_in(2),
            back: (!rng.one_in(3)).then(|| ms(rng, 50, 15_000)),
        },
        13 => Act::Stop {
            host,
            back: (!rng.one_in(3)).then(|| ms(rng, 50, 15_000)),
        },
        14 => {
            let most = if rng.one_in(2) { 600_000 } else { 8_000 };
            Act::Jump {
                host,
                ms: rng.range(0, 2 * most) as i64 - most as i64,
            }
        }
        _ => Act::CloseIdle,
    }
}
