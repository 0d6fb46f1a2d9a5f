//! What a node proves itself with, replaced while it runs: by the program, or reread from its files.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, SystemTime},
};

#[cfg(feature = "config")]
use super::policy::PolicyError;
use super::{
    events::NodeEvent,
    inner::NodeInner,
    node::Node,
    sources::{Sources, Stamps},
};
#[cfg(feature = "config")]
use crate::proto::policy::Policy;
use crate::{
    proto::handshake::Secrets,
    runtime::{events::EventSender, transport::Transport},
    transport::tls::{
        FileError, Identity, IdentityError, ReplaceError, SecretSourceError, TlsTransport, crl_text,
    },
};

/// How often files are looked at for changes.
const LOOK: Duration = Duration::from_secs(2);
const DAY: Duration = Duration::from_secs(86_400);
/// Before a certificate expires it is said this early, and when it has.
const WARNINGS: [Duration; 4] = [
    Duration::from_secs(30 * 86_400),
    Duration::from_secs(7 * 86_400),
    DAY,
    Duration::ZERO,
];

/// Why a file was not taken. What the node had before goes on to count.
#[derive(Debug, thiserror::Error)]
#[error("{} is not taken, what was there before stays", path.display())]
pub struct ReloadError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: ReloadFault,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadFault {
    /// It holds no usable certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// It holds no usable secrets.
    #[error(transparent)]
    Secrets(#[from] SecretSourceError),
    /// It holds no usable policy.
    #[cfg(feature = "config")]
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not for this node.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
}

/// What a node's mesh is protected by, and the files that it came from.
pub(super) struct Live {
    pub(super) transport: Arc<TlsTransport>,
    pub(super) sources: Sources,
    stamps: Mutex<Stamps>,
}

impl Live {
    pub(super) fn new(transport: Arc<TlsTransport>, sources: Sources, stamps: Stamps) -> Self {
        Live {
            transport,
            sources,
            stamps: Mutex::new(stamps),
        }
    }

    fn has_files(&self) -> bool {
        self.sources.paths().next().is_some()
    }

    /// The files that are not what they were when they were read last. They count as read.
    fn changed(&self) -> Vec<PathBuf> {
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let paths = self.sources.paths().filter(|path| stamps.note(path));
        paths.cloned().collect()
    }
}

impl Node {
    /// Replaces the certificate of this node, with the CAs and CRLs that others are judged by, while it runs. Connections
    /// begin with it from now on; over the links that are up it is proved to the other nodes, so that none of them is
    /// lost when the former one expires. Links of nodes whose own certificates are not acceptable any more end within
    /// 10 s. CRLs that this node has and that are newer go on to count.
    ///
    /// A certificate that came from [a file](super::builder::NodeBuilder::identity_file) is replaced by itself when the
    /// file changes.
    ///
    /// # Errors
    /// [`ReplaceError`]; the former certificate stays.
    pub fn replace_identity(&self, identity: Identity) -> Result<(), ReplaceError> {
        self.live()?.transport.replace_identity(identity)?;
        self.credentials_changed();
        Ok(())
    }

    /// Replaces the secrets of this node while it runs. Links of nodes that do not prove within 5 s that they have one of
    /// the new ones end within 10 s; so a new secret is added everywhere, then made the current one everywhere, and then
    /// the old one is removed.
    ///
    /// # Errors
    /// [`ReplaceError::NoSecret`] where the node was started without one; [`ReplaceError::NoMesh`].
    pub fn replace_secrets(&self, secrets: impl Into<Secrets>) -> Result<(), ReplaceError> {
        let mesh = self.inner().mesh.get().ok_or(ReplaceError::NoMesh)?;
        match mesh.set_secrets(secrets.into()) {
            true => Ok(()),
            false => Err(ReplaceError::NoSecret),
        }
    }

    /// Takes a list of revoked certificates, in PEM, of one of the CAs that this node trusts. Links of nodes whose
    /// certificates it revokes end within 10 s. `false`: one that is as new is there already.
    ///
    /// # Errors
    /// [`ReplaceError::Crl`], [`ReplaceError::SecretMode`], [`ReplaceError::NoMesh`]. Where the text holds several lists,
    /// those that are not at fault have been taken.
    pub fn add_crl(&self, pem: &str) -> Result<bool, ReplaceError> {
        let transport = &self.live()?.transport;
        let before = transport.generation();
        let taken = transport.add_crls(pem);
        if transport.generation() != before {
            self.credentials_changed();
        }
        taken
    }

    /// The certificate that this node proves itself with now; `None` in secret mode and without a mesh.
    pub fn identity(&self) -> Option<Identity> {
        self.live().ok()?.transport.identity()
    }

    /// Rereads the files that this node was started from, as it does by itself within a few seconds after they change.
    /// The files that were taken. Blocks while it reads; each passphrase takes about a second.
    ///
    /// # Errors
    /// What is wrong with the first file that was not taken. The others were, and what that one held before stays.
    pub fn reload(&self) -> Result<Vec<PathBuf>, ReloadError> {
        let Ok(live) = self.live() else {
            return Ok(Vec::new());
        };
        let mut taken = Vec::new();
        let mut failed = None;
        for path in live.sources.paths() {
            match self.reread(path) {
                Ok(()) => taken.push(path.clone()),
                Err(error) => {
                    tell(&error);
                    failed = failed.or(Some(error));
                }
            }
        }
        failed.map_or(Ok(taken), Err)
    }

    /// The CRLs that count here and revoke something, in PEM: of each CA the newest one, from wherever it came.
    pub fn crls(&self) -> String {
        let live = self.live();
        live.map(|live| live.transport.crls_in_force().concat())
            .unwrap_or_default()
    }

