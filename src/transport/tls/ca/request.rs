//! Requests for certificates (CSR): made where the key is, and read where the CA is.

use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData};
use rustls::pki_types::pem::{PemObject, SectionKind};
use x509_parser::{
    certification_request::X509CertificationRequest, prelude::FromDer, public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};
use zeroize::Zeroizing;

use super::{CaError, FILE_BYTES_MAX, KeyKind, failed};
use crate::{
    proto::id::NodeId,
    transport::tls::{
        files::{self, Access, FileError},
        leaf::sha256,
        node_key::{self, private_key_pem},
    },
};

const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 8192;
const COMMON_NAME_BYTES_MAX: usize = 64;

/// A request for a certificate, with proof that who made it has the private key. From a request the CA takes the
/// public key alone; what else it asks for counts for nothing.
///
/// ```
/// use portmesh::{CertificateAuthority, CertificateRequest, IssueOptions, KeyKind};
/// // where the node is
/// let (key, request) = CertificateRequest::generate(&"worker/a".parse()?, KeyKind::Ed25519)?;
/// // where the CA is
/// let ca = CertificateAuthority::create("example")?;
/// let request = CertificateRequest::from_pem(request.pem())?;
/// let signed = ca.sign(&"worker/a".parse()?, &request, IssueOptions::default().life)?;
/// assert_eq!(signed.node().as_str(), "worker/a");
/// assert!(!signed.to_pem().contains("PRIVATE"));
/// # let _ = key;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct CertificateRequest {
    pem: String,
    public: rcgen::SubjectPublicKeyInfo,
    key: [u8; 32],
    key_kind: String,
    asks_for: Option<String>,
}

impl CertificateRequest {
    /// A new key, as PEM, and the request for it.
    ///
    /// # Errors
    /// [`CaError::Failed`] without randomness.
    pub fn generate(node: &NodeId, kind: KeyKind) -> Result<(Zeroizing<String>, Self), CaError> {
        let key = kind.generate()?;
        let request = Self::for_key(node, &key)?;
        Ok((private_key_pem(key.serialized_der()), request))
    }

    /// The request for a key that exists: PKCS #8, as PEM.
    ///
    /// # Errors
    /// [`CaError::Request`] when there is no key in it, or one of a kind that cannot be used.
    pub fn for_key_pem(node: &NodeId, key: &str) -> Result<Self, CaError> {
        let key = KeyPair::from_pem(key)
            .map_err(|e| {
                CaError::Request(format!(
                    "the private key cannot be used ({e}); if it is not PKCS #8 (BEGIN PRIVATE KEY), `openssl pkcs8 -topk8 -nocrypt` makes it so"
                ))
            })?;
        Self::for_key(node, &key)
    }

