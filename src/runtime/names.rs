//! What each name on this node leads to: a table in shards, so that no message takes a lock of the whole node.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use hashbrown::{HashTable, hash_table::Entry};

use super::{port::PortCell, reply::ReplyCell};
use crate::proto::id::Incarnation;

const SHARDS: usize = 64;

/// What a name leads to.
#[derive(Debug, Clone)]
pub enum Target {
    /// A port.
    Port(Arc<PortCell>),
    /// The reply port of a call.
    Reply(Arc<ReplyCell>),
}

impl Target {
    /// The name that leads here. The table keeps no copy of it.
    fn name(&self) -> &str {
        match self {
            Target::Port(cell) => cell.name().as_str(),
            Target::Reply(cell) => cell.id().name().as_str(),
        }
    }
}

/// See the module.
pub(super) struct Names {
    hasher: RandomState,
    /// What the names begin with that this node gives away, and the key for their numbers.
    own: String,
    key: (u64, u64),
    shards: [RwLock<HashTable<Target>>; SHARDS],
    count: AtomicUsize,
    closed: AtomicBool,
}

impl Names {
    pub(super) fn new(incarnation: Incarnation) -> Self {
        let hasher = RandomState::new();
        Names {
            own: incarnation.port_prefix(),
            key: (hasher.hash_one(0), hasher.hash_one(1)),
            hasher,
            shards: std::array::from_fn(|_| RwLock::default()),
            count: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Names in use.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Nearly all names that are looked up are those that this node gave away. It gives each number once, so that a product
    /// with a secret spreads them well enough; any other name may be chosen by somebody who means ill.
    fn hash(&self, name: &str) -> u64 {
        let number = name.as_bytes().strip_prefix(self.own.as_bytes());
        let mut digits = [0; 8];
        if let Some(number) = number
            && let Some(at) = digits.get_mut(..number.len())
        {
            at.copy_from_slice(number);
            let (a, b) = self.key;
            let product = u128::from(u64::from_le_bytes(digits) ^ a) * u128::from(b | 1);
            return (product >> 64) as u64 ^ product as u64;
        }
        self.hasher.hash_one(name)
    }

    /// The shard of that name, and the hash: one for both, since it is a good part of what a look costs.
    fn shard(&self, name: &str) -> (&RwLock<HashTable<Target>>, u64) {
        let hash = self.hash(name);
        let [first, ..] = &self.shards;
        // the table inside uses the lowest and the highest bits
        let at = (hash >> 48) as usize % SHARDS;
        (self.shards.get(at).unwrap_or(first), hash)
    }

    /// What that name leads to now.
    pub(super) fn find(&self, name: &str) -> Option<Target> {
        let (shard, hash) = self.shard(name);
        let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
        shard.find(hash, |target| target.name() == name).cloned()
    }

    /// `false`: the name is taken, or the node is shut down.
    pub(super) fn insert(&self, target: Target) -> bool {
        let (shard, hash) = self.shard(target.name());
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if self.is_closed() {
            return false;
        }
        let same = |other: &Target| other.name() == target.name();
        let rehash = |target: &Target| self.hash(target.name());
        match shard.entry(hash, same, rehash) {
            Entry::Occupied(_) => return false,
            Entry::Vacant(place) => place.insert(target),
        };
        self.count.fetch_add(1, Ordering::Relaxed);
        true
    }

    pub(super) fn remove(&self, name: &str) {
        let (shard, hash) = self.shard(name);
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        let found = shard.find_entry(hash, |target| target.name() == name);
        let gone = found.ok().map(|entry| entry.remove().0);
        drop(shard);
        if gone.is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// No name is given from now on. Calls it with what there still is, without any lock.
    pub(super) fn close(&self, mut each: impl FnMut(Target)) {
        self.closed.store(true, Ordering::Release);
        for shard in &self.shards {
            let targets: Vec<Target> = {
                let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
                shard.iter().cloned().collect()
            };
            targets.into_iter().for_each(&mut each);
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
