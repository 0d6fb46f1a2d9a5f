//! A node's certificate, its key, and the CAs of its cluster.

use std::{
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    crypto::ring::sign::any_supported_type,
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime,
        pem::{PemObject, SectionKind},
    },
    sign::CertifiedKey,
};
use zeroize::Zeroizing;

use super::{
    crl::Crl,
    explain,
    files::{self, Access, FileError},
    leaf::{self, Leaf, time, utc},
    verify::{Side, Trust},
};
use crate::proto::id::NodeId;

const FILE_BYTES_MAX: u64 = 16 << 20;
/// The organisation in the test CA of this project's source, whose keys everybody has.
const PUBLIC_FIXTURE: &str = "portmesh public test fixture";

/// Why there is no usable identity. Says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The text is not PEM, or lacks a part, or the parts do not belong together.
    #[error("{0}")]
    Unusable(String),
}

fn unusable(text: impl Into<String>) -> IdentityError {
    IdentityError::Unusable(text.into())
}

/// What a node of certificate mode proves itself with: certificate chain, private key, the CA bundle that it trusts,
/// and the CRLs of those CAs. Node ID and cluster are what the certificate says. Checked when made: the key belongs
/// to the certificate, the certificate is valid now, is of one of the CAs, and has all that peers will ask for.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    key: Arc<CertifiedKey>,
    leaf: Leaf,
    trust: Arc<Trust>,
    cas: Vec<CertificateDer<'static>>,
    crls: Vec<CertificateRevocationListDer<'static>>,
    fixture: bool,
}

impl Identity {
    /// From one file that has it all, as `portmesh-cert issue` writes it: private key, certificate (and certificates of
    /// CAs in between), CA certificates, CRLs, in any order. Only its owner may be able to read it.
    ///
    /// # Errors
    /// [`IdentityError`], with what to do.
    pub fn from_pem_file(path: impl AsRef<Path>) -> Result<Self, IdentityError> {
        let path = path.as_ref();
        let text = files::read_as_it_needs(path, FILE_BYTES_MAX)?;
        Self::from_pem(&text).map_err(|e| unusable(format!("{}: {e}", path.display())))
    }

    /// From separate files: the certificate and those of CAs in between; the private key, which only its owner may be
    /// able to read; the CA certificates and their CRLs.
    ///
    /// # Errors
    /// [`IdentityError`], with what to do.
    pub fn from_pem_files(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
        ca: impl AsRef<Path>,
    ) -> Result<Self, IdentityError> {
        let read = |path: &Path, access| -> Result<Parts, IdentityError> {
            let text = files::read(path, FILE_BYTES_MAX, access)?;
            Parts::read(&text).map_err(|e| unusable(format!("{}: {e}", path.display())))
        };
        let (key_path, ca_path) = (key.as_ref(), ca.as_ref());
        let chain = read(chain.as_ref(), Access::Public)?;
        let key = read(key_path, Access::Private)?;
        let ca = read(ca_path, Access::Public)?;
        if !chain.keys.is_empty() || !ca.keys.is_empty() {
            return Err(unusable(
                "a file for certificates has a private key in it; keep it in the key file alone",
            ));
        }
        Self::new(
            key.keys,
            chain.certs,
            ca.certs,
            [chain.crls, ca.crls].concat(),
        )
    }

    /// As [`Self::from_pem_file`], from text.
    ///
    /// # Errors
    /// [`IdentityError::Unusable`].
    pub fn from_pem(text: &str) -> Result<Self, IdentityError> {
        let parts = Parts::read(text)?;
        // Who signed itself is a CA of the bundle, the rest is this node's chain.
        let (mut chain, mut cas) = (Vec::new(), Vec::new());
        for der in parts.certs {
            let cert = leaf::parse(&der).map_err(|e| unusable(format!("a certificate: {e}")))?;
            let own = cert.subject().as_raw() == cert.issuer().as_raw();
            if own { &mut cas } else { &mut chain }.push(der.clone());
        }
        Self::new(parts.keys, chain, cas, parts.crls)
    }

