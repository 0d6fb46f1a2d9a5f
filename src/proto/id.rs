//! Names of nodes and ports: [`NodeId`], [`Incarnation`], [`PortName`], [`PortId`] and where new names come from.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, SmolStrBuilder};

pub(crate) mod map;

/// What a name begins with that a life of a node gives away.
const PREFIX_BYTES: usize = 15;

/// The longest node ID and the longest port name, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Why a text is not a node ID, a port name or a port ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseIdError {
    /// The text is empty where a name is needed.
    #[error("a node ID must not be empty")]
    Empty,
    /// The text is longer than [`NAME_BYTES_MAX`] bytes.
    #[error("the name is {0} bytes long, the limit is {NAME_BYTES_MAX}")]
    TooLong(usize),
    /// A character outside `[A-Za-z0-9_.:/-]`.
    #[error(
        "the character {found:?} at byte {at} is not allowed; use letters, digits and _ . : / -"
    )]
    BadCharacter {
        /// The character.
        found: char,
        /// Its byte offset in the text.
        at: usize,
    },
}

/// For each byte whether names may have it.
const IN_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        let is_sign = matches!(byte, b'_' | b'.' | b':' | b'/' | b'-');
        #[allow(clippy::indexing_slicing)] // of 256 by a byte, while this is compiled
        {
            table[byte as usize] = byte.is_ascii_alphanumeric() || is_sign;
        }
        byte += 1;
    }
    table
};

/// Whether the text is a node ID or a port name (the empty one too).
pub(crate) fn check(text: &str) -> Result<(), ParseIdError> {
    if text.len() > NAME_BYTES_MAX {
        return Err(ParseIdError::TooLong(text.len()));
    }
    // every message brings a name: the slow look is for the message of the error
    #[allow(clippy::indexing_slicing)] // of 256 by a byte
    let is_in = |byte: u8| IN_NAMES[usize::from(byte)];
    let (fours, rest) = text.as_bytes().as_chunks::<4>();
    if fours
        .iter()
        .all(|&[a, b, c, d]| is_in(a) & is_in(b) & is_in(c) & is_in(d))
        && rest.iter().all(|&byte| is_in(byte))
    {
        return Ok(());
    }
    match text
        .char_indices()
        .find(|&(_, c)| !(c.is_ascii_alphanumeric() || "_.:/-".contains(c)))
    {
        Some((at, found)) => Err(ParseIdError::BadCharacter { found, at }),
        None => Ok(()),
    }
}

macro_rules! text_type {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.as_str())
            }
        }
        impl TryFrom<&str> for $name {
            type Error = ParseIdError;
            fn try_from(text: &str) -> Result<Self, ParseIdError> {
                text.parse()
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("the text of a ", stringify!($name)))
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                from.deserialize_str(Visitor)
            }
        }
        // those of a `SmolStr` look twice at what is not equal
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.as_str() == other.as_str()
            }
        }
        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }
    };
}

/// The name of a node: 1 to 255 of `[A-Za-z0-9_.:/-]`, unique in the mesh.
///
/// ```
/// use portmesh::NodeId;
/// let id: NodeId = "worker/a".parse()?;
/// assert_eq!(id.as_str(), "worker/a");
/// assert!("a#b".parse::<NodeId>().is_err());
/// # Ok::<(), portmesh::ParseIdError>(())
/// ```
#[derive(Clone, Eq, PartialOrd, Ord)]
pub struct NodeId(SmolStr);

impl NodeId {
    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.is_empty() {
            return Err(ParseIdError::Empty);
        }
        check(text)?;
        Ok(NodeId(text.into()))
    }
}
text_type!(NodeId);

/// The part of a port ID behind the `#`: up to 255 of `[A-Za-z0-9_.:/-]`. The empty name is the node's own port.
#[derive(Clone, Eq, PartialOrd, Ord)]
pub struct PortName(SmolStr);

impl PortName {
    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a port that is there.
    pub(crate) fn known(text: &str) -> Self {
        PortName(SmolStr::new(text))
    }

