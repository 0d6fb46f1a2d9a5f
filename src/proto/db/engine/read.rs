//! What this node reads: queries that are answered once, readers that are told of changes, and sums to compare by.

use ring::digest::{Context, SHA256};

use super::{Db, Output, WatchId};
use crate::proto::{
    db::{
        name::{Family, Key, system},
        store::{Found, Store},
        watch::Change,
    },
    id::NodeId,
    limits::Now,
};

/// Names a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub u64);

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// All entries of a family.
    Family(Family),
    /// One of them.
    Key(Family, Key),
}

/// What a node holds of the database, in figures. Two global nodes that hold the same show the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Nodes whose entries show.
    pub owners: u64,
    /// Entries that show.
    pub entries: u64,
    /// SHA-256 over all families, keys, owners and values that show, in order; 64 hexadecimal digits.
    pub digest: String,
    /// What is held in memory, removed and hidden entries included.
    pub held_entries: u64,
    /// Bytes of keys and values held in memory.
    pub held_bytes: u64,
}

/// What a store answers.
pub(super) fn answer(store: &Store, query: &Query) -> Vec<(Key, Found)> {
    match query {
        Query::Key(family, key) => {
            let found = store.get(family, key);
            found
                .map(|found| (key.clone(), found))
                .into_iter()
                .collect()
        }
        Query::Family(family) => store
            .keys(family)
            .filter_map(|key| Some((key.clone(), store.get(family, key)?)))
            .collect(),
    }
}

impl Db {
    /// Asks; [`Output::Answer`] comes when it is known. A global node answers at once when it is synced, any other when its
    /// home has.
    pub fn query(&mut self, query: Query, now: Now) -> QueryId {
        let id = QueryId(self.fresh_id());
        if self.config.global {
            self.early.push((id, query));
            if self.synced {
                self.answer_early(now);
            }
            return id;
        }
        let (Query::Family(family) | Query::Key(family, _)) = &query;
        if let Some(sub) = self.leaf.standing(family)
            && sub.is_synced()
        {
            let answer = answer(&sub.store, &query);
            self.outputs.push_back(Output::Answer(id, answer));
        } else {
            self.new_subscription(query, Some(id));
        }
        id
    }

    pub(super) fn answer_early(&mut self, _now: Now) {
        for (id, query) in std::mem::take(&mut self.early) {
            let answer = answer(&self.store, &query);
            self.outputs.push_back(Output::Answer(id, answer));
        }
    }

    /// Nobody waits for that answer any more.
    pub fn cancel(&mut self, query: QueryId) {
        self.early.retain(|(id, _)| *id != query);
        let mut subs = self.leaf.subs.iter();
        if let Some((&id, _)) = subs.find(|(_, sub)| sub.answers(query)) {
            self.end_subscription(id);
        }
    }

    /// A new reader of a family (R6).
    pub fn watch(&mut self, family: &Family, _now: Now) -> WatchId {
        let id = WatchId(self.fresh_id());
        if self.config.global {
            let is_synced = self.synced;
            start_reading(&mut self.store, id, family, is_synced);
            return id;
        }
        if self.leaf.standing(family).is_none() {
            self.new_subscription(Query::Family(family.clone()), None);
        }
        if let Some(sub) = self.leaf.standing(family) {
            let is_synced = sub.is_synced();
            start_reading(&mut sub.store, id, family, is_synced);
        }
        id
    }

    /// That reader is no longer one.
    pub fn unwatch(&mut self, watch: WatchId) {
        if self.store.watchers.remove(watch).is_some() {
            return;
        }
        let mut unread = None;
        for (id, sub) in &mut self.leaf.subs {
            if let Some(last) = sub.store.watchers.remove(watch) {
                unread = last.then_some(*id);
                break;
            }
        }
        if let Some(id) = unread {
            self.end_subscription(id);
        }
    }

    /// What is next for that reader; [`Output::Changed`] comes when there is something again.
    pub fn next_change(&mut self, watch: WatchId) -> Option<Change> {
        if self.config.global {
            return next_change(&mut self.store, watch);
        }
        let sub = self.leaf.subs.values_mut();
        sub.map(|sub| &mut sub.store)
            .find(|store| store.watchers.has(watch))
            .and_then(|store| next_change(store, watch))
    }

    /// Where that node can be dialled, as it says itself. Only a global node knows; others ask ([`Self::query`]) for the
    /// family `'nodes`.
    pub fn addresses(&self, node: &NodeId) -> Vec<String> {
        match self.advert(node) {
            Some(advert) if self.store.is_shown(node) => advert.addr,
            _ => self.global_addresses(node),
        }
    }

    /// What this node holds, in figures. Takes time in proportion to it.
    pub fn summary(&self) -> Summary {
        let mut sum = Context::new(&SHA256);
        let mut part = |bytes: &[u8]| {
            sum.update(&(bytes.len() as u64).to_be_bytes());
            sum.update(bytes);
        };
        let mut entries = 0;
        for family in self.store.families() {
            for key in self.store.keys(family) {
                let Some(found) = self.store.get(family, key) else {
                    continue;
                };
                part(family.as_str().as_bytes());
                part(key.as_bytes());
                part(found.owner.as_str().as_bytes());
                part(found.value.bytes());
                entries += 1;
            }
        }
        let digest = sum.finish();
        let digest = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let owners = self.store.owners();
        let (held_entries, held_bytes) = self.store.size();
        Summary {
            owners: owners.filter(|(node, _)| self.store.is_shown(node)).count() as u64,
            entries,
            digest,
            held_entries: held_entries as u64,
            held_bytes: held_bytes as u64,
        }
    }

    /// The nodes attached to this one.
    pub fn attached_nodes(&self) -> Vec<NodeId> {
        let own = self.store.shard(&self.config.node);
        let part = own.and_then(|shard| shard.family(system::HOMES));
        let keys = part.into_iter().flat_map(|part| part.live());
        keys.filter_map(|(key, _)| key.parse().ok()).collect()
    }
}

fn start_reading(store: &mut Store, id: WatchId, family: &Family, is_synced: bool) {
    let mut watchers = std::mem::take(&mut store.watchers);
    let keys = store
        .keys(family)
        .map(|key| (key, store.all(family, key).len() > 1));
    watchers.add(id, family, keys);
    if is_synced {
        watchers.synced(Some(family));
    }
    store.watchers = watchers;
}

fn next_change(store: &mut Store, watch: WatchId) -> Option<Change> {
    let mut watchers = std::mem::take(&mut store.watchers);
    let change = watchers.next(watch, |family, key| store.all(family, key));
    store.watchers = watchers;
    change
}
