//! The database of a node on tokio: its engine behind one lock, what that asks for, and who waits for what.
//!
//! What goes out over links is taken from the engine as the links have room, under its lock, so that it stays in order. The
//! lock of a link's peer is taken inside it, never the other way round.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, broadcast, oneshot, watch},
    time::sleep_until,
};

use super::{
    DbLinks, Directory, NodePorts, clock::Clock, events::NodeEvent, mesh::Mesh,
    transport::BoxFuture,
};
use crate::proto::{
    close::CloseReason,
    db::{
        engine::{Advert, Change, Config, Db, Found, Output, Query, QueryId, Summary, WatchId},
        item::Packed,
        name::{Family, Key, WriteRefused, system},
        wire::Wire,
    },
    id::{Incarnation, NodeId},
    limits::Limits,
    link::LinkId,
    message::Message,
};

/// What the database needs of the mesh.
trait Links: Send + Sync {
    fn send(&self, link: LinkId, message: Message);
    fn room(&self, link: LinkId) -> bool;
    fn want(&self, node: &NodeId);
    fn keep(&self, node: &NodeId, keep: bool);
    fn set_attached(&self, attached: bool);
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
}

/// A reader of a family.
#[derive(Debug, Default)]
struct Reader {
    ready: bool,
    waker: Option<Waker>,
}

struct State {
    db: Db,
    queries: HashMap<QueryId, oneshot::Sender<Vec<(Key, Found)>>>,
    writes: HashMap<u64, Vec<oneshot::Sender<Result<(), WriteRefused>>>>,
    readers: HashMap<WatchId, Reader>,
    seeds: BTreeSet<NodeId>,
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
    /// Which others are taken for global nodes, besides those that answer at its seeds.
    pub trusted: Vec<crate::proto::naming::NodePattern>,
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
    events: broadcast::Sender<NodeEvent>,
    runtime: Handle,
    messages: AtomicU64,
    bytes: AtomicU64,
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
    pub fn new(config: DbConfig, events: broadcast::Sender<NodeEvent>) -> Arc<Self> {
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
            runtime: Handle::current(),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
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
        let after = self.pump(state);
        drop(guard);
        self.follow(after);
        Some(done)
    }

