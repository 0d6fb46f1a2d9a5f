//! Portmesh: a secure, TLS-authenticated mesh of actors.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod manual;
pub mod proto;

#[cfg(feature = "runtime")]
pub mod api;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "runtime")]
pub mod runtime;
#[cfg(feature = "runtime")]
pub mod transport;

pub use proto::{
    id::{Incarnation, NodeId, ParseIdError, PortId, PortName},
    limits::Limits,
};
