//! A simulated mesh: whole nodes in virtual time, faults, and the contract checked on what happened.
//!
//! `PORTMESH_SIM_SEEDS` says how many seeds are played; `PORTMESH_SIM_SEED` plays one and prints its history.
//! `PORTMESH_SIM_NODES` says how many nodes are in the runs of many: 1000 take minutes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{cluster::Run, mutants::Mutant};

mod cluster;
mod db;
mod history;
mod host;
mod invariants;
mod mutants;
mod net;
mod plan;
mod ports;
mod races;
mod rng;
mod wire;
mod world;

/// How many seeds each run of the tests plays.
const SEEDS: u64 = 100;
/// A mutant that this many seeds do not show is not caught.
const MUTANT_SEEDS: u64 = 60;

/// Seeds that are played with bytes changed.
const CORRUPT_SEEDS: u64 = 40;

/// Nodes in the runs of many, unless more are asked for.
const CROWD: usize = 100;

fn crowd_size() -> usize {
    number("PORTMESH_SIM_NODES").map_or(CROWD, |nodes| nodes as usize)
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

fn play(seed: u64, mutant: Mutant) -> Run {
    let played = std::panic::catch_unwind(|| cluster::run(seed, mutant));
    played.unwrap_or_else(|panic| {
        eprintln!("{}", replay(seed));
        std::panic::resume_unwind(panic)
    })
}

fn replay(seed: u64) -> String {
    format!(
        "replay: PORTMESH_SIM_SEED={seed} cargo test --test sim the_contract_holds -- --nocapture"
    )
}

fn print(run: &Run) {
    for (place, entry) in run.history.entries.iter().enumerate() {
        let at = entry.at - cluster::start();
        println!(
            "{place:6} {at:>14?} {}.{} {:?}",
            entry.host, entry.life, entry.what
        );
    }
}

// P1 P2 P6 P8 P9 M2 M4 M6 M7 S1 L1 L2 L5
#[test]
fn the_contract_holds_in_every_seed_and_every_race_was_met() {
    if let Some(seed) = number("PORTMESH_SIM_SEED") {
        let run = play(seed, Mutant::None);
        print(&run);
        if let Some((line, why)) = invariants::broken(&run) {
            panic!("{line} does not hold: {why}");
        }
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
                    if seed >= seeds || failed.lock().unwrap().len() >= 10 {
                        return;
                    }
                    let run = play(seed, Mutant::None);
                    if let Some((line, why)) = invariants::broken(&run) {
                        let text =
                            format!("seed {seed}: {line} does not hold: {why}\n{}", replay(seed));
                        failed.lock().unwrap().push(text);
                    }
                    let mut counts = counts.lock().unwrap();
                    for (what, times) in races::count(&run) {
                        let (total, runs) = counts.entry(what).or_default();
                        *total += times;
                        *runs += 1;
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let counts = counts.into_inner().unwrap();
    for (what, (total, runs)) in &counts {
        println!("{total:8} times in {runs:4} of {seeds} seeds: {what}");
    }
    if seeds >= SEEDS {
        let never = races::REQUIRED
            .iter()
            .filter(|what| !counts.contains_key(*what));
        let never: Vec<_> = never.collect();
        assert!(never.is_empty(), "in no seed: {never:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [1, 2, 3, 4] {
        let (first, second) = (play(seed, Mutant::None), play(seed, Mutant::None));
        assert!(first.steps > 1000, "{} steps", first.steps);
        assert_eq!(first.steps, second.steps);
        assert_eq!(first.history.digest(), second.history.digest());
    }
    let digest = |seed| play(seed, Mutant::None).history.digest();
    assert_ne!(digest(1), digest(2));
}

#[test]
fn each_mutant_is_caught_by_the_invariant_that_is_named_for_it() {
    let mut missed = Vec::new();
    for (mutant, line) in mutants::MUTANTS {
        let caught = (0..MUTANT_SEEDS).find(|seed| {
            let run = std::panic::catch_unwind(|| cluster::run(*seed, *mutant));
            run.is_ok_and(|run| !invariants::holds(&run, line))
        });
        match caught {
            Some(seed) => println!("{mutant:?} is caught by {line} in seed {seed}"),
            None => missed.push((mutant, line)),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
    // each invariant has one
    let bare = invariants::ALL
        .iter()
        .filter(|(line, _)| !mutants::MUTANTS.iter().any(|(_, by)| by == line));
    assert_eq!(bare.count(), 0);
}

// A peer that sends anything at all: no panic, no endless run, no memory without bound.
#[test]
fn changed_bytes_harm_nothing_but_their_link() {
    let mut refused = 0;
    for seed in 0..CORRUPT_SEEDS {
        let run = cluster::run_corrupt(seed);
        for line in ["P8", "L5"] {
            assert!(invariants::holds(&run, line), "{line}, seed {seed}");
        }
        refused += races::protocol_errors(&run);
    }
    assert!(refused > CORRUPT_SEEDS, "{refused}");
}

// M2 M5 M7 L1
#[test]
fn in_a_crowd_every_monitor_on_a_dead_node_fires_and_no_other() {
    let nodes = crowd_size();
    let crowd = cluster::crowd::run(nodes, 7);
    println!("{nodes} nodes: {crowd:?}");
    assert!(crowd.on_dead >= 2 * (nodes - 3) && crowd.on_living > crowd.on_dead);
    // of which keepalives are most
    assert!(crowd.steps < 250 * crowd.links as u64, "{crowd:?}");
}
