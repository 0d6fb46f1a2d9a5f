//! The database of a node on tokio: its engine behind one lock, what that asks for, and who waits for what.
//!
//! What goes out over links is taken from the engine as the links have room, under its lock, so that it stays in order. The
//! lock of a link's peer is taken inside it, never the other way round.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    task::Waker,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot, watch},
};

use self::told::Told;
use super::{
    DbLinks, NodePorts,
    clock::Clock,
    events::{EventSender, NodeEvent},
    mesh::Mesh,
    policy::PolicyHandle,
    registered::Registered,
};
use crate::proto::{
    db::{
        engine::{Advert, Db, Found, Output, QueryId, WatchId},
        name::{Family, Key, WriteRefused},
    },
    id::{Incarnation, NodeId},
    limits::Limits,
    link::LinkId,
    message::Message,
    policy::Denial,
};

mod access;
mod homeless;
mod told;
mod wiring;

/// What the database needs of the mesh.
trait Links: Send + Sync {
    fn send(&self, link: LinkId, message: Message);
    fn room(&self, link: LinkId) -> bool;
    fn want(&self, node: &NodeId);
    fn keep(&self, node: &NodeId, keep: bool);
    fn set_attached(&self, attached: bool);
    fn denied(&self, node: &NodeId, denial: &Denial);
}

impl<P: NodePorts> Links for Mesh<P> {
    fn send(&self, link: LinkId, message: Message) {
        self.send_db(link, message);
    }
    fn room(&self, link: LinkId) -> bool {
        self.db_room(link)
    }
    fn want(&self, node: &NodeId) {
        Mesh::want(self, node);
    }
    fn keep(&self, node: &NodeId, keep: bool) {
        Mesh::keep(self, node, keep);
    }
    fn set_attached(&self, attached: bool) {
        Mesh::set_attached(self, attached);
    }
    fn denied(&self, node: &NodeId, denial: &Denial) {
        Mesh::denied(self, node, denial);
    }
}

/// A reader of a family.
#[derive(Debug, Default)]
struct Reader {
    ready: bool,
    waker: Option<Waker>,
}

/// The answer to a query, or why this node may not have it.
pub type Answered = Result<Vec<(Key, Found)>, String>;

struct State {
    db: Db,
    queries: HashMap<QueryId, oneshot::Sender<Answered>>,
    writes: HashMap<u64, Vec<oneshot::Sender<Result<(), WriteRefused>>>>,
    readers: HashMap<WatchId, Reader>,
    seeds: BTreeSet<NodeId>,
    /// Linked nodes, and whether they say that they are global.
    linked: HashMap<LinkId, (NodeId, bool)>,
    /// When the timer runs out.
    timer: Option<Duration>,
}

/// The node is shut down, or was never begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node is shut down")]
pub struct Ended;

/// What a database is made from; the rest is known when the node begins.
#[derive(Debug, Clone)]
pub struct DbConfig {
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub life: Incarnation,
    /// Who may do what.
    pub policy: Arc<PolicyHandle>,
    /// Told which ports are registered.
    pub registered: Arc<Registered>,
    /// Every bound.
    pub limits: Limits,
    /// For jitter.
    pub seed: u64,
}

/// See the module.
pub struct DbHost {
    me: Weak<DbHost>,
    config: DbConfig,
    clock: Clock,
    /// `None` before the node has begun, and after it has ended.
    state: Mutex<Option<State>>,
    links: OnceLock<Weak<dyn Links>>,
    timer: Arc<Notify>,
    synced: watch::Sender<bool>,
    home: watch::Sender<Option<NodeId>>,
    events: EventSender,
    told: Told<Output>,
    runtime: Handle,
}

impl fmt::Debug for DbHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DbHost")
            .field("node", &self.config.node)
            .finish_non_exhaustive()
    }
}

