//! What this node owns: its own writes, seen by itself at once (R7), and what it tells of itself.

use serde::{Deserialize, Serialize};

use super::Db;
use crate::proto::{
    db::{
        clock::Stamp,
        item::{self, Packed},
        name::{self, Family, Key, WriteRefused, system},
        shard::Entry,
        store::Found,
    },
    id::NodeId,
    limits::Now,
};

/// Addresses of one node.
const ADDRESSES_MAX: usize = 16;

/// What a node tells of itself in the family `'nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Advert {
    /// Where it can be dialled.
    pub addr: Vec<String>,
    /// Whether it is a global node, as it says itself.
    pub global: bool,
    /// The version of its program.
    pub version: String,
}

impl Db {
    /// Sets an entry. It shows at once here; its home may refuse it later. Returns the number of the change.
    ///
    /// # Errors
    /// [`WriteRefused`]; nothing has changed.
    pub fn set(
        &mut self,
        family: &Family,
        key: &str,
        value: Packed,
        now: Now,
    ) -> Result<u64, WriteRefused> {
        let limits = &self.config.limits;
        if family.is_system() {
            return Err(WriteRefused::SystemFamily(family.to_string()));
        }
        name::check_key(key, limits.db_key_bytes_max)?;
        item::refuse_if_large(&value, limits)?;
        let own = self.store.shard(&self.config.node);
        if let Some(shard) = own {
            shard.check(family, key, value.len(), limits)?;
        }
        if self.config.global {
            self.check_total(own, family, key, value.len())?;
        }
        self.write(family, key, value, now);
        let own = self.store.shard(&self.config.node);
        Ok(own.map_or(0, |shard| shard.version()))
    }

    /// Removes keys that this node owns, in one step. How many there were.
    ///
    /// # Errors
    /// [`WriteRefused::SystemFamily`].
    pub fn remove(
        &mut self,
        family: &Family,
        keys: &[&str],
        now: Now,
    ) -> Result<usize, WriteRefused> {
        if family.is_system() {
            return Err(WriteRefused::SystemFamily(family.to_string()));
        }
        Ok(self.erase(family, keys, now))
    }

    /// What this node owns under that key, be it what shows or not.
    pub fn owned(&self, family: &Family, key: &str) -> Option<Found> {
        let entry = self
            .store
            .shard(&self.config.node)?
            .get(family.as_str(), key)?;
        Some(Found {
            owner: self.config.node.clone(),
            stamp: entry.stamp,
            value: entry.value.clone()?,
            seq: entry.seq,
        })
    }

    /// Removes a key if it is still what that change made it.
    pub fn remove_if(&mut self, family: &Family, key: &str, seq: u64, now: Now) -> bool {
        let own = self.store.shard(&self.config.node);
        let entry = own.and_then(|shard| shard.get(family.as_str(), key));
        let is_it = |now: u64| now == seq || self.leaf.renumbered.get(&now) == Some(&seq);
        entry.is_some_and(|entry| is_it(entry.seq)) && self.erase(family, &[key], now) > 0
    }

    /// What became of that change: at once where this node is global, or its home has answered. Where it has not,
    /// [`Output::Written`](super::Output::Written) comes for it.
    pub fn wait_for(&mut self, known: u64) -> Option<Result<(), WriteRefused>> {
        if let Some(why) = self.leaf.refused.get(&known) {
            return Some(Err(why.clone()));
        }
        let seq = self.leaf.number_now(known);
        if self.config.global || seq <= self.leaf.applied {
            return Some(Ok(()));
        }
        self.waits.insert(seq, known);
        None
    }

    pub(super) fn erase(&mut self, family: &Family, keys: &[&str], now: Now) -> usize {
        let me = self.config.node.clone();
        let mut erased = 0;
        for key in keys {
            let own = self.store.shard(&me);
            if own
                .and_then(|shard| shard.get(family.as_str(), key))
                .is_none()
            {
                continue;
            }
            let mut seq = 0;
            self.store.with_shard(&me, |shard| seq = shard.next_seq());
            let entry = Entry {
                seq,
                stamp: Stamp::default(),
                value: None,
            };
            self.mirror(family, key, &entry);
            self.store.put(&me, family, &(*key).into(), entry);
            erased += 1;
        }
        if erased > 0 {
            let limits = self.config.limits.clone();
            self.store
                .with_shard(&me, |shard| shard.trim(family, &limits));
            self.own_changed(family, now);
        }
        erased
    }

    /// Others have to hear of it.
    pub(super) fn own_changed(&mut self, family: &Family, _now: Now) {
        if self.config.global {
            let me = self.config.node.clone();
            self.mark_globals(&me);
            self.mark_subscribers(&me, std::slice::from_ref(family));
        } else {
            self.mark_home();
        }
    }

    /// Writes an entry of this node's own shard, unchecked.
    pub(super) fn write(&mut self, family: &Family, key: &str, value: Packed, now: Now) {
        let key = Key::from(key);
        // it may have been too far ahead when it came, and the clock set back since (R7)
        let me = &self.config.node;
        let replaces = match self.leaf.standing(family) {
            Some(sub) => sub.store.latest_but(me, family, &key),
            None => self.store.latest_but(me, family, &key),
        };
        let stamp = self.clock.tick(now.wall_ms, replaces);
        let me = self.config.node.clone();
        let mut seq = 0;
        self.store.with_shard(&me, |shard| seq = shard.next_seq());
        let value = Some(value);
        let entry = Entry { seq, stamp, value };
        self.mirror(family, &key, &entry);
        self.store.put(&me, family, &key, entry);
        self.own_changed(family, now);
    }

    /// Tells others of this node.
    ///
    /// # Errors
    /// It is too much to be told.
    pub fn advertise(&mut self, mut advert: Advert, now: Now) -> Result<(), WriteRefused> {
        advert.addr.truncate(ADDRESSES_MAX);
        let value = Packed::encode(&advert, &self.config.limits)?;
        let key = self.config.node.as_str().to_owned();
        self.write(&Family::system(system::NODES), &key, value, now);
        Ok(())
    }

    /// Tells others of CRLs, in PEM; with an empty text no longer. `false`: that is told already.
    ///
    /// # Errors
    /// It is too much to be told.
    pub fn tell_crls(&mut self, pem: &str, now: Now) -> Result<bool, WriteRefused> {
        let family = Family::system(system::CRL);
        let key = self.config.node.as_str().to_owned();
        if pem.is_empty() {
            return Ok(self.erase(&family, &[&key], now) > 0);
        }
        let limits = &self.config.limits;
        let value = Packed::encode(&pem, limits)?;
        item::refuse_if_large(&value, limits)?;
        let owned = self.owned(&family, &key);
        let told = owned.is_some_and(|found| found.value == value);
        if !told {
            self.write(&family, &key, value, now);
        }
        Ok(!told)
    }

    /// What that node tells of itself; nobody else's word counts.
    pub(super) fn advert(&self, node: &NodeId) -> Option<Advert> {
        let shard = self.store.shard(node)?;
        let entry = shard.get(system::NODES, node.as_str())?;
        entry.value.as_ref()?.decode().ok()
    }

    pub(super) fn read_advert(&mut self, node: &NodeId, now: Now) {
        if let Some(advert) = self.advert(node)
            && advert.global
            && self.config.global
        {
            self.learn_global(node, advert.addr, now);
            // anybody may say it of themselves
            if self.roster.reachable().any(|global| global == node) {
                self.tell_globals();
            }
        }
    }
}
