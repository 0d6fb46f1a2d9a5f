//! What should be there: what each life of a node owns by its own account, and which of several entries shows.

use std::{collections::BTreeMap, time::Duration};

use portmesh::proto::db::{clock::Stamp, engine::Found};

/// A node in one of its lives.
pub type Life = (usize, u64);
/// A family by its number, and a key.
pub type Place = (usize, String);

/// An entry that its owner wrote and was not told of as refused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Owned {
    /// The number of the change.
    pub seq: u64,
    /// The number of the write in the whole run; it is in the value.
    pub no: u64,
    /// The number of the change since which the key was there without a break.
    pub since: u64,
}

/// An entry as a reader sees it.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    pub owner: Life,
    pub no: u64,
    pub seq: u64,
    pub stamp: Stamp,
}

/// An entry that was numbered anew is the same.
impl PartialEq for Shown {
    fn eq(&self, other: &Self) -> bool {
        let what = |shown: &Self| (shown.owner, shown.no, shown.stamp);
        what(self) == what(other)
    }
}

pub type View = BTreeMap<String, Shown>;

/// Keys that were removed in one step, each with the write that had set it.
#[derive(Debug)]
pub struct Group {
    pub owner: Life,
    pub family: usize,
    pub keys: Vec<(String, u64)>,
}

#[derive(Debug, Default)]
pub struct Model {
    pub owned: BTreeMap<Life, BTreeMap<Place, Owned>>,
    /// As the owners sent them.
    pub stamps: BTreeMap<(Life, u64), Stamp>,
    /// A write was overtaken before that change.
    pub overtaken: BTreeMap<(Life, u64), u64>,
    removed: BTreeMap<Life, Vec<u64>>,
    pub groups: Vec<Group>,
    pub died: BTreeMap<Life, Duration>,
}

impl Model {
    pub fn set(&mut self, life: Life, place: Place, seq: u64, no: u64) {
        let owned = self.owned.entry(life).or_default();
        let old = owned.get(&place).copied();
        let since = old.map_or(seq, |old| old.since);
        owned.insert(place, Owned { seq, no, since });
        let before = self.removed.remove(&life).unwrap_or_default();
        for old in before.into_iter().chain(old.map(|old| old.no)) {
            self.overtaken.insert((life, old), seq);
        }
    }

    pub fn remove(&mut self, life: Life, place: &Place) -> Option<Owned> {
        let old = self.owned.entry(life).or_default().remove(place)?;
        self.removed.entry(life).or_default().push(old.no);
        Some(old)
    }

    /// The same entry has another number; which one it had.
    pub fn renumber(&mut self, life: Life, place: &Place, seq: u64) -> Option<u64> {
        let owned = self.owned.get_mut(&life);
        let owned = owned.and_then(|owned| owned.get_mut(place))?;
        let old = std::mem::replace(&mut owned.seq, seq);
        if old == seq {
            return None;
        }
        if let Some(stamp) = self.stamps.get(&(life, old)).copied() {
            self.stamps.insert((life, seq), stamp);
        }
        for (_, by) in self.overtaken.iter_mut().filter(|((of, _), _)| *of == life) {
            if *by == old {
                *by = seq;
            }
        }
        Some(old)
    }

    /// Whether its owner lives and still owns that.
    pub fn stands(&self, shown: &Shown, family: usize, key: &str) -> bool {
        let owned = self.owns(shown.owner, &(family, key.to_owned()));
        owned.is_some_and(|owned| owned.no == shown.no) && !self.died.contains_key(&shown.owner)
    }

    pub fn owns(&self, life: Life, place: &Place) -> Option<Owned> {
        self.owned.get(&life)?.get(place).copied()
    }

    /// The family as it should show where those live. The owners of each key with it, the one that shows first.
    pub fn view(&self, family: usize, living: &[Life], name: impl Fn(usize) -> String) -> Expected {
        let mut all: BTreeMap<String, Vec<Shown>> = BTreeMap::new();
        for owner in living {
            for ((of, key), entry) in self.owned.get(owner).into_iter().flatten() {
                if *of == family {
                    let stamp = self.stamps.get(&(*owner, entry.seq)).copied();
                    all.entry(key.clone()).or_default().push(Shown {
                        owner: *owner,
                        no: entry.no,
                        seq: entry.seq,
                        stamp: stamp.unwrap_or(Stamp(u64::MAX)),
                    });
                }
            }
        }
        for entries in all.values_mut() {
            entries.sort_by_key(|shown| std::cmp::Reverse((shown.stamp, name(shown.owner.0))));
        }
        all
    }
}

pub type Expected = BTreeMap<String, Vec<Shown>>;

/// What is found under a key, if the simulation wrote it.
pub fn shown(found: &Found) -> Option<Shown> {
    let (host, life, no, _): (u64, u64, u64, String) = found.value.decode().ok()?;
    Some(Shown {
        owner: (host as usize, life),
        no,
        seq: found.seq,
        stamp: found.stamp,
    })
}
