//! One peer's link: frames, lanes and windows outbound; frames, reassembly and keepalive inbound.

use std::num::NonZeroU64;

/// Names one connection or link within this node, for its whole life: never used twice. A link is one epoch (M6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub NonZeroU64);
