//! The protocol as pure state machines: no tokio, no rustls, no clock, no randomness of its own.
//!
//! Inputs are `handle_*` methods and commands; what they ask for comes back as data. Time is a parameter
//! ([`limits::Now`]), randomness a seed or bytes given by the caller. No input panics. An import never points up:
//! `limits, id, naming, splitmix` → `value` → `codec` → `message` → `policy` → `handshake | link | peers | ports | monitor
//! | seeds | db` → `node`.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod close;
pub mod codec;
pub mod db;
pub mod handshake;
pub mod id;
pub mod limits;
pub mod link;
pub mod message;
pub mod monitor;
pub mod naming;
pub mod node;
pub mod peers;
pub mod policy;
pub mod ports;
pub mod seeds;
mod splitmix;
pub mod value;