    fn for_key(node: &NodeId, key: &KeyPair) -> Result<Self, CaError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // A hint for who signs it; longer ones are not allowed there.
        if node.as_str().len() <= COMMON_NAME_BYTES_MAX {
            params
                .distinguished_name
                .push(DnType::CommonName, node.as_str());
        }
        let pem = params
            .serialize_request(key)
            .and_then(|request| request.pem())
            .map_err(failed)?;
        Self::from_pem(&pem)
    }

    /// Reads a request and checks its signature: who made it has the private key.
    ///
    /// # Errors
    /// [`CaError::Request`], when it is none, its signature is wrong, or its key is of a kind that nodes do not take.
    pub fn from_pem(text: &str) -> Result<Self, CaError> {
        let wrong = |e: String| CaError::Request(e);
        let mut found = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
            match section {
                Ok((SectionKind::Csr, der)) => found.push(der),
                Ok(_) => {}
                Err(e) => return Err(wrong(format!("it is not PEM, or cut off: {e}"))),
            }
        }
        let Ok([der]) = <[Vec<u8>; 1]>::try_from(found) else {
            return Err(wrong(
                "it does not hold one request (-----BEGIN CERTIFICATE REQUEST-----); `portmesh-cert csr` makes one"
                    .into(),
            ));
        };
        let (rest, csr) = X509CertificationRequest::from_der(&der)
            .map_err(|e| wrong(format!("it cannot be read: {e}")))?;
        if !rest.is_empty() {
            return Err(wrong("something follows the request".into()));
        }
        let public = &csr.certification_request_info.subject_pki;
        let key_kind = check_key(public).map_err(wrong)?;
        csr.verify_signature().map_err(|_| {
            wrong("its signature is wrong: it was changed, or whoever made it does not have the private key".into())
        })?;
        let name = csr
            .certification_request_info
            .subject
            .iter_common_name()
            .next();
        Ok(CertificateRequest {
            pem: node_key::pem("CERTIFICATE REQUEST", &der),
            key: sha256(public.raw),
            key_kind,
            asks_for: name.and_then(|n| n.as_str().ok()).map(str::to_owned),
            public: rcgen::SubjectPublicKeyInfo::from_der(public.raw)
                .map_err(|e| wrong(format!("its public key cannot be used: {e}")))?,
        })
    }

    /// Reads a file, which anybody may read.
    ///
    /// # Errors
    /// [`CaError::File`], and as [`Self::from_pem`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, CaError> {
        let path = path.as_ref();
        let text = files::read(path, FILE_BYTES_MAX, Access::Public)?;
        Self::from_pem(&text).map_err(|e| match e {
            CaError::Request(e) => CaError::Request(format!("{}: {e}", path.display())),
            other => other,
        })
    }

    /// Writes it to a file that everybody may read. An existing file is left alone unless `overwrite`.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn save(&self, path: impl AsRef<Path>, overwrite: bool) -> Result<(), FileError> {
        let bytes = self.pem.as_bytes();
        files::write(path.as_ref(), bytes, Access::Public, overwrite)
    }

    /// As PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The name that it asks for, if it does. Nothing vouches for it.
    pub fn asks_for(&self) -> Option<&str> {
        self.asks_for.as_deref()
    }

    /// Kind and size of its key.
    pub fn key_kind(&self) -> &str {
        &self.key_kind
    }

    /// SHA-256 of its key, by which keys are compared: `SHA256:` and base64.
    pub fn fingerprint(&self) -> String {
        node_key::fingerprint(&self.key)
    }

    pub(super) fn public(&self) -> &impl PublicKeyData {
        &self.public
    }
}

/// Kind and size of a public key that nodes take. `Err` says why they do not.
pub(in crate::transport::tls) fn check_key(
    public: &SubjectPublicKeyInfo<'_>,
) -> Result<String, String> {
    match describe_key(public) {
        (kind, true) => Ok(kind),
        (kind, false) => Err(format!(
            "its key is {kind}, which nodes do not take: it must be Ed25519, ECDSA P-256 or P-384, or RSA of {RSA_BITS_MIN} to {RSA_BITS_MAX} bits"
        )),
    }
}

/// Kind and size of a public key, and whether nodes take it.
pub(in crate::transport::tls) fn describe_key(public: &SubjectPublicKeyInfo<'_>) -> (String, bool) {
    const ED25519: &str = "1.3.101.112";
    const CURVES: [(&str, &str, bool); 3] = [
        ("1.2.840.10045.3.1.7", "ECDSA P-256", true),
        ("1.3.132.0.34", "ECDSA P-384", true),
        ("1.3.132.0.35", "ECDSA P-521", false),
    ];
    let oid = public.algorithm.algorithm.to_id_string();
    match public.parsed() {
        Ok(PublicKey::RSA(key)) => {
            let bits = key.key_size();
            let fine = (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits);
            (format!("RSA of {bits} bits"), fine)
        }
        Ok(PublicKey::EC(_)) => {
            let curve = public.algorithm.parameters.as_ref();
            let curve = curve
                .and_then(|p| p.as_oid().ok())
                .map(|o| o.to_id_string());
            match CURVES
                .iter()
                .find(|(oid, ..)| curve.as_deref() == Some(oid))
            {
                Some((_, name, fine)) => ((*name).to_owned(), *fine),
                None => (
                    format!("ECDSA on the curve {}", curve.unwrap_or_default()),
                    false,
                ),
            }
        }
        _ if oid == ED25519 => ("Ed25519".to_owned(), true),
        _ => (format!("of the kind {oid}"), false),
    }
}
