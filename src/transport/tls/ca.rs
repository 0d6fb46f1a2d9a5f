//! A cluster's certificate authority: makes itself and its (empty) CRL, issues certificates of nodes.

use std::{
    fmt,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType, SerialNumber, date_time_ymd,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::GeneralName;
use zeroize::Zeroizing;

use super::{
    files::{self, Access, FileError},
    identity::Parts,
    leaf::{self, utc},
    name,
    node_key::{pem, private_key_pem},
};
use crate::proto::{handshake::check_cluster, id::NodeId};

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

/// The library's own type for a time, which it does not name.
macro_rules! date {
    ($time:expr) => {
        date_time_ymd(1970, 1, 1) + Duration::from_secs($time.as_secs())
    };
}

/// Why a CA cannot be made, read, or issue.
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
    /// The system gives no random bytes, or the library failed.
    #[error("a certificate cannot be made: {0}")]
    Failed(String),
}

fn failed(e: impl fmt::Display) -> CaError {
    CaError::Failed(e.to_string())
}

/// Which kind of key a certificate gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum KeyKind {
    /// Ed25519: small and quick.
    #[default]
    Ed25519,
    /// ECDSA on P-256: for hardware and tools that have no Ed25519.
    P256,
}

impl KeyKind {
    fn generate(self) -> Result<KeyPair, CaError> {
        KeyPair::generate_for(match self {
            KeyKind::Ed25519 => &PKCS_ED25519,
            KeyKind::P256 => &PKCS_ECDSA_P256_SHA256,
        })
        .map_err(failed)
    }
}

/// How a node's certificate is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssueOptions {
    /// Its key.
    pub key: KeyKind,
    /// How long it is valid from now on; never longer than its CA.
    pub life: Duration,
}

impl Default for IssueOptions {
    /// Ed25519, 90 days.
    fn default() -> Self {
        IssueOptions {
            key: KeyKind::Ed25519,
            life: 90 * DAY,
        }
    }
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
        let serial = serial()?;
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
        let crl = CertificateRevocationListParams {
            this_update: date!(start),
            next_update: date!(end),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&issuer)
        .map_err(failed)?;
        Ok(CertificateAuthority {
            cluster: cluster.to_owned(),
            crl_pem: crl.pem().map_err(failed)?,
            der: cert.der().clone(),
            issuer,
            not_after: seconds(end),
        })
    }

    /// Reads the one that [`Self::save`] wrote to that directory.
    ///
    /// # Errors
    /// When a file is missing, others can read the key, the parts do not belong together, or the CA has expired.
    pub fn load(directory: impl AsRef<Path>) -> Result<Self, CaError> {
        let directory = directory.as_ref();
        let path = directory.join(CA_FILE);
        let wrong = |e: String| CaError::Unusable(format!("{}: {e}", path.display()));
        let text = files::read(&path, FILE_BYTES_MAX, Access::Public)?;
        let key = files::read(&directory.join(KEY_FILE), FILE_BYTES_MAX, Access::Private)?;
        let crl = files::read(&directory.join(CRL_FILE), FILE_BYTES_MAX, Access::Public)?;
        let mut certs = Parts::read(&text).map_err(|e| wrong(e.to_string()))?.certs;
        let (Some(der), true) = (certs.pop(), certs.is_empty()) else {
            return Err(wrong("it is not one certificate".into()));
        };
        let cert = leaf::parse(&der).map_err(wrong)?;
        leaf::check_ca(&cert).map_err(wrong)?;
        let cluster = cluster_of(&cert).ok_or_else(|| {
            wrong(
                "it names no cluster (spiffe://<cluster>): it was not made by portmesh-cert".into(),
            )
        })?;
        let key =
            KeyPair::from_pem(&key).map_err(|e| CaError::Unusable(format!("{KEY_FILE}: {e}")))?;
        if rcgen::PublicKeyData::subject_public_key_info(&key) != cert.public_key().raw {
            return Err(CaError::Unusable(format!(
                "{KEY_FILE} is not the key of {CA_FILE}: two CAs were mixed up"
            )));
        }
        let not_after = cert.validity().not_after.timestamp();
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|e| wrong(e.to_string()))?;
        if not_after < seconds(now()) {
            return Err(CaError::Expired(utc(not_after)));
        }
        Ok(CertificateAuthority {
            cluster,
            issuer,
            der: der.clone(),
            crl_pem: crl.to_string(),
            not_after,
        })
    }

    /// Writes certificate, key (mode 0600) and CRL to that directory, which is made if there is none. Existing files
    /// are left alone, and nothing is written, unless `overwrite`.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn save(&self, directory: impl AsRef<Path>, overwrite: bool) -> Result<(), FileError> {
        let directory = directory.as_ref();
        files::create_directory(directory)?;
        let key = private_key_pem(self.issuer.key().serialized_der());
        let ca = self.certificate_pem();
        let all = [
            (KEY_FILE, key.as_bytes(), Access::Private),
            (CA_FILE, ca.as_bytes(), Access::Public),
            (CRL_FILE, self.crl_pem.as_bytes(), Access::Public),
        ];
        for (name, _, _) in &all {
            let path = directory.join(name);
            if !overwrite && path.symlink_metadata().is_ok() {
                return Err(FileError::Exists { path });
            }
        }
        for (name, bytes, access) in all {
            files::write(&directory.join(name), bytes, access, overwrite)?;
        }
        Ok(())
    }

    /// A certificate for that node with a new key: 90 days, Ed25519.
    ///
    /// # Errors
    /// [`CaError::Expired`], [`CaError::Failed`].
    pub fn issue(&self, node: &NodeId) -> Result<IssuedIdentity, CaError> {
        self.issue_with(node, IssueOptions::default())
    }

    /// A certificate for that node with a new key. It never outlives the CA.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn issue_with(
        &self,
        node: &NodeId,
        options: IssueOptions,
    ) -> Result<IssuedIdentity, CaError> {
        let now = now();
        if self.not_after <= seconds(now) {
            return Err(CaError::Expired(utc(self.not_after)));
        }
        let end = (now + options.life).min(Duration::from_secs(self.not_after.unsigned_abs()));
        let key = options.key.generate()?;
        let serial = serial()?;
        let mut params = CertificateParams::default();
        params.not_before = date!((now - BACKDATED));
        params.not_after = date!(end);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "portmesh");
        params.subject_alt_names = vec![
            SanType::URI(
                name::node_uri(&self.cluster, node)
                    .try_into()
                    .map_err(failed)?,
            ),
            SanType::DnsName(name::dns_name(&self.cluster).try_into().map_err(failed)?),
        ];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(IssuedIdentity {
            node: node.clone(),
            certificate_pem: cert.pem(),
            key_pem: private_key_pem(key.serialized_der()),
            ca_pem: self.certificate_pem(),
            crl_pem: self.crl_pem.clone(),
            not_after: seconds(end),
        })
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

