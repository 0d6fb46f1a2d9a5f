//! Signatures on certificates and CRLs that were found good are not computed again: a node meets the same ones at every
//! handshake.
//!
//! Only the computing is spared. What a signature is over, by whose key, for what time, and what is revoked is looked at
//! anew each time. The signature by which a peer proves its key is over something new each time, and never comes here.

use std::sync::{LazyLock, Mutex, PoisonError};

use rustls::{
    crypto::{WebPkiSupportedAlgorithms, ring::default_provider},
    pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm},
};

use super::remembered::{Digest, Remembered};

/// Those of this process: a good signature is good for all of its nodes. By the digest of algorithm, key, what is signed, and
/// signature.
static GOOD: LazyLock<Mutex<Remembered<()>>> = LazyLock::new(Mutex::default);

/// The algorithms of the library, with a memory.
static REMEMBERING: LazyLock<Vec<Remembering>> = LazyLock::new(|| {
    let algorithms = default_provider().signature_verification_algorithms;
    algorithms.all.iter().copied().map(Remembering).collect()
});
static ALL: LazyLock<Vec<&dyn SignatureVerificationAlgorithm>> = LazyLock::new(|| {
    let all = REMEMBERING.iter();
    all.map(|one| one as &dyn SignatureVerificationAlgorithm)
        .collect()
});

/// What certificates and CRLs may be signed with.
pub(super) fn algorithms() -> WebPkiSupportedAlgorithms {
    WebPkiSupportedAlgorithms {
        all: &ALL,
        ..default_provider().signature_verification_algorithms
    }
}

#[derive(Debug)]
struct Remembering(&'static dyn SignatureVerificationAlgorithm);

impl Remembering {
    fn digest(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Digest {
        let mut of = ring::digest::Context::new(&ring::digest::SHA256);
        let (key_alg, alg) = (self.0.public_key_alg_id(), self.0.signature_alg_id());
        for part in [key_alg.as_ref(), alg.as_ref(), key, message, signature] {
            // with its length, so that no two lists of parts are the same bytes
            of.update(&(part.len() as u64).to_be_bytes());
            of.update(part);
        }
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(of.finish().as_ref()) {
            *to = *from;
        }
        digest
    }
}

impl SignatureVerificationAlgorithm for Remembering {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let digest = self.digest(public_key, message, signature);
        let good = || GOOD.lock().unwrap_or_else(PoisonError::into_inner);
        if good().get(&digest).is_some() {
            return Ok(());
        }
        self.0.verify_signature(public_key, message, signature)?;
        good().insert(digest, ());
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.0.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.0.signature_alg_id()
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
    };

    use super::*;

    fn p256() -> &'static dyn SignatureVerificationAlgorithm {
        let mut all = algorithms().all.iter();
        *all.find(|one| {
            one.public_key_alg_id() == rustls::pki_types::alg_id::ECDSA_P256
                && one.signature_alg_id() == rustls::pki_types::alg_id::ECDSA_SHA256
        })
        .unwrap()
    }

    #[test]
    fn a_good_signature_vouches_for_nothing_else() {
        let random = SystemRandom::new();
        let pair = || {
            let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
            let der = der.unwrap();
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.as_ref(), &random)
                .unwrap()
        };
        let (one, other) = (pair(), pair());
        let sign = |message: &[u8]| one.sign(&random, message).unwrap().as_ref().to_vec();
        let (key, signature) = (one.public_key().as_ref(), sign(b"the one"));
        let verify = |key: &[u8], message: &[u8], signature: &[u8]| {
            p256().verify_signature(key, message, signature).is_ok()
        };
        for _ in 0..2 {
            assert!(verify(key, b"the one", &signature));
            assert!(!verify(key, b"the other", &signature));
            assert!(!verify(other.public_key().as_ref(), b"the one", &signature));
            assert!(!verify(key, b"the one", &sign(b"the other")));
            let mut bent = signature.clone();
            *bent.last_mut().unwrap() ^= 1;
            assert!(!verify(key, b"the one", &bent));
            // the same bytes, cut elsewhere
            let moved = [b"the one", &signature[..1]].concat();
            assert!(!verify(key, &moved, &signature[1..]));
        }
    }
}
