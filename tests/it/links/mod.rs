//! Links between nodes, over the memory network under paused time: each test is named after what the contract promises.

mod conformance;
mod db;
mod flow;
mod idle;
mod loss;
#[cfg(unix)]
mod processes;
mod rig;
mod rules;
mod seeds;
mod shutdown;
mod strangers;
mod way;
