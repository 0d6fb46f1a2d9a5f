//! What users hold: nodes, ports, handlers, monitors, calls. All of it is re-exported at the root of the crate.

pub mod actor;
pub mod builder;
pub mod call;
#[cfg(feature = "config")]
pub mod config;
pub mod context;
#[cfg(feature = "tls")]
pub mod credentials;
#[cfg(feature = "tls")]
mod crl;
pub mod db;
pub mod error;
pub mod events;
pub mod handler;
mod handlers;
mod host;
pub(crate) mod inner;
pub mod members;
pub mod message;
pub mod monitor;
mod more;
pub mod node;
mod node_port;
#[cfg(feature = "config")]
pub mod policy;
pub mod port;
pub mod report;
mod service;
#[cfg(feature = "tls")]
mod sources;
pub mod spawn;
mod table;
mod tied;
pub mod timer;
