//! What several tests share.

pub mod msgpack;
