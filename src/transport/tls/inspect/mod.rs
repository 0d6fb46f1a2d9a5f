//! What files with keys, certificates, requests and lists of revocations say, and what is wrong with them.

mod check;
mod live;

use std::{path::Path, time::SystemTime};

use rustls::{
    crypto::ring::sign::any_supported_type,
    pki_types::{
        PrivateKeyDer,
        pem::{PemObject, SectionKind},
    },
};
use x509_parser::prelude::{FromDer, GeneralName, SubjectPublicKeyInfo, X509Certificate};
use zeroize::Zeroizing;

pub use self::{
    check::{Verdict, verify, verify_chain, verify_file},
    live::{LiveError, Shown, look},
};
use super::{
    ca::{CaError, CertificateRequest, Crl, Serial, cluster_of, describe_key},
    files,
    leaf::{self, Leaf, sha256, time},
    node_key::fingerprint,
};
use crate::proto::id::NodeId;

const FILE_BYTES_MAX: u64 = 16 << 20;

/// One part of a file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Item {
    /// A private key; nothing of its private half.
    Key(KeyFacts),
    /// A private key that is encrypted.
    EncryptedKey,
    /// A certificate, of a node or of a CA.
    Certificate(Box<CertificateFacts>),
    /// A request for a certificate, its signature checked.
    Request(CertificateRequest),
    /// A list of revocations. Who signed it is not checked.
    Crl(Crl),
}

/// What a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyFacts {
    /// Kind and size: `Ed25519`.
    pub kind: String,
    /// SHA-256 of its public half: `SHA256:` and base64.
    pub fingerprint: String,
    /// Whether nodes take keys of this kind.
    pub supported: bool,
}

/// What a certificate says. Nothing of it is verified.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CertificateFacts {
    /// Whom it is for.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its serial number.
    pub serial: Serial,
    /// Whether it is a CA's.
    pub is_ca: bool,
    /// The node that it names.
    pub node: Option<NodeId>,
    /// The cluster that it names.
    pub cluster: Option<String>,
    /// All its names: `URI …`, `DNS …`.
    pub names: Vec<String>,
    /// What its key may be used for.
    pub usages: Vec<&'static str>,
    /// From when on it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// Its public key.
    pub key: KeyFacts,
    /// SHA-256 of the whole certificate, hexadecimal with colons.
    pub sha256: String,
    /// Why its form is none that nodes take, for a node or for a CA.
    pub faults: Vec<String>,
}

/// What is in a file, in its order. If there is a private key in it, only its owner may be able to read it.
///
/// # Errors
/// [`CaError::File`], and as [`read`].
pub fn read_file(path: impl AsRef<Path>) -> Result<Vec<Item>, CaError> {
    let path = path.as_ref();
    let text = files::read_as_it_needs(path, FILE_BYTES_MAX)?;
    read(&text).map_err(|e| CaError::Unusable(format!("{}: {e}", path.display())))
}

/// What is in a PEM text, in its order.
///
/// ```
/// use portmesh::{CertificateAuthority, transport::tls::inspect::{self, Item}};
/// let issued = CertificateAuthority::create("example")?.issue(&"worker/a".parse()?)?;
/// let items = inspect::read(&issued.to_pem())?;
/// let Item::Certificate(certificate) = &items[1] else { panic!() };
/// assert_eq!(certificate.serial, *issued.certificate().serial());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`CaError::Unusable`] when it is not PEM, a part of it cannot be read, or there is nothing in it.
pub fn read(text: &str) -> Result<Vec<Item>, CaError> {
    let wrong = CaError::Unusable;
    let mut items = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
        let (kind, der) = section.map_err(|e| wrong(format!("it is not PEM, or cut off: {e}")))?;
        items.push(match kind {
            SectionKind::Certificate => {
                Item::Certificate(Box::new(certificate(&der).map_err(wrong)?))
            }
            SectionKind::Crl => Item::Crl(Crl::read(&der).map_err(wrong)?),
            SectionKind::Csr => {
                let pem = super::node_key::pem("CERTIFICATE REQUEST", &der);
                Item::Request(CertificateRequest::from_pem(&pem)?)
            }
            SectionKind::PrivateKey | SectionKind::EcPrivateKey | SectionKind::RsaPrivateKey => {
                Item::Key(private_key(kind, &Zeroizing::new(der)).map_err(wrong)?)
            }
            _ => continue,
        });
    }
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        items.insert(0, Item::EncryptedKey);
    }
    if items.is_empty() {
        return Err(wrong(
            "it has no PEM in it (-----BEGIN …); what is DER becomes PEM with `openssl x509 -inform der`".into(),
        ));
    }
    Ok(items)
}

