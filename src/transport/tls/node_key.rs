//! The key by which a node of secret mode is known from another: Ed25519, kept on disk or made for one life.

use std::{fmt, path::Path, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use ring::{rand::SystemRandom, signature::Ed25519KeyPair};
use rustls::{
    crypto::ring::sign::any_eddsa_type,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

use zeroize::Zeroizing;

use super::{
    files::{self, Access, FileError},
    identity::Parts,
    leaf::sha256,
};

const FILE_BYTES_MAX: u64 = 16 << 10;

/// Why there is no node key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeKeyError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds something else.
    #[error("{0} is not a node key: {1}")]
    Unusable(String, String),
    /// The system gives no random bytes.
    #[error("no key can be made: the system gives no random bytes")]
    NoRandom,
}

/// An Ed25519 key pair. Has no `Debug` of its private half.
#[derive(Clone)]
pub struct NodeKey {
    certified: Arc<CertifiedKey>,
    digest: [u8; 32],
}

impl NodeKey {
    /// For one life: for nodes whose ID has a random part, or that are not to be remembered.
    ///
    /// # Errors
    /// [`NodeKeyError::NoRandom`].
    pub fn ephemeral() -> Result<Self, NodeKeyError> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| NodeKeyError::NoRandom)?;
        Self::from_pkcs8(pkcs8.as_ref()).map_err(|e| NodeKeyError::Unusable("it".into(), e))
    }

    /// The one in that file, which only its owner may be able to read; where there is no file a new key is made and
    /// written, mode 0600.
    ///
    /// # Errors
    /// When the file cannot be read, cannot be made, or holds something else.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, NodeKeyError> {
        let path = path.as_ref();
        match Self::load(path) {
            Err(NodeKeyError::File(FileError::Read { source, .. }))
                if source.kind() == std::io::ErrorKind::NotFound => {}
            done => return done,
        }
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| NodeKeyError::NoRandom)?;
        let pem = private_key_pem(pkcs8.as_ref());
        match files::write(path, pem.as_bytes(), Access::Private, false) {
            // Somebody else made it meanwhile: that one it is.
            Ok(()) | Err(FileError::Exists { .. }) => Self::load(path),
            Err(e) => Err(e.into()),
        }
    }

    fn load(path: &Path) -> Result<Self, NodeKeyError> {
        let text = files::read(path, FILE_BYTES_MAX, Access::Private)?;
        let wrong = |e: String| NodeKeyError::Unusable(path.display().to_string(), e);
        let parts = Parts::read(&text).map_err(|e| wrong(e.to_string()))?;
        match parts.keys.as_slice() {
            [key] => Self::from_pkcs8(key.der()).map_err(wrong),
            keys => Err(wrong(format!("it has {} private keys", keys.len()))),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, String> {
        let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(der))
            .map_err(|_| "it is not an Ed25519 key".to_owned())?;
        let public = key
            .public_key()
            .ok_or_else(|| "it has no public half".to_owned())?;
        let digest = sha256(&public);
        // In raw public key mode (RFC 7250) the place of the certificate holds the SubjectPublicKeyInfo.
        let raw = CertificateDer::from(public.as_ref().to_vec());
        Ok(NodeKey {
            certified: Arc::new(CertifiedKey::new(vec![raw], key)),
            digest,
        })
    }

    /// SHA-256 of its SubjectPublicKeyInfo, by which peers remember it.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The same for people: `SHA256:` and base64.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.digest)
    }

    pub(super) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.fingerprint())
    }
}

/// `SHA256:` and the digest in base64 without padding, as OpenSSH writes them.
pub(super) fn fingerprint(digest: &[u8; 32]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(digest))
}

/// A private key in PKCS #8 as PEM. An Ed25519 key of version 2, which `ring` makes and OpenSSL does not read, becomes one
/// of version 1: without its public half, which follows from the private one.
pub(super) fn private_key_pem(pkcs8: &[u8]) -> Zeroizing<String> {
    const V2: [u8; 16] = [
        0x30, 0x51, 2, 1, 1, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
    ];
    const V1: [u8; 16] = [
        0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
    ];
    let seed = pkcs8
        .strip_prefix(&V2)
        .and_then(|rest| rest.first_chunk::<32>());
    match seed {
        Some(seed) => {
            let mut v1 = Zeroizing::new([0; 48]);
            for (to, from) in v1.iter_mut().zip(V1.iter().chain(seed)) {
                *to = *from;
            }
            Zeroizing::new(pem("PRIVATE KEY", v1.as_slice()))
        }
        None => Zeroizing::new(pem("PRIVATE KEY", pkcs8)),
    }
}

/// PEM with lines of 64 characters.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(der));
    let mut out = String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40);
    out.push_str(&format!("-----BEGIN {label}-----\n"));
    for (i, c) in body.chars().enumerate() {
        if i > 0 && i % 64 == 0 {
            out.push('\n');
        }
        out.push(c);
    }
    out.push_str(&format!("\n-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_node_key_stays_the_same_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let first = NodeKey::load_or_create(&path).unwrap();
        assert_eq!(
            first.digest(),
            NodeKey::load_or_create(&path).unwrap().digest()
        );
        assert_ne!(first.digest(), NodeKey::ephemeral().unwrap().digest());
    }

    #[test]
    fn a_file_with_something_else_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        files::write(&path, b"something else", Access::Private, false).unwrap();
        let error = NodeKey::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("node.key is not a node key"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"something else");
    }
}
