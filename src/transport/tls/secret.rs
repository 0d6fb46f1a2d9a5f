//! Where secrets come from: the system's randomness, a file that only its owner can read, the environment.

use std::path::Path;

use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use super::files::{self, Access, FileError};
use crate::proto::handshake::{Secret, SecretError, Secrets, SecretsError};

/// The largest file or text with secrets, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 4096;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretSourceError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is there is not a secret.
    #[error("{place} holds no secret")]
    Secret {
        /// The file or the variable.
        place: String,
        /// Why not.
        source: SecretError,
    },
    /// The environment variable is not set.
    #[error("the environment variable {0} is not set, or is not text")]
    NoVariable(String),
    /// The operating system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
}

impl Secret {
    /// A new one: 256 bits from the operating system.
    ///
    /// # Errors
    /// [`SecretSourceError::NoRandom`].
    pub fn generate() -> Result<Self, SecretSourceError> {
        let mut bytes = Zeroizing::new([0; 32]);
        ring::rand::SystemRandom::new()
            .fill(bytes.as_mut_slice())
            .map_err(|_| SecretSourceError::NoRandom)?;
        Ok(Secret::from_bytes(*bytes))
    }

    /// The current one of a file of secrets: see [`Secrets::from_file`].
    ///
    /// # Errors
    /// As [`Secrets::from_file`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SecretSourceError> {
        Ok(Secrets::from_file(path, None)?.current().clone())
    }

    /// The current one of an environment variable: see [`Secrets::from_env`].
    ///
    /// # Errors
    /// As [`Secrets::from_env`].
    pub fn from_env(variable: &str) -> Result<Self, SecretSourceError> {
        Ok(Secrets::from_env(variable, None)?.current().clone())
    }

    /// Writes the text form to a file of mode 0600. An existing file is left alone unless `overwrite`.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn to_file(&self, path: impl AsRef<Path>, overwrite: bool) -> Result<(), FileError> {
        let mut text = self.to_text();
        text.push('\n');
        files::write(path.as_ref(), text.as_bytes(), Access::Private, overwrite)
    }
}

impl Secrets {
    /// From a file with one secret a line ([`Secrets::parse`]), that only its owner can read. `passphrases`: the
    /// cluster's name, where passphrases are allowed.
    ///
    /// # Errors
    /// When it cannot be read, when others can read it (with the `chmod` that mends it), when a line holds no secret.
    pub fn from_file(
        path: impl AsRef<Path>,
        passphrases: Option<&str>,
    ) -> Result<Self, SecretSourceError> {
        let path = path.as_ref();
        let text = files::read(path, FILE_BYTES_MAX, Access::Private)?;
        Self::from_text(&text, &path.display().to_string(), passphrases)
    }

    /// From an environment variable that holds the same text. A file is better: other processes of the same user can
    /// read the environment, and children inherit it.
    ///
    /// # Errors
    /// When it is not set or a line holds no secret.
    pub fn from_env(variable: &str, passphrases: Option<&str>) -> Result<Self, SecretSourceError> {
        let text = std::env::var(variable)
            .map_err(|_| SecretSourceError::NoVariable(variable.to_owned()))?;
        Self::from_text(&Zeroizing::new(text), variable, passphrases)
    }

    /// From that text; `place` says in errors where it is from.
    ///
    /// # Errors
    /// [`SecretSourceError::Secret`].
    pub fn from_text(
        text: &str,
        place: &str,
        passphrases: Option<&str>,
    ) -> Result<Self, SecretSourceError> {
        Secrets::parse(text, passphrases).map_err(|error| {
            let SecretsError { line, source } = error;
            SecretSourceError::Secret {
                place: match text.trim().contains('\n') {
                    true => format!("{place}:{line}"),
                    false => place.to_owned(),
                },
                source,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn secrets_survive_a_file_and_no_two_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mesh.secret");
        let secret = Secret::generate().unwrap();
        assert!(secret != Secret::generate().unwrap());
        secret.to_file(&path, false).unwrap();
        assert!(secret.to_file(&path, false).is_err());
        assert!(Secret::from_file(&path).unwrap() == secret);
    }

    #[test]
    fn errors_name_the_place_and_never_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mesh.secret");
        files::write(&path, b"hunter2 hunter2", Access::Private, false).unwrap();
        let error = Secret::from_file(&path).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.to_string().contains("mesh.secret"), "{error}");
        assert!(cause.contains("portmesh secret gen"), "{cause}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        assert!(Secret::from_env("PORTMESH_NO_SUCH_VARIABLE").is_err());
    }
}
