//! The files that a node is started from and rereads, and how a change of them is noticed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::builder::NodeBuilder;
#[cfg(feature = "config")]
use super::policy::PolicyError;
#[cfg(feature = "config")]
use crate::proto::policy::Policy;
use crate::{
    proto::handshake::Secrets,
    transport::tls::{FileError, Identity, IdentityError, SecretSourceError, crl_text},
};

/// The files that a node is started from and rereads.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    pub(super) identity: Option<PathBuf>,
    /// With the cluster's name where passphrases are allowed.
    pub(super) secrets: Option<(PathBuf, Option<String>)>,
    pub(super) crls: Vec<PathBuf>,
    pub(super) policy: Option<PathBuf>,
}

/// By which a file that was replaced or written to is told from what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    #[cfg(unix)]
    place: (u64, u64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let metadata = fs::metadata(path).ok()?;
        Some(Stamp {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            #[cfg(unix)]
            place: {
                use std::os::unix::fs::MetadataExt;
                (metadata.dev(), metadata.ino())
            },
        })
    }
}

impl Sources {
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let secrets = self.secrets.iter().map(|(path, _)| path);
        let own = self.identity.iter().chain(secrets);
        own.chain(&self.crls).chain(&self.policy)
    }
}

/// What was seen of each file before it was read last.
#[derive(Debug, Default)]
pub(super) struct Stamps(BTreeMap<PathBuf, Option<Stamp>>);

impl Stamps {
    #[cfg(feature = "config")]
    pub(super) fn extend(&mut self, others: Stamps) {
        self.0.extend(others.0);
    }

    /// Takes a look at it; whether it is another one than at the last look.
    pub(super) fn note(&mut self, path: &Path) -> bool {
        let stamp = Stamp::of(path);
        self.0.insert(path.to_owned(), stamp.clone()) != Some(stamp)
    }
}

impl NodeBuilder {
    /// The certificate from a file, as [`Identity::from_pem_file`] reads it. The running node rereads it when it changes, so
    /// that a certificate is renewed, a CA or a CRL added, by replacing the file: see
    /// [`replace_identity`](crate::Node::replace_identity).
    ///
    /// # Errors
    /// [`IdentityError`], with what to do.
    pub fn identity_file(mut self, path: impl Into<PathBuf>) -> Result<Self, IdentityError> {
        let path = path.into();
        self.stamps.note(&path);
        self.identity = Some(Identity::from_pem_file(&path)?);
        self.sources.identity = Some(path);
        Ok(self)
    }

    /// The certificate that this node proves itself with. The name of the node must be the one it certifies.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self.sources.identity = None;
        self
    }

    /// A file with further CRLs, in PEM, of the CAs of the certificate. The running node rereads it when it changes. The
    /// newest CRL of each CA counts, from wherever it came.
    ///
    /// # Errors
    /// [`FileError`] when it cannot be read. What is in it is looked at when the node starts.
    pub fn crl_file(mut self, path: impl Into<PathBuf>) -> Result<Self, FileError> {
        let path = path.into();
        self.stamps.note(&path);
        self.crls.push(crl_text(&path)?);
        self.sources.crls.push(path);
        Ok(self)
    }

    /// The secrets of the cluster from a file, one a line: see [`Secrets::from_file`]. The running node rereads it when
    /// it changes. `passphrases`: the cluster's name, where passphrases are allowed.
    ///
    /// # Errors
    /// [`SecretSourceError`], with what to do.
    pub fn secret_file(
        mut self,
        path: impl Into<PathBuf>,
        passphrases: Option<&str>,
    ) -> Result<Self, SecretSourceError> {
        let path = path.into();
        self.stamps.note(&path);
        self.secrets = Some(Secrets::from_file(&path, passphrases)?);
        self.sources.secrets = Some((path, passphrases.map(str::to_owned)));
        Ok(self)
    }

    /// The policy from a file, as [`Policy::from_toml_file`] reads it. The running node rereads it when it changes.
    ///
    /// # Errors
    /// What is wrong with it, with file and line.
    #[cfg(feature = "config")]
    pub fn policy_file(mut self, path: impl Into<PathBuf>) -> Result<Self, PolicyError> {
        let path = path.into();
        self.stamps.note(&path);
        self.policy = Some(Policy::from_toml_file(&path)?);
        self.sources.policy = Some(path);
        Ok(self)
    }
}
