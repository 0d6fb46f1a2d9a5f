//! What global nodes are to each other: they tell what they have, pass on what others lack, and agree on who lives.

use std::{collections::BTreeMap, time::Duration};

use super::{Broken, Db, Link, LinkId, Output, Role};
use crate::proto::{
    db::{
        clock::DRIFT_MAX_MS,
        feed::{Feed, Filter},
        item::{Item, Packed},
        name::{Family, system},
        roster::{self, Cause},
        shard::{Shard, Staged},
        store::Store,
        wire::{Chunk, Known, Stage, Wire},
    },
    id::NodeId,
    limits::{Limits, Now},
};

/// How often global nodes tell each other anew what they have.
pub(super) const EXCHANGE: Duration = Duration::from_secs(60);
/// Shards named in one message.
const KNOWN_PER_MESSAGE: usize = 1_000;

/// A link between two global nodes.
#[derive(Debug)]
pub(super) struct GlobalLink {
    /// Each has said that it takes the other for a global node.
    accepted: bool,
    accepts: bool,
    /// The peer has told all that it has.
    knows: bool,
    pub(super) feed: Feed,
    synced_told: bool,
    synced: bool,
}

impl GlobalLink {
    pub(super) fn is_up(&self) -> bool {
        self.accepted && self.accepts
    }
}

impl Db {
    /// That peer says that it is a global node. So is this one.
    pub(super) fn meet_global(&mut self, link: LinkId, now: Now) {
        let Some(state) = self.links.get(&link) else {
            return;
        };
        let node = state.node.clone();
        if !self.trusts(&node) {
            if matches!(state.role, Role::Plain) && state.queue.is_empty() {
                let text = format!(
                    "{} takes {node} for no global node: it is none of its seeds, and not named as one",
                    self.config.node
                );
                self.say(link, Wire::Decline(text.clone()));
                self.outputs.push_back(Output::NotGlobal(node, text));
            }
            return;
        }
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        match &mut state.role {
            Role::Plain => {
                state.role = Role::Global(Box::new(GlobalLink {
                    accepted: false,
                    accepts: true,
                    knows: false,
                    feed: Feed::new(0, Filter::All),
                    synced_told: false,
                    synced: false,
                }));
            }
            Role::Global(global) if !global.accepts => global.accepts = true,
            _ => return,
        }
        self.say(link, Wire::Accept(now.wall_ms));
        self.look_at_global(link, now);
    }

    pub(super) fn handle_accept(
        &mut self,
        link: LinkId,
        wall_ms: u64,
        now: Now,
    ) -> Result<(), Broken> {
        let Some(state) = self.links.get_mut(&link) else {
            return Ok(());
        };
        if !(state.says_global && self.config.global) {
            return Err("it accepts as global who is not, or is not global itself");
        }
        match &mut state.role {
            Role::Plain => {
                state.role = Role::Global(Box::new(GlobalLink {
                    accepted: true,
                    accepts: false,
                    knows: false,
                    feed: Feed::new(0, Filter::All),
                    synced_told: false,
                    synced: false,
                }));
            }
            Role::Global(global) => global.accepted = true,
            _ => return Err("it accepts as global who is attached"),
        }
        let skew = i64::try_from(wall_ms)
            .unwrap_or(i64::MAX)
            .saturating_sub(i64::try_from(now.wall_ms).unwrap_or(i64::MAX));
        if skew.unsigned_abs() > DRIFT_MAX_MS {
            let node = state.node.clone();
            self.outputs.push_back(Output::Skew(node, skew));
        }
        self.look_at_global(link, now);
        Ok(())
    }

    pub(super) fn handle_decline(&mut self, link: LinkId, text: String) -> Result<(), Broken> {
        if let Some(state) = self.links.get(&link) {
            let node = state.node.clone();
            let text = text.chars().take(500).collect();
            self.outputs.push_back(Output::NotGlobal(node, text));
        }
        Ok(())
    }

