//! What a node runs from, in its parts: put together, renewed, given other CAs to trust.

use std::{path::Path, time::Duration};

use rcgen::SubjectPublicKeyInfo;
use rustls::pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroizing;

use super::{
    CaError, CertificateAuthority, CertificateRequest, FILE_BYTES_MAX, IssuedCertificate, Serial,
    TrustBundle, request::check_key,
};
use crate::{
    proto::id::NodeId,
    transport::tls::{
        Identity,
        files::{self, Access, FileError},
        leaf::{self, Leaf, utc},
        node_key::{pem, private_key_pem},
    },
};

/// A node's file in its parts: private key (if it is there), certificate, and what the node trusts.
///
/// ```
/// use portmesh::{CertificateAuthority, CertificateRequest, IssueOptions, KeyKind, NodeFile};
/// let (key, request) = CertificateRequest::generate(&"a".parse()?, KeyKind::Ed25519)?;
/// let ca = CertificateAuthority::create("example")?;
/// let signed = ca.sign(&"a".parse()?, &request, IssueOptions::default().life)?;
///
/// let mut file = NodeFile::from_pem(&signed.to_pem())?;
/// file.set_key(&key)?;
/// assert_eq!(file.check()?.node().as_str(), "a"); // a node can run from `file.to_pem()`
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct NodeFile {
    key: Option<Zeroizing<String>>,
    /// The node's own first, then those of CAs in between.
    chain: Vec<Vec<u8>>,
    leaf: Leaf,
    serial: Serial,
    trust: TrustBundle,
}

fn unusable(text: impl Into<String>) -> CaError {
    CaError::Unusable(text.into())
}

