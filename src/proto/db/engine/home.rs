//! What a global node is to those that are attached to it: it takes their writes, or refuses them, and tells them what
//! they ask for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Broken, Db, LinkId, Output, Role};
use crate::proto::{
    db::{
        feed::{Feed, Filter},
        item::{self, Item, Packed},
        name::{self, Family, Key, WriteRefused, system},
        roster::{Cause, Claim},
        shard::Shard,
        wire::{Chunk, Subscribe, Wire},
    },
    id::{Incarnation, NodeId},
    limits::Now,
};

/// Global nodes named to an attached one.
const GLOBALS_TOLD: usize = 64;

/// What an attached node wants to know of.
#[derive(Debug)]
struct Sub {
    feed: Feed,
    once: bool,
    /// Whom it is to hear of at first, be there news or not.
    first: BTreeSet<NodeId>,
    gone: VecDeque<(NodeId, Incarnation)>,
    synced_told: bool,
}

/// An attached node, or one that has asked for something.
#[derive(Debug)]
pub(super) struct AttachedLink {
    counter: u64,
    /// The version that its shard has to reach before it is listed.
    version: u64,
    is_listed: bool,
    applied: Option<u64>,
    subs: BTreeMap<u64, Sub>,
    /// Subscriptions that may have something, each once.
    turn: VecDeque<u64>,
    conflicts: BTreeSet<(Family, Key)>,
}

impl AttachedLink {
    fn wake(&mut self, sub: u64) {
        if !self.turn.contains(&sub) {
            self.turn.push_back(sub);
        }
    }
}