    /// Both have accepted: the link is one of the mesh of global nodes.
    fn look_at_global(&mut self, link: LinkId, now: Now) {
        let Some(Link {
            node, life, role, ..
        }) = self.links.get(&link)
        else {
            return;
        };
        if !matches!(role, Role::Global(global) if global.is_up()) {
            return;
        }
        let (node, life) = (node.clone(), *life);
        self.tell_known(link);
        self.outputs.push_back(Output::Keep(node.clone(), true));
        self.learn_global(&node, Vec::new(), now);
        // others learn by it that this one can be reached over this node
        if let Ok(value) = Packed::encode(&(life,), &self.config.limits) {
            self.write(&Family::system(system::LINKS), node.as_str(), value, now);
        }
        self.ways_changed(None, now);
    }

    /// Says what this node has, all of it.
    fn tell_known(&mut self, link: LinkId) {
        let known: Vec<Known> = self
            .store
            .owners()
            .map(|(node, shard)| (node.clone(), shard.life(), shard.version()))
            .collect();
        let mut parts = known.chunks(KNOWN_PER_MESSAGE).peekable();
        if parts.peek().is_none() {
            let (shards, last) = (Vec::new(), true);
            return self.say(link, Wire::Known { shards, last });
        }
        while let Some(part) = parts.next() {
            let wire = Wire::Known {
                shards: part.to_vec(),
                last: parts.peek().is_none(),
            };
            self.say(link, wire);
        }
    }

    pub(super) fn handle_known(
        &mut self,
        link: LinkId,
        shards: Vec<Known>,
        last: bool,
    ) -> Result<(), Broken> {
        let Some(state) = self.links.get_mut(&link) else {
            return Ok(());
        };
        let Role::Global(global) = &mut state.role else {
            return Err("it tells what it has, and is taken for no global node");
        };
        if !global.is_up() {
            return Err("it tells what it has before both have accepted");
        }
        for known in shards {
            global.feed.knows(known);
        }
        if last {
            global.knows = true;
            for (node, _) in self.store.owners() {
                global.feed.mark(node);
            }
            self.ready.insert(link);
        }
        Ok(())
    }

    pub(super) fn lose_global(
        &mut self,
        node: &NodeId,
        global: &GlobalLink,
        orderly: bool,
        now: Now,
    ) {
        self.outputs.push_back(Output::Keep(node.clone(), false));
        if let Some(known) = self.globals.get_mut(node) {
            known.next = now.mono + known.pause / 2;
        }
        if global.is_up() {
            // before the others hear that this link is gone: they may have to send what it brought
            for link in self.global_links() {
                self.tell_known(link);
            }
            self.erase(&Family::system(system::LINKS), &[node.as_str()], now);
            self.ways_changed(orderly.then_some(node), now);
        }
        self.check_synced(now);
    }

    pub(super) fn global_links(&self) -> Vec<LinkId> {
        let is_up = |link: &&Link| matches!(&link.role, Role::Global(global) if global.is_up());
        self.links
            .iter()
            .filter(|(_, link)| is_up(link))
            .map(|(id, _)| *id)
            .collect()
    }

    /// A link between global nodes is new, or gone: who can be reached may have changed. `leaves` has said that it
    /// stops: it takes nobody with it but itself.
    fn ways_changed(&mut self, leaves: Option<&NodeId>, now: Now) {
        let (lost, found) = self.roster.find_way(&self.store);
        for home in &lost {
            let members = self
                .store
                .shard(home)
                .map(roster::listed)
                .unwrap_or_default();
            let cause = if leaves == Some(home) {
                Cause::Word
            } else {
                Cause::Lost
            };
            self.judge(home, cause, now);
            for node in members {
                self.judge(&node, Cause::Lost, now);
            }
        }
        for home in &found {
            let shard = self.store.shard(home);
            let members = shard.map(roster::listed).unwrap_or_default();
            self.judge(home, Cause::Word, now);
            for node in members {
                self.judge(&node, Cause::Word, now);
            }
        }
        // who needs what from whom has changed with the ways
        self.mark_all();
    }

