//! Keys of a CA and of its nodes: their kinds, and how a CA's key is encrypted in its file.

use std::{fmt, path::Path};

use pkcs8::{
    EncryptedPrivateKeyInfoRef,
    der::{Decode, Encode, asn1::OctetStringRef},
    pkcs5::{
        EncryptionScheme,
        pbes2::{Kdf, Parameters},
        scrypt,
    },
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::{Zeroize, Zeroizing};

use super::{CaError, failed};
use crate::transport::tls::{
    files::{self, Access},
    node_key::pem,
};

const PASSPHRASE_CHARS_MIN: usize = 12;
/// So that `aaaaaaaaaaaa` is none.
const PASSPHRASE_KINDS_MIN: usize = 5;
const PASSPHRASE_BYTES_MAX: u64 = 1024;
const LABEL: &str = "ENCRYPTED PRIVATE KEY";
/// scrypt with 16 MiB, five times over: what OpenSSL takes without being asked for more memory.
const SCRYPT_LOG_N: u8 = 14;
const SCRYPT_R: u32 = 8;
const SCRYPT_P: u32 = 5;
/// What a file may ask for: 1 GiB, a minute or so.
const SCRYPT_COST_MAX: u64 = 1 << 24;
const PBKDF2_ROUNDS_MAX: u32 = 20_000_000;

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
    pub(super) fn generate(self) -> Result<KeyPair, CaError> {
        KeyPair::generate_for(match self {
            KeyKind::Ed25519 => &PKCS_ED25519,
            KeyKind::P256 => &PKCS_ECDSA_P256_SHA256,
        })
        .map_err(failed)
    }
}