    /// What the engine asks for: what may be done under its lock is done.
    fn pump(&self, state: &mut State) -> After {
        let mut after = After::default();
        let links = self.links.get().and_then(Weak::upgrade);
        while let Some(output) = state.db.poll_output() {
            match output {
                Output::Changed(id) => {
                    if let Some(reader) = state.readers.get_mut(&id) {
                        reader.ready = true;
                        after.wakers.extend(reader.waker.take());
                    }
                }
                Output::Answer(id, found) => {
                    if let Some(to) = state.queries.remove(&id) {
                        // nobody may wait any more
                        let _ = to.send(found);
                    }
                }
                Output::Written(seq, result) => {
                    for to in state.writes.remove(&seq).unwrap_or_default() {
                        let _ = to.send(result.clone());
                    }
                }
                other => after.outputs.push(other),
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
        after
    }

    fn transmit(&self, state: &mut State, links: &dyn Links, link: LinkId) {
        while links.room(link) {
            let now = self.clock.now();
            let Some(message) = state.db.transmit(link, now) else {
                return;
            };
            self.messages.fetch_add(1, Ordering::Relaxed);
            let len = message.encoded_len() as u64;
            self.bytes.fetch_add(len, Ordering::Relaxed);
            links.send(link, message);
        }
    }

    /// What has to be done without the lock.
    fn follow(&self, after: After) {
        let links = self.links.get().and_then(Weak::upgrade);
        for waker in after.wakers {
            waker.wake();
        }
        for output in after.outputs {
            let event = match output {
                Output::Want(node) => {
                    if let Some(links) = &links {
                        links.want(&node);
                    }
                    continue;
                }
                Output::Keep(node, keep) => {
                    if let Some(links) = &links {
                        links.keep(&node, keep);
                    }
                    continue;
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
                    continue;
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
                Output::Changed(_) | Output::Answer(..) | Output::Written(..) => continue,
            };
            // nobody may listen
            let _ = self.events.send(event);
        }
    }

    // --- what a program does ---

    /// Whether this is a global node.
    ///
    /// # Errors
    /// The node has ended.
    pub fn is_global(&self) -> Result<bool, Ended> {
        self.with(|state, _| state.db.is_global()).ok_or(Ended)
    }

    /// Sets an entry; the number of the change.
    ///
    /// # Errors
    /// The node has ended, or the entry is refused.
    pub fn set(
        &self,
        family: &Family,
        key: &str,
        value: Packed,
    ) -> Result<Result<u64, WriteRefused>, Ended> {
        self.with(|state, now| state.db.set(family, key, value, now))
            .ok_or(Ended)
    }

    /// Waits until a change was taken by this node's home, or refused.
    ///
    /// # Errors
    /// The node has ended.
    pub async fn written(&self, seq: u64) -> Result<Result<(), WriteRefused>, Ended> {
        let waits = self.with(|state, _| {
            if state.db.wait_for(seq) {
                return None;
            }
            let (to, from) = oneshot::channel();
            state.writes.entry(seq).or_default().push(to);
            Some(from)
        });
        match waits.ok_or(Ended)? {
            None => Ok(Ok(())),
            Some(from) => from.await.map_err(|_| Ended),
        }
    }

    /// Removes keys in one step; how many this node owned.
    ///
    /// # Errors
    /// The node has ended, or the family is the system's.
    pub fn remove(
        &self,
        family: &Family,
        keys: &[&str],
    ) -> Result<Result<usize, WriteRefused>, Ended> {
        self.with(|state, now| state.db.remove(family, keys, now))
            .ok_or(Ended)
    }

    /// Removes an entry if it is still what that change made it. After the end there is nothing to remove.
    pub fn remove_if(&self, family: &Family, key: &str, seq: u64) {
        self.with(|state, now| state.db.remove_if(family, key, seq, now));
    }

    /// What shows, when it is known.
    ///
    /// # Errors
    /// The node has ended.
    pub async fn query(&self, query: Query) -> Result<Vec<(Key, Found)>, Ended> {
        let (to, from) = oneshot::channel();
        let id = self
            .with(|state, now| {
                let id = state.db.query(query, now);
                state.queries.insert(id, to);
                id
            })
            .ok_or(Ended)?;
        let guard = QueryGuard { host: self, id };
        let found = from.await.map_err(|_| Ended);
        drop(guard);
        found
    }

    /// A new reader of a family.
    ///
    /// # Errors
    /// The node has ended.
    pub fn watch(&self, family: &Family) -> Result<WatchId, Ended> {
        self.with(|state, now| {
            let id = state.db.watch(family, now);
            state.readers.insert(id, Reader::default());
            id
        })
        .ok_or(Ended)
    }

    /// That reader is no longer one.
    pub fn unwatch(&self, id: WatchId) {
        self.with(|state, _| {
            state.readers.remove(&id);
            state.db.unwatch(id);
        });
    }

    /// What is next for that reader; `None` when the node has ended.
    pub fn poll_change(&self, id: WatchId, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        let mut guard = self.lock();
        let Some(state) = guard.as_mut() else {
            return Poll::Ready(None);
        };
        if let Some(change) = state.db.next_change(id) {
            return Poll::Ready(Some(change));
        }
        match state.readers.get_mut(&id) {
            Some(reader) => {
                reader.ready = false;
                reader.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }

    /// Waits until all that others had when this node began is here; for one that is not global, until it has a home.
    ///
    /// # Errors
    /// The node has ended.
    pub async fn ready(&self) -> Result<(), Ended> {
        if self.is_global()? {
            let mut synced = self.synced.subscribe();
            synced.wait_for(|synced| *synced).await.map_err(|_| Ended)?;
        } else {
            let mut home = self.home.subscribe();
            home.wait_for(Option::is_some).await.map_err(|_| Ended)?;
        }
        self.is_global().map(|_| ())
    }

    /// The home of this node; itself for a global node.
    pub fn home(&self) -> Option<NodeId> {
        match self.is_global() {
            Ok(true) => Some(self.config.node.clone()),
            _ => self.home.borrow().clone(),
        }
    }

    /// What this node holds, in figures.
    ///
    /// # Errors
    /// The node has ended.
    pub fn summary(&self) -> Result<Summary, Ended> {
        self.with(|state, _| state.db.summary()).ok_or(Ended)
    }

    /// Messages and bytes that the database has sent over links.
    pub fn sent(&self) -> (u64, u64) {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        (load(&self.messages), load(&self.bytes))
    }
}

/// What has to be done without the lock.
#[derive(Default)]
struct After {
    outputs: Vec<Output>,
    wakers: Vec<Waker>,
}

/// Takes a query back when nobody waits for it any more.
struct QueryGuard<'a> {
    host: &'a DbHost,
    id: QueryId,
}

impl Drop for QueryGuard<'_> {
    fn drop(&mut self) {
        self.host.with(|state, _| {
            if state.queries.remove(&self.id).is_some() {
                state.db.cancel(self.id);
            }
        });
    }
}

impl DbLinks for DbHost {
    fn begin(&self, global: bool) {
        let config = Config {
            node: self.config.node.clone(),
            life: self.config.life,
            global,
            trusted: self.config.trusted.clone(),
            limits: self.config.limits.clone(),
            seed: self.config.seed,
        };
        *self.lock() = Some(State {
            db: Db::new(config, self.clock.now()),
            queries: HashMap::new(),
            writes: HashMap::new(),
            readers: HashMap::new(),
            seeds: BTreeSet::new(),
            timer: None,
        });
        let (host, timer, clock) = (self.me.clone(), self.timer.clone(), self.clock);
        self.runtime.spawn(async move {
            loop {
                let due = {
                    let Some(host) = host.upgrade() else { return };
                    let guard = host.lock();
                    let Some(state) = guard.as_ref() else { return };
                    state.timer
                };
                let at = due.map_or_else(|| clock.instant(Duration::MAX), |due| clock.instant(due));
                tokio::select! {
                    () = timer.notified() => continue,
                    () = sleep_until(at) => {}
                }
                let Some(host) = host.upgrade() else { return };
                host.with(|state, now| {
                    state.timer = None;
                    state.db.handle_timeout(now);
                });
            }
        });
    }

    fn link_up(
        &self,
        link: LinkId,
        node: &NodeId,
        incarnation: Incarnation,
        features: &[String],
        dialled_seed: bool,
    ) {
        self.with(|state, now| {
            if dialled_seed && state.seeds.insert(node.clone()) {
                let seeds = state.seeds.clone();
                state.db.set_seeds(seeds, now);
            }
            state
                .db
                .handle_link_up(link, node, incarnation, features, now);
        });
    }

    fn link_down(&self, link: LinkId, _node: &NodeId, reason: &CloseReason) {
        let orderly = matches!(reason, CloseReason::PeerShutdown);
        self.with(|state, now| state.db.handle_link_down(link, orderly, now));
    }

    fn handle(&self, link: LinkId, message: Message) -> Result<(), CloseReason> {
        let wire = Wire::decode(&message, &self.config.limits)?;
        let handled = self.with(|state, now| state.db.handle(link, wire, now));
        handled.unwrap_or(Ok(()))
    }

    fn room(&self, link: LinkId) {
        let mut guard = self.lock();
        if let Some(state) = guard.as_mut()
            && let Some(links) = self.links.get().and_then(Weak::upgrade)
        {
            self.transmit(state, &*links, link);
        }
    }
}

impl Directory for DbHost {
    fn lookup<'a>(&'a self, node: &'a NodeId) -> BoxFuture<'a, Vec<String>> {
        Box::pin(async move {
            // what it says itself, and where it was before when nobody lists it
            let mut found = Vec::new();
            let known = self.with(|state, _| {
                let known = state.db.global_addresses(node);
                (state.db.is_global(), known, state.db.home().is_some())
            });
            let Some((is_global, known, has_home)) = known else {
                return found;
            };
            if !is_global {
                if !known.is_empty() && !has_home {
                    // another home is looked for: there is nobody to ask
                    return known;
                }
                let family = Family::system(system::NODES);
                let query = Query::Key(family, node.as_str().into());
                if let Ok(answer) = self.query(query).await {
                    let own = answer.into_iter().find(|(_, found)| found.owner == *node);
                    let advert = own.and_then(|(_, found)| found.value.decode::<Advert>().ok());
                    found.extend(advert.into_iter().flat_map(|advert| advert.addr));
                }
            } else if self.ready().await.is_err() {
                return found;
            }
            let known = self.with(|state, _| state.db.addresses(node));
            for addr in known.unwrap_or_default() {
                if !found.contains(&addr) {
                    found.push(addr);
                }
            }
            found
        })
    }
}
