//! The database between whole nodes: of one process over the in-memory network, and between processes.

mod bad_input;
mod liars;
mod members;
mod rogue;
mod shows;
mod whole;
