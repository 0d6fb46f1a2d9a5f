//! The shared secret: its text form, its short name for people, and the stretched passphrase.

use std::{fmt, num::NonZeroU32, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use ring::hmac;
use zeroize::Zeroizing;

use super::Secrets;

/// What every secret's text begins with.
const PREFIX: &str = "pms1_";
/// 32 bytes in base64url without padding.
const BODY_CHARS: usize = 43;
/// Three bytes of checksum, likewise.
const CHECK_CHARS: usize = 4;
const TEXT_CHARS: usize = PREFIX.len() + BODY_CHARS + CHECK_CHARS;
/// The shortest passphrase, in characters.
const PASSPHRASE_CHARS_MIN: usize = 20;
/// How often a passphrase is hashed.
const PASSPHRASE_ROUNDS: NonZeroU32 = NonZeroU32::new(1_000_000).unwrap();

/// Why a text is not a secret. Never contains any of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// It does not begin with `pms1_`: a password, perhaps.
    #[error(
        "this is not a generated secret (those begin with {PREFIX}); make one with `portmesh secret gen`, or allow a passphrase explicitly"
    )]
    NotGenerated,
    /// It is cut off or has something appended.
    #[error("the secret has {0} characters instead of {TEXT_CHARS}; was it cut off?")]
    Length(usize),
    /// A character that no secret has, or a wrong checksum.
    #[error("the secret has a typing error: its checksum is wrong")]
    Checksum,
    /// The passphrase is too short to withstand guessing.
    #[error(
        "a passphrase needs at least {PASSPHRASE_CHARS_MIN} characters, this one has {0}; better make a secret with `portmesh secret gen`"
    )]
    ShortPassphrase(usize),
    /// More secrets than a node tries for each connection.
    #[error(
        "at most {max} secrets can be accepted at a time; remove those that no node uses any more",
        max = Secrets::MAX
    )]
    TooMany,
    /// There is none.
    #[error("there is no secret in it; make one with `portmesh secret gen`")]
    None,
}

/// Names a secret in logs and lists without telling it: 8 hexadecimal digits that are derived from it.
///
/// They tell nothing of a generated secret. Of a passphrase they tell as much as one tested guess: they are shown to
/// members only.
///
/// ```
/// use portmesh::Secret;
/// let (one, other) = (Secret::from_bytes([7; 32]), Secret::from_bytes([8; 32]));
/// assert_ne!(one.id(), other.id());
/// assert_eq!(one.id().to_string().parse(), Ok(one.id()));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId([u8; 4]);

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretId({self})")
    }
}

impl FromStr for SecretId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u32::from_str_radix(text, 16) {
            Ok(number) if digits => Ok(SecretId(number.to_be_bytes())),
            _ => Err(format!(
                "{text:?} is no name of a secret: those are 8 hexadecimal digits, see `portmesh secret list`"
            )),
        }
    }
}

/// A secret that all nodes of a mesh share: 256 random bits. Wiped from memory when dropped; has no `Debug` of its
/// content.
///
/// Its text form is `pms1_`, the bytes in base64url, and a checksum, 52 characters in all:
///
/// ```
/// use portmesh::proto::handshake::Secret;
/// let secret = Secret::from_bytes([7; 32]);
/// let text = secret.to_text();
/// assert!(text.starts_with("pms1_") && text.len() == 52);
/// assert!(text.parse::<Secret>()? == secret);
/// assert!("correct horse battery staple".parse::<Secret>().is_err());
/// # Ok::<(), portmesh::proto::handshake::SecretError>(())
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// From 32 bytes, which must be random and of good origin.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Secret(Zeroizing::new(bytes))
    }

    /// From a passphrase of at least 20 characters, stretched once with PBKDF2-HMAC-SHA512, 1,000,000 rounds (about a
    /// second); the cluster's name is part of the salt. A generated secret is better: whoever records a handshake of
    /// an active attack can test guesses of a passphrase at leisure.
    ///
    /// # Errors
    /// [`SecretError::ShortPassphrase`].
    pub fn from_passphrase(passphrase: &str, cluster: &str) -> Result<Self, SecretError> {
        let chars = passphrase.chars().count();
        if chars < PASSPHRASE_CHARS_MIN {
            return Err(SecretError::ShortPassphrase(chars));
        }
        let salt = [b"portmesh pass v1".as_slice(), cluster.as_bytes()].concat();
        let mut out = Zeroizing::new([0; 32]);
        ring::pbkdf2::derive(
            ring::pbkdf2::PBKDF2_HMAC_SHA512,
            PASSPHRASE_ROUNDS,
            &salt,
            passphrase.as_bytes(),
            out.as_mut_slice(),
        );
        Ok(Secret(out))
    }

    /// The text form, wiped when dropped. For files of mode 0600 and for nothing else.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(64));
        text.push_str(PREFIX);
        BASE64URL.encode_string(*self.0, &mut text);
        BASE64URL.encode_string(self.checksum(), &mut text);
        text
    }

    /// What it is called in logs and lists.
    pub fn id(&self) -> SecretId {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice());
        match hmac::sign(&key, b"portmesh1 secret id").as_ref() {
            [a, b, c, d, ..] => SecretId([*a, *b, *c, *d]),
            _ => SecretId([0; 4]),
        }
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn checksum(&self) -> [u8; 3] {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(b"portmesh secret checksum v1");
        context.update(self.0.as_slice());
        match context.finish().as_ref() {
            [a, b, c, ..] => [*a, *b, *c],
            _ => [0; 3],
        }
    }
}

impl FromStr for Secret {
    type Err = SecretError;
    fn from_str(text: &str) -> Result<Self, SecretError> {
        let rest = text.strip_prefix(PREFIX).ok_or(SecretError::NotGenerated)?;
        if rest.len() != BODY_CHARS + CHECK_CHARS {
            return Err(SecretError::Length(text.chars().count()));
        }
        let (body, check) = rest
            .split_at_checked(BODY_CHARS)
            .ok_or(SecretError::Checksum)?;
        let mut bytes = Zeroizing::new([0; 32]);
        // The buffers are a little longer than needed, as the decoder estimates.
        let mut buffer = Zeroizing::new([0; 36]);
        let n = BASE64URL
            .decode_slice(body, buffer.as_mut_slice())
            .map_err(|_| SecretError::Checksum)?;
        bytes.copy_from_slice(
            buffer
                .get(..n)
                .filter(|b| b.len() == 32)
                .ok_or(SecretError::Checksum)?,
        );
        let secret = Secret(bytes);
        let wanted = BASE64URL.decode(check).map_err(|_| SecretError::Checksum)?;
        if wanted != secret.checksum() {
            return Err(SecretError::Checksum);
        }
        Ok(secret)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        // Of equal length and without an early end.
        self.0
            .iter()
            .zip(other.0.iter())
            .fold(0, |all, (a, b)| all | (a ^ b))
            == 0
    }
}
impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