impl NodeFile {
    /// Reads such a file. If there is a private key in it, only its owner may be able to read it.
    ///
    /// # Errors
    /// [`CaError::File`] and as [`Self::from_pem`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, CaError> {
        let path = path.as_ref();
        let text = files::read_as_it_needs(path, FILE_BYTES_MAX)?;
        Self::from_pem(&text).map_err(|e| unusable(format!("{}: {e}", path.display())))
    }

    /// From PEM. Whether the certificate is valid is not asked.
    ///
    /// # Errors
    /// [`CaError::Unusable`] when it is not PEM, or there is not one node's certificate in it.
    pub fn from_pem(text: &str) -> Result<Self, CaError> {
        let (mut keys, mut chain, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
        let mut trust = TrustBundle::default();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
            let section =
                section.map_err(|e| unusable(format!("it is not PEM, or cut off: {e}")))?;
            match section {
                (SectionKind::Certificate, der) => {
                    let cert = leaf::parse(&der).map_err(unusable)?;
                    let own = cert.subject().as_raw() == cert.issuer().as_raw();
                    if own {
                        trust.cas.push(der);
                    } else if leaf::check_ca(&cert).is_ok() {
                        chain.push(der);
                    } else {
                        leaves.push(der);
                    }
                }
                (SectionKind::Crl, der) => trust.crls.push(der),
                (kind, der) => keys.extend(key_pem(kind, Zeroizing::new(der))),
            }
        }
        let Ok([own]) = <[Vec<u8>; 1]>::try_from(leaves) else {
            return Err(unusable("there is not one certificate of a node in it"));
        };
        if keys.len() > 1 {
            return Err(unusable("there are several private keys in it"));
        }
        let leaf = Leaf::read(&own)
            .map_err(|e| unusable(format!("the certificate cannot be used: {e}")))?;
        let serial = Serial::from_bytes(leaf::parse(&own).map_err(unusable)?.raw_serial());
        chain.insert(0, own);
        Ok(NodeFile {
            key: keys.pop(),
            chain,
            leaf,
            serial,
            trust,
        })
    }

    /// The node that the certificate is for.
    pub fn node(&self) -> &NodeId {
        &self.leaf.node
    }

    /// Its cluster.
    pub fn cluster(&self) -> &str {
        &self.leaf.cluster
    }

    /// The certificate's serial number.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// The certificate alone.
    pub fn certificate_pem(&self) -> String {
        let own = self.chain.first().map(Vec::as_slice).unwrap_or_default();
        pem("CERTIFICATE", own)
    }

    /// When the certificate expires: `2027-02-22 02:31 UTC`.
    pub fn expires(&self) -> String {
        utc(self.leaf.not_after)
    }

    /// When it should be renewed: two thirds of its life.
    pub fn renewal_advised(&self) -> String {
        let life = self.leaf.not_after - self.leaf.not_before;
        utc(self.leaf.not_after - life / 3)
    }

    /// What the node trusts.
    pub fn trust(&self) -> &TrustBundle {
        &self.trust
    }

    /// Sets what the node trusts.
    pub fn set_trust(&mut self, trust: TrustBundle) {
        self.trust = trust;
    }

    /// Whether the private key is in it.
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Puts the private key in, which is taken from a PEM text with that key alone, or with a whole node's file.
    ///
    /// # Errors
    /// [`CaError::Unusable`] when there is not one private key in it. Whether it belongs to the certificate
    /// [`Self::check`] says.
    pub fn set_key(&mut self, text: &str) -> Result<(), CaError> {
        self.key = Some(private_key(text)?);
        Ok(())
    }

    /// Whether that CA signed the certificate.
    pub fn is_of(&self, ca: &CertificateAuthority) -> bool {
        let (Some(own), Ok(ca)) = (self.chain.first(), leaf::parse(&ca.der)) else {
            return false;
        };
        leaf::parse(own).is_ok_and(|cert| {
            cert.issuer().as_raw() == ca.subject().as_raw()
                && cert.verify_signature(Some(ca.public_key())).is_ok()
        })
    }

    /// Takes a new certificate instead of its own. The CAs that it trusts stay, and so do their lists of revocations
    /// unless the newer ones come with the certificate.
    ///
    /// # Errors
    /// [`CaError::Unusable`].
    pub fn take(&mut self, new: &IssuedCertificate) -> Result<(), CaError> {
        self.replace(Self::from_pem(&new.to_pem())?)
    }

    /// The same with a certificate from another file.
    ///
    /// # Errors
    /// [`CaError::Unusable`].
    pub fn replace(&mut self, new: NodeFile) -> Result<(), CaError> {
        let mut trust = self.trust.clone();
        trust.merge(&new.trust)?;
        (self.chain, self.leaf, self.serial) = (new.chain, new.leaf, new.serial);
        self.trust = trust;
        Ok(())
    }

    /// All of it as PEM.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::with_capacity(16 << 10));
        if let Some(key) = &self.key {
            out.push_str(key);
        }
        for der in &self.chain {
            out.push_str(&pem("CERTIFICATE", der));
        }
        out.push_str(&self.trust.to_pem());
        out
    }

    /// Reads it as a node would.
    ///
    /// # Errors
    /// [`CaError::Unusable`] with what the node would say.
    pub fn check(&self) -> Result<Identity, CaError> {
        Identity::from_pem(&self.to_pem()).map_err(|e| unusable(e.to_string()))
    }

    /// Writes it, mode 0600, when a node could run from it. An existing file is left alone unless `overwrite`.
    ///
    /// # Errors
    /// As [`Self::check`], and [`CaError::File`].
    pub fn save(&self, path: impl AsRef<Path>, overwrite: bool) -> Result<(), CaError> {
        self.check()?;
        let text = self.to_pem();
        Ok(files::write(
            path.as_ref(),
            text.as_bytes(),
            Access::Private,
            overwrite,
        )?)
    }

    /// Replaces the file that it was read from, when a node could run from what is written; mode 0600, and the owner stays.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn save_in_place(&self, path: impl AsRef<Path>) -> Result<(), CaError> {
        self.check()?;
        Ok(files::replace(path.as_ref(), self.to_pem().as_bytes())?)
    }
}

impl std::fmt::Debug for NodeFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeFile")
            .field("node", self.node())
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