    /// News that certificates or secrets were replaced.
    pub(super) fn renewals(&self) -> Option<tokio::sync::watch::Receiver<()>> {
        Some(self.inner().mesh.get()?.renewals())
    }

    fn live(&self) -> Result<&Live, ReplaceError> {
        self.inner().live.get().ok_or(ReplaceError::NoMesh)
    }

    fn credentials_changed(&self) {
        if let Some(mesh) = self.inner().mesh.get() {
            mesh.credentials_changed();
        }
    }

    fn reread(&self, path: &Path) -> Result<(), ReloadError> {
        self.try_reread(path).map_err(|source| ReloadError {
            path: path.to_owned(),
            source,
        })
    }

    fn try_reread(&self, path: &Path) -> Result<(), ReloadFault> {
        let sources = &self.live()?.sources;
        if sources.identity.as_deref() == Some(path) {
            self.replace_identity(Identity::from_pem_file(path)?)?;
        }
        if let Some((from, passphrases)) = &sources.secrets
            && from == path
        {
            self.replace_secrets(Secrets::from_file(path, passphrases.as_deref())?)?;
        }
        if sources.crls.iter().any(|crl| crl == path) {
            self.add_crl(&crl_text(path)?)?;
        }
        #[cfg(feature = "config")]
        if sources.policy.as_deref() == Some(path) {
            self.set_policy(Policy::from_toml_file(path)?);
        }
        tracing::info!(file = %path.display(), "reread");
        Ok(())
    }
}

fn tell(error: &ReloadError) {
    let fault = &error.source;
    let cause = std::error::Error::source(fault).map(ToString::to_string);
    tracing::error!(%fault, cause = cause.unwrap_or_default(), "{error}");
}

/// Rereads files when they change, and warns before the certificate expires, until the node ends.
pub(super) async fn watch(node: Weak<NodeInner>, events: EventSender) {
    let mut told = Told::default();
    // the files were read just now
    let mut has_started = false;
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(node) = node.upgrade().map(Node::from_inner) else {
            return;
        };
        if let Some(identity) = node.identity()
            && let Some(left) = told.warning(&identity, SystemTime::now())
        {
            warn(&identity, left);
            events.send(NodeEvent::Expires {
                expires: identity.not_after(),
            });
        }
        let has_files = node.live().is_ok_and(Live::has_files);
        if !std::mem::replace(&mut has_started, true) || !has_files {
            continue;
        }
        // files may be on a slow disk
        let looked = tokio::task::spawn_blocking(move || look(&node)).await;
        if let Err(error) = looked {
            tracing::error!(%error, "looking at the files failed");
        }
    }
}

fn look(node: &Node) {
    let Ok(live) = node.live() else { return };
    for path in live.changed() {
        if let Err(error) = node.reread(&path) {
            tell(&error);
        }
    }
}

fn warn(identity: &Identity, left: Duration) {
    let (node, serial) = (identity.node(), identity.serial());
    let days = left.as_secs() / DAY.as_secs();
    if left.is_zero() {
        tracing::error!(%node, serial, "this node's certificate has expired: other nodes refuse it; renew it");
    } else if left <= DAY {
        tracing::error!(%node, serial, hours = left.as_secs() / 3600, "this node's certificate expires within a day: renew it");
    } else {
        tracing::warn!(%node, serial, days, "this node's certificate expires soon: renew it");
    }
}

/// Which warnings were given, of which certificate.
#[derive(Default)]
struct Told {
    serial: String,
    count: usize,
}

impl Told {
    /// How long the certificate is still valid, where that has to be said now. What is longer than the whole of its life
    /// need not.
    fn warning(&mut self, identity: &Identity, now: SystemTime) -> Option<Duration> {
        if self.serial != identity.serial() {
            self.serial = identity.serial().to_owned();
            self.count = 0;
        }
        let left = identity.not_after().duration_since(now);
        let left = left.unwrap_or_default();
        let life = identity.life();
        let due = WARNINGS.iter().filter(|at| **at < life && left <= **at);
        let due = due.count();
        (due > std::mem::replace(&mut self.count, due)).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{CertificateAuthority, IssueOptions};

    fn identity(days: u32) -> Identity {
        let ca = CertificateAuthority::create("test").unwrap();
        let life = DAY * days;
        let options = IssueOptions {
            life,
            ..IssueOptions::default()
        };
        let issued = ca.issue_with(&"a".parse().unwrap(), options).unwrap();
        Identity::from_pem(&issued.to_pem()).unwrap()
    }

    #[test]
    fn each_warning_is_given_once_and_again_for_another_certificate() {
        let mut told = Told::default();
        for _ in 0..2 {
            let identity = identity(90);
            let mut at = |hours: u64| {
                let now = identity.not_after() - Duration::from_secs(hours * 3600);
                told.warning(&identity, now)
                    .map(|left| left.as_secs() / 3600)
            };
            assert_eq!(at(90 * 24), None);
            assert_eq!(at(31 * 24), None);
            assert_eq!(at(30 * 24), Some(720));
            assert_eq!(at(8 * 24), None);
            assert_eq!(at(7 * 24), Some(168));
            assert_eq!(at(25), None);
            assert_eq!(at(3), Some(3), "what was missed is not told twice");
            assert_eq!(at(1), None);
            assert_eq!(at(0), Some(0));
        }
    }

    #[test]
    fn a_short_life_is_not_warned_of_from_its_beginning() {
        let (mut told, identity) = (Told::default(), identity(10));
        let mut left = |days: u32| told.warning(&identity, identity.not_after() - DAY * days);
        assert_eq!(left(10), None);
        assert_eq!(left(7), Some(DAY * 7));
    }
}
