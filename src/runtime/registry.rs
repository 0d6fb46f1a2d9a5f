//! All ports of a node, and what they share.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::{runtime::Handle, sync::Notify};

pub use super::names::Target;
use super::{
    LinkSink,
    behaviour::{Behaviour, shielded},
    events::{EventReceiver, EventSender},
    failed::Failed,
    names::Names,
    port::{Item, PortCell},
    registered::Registered,
    reply::ReplyCell,
    runner,
};
use crate::proto::{
    id::{Incarnation, NodeId, PortId, PortName, PortNames},
    limits::Limits,
    link::LinkId,
    message::Message,
    node::peer::Reply,
    policy::PeerPolicy,
    ports::mailbox::{MailboxLimits, Overflow},
};

/// Links that are gone and whose messages may still wait somewhere.
const PAST_LINKS_MAX: usize = 1024;

/// A function that can be spawned by its name.
pub trait Function: Send + Sync {
    /// A new port's behaviour, and the first work for it: the init function with these arguments.
    fn init(&self, args: Message) -> (Box<dyn Behaviour>, Box<dyn Any + Send>);
}

/// What a registry is made from.
pub struct RegistryConfig {
    /// The name of this node.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Every bound.
    pub limits: Limits,
    /// Which of the ports are registered in the database.
    pub registered: Arc<Registered>,
    /// What can be spawned.
    pub functions: HashMap<String, Arc<dyn Function>>,
}

impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryConfig")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// See the module.
pub struct Registry {
    me: Weak<Registry>,
    pub(super) config: RegistryConfig,
    names: PortNames,
    runtime: Handle,
    pub(super) map: Names,
    /// What a mailbox is bounded by unless its port says otherwise.
    mailbox: Arc<MailboxLimits>,
    pub(super) failed: Mutex<Failed>,
    links: OnceLock<Weak<dyn LinkSink>>,
    nodes: RwLock<Nodes>,
    released: AtomicBool,
    release: Notify,
    pub(super) lost: AtomicU64,
    pub(super) events: EventSender,
}

#[derive(Default)]
struct Nodes {
    of: BTreeMap<LinkId, (NodeId, Arc<PeerPolicy>)>,
    past: VecDeque<LinkId>,
}

