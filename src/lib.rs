//! Portmesh: a secure, TLS-authenticated mesh of actors.
//!
//! A node is a process in the mesh, a port an actor in it, a [`PortId`] its name, which can be sent around. Messages,
//! monitors and spawns reach a port wherever it lives; every link between two nodes is TLS 1.3 with both sides proved.
//! [The contract](manual::contract) says what is promised, line by line, [the architecture](manual::architecture) how it
//! is built.
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

#[cfg(feature = "tls")]
pub use api::credentials::{ReloadError, ReloadFault};
#[cfg(feature = "runtime")]
pub use api::{
    actor::Actor,
    builder::NodeBuilder,
    call::{Call, Calling},
    context::{Context, Init},
    db::{Db, DbEvent, DbValue, Entry, Watch},
    error::{CallError, DbError, RunError, SendError, SpawnError, StartError, WrongState},
    events::{Events, LinkInfo, NodeEvent, NodeStats},
    handler::{Failure, Handler, Outcome},
    members::MeshNode,
    message::FromMessage,
    monitor::{Death, Monitor, Monitoring, PortMonitor, PortMonitoring},
    node::Node,
    port::{Port, PortBuilder},
    report::{DbDigest, NodeReport},
    spawn::SpawnTarget,
    timer::{After, PortAfter, PortTimer, Timer},
};
#[cfg(feature = "config")]
pub use api::{
    config::{ConfigError, ConfigFault, ConfigOrigin, ProfileBuilder},
    policy::{PolicyError, PolicyFault},
};
pub use proto::{
    codec::{Format, FormatCodec, from_value, to_value},
    db::{
        engine::Summary,
        name::{Family, WriteRefused},
    },
    handshake::{DEFAULT_CLUSTER, Mode, Secret, SecretId, Secrets},
    id::{Incarnation, NodeId, ParseIdError, PortId, PortName},
    limits::Limits,
    message::{DecodeError, EncodeError, Encoded, IntoMessage, Message, Raw, Reason},
    naming::NodePattern,
    policy::{Operation, Policy, Rule},
    ports::mailbox::Overflow,
    value::{Blob, Int, Value},
};
#[cfg(feature = "tls")]
pub use transport::tls::{
    Identity, KnownNodesFile, ReplaceError, SecretFile, ca,
    ca::{
        CaDirectory, CertificateAuthority, CertificateRequest, IssueOptions, IssuedCertificate,
        IssuedIdentity, KeyKind, NodeFile, Passphrase, TrustBundle,
    },
    inspect,
};

/// The program in the README compiles and runs.
#[cfg(all(doctest, feature = "cli"))]
#[doc = include_str!("../README.md")]
struct Readme;
