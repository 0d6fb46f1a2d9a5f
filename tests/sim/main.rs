//! A simulated mesh: whole nodes in virtual time, faults, and the contract checked on what happened.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod cluster;
mod history;
mod host;
mod invariants;
mod mutants;
mod net;
mod plan;
mod ports;
mod rng;
mod wire;
mod world;

fn main() {}
