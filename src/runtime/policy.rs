//! The policy of a node, as its links read it: it can be replaced while they run.

use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use crate::proto::policy::{PeerIdentity, PeerPolicy, Policy, Rule};

/// See the module. One a node, shared by its ports, its links and its database.
#[derive(Debug)]
pub struct PolicyHandle {
    current: RwLock<Policy>,
    /// What the program has said besides, which stays when the policy is replaced.
    always: Vec<Rule>,
    /// How often it was replaced.
    generation: AtomicU64,
}

impl Default for PolicyHandle {
    fn default() -> Self {
        PolicyHandle::new(Policy::default(), Vec::new())
    }
}

impl PolicyHandle {
    /// `always`: rules that hold besides, also when the policy is replaced.
    pub fn new(policy: Policy, always: Vec<Rule>) -> Self {
        PolicyHandle {
            current: RwLock::new(complete(policy, &always)),
            always,
            generation: AtomicU64::new(0),
        }
    }

    /// The policy now, with the rules that always hold.
    pub fn current(&self) -> Policy {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces it.
    pub fn set(&self, policy: Policy) {
        let current = self.current.write();
        *current.unwrap_or_else(PoisonError::into_inner) = complete(policy, &self.always);
        // whoever sees the number finds the policy
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Another number each time that it was replaced.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// What it comes to for one peer.
    pub fn for_peer(&self, peer: &PeerIdentity) -> PeerPolicy {
        let current = self.current.read();
        let current = current.unwrap_or_else(PoisonError::into_inner);
        current.for_peer(peer)
    }
}

fn complete(policy: Policy, always: &[Rule]) -> Policy {
    always.iter().cloned().fold(policy, Policy::with)
}
