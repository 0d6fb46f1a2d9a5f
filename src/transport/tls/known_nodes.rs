//! `known_nodes`: how each node proved its ID the first time, kept on disk; whoever comes otherwise later is refused.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

use super::{
    files::{self, Access, FileError},
    node_key::fingerprint,
};
use crate::proto::{
    handshake::{HandshakeError, KnownNodes, Proof},
    id::NodeId,
    naming,
};

const FILE_BYTES_MAX: u64 = 32 << 20;
/// More nodes are not remembered, and so not accepted.
const NODES_MAX: usize = 65_536;
const HEAD: &str = "# How each node proved its ID the first time. Written by portmesh; `portmesh forget NODE` removes a line.\n";

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KnownNodesError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line is not `<node-id> SHA256:<digest>` or `<node-id> certificate`.
    #[error("{}:{line}: {why}; mend or remove the line", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

/// The file in a node's state directory. One node, or one program, writes it at a time; others may edit it meanwhile:
/// it is read again before anybody is refused and before it is written.
///
/// IDs with a random part (`%u`) are not remembered, nor are self-certifying ones, which need no memory.
pub struct KnownNodesFile {
    path: PathBuf,
    nodes: Mutex<BTreeMap<NodeId, Proof>>,
}

impl KnownNodesFile {
    /// Its name in the state directory.
    pub const NAME: &str = "known_nodes";

    /// Reads the file of that state directory; none is the same as an empty one.
    ///
    /// # Errors
    /// When it cannot be read or a line is not what it should be.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, KnownNodesError> {
        let path = directory.as_ref().join(Self::NAME);
        let nodes = load(&path)?;
        Ok(KnownNodesFile {
            path,
            nodes: Mutex::new(nodes),
        })
    }

    /// Every node that is remembered, with its proof for people: a key's fingerprint, or `certificate`.
    pub fn list(&self) -> Vec<(NodeId, String)> {
        self.lock()
            .iter()
            .map(|(node, proof)| (node.clone(), written(*proof)))
            .collect()
    }

    /// Forgets a node, so that it can come with a new key. Whether it was known.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn forget(&self, node: &NodeId) -> Result<bool, KnownNodesError> {
        let mut nodes = self.lock();
        *nodes = load(&self.path)?;
        let known = nodes.remove(node).is_some();
        if known {
            self.save(&nodes)?;
        }
        Ok(known)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Proof>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, nodes: &BTreeMap<NodeId, Proof>) -> Result<(), FileError> {
        let mut text = HEAD.to_owned();
        for (node, proof) in nodes {
            text.push_str(&format!("{node} {}\n", written(*proof)));
        }
        files::write(&self.path, text.as_bytes(), Access::Private, true)
    }

    fn compare(
        &self,
        nodes: &BTreeMap<NodeId, Proof>,
        node: &NodeId,
        proof: Proof,
    ) -> Result<(), HandshakeError> {
        match (nodes.get(node), proof) {
            (Some(Proof::Certificate), Proof::Key(_)) => {
                Err(HandshakeError::KnownByCertificate(node.clone()))
            }
            (Some(Proof::Key(known)), Proof::Key(shown)) if *known != shown => {
                let directory = self.path.parent().unwrap_or(Path::new("."));
                Err(HandshakeError::OtherKey(format!(
                    "ALARM: {node} shows another key than the one known for it ({} now, {} before): somebody who has the secret may be posing as it, or it lost its key. If the change was yours, run `portmesh forget {node} --state {}`",
                    fingerprint(&shown),
                    fingerprint(known),
                    quoted(directory),
                )))
            }
            _ => Ok(()),
        }
    }

    /// Whether there is nothing to remember.
    fn is_settled(nodes: &BTreeMap<NodeId, Proof>, node: &NodeId, proof: Proof) -> bool {
        let needless = matches!(proof, Proof::Key(_)) && naming::certified_key(node).is_some();
        nodes.get(node) == Some(&proof) || needless || naming::has_random_part(node)
    }

    /// Somebody may have edited the file; what cannot be read changes nothing.
    fn reread(&self, nodes: &mut BTreeMap<NodeId, Proof>) {
        match load(&self.path) {
            Ok(now) => *nodes = now,
            Err(e) => tracing::warn!("{e}; what was known before is kept"),
        }
    }
}

impl KnownNodes for KnownNodesFile {
    fn check(&self, node: &NodeId, proof: Proof) -> Result<(), HandshakeError> {
        let mut nodes = self.lock();
        if self.compare(&nodes, node, proof).is_ok() {
            return Ok(());
        }
        self.reread(&mut nodes);
        self.compare(&nodes, node, proof)
    }

    fn learn(&self, node: &NodeId, proof: Proof) -> Result<(), HandshakeError> {
        let mut nodes = self.lock();
        if Self::is_settled(&nodes, node, proof) {
            return self.compare(&nodes, node, proof);
        }
        self.reread(&mut nodes);
        self.compare(&nodes, node, proof)?;
        if nodes.len() >= NODES_MAX && !nodes.contains_key(node) {
            return Err(HandshakeError::OtherKey(format!(
                "{} remembers {NODES_MAX} nodes already, which is the limit; {node} cannot be remembered and is refused",
                self.path.display()
            )));
        }
        let before = nodes.insert(node.clone(), proof);
        self.save(&nodes).map_err(|e| {
            match before {
                Some(before) => nodes.insert(node.clone(), before),
                None => nodes.remove(node),
            };
            let source = std::error::Error::source(&e).map(ToString::to_string);
            HandshakeError::OtherKey(format!(
                "the key of {node} cannot be remembered: {e}: {}",
                source.unwrap_or_default()
            ))
        })
    }

