//! A cluster's certificate authority: makes itself and its (empty) CRL, issues certificates of nodes.

mod bundle;
mod crl;
mod directory;
mod issue;
mod keys;
mod node_file;
mod request;
mod serial;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::GeneralName;

pub use self::{
    bundle::TrustBundle,
    crl::{Crl, RevocationReason, Revoked},
    directory::{CaDirectory, CaLock, Issued},
    issue::{IssueOptions, IssuedCertificate, IssuedIdentity},
    keys::{KeyKind, Passphrase},
    node_file::{NodeFile, read_private_key, save_private_key},
    request::CertificateRequest,
    serial::Serial,
};
pub(super) use self::{crl::parse as parse_crl, request::describe_key};
use super::{files::FileError, leaf::utc, node_key::pem};
use crate::proto::handshake::check_cluster;

const DAY: Duration = Duration::from_secs(86_400);
/// Five years.
const CA_LIFE: Duration = Duration::from_secs(5 * 365 * 86_400 + 86_400);
/// Clocks differ: what is made now is valid already.
const BACKDATED: Duration = Duration::from_secs(300);
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The CA's certificate, in the CA's directory; every node gets it.
pub const CA_FILE: &str = "ca.pem";
/// The CA's private key, in the CA's directory; it never leaves it.
pub const KEY_FILE: &str = "ca-key.pem";
/// What the CA has revoked, in the CA's directory; every node gets it.
pub const CRL_FILE: &str = "ca-crl.pem";
/// Copies of the certificates that the CA issued, in the CA's directory.
pub const ISSUED_DIRECTORY: &str = "issued";

/// The library's own type for a time, which it does not name.
macro_rules! date {
    ($time:expr) => {
        rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs($time.as_secs())
    };
}
use date;

/// Why a CA cannot be made, read, or issue. Says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The name of the cluster is not allowed.
    #[error("{0}")]
    ClusterName(String),
    /// The directory holds something else than a CA of this kind.
    #[error("{0}")]
    Unusable(String),
    /// The CA has expired.
    #[error("the CA expired on {0}; make a new one with `portmesh-cert ca init`")]
    Expired(String),
    /// The CA's key is encrypted, and no passphrase was given.
    #[error("{0} is encrypted: its passphrase is needed")]
    Encrypted(String),
    /// The passphrase is another one.
    #[error("the passphrase is not that of {0}, or the file is damaged")]
    WrongPassphrase(String),
    /// The passphrase is too easily guessed, or there is none.
    #[error("{0}")]
    WeakPassphrase(String),
    /// A request for a certificate that cannot be granted.
    #[error("the request cannot be used: {0}")]
    Request(String),
    /// A certificate with the same key was revoked.
    #[error(
        "a certificate with this key was revoked (serial {0}), and so the key counts as lost: make a new one"
    )]
    RevokedKey(Serial),
    /// Another process changes the CA.
    #[error(
        "another portmesh-cert is changing this CA; if none runs, one was interrupted: remove {}", .0.display()
    )]
    Busy(PathBuf),
    /// The system gives no random bytes, or the library failed.
    #[error("a certificate cannot be made: {0}")]
    Failed(String),
}

fn failed(e: impl fmt::Display) -> CaError {
    CaError::Failed(e.to_string())
}

/// A certificate authority with its private key.
///
/// ```
/// use portmesh::transport::tls::{Identity, ca::CertificateAuthority};
/// let ca = CertificateAuthority::create("example")?;
/// let issued = ca.issue(&"worker/a".parse()?)?;
/// let identity = Identity::from_pem(&issued.to_pem())?;
/// assert_eq!(identity.node().as_str(), "worker/a");
/// assert_eq!(identity.cluster(), "example");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CertificateAuthority {
    cluster: String,
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    crl_pem: String,
    not_after: i64,
    /// SHA-256 of the keys of revoked certificates, as far as there are copies of these.
    revoked_keys: BTreeMap<[u8; 32], Serial>,
}