/// The one private key in a PEM text, as PEM.
pub(super) fn private_key(text: &str) -> Result<Zeroizing<String>, CaError> {
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
        let (kind, der) =
            section.map_err(|e| unusable(format!("it is not PEM, or cut off: {e}")))?;
        keys.extend(key_pem(kind, Zeroizing::new(der)));
    }
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(key),
        (Some(_), false) => Err(unusable("there are several private keys in it")),
        (None, _) if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") => Err(unusable(
            "the private key is encrypted; decrypt it with `openssl pkey` into a file of mode 0600",
        )),
        (None, _) => Err(unusable("there is no private key in it")),
    }
}

fn key_pem(kind: SectionKind, der: Zeroizing<Vec<u8>>) -> Option<Zeroizing<String>> {
    match kind {
        SectionKind::PrivateKey => Some(private_key_pem(&der)),
        SectionKind::EcPrivateKey => Some(Zeroizing::new(pem("EC PRIVATE KEY", &der))),
        SectionKind::RsaPrivateKey => Some(Zeroizing::new(pem("RSA PRIVATE KEY", &der))),
        _ => None,
    }
}

impl CertificateAuthority {
    /// A new certificate for the node and the key of that file, in place of its own. Whether the file is to be believed is
    /// the caller's to say: [`NodeFile::is_of`].
    ///
    /// ```
    /// use portmesh::{CertificateAuthority, IssueOptions, NodeFile};
    /// let ca = CertificateAuthority::create("example")?;
    /// let mut file = NodeFile::from_pem(&ca.issue(&"worker/a".parse()?)?.to_pem())?;
    /// assert!(file.is_of(&ca));
    /// let old = file.serial().clone();
    /// file.take(&ca.renew(&file, IssueOptions::default().life)?)?;
    /// assert_ne!(*file.serial(), old);
    /// file.check()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn renew(&self, file: &NodeFile, life: Duration) -> Result<IssuedCertificate, CaError> {
        let own = file.chain.first().map(Vec::as_slice).unwrap_or_default();
        let cert = leaf::parse(own).map_err(unusable)?;
        check_key(cert.public_key()).map_err(unusable)?;
        let key = SubjectPublicKeyInfo::from_der(cert.public_key().raw)
            .map_err(|e| unusable(format!("the key of the certificate cannot be used: {e}")))?;
        self.certify(file.node(), &key, life)
    }
}

impl CertificateRequest {
    /// The request for the key in that file: a private key alone, or a whole node's file. Only its owner may be able
    /// to read it.
    ///
    /// # Errors
    /// [`CaError::File`], and as [`Self::for_key_pem`].
    pub fn for_key_file(node: &NodeId, path: impl AsRef<Path>) -> Result<Self, CaError> {
        let path = path.as_ref();
        let key = read_private_key(path)?;
        Self::for_key_pem(node, &key).map_err(|e| match e {
            CaError::Request(e) => CaError::Request(format!("{}: {e}", path.display())),
            other => other,
        })
    }
}

/// The private key in that file, as PEM: of a file with a key alone, or of a whole node's file. Only its owner may be
/// able to read it.
///
/// # Errors
/// [`CaError::File`]; [`CaError::Unusable`] when there is not one private key in it.
pub fn read_private_key(path: impl AsRef<Path>) -> Result<Zeroizing<String>, CaError> {
    let path = path.as_ref();
    let text = files::read(path, FILE_BYTES_MAX, Access::Private)?;
    private_key(&text).map_err(|e| unusable(format!("{}: {e}", path.display())))
}

/// Writes a private key to a file of mode 0600. An existing file is left alone unless `overwrite`.
///
/// # Errors
/// [`FileError`].
pub fn save_private_key(
    path: impl AsRef<Path>,
    key_pem: &str,
    overwrite: bool,
) -> Result<(), FileError> {
    files::write(
        path.as_ref(),
        key_pem.as_bytes(),
        Access::Private,
        overwrite,
    )
}
