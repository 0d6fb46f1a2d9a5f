//! The database in simulation: nodes, links that carry whole messages, faults, and the contract checked on what all see.
//!
//! `PORTMESH_SIM_SEEDS` says how many seeds are played; `PORTMESH_SIM_SEED` plays one and prints its history.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use self::{
    invariants::{l3, quiescence, r3, r8},
    mutants::Mutant,
    world::{Event, START, World},
};
use crate::{number, rng::Rng};

mod crowd;
mod faults;
mod history;
mod invariants;
mod links;
mod model;
mod mutants;
mod net;
mod plan;
mod races;
mod readers;
mod views;
mod world;

const SEEDS: u64 = 300;
/// A mutant that this many seeds do not show is not caught.
const MUTANT_SEEDS: u64 = 60;

/// From the last fault until all has to be well, and then until the end.
const CALM: Duration = Duration::from_secs(100);

fn play(seed: u64, mutant: Mutant, is_verbose: bool) -> World {
    let mut rng = Rng::new(seed);
    let setup = plan::setup(seed, &mut rng);
    let plan = plan::plan(&setup, &mut rng);
    let mut world = World::new(setup, rng, mutant);
    world.history.is_verbose = is_verbose;
    for host in 0..world.hosts.len() {
        let soon = world.ms(0, 3_000);
        world.after(soon, Event::Restart { host });
    }
    for (at, act) in plan {
        world.at(START + at, Event::Act(Box::new(act)));
    }
    world.at(START + Duration::from_secs(2), Event::Sample);
    world.run(START + plan::LENGTH);
    world.calm();
    let calm = world.now;
    world.run(calm + CALM / 2);
    if !r3::holds(&mut world) {
        world.history.count("not the same soon");
    }
    world.run(calm + CALM);
    world.quiet_at = world.now;
    let done = quiescence::nobody_talks(&world);
    world.check("quiescence", done);
    finish(&mut world);
    world
}

/// All is quiet: everyone asks once more, and two global nodes meet again.
fn finish(world: &mut World) {
    l3::ask(world);
    world.ask_all();
    // little fits on a narrow link
    for _ in 0..12 {
        world.run(world.now + Duration::from_secs(5));
        if !world.waits() {
            break;
        }
    }
    invariants::at_the_end(world);
    let up = world.conns.iter().find(|(_, conn)| {
        conn.is_up() && conn.ends.iter().all(|host| world.hosts[*host].is_global)
    });
    let Some((id, [a, b])) = up.map(|(id, conn)| (*id, conn.ends)) else {
        return;
    };
    world.down(id, 0, false);
    world.down(id, 1, false);
    world.run(world.now + Duration::from_millis(300));
    let again = match world.conn_of(a, b) {
        Some(again) => again,
        None => {
            world.connect(a, b);
            world.next
        }
    };
    world.run(world.now + Duration::from_secs(5));
    let done = r8::little_is_exchanged(world, again);
    world.check("R8", done);
}

fn replay(seed: u64) -> String {
    format!("replay: PORTMESH_SIM_SEED={seed} cargo test --test sim db_the_contract -- --nocapture")
}

/// What is broken in that seed.
fn broken(world: &World) -> Option<String> {
    let all: Vec<String> = world
        .broken
        .iter()
        .map(|(line, why)| format!("{line} does not hold {why}"))
        .collect();
    (!all.is_empty()).then(|| all.join("\n    "))
}

// R1 R2 R3 R4 R5 R6 R7 R8 R9 L3 L4
#[test]
fn db_the_contract_holds_in_every_seed_and_every_race_was_met() {
    if let Some(seed) = number("PORTMESH_SIM_SEED") {
        let world = play(seed, Mutant::None, true);
        for (at, line) in &world.history.lines {
            println!("{at:>14?} {line}");
        }
        assert_eq!(broken(&world), None);
        return;
    }
    let seeds = number("PORTMESH_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let counts: Mutex<BTreeMap<&str, (u64, u64)>> = Mutex::default();
    let failed: Mutex<Vec<String>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let played = std::panic::catch_unwind(|| play(seed, Mutant::None, false));
                    let Ok(world) = played else {
                        failed
                            .lock()
                            .unwrap()
                            .push(format!("seed {seed} panics\n{}", replay(seed)));
                        continue;
                    };
                    if let Some(why) = broken(&world) {
                        let text = format!("seed {seed}: {why}\n{}", replay(seed));
                        failed.lock().unwrap().push(text);
                    }
                    let mut counts = counts.lock().unwrap();
                    for (what, times) in &world.history.counts {
                        let (total, runs) = counts.entry(what).or_default();
                        *total += times;
                        *runs += 1;
                    }
                }
            });
        }
    });
    let counts = counts.into_inner().unwrap();
    for (what, (total, runs)) in &counts {
        println!("{total:8} times in {runs:4} of {seeds} seeds: {what}");
    }
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "{} seeds:\n{}",
        failed.len(),
        failed.join("\n")
    );
    if seeds >= SEEDS {
        let never = races::REQUIRED
            .iter()
            .filter(|what| !counts.contains_key(*what));
        let never: Vec<_> = never.collect();
        assert!(never.is_empty(), "in no seed: {never:?}");
    }
}

#[test]
fn db_the_same_seed_gives_the_same_history() {
    for seed in [1, 2, 3, 4] {
        let [first, second] = [(); 2].map(|()| play(seed, Mutant::None, false));
        assert!(first.steps > 500, "{} steps", first.steps);
        assert_eq!(first.steps, second.steps);
        assert_eq!(first.history.digest(), second.history.digest());
    }
    let digest = |seed| play(seed, Mutant::None, false).history.digest();
    assert_ne!(digest(1), digest(2));
}

#[test]
fn db_each_mutant_is_caught_by_the_invariant_that_is_named_for_it() {
    let mut missed = Vec::new();
    for (mutant, line) in mutants::MUTANTS {
        let caught = (0..MUTANT_SEEDS).find(|seed| {
            let run = std::panic::catch_unwind(|| play(*seed, *mutant, false));
            run.is_ok_and(|world| world.broken.contains_key(line))
        });
        match caught {
            Some(seed) => println!("{mutant:?} is caught by {line} in seed {seed}"),
            None => missed.push((mutant, line)),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
    let bare = invariants::ALL
        .iter()
        .filter(|line| !mutants::MUTANTS.iter().any(|(_, by)| by == *line));
    assert_eq!(bare.count(), 0);
}

// L3 R3 R4 R8
#[test]
fn db_all_of_a_crowd_learn_of_all_and_of_a_death() {
    let nodes = crate::crowd_size();
    let crowd = crowd::run(nodes, 7);
    println!("{nodes} nodes: {crowd:?}");
    crowd.check(nodes);
}
