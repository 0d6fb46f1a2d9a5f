//! What global nodes are to each other: they tell what they have, pass on what others lack, and agree on who lives.

use std::time::Duration;

use super::{Broken, Db, Link, LinkId, Output, Role};
use crate::proto::{
    db::{
        feed::{Feed, Filter},
        item::Packed,
        name::{Family, system},
        roster::{self, Cause},
        wire::{Known, Wire},
    },
    id::NodeId,
    limits::Now,
    policy::{Asked, Operation},
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
    pub(super) accepts: bool,
    /// The peer has told all that it has.
    pub(super) knows: bool,
    /// The version of its own shard, as it told at first.
    own: Option<u64>,
    pub(super) feed: Feed,
    pub(super) synced_told: bool,
    synced: bool,
}

impl GlobalLink {
    /// One side has said that it takes the other for a global node, or both have.
    fn begun(accepted: bool, accepts: bool) -> Role {
        Role::Global(Box::new(GlobalLink {
            accepted,
            accepts,
            knows: false,
            own: None,
            feed: Feed::new(0, Filter::All),
            synced_told: false,
            synced: false,
        }))
    }

    /// This node has said that it takes the other for a global node.
    pub(super) fn is_taken(&self) -> bool {
        self.accepts
    }

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
        let (node, policy) = (state.node.clone(), state.policy.clone());
        if !self.trusts(&node) {
            if matches!(state.role, Role::Plain) && state.queue.is_empty() {
                let text = format!(
                    "{} takes {node} for no global node: it is none of its seeds, and not named as one",
                    self.config.node
                );
                self.say(link, Wire::Decline(text.clone()));
                self.outputs
                    .push_back(Output::NotGlobal(node.clone(), text));
                if let Err(denial) = policy.check(&node, Operation::Global, &Asked::Nothing) {
                    self.outputs.push_back(Output::Denied(node, denial));
                }
            }
            return;
        }
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        match &mut state.role {
            Role::Plain => {
                state.role = GlobalLink::begun(false, true);
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
                state.role = GlobalLink::begun(true, false);
            }
            Role::Global(global) => {
                if std::mem::replace(&mut global.accepted, true) {
                    return Ok(());
                }
            }
            _ => return Err("it accepts as global who is attached"),
        }
        let node = state.node.clone();
        self.note_clock(node, wall_ms, now);
        self.look_at_global(link, now);
        Ok(())
    }

    pub(super) fn handle_decline(&mut self, link: LinkId, text: String) -> Result<(), Broken> {
        if let Some(state) = self.links.get_mut(&link)
            && self.config.global
            && state.says_global
            && !std::mem::replace(&mut state.declined, true)
        {
            let node = state.node.clone();
            let text = text.chars().take(500).collect();
            self.outputs.push_back(Output::NotGlobal(node, text));
        }
        Ok(())
    }

    /// Both have accepted: the link is one of the mesh of global nodes.
    fn look_at_global(&mut self, link: LinkId, now: Now) {
        let Some(Link { node, role, .. }) = self.links.get(&link) else {
            return;
        };
        if !matches!(role, Role::Global(global) if global.is_up()) {
            return;
        }
        let node = node.clone();
        self.tell_known(link);
        self.outputs.push_back(Output::Keep(node.clone(), true));
        self.learn_global(&node, Vec::new(), now);
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
        now: Now,
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
        let one = match &shards[..] {
            [(node, ..)] if global.knows => Some(node.clone()),
            _ => None,
        };
        let is_first = global.own.is_none();
        for known in shards {
            if known.0 == state.node {
                global.own.get_or_insert(known.2);
            }
            global.feed.knows(known);
        }
        if last {
            // of what it did not name it has nothing
            global.own.get_or_insert(0);
        }
        let own = global.own.filter(|_| is_first);
        let own = own.map(|own| (state.node.clone(), (state.life, own)));
        if let Some(node) = one {
            // it lacks that one
            global.feed.mark(&node);
            self.ready.insert(link);
        } else if last {
            global.knows = true;
            for (node, _) in self.store.owners() {
                global.feed.mark(node);
            }
            self.ready.insert(link);
        }
        // others learn by it that that one can be reached over this node
        if let Some((node, way)) = own
            && let Ok(value) = Packed::encode(&way, &self.config.limits)
        {
            self.write(&Family::system(system::LINKS), node.as_str(), value, now);
            self.ways_changed(None, now);
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
    pub(super) fn ways_changed(&mut self, leaves: Option<&NodeId>, now: Now) {
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
        if !(lost.is_empty() && found.is_empty()) {
            self.tell_globals();
        }
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
        } else if self.store.shard(node).is_some() {
            let until = now.mono + self.config.limits.db_retention;
            self.retained.set_first(node, until);
        }
        if was_shown != verdict.shown {
            self.shown_changed(node, verdict.shown);
        }
        self.mark_globals(node);
        if verdict.lacks {
            self.ask_for_shard(node);
        }
    }

    /// The others may think that this node has it: it may have forgotten it for want of room. Who is still telling all
    /// that it has is asked when it has done so.
    pub(super) fn ask_for_shard(&mut self, node: &NodeId) {
        let Some(known) = self.known_of(node) else {
            return;
        };
        for link in self.global_links() {
            let role = self.links.get(&link).map(|link| &link.role);
            if matches!(role, Some(Role::Global(global)) if global.synced) {
                let shards = vec![known.clone()];
                self.say(link, Wire::Known { shards, last: true });
            }
        }
    }

    /// What is here of the life of a node that is listed.
    fn known_of(&self, node: &NodeId) -> Option<Known> {
        let life = self.roster.life(node)?;
        let shard = self.store.shard(node).filter(|shard| shard.life() == life);
        let version = shard.map_or(0, |shard| shard.version());
        Some((node.clone(), life, version))
    }

    /// Asks that peer for what is listed and does not show.
    fn ask_for_hidden(&mut self, link: LinkId) {
        let hidden = self.roster.attached();
        let hidden = hidden.filter(|node| !self.store.is_shown(node));
        let shards: Vec<Known> = hidden.filter_map(|node| self.known_of(node)).collect();
        for part in shards.chunks(KNOWN_PER_MESSAGE) {
            let shards = part.to_vec();
            self.say(link, Wire::Known { shards, last: true });
        }
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
        let mut awaited = Vec::new();
        let until = now.mono + self.config.limits.db_retention;
        loop {
            let (entries, bytes) = self.store.size();
            let is_full = entries > self.config.limits.db_entries_max
                || bytes > self.config.limits.db_bytes_max;
            let oldest = match is_full {
                true => self.retained.take_first(),
                false => self.retained.take_due(now.mono),
            };
            let Some(node) = oldest else { break };
            if self.roster.awaits(&node) {
                // it is on its way, and would come again and again
                awaited.push(node);
                continue;
            }
            // the home of a node that is about to show keeps what it has of it
            if self.roster.home(&node).is_none() && self.attached_life(&node).is_none() {
                self.store.remove(&node);
                self.roster.forget(&node);
            }
        }
        for node in awaited {
            self.retained.set_first(&node, until);
        }
    }

    pub(super) fn handle_synced(&mut self, link: LinkId, sub: u64, now: Now) -> Result<(), Broken> {
        let Some(state) = self.links.get_mut(&link) else {
            return Ok(());
        };
        match &mut state.role {
            Role::Global(global) if sub == 0 => {
                global.synced = true;
                self.ask_for_hidden(link);
            }
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
        self.wake_subscribers();
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
