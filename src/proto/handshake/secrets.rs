//! The secrets that a node accepts, and the text that holds several of them.

use super::{Secret, SecretError, SecretId};

/// The secrets that a node accepts: the one it sends, and up to three older or newer ones, so that a rotation has no
/// gap: add the new one everywhere, switch, remove the old one.
///
/// As text it is one secret a line, the current one first; empty lines and those that begin with `#` count for nothing.
///
/// ```
/// use portmesh::{Secret, Secrets};
/// let (new, old) = (Secret::from_bytes([1; 32]), Secret::from_bytes([2; 32]));
/// let text = format!("# since May\n{}\n# until May\n{}\n", *new.to_text(), *old.to_text());
/// let secrets = Secrets::parse(&text, None)?;
/// assert_eq!(secrets.current(), &new);
/// assert_eq!(secrets.iter().count(), 2);
/// # Ok::<(), portmesh::proto::handshake::SecretsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    current: Secret,
    others: Vec<Secret>,
}

/// Which line of a text holds no secret, and why. Never contains any of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {source}")]
pub struct SecretsError {
    /// The line, the first being 1.
    pub line: usize,
    /// What is wrong with it.
    pub source: SecretError,
}

impl Secrets {
    /// How many there can be, the current one included.
    pub const MAX: usize = 4;

    /// Only one.
    pub fn new(current: Secret) -> Self {
        Secrets {
            current,
            others: Vec::new(),
        }
    }

    /// Reads a text with one secret a line. `passphrases`: the cluster's name, where lines that are not generated
    /// secrets count as passphrases ([`Secret::from_passphrase`], about a second each).
    ///
    /// # Errors
    /// [`SecretsError`]: a line that is none, more than [`Self::MAX`], no line at all.
    pub fn parse(text: &str, passphrases: Option<&str>) -> Result<Self, SecretsError> {
        let mut secrets: Option<Secrets> = None;
        let mut last = 1;
        for (line, text) in lines(text) {
            last = line;
            let wrong = |source| SecretsError { line, source };
            let secret = one(text, passphrases).map_err(wrong)?;
            secrets = Some(match secrets {
                None => Secrets::new(secret),
                Some(secrets) => secrets.accept(secret).map_err(wrong)?,
            });
        }
        secrets.ok_or(SecretsError {
            line: last,
            source: SecretError::None,
        })
    }

    /// Accepts another one as well; it is never sent first.
    ///
    /// # Errors
    /// [`SecretError::TooMany`] at [`Self::MAX`].
    pub fn accept(mut self, other: Secret) -> Result<Self, SecretError> {
        if self.iter().any(|secret| *secret == other) {
            return Ok(self);
        }
        if self.others.len() + 1 >= Self::MAX {
            return Err(SecretError::TooMany);
        }
        self.others.push(other);
        Ok(self)
    }

    /// The one that dials use.
    pub fn current(&self) -> &Secret {
        &self.current
    }

    /// All, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.current).chain(&self.others)
    }

    /// Makes that one the current one, where it is accepted.
    pub fn prefer(mut self, id: SecretId) -> Self {
        if let Some(at) = self.others.iter().position(|other| other.id() == id) {
            let current = self.others.remove(at);
            let former = std::mem::replace(&mut self.current, current);
            self.others.insert(0, former);
        }
        self
    }

    /// Accepts that one no longer; the current one stays.
    pub fn remove(mut self, id: SecretId) -> Self {
        self.others.retain(|other| other.id() != id);
        self
    }

    /// Whether the one of that name is accepted.
    pub fn accepts(&self, id: SecretId) -> bool {
        self.iter().any(|secret| secret.id() == id)
    }
}

impl From<Secret> for Secrets {
    fn from(current: Secret) -> Self {
        Secrets::new(current)
    }
}

/// The lines of a text that hold a secret, trimmed, with their numbers.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(at, line)| {
        let line = line.trim();
        (!line.is_empty() && !line.starts_with('#')).then_some((at + 1, line))
    })
}

fn one(text: &str, passphrases: Option<&str>) -> Result<Secret, SecretError> {
    match (text.parse(), passphrases) {
        (Err(SecretError::NotGenerated), Some(cluster)) => Secret::from_passphrase(text, cluster),
        (secret, _) => secret,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn secret(n: u8) -> Secret {
        Secret::from_bytes([n; 32])
    }

    #[test]
    fn one_a_line_the_current_one_first_and_each_once() {
        let text = |n: u8| secret(n).to_text().to_string();
        let all = format!("\n# a\n  {} \n\n{}\r\n{}\n", text(1), text(2), text(1));
        let secrets = Secrets::parse(&all, None).unwrap();
        assert_eq!(secrets.current(), &secret(1));
        assert_eq!(secrets.iter().count(), 2);
        assert!(secrets.accepts(secret(2).id()) && !secrets.accepts(secret(3).id()));
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_and_never_by_its_text() {
        let good = secret(1).to_text().to_string();
        let cut = good.get(..40).unwrap();
        let many: String = (1..=5)
            .map(|n| secret(n).to_text().to_string() + "\n")
            .collect();
        let typo = good.replace("AQEB", "AQEC");
        for (text, line, why) in [
            ("", 1, SecretError::None),
            ("# nothing\n\n", 1, SecretError::None),
            ("correct horse battery staple", 1, SecretError::NotGenerated),
            (&format!("#\n{good}\n{cut}"), 3, SecretError::Length(40)),
            (&many, 5, SecretError::TooMany),
            (&typo, 1, SecretError::Checksum),
        ] {
            let error = Secrets::parse(text, None).unwrap_err();
            assert_eq!((error.line, &error.source), (line, &why), "{text}");
            let shown = format!("{error} {error:?}");
            assert!(
                !shown.contains("horse") && !shown.contains("AQEB"),
                "{shown}"
            );
        }
    }

    #[test]
    fn passphrases_count_only_where_they_are_allowed_and_only_long_ones() {
        let text = "a phrase of more than twenty characters";
        let wanted = Secret::from_passphrase(text, "c").unwrap();
        let secrets = Secrets::parse(text, Some("c")).unwrap();
        assert_eq!(secrets.current(), &wanted);
        let error = Secrets::parse("too short", Some("c")).unwrap_err();
        assert_eq!(error.source, SecretError::ShortPassphrase(9));
        // cut off, and not taken for a passphrase
        let text = secret(1).to_text();
        let error = Secrets::parse(text.get(..50).unwrap(), Some("c")).unwrap_err();
        assert_eq!(error.source, SecretError::Length(50));
    }
}
