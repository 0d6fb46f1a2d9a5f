//! Lists of revoked certificates: whose they are, and which of several is the newest.

use std::path::Path;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject};
use x509_parser::prelude::{CertificateRevocationList, ParsedExtension};

use super::{
    ca::parse_crl,
    files::{self, Access, FileError},
    leaf::{self, sha256},
};

const FILE_BYTES_MAX: u64 = 16 << 20;

/// The text of a file with CRLs, in PEM.
///
/// # Errors
/// When it cannot be read, or is too large to be one.
pub fn crl_text(path: impl AsRef<Path>) -> Result<String, FileError> {
    let text = files::read(path.as_ref(), FILE_BYTES_MAX, Access::Public)?;
    Ok(text.to_string())
}

/// The CRLs of a text, in DER.
pub(super) fn parse(pem: &str) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let crls: Result<Vec<_>, _> =
        CertificateRevocationListDer::pem_slice_iter(pem.as_bytes()).collect();
    match crls {
        Ok(crls) if crls.is_empty() => Err("there is no CRL in it (-----BEGIN X509 CRL)".into()),
        Ok(crls) => Ok(crls),
        Err(error) => Err(format!("it is not PEM: {error}")),
    }
}

/// A CRL that a CA of the bundle has signed.
#[derive(Debug, Clone)]
pub(super) struct Crl {
    pub(super) der: CertificateRevocationListDer<'static>,
    /// SHA-256 of the SubjectPublicKeyInfo of the CA.
    pub(super) authority: [u8; 32],
    /// Whether it revokes anything.
    pub(super) revokes: bool,
    order: Order,
    /// It is for a part of the CA's certificates.
    partial: bool,
}

/// The later of two CRLs is the greater: by its number without leading zeros, and its time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    digits: usize,
    number: Vec<u8>,
    this_update: i64,
}

impl Crl {
    /// `Err` says why it is none of a CA of the bundle.
    pub(super) fn read(der: &[u8], cas: &[CertificateDer<'static>]) -> Result<Self, String> {
        let crl = parse_crl(der)?;
        let issuer = super::verify::short(&crl.issuer().to_string());
        for ca in cas {
            let ca = leaf::parse(ca)?;
            let names_it = ca.subject().as_raw() == crl.issuer().as_raw();
            let usage = ca.key_usage().map_err(leaf::unreadable)?;
            if names_it
                && usage.is_some_and(|u| u.value.crl_sign())
                && crl.verify_signature(ca.public_key()).is_ok()
            {
                return Ok(Crl {
                    order: Order::of(&crl),
                    revokes: crl.iter_revoked_certificates().next().is_some(),
                    authority: sha256(ca.public_key().raw),
                    partial: crl.extensions().iter().any(|extension| {
                        let parsed = extension.parsed_extension();
                        matches!(parsed, ParsedExtension::IssuingDistributionPoint(_))
                    }),
                    der: CertificateRevocationListDer::from(der.to_vec()),
                });
            }
        }
        Err(format!(
            "the CRL of {issuer} is not signed by a CA of the bundle that may sign CRLs"
        ))
    }

    /// Whether this one takes the place of that one.
    pub(super) fn supersedes(&self, other: &Crl) -> bool {
        self.authority == other.authority
            && !self.partial
            && !other.partial
            && self.order > other.order
    }
}

impl Order {
    fn of(crl: &CertificateRevocationList<'_>) -> Self {
        let number = crl.crl_number().map(|n| n.to_bytes_be());
        let number: Vec<u8> = number.unwrap_or_default();
        let start = number.iter().position(|digit| *digit != 0);
        let number = number.get(start.unwrap_or(number.len())..);
        let number = number.unwrap_or_default().to_vec();
        Order {
            digits: number.len(),
            number,
            this_update: crl.last_update().timestamp(),
        }
    }
}

/// Of several CRLs of one CA the newest alone.
pub(super) fn newest(all: Vec<Crl>) -> Vec<Crl> {
    let mut kept: Vec<Crl> = Vec::new();
    for crl in all {
        if kept
            .iter()
            .any(|other| other.supersedes(&crl) || other.der == crl.der)
        {
            continue;
        }
        kept.retain(|other| !crl.supersedes(other));
        kept.push(crl);
    }
    kept
}
