//! Nodes and the time at which something happens to each: the earliest one is at hand, however many there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::proto::id::NodeId;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    by_node: BTreeMap<NodeId, Duration>,
    by_time: BTreeSet<(Duration, NodeId)>,
}

impl Deadlines {
    /// Sets the time of a node, where it has none yet.
    pub(crate) fn set_first(&mut self, node: &NodeId, at: Duration) {
        if !self.by_node.contains_key(node) {
            self.by_node.insert(node.clone(), at);
            self.by_time.insert((at, node.clone()));
        }
    }

    pub(crate) fn remove(&mut self, node: &NodeId) {
        if let Some(at) = self.by_node.remove(node) {
            self.by_time.remove(&(at, node.clone()));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.by_node.clear();
        self.by_time.clear();
    }

    pub(crate) fn contains(&self, node: &NodeId) -> bool {
        self.by_node.contains_key(node)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_node.len()
    }

    /// The earliest.
    pub(crate) fn first(&self) -> Option<&(Duration, NodeId)> {
        self.by_time.first()
    }

    /// Takes out the earliest if its time has come.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<NodeId> {
        let (at, _) = self.first()?;
        if *at > now {
            return None;
        }
        self.take_first()
    }

    /// Takes out the earliest.
    pub(crate) fn take_first(&mut self) -> Option<NodeId> {
        let (_, node) = self.by_time.pop_first()?;
        self.by_node.remove(&node);
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_each_node_once() {
        let mut deadlines = Deadlines::default();
        let [a, b, c]: [NodeId; 3] = ["a", "b", "c"].map(|name| name.parse().unwrap());
        let second = Duration::from_secs;
        deadlines.set_first(&a, second(3));
        deadlines.set_first(&b, second(1));
        deadlines.set_first(&c, second(2));
        // the first time that was set stays
        deadlines.set_first(&b, second(9));
        deadlines.remove(&c);
        assert_eq!((deadlines.len(), deadlines.contains(&c)), (2, false));
        assert_eq!(deadlines.first(), Some(&(second(1), b.clone())));
        assert_eq!(deadlines.take_due(second(0)), None);
        assert_eq!(deadlines.take_due(second(1)), Some(b));
        assert_eq!(deadlines.take_due(second(2)), None);
        assert_eq!(deadlines.take_first(), Some(a));
        assert_eq!(deadlines.take_first(), None);
    }
}
