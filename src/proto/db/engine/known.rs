//! Which global nodes a node knows of, and when it wants a link with one.

use super::{Db, GLOBALS_MAX, KnownGlobal, Link, LinkId, Output, PAUSES};
use crate::proto::{id::NodeId, limits::Now, policy::Operation};

impl Db {
    pub(super) fn trusts(&self, node: &NodeId) -> bool {
        let is_seed = self.seeds.contains(node);
        let link = self.by_node.get(node).and_then(|link| self.links.get(link));
        match link {
            Some(Link { policy, .. }) => {
                !policy.is_denied(Operation::Global)
                    && (is_seed || policy.is_open(Operation::Global))
            }
            None => is_seed || self.config.policy.may_be_global(node),
        }
    }

    /// Another global node is known of.
    pub(super) fn learn_global(&mut self, node: &NodeId, addresses: Vec<String>, now: Now) {
        if *node == self.config.node || !self.trusts(node) {
            return;
        }
        if let Some(known) = self.globals.get_mut(node) {
            if !addresses.is_empty() {
                known.addresses = addresses;
            }
            return;
        }
        if self.globals.len() < GLOBALS_MAX {
            // not all of a mesh at the same moment
            let next = now.mono + self.jitter(PAUSES.0);
            let known = KnownGlobal {
                addresses,
                next,
                pause: PAUSES.0,
            };
            self.globals.insert(node.clone(), known);
        }
    }

    /// Where that global node said that it can be reached, also when it is gone since.
    pub fn global_addresses(&self, node: &NodeId) -> Vec<String> {
        let known = self.globals.get(node);
        known.map_or_else(Vec::new, |known| known.addresses.clone())
    }

    pub(super) fn is_wanted(&self, node: &NodeId) -> bool {
        !self.by_node.contains_key(node) && (self.config.global || self.leaf.home.is_none())
    }

    pub(super) fn want_globals(&mut self, now: Now) {
        let due: Vec<NodeId> = self
            .globals
            .iter()
            .filter(|(node, known)| known.next <= now.mono && self.is_wanted(node))
            .map(|(node, _)| node.clone())
            .collect();
        for node in due {
            let more = self.jitter(PAUSES.0);
            if let Some(known) = self.globals.get_mut(&node) {
                known.next = now.mono + known.pause + more;
                known.pause = (known.pause * 2).min(PAUSES.1);
            }
            self.outputs.push_back(Output::Want(node));
        }
    }

    /// The seeds have changed: links that were nothing may be something now.
    pub(super) fn look_for_globals(&mut self, now: Now) {
        if !self.config.global {
            return self.look_for_home(now);
        }
        let links: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| link.says_global)
            .map(|(id, _)| *id)
            .collect();
        for link in links {
            self.meet_global(link, now);
        }
    }
}
