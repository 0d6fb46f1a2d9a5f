//! The mesh handshake inside TLS: AUTH1, AUTH2, READY. Bytes in, bytes out; states are consumed by value.
//!
//! ```text
//! initiator                                      responder
//! Initiator::start        -- AUTH1 -->           Responder::start
//! .handle_auth2           <-- AUTH2 --           .handle_auth1, then .answer
//! .finish                 -- READY -->           .handle_ready
//! ```
//!
//! A tag is verified over the raw bytes before the greeting that it covers is parsed. Both sides take a look at the
//! proven peer ([`InitiatorVerified::peer`], [`ResponderVerified::peer`]) before they go on, so that the caller can
//! check the peer's key against what it knows. The construction is proved in the project's symbolic models; a change
//! here changes the model first.

mod error;
mod greeting;
mod keys;
mod known;
mod negotiate;
mod renew;
mod secret;
mod secrets;
mod state;
#[cfg(test)]
mod tests;

pub use error::HandshakeError;
pub use greeting::{Greeting, Local, PeerLimits, Pick, check_cluster, check_name};
pub use known::{Credentials, Forgetful, KnownNodes, Proof};
pub use renew::{Binding, Renew};
pub use secret::{Secret, SecretError, SecretId};
#[cfg(feature = "tls")]
pub(crate) use secrets::lines as secret_lines;
pub use secrets::{Secrets, SecretsError};
pub use state::{
    Agreed, Channel, Initiator, InitiatorVerified, Responder, ResponderAnswered, ResponderVerified,
};

/// The protocol version that this code speaks.
pub const VERSION: u16 = 1;
/// The longest greeting, in bytes.
pub const GREETING_BYTES_MAX: usize = 2048;
/// The length of every tag, and so of READY, in bytes.
pub const TAG_BYTES: usize = 32;
/// The label of the exporter that binds the handshake to its TLS connection.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-portmesh-auth-v1";
/// The name of the cluster where none is given.
pub const DEFAULT_CLUSTER: &str = "portmesh";

/// How the two nodes of a connection prove their membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// By a shared secret, ALPN `portmesh-s/1`.
    Secret,
    /// By certificates of the cluster's CA, ALPN `portmesh-c/1`.
    Certificate,
}

impl Mode {
    /// Its name in the greeting.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Secret => "secret",
            Mode::Certificate => "certificate",
        }
    }
}

/// Which side of a connection: who opened it is the initiator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Opened the connection; proves first.
    Initiator,
    /// Accepted it.
    Responder,
}

impl Role {
    /// The role of the other side.
    pub fn other(self) -> Role {
        match self {
            Role::Initiator => Role::Responder,
            Role::Responder => Role::Initiator,
        }
    }
}

/// How many bytes follow the two of an AUTH1's or AUTH2's header: the greeting and its tag.
///
/// # Errors
/// [`HandshakeError::Length`] outside 1 to [`GREETING_BYTES_MAX`]: read no further.
pub fn auth_bytes_after(header: [u8; 2]) -> Result<usize, HandshakeError> {
    match usize::from(u16::from_be_bytes(header)) {
        n @ 1..=GREETING_BYTES_MAX => Ok(n + TAG_BYTES),
        n => Err(HandshakeError::Length(n)),
    }
}
