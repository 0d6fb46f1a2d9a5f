//! Implementations of the runtime's transport: TCP with TLS 1.3, and memory.

pub mod memory;
