//! All shards that a node holds, and the families as they show: the union of what the owners that are shown own.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    clock::Stamp,
    item::{Item, Packed},
    name::{Family, Key},
    shard::{Entry, Shard, Staged},
    watch::{Happened, Watchers},
};
use crate::proto::id::{Incarnation, NodeId};

/// A place in the list of owners: what stands in the families, where there are very many.
type Place = u32;

/// Who owns one key of one family, of those that are shown.
#[derive(Debug, Clone, PartialEq)]
enum Holders {
    One(Place),
    Many(Arc<[Place]>),
}

impl Holders {
    fn all(&self) -> &[Place] {
        match self {
            Holders::One(place) => std::slice::from_ref(place),
            Holders::Many(places) => places,
        }
    }

    fn with(&self, place: Place) -> Holders {
        let mut places = self.all().to_vec();
        if let Err(at) = places.binary_search(&place) {
            places.insert(at, place);
        }
        Holders::from(places)
    }

    fn without(&self, place: Place) -> Option<Holders> {
        let mut places = self.all().to_vec();
        places.retain(|other| *other != place);
        (!places.is_empty()).then(|| Holders::from(places))
    }

    fn from(places: Vec<Place>) -> Holders {
        match places.as_slice() {
            [one] => Holders::One(*one),
            _ => Holders::Many(places.into()),
        }
    }
}

#[derive(Debug)]
struct Owner {
    node: NodeId,
    shard: Shard,
    shown: bool,
}

/// An entry as it is found: whose it is, and what.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its owner.
    pub owner: NodeId,
    /// When it was written.
    pub stamp: Stamp,
    /// The value.
    pub value: Packed,
    /// The number of the change in its owner's shard.
    pub seq: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Store {
    owners: Vec<Option<Owner>>,
    /// Of `owners`, which are empty.
    free: Vec<Place>,
    places: BTreeMap<NodeId, Place>,
    views: BTreeMap<Family, BTreeMap<Key, Holders>>,
    /// What is to be told of changes.
    pub(crate) watchers: Watchers,
    /// Keys of which several owners have an entry, since something about them changed. Filled for those that are told.
    pub(crate) conflicts: Vec<(Family, Key)>,
    pub(crate) tells_conflicts: bool,
    entries: usize,
    bytes: usize,
}

impl Store {
    fn owner(&self, place: Place) -> Option<&Owner> {
        self.owners.get(place as usize)?.as_ref()
    }

    fn owner_mut(&mut self, place: Place) -> Option<&mut Owner> {
        self.owners.get_mut(place as usize)?.as_mut()
    }

    /// The shard of that node.
    pub(crate) fn shard(&self, node: &NodeId) -> Option<&Shard> {
        self.owner(*self.places.get(node)?)
            .map(|owner| &owner.shard)
    }

