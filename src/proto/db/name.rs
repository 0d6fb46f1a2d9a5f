//! Names of families and keys, and why a write is refused (R9).

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize, de::Error as _};

/// A key: any text but the empty one.
pub type Key = Arc<str>;

/// The longest name of a family, in bytes.
pub const FAMILY_BYTES_MAX: usize = 255;

/// The system's families.
pub mod system {
    /// Key: a node's ID, set by that node: `{addr: [text], global: bool, version: text}`.
    pub const NODES: &str = "'nodes";
    /// Key: a node's ID, set by that node: CRLs of the cluster's CAs, in PEM.
    pub const CRL: &str = "'crl";
    /// Key: the ID of a node that is attached to the owner: `[life, counter, version]`.
    pub const HOMES: &str = "'homes";
    /// Key: the ID of a global node that the owner is linked with: `[life]`.
    pub const LINKS: &str = "'links";
}

/// The name of a family: `[A-Za-z][A-Za-z0-9_:]*`, or that behind a `'` for those of the system, at most 255 bytes.
///
/// ```
/// use portmesh::Family;
/// let family: Family = "workers:fast".parse()?;
/// assert_eq!(family.as_str(), "workers:fast");
/// assert!("9lives".parse::<Family>().is_err());
/// # Ok::<(), portmesh::WriteRefused>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Family(Arc<str>);

impl Family {
    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one of the system's own.
    pub fn is_system(&self) -> bool {
        self.0.starts_with('\'')
    }

    /// One of the system's families.
    pub(crate) fn system(name: &'static str) -> Self {
        Family(name.into())
    }
}

impl std::borrow::Borrow<str> for Family {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for Family {
    type Err = WriteRefused;
    fn from_str(text: &str) -> Result<Self, WriteRefused> {
        let name = text.strip_prefix('\'').unwrap_or(text);
        let good = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'));
        if good && text.len() <= FAMILY_BYTES_MAX {
            Ok(Family(text.into()))
        } else {
            Err(WriteRefused::BadFamily(shortened(text)))
        }
    }
}

impl TryFrom<&str> for Family {
    type Error = WriteRefused;
    fn try_from(text: &str) -> Result<Self, WriteRefused> {
        text.parse()
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Family({})", self.0)
    }
}

impl Serialize for Family {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Family {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Why an entry was not written, by this node or by its home. The entry is not there: nobody will see it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WriteRefused {
    /// The family's name is not one.
    #[error(
        "{0:?} is not the name of a family: a letter, then letters, digits, _ and :, at most 255"
    )]
    BadFamily(String),
    /// Families that begin with `'` are the system's.
    #[error("the family {0} is the system's")]
    SystemFamily(String),
    /// The key is empty or too long.
    #[error("a key is 1 to {max} bytes long, this one is {bytes}")]
    BadKey {
        /// Its length.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The value is too large.
    #[error("the value is {bytes} bytes long, the limit is {max}")]
    ValueTooLarge {
        /// Its length, in CBOR.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The value has no place in the data model, or holds too much.
    #[error("the value is not encodable: {0}")]
    NotEncodable(String),
    /// This node owns as many families as it may.
    #[error("this node has used {0} families, as many as it may")]
    TooManyFamilies(u64),
    /// This node owns as many entries as it may; what was removed lately counts.
    #[error(
        "this node owns {0} entries, as many as it may: remove some, or raise db_node_entries_max"
    )]
    TooManyEntries(u64),
    /// This node owns as many bytes as it may.
    #[error(
        "the entries of this node would be over {0} bytes: remove some, or raise db_node_bytes_max"
    )]
    NodeFull(u64),
    /// The home holds as much as it may for all nodes together.
    #[error("the database is full at this node's home ({0})")]
    MeshFull(String),
    /// The clock of the writing node is too far ahead of its home's.
    #[error("the clock of this node is {0} ms ahead of its home's; set one of them right")]
    ClockAhead(u64),
    /// The policy of the home does not let this node write there.
    #[error("not permitted: {0}")]
    NotPermitted(String),
}

/// Whether the text may be a key.
pub(crate) fn check_key(key: &str, max: usize) -> Result<(), WriteRefused> {
    if (1..=max).contains(&key.len()) {
        Ok(())
    } else {
        Err(WriteRefused::BadKey {
            bytes: key.len() as u64,
            max: max as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R9
    #[test]
    fn families_hold_to_their_alphabet_and_length() {
        for good in ["a", "Z9", "workers:fast_1", "'nodes", &"x".repeat(255)] {
            assert!(good.parse::<Family>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "'",
            "9a",
            "_a",
            "a-b",
            "a b",
            "ä",
            "''a",
            &"x".repeat(256),
        ] {
            assert!(bad.parse::<Family>().is_err(), "{bad}");
        }
        assert!(check_key("", 10).is_err());
        assert!(check_key("0123456789", 10).is_ok());
        assert!(check_key("0123456789a", 10).is_err());
        assert!(check_key("any text, ü", 20).is_ok());
    }
}