impl Db {
    fn attached(&mut self, link: LinkId) -> Option<(&NodeId, &mut AttachedLink)> {
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
            applied: None,
            subs: BTreeMap::new(),
            turn: VecDeque::new(),
            conflicts: BTreeSet::new(),
        }));
        let known = self
            .store
            .open(&node, life)
            .map_or(0, |shard| shard.version());
        let wire = Wire::Attached {
            version: known,
            wall_ms: now.wall_ms,
        };
        self.say(link, wire);
        self.tell_globals(Some(link));
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
    }

    /// Tells attached nodes, or one of them, where they can go when this one dies.
    pub(super) fn tell_globals(&mut self, to: Option<LinkId>) {
        let links: Vec<LinkId> = match to {
            Some(link) => vec![link],
            None => self
                .links
                .iter()
                .filter(|(_, link)| matches!(link.role, Role::Attached(_)))
                .map(|(id, _)| *id)
                .collect(),
        };
        let globals: Vec<(NodeId, Vec<String>)> = self
            .roster
            .reachable()
            .filter(|node| **node != self.config.node)
            .take(GLOBALS_TOLD)
            .map(|node| (node.clone(), self.addresses(node)))
            .collect();
        for link in links {
            self.say(link, Wire::Globals(globals.clone()));
        }
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
        let (node, life) = (state.node.clone(), state.life);
        if chunk.owner != node || chunk.life != life || chunk.sub != 0 {
            return Err("changes of what another node owns");
        }
        let Some(before) = self.store.open(&node, life).map(|shard| shard.version()) else {
            return Ok(());
        };
        let mut refused = Vec::new();
        for (family, items) in &mut chunk.items {
            items.retain(|item| match self.vet(&node, family, item, now) {
                Ok(takes) => takes,
                Err(why) => {
                    refused.push((item.seq(), why));
                    false
                }
            });
        }
        chunk.items.retain(|(_, items)| !items.is_empty());
        let families: Vec<Family> = chunk
            .items
            .iter()
            .map(|(family, _)| family.clone())
            .collect();
        for (_, items) in &chunk.items {
            for item in items {
                if let Item::Set { stamp, .. } = item {
                    self.clock.observe(*stamp, now.wall_ms);
                }
            }
        }
        for (seq, why) in refused {
            self.say(link, Wire::Refused { seq, why });
        }
        let to = chunk.to;
        if !self.take_chunk(link, chunk) {
            return Err("changes with a hole before them");
        }
        if let Some((_, attached)) = self.attached(link) {
            attached.applied = Some(to);
        }
        self.ready.insert(link);
        self.shard_changed(&node, before, &families, Vec::new(), now);
        self.list(link, now);
        Ok(())
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
            // a removal of what never came here is nothing to anyone
            Item::Removed { key, .. } => {
                let part = shard.and_then(|shard| shard.family(family.as_str()));
                return Ok(part.is_some_and(|part| part.entry(key).is_some()));
            }
            Item::Floor { .. } => {
                return Ok(shard.is_some_and(|s| s.family(family.as_str()).is_some()));
            }
        };
        if family.is_system() && (family.as_str() != system::NODES || **key != *node.as_str()) {
            let text = format!("{node} may not write {key} in {family}");
            return Err(WriteRefused::NotPermitted(text));
        }
        name::check_key(key, limits.db_key_bytes_max)?;
        item::refuse_if_large(value, limits)?;
        if let Some(by) = stamp.ahead_of(now.wall_ms) {
            return Err(WriteRefused::ClockAhead(by));
        }
        if let Some(shard) = shard {
            shard.check(family, key, value.len(), limits)?;
        }
        self.check_total(shard, family, key, value.len())
            .map(|()| true)
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

    // --- what attached nodes ask for ---

    pub(super) fn handle_subscribe(
        &mut self,
        link: LinkId,
        asked: Subscribe,
    ) -> Result<(), Broken> {
        let subs_max = self.config.limits.db_subscriptions_max;
        let Some((node, attached)) = self.attached(link) else {
            return Err("it asks for entries, and is not attached");
        };
        if asked.sub == 0 {
            return Err("the subscription 0 is the link's own");
        }
        if attached.subs.len() >= subs_max && !attached.subs.contains_key(&asked.sub) {
            return Err("it asks for more at a time than it may");
        }
        let node = node.clone();
        let filter = match asked.key {
            Some(key) => Filter::Key(asked.family.clone(), key),
            None => Filter::Family(asked.family.clone()),
        };
        let mut sub = Sub {
            feed: Feed::new(asked.sub, filter),
            once: asked.once,
            first: BTreeSet::new(),
            gone: VecDeque::new(),
            synced_told: false,
        };
        for known in asked.known {
            sub.feed.knows(known);
        }
        for (owner, shard) in self.store.owners() {
            let concerns = sub.feed.is_known(owner) || sub.feed.filter().touches(shard);
            if *owner != node && self.store.is_shown(owner) && concerns {
                sub.first.insert(owner.clone());
                sub.feed.mark(owner);
            }
        }
        if !asked.once {
            let subs = self.subscribed.entry(asked.family).or_default();
            subs.insert((link, asked.sub));
        }
        if let Some((_, attached)) = self.attached(link) {
            attached.subs.insert(asked.sub, sub);
            attached.wake(asked.sub);
        }
        self.ready.insert(link);
        Ok(())
    }

    pub(super) fn handle_unsubscribe(&mut self, link: LinkId, sub: u64) -> Result<(), Broken> {
        self.drop_sub(link, sub);
        Ok(())
    }

    fn drop_sub(&mut self, link: LinkId, sub: u64) {
        let Some((_, attached)) = self.attached(link) else {
            return;
        };
        attached.subs.remove(&sub);
        for subs in self.subscribed.values_mut() {
            subs.remove(&(link, sub));
        }
        self.subscribed.retain(|_, subs| !subs.is_empty());
    }

    /// Something in these families of that owner is new.
    pub(super) fn mark_subscribers(&mut self, owner: &NodeId, families: &[Family]) {
        if self.store.is_shown(owner) {
            for family in families {
                for (link, id) in self.subscribed.get(family).cloned().unwrap_or_default() {
                    if let Some((node, attached)) = self.attached(link)
                        && node != owner
                        && let Some(sub) = attached.subs.get_mut(&id)
                    {
                        sub.feed.mark(owner);
                        attached.wake(id);
                        self.ready.insert(link);
                    }
                }
            }
        }
        self.tell_conflicts();
    }

    /// A node shows now, or no longer.
    pub(super) fn shown_changed(&mut self, owner: &NodeId, shown: bool) {
        let families: Vec<Family> = self
            .store
            .shard(owner)
            .into_iter()
            .flat_map(|shard| shard.families().map(|(family, _)| family.clone()))
            .collect();
        if shown {
            return self.mark_subscribers(owner, &families);
        }
        let subscribed = &self.subscribed;
        let all: BTreeSet<(LinkId, u64)> = subscribed.values().flatten().copied().collect();
        for (link, id) in all {
            if let Some((_, attached)) = self.attached(link)
                && let Some(sub) = attached.subs.get_mut(&id)
            {
                sub.first.remove(owner);
                if let Some(life) = sub.feed.forget(owner) {
                    sub.gone.push_back((owner.clone(), life));
                }
                attached.wake(id);
                self.ready.insert(link);
            }
        }
    }

    /// Those who own keys that others own too are told so.
    pub(super) fn tell_conflicts(&mut self) {
        for (family, key) in std::mem::take(&mut self.store.conflicts) {
            if family.is_system() {
                continue;
            }
            let owners = self.store.all(&family, &key);
            for found in &owners {
                if found.owner == self.config.node {
                    let owners = owners.iter().map(|found| found.owner.clone()).collect();
                    let output = Output::Conflict(family.clone(), key.clone(), owners);
                    self.outputs.push_back(output);
                } else if let Some(link) = self.by_node.get(&found.owner).copied()
                    && let Some((_, attached)) = self.attached(link)
                {
                    attached.conflicts.insert((family.clone(), key.clone()));
                    self.ready.insert(link);
                }
            }
        }
    }

    pub(super) fn next_for_attached(&mut self, link: LinkId) -> Option<Wire> {
        let (_, attached) = self.attached(link)?;
        if let Some(version) = attached.applied.take() {
            return Some(Wire::Applied(version));
        }
        if let Some((family, key)) = attached.conflicts.pop_first() {
            let owners = self.store.all(&family, &key);
            let owners = owners.into_iter().map(|found| found.owner).collect();
            return Some(Wire::Conflict {
                family,
                key,
                owners,
            });
        }
        loop {
            let (_, attached) = self.attached(link)?;
            let id = attached.turn.pop_front()?;
            if let Some(wire) = self.next_for_sub(link, id) {
                if let Some((_, attached)) = self.attached(link)
                    && attached.subs.contains_key(&id)
                {
                    // the others have their turn first
                    attached.wake(id);
                }
                return Some(wire);
            }
        }
    }

    fn next_for_sub(&mut self, link: LinkId, id: u64) -> Option<Wire> {
        let is_synced = self.synced;
        let Some(super::Link {
            role: Role::Attached(attached),
            ..
        }) = self.links.get_mut(&link)
        else {
            return None;
        };
        let sub = attached.subs.get_mut(&id)?;
        if let Some((owner, life)) = sub.gone.pop_front() {
            return Some(Wire::Gone {
                sub: id,
                owner,
                life,
            });
        }
        while let Some(owner) = sub.feed.next_owner() {
            let Some(shard) = self
                .store
                .shard(&owner)
                .filter(|_| self.store.is_shown(&owner))
            else {
                continue;
            };
            let is_first = sub.first.contains(&owner);
            let Some((chunk, more)) = sub.feed.next_chunk(&owner, shard, is_first) else {
                continue;
            };
            if more {
                sub.feed.mark(&owner);
            } else {
                sub.first.remove(&owner);
            }
            return Some(Wire::Chunk(chunk));
        }
        if is_synced && !sub.synced_told {
            sub.synced_told = true;
            if sub.once {
                self.drop_sub(link, id);
            }
            return Some(Wire::Synced(id));
        }
        None
    }
}
