//! The database of one node, without a clock, a network or tasks of its own.
//!
//! After every input: [`Db::poll_output`] until it is empty, [`Db::transmit`] for each of [`Db::take_ready`] while its
//! link has room, [`Db::poll_timeout`].

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use self::{
    globals::GlobalLink,
    home::AttachedLink,
    leaf::{HomeLink, Leaf},
};
use super::{
    clock::{Clock, DRIFT_MAX_MS},
    deadlines::Deadlines,
    item::Item,
    name::{Family, Key, WriteRefused},
    roster::Roster,
    shard::Staged,
    store::Store,
    wire::Wire,
};
use crate::proto::{
    close::CloseReason,
    id::{Incarnation, NodeId},
    limits::{Limits, Now},
    link::LinkId,
    message::Message,
    policy::{Denial, PeerPolicy, Policy},
    splitmix::SplitMix64,
};

mod globals;
mod home;
mod known;
mod leaf;
mod owner;
mod permit;
mod read;
mod relay;
mod subscriptions;
mod write;

pub use super::{
    store::Found,
    watch::{Change, WatchId},
};
pub use read::{Query, QueryId, Summary};
pub use write::Advert;

/// The feature that a global node greets with, besides `db`.
pub const GLOBAL: &str = "global";
/// Small messages that wait for a peer which does not read.
const QUEUE_MAX: usize = 64 << 10;
/// The pauses between attempts at a link with a global node.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Global nodes that are remembered when they are gone.
const GLOBALS_MAX: usize = 256;

/// What a database is made from.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub life: Incarnation,
    /// Whether it is a global node.
    pub global: bool,
    /// Whom it takes for global nodes, besides those that answer at its seeds, as far as no link has proved them.
    pub policy: Policy,
    /// Every bound.
    pub limits: Limits,
    /// For jitter.
    pub seed: u64,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A link with that node is wanted.
    Want(NodeId),
    /// The link with that node must not be closed because it is idle; or may be again.
    Keep(NodeId, bool),
    /// This node has another home, or none. Never for a global node.
    Home(Option<NodeId>),
    /// That reader has something to take: [`Db::next_change`] until there is nothing.
    Changed(WatchId),
    /// The answer to a query.
    Answer(QueryId, Vec<(Key, Found)>),
    /// A write that was waited for is taken by this node's home, or is not.
    Written(u64, Result<(), WriteRefused>),
    /// That query is not answered: the home does not let this node read there.
    AnswerDenied(QueryId, String),
    /// The policy refused something to that node.
    Denied(NodeId, Denial),
    /// An entry of this node was refused by its home, and is gone.
    Refused(Family, Key, WriteRefused),
    /// This node is not the only owner of that key: all of them, the one that shows first.
    Conflict(Family, Key, Vec<NodeId>),
    /// A node that is global for itself is none here, or this one is none there: what to do about it.
    NotGlobal(NodeId, String),
    /// The clock of that global node is so far ahead of this one's, or behind it, in milliseconds.
    Skew(NodeId, i64),
    /// All that others had when this node began is here.
    Synced,
}

/// A link, as the database sees it.
#[derive(Debug)]
struct Link {
    node: NodeId,
    life: Incarnation,
    /// What it may do here.
    policy: Arc<PeerPolicy>,
    /// It says that it is a global node.
    says_global: bool,
    /// It said that it takes this node for none.
    declined: bool,
    queue: VecDeque<Wire>,
    /// What counts when it is whole, by subscription and owner.
    staging: BTreeMap<(u64, NodeId), Staged>,
    role: Role,
}

#[derive(Debug)]
enum Role {
    /// Nothing of the database goes over it.
    Plain,
    /// Both are global nodes.
    Global(Box<GlobalLink>),
    /// That node is attached to this one.
    Attached(Box<AttachedLink>),
    /// This node is attached, or about to be, to that one.
    Home(Box<HomeLink>),
}

