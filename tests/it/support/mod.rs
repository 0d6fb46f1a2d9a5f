//! What several tests share.

pub(crate) mod log;
pub(crate) mod msgpack;