    fn mark_all(&mut self) {
        let nodes: Vec<NodeId> = self.store.owners().map(|(node, _)| node.clone()).collect();
        for link in self.global_links() {
            if let Some(Role::Global(global)) = self.links.get_mut(&link).map(|l| &mut l.role) {
                for node in &nodes {
                    global.feed.mark(node);
                }
                self.ready.insert(link);
            }
        }
    }

    /// Looks anew at whether a node shows.
    pub(super) fn judge(&mut self, node: &NodeId, cause: Cause, now: Now) {
        if *node == self.config.node {
            return;
        }
        let verdict = self.roster.judge(&self.store, node, cause, now.mono);
        let was_shown = self.store.is_shown(node);
        self.store.set_shown(node, verdict.shown);
        if verdict.shown {
            self.retained.remove(node);
        } else if self.store.shard(node).is_some() && !self.retained.contains_key(node) {
            let until = now.mono + self.config.limits.db_retention;
            self.retained.insert(node.clone(), until);
        }
        if was_shown != verdict.shown {
            self.shown_changed(node, verdict.shown);
        }
        self.mark_globals(node);
    }

    /// Something about that node's shard is new: the other global nodes may lack it.
    pub(super) fn mark_globals(&mut self, node: &NodeId) {
        for (link, state) in &mut self.links {
            if let Role::Global(global) = &mut state.role {
                global.feed.mark(node);
                self.ready.insert(*link);
            }
        }
    }

    /// Forgets shards of nodes that are gone for long, or the oldest of them where there is no room.
    pub(super) fn forget_retained(&mut self, now: Now) {
        loop {
            let oldest = self.retained.iter().min_by_key(|(_, until)| **until);
            let Some((node, until)) = oldest.map(|(node, until)| (node.clone(), *until)) else {
                return;
            };
            let (entries, bytes) = self.store.size();
            let is_full = entries > self.config.limits.db_entries_max
                || bytes > self.config.limits.db_bytes_max;
            if until > now.mono && !is_full {
                return;
            }
            self.retained.remove(&node);
            // the home of a node that is about to show keeps what it has of it
            if self.roster.home(&node).is_none() {
                self.store.remove(&node);
                self.roster.forget(&node);
            }
        }
    }