/// What a certificate says, which is given as DER. `Err` says why it cannot be read.
///
/// # Errors
/// The reason in words.
pub fn certificate(der: &[u8]) -> Result<CertificateFacts, String> {
    let cert = leaf::parse(der)?;
    let is_ca = cert
        .basic_constraints()
        .is_ok_and(|c| c.is_some_and(|c| c.value.ca));
    let leaf = Leaf::read(der).ok();
    let faults = if is_ca {
        Vec::from_iter(leaf::check_ca(&cert).err())
    } else {
        leaf::faults(&cert)
    };
    let (node, cluster) = match leaf {
        Some(leaf) => (Some(leaf.node), Some(leaf.cluster)),
        None => (None, cluster_of(&cert)),
    };
    let digest = sha256(der);
    Ok(CertificateFacts {
        subject: cert.subject().to_string(),
        issuer: cert.issuer().to_string(),
        serial: Serial::from_bytes(cert.raw_serial()),
        is_ca,
        node,
        cluster,
        names: names(&cert),
        usages: usages(&cert),
        not_before: time(cert.validity().not_before.timestamp()),
        not_after: time(cert.validity().not_after.timestamp()),
        key: key_facts(cert.public_key()),
        sha256: Vec::from_iter(digest.iter().map(|b| format!("{b:02x}"))).join(":"),
        faults,
    })
}

fn key_facts(public: &SubjectPublicKeyInfo<'_>) -> KeyFacts {
    let (kind, supported) = describe_key(public);
    KeyFacts {
        kind,
        supported,
        fingerprint: fingerprint(&sha256(public.raw)),
    }
}

fn private_key(kind: SectionKind, der: &[u8]) -> Result<KeyFacts, String> {
    let public = public_half(kind, der).ok_or(
        "the private key cannot be used: it must be Ed25519, ECDSA P-256 or P-384, or RSA of 2048 bits or more",
    )?;
    let (_, public) = SubjectPublicKeyInfo::from_der(&public)
        .map_err(|e| format!("the private key cannot be read: {e}"))?;
    Ok(key_facts(&public))
}

/// The SubjectPublicKeyInfo of a private key.
fn public_half(kind: SectionKind, der: &[u8]) -> Option<Vec<u8>> {
    let key = match kind {
        SectionKind::RsaPrivateKey => PrivateKeyDer::Pkcs1(der.into()),
        SectionKind::EcPrivateKey => PrivateKeyDer::Sec1(der.into()),
        _ => PrivateKeyDer::Pkcs8(der.into()),
    };
    Some(any_supported_type(&key).ok()?.public_key()?.to_vec())
}

fn names(cert: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = cert.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names.value.general_names.iter().map(|name| match name {
        GeneralName::URI(uri) => format!("URI {uri}"),
        GeneralName::DNSName(name) => format!("DNS {name}"),
        other => format!("{other}"),
    });
    names.collect()
}

fn usages(cert: &X509Certificate<'_>) -> Vec<&'static str> {
    let mut all = Vec::new();
    if let Ok(Some(usage)) = cert.key_usage() {
        let usage = usage.value;
        let named = [
            (usage.digital_signature(), "digitalSignature"),
            (usage.key_encipherment(), "keyEncipherment"),
            (usage.key_agreement(), "keyAgreement"),
            (usage.key_cert_sign(), "keyCertSign"),
            (usage.crl_sign(), "cRLSign"),
        ];
        all.extend(named.iter().filter(|(is, _)| *is).map(|(_, name)| *name));
    }
    if let Ok(Some(extended)) = cert.extended_key_usage() {
        let extended = extended.value;
        let named = [
            (extended.server_auth, "serverAuth"),
            (extended.client_auth, "clientAuth"),
            (extended.any, "anyExtendedKeyUsage"),
        ];
        all.extend(named.iter().filter(|(is, _)| *is).map(|(_, name)| *name));
    }
    all
}
