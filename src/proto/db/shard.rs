//! One owner's entries: every change has the next number, so that a shard at a version is the same everywhere.
//!
//! Removed entries are kept as tombstones, so that others are told of them. The owner alone decides when to forget old
//! ones, and that is a change with a number like any other: the floor of the family rises. A reader that is below the
//! floor is told which entries are still there, and drops the rest at once with the last part of what it was told
//! (`Staged`), so that nothing that was removed comes back.

use std::collections::BTreeMap;

use super::{
    clock::Stamp,
    item::{Item, Packed},
    name::{Family, Key, WriteRefused},
};
use crate::proto::{id::Incarnation, limits::Limits};

/// What is there under a key, or was.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The number of the change that made it so.
    pub seq: u64,
    /// When it was written.
    pub stamp: Stamp,
    /// `None`: it was removed.
    pub value: Option<Packed>,
}

/// One owner's entries of one family.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FamilyShard {
    entries: BTreeMap<Key, Entry>,
    /// The key of each change that is still to be told; the empty one is the floor's.
    by_seq: BTreeMap<u64, Key>,
    floor: u64,
    floor_seq: u64,
    live: usize,
}

impl FamilyShard {
    /// What is there under that key, or was.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The entries that are there, by key.
    pub fn live(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.value.is_some())
    }

    /// The key that the change of that number is about, where it still stands.
    pub(crate) fn key_of(&self, seq: u64) -> Option<&Key> {
        self.by_seq.get(&seq).filter(|key| !key.is_empty())
    }

    /// Removals up to this number are forgotten.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The number of the last change that is still to be told.
    pub(crate) fn last_seq(&self) -> u64 {
        self.by_seq.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    /// The changes above that number, in order.
    pub(crate) fn since(&self, seq: u64) -> impl Iterator<Item = (u64, Item)> + '_ {
        self.by_seq
            .range(seq.saturating_add(1)..)
            .filter_map(|(&seq, key)| Some((seq, self.item(seq, key)?)))
    }

    fn item(&self, seq: u64, key: &Key) -> Option<Item> {
        if key.is_empty() {
            let floor = self.floor;
            return Some(Item::Floor { seq, floor });
        }
        let entry = self.entries.get(key)?;
        let key = key.clone();
        Some(match &entry.value {
            None => Item::Removed { key, seq },
            Some(value) => Item::Set {
                key,
                seq,
                stamp: entry.stamp,
                value: value.clone(),
            },
        })
    }

    /// The numbers of the entries that are there, up to `seq`.
    pub(crate) fn live_seqs(&self, seq: u64) -> Vec<u64> {
        self.by_seq
            .range(..=seq)
            .filter(|(_, key)| {
                self.entries
                    .get(*key)
                    .is_some_and(|entry| entry.value.is_some())
            })
            .map(|(&seq, _)| seq)
            .collect()
    }
}

/// What is told to a reader below a floor, until it is whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Staged {
    /// The version that it goes on from.
    pub(crate) from: u64,
    pub(crate) items: Vec<(Family, Vec<Item>)>,
    /// What is still there of what the reader may have.
    pub(crate) alive: BTreeMap<Family, Vec<u64>>,
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Shard {
    life: Incarnation,
    version: u64,
    families: BTreeMap<Family, FamilyShard>,
    /// Tombstones included.
    entries: usize,
    bytes: usize,
}

impl Shard {
    /// The empty one of that life of its owner.
    pub fn new(life: Incarnation) -> Self {
        Shard {
            life,
            version: 0,
            families: BTreeMap::new(),
            entries: 0,
            bytes: 0,
        }
    }

    /// The life of its owner.
    pub fn life(&self) -> Incarnation {
        self.life
    }

    /// All changes up to this number are in it.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Its families.
    pub fn families(&self) -> impl Iterator<Item = (&Family, &FamilyShard)> {
        self.families.iter()
    }

    /// One of them.
    pub fn family(&self, family: &str) -> Option<&FamilyShard> {
        self.families.get(family)
    }

    /// Entries and remembered removals.
    pub fn entry_count(&self) -> usize {
        self.entries
    }

    /// Bytes of keys and values.
    pub fn byte_count(&self) -> usize {
        self.bytes
    }

