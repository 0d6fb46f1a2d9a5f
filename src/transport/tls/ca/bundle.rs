//! The CAs that a node trusts, with what each has revoked; two of them while one takes the place of the other.

use std::path::Path;

use rustls::pki_types::pem::{PemObject, SectionKind};

use super::{
    CaDirectory, CaError, FILE_BYTES_MAX,
    crl::{self, Crl},
};
use crate::transport::tls::{
    files::{self, Access, FileError},
    leaf,
    node_key::pem,
};

/// CA certificates, and for each the newest list of what it revoked.
///
/// ```
/// use portmesh::{CertificateAuthority, TrustBundle};
/// let (old, new) = (CertificateAuthority::create("example")?, CertificateAuthority::create("example")?);
/// let mut bundle = TrustBundle::from_pem(&(old.certificate_pem() + old.crl_pem()))?;
/// bundle.merge(&TrustBundle::from_pem(&(new.certificate_pem() + new.crl_pem()))?)?;
/// assert_eq!(bundle.names().len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustBundle {
    pub(super) cas: Vec<Vec<u8>>,
    pub(super) crls: Vec<Vec<u8>>,
}

fn unusable(text: String) -> CaError {
    CaError::Unusable(text)
}

impl TrustBundle {
    /// The CA certificates and CRLs in a PEM text; what else is there is left out.
    ///
    /// # Errors
    /// [`CaError::Unusable`] when it is not PEM, has neither, or has a certificate or CRL that cannot be read.
    pub fn from_pem(text: &str) -> Result<Self, CaError> {
        let mut bundle = TrustBundle::default();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
            match section.map_err(|e| unusable(format!("it is not PEM, or cut off: {e}")))? {
                (SectionKind::Certificate, der) => {
                    let cert = leaf::parse(&der).map_err(unusable)?;
                    // As nodes do: a CA that signed itself is one to trust, others are links to such a one.
                    let own = cert.subject().as_raw() == cert.issuer().as_raw();
                    if own && leaf::check_ca(&cert).is_ok() && !bundle.cas.contains(&der) {
                        bundle.cas.push(der);
                    }
                }
                (SectionKind::Crl, der) => bundle.take_crl(der)?,
                _ => {}
            }
        }
        if bundle.cas.is_empty() && bundle.crls.is_empty() {
            return Err(unusable(
                "there is no CA certificate and no CRL in it".into(),
            ));
        }
        bundle.check_crls()?;
        Ok(bundle)
    }

    /// From a CA's directory, or from a file with CA certificates, CRLs, or both.
    ///
    /// # Errors
    /// [`CaError::File`] and as [`Self::from_pem`].
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, CaError> {
        let path = path.as_ref();
        let text = if path.is_dir() {
            CaDirectory::new(path).bundle_pem()?
        } else {
            files::read(path, FILE_BYTES_MAX, Access::Public)?.to_string()
        };
        Self::from_pem(&text).map_err(|e| unusable(format!("{}: {e}", path.display())))
    }

    /// Adds the CAs of the other one, and of each CA keeps the newer list of revocations.
    ///
    /// # Errors
    /// [`CaError::Unusable`] when a list is not signed by the CA of its name.
    pub fn merge(&mut self, other: &TrustBundle) -> Result<(), CaError> {
        for ca in &other.cas {
            if !self.cas.contains(ca) {
                self.cas.push(ca.clone());
            }
        }
        for crl in &other.crls {
            self.take_crl(crl.clone())?;
        }
        self.check_crls()
    }

    /// Of the CAs that are in both, takes the other's list of revocations where it is newer.
    ///
    /// # Errors
    /// As [`Self::merge`].
    pub fn update_crls(&mut self, other: &TrustBundle) -> Result<(), CaError> {
        for der in &other.crls {
            let issuer = issuer(der)?;
            let known = self.cas.iter().any(|ca| {
                leaf::parse(ca).is_ok_and(|ca| ca.subject().as_raw() == issuer.as_slice())
            });
            if known {
                self.take_crl(der.clone())?;
            }
        }
        self.check_crls()
    }

    /// Whether there is any CA in it, and not only lists of revocations.
    pub fn has_ca(&self) -> bool {
        !self.cas.is_empty()
    }

    pub(in crate::transport::tls) fn cas(&self) -> &[Vec<u8>] {
        &self.cas
    }

    pub(in crate::transport::tls) fn crls_der(&self) -> &[Vec<u8>] {
        &self.crls
    }

    /// What the CAs are called.
    pub fn names(&self) -> Vec<String> {
        let certs = self.cas.iter().filter_map(|der| leaf::parse(der).ok());
        certs.map(|cert| cert.subject().to_string()).collect()
    }

    /// The lists of revocations.
    pub fn crls(&self) -> Vec<Crl> {
        let crls = self.crls.iter().filter_map(|der| Crl::read(der).ok());
        crls.collect()
    }

    /// As PEM: the CAs, then the lists.
    pub fn to_pem(&self) -> String {
        let cas = self.cas.iter().map(|der| pem("CERTIFICATE", der));
        let crls = self.crls.iter().map(|der| pem("X509 CRL", der));
        cas.chain(crls).collect()
    }

    /// Writes [`Self::to_pem`] to a file that everybody may read. An existing file is left alone unless `overwrite`.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn save(&self, path: impl AsRef<Path>, overwrite: bool) -> Result<(), FileError> {
        let text = self.to_pem();
        files::write(path.as_ref(), text.as_bytes(), Access::Public, overwrite)
    }

    /// Keeps it, instead of an older one of the same CA.
    fn take_crl(&mut self, der: Vec<u8>) -> Result<(), CaError> {
        let new = Crl::read(&der).map_err(unusable)?;
        let name = issuer(&der)?;
        let age = |crl: &Crl| (crl.number, crl.this_update);
        for old in &mut self.crls {
            if issuer(old)? == name {
                let before = Crl::read(old).map_err(unusable)?;
                if age(&new) > age(&before) {
                    *old = der;
                }
                return Ok(());
            }
        }
        self.crls.push(der);
        Ok(())
    }

    /// A list that is not signed by the CA of its name would be taken for newer than the true one.
    fn check_crls(&self) -> Result<(), CaError> {
        for der in &self.crls {
            let crl = crl::parse(der).map_err(unusable)?;
            let named = self.cas.iter().filter_map(|ca| leaf::parse(ca).ok());
            let mut named = named
                .filter(|ca| ca.subject().as_raw() == crl.issuer().as_raw())
                .peekable();
            if named.peek().is_some()
                && !named.any(|ca| crl.verify_signature(ca.public_key()).is_ok())
            {
                return Err(unusable(format!(
                    "the CRL of {} is not signed by the CA of that name",
                    crl.issuer()
                )));
            }
        }
        Ok(())
    }
}

fn issuer(crl: &[u8]) -> Result<Vec<u8>, CaError> {
    let crl = crl::parse(crl).map_err(unusable)?;
    Ok(crl.issuer().as_raw().to_vec())
}