    fn is_quick(&self, node: &NodeId, proof: Proof) -> bool {
        // where the file is being written, one waits for it elsewhere
        let nodes = self.nodes.try_lock();
        nodes.is_ok_and(|nodes| Self::is_settled(&nodes, node, proof))
    }
}

impl fmt::Debug for KnownNodesFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KnownNodesFile({})", self.path.display())
    }
}

/// As one word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn written(proof: Proof) -> String {
    match proof {
        Proof::Key(digest) => fingerprint(&digest),
        Proof::Certificate => "certificate".to_owned(),
    }
}

fn load(path: &Path) -> Result<BTreeMap<NodeId, Proof>, KnownNodesError> {
    let text = match files::read(path, FILE_BYTES_MAX, Access::Private) {
        Ok(text) => text,
        Err(FileError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(BTreeMap::new());
        }
        Err(e) => return Err(e.into()),
    };
    let mut nodes = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why: String| KnownNodesError::Line {
            path: path.to_owned(),
            line: at + 1,
            why,
        };
        let (node, proof) = parse(line).map_err(wrong)?;
        if nodes.insert(node, proof).is_some() {
            return Err(wrong("the node stands there twice".to_owned()));
        }
    }
    Ok(nodes)
}

fn parse(line: &str) -> Result<(NodeId, Proof), String> {
    let (node, proof) = line
        .split_once(' ')
        .ok_or("it is not `<node-id> SHA256:<digest>`")?;
    let node = node.parse().map_err(|e| format!("{e}"))?;
    if proof == "certificate" {
        return Ok((node, Proof::Certificate));
    }
    let digest = proof
        .strip_prefix("SHA256:")
        .and_then(|text| STANDARD_NO_PAD.decode(text).ok())
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .ok_or("its proof is neither `SHA256:<digest>` nor `certificate`")?;
    Ok((node, Proof::Key(digest)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn node(id: &str) -> NodeId {
        id.parse().unwrap()
    }

    #[test]
    fn the_first_key_of_a_node_is_the_only_one_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownNodesFile::open(dir.path()).unwrap();
        let (a, b) = (Proof::Key([1; 32]), Proof::Key([2; 32]));
        known.learn(&node("w/a"), a).unwrap();
        for known in [&known, &KnownNodesFile::open(dir.path()).unwrap()] {
            assert!(known.check(&node("w/a"), a).is_ok());
            assert!(known.learn(&node("w/a"), b).is_err());
            let error = known.check(&node("w/a"), b).unwrap_err().to_string();
            let wanted = format!("portmesh forget w/a --state {}", dir.path().display());
            assert!(
                error.contains("ALARM") && error.contains(&wanted),
                "{error}"
            );
        }
        // The command is another process: the node reads the file again before it refuses.
        let command = KnownNodesFile::open(dir.path()).unwrap();
        assert!(command.forget(&node("w/a")).unwrap());
        assert!(!command.forget(&node("w/a")).unwrap());
        known.check(&node("w/a"), b).unwrap();
        known.learn(&node("w/a"), b).unwrap();
        assert!(known.check(&node("w/a"), a).is_err());
    }

    #[test]
    fn who_came_by_certificate_is_not_taken_by_secret() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownNodesFile::open(dir.path()).unwrap();
        known.learn(&node("a"), Proof::Key([1; 32])).unwrap();
        known.learn(&node("a"), Proof::Certificate).unwrap();
        let again = KnownNodesFile::open(dir.path()).unwrap();
        assert_eq!(
            again.check(&node("a"), Proof::Key([1; 32])),
            Err(HandshakeError::KnownByCertificate(node("a")))
        );
        assert!(again.check(&node("a"), Proof::Certificate).is_ok());
    }

    #[test]
    fn names_for_one_life_are_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownNodesFile::open(dir.path()).unwrap();
        let id = naming::expand("cli/%u", "h", 77).unwrap();
        known.learn(&id, Proof::Key([1; 32])).unwrap();
        known.learn(&id, Proof::Key([2; 32])).unwrap();
        assert!(known.list().is_empty());
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KnownNodesFile::NAME);
        let lines = [
            "x",
            "a b",
            "a# certificate",
            "a SHA256:AAAA",
            "a certificate\na certificate",
        ];
        for line in lines {
            files::write(
                &path,
                format!("# head\n\n{line}\n").as_bytes(),
                Access::Private,
                true,
            )
            .unwrap();
            let error = KnownNodesFile::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains("known_nodes:"), "{error}");
        }
    }

    #[test]
    fn a_node_that_cannot_be_remembered_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        let known = KnownNodesFile::open(&gone).unwrap();
        let error = known.learn(&node("a"), Proof::Key([1; 32])).unwrap_err();
        assert!(
            error.to_string().contains("cannot be remembered"),
            "{error}"
        );
        assert!(known.list().is_empty());
    }
}