    fn new(
        keys: Vec<Key>,
        mut chain: Vec<CertificateDer<'static>>,
        cas: Vec<CertificateDer<'static>>,
        crls: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<Self, IdentityError> {
        let [key] = <[Key; 1]>::try_from(keys).map_err(|keys| {
            unusable(match keys.len() {
                0 => "there is no private key: where it is, `portmesh-cert assemble` puts both together".to_owned(),
                n => format!("there are {n} private keys instead of one"),
            })
        })?;
        if chain.is_empty() {
            return Err(unusable("there is no certificate of a node"));
        }
        if cas.is_empty() {
            return Err(unusable(
                "there is no CA certificate: append the CA's to the file",
            ));
        }
        let key = key.load()?;
        let public = key
            .public_key()
            .ok_or_else(|| unusable("the private key is of a kind that is not supported"))?;
        let at = chain
            .iter()
            .position(|der| leaf::parse(der).is_ok_and(|c| c.public_key().raw == public.as_ref()))
            .ok_or_else(|| {
                unusable(
                    "the private key belongs to none of the certificates: two files were mixed up",
                )
            })?;
        let end_entity = chain.remove(at);
        let leaf = Leaf::read(&end_entity)
            .map_err(|e| unusable(format!("the certificate cannot be used: {e}")))?;
        let trust = Trust::new(&leaf.cluster, &cas, &crls).map_err(unusable)?;
        let now = UnixTime::now();
        for side in [Side::Server, Side::Client] {
            trust.verify(&end_entity, &chain, side, now).map_err(|e| {
                unusable(format!(
                    "the certificate of {}: {}",
                    leaf.node,
                    explain::fault(&e)
                ))
            })?;
        }
        let fixture = cas.iter().any(|der| {
            leaf::parse(der).is_ok_and(|ca| {
                ca.subject()
                    .iter_organization()
                    .any(|o| o.as_str() == Ok(PUBLIC_FIXTURE))
            })
        });
        chain.insert(0, end_entity);
        Ok(Identity(Arc::new(Inner {
            key: Arc::new(CertifiedKey::new(chain, key)),
            leaf,
            trust: Arc::new(trust),
            cas,
            crls,
            fixture,
        })))
    }

    /// The node that the certificate is for.
    pub fn node(&self) -> &NodeId {
        &self.0.leaf.node
    }

    /// The cluster that it belongs to.
    pub fn cluster(&self) -> &str {
        &self.0.leaf.cluster
    }

    /// When the certificate expires.
    pub fn not_after(&self) -> SystemTime {
        time(self.0.leaf.not_after)
    }

    /// When it should be renewed: two thirds of its life.
    pub fn renew_after(&self) -> SystemTime {
        let life = self.0.leaf.not_after - self.0.leaf.not_before;
        time(self.0.leaf.not_after - life / 3)
    }

    /// How long it is valid in all.
    pub fn life(&self) -> Duration {
        let life = self.0.leaf.not_after - self.0.leaf.not_before;
        Duration::from_secs(u64::try_from(life).unwrap_or(0))
    }

    /// The certificate's serial number, hexadecimal with colons.
    pub fn serial(&self) -> &str {
        &self.0.leaf.serial
    }

    /// Whether its key is published with this project's source. Such an identity works on loopback addresses only.
    pub fn is_public_fixture(&self) -> bool {
        self.0.fixture
    }

    /// The same with further CRLs. That one of them revokes this very certificate is no error: it is for others to act on.
    pub(super) fn with_crls(&self, more: &[Crl]) -> Result<Self, String> {
        let inner = &self.0;
        let more = more.iter().map(|crl| crl.der.clone());
        let crls: Vec<_> = inner.crls.iter().cloned().chain(more).collect();
        Ok(Identity(Arc::new(Inner {
            key: Arc::clone(&inner.key),
            leaf: inner.leaf.clone(),
            trust: Arc::new(Trust::new(&inner.leaf.cluster, &inner.cas, &crls)?),
            cas: inner.cas.clone(),
            crls,
            fixture: inner.fixture,
        })))
    }

    /// The CRLs of its CAs; of several of one CA perhaps only one counts.
    pub(super) fn crls(&self) -> Vec<Crl> {
        let read = |der: &CertificateRevocationListDer<'static>| Crl::read(der, &self.0.cas).ok();
        self.0.crls.iter().filter_map(read).collect()
    }

    pub(super) fn read_crl(&self, der: &[u8]) -> Result<Crl, String> {
        Crl::read(der, &self.0.cas)
    }

    pub(super) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.key)
    }

    pub(super) fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.0.trust)
    }

    pub(super) fn key_digest(&self) -> [u8; 32] {
        self.0.leaf.key
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("node", self.node())
            .field("cluster", &self.cluster())
            .field("serial", &self.serial())
            .field("not_after", &utc(self.0.leaf.not_after))
            .finish_non_exhaustive()
    }
}

/// A private key as PEM has it.
pub(super) struct Key(SectionKind, Zeroizing<Vec<u8>>);

impl Key {
    pub(super) fn der(&self) -> &[u8] {
        &self.1
    }

    pub(super) fn load(&self) -> Result<Arc<dyn rustls::sign::SigningKey>, IdentityError> {
        let bytes = self.1.as_slice();
        let der = match self.0 {
            SectionKind::RsaPrivateKey => PrivateKeyDer::Pkcs1(bytes.into()),
            SectionKind::EcPrivateKey => PrivateKeyDer::Sec1(bytes.into()),
            _ => PrivateKeyDer::Pkcs8(bytes.into()),
        };
        any_supported_type(&der).map_err(|_| {
            unusable(
                "the private key cannot be used: it must be Ed25519, ECDSA P-256 or P-384, or RSA of 2048 bits or more",
            )
        })
    }
}

/// What a PEM text consists of.
pub(super) struct Parts {
    pub(super) keys: Vec<Key>,
    pub(super) certs: Vec<CertificateDer<'static>>,
    pub(super) crls: Vec<CertificateRevocationListDer<'static>>,
}

impl Parts {
    pub(super) fn read(text: &str) -> Result<Self, IdentityError> {
        let mut parts = Parts {
            keys: Vec::new(),
            certs: Vec::new(),
            crls: Vec::new(),
        };
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
            let (kind, der) = section.map_err(|e| unusable(format!("it is not PEM: {e}")))?;
            match kind {
                SectionKind::PrivateKey
                | SectionKind::RsaPrivateKey
                | SectionKind::EcPrivateKey => {
                    parts.keys.push(Key(kind, Zeroizing::new(der)));
                }
                SectionKind::Certificate => parts.certs.push(der.into()),
                SectionKind::Crl => parts.crls.push(der.into()),
                _ => {}
            }
        }
        if parts.keys.is_empty() && text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            return Err(unusable(
                "the private key is encrypted; decrypt it with `openssl pkey` into a file of mode 0600",
            ));
        }
        if parts.keys.is_empty() && parts.certs.is_empty() && parts.crls.is_empty() {
            return Err(unusable("it has no PEM in it (-----BEGIN …)"));
        }
        Ok(parts)
    }
}
