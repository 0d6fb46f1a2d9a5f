//! A file of secrets that is changed: its comments and the order of its other lines stay.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{
    files::{self, Access, FileError},
    secret::{FILE_BYTES_MAX, SecretSourceError},
};
use crate::proto::handshake::{Secret, SecretError, SecretId, Secrets, secret_lines};

/// Why a file of secrets is not changed. It is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// It cannot be read, or holds something else.
    #[error(transparent)]
    Source(#[from] SecretSourceError),
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] FileError),
    /// One more would be too many.
    #[error("{} is full", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// How many there may be.
        source: SecretError,
    },
    /// It has no secret of that name.
    #[error("{} has no secret {id}; `portmesh secret list` shows those that it has", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The name.
        id: SecretId,
    },
    /// The current one cannot be removed: nodes could not dial any more.
    #[error("{id} is the current secret of {}: make another one current first, with `portmesh secret use`", path.display())]
    Current {
        /// The file.
        path: PathBuf,
        /// The name.
        id: SecretId,
    },
}

/// A file with the secrets that a node accepts, the current one first, read to be changed. Rotation without a gap: [add](Self::add)
/// a new one everywhere, then [use](Self::make_current) it everywhere, then [remove](Self::remove) the old one everywhere.
///
/// ```
/// use portmesh::{Secret, SecretFile, Secrets};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("mesh.secret");
/// let (old, new) = (Secret::generate()?, Secret::generate()?);
/// old.to_file(&path, false)?;
///
/// let mut file = SecretFile::read(&path, None)?;
/// file.add(new.clone())?;
/// file.make_current(new.id())?;
/// file.remove(old.id())?;
/// file.write()?;
/// assert_eq!(Secrets::from_file(&path, None)?.current(), &new);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SecretFile {
    path: PathBuf,
    secrets: Secrets,
    lines: Vec<Line>,
}

/// A line as it is in the file, and the secret that it holds.
struct Line {
    text: Zeroizing<String>,
    secret: Option<SecretId>,
}

impl SecretFile {
    /// Reads it. `passphrases` as for [`Secrets::from_file`].
    ///
    /// # Errors
    /// [`SecretFileError::Source`].
    pub fn read(
        path: impl AsRef<Path>,
        passphrases: Option<&str>,
    ) -> Result<Self, SecretFileError> {
        let path = path.as_ref().to_owned();
        let place = path.display().to_string();
        let read = files::read(&path, FILE_BYTES_MAX, Access::Private);
        let text = read.map_err(SecretSourceError::from)?;
        let secrets = Secrets::from_text(&text, &place, passphrases)?;
        let mut lines: Vec<Line> = text
            .lines()
            .map(|line| Line {
                text: Zeroizing::new(line.to_owned()),
                secret: None,
            })
            .collect();
        for (number, text) in secret_lines(&text) {
            let id = Secrets::from_text(text, &place, passphrases)?
                .current()
                .id();
            if let Some(line) = lines.get_mut(number - 1) {
                line.secret = Some(id);
            }
        }
        Ok(SecretFile {
            path,
            secrets,
            lines,
        })
    }

    /// The secrets that it has now, the current one first.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Accepts another one.
    ///
    /// # Errors
    /// [`SecretFileError::Full`].
    pub fn add(&mut self, secret: Secret) -> Result<(), SecretFileError> {
        if self.secrets.accepts(secret.id()) {
            return Ok(());
        }
        let line = Line {
            text: secret.to_text(),
            secret: Some(secret.id()),
        };
        let accepted = self.secrets.clone().accept(secret);
        self.secrets = accepted.map_err(|source| SecretFileError::Full {
            path: self.path.clone(),
            source,
        })?;
        self.lines.push(line);
        Ok(())
    }

    /// Makes that one the current one. Its comment, the lines above it that begin with `#`, goes with it.
    ///
    /// # Errors
    /// [`SecretFileError::Unknown`].
    pub fn make_current(&mut self, id: SecretId) -> Result<(), SecretFileError> {
        let moved = self.take(id)?;
        let first = self.lines.iter().position(|line| line.secret.is_some());
        let at = self.begin(first.unwrap_or(0));
        self.lines.splice(at..at, moved);
        self.secrets = self.secrets.clone().prefer(id);
        Ok(())
    }

