//! How a node that is not global brings what it owns to its home, and what its home answers.

use super::{Broken, Db, LinkId, Output, Role};
use crate::proto::{
    db::{name::WriteRefused, shard::Entry, wire::Wire},
    limits::Now,
};

/// Parts of this node's shard that its home has not answered yet.
const IN_FLIGHT_MAX: u32 = 32;
/// Refusals that are remembered for who asks later.
const REFUSED_KEPT: usize = 10_000;

impl Db {
    pub(super) fn next_for_home(&mut self, link: LinkId, _now: Now) -> Option<Wire> {
        let me = self.config.node.clone();
        let state = self.links.get_mut(&link)?;
        let Role::Home(home) = &mut state.role else {
            return None;
        };
        if !home.attached || home.in_flight >= IN_FLIGHT_MAX {
            return None;
        }
        let owner = home.feed.next_owner()?;
        let shard = self.store.shard(&me)?;
        let (chunk, more) = home.feed.next_chunk(&owner, shard, false)?;
        home.in_flight += 1;
        if more {
            home.feed.mark(&owner);
        }
        Some(Wire::Chunk(chunk))
    }

    /// This node's own shard has changed: its home has to hear of it.
    pub(super) fn mark_home(&mut self) {
        let me = self.config.node.clone();
        if let Some(link) = self.leaf.home
            && let Some((_, home)) = self.home_link(link)
        {
            home.feed.mark(&me);
            self.ready.insert(link);
        }
    }

    pub(super) fn handle_applied(&mut self, link: LinkId, version: u64) -> Result<(), Broken> {
        let Some((_, home)) = self.home_link(link) else {
            return Err("it takes changes that it was not sent");
        };
        home.in_flight = 0;
        self.ready.insert(link);
        self.answered_up_to(link, version);
        Ok(())
    }

    /// What was refused up to that change is known.
    pub(super) fn answered_up_to(&mut self, link: LinkId, version: u64) {
        let own = self.store.shard(&self.config.node);
        let version = version.min(own.map_or(0, |shard| shard.version()));
        if let Some((_, home)) = self.home_link(link) {
            home.answered = version;
        }
        self.leaf.applied = self.leaf.applied.max(version);
        let later = self.waits.split_off(&version.saturating_add(1));
        for (_, seq) in std::mem::replace(&mut self.waits, later) {
            self.outputs.push_back(Output::Written(seq, Ok(())));
        }
    }

    /// A home that was lost may have refused what it did not answer, and the others may have it in that version or may
    /// not: these entries get new numbers, so that a version is the same everywhere.
    pub(super) fn renumber(&mut self, after: u64, to: u64) {
        let me = self.config.node.clone();
        let own = self.store.shard(&me);
        let families = own.into_iter().flat_map(|shard| shard.families());
        let mut lost = Vec::new();
        // a home does not refuse what a node says of itself
        for (family, part) in families.filter(|(family, _)| !family.is_system()) {
            let is_open = |entry: &Entry| entry.seq > after && entry.seq <= to;
            let open = part.live().filter(|(_, entry)| is_open(entry));
            lost.extend(open.map(|(key, e)| (e.seq, family.clone(), key.clone(), e.clone())));
        }
        lost.sort_by_key(|(seq, ..)| *seq);
        let families: Vec<_> = own.into_iter().flat_map(|s| s.families()).collect();
        let stands = |seq: u64| families.iter().any(|(_, part)| part.key_of(seq).is_some());
        self.leaf.renumbered.retain(|seq, _| stands(*seq));
        for (old, family, key, mut entry) in lost {
            self.store
                .with_shard(&me, |shard| entry.seq = shard.next_seq());
            let known = self.leaf.renumbered.remove(&old).unwrap_or(old);
            self.leaf.renumbered.insert(entry.seq, known);
            if let Some(known) = self.waits.remove(&old) {
                self.waits.insert(entry.seq, known);
            }
            self.mirror(&family, &key, &entry);
            self.store.put(&me, &family, &key, entry);
        }
    }

    pub(super) fn handle_refused(
        &mut self,
        link: LinkId,
        seq: u64,
        why: WriteRefused,
        now: Now,
    ) -> Result<(), Broken> {
        if self.home_link(link).is_none() {
            return Err("it refuses changes that it was not sent");
        }
        let known = self.leaf.renumbered.get(&seq).copied().unwrap_or(seq);
        self.leaf.refused.insert(known, why.clone());
        if self.leaf.refused.len() > REFUSED_KEPT {
            self.leaf.refused.pop_first();
        }
        if let Some(known) = self.waits.remove(&seq) {
            self.outputs
                .push_back(Output::Written(known, Err(why.clone())));
        }
        let shard = self.store.shard(&self.config.node);
        let place = shard.into_iter().flat_map(|shard| shard.families());
        let place = place
            .filter_map(|(family, part)| Some((family.clone(), part.key_of(seq)?.clone())))
            .next();
        // what was written since stands or falls for itself
        if let Some((family, key)) = place {
            self.erase(&family, &[&*key], now);
            self.outputs.push_back(Output::Refused(family, key, why));
        }
        Ok(())
    }
}
