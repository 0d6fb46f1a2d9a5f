//! The database between whole nodes: of one process over the in-memory network, and between processes.

mod anything;
mod bad_input;
mod bounds;
mod liars;
mod members;
mod proxy;
mod rogue;
mod shows;
mod together;
mod whole;