/// A certificate that was just issued, with its private key.
pub struct IssuedIdentity {
    node: NodeId,
    certificate_pem: String,
    key_pem: Zeroizing<String>,
    ca_pem: String,
    crl_pem: String,
    not_after: i64,
}

impl IssuedIdentity {
    /// Everything that the node needs, in one text: key, certificate, CA, CRL. See
    /// [`Identity::from_pem_file`](super::Identity::from_pem_file).
    pub fn to_pem(&self) -> Zeroizing<String> {
        let parts: [&str; 4] = [
            &self.key_pem,
            &self.certificate_pem,
            &self.ca_pem,
            &self.crl_pem,
        ];
        let mut out = Zeroizing::new(String::with_capacity(
            parts.iter().map(|p| p.len()).sum::<usize>(),
        ));
        for part in parts {
            out.push_str(part);
        }
        out
    }

    /// Writes [`Self::to_pem`] to a file of mode 0600. An existing file is left alone unless `overwrite`.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn save(&self, path: impl AsRef<Path>, overwrite: bool) -> Result<(), FileError> {
        let text = self.to_pem();
        files::write(path.as_ref(), text.as_bytes(), Access::Private, overwrite)
    }

    /// The node that it is for.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// The certificate alone.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key alone.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// When it expires: `2027-02-22 02:31 UTC`.
    pub fn expires(&self) -> String {
        utc(self.not_after)
    }

    /// When it expires.
    pub fn not_after(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.not_after.unsigned_abs())
    }
}

impl fmt::Debug for IssuedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedIdentity")
            .field("node", &self.node)
            .field("expires", &self.expires())
            .finish_non_exhaustive()
    }
}

fn cluster_of(ca: &x509_parser::certificate::X509Certificate<'_>) -> Option<String> {
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
fn serial() -> Result<[u8; 16], CaError> {
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
