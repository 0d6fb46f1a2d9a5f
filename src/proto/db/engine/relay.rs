//! How changes travel between global nodes: who needs what from whom, and what is done with what comes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, Db, LinkId, Role};
use crate::proto::{
    db::{
        item::Item,
        name::{Family, system},
        roster::{self, Cause},
        shard::{Shard, Staged},
        store::Store,
        wire::{Chunk, Stage, Wire},
    },
    id::NodeId,
    limits::{Limits, Now},
};

/// What counts when it is whole.
pub(super) type Staging = BTreeMap<(u64, NodeId), Staged>;

impl Db {
    /// Whether that global node has to hear of the shard from this one.
    pub(super) fn is_needed(&self, node: &NodeId, peer: &NodeId) -> bool {
        let me = &self.config.node;
        if node == me || self.attached_life(node).is_some() {
            return true;
        }
        let Some(home) = self.roster.home(node) else {
            return false;
        };
        if home == peer || node == peer || home == me {
            return false;
        }
        // it hears from the home itself where the two are linked
        let links = self
            .store
            .shard(peer)
            .and_then(|shard| shard.get(system::LINKS, home.as_str()));
        links.is_none()
    }

    pub(super) fn next_for_global(&mut self, link: LinkId) -> Option<Wire> {
        loop {
            let state = self.links.get_mut(&link)?;
            let Role::Global(global) = &mut state.role else {
                return None;
            };
            if !global.is_up() || !global.knows {
                return None;
            }
            let Some(owner) = global.feed.next_owner() else {
                if global.synced_told {
                    return None;
                }
                global.synced_told = true;
                return Some(Wire::Synced(0));
            };
            let peer = state.node.clone();
            if !self.is_needed(&owner, &peer) {
                continue;
            }
            let (Some(shard), Some(state)) = (self.store.shard(&owner), self.links.get_mut(&link))
            else {
                continue;
            };
            let Role::Global(global) = &mut state.role else {
                return None;
            };
            if let Some((chunk, more)) = global.feed.next_chunk(&owner, shard, false) {
                if more {
                    global.feed.mark(&owner);
                }
                return Some(Wire::Chunk(chunk));
            }
        }
    }

    pub(super) fn handle_chunk(
        &mut self,
        link: LinkId,
        chunk: Chunk,
        now: Now,
    ) -> Result<(), Broken> {
        let Some(state) = self.links.get_mut(&link) else {
            return Ok(());
        };
        match &mut state.role {
            Role::Global(global) if global.accepts => {
                if !matches!(chunk.stage, Stage::First | Stage::Part) {
                    global.feed.has_shown(&chunk.owner, chunk.life, chunk.to);
                }
                self.handle_relayed(link, chunk, now)
            }
            Role::Attached(_) => self.handle_owned(link, chunk, now),
            Role::Home(_) => self.handle_subscribed(link, chunk, now),
            Role::Plain | Role::Global(_) => Err("changes from a node that may not send any"),
        }
    }

    /// Changes that another global node passes on.
    pub(super) fn handle_relayed(
        &mut self,
        link: LinkId,
        chunk: Chunk,
        now: Now,
    ) -> Result<(), Broken> {
        let owner = chunk.owner.clone();
        if owner == self.config.node || self.attached_life(&owner) >= Some(chunk.life) {
            // what those own is heard from themselves alone
            self.note_ignored(&chunk);
            return Ok(());
        }
        let members = self.members_before(&chunk);
        for item in chunk.items.iter().flat_map(|(_, items)| items) {
            self.note_stamp(item, now);
        }
        let Some(before) = self.open_shard(&owner, chunk.life) else {
            return Ok(()); // of an earlier life
        };
        match self.take_chunk(link, chunk) {
            Taken::In(families) => self.shard_changed(&owner, before, &families, members, now),
            Taken::Hole => {
                // it is told what there is, and sends the rest
                let state = self.store.shard(&owner);
                let known = state.map(|shard| (owner.clone(), shard.life(), shard.version()));
                let (shards, last) = (known.into_iter().collect(), true);
                self.say(link, Wire::Known { shards, last });
            }
        }
        self.forget_retained(now);
        Ok(())
    }

    /// Whom the shard lists of which that chunk may leave no trace: it replaces the shard by that of a later life, or
    /// ends a sweep.
    fn members_before(&self, chunk: &Chunk) -> Vec<(NodeId, Cause)> {
        let Some(shard) = self.store.shard(&chunk.owner) else {
            return Vec::new();
        };
        let cause = if shard.life() < chunk.life {
            Cause::Lost
        } else if matches!(chunk.stage, Stage::Last | Stage::Only) {
            Cause::Word
        } else {
            return Vec::new();
        };
        let members = roster::listed(shard).into_iter();
        members.map(|node| (node, cause)).collect()
    }

