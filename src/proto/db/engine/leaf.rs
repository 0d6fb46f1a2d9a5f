//! What a node that is not global does: it is attached to one home, and follows what it asked for through the change of
//! homes.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Broken, Db, LinkId, Output, Query, QueryId, Role,
    relay::{Taken, apply_chunk},
};
use crate::proto::{
    db::{
        deadlines::Deadlines,
        feed::{Feed, Filter},
        name::{Family, WriteRefused},
        shard::Entry,
        store::Store,
        wire::{Chunk, Known, Subscribe, Wire},
    },
    id::{Incarnation, NodeId},
    limits::Now,
};

/// What is kept of a home's text.
const TEXT_MAX: usize = 500;
/// Owners that are gone and remembered.
const HIDDEN_MAX: usize = 10_000;

/// The link to the home of this node.
#[derive(Debug)]
pub(super) struct HomeLink {
    pub(super) attached: bool,
    pub(super) feed: Feed,
    /// The version of this node's shard that it has answered: what it refused up to there is known.
    pub(super) answered: u64,
    /// Parts of this node's shard that it has not answered.
    pub(super) in_flight: u32,
}

/// What this node asked its home for.
#[derive(Debug)]
pub(super) struct Subscription {
    query: Query,
    /// It ends with its answer.
    once: Option<QueryId>,
    pub(super) store: Store,
    /// Owners that came through a lost home, of whom the present one has not told yet: until when they show.
    lost: Deadlines,
    synced: bool,
    /// Owners that are gone, until when they are remembered: a home that is behind does not bring them back as they
    /// were, and one that is not sends the difference.
    hidden: Deadlines,
    /// The present home has told all that it had: of whom it did not tell, it does not know.
    told: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    pub(super) home: Option<LinkId>,
    /// Homes of this life, the present one included.
    counter: u64,
    /// Up to where a home has answered this node's shard.
    pub(super) applied: u64,
    /// What was refused of it lately, by the numbers that their writers know.
    pub(super) refused: BTreeMap<u64, WriteRefused>,
    /// Changes that were numbered anew, with the numbers that their writers know.
    pub(super) renumbered: BTreeMap<u64, u64>,
    pub(super) subs: BTreeMap<u64, Subscription>,
}

impl Leaf {
    pub(super) fn grace_until(&self) -> Option<Duration> {
        let waits = self.home.is_some();
        let lost = self.subs.values().filter(|sub| sub.told || !waits);
        let lost = lost.filter_map(|sub| sub.lost.first());
        let hidden = self.subs.values().filter_map(|sub| sub.hidden.first());
        lost.chain(hidden).map(|(until, _)| *until).min()
    }

    /// The number that a change has now, by the one that its writer knows.
    pub(super) fn number_now(&self, known: u64) -> u64 {
        let now = self.renumbered.iter().find(|(_, old)| **old == known);
        now.map_or(known, |(seq, _)| *seq)
    }

    /// The standing subscription to a family.
    pub(super) fn standing(&mut self, family: &Family) -> Option<&mut Subscription> {
        self.subs.values_mut().find(|sub| {
            sub.once.is_none() && matches!(&sub.query, Query::Family(other) if other == family)
        })
    }
}

impl Subscription {
    pub(super) fn answers(&self, query: QueryId) -> bool {
        self.once == Some(query)
    }

    pub(super) fn is_synced(&self) -> bool {
        self.synced
    }

    /// What it says when it is asked for again.
    fn known(&self, me: &NodeId) -> Vec<Known> {
        self.store
            .owners()
            .filter(|(node, _)| *node != me)
            .map(|(node, shard)| (node.clone(), shard.life(), shard.version()))
            .collect()
    }

    /// That owner is gone. What it owned is remembered for a while.
    fn hide(&mut self, owner: &NodeId, until: Duration) {
        self.lost.remove(owner);
        if self.store.shard(owner).is_none() {
            return;
        }
        self.store.set_shown(owner, false);
        self.hidden.set_first(owner, until);
        if self.hidden.len() > HIDDEN_MAX
            && let Some(first) = self.hidden.take_first()
        {
            self.store.remove(&first);
        }
    }

    /// The home tells of that owner.
    fn show(&mut self, owner: &NodeId) {
        self.lost.remove(owner);
        self.hidden.remove(owner);
        self.store.set_shown(owner, true);
    }

    /// Forgets everything but what this node owns itself.
    fn clear(&mut self, me: &NodeId) {
        let others: Vec<NodeId> = self
            .store
            .owners()
            .map(|(node, _)| node.clone())
            .filter(|node| node != me)
            .collect();
        for node in others {
            self.store.remove(&node);
        }
        self.lost.clear();
        self.hidden.clear();
    }
}