    /// Every owner.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (&NodeId, &Shard)> {
        self.places
            .iter()
            .filter_map(|(node, place)| Some((node, &self.owner(*place)?.shard)))
    }

    /// Whether what that node owns shows.
    pub(crate) fn is_shown(&self, node: &NodeId) -> bool {
        let place = self.places.get(node);
        place
            .and_then(|place| self.owner(*place))
            .is_some_and(|owner| owner.shown)
    }

    /// Entries in all shards, removed ones that are remembered included; bytes of their keys and values.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.entries, self.bytes)
    }

    /// The shard of that life of a node, a new one where there is none or an older life's. `None`: a later life is known.
    /// The old one's entries are gone.
    pub(crate) fn open(&mut self, node: &NodeId, life: Incarnation) -> Option<&mut Shard> {
        let known = self.shard(node).map(Shard::life);
        if known.is_some_and(|known| known > life) {
            return None;
        }
        if known != Some(life) {
            self.remove(node);
            let owner = Owner {
                node: node.clone(),
                shard: Shard::new(life),
                shown: false,
            };
            let place = self.free.pop().unwrap_or_else(|| {
                self.owners.push(None);
                (self.owners.len() - 1) as Place
            });
            if let Some(slot) = self.owners.get_mut(place as usize) {
                *slot = Some(owner);
            }
            self.places.insert(node.clone(), place);
        }
        let place = *self.places.get(node)?;
        self.owner_mut(place).map(|owner| &mut owner.shard)
    }

    /// Forgets a node and all that it owned.
    pub(crate) fn remove(&mut self, node: &NodeId) {
        self.set_shown(node, false);
        if let Some(place) = self.places.remove(node)
            && let Some(owner) = self.owners.get_mut(place as usize).and_then(Option::take)
        {
            self.free.push(place);
            self.entries -= owner.shard.entry_count();
            self.bytes -= owner.shard.byte_count();
        }
    }

    /// Shows what a node owns, or no longer.
    pub(crate) fn set_shown(&mut self, node: &NodeId, shown: bool) {
        let Some(&place) = self.places.get(node) else {
            return;
        };
        let Some(owner) = self.owner_mut(place) else {
            return;
        };
        if std::mem::replace(&mut owner.shown, shown) == shown {
            return;
        }
        let keys: Vec<(Family, Vec<Key>)> = owner
            .shard
            .families()
            .map(|(family, part)| {
                let keys = part.live().map(|(key, _)| key.clone()).collect();
                (family.clone(), keys)
            })
            .collect();
        for (family, keys) in keys {
            for key in keys {
                self.with_key(&family, &key, |store| {
                    store.hold(place, &family, &key, shown)
                });
            }
        }
    }

    /// Adds a node to those who own a key, or takes it away.
    fn hold(&mut self, place: Place, family: &Family, key: &Key, holds: bool) {
        if holds {
            let view = match self.views.get_mut(family) {
                Some(view) => view,
                None => self.views.entry(family.clone()).or_default(),
            };
            match view.get_mut(key) {
                Some(holders) => *holders = holders.with(place),
                None => {
                    view.insert(key.clone(), Holders::One(place));
                }
            }
        } else if let Some(view) = self.views.get_mut(family)
            && let Some(holders) = view.get_mut(key)
        {
            match holders.without(place) {
                Some(rest) => *holders = rest,
                None => {
                    view.remove(key);
                    if view.is_empty() {
                        self.views.remove(family);
                    }
                }
            }
        }
    }

    /// Changes something about a key and tells those who watch its family, where what shows is another.
    fn with_key(&mut self, family: &Family, key: &Key, change: impl FnOnce(&mut Self)) {
        let is_watched = self.watchers.is_watched(family);
        let before = is_watched.then(|| self.get(family, key));
        change(self);
        let several = self
            .views
            .get(family)
            .and_then(|view| view.get(key))
            .is_some_and(|holders| holders.all().len() > 1);
        if several && self.tells_conflicts {
            self.conflicts.push((family.clone(), key.clone()));
        }
        if let Some(before) = before {
            let after = self.get(family, key);
            // an entry that only has another number is the same
            let what = |found: &Option<Found>| {
                let found = found.as_ref()?;
                Some((found.owner.clone(), found.stamp, found.value.clone()))
            };
            let happened = Happened {
                was_there: before.is_some(),
                is_there: after.is_some(),
                moved: what(&before) != what(&after),
                conflict: several,
            };
            if happened.moved || several {
                self.watchers.changed(family, key, happened);
            }
        }
    }

    /// Who shows of those who own the key, and the number of that entry: the latest, ties by node ID (R2).
    fn winner(&self, family: &Family, key: &Key) -> Option<(Place, u64)> {
        let holders = self.views.get(family)?.get(key)?;
        holders
            .all()
            .iter()
            .filter_map(|place| {
                let owner = self.owner(*place)?;
                let entry = owner.shard.get(family.as_str(), key)?;
                Some((entry.stamp, &owner.node, *place, entry.seq))
            })
            .max()
            .map(|(_, _, place, seq)| (place, seq))
    }

    /// Puts an entry, or a removal, into a shard that is there.
    pub(crate) fn put(&mut self, node: &NodeId, family: &Family, key: &Key, entry: Entry) {
        let Some(&place) = self.places.get(node) else {
            return;
        };
        let is_live = entry.value.is_some();
        self.with_key(family, key, |store| {
            let Some(owner) = store.owner_mut(place) else {
                return;
            };
            let before = (owner.shard.entry_count(), owner.shard.byte_count());
            let was_live = owner.shard.put(family, key, entry);
            let after = (owner.shard.entry_count(), owner.shard.byte_count());
            let shown = owner.shown;
            store.resized(before, after);
            if shown && was_live != is_live {
                store.hold(place, family, key, is_live);
            }
        });
    }

    fn resized(&mut self, before: (usize, usize), after: (usize, usize)) {
        self.entries = self.entries + after.0 - before.0;
        self.bytes = self.bytes + after.1 - before.1;
    }

    /// Does something to a shard that changes no entry that is there.
    pub(crate) fn with_shard(&mut self, node: &NodeId, change: impl FnOnce(&mut Shard)) {
        let Some(&place) = self.places.get(node) else {
            return;
        };
        if let Some(owner) = self.owner_mut(place) {
            let before = (owner.shard.entry_count(), owner.shard.byte_count());
            change(&mut owner.shard);
            let after = (owner.shard.entry_count(), owner.shard.byte_count());
            self.resized(before, after);
        }
    }

    /// One change of another node's shard. What is not above `after` is known already, whatever is there now.
    pub(crate) fn apply(&mut self, node: &NodeId, family: &Family, item: Item, after: u64) {
        if item.seq() <= after {
            return;
        }
        let (key, entry) = match item {
            Item::Floor { seq, floor } => {
                self.with_shard(node, |shard| shard.raise_floor(family, seq, floor));
                return;
            }
            Item::Set {
                key,
                seq,
                stamp,
                value,
            } => {
                let value = Some(value);
                (key, Entry { seq, stamp, value })
            }
            Item::Removed { key, seq } => {
                let entry = Entry {
                    seq,
                    stamp: Stamp::default(),
                    value: None,
                };
                (key, entry)
            }
        };
        let is_newer = self
            .shard(node)
            .and_then(|shard| shard.family(family.as_str())?.entry(&key))
            .is_none_or(|old| old.seq < entry.seq);
        if is_newer {
            self.put(node, family, &key, entry);
        }
    }

    /// All that was told to a reader below a floor, at once: what is there, and what is there no longer.
    pub(crate) fn apply_staged(&mut self, node: &NodeId, staged: Staged, version: u64) {
        let mut told: BTreeMap<Family, Vec<u64>> = BTreeMap::new();
        for (family, items) in staged.items {
            let seqs = told.entry(family.clone()).or_default();
            seqs.extend(items.iter().map(Item::seq));
            for item in items {
                self.apply(node, &family, item, staged.from);
            }
        }
        for (family, mut alive) in staged.alive {
            // what came another way meanwhile is above that number, and named among what is new or gone too
            alive.extend(told.remove(&family).unwrap_or_default());
            alive.sort_unstable();
            let gone: Vec<Key> = self
                .shard(node)
                .and_then(|shard| shard.family(family.as_str()))
                .into_iter()
                .flat_map(|part| part.live())
                .filter(|(_, entry)| {
                    entry.seq <= version && alive.binary_search(&entry.seq).is_err()
                })
                .map(|(key, _)| key.clone())
                .collect();
            for key in gone {
                self.forget(node, &family, &key);
            }
        }
        self.with_shard(node, |shard| shard.advance(version));
    }

    /// Takes an entry away without a trace.
    fn forget(&mut self, node: &NodeId, family: &Family, key: &Key) {
        let Some(&place) = self.places.get(node) else {
            return;
        };
        self.with_key(family, key, |store| {
            store.with_shard(node, |shard| shard.forget(family.as_str(), key));
            store.hold(place, family, key, false);
        });
    }

    // --- what shows ---

    /// What shows under that key.
    pub(crate) fn get(&self, family: &Family, key: &Key) -> Option<Found> {
        let (place, _) = self.winner(family, key)?;
        self.found(place, family, key)
    }

    fn found(&self, place: Place, family: &Family, key: &Key) -> Option<Found> {
        let owner = self.owner(place)?;
        let entry = owner.shard.get(family.as_str(), key)?;
        Some(Found {
            owner: owner.node.clone(),
            stamp: entry.stamp,
            value: entry.value.clone()?,
            seq: entry.seq,
        })
    }

    /// All entries under that key, the one that shows first.
    pub(crate) fn all(&self, family: &Family, key: &Key) -> Vec<Found> {
        let Some(holders) = self.views.get(family).and_then(|view| view.get(key)) else {
            return Vec::new();
        };
        let mut found: Vec<Found> = holders
            .all()
            .iter()
            .filter_map(|place| self.found(*place, family, key))
            .collect();
        found.sort_by(|a, b| (b.stamp, &b.owner).cmp(&(a.stamp, &a.owner)));
        found
    }

    /// When the latest entry under that key was written, but for those of that node; 0 where there is none.
    pub(crate) fn latest_but(&self, node: &NodeId, family: &Family, key: &Key) -> Stamp {
        let holders = self.views.get(family).and_then(|view| view.get(key));
        let places = holders.map(Holders::all).unwrap_or_default().iter();
        let owners = places.filter_map(|place| self.owner(*place));
        let others = owners.filter(|owner| owner.node != *node);
        let stamps = others.filter_map(|owner| Some(owner.shard.get(family.as_str(), key)?.stamp));
        stamps.max().unwrap_or_default()
    }

    /// The keys of a family, in order.
    pub(crate) fn keys(&self, family: &Family) -> impl Iterator<Item = &Key> {
        self.views.get(family).into_iter().flat_map(BTreeMap::keys)
    }

    /// The families that have entries.
    pub(crate) fn families(&self) -> impl Iterator<Item = &Family> {
        self.views.keys()
    }
}
