//! In which format a sender encodes what it sends to another node: that of the link, so that nobody has to turn it into another.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{NodePorts, mesh::Mesh};
use crate::proto::{
    codec::{CBOR, Format, JSON},
    id::NodeId,
};

/// Which formats the links of a node have. What a sender makes of it may be wrong by the time when the message goes out; then it is
/// turned into the right one.
#[derive(Debug, Default)]
pub(super) struct Formats {
    json: AtomicUsize,
    other: AtomicUsize,
}

impl Formats {
    fn count(&self, format: &Format) -> &AtomicUsize {
        if format.is_json() {
            &self.json
        } else {
            &self.other
        }
    }
    /// A link of that format is up.
    pub(super) fn up(&self, format: &Format) {
        self.count(format).fetch_add(1, Ordering::Relaxed);
    }
    /// It is down.
    pub(super) fn down(&self, format: &Format) {
        self.count(format).fetch_sub(1, Ordering::Relaxed);
    }
    /// Whether JSON is the format for a node; it is asked for only where links differ.
    fn is_json(&self, is_json_there: impl FnOnce() -> bool) -> bool {
        self.json.load(Ordering::Relaxed) > 0
            && (self.other.load(Ordering::Relaxed) == 0 || is_json_there())
    }
}

impl<P: NodePorts> Mesh<P> {
    /// The format in which what goes to that node is best encoded: that of its link where it can be written directly, else CBOR.
    pub fn format_towards(&self, node: &NodeId) -> &'static Format {
        let is_json_there = || self.shared.cells.is_json(node);
        if self.shared.formats.is_json(is_json_there) {
            &JSON
        } else {
            &CBOR
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_looked_at_only_where_links_differ() {
        let formats = Formats::default();
        let unasked = || -> bool { panic!("no need to look") };
        assert!(!formats.is_json(unasked));
        formats.up(&Format::cbor());
        assert!(!formats.is_json(unasked));
        formats.up(&Format::json());
        assert!(formats.is_json(|| true));
        assert!(!formats.is_json(|| false));
        formats.down(&Format::cbor());
        assert!(formats.is_json(unasked));
        formats.down(&Format::json());
        assert!(!formats.is_json(unasked));
    }
}
