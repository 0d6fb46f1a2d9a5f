//! One peer's link: frames, lanes and windows outbound; frames and reassembly inbound.

use std::num::NonZeroU64;

pub(crate) mod control;
pub(crate) mod downs;
pub mod frame;
pub(crate) mod keepalive;
pub(crate) mod lane;
pub(crate) mod outbound;
pub(crate) mod packed;
pub(crate) mod reassembly;
pub mod sink;
mod spares;
pub(crate) mod window;

/// Names one connection or link within this node, for its whole life: never used twice. A link is one epoch (M6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub NonZeroU64);

/// What a frame of a lane counts for in a window beyond its kind and body: what it costs at least to keep it.
pub(crate) const FRAME_COST: u64 = 64;

/// What may wait in the lane of the database, in bytes, before its engine is told to wait: see
/// [`Peer::db_room`](crate::proto::node::peer::Peer::db_room).
pub const DB_BACKLOG_MAX: usize = 128 << 10;

/// How many fragmented messages a node may have open on one link; one more closes the link.
pub(crate) const OPEN_MESSAGES_MAX: usize = 256;