/// A global node that is known of.
#[derive(Debug, Clone)]
struct KnownGlobal {
    addresses: Vec<String>,
    next: Duration,
    pause: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Db {
    config: Config,
    clock: Clock,
    /// A global node's: everything. Any other's: its own shard.
    store: Store,
    roster: Roster,
    leaf: Leaf,
    links: BTreeMap<LinkId, Link>,
    by_node: BTreeMap<NodeId, LinkId>,
    /// Which subscriptions of attached nodes are about a family.
    subscribed: BTreeMap<Family, BTreeSet<(LinkId, u64)>>,
    /// Who answers at the seeds.
    seeds: BTreeSet<NodeId>,
    /// Every seed was tried once.
    seeds_tried: bool,
    globals: BTreeMap<NodeId, KnownGlobal>,
    /// Nodes that do not show: when their shards are forgotten.
    retained: Deadlines,
    synced: bool,
    /// When what this node has is told again to the other global nodes.
    exchange: Duration,
    next_id: u64,
    /// Changes that are waited for, with the numbers that their writers know.
    waits: BTreeMap<u64, u64>,
    /// A global node's queries that came before it was synced.
    early: Vec<(QueryId, Query)>,
    random: SplitMix64,
    outputs: VecDeque<Output>,
    ready: BTreeSet<LinkId>,
}

impl Db {
    /// The database of a node that has just started, and owns nothing.
    pub fn new(config: Config, now: Now) -> Self {
        let (me, life) = (config.node.clone(), config.life);
        let mut store = Store::default();
        store.tells_conflicts = config.global;
        store.open(&me, life);
        store.set_shown(&me, true);
        let mut db = Db {
            roster: Roster::new(me, life, config.limits.db_grace),
            clock: Clock::default(),
            store,
            leaf: Leaf::default(),
            links: BTreeMap::new(),
            by_node: BTreeMap::new(),
            subscribed: BTreeMap::new(),
            seeds: BTreeSet::new(),
            seeds_tried: false,
            globals: BTreeMap::new(),
            retained: Deadlines::default(),
            synced: false,
            exchange: now.mono + globals::EXCHANGE,
            next_id: 1,
            waits: BTreeMap::new(),
            early: Vec::new(),
            random: SplitMix64(config.seed),
            outputs: VecDeque::new(),
            ready: BTreeSet::new(),
            config,
        };
        let more = db.jitter(globals::EXCHANGE);
        db.exchange += more;
        db
    }

    /// Its node.
    pub fn node(&self) -> &NodeId {
        &self.config.node
    }

    /// The life of its node.
    pub fn life(&self) -> Incarnation {
        self.config.life
    }

    /// Whether this is a global node.
    pub fn is_global(&self) -> bool {
        self.config.global
    }

    /// The home of this node, where it has one and is no global node itself.
    pub fn home(&self) -> Option<&NodeId> {
        let link = self.leaf.home?;
        Some(&self.links.get(&link)?.node)
    }

    /// Whether all that others had when this node began is here (always, where there was nobody).
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    // --- what happens ---

    /// A node has proved itself at the address of one of this node's seeds, or another one did in its place.
    pub fn set_seeds(&mut self, seeds: BTreeSet<NodeId>, now: Now) {
        self.seeds = seeds;
        self.look_for_globals(now);
    }

    /// Every seed was tried once.
    pub fn set_seeds_tried(&mut self, now: Now) {
        self.seeds_tried = true;
        self.check_synced(now);
    }

    /// A link is up; `features` are those that the peer greeted with, `policy` is what it may do here.
    pub fn handle_link_up(
        &mut self,
        link: LinkId,
        node: &NodeId,
        life: Incarnation,
        features: &[String],
        policy: Arc<PeerPolicy>,
        now: Now,
    ) {
        let says_global = features.iter().any(|feature| feature == GLOBAL);
        let state = Link {
            node: node.clone(),
            life,
            policy,
            says_global,
            declined: false,
            queue: VecDeque::new(),
            staging: BTreeMap::new(),
            role: Role::Plain,
        };
        self.links.insert(link, state);
        self.by_node.insert(node.clone(), link);
        if let Some(known) = self.globals.get_mut(node) {
            known.pause = PAUSES.0;
        }
        if says_global && self.config.global {
            self.meet_global(link, now);
        } else if says_global {
            self.look_for_home(now);
        }
    }

    /// A link is gone. `orderly`: the peer has stopped, or said that it leaves.
    pub fn handle_link_down(&mut self, link: LinkId, orderly: bool, now: Now) {
        let Some(state) = self.links.remove(&link) else {
            return;
        };
        self.ready.remove(&link);
        if self.by_node.get(&state.node) == Some(&link) {
            self.by_node.remove(&state.node);
        }
        match state.role {
            Role::Plain => {}
            Role::Global(global) => self.lose_global(&state.node, &global, orderly, now),
            Role::Attached(attached) => self.detach(link, &state.node, &attached, now),
            Role::Home(home) => self.lose_home(link, &home, now),
        }
    }

    /// A DB frame came.
    ///
    /// # Errors
    /// The peer broke the rules: close the link with that.
    pub fn handle_message(
        &mut self,
        link: LinkId,
        message: &Message,
        now: Now,
    ) -> Result<(), CloseReason> {
        let wire = Wire::decode(message, &self.config.limits)?;
        self.handle(link, wire, now)
    }

