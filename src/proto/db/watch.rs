//! Readers that are told of changes (R6): the family as it stands, then [`Change::Synced`], then what changes.
//!
//! What a slow reader has not taken is kept as one change a key, so that nothing grows without bound: there is at most one
//! for each key that it was told of or that is there.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

use super::{
    name::{Family, Key},
    store::Found,
};

/// Names a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub u64);

/// What a reader is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The key is there; it was not.
    Added(Key, Found),
    /// Another value or another owner shows.
    Changed(Key, Found),
    /// The key is there no longer.
    Deleted(Key),
    /// Several nodes own the key: all of them, the one that shows first.
    Conflict(Key, Vec<Found>),
    /// All that was there when the watch began has been told.
    Synced,
    /// The home of this node does not let it read the family; why, for people. What others own there is gone, until a
    /// home permits it.
    Denied(String),
}

/// What was not told yet of one key.
#[derive(Debug, Clone, Copy)]
struct Pending {
    number: u64,
    /// Whether the reader knows the key.
    was_there: bool,
    /// Whether another value or owner shows since, or none does.
    moved: bool,
    /// Whether several nodes own it, since something about that changed.
    conflict: bool,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Happened {
    pub(crate) was_there: bool,
    pub(crate) is_there: bool,
    /// Whether another value or owner shows, or none does.
    pub(crate) moved: bool,
    /// Whether several nodes own it.
    pub(crate) conflict: bool,
}

/// One reader.
#[derive(Debug)]
struct Reader {
    family: Family,
    pending: BTreeMap<Key, Pending>,
    order: BTreeMap<u64, Key>,
    next: u64,
    synced: Sync,
    /// A conflict that follows the change of its key.
    behind: VecDeque<Change>,
    /// It was told that there is something, and has not taken it all.
    told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    NotYet,
    /// When all that came before that number has been told.
    At(u64),
    Told,
}

impl Reader {
    fn mark(&mut self, key: &Key, happened: Happened) {
        match self.pending.get_mut(key) {
            Some(pending) => {
                pending.moved |= happened.moved;
                pending.conflict |= happened.conflict;
                if !happened.is_there && !pending.was_there {
                    // it came to nothing
                    let number = pending.number;
                    self.pending.remove(key);
                    self.order.remove(&number);
                }
            }
            None => {
                let pending = Pending {
                    number: self.next,
                    was_there: happened.was_there,
                    moved: happened.moved,
                    conflict: happened.conflict,
                };
                self.pending.insert(key.clone(), pending);
                self.order.insert(self.next, key.clone());
                self.next += 1;
            }
        }
    }

    fn has_something(&self) -> bool {
        !self.behind.is_empty() || !self.order.is_empty() || matches!(self.synced, Sync::At(_))
    }
}

/// All readers of one store.
#[derive(Default)]
pub(crate) struct Watchers {
    readers: BTreeMap<WatchId, Reader>,
    families: BTreeMap<Family, Vec<WatchId>>,
    ready: Vec<WatchId>,
}

impl fmt::Debug for Watchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.families.keys()).finish()
    }
}

impl Watchers {
    pub(crate) fn has(&self, id: WatchId) -> bool {
        self.readers.contains_key(&id)
    }

    pub(crate) fn is_watched(&self, family: &Family) -> bool {
        !self.families.is_empty() && self.families.contains_key(family)
    }

    /// A new reader; `keys` are those that are there.
    pub(crate) fn add<'a>(
        &mut self,
        id: WatchId,
        family: &Family,
        keys: impl Iterator<Item = (&'a Key, bool)>,
    ) {
        let mut reader = Reader {
            family: family.clone(),
            pending: BTreeMap::new(),
            order: BTreeMap::new(),
            next: 0,
            synced: Sync::NotYet,
            behind: VecDeque::new(),
            told: false,
        };
        for (key, conflict) in keys {
            let happened = Happened {
                was_there: false,
                is_there: true,
                moved: true,
                conflict,
            };
            reader.mark(key, happened);
        }
        self.readers.insert(id, reader);
        self.families.entry(family.clone()).or_default().push(id);
        self.tell(id);
    }

    /// The reader has gone. Returns whether it was the last one of its family.
    pub(crate) fn remove(&mut self, id: WatchId) -> Option<bool> {
        let reader = self.readers.remove(&id)?;
        let ids = self.families.get_mut(&reader.family)?;
        ids.retain(|other| *other != id);
        let last = ids.is_empty();
        if last {
            self.families.remove(&reader.family);
        }
        Some(last)
    }

    fn tell(&mut self, id: WatchId) {
        if let Some(reader) = self.readers.get_mut(&id)
            && !reader.told
            && reader.has_something()
        {
            reader.told = true;
            self.ready.push(id);
        }
    }

    /// Something about a key has changed.
    pub(crate) fn changed(&mut self, family: &Family, key: &Key, happened: Happened) {
        for id in self.families.get(family).cloned().unwrap_or_default() {
            if let Some(reader) = self.readers.get_mut(&id) {
                reader.mark(key, happened);
            }
            self.tell(id);
        }
    }

    /// The family is whole: the readers of it, or all of them, are told when they have taken what came before.
    pub(crate) fn synced(&mut self, family: Option<&Family>) {
        let ids: Vec<WatchId> = self
            .readers
            .iter()
            .filter(|(_, reader)| family.is_none_or(|family| reader.family == *family))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Some(reader) = self.readers.get_mut(&id)
                && reader.synced == Sync::NotYet
            {
                reader.synced = Sync::At(reader.next);
            }
            self.tell(id);
        }
    }

    /// The family may not be read.
    pub(crate) fn denied(&mut self, text: &str) {
        let ids: Vec<WatchId> = self.readers.keys().copied().collect();
        for id in ids {
            if let Some(reader) = self.readers.get_mut(&id) {
                // each home may say so
                reader
                    .behind
                    .retain(|change| !matches!(change, Change::Denied(_)));
                reader.behind.push_back(Change::Denied(text.to_owned()));
            }
            self.tell(id);
        }
    }

    /// Readers that have something to take and were not told of it yet.
    pub(crate) fn take_ready(&mut self) -> Vec<WatchId> {
        std::mem::take(&mut self.ready)
    }

    /// What is next for that reader. `look` finds what is there under a key now: all entries, the one that shows first.
    pub(crate) fn next(
        &mut self,
        id: WatchId,
        look: impl Fn(&Family, &Key) -> Vec<Found>,
    ) -> Option<Change> {
        let reader = self.readers.get_mut(&id)?;
        loop {
            if let Some(change) = reader.behind.pop_front() {
                return Some(change);
            }
            let first = reader.order.first_key_value().map(|(number, _)| *number);
            if let Sync::At(at) = reader.synced
                && first.is_none_or(|first| first >= at)
            {
                reader.synced = Sync::Told;
                return Some(Change::Synced);
            }
            let Some((_, key)) = reader.order.pop_first() else {
                reader.told = false;
                return None;
            };
            let Some(pending) = reader.pending.remove(&key) else {
                continue;
            };
            let mut found = look(&reader.family, &key);
            if pending.conflict && found.len() > 1 {
                let conflict = Change::Conflict(key.clone(), found.clone());
                reader.behind.push_back(conflict);
            }
            if !pending.moved {
                continue;
            }
            if found.is_empty() {
                if pending.was_there {
                    return Some(Change::Deleted(key));
                }
                continue;
            }
            let winner = found.swap_remove(0);
            return Some(if pending.was_there {
                Change::Changed(key, winner)
            } else {
                Change::Added(key, winner)
            });
        }
    }
}
