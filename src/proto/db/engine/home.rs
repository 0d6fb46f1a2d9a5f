//! What a global node is to those that are attached to it: it takes their writes, or refuses them, and tells them what
//! they ask for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Broken, Db, LinkId, Output, Role, relay::Taken, subscriptions::Sub};
use crate::proto::{
    db::{
        item::{self, Item, Packed},
        name::{self, Family, Key, WriteRefused, system},
        roster::{Cause, Claim},
        shard::Shard,
        wire::{Chunk, Stage, Subscribe, Wire},
    },
    id::{Incarnation, NodeId},
    limits::Now,
};

/// Global nodes named to an attached one.
const GLOBALS_TOLD: usize = 64;

/// An attached node, or one that has asked for something.
#[derive(Debug)]
pub(super) struct AttachedLink {
    counter: u64,
    /// The version that its shard has to reach before it is listed.
    version: u64,
    is_listed: bool,
    /// Others had more of its shard, from another home of it.
    ignored: bool,
    pub(super) applied: Option<u64>,
    pub(super) subs: BTreeMap<u64, Sub>,
    /// Standing subscriptions that the policy has refused.
    pub(super) denied: BTreeMap<u64, Subscribe>,
    /// Subscriptions that may have something, each once.
    pub(super) turn: VecDeque<u64>,
    pub(super) conflicts: BTreeSet<(Family, Key)>,
    /// It has not heard yet which global nodes there are now.
    pub(super) lacks_globals: bool,
}

impl AttachedLink {
    pub(super) fn wake(&mut self, sub: u64) {
        if !self.turn.contains(&sub) {
            self.turn.push_back(sub);
        }
    }
}

impl Db {
    pub(super) fn attached(&mut self, link: LinkId) -> Option<(&NodeId, &mut AttachedLink)> {
        let state = self.links.get_mut(&link)?;
        match &mut state.role {
            Role::Attached(attached) => Some((&state.node, attached)),
            _ => None,
        }
    }

    /// The life of a node that is attached here.
    pub(super) fn attached_life(&self, node: &NodeId) -> Option<Incarnation> {
        let link = self.links.get(self.by_node.get(node)?)?;
        matches!(link.role, Role::Attached(_)).then_some(link.life)
    }

    pub(super) fn handle_attach(
        &mut self,
        link: LinkId,
        counter: u64,
        version: u64,
        now: Now,
    ) -> Result<(), Broken> {
        if !self.config.global {
            return Err("it wants a home here, and this is no global node");
        }
        let Some(state) = self.links.get_mut(&link) else {
            return Ok(());
        };
        if state.says_global {
            return Err("it wants a home here, and says that it is a global node itself");
        }
        let (node, life) = (state.node.clone(), state.life);
        if let Role::Attached(_) = state.role {
            return Err("it is attached already");
        }
        state.role = Role::Attached(Box::new(AttachedLink {
            counter,
            version,
            is_listed: false,
            ignored: false,
            applied: None,
            subs: BTreeMap::new(),
            denied: BTreeMap::new(),
            turn: VecDeque::new(),
            conflicts: BTreeSet::new(),
            lacks_globals: true,
        }));
        let known = self.open_shard(&node, life).unwrap_or(0);
        let wire = Wire::Attached {
            version: known,
            wall_ms: now.wall_ms,
        };
        self.say(link, wire);
        self.outputs.push_back(Output::Keep(node, true));
        self.list(link, now);
        Ok(())
    }