    /// The name of every node's own port: empty.
    pub fn node_port() -> Self {
        PortName(SmolStr::default())
    }

    /// The lane of the frames of the database, which is no port's: no text is read as it.
    pub(crate) fn db_lane() -> Self {
        PortName(SmolStr::new_static("'db"))
    }

    /// Whether this names the node's own port.
    pub fn is_node_port(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::borrow::Borrow<str> for PortName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for PortName {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        check(text)?;
        Ok(PortName(text.into()))
    }
}
text_type!(PortName);

/// The address of a port: `node-id#port-name`; `node-id` alone is the node's own port.
///
/// It is a name, not a handle: cheap to clone, printable, parsable, and it travels in messages.
///
/// ```
/// use portmesh::PortId;
/// let id: PortId = "worker/a#x1".parse()?;
/// assert_eq!((id.node().as_str(), id.name().as_str()), ("worker/a", "x1"));
/// assert_eq!("worker/a#".parse::<PortId>()?, "worker/a".parse::<PortId>()?);
/// # Ok::<(), portmesh::ParseIdError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId {
    node: NodeId,
    name: PortName,
}

impl PortId {
    /// The port of that name on that node.
    pub fn new(node: NodeId, name: PortName) -> Self {
        PortId { node, name }
    }

    /// The node's own port.
    pub fn of_node(node: NodeId) -> Self {
        PortId {
            node,
            name: PortName::node_port(),
        }
    }

    /// The node it lives on.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Its name on that node.
    pub fn name(&self) -> &PortName {
        &self.name
    }

    /// What its text is put together of.
    pub(crate) fn parts(&self) -> [&str; 3] {
        let name = self.name.as_str();
        let sign = if name.is_empty() { "" } else { "#" };
        [self.node.as_str(), sign, name]
    }

    /// Its text, made without the detours of formatting: one goes with each call.
    pub(crate) fn text(&self) -> String {
        self.parts().concat()
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_node_port() {
            f.pad(self.node.as_str())
        } else {
            write!(f, "{}#{}", self.node, self.name)
        }
    }
}

impl fmt::Debug for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PortId({self})")
    }
}

impl FromStr for PortId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let at = text.bytes().position(|byte| byte == b'#');
        let (node, name) = text.split_at(at.unwrap_or(text.len()));
        let name = name.get(1..).unwrap_or_default();
        let at = node.len() + 1;
        let name = name.parse().map_err(|e| match e {
            ParseIdError::BadCharacter { found, at: inner } => ParseIdError::BadCharacter {
                found,
                at: at + inner,
            },
            other => other,
        })?;
        Ok(PortId {
            node: node.parse()?,
            name,
        })
    }
}

impl TryFrom<&str> for PortId {
    type Error = ParseIdError;
    fn try_from(text: &str) -> Result<Self, ParseIdError> {
        text.parse()
    }
}

impl From<NodeId> for PortId {
    fn from(node: NodeId) -> Self {
        PortId::of_node(node)
    }
}

impl From<&PortId> for PortId {
    fn from(id: &PortId) -> Self {
        id.clone()
    }
}

impl From<&NodeId> for PortId {
    fn from(node: &NodeId) -> Self {
        PortId::of_node(node.clone())
    }
}

impl Serialize for PortId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for PortId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = PortId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the text of a port ID, node-id#port-name")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PortId, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_str(Visitor)
    }
}

/// One life of a node: 48 bits of start time in milliseconds since 1970, then 80 random bits; the higher is newer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(u128);

impl Incarnation {
    /// From the wall clock in milliseconds and 80 bits of randomness (the upper bits of `random` are ignored).
    pub fn new(wall_ms: u64, random: u128) -> Self {
        Incarnation((u128::from(wall_ms) & 0xffff_ffff_ffff) << 80 | random & ((1 << 80) - 1))
    }

    /// When that life began, in milliseconds since 1970 by its own clock.
    pub fn started_ms(self) -> u64 {
        (self.0 >> 80) as u64
    }

