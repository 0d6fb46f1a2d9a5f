//! What a node brings into handshakes: its secrets, and what it remembers of others.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::{HandshakeError, Secret, Secrets};
use crate::proto::id::NodeId;

/// What a node remembers of how other nodes have proved their IDs. On disk it is the file `known_nodes`.
pub trait KnownNodes: Send + Sync {
    /// Whether a node of that ID may come with that proof. May read a file.
    ///
    /// # Errors
    /// [`HandshakeError::OtherKey`] and [`HandshakeError::KnownByCertificate`].
    fn check(&self, node: &NodeId, proof: Proof) -> Result<(), HandshakeError>;
    /// The handshake is complete: checks again and remembers, in one step. May write a file.
    ///
    /// # Errors
    /// As [`Self::check`]; and when what must be remembered cannot be.
    fn learn(&self, node: &NodeId, proof: Proof) -> Result<(), HandshakeError>;
    /// Whether [`Self::learn`] would neither read nor write a file, and so keeps nobody waiting.
    fn is_quick(&self, node: &NodeId, proof: Proof) -> bool;
}

/// How a node has proved its ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// By the secret, with a key of that digest (SHA-256 of the SubjectPublicKeyInfo).
    Key([u8; 32]),
    /// By a certificate.
    Certificate,
}

/// Remembers for the life of the process only which IDs came by certificate, and pins no keys.
#[derive(Debug, Default)]
pub struct Forgetful(Mutex<BTreeSet<NodeId>>);

/// How many IDs [`Forgetful`] remembers.
const CERTIFIED_MAX: usize = 65_536;

impl KnownNodes for Forgetful {
    fn check(&self, node: &NodeId, proof: Proof) -> Result<(), HandshakeError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match proof {
            Proof::Key(_) if known.contains(node) => {
                Err(HandshakeError::KnownByCertificate(node.clone()))
            }
            _ => Ok(()),
        }
    }

    fn learn(&self, node: &NodeId, proof: Proof) -> Result<(), HandshakeError> {
        self.check(node, proof)?;
        if proof == Proof::Certificate {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() < CERTIFIED_MAX {
                known.insert(node.clone());
            }
        }
        Ok(())
    }

    fn is_quick(&self, _: &NodeId, _: Proof) -> bool {
        true
    }
}

/// What a node proves its membership with, and what it remembers of others. Has no `Debug` of secrets.
#[derive(Clone)]
pub struct Credentials {
    /// The accepted secrets, the current one first; `None` where only certificates count.
    pub secrets: Option<Secrets>,
    /// What is remembered of other nodes.
    pub known: Arc<dyn KnownNodes>,
    in_process: bool,
}

impl Credentials {
    /// Certificates only.
    pub fn certificate() -> Self {
        Credentials {
            secrets: None,
            known: Arc::new(Forgetful::default()),
            in_process: false,
        }
    }

    /// Those secrets, with nothing pinned.
    pub fn secret(secrets: impl Into<Secrets>) -> Self {
        Credentials {
            secrets: Some(secrets.into()),
            known: Arc::new(Forgetful::default()),
            in_process: false,
        }
    }

    /// For the in-memory transport, which nobody else can reach: a secret that everybody knows. On any other connection
    /// it counts as none.
    pub fn in_memory() -> Self {
        Credentials {
            in_process: true,
            ..Credentials::secret(Secret::from_bytes(*b"only for nodes of one process!!!"))
        }
    }

    /// Whether the secret is that of [`Self::in_memory`].
    pub fn only_in_process(&self) -> bool {
        self.in_process
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}
