//! What a transport proves itself with and accepts, which may be replaced while it runs.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use ring::signature;
use rustls::{
    SignatureScheme,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{
    Identity, NodeKey, SetupError,
    config::Configs,
    crl::{self, Crl},
    explain,
    leaf::{self, Leaf, time},
    verify::Side,
};
use crate::{
    proto::handshake::Mode,
    runtime::transport::{Certificates, Certified, Signed},
};

/// Why a certificate or a CRL is not taken in place of the former one. What was there before stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaceError {
    /// The node was started without a certificate.
    #[error("this node runs in secret mode and takes no certificate; start it with one")]
    SecretMode,
    /// The node was started without a secret.
    #[error("this node runs without a secret and takes none; start it with one")]
    NoSecret,
    /// The node has no mesh, or one that is not over TLS.
    #[error("this node has no mesh over TLS, and so neither certificate nor secret")]
    NoMesh,
    /// It is for another node or another cluster.
    #[error("it is for {found}, this node is {own}")]
    OtherNode {
        /// What this node is called, and its cluster.
        own: String,
        /// What the certificate says.
        found: String,
    },
    /// One is a public test fixture, the other is not.
    #[error(
        "the keys of the public test fixtures work on loopback only, and cannot take the place of others or be replaced by them"
    )]
    Fixture,
    /// The CRL is none of a CA that is trusted here, or cannot be used.
    #[error("{0}")]
    Crl(String),
    /// TLS cannot be configured so.
    #[error("TLS cannot be configured: {0}")]
    Tls(String),
}

/// What holds at one time.
pub(super) struct Current {
    pub(super) dial_mode: Mode,
    pub(super) dial: Configs,
    pub(super) server_name: ServerName<'static>,
    pub(super) secret: Option<Configs>,
    pub(super) certificate: Option<Configs>,
    identity: Option<Identity>,
    pub(super) generation: u64,
}

/// [`Current`], and what it is made of.
pub(super) struct Held(RwLock<Parts>);

struct Parts {
    /// As it was given.
    given: Option<Identity>,
    /// CRLs that came otherwise.
    more: Vec<Crl>,
    current: Arc<Current>,
}

impl Current {
    fn new(
        identity: Option<Identity>,
        secret: Option<Configs>,
        generation: u64,
    ) -> Result<Self, SetupError> {
        let failed = |e: rustls::Error| SetupError::Tls(e.to_string());
        let certificate = identity.as_ref().map(Configs::certificate);
        let certificate = certificate.transpose().map_err(failed)?;
        let (dial_mode, dial) = match (&certificate, &secret) {
            (Some(c), _) => (Mode::Certificate, c.clone()),
            (None, Some(s)) => (Mode::Secret, s.clone()),
            (None, None) => return Err(SetupError::Nothing),
        };
        let server_name = match &identity {
            Some(identity) => identity.trust().server_name(),
            // Never sent and never looked at: raw keys have no names.
            None => ServerName::try_from("node.portmesh.internal")
                .map_err(|e| SetupError::Tls(e.to_string()))?,
        };
        Ok(Current {
            dial_mode,
            dial,
            server_name,
            secret,
            certificate,
            identity,
            generation,
        })
    }
}

impl Held {
    pub(super) fn new(
        identity: Option<Identity>,
        key: Option<&NodeKey>,
    ) -> Result<Self, SetupError> {
        let secret = key.map(Configs::secret).transpose();
        let secret = secret.map_err(|e| SetupError::Tls(e.to_string()))?;
        let current = Arc::new(Current::new(identity.clone(), secret, 0)?);
        Ok(Held(RwLock::new(Parts {
            given: identity,
            more: Vec::new(),
            current,
        })))
    }

    pub(super) fn get(&self) -> Arc<Current> {
        let parts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&parts.current)
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        self.get().identity.clone()
    }

    /// Puts another certificate, with its CAs and CRLs, in the place of the former one. CRLs that are newer than its own
    /// go on to count.
    pub(super) fn replace(&self, identity: Identity) -> Result<(), ReplaceError> {
        let mut parts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let former = parts.given.as_ref().ok_or(ReplaceError::SecretMode)?;
        let name = |identity: &Identity| format!("{} of {}", identity.node(), identity.cluster());
        if name(former) != name(&identity) {
            return Err(ReplaceError::OtherNode {
                own: name(former),
                found: name(&identity),
            });
        }
        if former.is_public_fixture() != identity.is_public_fixture() {
            return Err(ReplaceError::Fixture);
        }
        // what the former one brought may be newer, and must not be forgotten
        let mut more = former.crls();
        more.append(&mut parts.more.clone());
        more.retain(|crl| identity.read_crl(&crl.der).is_ok());
        parts.set(identity, more)
    }

    /// Takes a CRL besides; `false`: one that is as new is there.
    pub(super) fn add_crl(&self, der: &[u8]) -> Result<bool, ReplaceError> {
        let mut parts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let given = parts.given.clone().ok_or(ReplaceError::SecretMode)?;
        let crl = given.read_crl(der).map_err(ReplaceError::Crl)?;
        let mut all = given.crls();
        all.extend(parts.more.iter().cloned());
        let former = crl::newest(all);
        let mut with = former.clone();
        with.push(crl.clone());
        let with = crl::newest(with);
        if with.len() == former.len()
            && with
                .iter()
                .all(|crl| former.iter().any(|f| f.der == crl.der))
        {
            return Ok(false);
        }
        let mut more = parts.more.clone();
        more.push(crl);
        parts.set(given, crl::newest(more))?;
        Ok(true)
    }

    /// The newest CRL of each CA.
    pub(super) fn crls(&self) -> Vec<Crl> {
        self.identity()
            .map(|identity| crl::newest(identity.crls()))
            .unwrap_or_default()
    }
}