impl Db {
    /// Takes one of the global nodes that are linked as home, where there is none.
    pub(super) fn look_for_home(&mut self, now: Now) {
        if self.config.global || self.leaf.home.is_some() {
            return;
        }
        let candidates: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| link.says_global && self.trusts(&link.node))
            .map(|(id, _)| *id)
            .collect();
        // not all of a mesh to the same one
        let pick = self.jitter(Duration::from_nanos(1 << 32)).as_nanos() as usize;
        let Some(&link) = candidates.get(pick.checked_rem(candidates.len()).unwrap_or(0)) else {
            return;
        };
        let me = self.config.node.clone();
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        state.role = Role::Home(Box::new(HomeLink {
            attached: false,
            answered: 0,
            feed: Feed::new(0, Filter::All),
            in_flight: 0,
        }));
        let node = state.node.clone();
        self.leaf.home = Some(link);
        self.leaf.counter += 1;
        let counter = self.leaf.counter;
        let version = self.store.shard(&me).map_or(0, |shard| shard.version());
        self.say(link, Wire::Attach { counter, version });
        self.outputs.push_back(Output::Keep(node.clone(), true));
        self.learn_global(&node, Vec::new(), now);
    }

    pub(super) fn home_link(&mut self, link: LinkId) -> Option<(&NodeId, &mut HomeLink)> {
        let state = self.links.get_mut(&link)?;
        match &mut state.role {
            Role::Home(home) => Some((&state.node, home)),
            _ => None,
        }
    }

    pub(super) fn handle_attached(
        &mut self,
        link: LinkId,
        version: u64,
        wall_ms: u64,
        now: Now,
    ) -> Result<(), Broken> {
        let (me, life) = (self.config.node.clone(), self.config.life);
        let Some((node, home)) = self.home_link(link) else {
            return Err("it says that it is a home, and was not asked");
        };
        let node = node.clone();
        home.attached = true;
        home.feed.knows((me.clone(), life, version));
        home.feed.mark(&me);
        self.ready.insert(link);
        self.note_clock(node.clone(), wall_ms, now);
        self.outputs.push_back(Output::Home(Some(node)));
        self.answered_up_to(link, version);
        let ids: Vec<u64> = self.leaf.subs.keys().copied().collect();
        for id in ids {
            self.ask(id);
        }
        Ok(())
    }

    /// Asks the home for a subscription, if there is one.
    pub(super) fn ask(&mut self, id: u64) {
        let Some(link) = self.leaf.home else { return };
        if !self.home_link(link).is_some_and(|(_, home)| home.attached) {
            return;
        }
        let Some(sub) = self.leaf.subs.get_mut(&id) else {
            return;
        };
        sub.told = false;
        let (family, key) = match &sub.query {
            Query::Family(family) => (family.clone(), None),
            Query::Key(family, key) => (family.clone(), Some(key.clone())),
        };
        let wire = Wire::Subscribe(Subscribe {
            sub: id,
            family,
            key,
            once: sub.once.is_some(),
            known: sub.known(&self.config.node),
        });
        self.say(link, wire);
    }

    pub(super) fn lose_home(&mut self, link: LinkId, home: &HomeLink, now: Now) {
        if self.leaf.home != Some(link) {
            return;
        }
        self.leaf.home = None;
        let until = now.mono + self.config.limits.db_grace;
        let me = self.config.node.clone();
        for sub in self.leaf.subs.values_mut() {
            for (node, _) in sub.store.owners() {
                if *node != me && !sub.hidden.contains(node) {
                    // one that was lost already has no more time for it
                    sub.lost.set_first(node, until);
                }
            }
            sub.told = false;
            if sub.once.is_some() {
                sub.clear(&me);
            }
        }
        for known in self.globals.values_mut() {
            known.next = known.next.min(now.mono);
        }
        self.renumber(home.answered, home.feed.reached(&me));
        self.outputs.push_back(Output::Home(None));
        self.look_for_home(now);
        self.want_globals(now);
    }

    /// What came through the lost home and is not told of by another one is gone, and what is gone for long is forgotten.
    pub(super) fn end_grace(&mut self, now: Now) {
        let waits = self.leaf.home.is_some();
        let until = now.mono + self.config.limits.db_retention;
        for sub in self.leaf.subs.values_mut() {
            // a home that is slow is about to tell of them
            if sub.told || !waits {
                while let Some(node) = sub.lost.take_due(now.mono) {
                    sub.hide(&node, until);
                }
            }
            while let Some(node) = sub.hidden.take_due(now.mono) {
                sub.store.remove(&node);
            }
        }
    }

    // --- what the home says ---

    pub(super) fn handle_globals(
        &mut self,
        link: LinkId,
        nodes: Vec<(NodeId, Vec<String>)>,
        now: Now,
    ) -> Result<(), Broken> {
        if self.home_link(link).is_none() {
            return Err("it names global nodes, and is no home");
        }
        for (node, addresses) in nodes {
            self.learn_global(&node, addresses, now);
        }
        Ok(())
    }

    pub(super) fn handle_gone(
        &mut self,
        link: LinkId,
        sub: u64,
        owner: &NodeId,
        life: Incarnation,
        now: Now,
    ) -> Result<(), Broken> {
        if self.home_link(link).is_none() {
            return Err("it tells of owners, and is no home");
        }
        let until = now.mono + self.config.limits.db_retention;
        if let Some(sub) = self.leaf.subs.get_mut(&sub)
            && *owner != self.config.node
            && sub
                .store
                .shard(owner)
                .is_some_and(|shard| shard.life() <= life)
        {
            sub.hide(owner, until);
        }
        Ok(())
    }

    /// Changes in what this node asked for.
    pub(super) fn handle_subscribed(
        &mut self,
        link: LinkId,
        chunk: Chunk,
        now: Now,
    ) -> Result<(), Broken> {
        let (owner, id) = (chunk.owner.clone(), chunk.sub);
        for item in chunk.items.iter().flat_map(|(_, items)| items) {
            self.note_stamp(item, now);
        }
        let Some(state) = self.links.get_mut(&link) else {
            return Ok(());
        };
        let Some(sub) = self.leaf.subs.get_mut(&id) else {
            return Ok(()); // it was taken back meanwhile
        };
        if owner == self.config.node || sub.store.open(&owner, chunk.life).is_none() {
            return Ok(());
        }
        let limits = &self.config.limits;
        let taken = apply_chunk(&mut sub.store, &mut state.staging, chunk, limits);
        sub.show(&owner);
        if matches!(taken, Taken::Hole) {
            self.ask(id);
        }
        Ok(())
    }

    pub(super) fn subscription_synced(&mut self, link: LinkId, id: u64, _now: Now) {
        if self.leaf.home != Some(link) {
            return;
        }
        let Some(sub) = self.leaf.subs.get_mut(&id) else {
            return;
        };
        sub.synced = true;
        sub.told = true;
        match sub.once {
            None => sub.store.watchers.synced(None),
            Some(query) => {
                let answer = super::read::answer(&sub.store, &sub.query);
                self.leaf.subs.remove(&id);
                self.outputs.push_back(Output::Answer(query, answer));
            }
        }
    }

    /// The home does not let this node read that. Of what it had of it, only its own shows.
    pub(super) fn handle_denied(
        &mut self,
        link: LinkId,
        id: u64,
        text: String,
    ) -> Result<(), Broken> {
        if self.home_link(link).is_none() {
            return Err("it refuses what was not asked of it");
        }
        let Some(sub) = self.leaf.subs.get_mut(&id) else {
            return Ok(()); // it was taken back meanwhile
        };
        let text: String = text.chars().take(TEXT_MAX).collect();
        if let Some(query) = sub.once {
            self.leaf.subs.remove(&id);
            self.outputs.push_back(Output::AnswerDenied(query, text));
            return Ok(());
        }
        sub.clear(&self.config.node);
        sub.synced = false;
        sub.told = false;
        sub.store.watchers.denied(&text);
        Ok(())
    }

    // --- subscriptions ---

    pub(super) fn new_subscription(&mut self, query: Query, once: Option<QueryId>) -> u64 {
        let id = self.fresh_id();
        let (me, life) = (self.config.node.clone(), self.config.life);
        let mut store = Store::default();
        store.open(&me, life);
        store.set_shown(&me, true);
        let (family, only) = match &query {
            Query::Family(family) => (family, None),
            Query::Key(family, key) => (family, Some(key)),
        };
        let own = self.store.shard(&me);
        let part = own.and_then(|shard| shard.family(family.as_str()));
        for (key, entry) in part.into_iter().flat_map(|part| part.live()) {
            if only.is_none_or(|only| only == key) {
                store.put(&me, family, key, entry.clone());
            }
        }
        let sub = Subscription {
            query,
            once,
            store,
            lost: Deadlines::default(),
            synced: false,
            hidden: Deadlines::default(),
            told: false,
        };
        self.leaf.subs.insert(id, sub);
        self.ask(id);
        id
    }

    pub(super) fn end_subscription(&mut self, id: u64) {
        self.leaf.subs.remove(&id);
        if let Some(link) = self.leaf.home {
            self.say(link, Wire::Unsubscribe(id));
        }
    }

    /// What this node owns shows at once in all that it reads (R7).
    pub(super) fn mirror(&mut self, family: &Family, key: &str, entry: &Entry) {
        let me = self.config.node.clone();
        for sub in self.leaf.subs.values_mut() {
            let concerns = match &sub.query {
                Query::Family(other) => other == family,
                Query::Key(other, only) => other == family && **only == *key,
            };
            if concerns {
                sub.store.put(&me, family, &key.into(), entry.clone());
            }
        }
    }
}
