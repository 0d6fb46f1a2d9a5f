//! The replicated database (R1–R10): who owns what, how it travels, and what of it shows.
//!
//! Every node writes a *shard* of its own: entries of (family, key, value), each change with the next number of that
//! shard. A shard at a version is the same everywhere, so that two nodes that meet compare one number an owner and send
//! what is above it. Global nodes hold all shards; every other node is attached to one of them, its home, sends it its
//! shard, and takes from it what it asks for.
//!
//! A shard shows while some global node that can be reached lists its owner as attached. Only what its owner's home took
//! is passed on. Where several nodes own one key, the latest by hybrid logical clock shows.
//!
//! The parts: [`shard`] is one owner's entries, `store` all of them with the merged families, `roster` who lives,
//! `feed` what a peer lacks, [`watch`] what a reader was told, and [`engine`] puts them together: inputs are method
//! calls, what they ask for comes out of [`engine::Db::poll_output`] and [`engine::Db::transmit`].

pub mod clock;
mod deadlines;
pub mod engine;
mod feed;
pub mod item;
pub mod name;
mod roster;
pub mod shard;
mod store;
pub mod watch;
pub mod wire;

#[cfg(test)]
mod tests;
