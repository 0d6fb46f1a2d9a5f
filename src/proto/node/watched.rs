//! Which ports of this node one peer monitors, as far as its link knows.
//!
//! The ports themselves tell their deaths to the link's outbound half, so that this list learns of them only by looking.
//! It looks seldom enough that a monitor costs a constant number of looks.

use crate::proto::id::{PortName, map::NameMap};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Watched {
    ports: NameMap<()>,
    /// How many were left at the last look, and how many asked since.
    living: usize,
    asked: usize,
}

impl Watched {
    pub(super) fn contains(&self, name: &PortName) -> bool {
        self.ports.contains(name)
    }

    /// Whether one more may be monitored. `is_alive` tells of a port.
    pub(super) fn has_room(&mut self, max: usize, is_alive: impl Fn(&str) -> bool) -> bool {
        self.asked += 1;
        let many = self.ports.len() >= max || self.ports.len() > 2 * self.living + 1024;
        if many && self.asked > self.living / 8 {
            let all: Vec<PortName> = self.ports.names().collect();
            for name in all.iter().filter(|name| !is_alive(name.as_str())) {
                self.ports.remove(name);
            }
            self.living = self.ports.len();
            self.asked = 0;
        }
        self.ports.len() < max
    }

    pub(super) fn insert(&mut self, name: &PortName) {
        self.ports.insert(name, ());
    }

    pub(super) fn remove(&mut self, name: &PortName) -> bool {
        self.ports.remove(name).is_some()
    }

    /// All of them, as they are now.
    pub(super) fn names(&self) -> Vec<PortName> {
        self.ports.names().collect()
    }

    pub(super) fn into_ports(mut self) -> impl Iterator<Item = PortName> {
        self.ports.take().map(|(name, ())| name)
    }
}