/// What a CA's key is encrypted with. Wiped from memory when dropped; has no `Debug` of its content.
///
/// ```
/// use portmesh::Passphrase;
/// let passphrase = Passphrase::new("correct horse battery staple".to_owned());
/// assert!(passphrase.check().is_ok());
/// assert!(Passphrase::new("secret".to_owned()).check().is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// From a text, every character of which counts. Whether it is good enough for a new key is [`Self::check`]'s to
    /// say; an old key may have any.
    pub fn new(text: String) -> Self {
        Passphrase(Zeroizing::new(text))
    }

    /// From the first line of a file that only its owner can read.
    ///
    /// # Errors
    /// [`CaError::File`]; [`CaError::WeakPassphrase`] when the line is empty or more follows.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, CaError> {
        let path = path.as_ref();
        let text = files::read(path, PASSPHRASE_BYTES_MAX, Access::Private)?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() || line.contains('\n') {
            return Err(CaError::WeakPassphrase(format!(
                "{} does not hold one line with a passphrase",
                path.display()
            )));
        }
        Ok(Self::new(line.to_owned()))
    }

    /// Whether it will do for a new key: at least 12 characters, and 5 different ones.
    ///
    /// # Errors
    /// [`CaError::WeakPassphrase`].
    pub fn check(&self) -> Result<(), CaError> {
        let mut chars: Vec<char> = self.0.chars().collect();
        let length = chars.len();
        chars.sort_unstable();
        chars.dedup();
        let different = chars.len();
        chars.zeroize();
        if length < PASSPHRASE_CHARS_MIN {
            return Err(CaError::WeakPassphrase(format!(
                "the passphrase has {length} characters, and needs at least {PASSPHRASE_CHARS_MIN}: whoever gets the file can try guesses at leisure; five random words will do"
            )));
        }
        if different < PASSPHRASE_KINDS_MIN {
            return Err(CaError::WeakPassphrase(format!(
                "the passphrase has only {different} different characters, and needs {PASSPHRASE_KINDS_MIN}; five random words will do"
            )));
        }
        Ok(())
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// Whether that PEM text is an encrypted key.
pub(super) fn is_encrypted(text: &str) -> bool {
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
}

/// PKCS #8 `EncryptedPrivateKeyInfo` as PEM: scrypt and AES-256-CBC (PBES2), which OpenSSL reads.
pub(super) fn encrypt(pkcs8: &[u8], passphrase: &Passphrase) -> Result<String, CaError> {
    passphrase.check()?;
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    let random = SystemRandom::new();
    random
        .fill(&mut salt)
        .and_then(|()| random.fill(&mut iv))
        .map_err(|_| failed("the system gives no random bytes"))?;
    let cost = scrypt::Params::new(SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P).map_err(failed)?;
    let params = Parameters::generate_scrypt_aes256cbc(cost, &salt, iv).map_err(failed)?;
    let encrypted = params
        .encrypt(passphrase.0.as_bytes(), pkcs8)
        .map_err(failed)?;
    let info = EncryptedPrivateKeyInfoRef {
        encryption_algorithm: params.into(),
        encrypted_data: OctetStringRef::new(&encrypted).map_err(failed)?,
    };
    Ok(pem(LABEL, &info.to_der().map_err(failed)?))
}

/// The PKCS #8 in that PEM text. `name` is the file's, for errors.
pub(super) fn decrypt(
    text: &str,
    passphrase: &Passphrase,
    name: &str,
) -> Result<Zeroizing<Vec<u8>>, CaError> {
    let broken = |why: &str| CaError::Unusable(format!("{name} cannot be read: {why}"));
    let start = text.find("-----BEGIN ").unwrap_or(0);
    let text = text.get(start..).unwrap_or_default();
    let (_, der) = pkcs8::der::pem::decode_vec(text.trim_end().as_bytes())
        .map_err(|_| broken("it is cut off, or not PEM"))?;
    let info = EncryptedPrivateKeyInfoRef::from_der(&der)
        .map_err(|_| broken("it is damaged, or encrypted in a way that is not supported"))?;
    let EncryptionScheme::Pbes2(params) = &info.encryption_algorithm else {
        return Err(broken(
            "it is encrypted in an old way; encrypt it anew with `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256`",
        ));
    };
    // The library computes whatever a file asks for, for hours if need be.
    let bearable = match &params.kdf {
        Kdf::Scrypt(s) => {
            let n = s.cost_parameter;
            let (r, p) = (u64::from(s.block_size), u64::from(s.parallelization));
            n > 1
                && r > 0
                && p > 0
                && n.checked_mul(r)
                    .and_then(|m| m.checked_mul(p))
                    .is_some_and(|cost| cost <= SCRYPT_COST_MAX)
        }
        Kdf::Pbkdf2(p) => (1..=PBKDF2_ROUNDS_MAX).contains(&p.iteration_count),
        _ => true,
    };
    if !bearable {
        return Err(broken("its key derivation asks for far too much"));
    }
    match info.decrypt(passphrase.0.as_bytes()) {
        Ok(document) => Ok(Zeroizing::new(document.as_bytes().to_vec())),
        Err(_) => Err(CaError::WrongPassphrase(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn good() -> Passphrase {
        Passphrase::new("correct horse battery staple".to_owned())
    }

    #[test]
    fn a_key_comes_back_with_its_passphrase_and_with_no_other() {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let text = encrypt(key.serialized_der(), &good()).unwrap();
        assert!(is_encrypted(&text));
        let back = decrypt(&text, &good(), "k").unwrap();
        assert_eq!(back.as_slice(), key.serialized_der());
        let other = Passphrase::new("correct horse battery stable".to_owned());
        let wrong = decrypt(&text, &other, "k");
        assert!(matches!(wrong, Err(CaError::WrongPassphrase(_))));
        // the same again looks different
        assert_ne!(text, encrypt(key.serialized_der(), &good()).unwrap());
    }

    #[test]
    fn a_cut_or_changed_key_is_told_from_a_wrong_passphrase_where_it_can_be() {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let text = encrypt(key.serialized_der(), &good()).unwrap();
        for end in [0, 10, 40, 100, text.len() - 30] {
            let cut = decrypt(&text[..end], &good(), "k");
            assert!(matches!(cut, Err(CaError::Unusable(_))), "{end}");
        }
        let der = pkcs8::der::pem::decode_vec(text.as_bytes()).unwrap().1;
        for at in (0..der.len()).step_by(7) {
            let mut changed = der.clone();
            *changed.get_mut(at).unwrap() ^= 0x10;
            if let Ok(back) = decrypt(&pem(LABEL, &changed), &good(), "k") {
                assert_ne!(back.as_slice(), key.serialized_der(), "{at}");
            }
        }
    }

    #[test]
    fn a_file_cannot_ask_for_endless_work() {
        let info = |cost: u8, r: u32, p: u32| {
            let cost = scrypt::Params::new(cost, r, p).unwrap();
            let params = Parameters::generate_scrypt_aes256cbc(cost, &[0; 16], [0; 16]).unwrap();
            let info = EncryptedPrivateKeyInfoRef {
                encryption_algorithm: params.into(),
                encrypted_data: OctetStringRef::new(&[0; 64]).unwrap(),
            };
            decrypt(&pem(LABEL, &info.to_der().unwrap()), &good(), "k")
                .unwrap_err()
                .to_string()
        };
        assert!(info(30, 8, 1).contains("far too much"));
        assert!(info(14, 8, 60_000).contains("far too much"));
        assert!(info(10, 8, 1).contains("passphrase"));
    }

    #[test]
    fn weak_passphrases_are_refused_with_the_reason_and_never_shown() {
        for (text, reason) in [
            ("", "0 characters"),
            ("elevenchars", "11 characters"),
            ("aaaaaaaaaaaaaaaaaaa", "only 1 different"),
            ("äöüäöüäöüäöü", "only 3 different"),
        ] {
            let passphrase = Passphrase::new(text.to_owned());
            let error = passphrase.check().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            assert!(text.is_empty() || !format!("{error}{passphrase:?}").contains(text));
            assert!(encrypt(b"key", &passphrase).is_err());
        }
    }
}
