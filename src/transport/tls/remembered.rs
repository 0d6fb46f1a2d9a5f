//! What was worked out once and is the same each time, by a digest of what it was worked out from. Of a bounded size.

use std::collections::{HashMap, VecDeque};

/// How many are remembered; the oldest goes first. A mesh has one for each certificate and each CRL.
pub(super) const REMEMBERED_MAX: usize = 4096;

/// SHA-256.
pub(super) type Digest = [u8; 32];

/// See the module.
pub(super) struct Remembered<T> {
    all: HashMap<Digest, T>,
    order: VecDeque<Digest>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Remembered {
            all: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<T> Remembered<T> {
    pub(super) fn get(&self, digest: &Digest) -> Option<&T> {
        self.all.get(digest)
    }

    pub(super) fn insert(&mut self, digest: Digest, value: T) {
        if self.all.insert(digest, value).is_none() {
            self.order.push_back(digest);
        }
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn what_is_remembered_has_a_bound_and_the_oldest_goes_first() {
        let mut known = Remembered::default();
        let digest = |n: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            digest
        };
        for n in 0..2 * REMEMBERED_MAX {
            known.insert(digest(n), n);
            known.insert(digest(n), n);
        }
        assert_eq!(
            (known.all.len(), known.order.len()),
            (REMEMBERED_MAX, REMEMBERED_MAX)
        );
        assert_eq!(known.get(&digest(REMEMBERED_MAX - 1)), None);
        assert_eq!(known.get(&digest(REMEMBERED_MAX)), Some(&REMEMBERED_MAX));
    }
}
