//! The counters behind the mesh's figures.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// See [`super::events::MeshStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) links_up: Counter,
    pub(super) links_down: Counter,
    pub(super) accepted: Counter,
    pub(super) dialled: Counter,
    pub(super) dials_failed: Counter,
    pub(super) refused_by_limit: Counter,
    pub(super) refused_by_auth: Counter,
    pub(super) refused_by_rule: Counter,
    pub(super) renewed: Counter,
    pub(super) renewals_refused: Counter,
    pub(super) unproven: Counter,
    pub(super) denied: Counter,
    pub(super) accept_errors: Counter,
    pub(super) lost: Counter,
    pub(super) bytes_in: Counter,
    pub(super) bytes_out: Counter,
}
