//! What a home tells the nodes that are attached to it: the families and keys that they asked for.

use std::collections::{BTreeSet, VecDeque};

use super::{Broken, Db, LinkId, Output, Role};
use crate::proto::{
    db::{
        feed::{Feed, Filter},
        name::{Family, Key},
        shard::Shard,
        wire::{Subscribe, Wire},
    },
    id::{Incarnation, NodeId},
};

/// What an attached node wants to know of.
#[derive(Debug)]
pub(super) struct Sub {
    family: Family,
    key: Option<Key>,
    feed: Feed,
    once: bool,
    /// Whom it is to hear of at first, be there news or not.
    first: BTreeSet<NodeId>,
    gone: VecDeque<(NodeId, Incarnation)>,
    synced_told: bool,
}

impl Sub {
    /// As it was asked for, by who has nothing of it.
    pub(super) fn asked(&self, sub: u64) -> Subscribe {
        Subscribe {
            sub,
            family: self.family.clone(),
            key: self.key.clone(),
            once: self.once,
            known: Vec::new(),
        }
    }
}

impl Db {
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
        if !self.permits_reading(link, &asked) {
            return Ok(());
        }
        // what it was not told yet under that name
        let old = self.drop_sub(link, asked.sub);
        let key = asked.key.clone();
        let filter = match asked.key {
            Some(key) => Filter::Key(asked.family.clone(), key),
            None => Filter::Family(asked.family.clone()),
        };
        let mut sub = Sub {
            family: asked.family.clone(),
            key,
            feed: Feed::new(asked.sub, filter),
            once: asked.once,
            first: BTreeSet::new(),
            gone: old.map_or_else(VecDeque::new, |old| old.gone),
            synced_told: false,
        };
        for known in asked.known {
            // also one that shows here only later
            sub.first.insert(known.0.clone());
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
        if let Some((_, attached)) = self.attached(link) {
            attached.denied.remove(&sub);
        }
        self.drop_sub(link, sub);
        Ok(())
    }

    pub(super) fn drop_sub(&mut self, link: LinkId, sub: u64) -> Option<Sub> {
        let (_, attached) = self.attached(link)?;
        let old = attached.subs.remove(&sub)?;
        attached.turn.retain(|turn| *turn != sub);
        for subs in self.subscribed.values_mut() {
            subs.remove(&(link, sub));
        }
        self.subscribed.retain(|_, subs| !subs.is_empty());
        Some(old)
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
            self.mark_subscribers(owner, &families);
        }
        let subscribed = &self.subscribed;
        let all: BTreeSet<(LinkId, u64)> = subscribed.values().flatten().copied().collect();
        for (link, id) in all {
            if let Some((_, attached)) = self.attached(link)
                && let Some(sub) = attached.subs.get_mut(&id)
                && sub.feed.is_known(owner)
            {
                if shown {
                    // the reader has it from elsewhere, be it in this family or not
                    sub.feed.mark(owner);
                } else if let Some(life) = sub.feed.forget(owner) {
                    sub.first.remove(owner);
                    sub.gone.push_back((owner.clone(), life));
                }
                attached.wake(id);
                self.ready.insert(link);
            }
        }
    }

    /// This node is synced: those who asked before wait to hear that.
    pub(super) fn wake_subscribers(&mut self) {
        for (link, state) in &mut self.links {
            if let Role::Attached(attached) = &mut state.role {
                let ids: Vec<u64> = attached.subs.keys().copied().collect();
                ids.into_iter().for_each(|id| attached.wake(id));
                self.ready.insert(*link);
            }
        }
    }

    /// The version of the shard of that life of a node, which is there afterwards; of an older life it is gone at once.
    /// `None`: a later life is known.
    pub(super) fn open_shard(&mut self, node: &NodeId, life: Incarnation) -> Option<u64> {
        let is_older = |shard: &Shard| shard.life() < life;
        if self.store.shard(node).is_some_and(is_older) && self.store.is_shown(node) {
            self.store.set_shown(node, false);
            self.shown_changed(node, false);
        }
        self.store.open(node, life).map(|shard| shard.version())
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
        if std::mem::take(&mut attached.lacks_globals) {
            return Some(Wire::Globals(self.other_globals()));
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

    pub(super) fn next_for_sub(&mut self, link: LinkId, id: u64) -> Option<Wire> {
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
