//! Parts of a node ID that mean something: the random part that `%u` stands for, and the digest of a node's own key.

use super::id::{NodeId, ParseIdError};

/// RFC 4648 in lower case.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// 65 random bits.
const RANDOM_CHARS: usize = 13;
/// 15 bits by which a random part is known from a name that looks like one.
const CHECK_CHARS: usize = 3;
/// 256 bits.
const KEY_CHARS: usize = 52;
/// Between the name and the digest of the key.
const KEY_MARK: &str = "::";

/// A pattern of node IDs: `*` stands for any characters, also none; everything else for itself.
///
/// ```
/// use portmesh::proto::naming::NodePattern;
/// let seeds: NodePattern = "seed/*".parse()?;
/// assert!(seeds.matches(&"seed/a".parse()?));
/// assert!(!seeds.matches(&"worker/seed/a".parse()?));
/// # Ok::<(), portmesh::ParseIdError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePattern(String);

impl NodePattern {
    /// Whether the ID is one of them.
    pub fn matches(&self, node: &NodeId) -> bool {
        glob(&self.0, node.as_str())
    }
}

/// Whether the text is what the pattern says: `*` stands for any characters, also none.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

impl std::str::FromStr for NodePattern {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.is_empty() {
            return Err(ParseIdError::Empty);
        }
        super::id::check(&text.replace('*', ""))?;
        Ok(NodePattern(text.to_owned()))
    }
}

impl std::fmt::Display for NodePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// Replaces `%n` by the host's name and every `%u` by a random part (one for all of them) in a template of a node ID.
/// Characters of the host name that an ID cannot have become hyphens.
///
/// # Errors
/// As for any text that is to become a node ID.
///
/// ```
/// use portmesh::proto::naming;
/// let id = naming::expand("worker/%n/%u", "host.example", 12345)?;
/// assert!(id.as_str().starts_with("worker/host.example/"));
/// assert!(naming::has_random_part(&id));
/// # Ok::<(), portmesh::ParseIdError>(())
/// ```
pub fn expand(template: &str, host: &str, random: u128) -> Result<NodeId, ParseIdError> {
    let host: String = host
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || "_.:/-".contains(c) => c,
            _ => '-',
        })
        .collect();
    template
        .replace("%n", &host)
        .replace("%u", &random_part(random))
        .parse()
}

/// What `%u` becomes: 16 characters, 65 of the random bits and a checksum, so that others can tell it from a fixed name.
pub fn random_part(random: u128) -> String {
    let mut out = String::with_capacity(RANDOM_CHARS + CHECK_CHARS);
    for i in 0..RANDOM_CHARS {
        out.push(digit((random >> (5 * i)) as u8));
    }
    let check = check(&out);
    out.push_str(&check);
    out
}

/// Whether the ID contains what `%u` becomes, between separators: it is a name for one life, its key is not remembered.
pub fn has_random_part(node: &NodeId) -> bool {
    node.as_str()
        .split(['/', '.', ':', '_', '-'])
        .filter(|part| part.len() == RANDOM_CHARS + CHECK_CHARS && part.bytes().all(is_digit))
        .filter_map(|part| part.split_at_checked(RANDOM_CHARS))
        .any(|(random, sum)| check(random) == sum)
}

/// The self-certifying ID of that name and key: `name::` and the SHA-256 of the SubjectPublicKeyInfo in base32. Only
/// who has the key can use it, with nothing to be remembered anywhere.
///
/// # Errors
/// When the name is not allowed, or too long with its 54 characters more.
pub fn self_certifying(name: &str, key: &[u8; 32]) -> Result<NodeId, ParseIdError> {
    let mut id = format!("{name}{KEY_MARK}");
    for i in 0..KEY_CHARS {
        let bits = (0..5).fold(0, |bits, b| {
            let at = 5 * i + b;
            let byte = key.get(at / 8).copied().unwrap_or(0);
            bits << 1 | byte >> (7 - at % 8) & 1
        });
        id.push(digit(bits));
    }
    id.parse()
}

/// The digest of the key that a self-certifying ID contains; `None` for any other ID.
pub fn certified_key(node: &NodeId) -> Option<[u8; 32]> {
    let (_, text) = node.as_str().rsplit_once(KEY_MARK)?;
    if text.len() != KEY_CHARS {
        return None;
    }
    let mut out = [0; 32];
    for (i, c) in text.bytes().enumerate() {
        let bits = BASE32.iter().position(|d| *d == c)? as u8;
        for b in 0..5 {
            if bits >> (4 - b) & 1 == 1 {
                let at = 5 * i + b;
                // The last four bits are over: an ID that sets them contains no digest.
                *out.get_mut(at / 8)? |= 0x80 >> (at % 8);
            }
        }
    }
    Some(out)
}

fn digit(bits: u8) -> char {
    BASE32
        .get(usize::from(bits & 31))
        .map_or('a', |b| char::from(*b))
}

fn is_digit(b: u8) -> bool {
    BASE32.contains(&b)
}

fn check(random: &str) -> String {
    let text = format!("portmesh %u {random}");
    let sum = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    sum.as_ref()
        .iter()
        .take(CHECK_CHARS)
        .map(|b| digit(*b))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn random_parts_are_known_from_fixed_names() {
        for random in [0, 1, u128::MAX, 0x1234_5678_9abc_def0_1122] {
            let id = expand("a/%u", "h", random).unwrap();
            assert!(has_random_part(&id), "{id}");
            assert_eq!(id, expand("a/%u", "h", random).unwrap());
        }
        let fixed = ["worker/a", "a", "aaaaaaaaaaaaaaaa", "seed.example.net:4040"];
        assert!(fixed.iter().all(|f| !has_random_part(&f.parse().unwrap())));
        let id = expand("a/%u", "h", 7).unwrap();
        let longer: NodeId = format!("{id}x").parse().unwrap();
        assert!(!has_random_part(&longer));
        assert_ne!(expand("%u", "h", 1).unwrap(), expand("%u", "h", 2).unwrap());
    }

    #[test]
    fn host_names_fit_into_ids() {
        assert_eq!(expand("%n", "höst one", 0).unwrap().as_str(), "h-st-one");
        assert!(expand("%x", "h", 0).is_err());
    }

    #[test]
    fn self_certifying_ids_give_their_key_back() {
        for key in [[0; 32], [255; 32], std::array::from_fn(|i| i as u8)] {
            let id = self_certifying("worker/a", &key).unwrap();
            assert_eq!(certified_key(&id), Some(key), "{id}");
        }
        for not in ["a", "a::b", "a:b", "::"] {
            assert_eq!(certified_key(&not.parse().unwrap()), None);
        }
        let id = self_certifying("a", &[1; 32]).unwrap();
        let beyond: NodeId = format!("{}7", &id.as_str()[..id.as_str().len() - 1])
            .parse()
            .unwrap();
        assert_eq!(certified_key(&beyond), None);
    }
}
