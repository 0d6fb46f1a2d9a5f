//! Links between nodes, over the memory network under paused time where it may be: each test is named after what the contract promises.

mod addresses;
mod conformance;
mod db;
mod discovery;
mod flow;
mod greeting;
mod idle;
mod loss;
#[cfg(unix)]
mod processes;
pub(crate) mod rig;
mod rules;
mod seeds;
mod shutdown;
mod strangers;
mod way;