    /// The same, decoded.
    ///
    /// # Errors
    /// The peer broke the rules: close the link with that.
    pub fn handle(&mut self, link: LinkId, wire: Wire, now: Now) -> Result<(), CloseReason> {
        if !self.links.contains_key(&link) {
            return Ok(());
        }
        let done = match wire {
            Wire::Accept(wall_ms) => self.handle_accept(link, wall_ms, now),
            Wire::Decline(text) => self.handle_decline(link, text),
            Wire::Known { shards, last } => self.handle_known(link, shards, last, now),
            Wire::Chunk(chunk) => self.handle_chunk(link, chunk, now),
            Wire::Synced(sub) => self.handle_synced(link, sub, now),
            Wire::Attach { counter, version } => self.handle_attach(link, counter, version, now),
            Wire::Detach => self.handle_detach(link, now),
            Wire::Subscribe(subscribe) => self.handle_subscribe(link, subscribe),
            Wire::Unsubscribe(sub) => self.handle_unsubscribe(link, sub),
            Wire::Attached { version, wall_ms } => {
                self.handle_attached(link, version, wall_ms, now)
            }
            Wire::Applied(version) => self.handle_applied(link, version),
            Wire::Refused { seq, why } => self.handle_refused(link, seq, why, now),
            Wire::Denied { sub, text } => self.handle_denied(link, sub, text),
            Wire::Gone { sub, owner, life } => self.handle_gone(link, sub, &owner, life, now),
            Wire::Globals(nodes) => self.handle_globals(link, nodes, now),
            Wire::Conflict {
                family,
                key,
                owners,
            } => {
                if self.leaf.home == Some(link) {
                    let output = Output::Conflict(family, key, owners);
                    self.outputs.push_back(output);
                }
                Ok(())
            }
        };
        done.map_err(|text| CloseReason::Protocol(text.to_owned()))?;
        let waiting = self.links.get(&link).map_or(0, |link| link.queue.len());
        if waiting > QUEUE_MAX {
            return Err(CloseReason::Overrun);
        }
        Ok(())
    }

    /// A time that was asked for has come.
    pub fn handle_timeout(&mut self, now: Now) {
        for node in self.roster.take_due(now.mono) {
            self.judge(&node, super::roster::Cause::Word, now);
        }
        self.forget_retained(now);
        if self.config.global {
            self.exchange_when_due(now);
        } else {
            self.end_grace(now);
        }
        self.want_globals(now);
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Duration> {
        let exchange = (self.config.global && !self.links.is_empty()).then_some(self.exchange);
        let wanted = self
            .globals
            .iter()
            .filter(|(node, _)| self.is_wanted(node))
            .map(|(_, known)| known.next)
            .min();
        [
            self.roster.poll_timeout(),
            self.retained.first().map(|(until, _)| *until),
            self.leaf.grace_until(),
            exchange,
            wanted,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            let ready = self.store.watchers.take_ready();
            let subs = self.leaf.subs.values_mut();
            let more = subs.flat_map(|sub| sub.store.watchers.take_ready());
            let changed = ready.into_iter().chain(more).map(Output::Changed);
            self.outputs.extend(changed.collect::<Vec<_>>());
        }
        self.outputs.pop_front()
    }

    /// Links over which something may go out.
    pub fn take_ready(&mut self) -> BTreeSet<LinkId> {
        std::mem::take(&mut self.ready)
    }

    /// The next message over that link. Called while there is room; when there is room again, call it again.
    pub fn transmit(&mut self, link: LinkId, now: Now) -> Option<Message> {
        loop {
            let wire = self.next_wire(link, now)?;
            match wire.encode(&self.config.limits) {
                Ok(message) => return Some(message),
                // no bound lets this happen; the next exchange makes up for it
                Err(_) => continue,
            }
        }
    }

    fn next_wire(&mut self, link: LinkId, now: Now) -> Option<Wire> {
        let state = self.links.get_mut(&link)?;
        if let Some(wire) = state.queue.pop_front() {
            return Some(wire);
        }
        match &state.role {
            Role::Plain => None,
            Role::Global(_) => self.next_for_global(link),
            Role::Attached(_) => self.next_for_attached(link),
            Role::Home(_) => self.next_for_home(link, now),
        }
    }

    // --- helpers of the parts ---

    fn say(&mut self, link: LinkId, wire: Wire) {
        if let Some(state) = self.links.get_mut(&link) {
            state.queue.push_back(wire);
            self.ready.insert(link);
        }
    }

    /// Up to that much, by chance.
    fn jitter(&mut self, max: Duration) -> Duration {
        max.mul_f64((self.random.next() >> 40) as f64 / (1u64 << 24) as f64)
    }

    /// The peer's clock is told of where it is off by more than stamps are borne to be ahead.
    fn note_clock(&mut self, node: NodeId, wall_ms: u64, now: Now) {
        let signed = |ms| i64::try_from(ms).unwrap_or(i64::MAX);
        let skew = signed(wall_ms).saturating_sub(signed(now.wall_ms));
        if skew.unsigned_abs() > DRIFT_MAX_MS {
            self.outputs.push_back(Output::Skew(node, skew));
        }
    }

    /// What is written here from now on is later than that change.
    fn note_stamp(&mut self, item: &Item, now: Now) {
        if let Item::Set { stamp, .. } = item {
            self.clock.observe(*stamp, now.wall_ms);
        }
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// What a handler says when a peer broke the rules.
type Broken = &'static str;