    /// Accepts that one no longer. Its comment goes with it.
    ///
    /// # Errors
    /// [`SecretFileError::Unknown`], [`SecretFileError::Current`].
    pub fn remove(&mut self, id: SecretId) -> Result<(), SecretFileError> {
        if self.secrets.current().id() == id {
            return Err(SecretFileError::Current {
                path: self.path.clone(),
                id,
            });
        }
        self.take(id)?;
        self.secrets = self.secrets.clone().remove(id);
        Ok(())
    }

    /// Writes it, whole or not at all, of mode 0600.
    ///
    /// # Errors
    /// [`SecretFileError::Write`].
    pub fn write(&self) -> Result<(), SecretFileError> {
        let bytes = self.lines.iter().map(|line| line.text.len() + 1).sum();
        let mut text = Zeroizing::new(String::with_capacity(bytes));
        for line in &self.lines {
            text.push_str(&line.text);
            text.push('\n');
        }
        files::write(&self.path, text.as_bytes(), Access::Private, true)?;
        Ok(())
    }

    /// Where the comment begins that belongs to that line.
    fn begin(&self, line: usize) -> usize {
        let above = self.lines.get(..line).unwrap_or_default();
        let comment = |line: &&Line| line.text.trim_start().starts_with('#');
        line - above.iter().rev().take_while(comment).count()
    }

    /// Takes out the lines of that secret, each with its comment.
    fn take(&mut self, id: SecretId) -> Result<Vec<Line>, SecretFileError> {
        let mut taken = Vec::new();
        while let Some(at) = self.lines.iter().position(|line| line.secret == Some(id)) {
            let begin = self.begin(at);
            let lines: Vec<Line> = self.lines.drain(begin..=at).collect();
            if taken.is_empty() {
                taken = lines;
            }
        }
        match taken.is_empty() {
            false => Ok(taken),
            true => Err(SecretFileError::Unknown {
                path: self.path.clone(),
                id,
            }),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mesh.secret");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        (dir, path)
    }

    fn text(n: u8) -> String {
        Secret::from_bytes([n; 32]).to_text().to_string()
    }

    fn id(n: u8) -> SecretId {
        Secret::from_bytes([n; 32]).id()
    }

    #[test]
    fn a_rotation_keeps_the_comments_and_all_other_lines() {
        let (_dir, path) = file(&format!("# shop\n\n# since May\n{}\n", text(1)));
        let mut file = SecretFile::read(&path, None).unwrap();
        file.add(Secret::from_bytes([2; 32])).unwrap();
        file.write().unwrap();
        let now = fs::read_to_string(&path).unwrap();
        assert_eq!(
            now,
            format!("# shop\n\n# since May\n{}\n{}\n", text(1), text(2))
        );
        file.make_current(id(2)).unwrap();
        file.write().unwrap();
        let now = fs::read_to_string(&path).unwrap();
        assert_eq!(
            now,
            format!("# shop\n\n{}\n# since May\n{}\n", text(2), text(1))
        );
        let read = Secrets::from_file(&path, None).unwrap();
        assert_eq!(&read, file.secrets());
        assert_eq!(read.current().id(), id(2));
        file.remove(id(1)).unwrap();
        file.write().unwrap();
        let now = fs::read_to_string(&path).unwrap();
        assert_eq!(now, format!("# shop\n\n{}\n", text(2)));
        assert_eq!(&Secrets::from_file(&path, None).unwrap(), file.secrets());
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let all: String = (1..=4).map(|n| text(n) + "\n").collect();
        let (_dir, path) = file(&all);
        let mut file = SecretFile::read(&path, None).unwrap();
        let full = file.add(Secret::from_bytes([5; 32])).unwrap_err();
        assert!(matches!(full, SecretFileError::Full { .. }), "{full}");
        let unknown = file.make_current(id(5)).unwrap_err();
        assert!(unknown.to_string().contains("secret list"), "{unknown}");
        assert!(file.remove(id(5)).is_err());
        let current = file.remove(id(1)).unwrap_err();
        assert!(current.to_string().contains("secret use"), "{current}");
        file.write().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), all);
    }
}
