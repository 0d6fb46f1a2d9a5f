//! Why ports died at birth, for monitors that come just after (S2). Bounded: the oldest goes first.

use std::collections::{HashMap, VecDeque};

use crate::proto::{id::PortName, message::Reason};

/// How many are remembered.
const FAILED_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Failed {
    reasons: HashMap<PortName, Reason>,
    order: VecDeque<PortName>,
}

impl Failed {
    /// That port died of that before it lived.
    pub(super) fn insert(&mut self, name: PortName, reason: Reason) {
        if self.reasons.insert(name.clone(), reason).is_none() {
            self.order.push_back(name);
        }
        if self.order.len() > FAILED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.reasons.remove(&oldest);
        }
    }

    /// What it died of, where that is remembered.
    pub(super) fn get(&self, name: &str) -> Option<&Reason> {
        self.reasons.get(name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let mut failed = Failed::default();
        for n in 0..=FAILED_MAX {
            failed.insert(format!("p{n}").parse().unwrap(), Reason::normal());
        }
        assert_eq!(failed.get("p0"), None);
        assert!(failed.get("p1").is_some());
        assert!(failed.get(&format!("p{FAILED_MAX}")).is_some());
        assert_eq!(failed.reasons.len(), failed.order.len());
    }
}