impl Parts {
    fn set(&mut self, given: Identity, more: Vec<Crl>) -> Result<(), ReplaceError> {
        let identity = given.with_crls(&more).map_err(ReplaceError::Crl)?;
        let former = &self.current;
        let current = Current::new(Some(identity), former.secret.clone(), former.generation + 1);
        self.current = Arc::new(current.map_err(|e| ReplaceError::Tls(e.to_string()))?);
        self.given = Some(given);
        self.more = more;
        Ok(())
    }
}

impl Certificates for Held {
    fn sign(&self, words: &dyn Fn(&[u8]) -> Vec<u8>) -> Option<Result<Signed, String>> {
        let key = self.get().identity.as_ref()?.certified_key();
        let words = words(key.cert.first()?);
        let schemes: Vec<SignatureScheme> = SCHEMES.iter().map(|(scheme, _)| *scheme).collect();
        Some(match key.key.choose_scheme(&schemes) {
            Some(signer) => signer
                .sign(&words)
                .map(|signature| Signed {
                    chain: key.cert.iter().map(|der| der.to_vec()).collect(),
                    scheme: signer.scheme().into(),
                    signature,
                })
                .map_err(|error| format!("the key does not sign: {error}")),
            None => Err("the key is of a kind that cannot sign it".to_owned()),
        })
    }

    fn verify(&self, signed: &Signed, words: &[u8]) -> Result<Certified, String> {
        let leaf = self.accept(&signed.chain)?;
        let der = signed.chain.first().ok_or("there is no certificate")?;
        let scheme = SignatureScheme::from(signed.scheme);
        let (_, algorithm) = SCHEMES
            .iter()
            .find(|(known, _)| *known == scheme)
            .ok_or("it is signed in an unknown way")?;
        let cert = leaf::parse(der)?;
        let key = cert.public_key().subject_public_key.data.as_ref();
        signature::UnparsedPublicKey::new(*algorithm, key)
            .verify(words, &signed.signature)
            .map_err(|_| "its key has not signed it for this link")?;
        Ok(Certified {
            node: leaf.node.clone(),
            expires: time(leaf.not_after),
            proof: leaf.proof.clone(),
        })
    }

    fn check(&self, chain: &[Vec<u8>]) -> Result<(), String> {
        self.accept(chain).map(|_| ())
    }
}

impl Held {
    /// The certificate, if the chain is one that is acceptable now.
    fn accept(&self, chain: &[Vec<u8>]) -> Result<Arc<Leaf>, String> {
        let current = self.get();
        let identity = current
            .identity
            .as_ref()
            .ok_or("this node has no certificate")?;
        let ders: Vec<CertificateDer<'_>> = chain
            .iter()
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        let (leaf, above) = ders.split_first().ok_or("there is no certificate")?;
        let now = UnixTime::now();
        let verified = identity.trust().verify(leaf, above, Side::Server, now);
        verified.map_err(|error| explain::fault(&error))
    }
}

/// As TLS 1.3 signs, by what this node verifies it with.
const SCHEMES: &[(SignatureScheme, &dyn signature::VerificationAlgorithm)] = &[
    (SignatureScheme::ED25519, &signature::ED25519),
    (
        SignatureScheme::ECDSA_NISTP256_SHA256,
        &signature::ECDSA_P256_SHA256_ASN1,
    ),
    (
        SignatureScheme::ECDSA_NISTP384_SHA384,
        &signature::ECDSA_P384_SHA384_ASN1,
    ),
    (
        SignatureScheme::RSA_PSS_SHA256,
        &signature::RSA_PSS_2048_8192_SHA256,
    ),
    (
        SignatureScheme::RSA_PSS_SHA384,
        &signature::RSA_PSS_2048_8192_SHA384,
    ),
    (
        SignatureScheme::RSA_PSS_SHA512,
        &signature::RSA_PSS_2048_8192_SHA512,
    ),
];

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.get();
        f.debug_struct("Held")
            .field("dial_mode", &current.dial_mode)
            .field("identity", &current.identity)
            .field("accepts_secret", &current.secret.is_some())
            .finish_non_exhaustive()
    }
}