impl DbHost {
    /// The database of a node that is about to begin. `events` is where it tells what happens.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(config: DbConfig, events: EventSender) -> Arc<Self> {
        Arc::new_cyclic(|me| DbHost {
            me: me.clone(),
            config,
            clock: Clock::start(),
            state: Mutex::new(None),
            links: OnceLock::new(),
            timer: Arc::new(Notify::new()),
            synced: watch::Sender::new(false),
            home: watch::Sender::new(None),
            events,
            told: Told::new(),
            runtime: Handle::current(),
        })
    }

    /// The node has begun, with no mesh: it has all there is.
    pub fn begin_alone(&self) {
        self.begin(true);
        self.with(|state, now| state.db.set_seeds_tried(now));
    }

    /// The node's mesh has begun: what the database has for it goes out, and the seeds are watched.
    pub fn attach<P: NodePorts>(&self, mesh: &Arc<Mesh<P>>) {
        let links: Weak<dyn Links> = Arc::downgrade(&(mesh.clone() as Arc<dyn Links>));
        if self.links.set(links).is_err() {
            tracing::error!("a second mesh on the database of one node");
            return;
        }
        let advert = Advert {
            addr: mesh.advertised(),
            global: mesh.is_global(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.with(|state, now| {
            if let Err(error) = state.db.advertise(advert, now) {
                tracing::error!(%error, "this node cannot tell the others of itself");
            }
        });
        let (mut nodes, mut untried) = (mesh.seed_nodes(), mesh.seeds_untried());
        if !mesh.is_global() {
            self.warn_when_homeless(mesh.seed_count(), untried.clone());
        }
        let host = self.me.clone();
        self.runtime.spawn(async move {
            loop {
                let (seeds, tried) = (
                    nodes.borrow_and_update().clone(),
                    *untried.borrow_and_update() == 0,
                );
                let Some(host) = host.upgrade() else { return };
                host.with(|state, now| {
                    if state.seeds != seeds {
                        state.seeds.clone_from(&seeds);
                        state.db.set_seeds(seeds, now);
                    }
                    if tried {
                        state.db.set_seeds_tried(now);
                    }
                });
                drop(host);
                // an error says that the mesh is gone
                let gone = tokio::select! {
                    changed = nodes.changed() => changed.is_err(),
                    changed = untried.changed(), if !tried => changed.is_err(),
                };
                if gone {
                    return;
                }
            }
        });
    }

    /// The node has ended: nothing is answered any more.
    pub fn end(&self) {
        // who waits is told by the end of what it waits for
        let state = self.lock().take();
        if let Some(state) = state {
            for (_, reader) in state.readers {
                if let Some(waker) = reader.waker {
                    waker.wake();
                }
            }
        }
        self.timer.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        // no code of others runs under it
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the engine, and what follows from it. `None`: the node has ended.
    fn with<T>(&self, work: impl FnOnce(&mut State, crate::proto::limits::Now) -> T) -> Option<T> {
        let mut guard = self.lock();
        let state = guard.as_mut()?;
        let now = self.clock.now();
        let done = work(state, now);
        let wakers = self.pump(state);
        drop(guard);
        for waker in wakers {
            waker.wake();
        }
        self.told.tell(|output| self.follow(output));
        Some(done)
    }

    /// What the engine asks for: what may be done under its lock is done. Who is to be woken without it.
    fn pump(&self, state: &mut State) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let links = self.links.get().and_then(Weak::upgrade);
        while let Some(output) = state.db.poll_output() {
            match output {
                Output::Changed(id) => {
                    if let Some(reader) = state.readers.get_mut(&id) {
                        reader.ready = true;
                        wakers.extend(reader.waker.take());
                    }
                }
                Output::Answer(id, found) => {
                    if let Some(to) = state.queries.remove(&id) {
                        // nobody may wait any more
                        let _ = to.send(Ok(found));
                    }
                }
                Output::AnswerDenied(id, text) => {
                    if let Some(to) = state.queries.remove(&id) {
                        let _ = to.send(Err(text));
                    }
                }
                Output::Written(seq, result) => {
                    for to in state.writes.remove(&seq).unwrap_or_default() {
                        let _ = to.send(result.clone());
                    }
                }
                other => {
                    if let Output::Refused(family, key, _) = &other {
                        self.note_registered(state, family, key);
                    }
                    self.told.push(other);
                }
            }
        }
        let ready = state.db.take_ready();
        if let Some(links) = &links {
            for link in ready {
                self.transmit(state, &**links, link);
            }
        }
        let due = state.db.poll_timeout();
        if due != state.timer {
            let sooner = match (due, state.timer) {
                (Some(due), Some(timer)) => due < timer,
                (due, _) => due.is_some(),
            };
            if sooner {
                state.timer = due;
                self.timer.notify_one();
            }
        }
        wakers
    }

    /// What this node owns under a key may be another: a port may be registered there.
    fn note_registered(&self, state: &State, family: &Family, key: &str) {
        let is_there = state.db.owned(family, key).is_some();
        let DbConfig {
            node, registered, ..
        } = &self.config;
        registered.note(node, family, key, is_there);
    }

    fn transmit(&self, state: &mut State, links: &dyn Links, link: LinkId) {
        while links.room(link) {
            let now = self.clock.now();
            let Some(message) = state.db.transmit(link, now) else {
                return;
            };
            links.send(link, message);
        }
    }

    /// What has to be done without the lock.
    fn follow(&self, output: Output) {
        let links = self.links.get().and_then(Weak::upgrade);
        let event = match output {
            Output::Want(node) => {
                if let Some(links) = &links {
                    links.want(&node);
                }
                return;
            }
            Output::Keep(node, keep) => {
                if let Some(links) = &links {
                    links.keep(&node, keep);
                }
                return;
            }
            Output::Home(home) => {
                if let Some(links) = &links {
                    links.set_attached(home.is_some());
                }
                tracing::info!(node = %self.config.node, home = home.as_ref().map(|h| h.as_str()), "home");
                self.home.send_replace(home.clone());
                NodeEvent::Home(home)
            }
            Output::Synced => {
                tracing::info!(node = %self.config.node, "the database is complete");
                self.synced.send_replace(true);
                return;
            }
            Output::Refused(family, key, why) => {
                tracing::warn!(%family, key = &*key, %why, "the home refused an entry");
                NodeEvent::DbRefused { family, key, why }
            }
            Output::Conflict(family, key, owners) => {
                tracing::debug!(%family, key = &*key, ?owners, "several nodes own one key");
                NodeEvent::DbConflict {
                    family,
                    key,
                    owners,
                }
            }
            Output::NotGlobal(node, text) => {
                tracing::warn!(peer_node = %node, text, "not taken for a global node");
                NodeEvent::NotGlobal { node, text }
            }
            Output::Skew(node, ms) => {
                tracing::warn!(peer_node = %node, ahead_ms = ms, "its clock and this node's differ");
                NodeEvent::ClockSkew { node, ms }
            }
            Output::Denied(node, denial) => {
                if let Some(links) = &links {
                    links.denied(&node, &denial);
                }
                return;
            }
            Output::Changed(_)
            | Output::Answer(..)
            | Output::AnswerDenied(..)
            | Output::Written(..) => return,
        };
        self.events.send(event);
    }
}