impl Registry {
    /// Without any port. Nothing runs before [`Self::release`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(config: RegistryConfig) -> Arc<Self> {
        let mailbox = Arc::new(MailboxLimits {
            bytes_max: config.limits.mailbox_bytes_max,
            count_max: config.limits.mailbox_count_max,
            overflow: Overflow::PushBack,
        });
        Arc::new_cyclic(|me| Registry {
            me: me.clone(),
            names: PortNames::new(config.incarnation),
            map: Names::new(config.incarnation),
            config,
            runtime: Handle::current(),
            mailbox,
            failed: Mutex::default(),
            links: OnceLock::new(),
            nodes: RwLock::default(),
            released: AtomicBool::new(false),
            release: Notify::new(),
            lost: AtomicU64::new(0),
            events: EventSender::default(),
        })
    }

    /// The node's name.
    pub fn node(&self) -> &NodeId {
        &self.config.node
    }

    /// The node's life.
    pub fn incarnation(&self) -> Incarnation {
        self.config.incarnation
    }

    /// Every bound.
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// Where tasks of this node are spawned.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// What a mailbox is bounded by unless its port says otherwise.
    pub fn mailbox_limits(&self) -> &Arc<MailboxLimits> {
        &self.mailbox
    }

    /// A name that was never given before.
    pub fn next_id(&self) -> PortId {
        PortId::new(self.config.node.clone(), self.names.next_name())
    }

    /// From now on ports run. (Before, what they need to reach other nodes may not be there.)
    pub fn release(&self) {
        self.released.store(true, Ordering::Release);
        self.release.notify_waiters();
    }

    pub(super) async fn released(&self) {
        while !self.released.load(Ordering::Acquire) {
            let released = self.release.notified();
            if !self.released.load(Ordering::Acquire) {
                released.await;
            }
        }
    }

    /// Living ports, reply ports included.
    pub fn count(&self) -> usize {
        self.map.count()
    }

    /// Messages that were accepted here and then dropped.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Where what happens within this node is told.
    pub fn event_sender(&self) -> EventSender {
        self.events.clone()
    }

    /// What happens within this node, from now on: losses, and news of its database.
    pub fn events(&self) -> EventReceiver {
        self.events.subscribe()
    }

    // --- the map ---

    /// What that name leads to now.
    pub fn find(&self, name: &str) -> Option<Target> {
        self.map.find(name)
    }

    /// `false`: the name is taken, or the node is shut down.
    pub(super) fn insert(&self, target: Target) -> bool {
        self.map.insert(target)
    }

    pub(super) fn remove(&self, name: &PortName) {
        self.map.remove(name.as_str());
    }

    // --- birth ---

    /// A new port of that name; `limits`: of its mailbox, where they are its own. `Err`: the name is taken or the node is shut down, and here is the port, dead.
    pub fn open(
        &self,
        id: PortId,
        limits: Option<MailboxLimits>,
        behaviour: Box<dyn Behaviour>,
        table: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Result<Arc<PortCell>, Arc<PortCell>> {
        let limits = limits.map_or_else(|| self.mailbox.clone(), Arc::new);
        let cell = PortCell::new(id, limits, behaviour, table, None, false);
        if self.insert(Target::Port(cell.clone())) {
            Ok(cell)
        } else {
            let remains = cell.lock().bury();
            shielded("dropping a port", || drop(remains));
            Err(cell)
        }
    }

    pub(super) fn failed(&self) -> MutexGuard<'_, Failed> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reply port of that name, which [`Self::next_id`] gave. `None`: the node is shut down.
    pub fn open_reply(&self, id: PortId) -> Option<Arc<ReplyCell>> {
        let cell = ReplyCell::new(id, self.me.clone());
        self.insert(Target::Reply(cell.clone())).then_some(cell)
    }

    // --- work ---

    /// Spawns the port's task if it has none. Call it after `Inner::start_running` said so, without the lock.
    pub(super) fn start(&self, cell: &Arc<PortCell>) {
        if let Some(registry) = self.me.upgrade() {
            self.runtime.spawn(runner::run(registry, cell.clone()));
        }
    }

    /// Work in the port's context, behind what waits. `forced`: whether there is room or not. The work comes back when
    /// there is no room (`Err(Some)`); it is dropped when the port is dead (`Err(None)`).
    pub fn work(
        &self,
        cell: &Arc<PortCell>,
        work: Box<dyn Any + Send>,
        forced: bool,
    ) -> Result<(), Option<Box<dyn Any + Send>>> {
        use crate::proto::ports::mailbox::Push;
        let mut inner = cell.lock();
        if inner.dead {
            drop(inner);
            shielded("dropping work", || drop(work));
            return Err(None);
        }
        if forced {
            inner.mailbox.push_control(Item::Work(work));
        } else {
            match inner.mailbox.push(Item::Work(work), 1) {
                Push::Queued => {}
                Push::Full(Item::Work(work)) => return Err(Some(work)),
                Push::Full(_) => return Err(None),
            }
        }
        let start = inner.start_running();
        drop(inner);
        if start {
            self.start(cell);
        }
        Ok(())
    }

    // --- links ---

    /// Where links are told something. `false`: that was said before.
    pub(super) fn set_links(&self, links: Weak<dyn LinkSink>) -> bool {
        self.links.set(links).is_ok()
    }

    pub(super) fn links(&self) -> Option<Arc<dyn LinkSink>> {
        self.links.get()?.upgrade()
    }

    pub(super) fn set_link(&self, link: LinkId, node: &NodeId, policy: &Arc<PeerPolicy>) {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        nodes.of.insert(link, (node.clone(), policy.clone()));
    }

    pub(super) fn set_policy(&self, link: LinkId, policy: &Arc<PeerPolicy>) {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, of)) = nodes.of.get_mut(&link) {
            *of = policy.clone();
        }
    }

    pub(super) fn forget_link(&self, link: LinkId) {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        nodes.past.push_back(link);
        if nodes.past.len() > PAST_LINKS_MAX
            && let Some(oldest) = nodes.past.pop_front()
        {
            nodes.of.remove(&oldest);
        }
    }

    /// The node at the other end of that link, now or lately.
    pub fn node_of(&self, link: LinkId) -> Option<NodeId> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.of.get(&link).map(|(node, _)| node.clone())
    }

    /// Likewise, and what it may do here.
    pub(super) fn peer_of(&self, link: LinkId) -> Option<(NodeId, Arc<PeerPolicy>)> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.of.get(&link).cloned()
    }

    fn is_up(&self, link: LinkId) -> bool {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.of.contains_key(&link) && !nodes.past.contains(&link)
    }

    pub(super) fn tell_room(&self, cell: &PortCell, waiting: Vec<LinkId>) {
        if waiting.is_empty() {
            return;
        }
        if let Some(links) = self.links() {
            for link in waiting {
                links.room(link, cell.name());
            }
        }
    }

    /// A message of that link is refused: a loss, and so is what follows until it is acknowledged (P2, P4).
    pub(super) fn break_link(
        &self,
        cell: &PortCell,
        link: LinkId,
        fault: &super::behaviour::Fault,
    ) {
        self.count_lost(cell, 1);
        if cell.break_link(link, |link| self.is_up(link))
            && let Some(links) = self.links()
        {
            let text = fault.loss_text();
            tracing::warn!(port = %cell.id(), link = link.0, text, "a message from a peer is refused");
            links.reply(
                link,
                Reply::Loss {
                    port: cell.name().clone(),
                    count: 1,
                    text,
                },
            );
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("node", &self.config.node)
            .field("ports", &self.count())
            .finish_non_exhaustive()
    }
}
