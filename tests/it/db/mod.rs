//! The database between whole nodes: of one process over the in-memory network, and between processes.

mod anything;
mod asks;
mod bad_input;
mod bounds;
#[cfg(unix)]
mod child;
mod homeless;
mod liars;
mod members;
mod node_port;
#[cfg(unix)]
mod processes;
mod proxy;
mod rogue;
mod shows;
mod together;
mod whole;
