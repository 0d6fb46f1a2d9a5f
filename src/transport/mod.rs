//! Implementations of the runtime's transport: TCP with TLS 1.3, and memory.

#[cfg(feature = "tls")]
pub(crate) mod address;
#[cfg(feature = "tls")]
mod local;
pub mod memory;
#[cfg(feature = "tls")]
mod tcp;
#[cfg(feature = "tls")]
pub mod tls;