impl CertificateAuthority {
    /// A new one for that cluster, valid for five years, that may issue to nodes and to no further CAs; with an empty
    /// CRL of the same life. Nothing is written.
    ///
    /// # Errors
    /// [`CaError::ClusterName`]; [`CaError::Failed`] without randomness.
    pub fn create(cluster: &str) -> Result<Self, CaError> {
        Self::create_with_key(cluster, KeyKind::Ed25519)
    }

    /// A new one whose key is of that kind.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_with_key(cluster: &str, key: KeyKind) -> Result<Self, CaError> {
        check_cluster(cluster).map_err(CaError::ClusterName)?;
        let key = key.generate()?;
        let serial = random_serial()?;
        let tag: String = serial.iter().take(4).map(|b| format!("{b:02x}")).collect();
        let now = now();
        let (start, end) = (now - BACKDATED, now + CA_LIFE);
        let mut params = CertificateParams::default();
        params.not_before = date!(start);
        params.not_after = date!(end);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "portmesh");
        params
            .distinguished_name
            .push(DnType::CommonName, format!("{cluster} CA {tag}"));
        // By which a CA that is read from its files knows its cluster again.
        params.subject_alt_names = vec![SanType::URI(
            format!("spiffe://{cluster}").try_into().map_err(failed)?,
        )];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let cert = params.self_signed(&key).map_err(failed)?;
        let issuer = Issuer::new(params, key);
        Ok(CertificateAuthority {
            cluster: cluster.to_owned(),
            crl_pem: crl::sign(&issuer, seconds(end), 1, &[])?,
            der: cert.der().clone(),
            issuer,
            not_after: seconds(end),
            revoked_keys: BTreeMap::new(),
        })
    }

    /// Reads the one in that directory: [`CaDirectory::open`] with a passphrase.
    ///
    /// # Errors
    /// As there.
    pub fn load_encrypted(
        directory: impl AsRef<Path>,
        passphrase: &Passphrase,
    ) -> Result<Self, CaError> {
        CaDirectory::new(directory.as_ref()).open(Some(passphrase))
    }

    /// Reads the one in that directory, whose key is not encrypted: [`CaDirectory::open`] without a passphrase.
    ///
    /// # Errors
    /// As there; [`CaError::Encrypted`].
    pub fn load(directory: impl AsRef<Path>) -> Result<Self, CaError> {
        CaDirectory::new(directory.as_ref()).open(None)
    }

    fn check_not_expired(&self) -> Result<(), CaError> {
        if self.not_after <= seconds(now()) {
            return Err(CaError::Expired(utc(self.not_after)));
        }
        Ok(())
    }

    /// Its cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Its certificate, which every node gets.
    pub fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    /// What it has revoked, which every node gets.
    pub fn crl_pem(&self) -> &str {
        &self.crl_pem
    }

    /// When it expires: `2031-11-25 02:31 UTC`.
    pub fn expires(&self) -> String {
        utc(self.not_after)
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("cluster", &self.cluster)
            .field("expires", &self.expires())
            .finish_non_exhaustive()
    }
}

/// The cluster that a CA names.
pub(super) fn cluster_of(ca: &x509_parser::certificate::X509Certificate<'_>) -> Option<String> {
    let names = ca.subject_alternative_name().ok()??.value;
    names.general_names.iter().find_map(|n| match n {
        GeneralName::URI(uri) => uri
            .strip_prefix("spiffe://")
            .filter(|c| check_cluster(c).is_ok())
            .map(str::to_owned),
        _ => None,
    })
}

/// 127 random bits, positive.
fn random_serial() -> Result<[u8; 16], CaError> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| failed("the system gives no random bytes"))?;
    if let Some(first) = bytes.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    Ok(bytes)
}

/// Since 1970.
fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(BACKDATED)
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// A time for people: `2027-02-22 02:31 UTC`.
///
/// ```
/// use portmesh::transport::tls::ca::utc_text;
/// assert_eq!(utc_text(std::time::UNIX_EPOCH), "1970-01-01 00:00 UTC");
/// ```
pub fn utc_text(time: SystemTime) -> String {
    utc(whole_seconds(time))
}

/// Since 1970, negative before.
fn whole_seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => seconds(after),
        Err(e) => -seconds(e.duration()),
    }
}