    /// Lists an attached node once its shard is as far as it was when it came.
    fn list(&mut self, link: LinkId, now: Now) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        let (node, life) = (state.node.clone(), state.life);
        let Role::Attached(attached) = &mut state.role else {
            return;
        };
        let shard = self.store.shard(&node);
        let is_here = shard.is_some_and(|s| s.life() == life && s.version() >= attached.version);
        if attached.is_listed || !is_here {
            return;
        }
        attached.is_listed = true;
        let claim: Claim = (life, attached.counter, attached.version);
        if let Ok(value) = Packed::encode(&claim, &self.config.limits) {
            self.write(&Family::system(system::HOMES), node.as_str(), value, now);
        }
        self.judge(&node, Cause::Word, now);
    }

    pub(super) fn handle_detach(&mut self, link: LinkId, now: Now) -> Result<(), Broken> {
        let Some(state) = self.links.get_mut(&link) else {
            return Ok(());
        };
        if !matches!(state.role, Role::Attached(_)) {
            return Err("it leaves a home that it does not have here");
        }
        let node = state.node.clone();
        if let Role::Attached(attached) = std::mem::replace(&mut state.role, Role::Plain) {
            self.detach(link, &node, &attached, now);
        }
        Ok(())
    }

    /// An attached node has gone.
    pub(super) fn detach(
        &mut self,
        link: LinkId,
        node: &NodeId,
        attached: &AttachedLink,
        now: Now,
    ) {
        for subs in self.subscribed.values_mut() {
            subs.retain(|(other, _)| *other != link);
        }
        self.subscribed.retain(|_, subs| !subs.is_empty());
        self.outputs.push_back(Output::Keep(node.clone(), false));
        if attached.is_listed {
            self.erase(&Family::system(system::HOMES), &[node.as_str()], now);
        }
        self.judge(node, Cause::Word, now);
        if attached.ignored {
            self.ask_for_shard(node);
        }
    }

    /// Changes of an attached node's shard came another way: it is about to leave, or has left.
    pub(super) fn note_ignored(&mut self, chunk: &Chunk) {
        let shard = self.store.shard(&chunk.owner);
        let is_new = shard.is_some_and(|shard| shard.version() < chunk.to);
        if let Some(link) = self.by_node.get(&chunk.owner).copied()
            && let Some((_, attached)) = self.attached(link)
        {
            attached.ignored |= is_new;
        }
    }

    /// Attached nodes are to be told where they can go when this one dies.
    pub(super) fn tell_globals(&mut self) {
        for (link, state) in &mut self.links {
            if let Role::Attached(attached) = &mut state.role {
                attached.lacks_globals = true;
                self.ready.insert(*link);
            }
        }
    }

    /// The other global nodes, with their addresses.
    pub(super) fn other_globals(&self) -> Vec<(NodeId, Vec<String>)> {
        self.roster
            .reachable()
            .filter(|node| **node != self.config.node)
            .take(GLOBALS_TOLD)
            .map(|node| (node.clone(), self.addresses(node)))
            .collect()
    }

    // --- what attached nodes write ---

    /// Changes of an attached node's own shard.
    pub(super) fn handle_owned(
        &mut self,
        link: LinkId,
        mut chunk: Chunk,
        now: Now,
    ) -> Result<(), Broken> {
        let Some(state) = self.links.get(&link) else {
            return Ok(());
        };
        let (node, life, policy) = (state.node.clone(), state.life, state.policy.clone());
        if chunk.owner != node || chunk.life != life || chunk.sub != 0 {
            return Err("changes of what another node owns");
        }
        if !counts_up(&chunk) {
            return Err("changes whose numbers are not the owner's next ones");
        }
        let Some(before) = self.open_shard(&node, life) else {
            return Ok(());
        };
        let mut families = BTreeSet::new();
        let mut refused = Vec::new();
        if chunk.stage == Stage::Whole && chunk.from <= before {
            // in its owner's order, each with what was before it: what is taken counts, what is forgotten makes room
            for (family, item) in in_order(std::mem::take(&mut chunk.items), before) {
                let vetted = match Self::permits_writing(&policy, &node, &family, &item) {
                    Ok(()) => self.vet(&node, &family, &item, now),
                    Err(denial) => Err(self.write_denied(&node, denial)),
                };
                match vetted {
                    Ok(true) => {
                        self.take_item(&node, &family, item, before, now);
                        families.insert(family);
                    }
                    Ok(false) => {}
                    Err(why) => {
                        refused.push((item.seq(), why));
                        if let Some(gone) = self.replaced(&node, &family, &item, now) {
                            self.take_item(&node, &family, gone, before, now);
                            families.insert(family);
                        }
                    }
                }
            }
        }
        for (family, items) in &mut chunk.items {
            let mut taken = Vec::new();
            for item in std::mem::take(items) {
                let vetted = match Self::permits_writing(&policy, &node, family, &item) {
                    Ok(()) => self.vet(&node, family, &item, now),
                    Err(denial) => Err(self.write_denied(&node, denial)),
                };
                match vetted {
                    Ok(takes) => taken.extend(takes.then_some(item)),
                    Err(why) => {
                        refused.push((item.seq(), why));
                        taken.extend(self.replaced(&node, family, &item, now));
                    }
                }
            }
            *items = taken;
        }
        chunk.items.retain(|(_, items)| !items.is_empty());
        for item in chunk.items.iter().flat_map(|(_, items)| items) {
            self.note_stamp(item, now);
        }
        for (seq, why) in refused {
            self.say(link, Wire::Refused { seq, why });
        }
        let to = chunk.to;
        let Taken::In(more) = self.take_chunk(link, chunk) else {
            return Err("changes with a hole before them");
        };
        families.extend(more);
        let families: Vec<Family> = families.into_iter().collect();
        if let Some((_, attached)) = self.attached(link) {
            attached.applied = Some(to);
        }
        self.ready.insert(link);
        self.shard_changed(&node, before, &families, Vec::new(), now);
        self.list(link, now);
        Ok(())
    }

    fn take_item(&mut self, node: &NodeId, family: &Family, item: Item, after: u64, now: Now) {
        self.note_stamp(&item, now);
        self.store.apply(node, family, item, after);
    }

    /// What is refused was to replace what its owner does not stand by any more: an entry that is here, or one that
    /// was forgotten here and that a reader still has from a former home.
    fn replaced(&self, node: &NodeId, family: &Family, item: &Item, now: Now) -> Option<Item> {
        let Item::Set { key, seq, .. } = item else {
            return None;
        };
        let limits = &self.config.limits;
        if family.is_system() || name::check_key(key, limits.db_key_bytes_max).is_err() {
            return None;
        }
        let gone = Item::Removed {
            key: key.clone(),
            seq: *seq,
        };
        let shard = self.store.shard(node);
        let part = shard.and_then(|shard| shard.family(family.as_str()));
        match part.and_then(|part| part.entry(key)) {
            Some(old) => (old.seq < *seq).then_some(gone),
            None => matches!(self.vet(node, family, &gone, now), Ok(true)).then_some(gone),
        }
    }

    /// Whether a change is taken; `Ok(false)`: there is nothing in it.
    fn vet(
        &self,
        node: &NodeId,
        family: &Family,
        item: &Item,
        now: Now,
    ) -> Result<bool, WriteRefused> {
        let limits = &self.config.limits;
        let shard = self.store.shard(node);
        let (key, stamp, value) = match item {
            Item::Set {
                key, stamp, value, ..
            } => (key, stamp, value),
            // what never came here may have come to others, over a former home
            Item::Removed { key, .. } => {
                let part = shard.and_then(|shard| shard.family(family.as_str()));
                let is_there = part.is_some_and(|part| part.entry(key).is_some());
                let entries = shard.map_or(0, Shard::entry_count);
                return Ok(is_there || entries < limits.db_node_entries_max.saturating_mul(2));
            }
            Item::Floor { .. } => {
                let is_there = shard.is_some_and(|s| s.family(family.as_str()).is_some());
                let families = shard.map_or(0, |shard| shard.families().count());
                return Ok(is_there || families < limits.db_node_families_max);
            }
        };
        let of_members = [system::NODES, system::CRL].contains(&family.as_str());
        if family.is_system() && !(of_members && **key == *node.as_str()) {
            let key: String = key.chars().take(100).collect();
            let text = format!("{node} may not write {key} in {family}");
            return Err(WriteRefused::NotPermitted(text));
        }
        name::check_key(key, limits.db_key_bytes_max)?;
        item::refuse_if_large(value, limits)?;
        if family.is_system() {
            // nobody would find the node without it (L3), or hear of who was revoked; it is the only one of its key
            return Ok(true);
        }
        if let Some(by) = stamp.ahead_of(now.wall_ms) {
            return Err(WriteRefused::ClockAhead(by));
        }
        if let Some(shard) = shard {
            shard.check(family, key, value.len(), limits)?;
        }
        self.check_total(shard, family, key, value.len())?;
        Ok(true)
    }

    /// Whether there is room for one more entry in all.
    pub(super) fn check_total(
        &self,
        shard: Option<&Shard>,
        family: &Family,
        key: &str,
        value_len: usize,
    ) -> Result<(), WriteRefused> {
        let limits = &self.config.limits;
        let (entries, bytes) = self.store.size();
        let part = shard.and_then(|shard| shard.family(family.as_str()));
        let is_new = part.and_then(|part| part.entry(key)).is_none();
        if is_new && entries >= limits.db_entries_max {
            let text = format!("{entries} entries in all");
            return Err(WriteRefused::MeshFull(text));
        }
        if bytes + value_len > limits.db_bytes_max {
            return Err(WriteRefused::MeshFull(format!("{bytes} bytes in all")));
        }
        Ok(())
    }
}

/// Whether the numbers are within the chunk, and go up in each family: others take it for granted.
fn counts_up(chunk: &Chunk) -> bool {
    let rises = |items: &[Item]| {
        let mut last = chunk.from;
        items.iter().all(|item| {
            let seq = item.seq();
            let floor = match item {
                Item::Floor { floor, .. } => *floor,
                _ => 0,
            };
            floor < seq && std::mem::replace(&mut last, seq) < seq && seq <= chunk.to
        })
    };
    chunk.from <= chunk.to && chunk.items.iter().all(|(_, items)| rises(items))
}

/// The changes above that number, as they were made.
fn in_order(items: Vec<(Family, Vec<Item>)>, above: u64) -> Vec<(Family, Item)> {
    let all = items.into_iter().flat_map(|(family, items)| {
        let items = items.into_iter().filter(|item| item.seq() > above);
        items.map(move |item| (family.clone(), item))
    });
    let mut all: Vec<(Family, Item)> = all.collect();
    all.sort_by_key(|(_, item)| item.seq());
    all
}