    /// The entry that is there.
    pub fn get(&self, family: &str, key: &str) -> Option<&Entry> {
        let entry = self.families.get(family)?.entry(key)?;
        entry.value.is_some().then_some(entry)
    }

    /// Puts one entry, or one removal, in the place of what was there. Returns whether it was there before.
    pub(crate) fn put(&mut self, family: &Family, key: &Key, entry: Entry) -> bool {
        let part = match self.families.get_mut(family) {
            Some(part) => part,
            None => self.families.entry(family.clone()).or_default(),
        };
        let size = |entry: &Entry| key.len() + entry.value.as_ref().map_or(0, Packed::len);
        part.live += usize::from(entry.value.is_some());
        self.bytes += size(&entry);
        part.by_seq.insert(entry.seq, key.clone());
        let Some(old) = part.entries.insert(key.clone(), entry) else {
            self.entries += 1;
            return false;
        };
        self.bytes -= size(&old);
        part.by_seq.remove(&old.seq);
        part.live -= usize::from(old.value.is_some());
        old.value.is_some()
    }

    /// Forgets what is under a key, without a trace.
    pub(crate) fn forget(&mut self, family: &str, key: &str) {
        if let Some(part) = self.families.get_mut(family)
            && let Some(old) = part.entries.remove(key)
        {
            part.by_seq.remove(&old.seq);
            part.live -= usize::from(old.value.is_some());
            self.bytes -= key.len() + old.value.as_ref().map_or(0, Packed::len);
            self.entries -= 1;
        }
    }

    /// Raises the floor of a family: the removals up to it are forgotten.
    pub(crate) fn raise_floor(&mut self, family: &Family, seq: u64, floor: u64) {
        let part = self.families.entry(family.clone()).or_default();
        if seq <= part.floor_seq {
            return;
        }
        part.by_seq.remove(&part.floor_seq);
        part.floor_seq = seq;
        part.floor = part.floor.max(floor);
        part.by_seq.insert(seq, "".into());
        let forgotten: Vec<Key> = part
            .by_seq
            .range(..=floor)
            .map(|(_, key)| key)
            .filter(|key| part.entries.get(*key).is_some_and(|e| e.value.is_none()))
            .cloned()
            .collect();
        for key in forgotten {
            self.forget(family.as_str(), &key);
        }
    }

    /// All changes up to that number are in it now.
    pub(crate) fn advance(&mut self, version: u64) {
        self.version = self.version.max(version);
    }

    // --- the owner's side ---

    /// Whether this owner may write that much there. Errors as documented at the variants.
    pub(crate) fn check(
        &self,
        family: &Family,
        key: &str,
        value_len: usize,
        limits: &Limits,
    ) -> Result<(), WriteRefused> {
        let part = self.families.get(family);
        if part.is_none() && self.families.len() >= limits.db_node_families_max {
            return Err(WriteRefused::TooManyFamilies(
                limits.db_node_families_max as u64,
            ));
        }
        let old = part.and_then(|part| part.entry(key));
        if old.is_none() && self.entries >= limits.db_node_entries_max {
            return Err(WriteRefused::TooManyEntries(
                limits.db_node_entries_max as u64,
            ));
        }
        let freed = old.map_or(0, |old| {
            key.len() + old.value.as_ref().map_or(0, Packed::len)
        });
        let bytes = self.bytes + key.len() + value_len - freed.min(self.bytes);
        if bytes > limits.db_node_bytes_max && bytes > self.bytes {
            return Err(WriteRefused::NodeFull(limits.db_node_bytes_max as u64));
        }
        Ok(())
    }

    /// The number of the owner's next change.
    pub(crate) fn next_seq(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Forgets the oldest removals of a family where they are many more than the entries. Called by the owner after a
    /// removal.
    pub(crate) fn trim(&mut self, family: &Family, limits: &Limits) {
        let Some(part) = self.families.get(family) else {
            return;
        };
        let tombstones = part.entries.len() - part.live;
        if tombstones <= limits.db_tombstones_max.max(part.live) {
            return;
        }
        let mut old = part
            .by_seq
            .iter()
            .filter(|(_, key)| part.entries.get(*key).is_some_and(|e| e.value.is_none()));
        let Some(floor) = old.nth(tombstones / 2).map(|(&seq, _)| seq) else {
            return;
        };
        let seq = self.next_seq();
        self.raise_floor(family, seq, floor);
    }
}
