//! Which ports of this node are registered in which families of the database, for the policy: no message takes the lock of
//! the database.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{PoisonError, RwLock},
};

use crate::proto::{
    db::name::Family,
    id::{NodeId, PortId, PortName},
};

/// See the module. A port is registered where this node owns an entry with the port's ID as key.
#[derive(Debug, Default)]
pub struct Registered {
    ports: RwLock<HashMap<PortName, BTreeSet<Family>>>,
}

impl Registered {
    /// This node owns an entry with that key now, or does no longer.
    pub(super) fn note(&self, node: &NodeId, family: &Family, key: &str, is_there: bool) {
        // most keys are no IDs of ports: that is cheaper to see than to parse
        let is_own = key
            .strip_prefix(node.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('#'));
        if !is_own {
            return;
        }
        let Ok(port) = key.parse::<PortId>() else {
            return;
        };
        let ports = self.ports.write();
        let mut ports = ports.unwrap_or_else(PoisonError::into_inner);
        if is_there {
            let families = ports.entry(port.name().clone()).or_default();
            families.insert(family.clone());
        } else if let Some(families) = ports.get_mut(port.name().as_str()) {
            families.remove(family);
            if families.is_empty() {
                ports.remove(port.name().as_str());
            }
        }
    }

    /// Whether that port is in a family that `wanted` says yes to.
    pub(super) fn is_in(&self, port: &PortName, wanted: &dyn Fn(&str) -> bool) -> bool {
        let ports = self.ports.read();
        let ports = ports.unwrap_or_else(PoisonError::into_inner);
        let families = ports.get(port.as_str());
        families.is_some_and(|families| families.iter().any(|family| wanted(family.as_str())))
    }
}