    /// Puts changes into a shard that is there.
    pub(super) fn take_chunk(&mut self, link: LinkId, chunk: Chunk) -> Taken {
        let Some(state) = self.links.get_mut(&link) else {
            return Taken::In(Vec::new());
        };
        let limits = &self.config.limits;
        apply_chunk(&mut self.store, &mut state.staging, chunk, limits)
    }

    /// What follows from changes of a shard: who it lists, whom it is linked with, and who has to hear of it.
    pub(super) fn shard_changed(
        &mut self,
        owner: &NodeId,
        before: u64,
        families: &[Family],
        members: Vec<(NodeId, Cause)>,
        now: Now,
    ) {
        let has = |name: &str| families.iter().any(|family| family.as_str() == name);
        self.judge(owner, Cause::Word, now);
        if has(system::HOMES) {
            for node in self.listed_since(owner, before) {
                self.judge(&node, Cause::Word, now);
            }
        }
        let is_new_life = before == 0;
        for (node, cause) in members {
            self.judge(&node, cause, now);
        }
        if has(system::LINKS) || is_new_life || self.roster.awaits(owner) {
            self.ways_changed(None, now);
        }
        if has(system::NODES) {
            self.read_advert(owner, now);
        }
        self.mark_subscribers(owner, families);
    }

    /// Whom a home listed, or took off its list, after that version.
    pub(super) fn listed_since(&self, home: &NodeId, version: u64) -> Vec<NodeId> {
        let part = self
            .store
            .shard(home)
            .and_then(|shard| shard.family(system::HOMES));
        part.into_iter()
            .flat_map(|part| part.since(version))
            .filter_map(|(_, item)| match item {
                Item::Set { key, .. } | Item::Removed { key, .. } => key.parse().ok(),
                Item::Floor { .. } => None,
            })
            .collect()
    }
}

/// What became of a chunk.
#[derive(Debug)]
pub(super) enum Taken {
    /// There is a hole before it.
    Hole,
    /// It is there, or kept aside; something in these families is new.
    In(Vec<Family>),
}

/// Puts changes into a shard that is there.
pub(super) fn apply_chunk(
    store: &mut Store,
    staging: &mut Staging,
    chunk: Chunk,
    limits: &Limits,
) -> Taken {
    let owner = chunk.owner;
    let Some(version) = store.shard(&owner).map(Shard::version) else {
        return Taken::Hole;
    };
    if chunk.from > version {
        return Taken::Hole;
    }
    if chunk.stage == Stage::Whole {
        // to a reader that is thought to have nothing nobody says what is gone: this one has something
        let forgets = |item: &Item| matches!(item, Item::Floor { floor, .. } if *floor > version);
        if version > 0
            && chunk
                .items
                .iter()
                .any(|(_, items)| items.iter().any(forgets))
        {
            return Taken::Hole;
        }
        let families = chunk.items.iter().map(|(family, _)| family.clone());
        let families = families.collect();
        for (family, items) in chunk.items {
            for item in items {
                store.apply(&owner, &family, item, version);
            }
        }
        store.with_shard(&owner, |shard| shard.advance(chunk.to));
        return Taken::In(families);
    }
    let place = (chunk.sub, owner.clone());
    let mut staged = match chunk.stage {
        Stage::First | Stage::Only => Staged {
            from: chunk.from,
            items: Vec::new(),
            alive: BTreeMap::new(),
            count: 0,
            bytes: 0,
        },
        _ => match staging.remove(&place) {
            Some(staged) if staged.from == chunk.from => staged,
            _ => return Taken::Hole,
        },
    };
    for item in chunk.items.iter().flat_map(|(_, items)| items) {
        staged.count += 1;
        staged.bytes += item.size();
    }
    staged.items.extend(chunk.items);
    for (family, seqs) in chunk.alive {
        staged.count += seqs.len();
        staged.alive.entry(family).or_default().extend(seqs);
    }
    if matches!(chunk.stage, Stage::Last | Stage::Only) {
        // what is known beyond it came another way
        if chunk.to >= version {
            let families = staged.items.iter().map(|(family, _)| family);
            let families: BTreeSet<Family> = families.chain(staged.alive.keys()).cloned().collect();
            store.apply_staged(&owner, staged, chunk.to);
            return Taken::In(families.into_iter().collect());
        }
    } else if staged.count <= limits.db_node_entries_max.saturating_mul(4)
        && staged.bytes <= limits.db_node_bytes_max.saturating_mul(2)
    {
        staging.insert(place, staged);
    }
    Taken::In(Vec::new())
}