    /// What every port name begins with that this life of a node gives away: 15 characters, from the start time
    /// and 36 of the random bits. Fixed in length, so that no name of one prefix is a name of another.
    pub fn port_prefix(self) -> String {
        base62(self.0 >> 44, PREFIX_BYTES)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

impl FromStr for Incarnation {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "an incarnation is 32 lower-case hexadecimal digits";
        if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(WRONG);
        }
        u128::from_str_radix(text, 16)
            .map(Incarnation)
            .map_err(|_| WRONG)
    }
}

impl Serialize for Incarnation {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

const DIGITS: [u8; 62] = *b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn base62(mut number: u128, width: usize) -> String {
    let mut digits: Vec<u8> = Vec::with_capacity(width);
    while number > 0 || digits.len() < width {
        digits.extend(DIGITS.get((number % 62) as usize));
        number /= 62;
    }
    digits.iter().rev().map(|&b| char::from(b)).collect()
}

/// The name of that number among those with that prefix.
fn numbered(prefix: &str, mut number: u64) -> PortName {
    // from the end; a number has 11 digits at most
    let mut digits = [0; 11];
    let mut len = 0;
    for at in digits.iter_mut().rev() {
        if let Some(&digit) = DIGITS.get((number % 62) as usize) {
            *at = digit;
        }
        number /= 62;
        len += 1;
        if number == 0 {
            break;
        }
    }
    let digits = digits.get(digits.len().saturating_sub(len)..);
    let digits = std::str::from_utf8(digits.unwrap_or_default());
    let mut name = SmolStrBuilder::new();
    name.push_str(prefix);
    name.push_str(digits.unwrap_or_default());
    PortName(name.finish())
}

/// Gives away port names that are never used twice: the incarnation's prefix and a counter (P6).
#[derive(Debug)]
pub struct PortNames {
    prefix: String,
    next: std::sync::atomic::AtomicU64,
}

impl PortNames {
    /// The names of this life of a node.
    pub fn new(incarnation: Incarnation) -> Self {
        PortNames {
            prefix: incarnation.port_prefix(),
            next: 1.into(),
        }
    }

    /// What all of them begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The next name.
    pub fn next_name(&self) -> PortName {
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        numbered(&self.prefix, number)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn node_ids_hold_to_their_alphabet_and_length() {
        assert_eq!("".parse::<NodeId>(), Err(ParseIdError::Empty));
        assert!("a".repeat(255).parse::<NodeId>().is_ok());
        assert_eq!(
            "a".repeat(256).parse::<NodeId>(),
            Err(ParseIdError::TooLong(256))
        );
        assert_eq!(
            "a#".parse::<NodeId>(),
            Err(ParseIdError::BadCharacter { found: '#', at: 1 })
        );
        assert!("aZ0_.:/-".parse::<NodeId>().is_ok());
    }

    #[test]
    fn a_port_id_reads_back_what_it_prints() {
        for text in ["n", "n#p", "w/%".trim_end_matches('%')] {
            let id: PortId = text.parse().unwrap();
            assert_eq!(id.to_string().parse::<PortId>().unwrap(), id);
            assert_eq!(id.text(), id.to_string());
        }
        assert_eq!(
            "n#a b".parse::<PortId>(),
            Err(ParseIdError::BadCharacter { found: ' ', at: 3 })
        );
    }

    // P6
    #[test]
    fn no_name_is_given_twice_in_a_life_or_across_lives() {
        let mut seen = std::collections::BTreeSet::new();
        for life in 0..50 {
            let names = PortNames::new(Incarnation::new(1_700_000_000_000, life << 44));
            for n in 1..=200 {
                let name = names.next_name();
                // as the protocol says how they are made
                assert_eq!(name.as_str(), format!("{}{}", names.prefix(), base62(n, 1)));
                assert!(seen.insert(name));
            }
        }
        assert!(Incarnation::new(2, 0) > Incarnation::new(1, u128::MAX));
    }
}