    /// Whether that global node has to hear of the shard from this one.
    fn is_needed(&self, node: &NodeId, peer: &NodeId) -> bool {
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
    fn handle_relayed(&mut self, link: LinkId, chunk: Chunk, now: Now) -> Result<(), Broken> {
        let owner = chunk.owner.clone();
        if owner == self.config.node || self.attached_life(&owner) >= Some(chunk.life) {
            // what those own is heard from themselves alone
            return Ok(());
        }
        let lost_members = self.members_of_older_life(&chunk);
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
        let Some(before) = self
            .store
            .open(&owner, chunk.life)
            .map(|shard| shard.version())
        else {
            return Ok(()); // of an earlier life
        };
        if !self.take_chunk(link, chunk) {
            // a hole: it is told what there is, and sends the rest
            let state = self.store.shard(&owner);
            let known = state.map(|shard| (owner.clone(), shard.life(), shard.version()));
            let (shards, last) = (known.into_iter().collect(), true);
            self.say(link, Wire::Known { shards, last });
            return Ok(());
        }
        self.shard_changed(&owner, before, &families, lost_members, now);
        self.forget_retained(now);
        Ok(())
    }

    /// Whom the shard that is replaced by that of a later life lists.
    fn members_of_older_life(&self, chunk: &Chunk) -> Vec<NodeId> {
        self.store
            .shard(&chunk.owner)
            .filter(|shard| shard.life() < chunk.life)
            .map(roster::listed)
            .unwrap_or_default()
    }

    /// Puts changes into a shard that is there. `false`: there is a hole before them.
    pub(super) fn take_chunk(&mut self, link: LinkId, chunk: Chunk) -> bool {
        let Some(state) = self.links.get_mut(&link) else {
            return true;
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
        lost: Vec<NodeId>,
        now: Now,
    ) {
        let has = |name: &str| families.iter().any(|family| family.as_str() == name);
        self.judge(owner, Cause::Word, now);
        if has(system::HOMES) {
            for node in self.listed_since(owner, before) {
                self.judge(&node, Cause::Word, now);
            }
        }
        for node in lost {
            self.judge(&node, Cause::Lost, now);
        }
        if has(system::LINKS) {
            self.ways_changed(None, now);
        }
        if has(system::NODES) {
            self.read_advert(owner, now);
        }
        self.mark_subscribers(owner, families);
    }

    /// Whom a home listed, or took off its list, after that version.
    fn listed_since(&self, home: &NodeId, version: u64) -> Vec<NodeId> {
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

    pub(super) fn handle_synced(&mut self, link: LinkId, sub: u64, now: Now) -> Result<(), Broken> {
        let Some(state) = self.links.get_mut(&link) else {
            return Ok(());
        };
        match &mut state.role {
            Role::Global(global) if sub == 0 => global.synced = true,
            Role::Home(_) => {
                self.subscription_synced(link, sub, now);
                return Ok(());
            }
            _ => return Err("it says that all was sent where nothing was asked"),
        }
        self.check_synced(now);
        Ok(())
    }

    /// A global node is synced when its seeds were tried and all global nodes that it is linked with have sent what they
    /// had.
    pub(super) fn check_synced(&mut self, now: Now) {
        if self.synced || !self.config.global || !self.seeds_tried {
            return;
        }
        let waits = self.links.values().any(|link| match &link.role {
            Role::Global(global) => global.accepts && !global.synced,
            _ => false,
        });
        if waits {
            return;
        }
        self.synced = true;
        self.store.watchers.synced(None);
        self.outputs.push_back(Output::Synced);
        self.answer_early(now);
        let attached: Vec<LinkId> = self.links.keys().copied().collect();
        self.ready.extend(attached);
    }

    pub(super) fn exchange_when_due(&mut self, now: Now) {
        if self.exchange > now.mono {
            return;
        }
        self.exchange = now.mono + EXCHANGE + self.jitter(EXCHANGE / 4);
        for link in self.global_links() {
            self.tell_known(link);
        }
    }
}

/// What counts when it is whole.
pub(super) type Staging = BTreeMap<(u64, NodeId), Staged>;

/// Puts changes into a shard that is there. `false`: there is a hole before them.
pub(super) fn apply_chunk(
    store: &mut Store,
    staging: &mut Staging,
    chunk: Chunk,
    limits: &Limits,
) -> bool {
    let owner = chunk.owner;
    let Some(version) = store.shard(&owner).map(Shard::version) else {
        return false;
    };
    if chunk.from > version {
        return false;
    }
    if chunk.stage == Stage::Whole {
        for (family, items) in chunk.items {
            for item in items {
                store.apply(&owner, &family, item, version);
            }
        }
        store.with_shard(&owner, |shard| shard.advance(chunk.to));
        return true;
    }
    let place = (chunk.sub, owner.clone());
    let mut staged = match chunk.stage {
        Stage::First | Stage::Only => Staged {
            from: chunk.from,
            items: Vec::new(),
            alive: BTreeMap::new(),
            count: 0,
        },
        _ => match staging.remove(&place) {
            Some(staged) if staged.from == chunk.from => staged,
            _ => return false,
        },
    };
    let items = chunk.items.iter().map(|(_, items)| items.len());
    staged.count += items.sum::<usize>();
    staged.items.extend(chunk.items);
    for (family, seqs) in chunk.alive {
        staged.count += seqs.len();
        staged.alive.entry(family).or_default().extend(seqs);
    }
    if matches!(chunk.stage, Stage::Last | Stage::Only) {
        // what is known beyond it came another way
        if chunk.to >= version {
            store.apply_staged(&owner, staged, chunk.to);
        }
    } else if staged.count <= limits.db_node_entries_max.saturating_mul(4) {
        staging.insert(place, staged);
    }
    true
}
