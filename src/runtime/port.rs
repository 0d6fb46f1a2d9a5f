//! One port: its mailbox, its behaviour while it rests, who watches it, and what dies with it.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use tokio::{sync::Notify, time::Instant};

use super::{Watch, behaviour::Behaviour};
use crate::proto::{
    id::{NodeId, PortId, PortName},
    link::LinkId,
    message::{Batch, Message, Reason},
    monitor::WatchId,
    ports::mailbox::{Mailbox, MailboxLimits, Push},
};

/// What waits in a mailbox. Kills and acknowledgements keep their place among the messages (M4, P2).
pub(crate) enum Item {
    /// A message of this node.
    Message(Message),
    /// Messages that came over that link.
    Batch(Batch, LinkId),
    /// Work in the port's context.
    Work(Box<dyn Any + Send>),
    /// Whoever handles this dies.
    Kill(Reason),
    /// The peer of that link has acknowledged our loss.
    LossAck(LinkId),
}

impl Item {
    /// How many messages it is.
    pub(crate) fn messages(&self) -> usize {
        match self {
            Item::Message(_) => 1,
            Item::Batch(batch, _) => batch.len(),
            Item::Work(_) | Item::Kill(_) | Item::LossAck(_) => 0,
        }
    }
}

/// Those who are told of a death.
#[derive(Default)]
pub(crate) struct Watchers {
    local: BTreeMap<WatchId, Watch>,
    links: Vec<LinkId>,
}

impl Watchers {
    /// Under an ID that was never used before.
    pub(crate) fn add(&mut self, id: WatchId, watch: Watch) {
        self.local.insert(id, watch);
    }
    pub(crate) fn remove(&mut self, id: WatchId) -> Option<Watch> {
        self.local.remove(&id)
    }
    pub(crate) fn add_link(&mut self, link: LinkId) {
        if let Err(at) = self.links.binary_search(&link) {
            self.links.insert(at, link);
        }
    }
    pub(crate) fn remove_link(&mut self, link: LinkId) {
        if let Ok(at) = self.links.binary_search(&link) {
            self.links.remove(at);
        }
    }
    fn is_empty(&self) -> bool {
        self.local.is_empty() && self.links.is_empty()
    }
    pub(crate) fn take_local(&mut self) -> Vec<Watch> {
        std::mem::take(&mut self.local).into_values().collect()
    }
    pub(crate) fn take_links(&mut self) -> Vec<LinkId> {
        std::mem::take(&mut self.links)
    }
}

/// A port. Whoever holds one may find it dead.
pub struct PortCell {
    id: PortId,
    /// The node that spawned it over a link.
    spawned_by: Option<Box<NodeId>>,
    /// There is something in `kill`, `stop` or `dead` that the runner must see before it goes on.
    urgent: AtomicBool,
    /// `broken` is not empty, or was not a moment ago.
    may_be_broken: AtomicBool,
    /// `table` was replaced since the behaviour last looked.
    has_new_table: AtomicBool,
    inner: Mutex<Inner>,
}

/// What every port has. What few have is in a box of its own, so that an idle port is small.
pub(crate) struct Inner {
    pub(crate) mailbox: Mailbox<Item>,
    /// Here while no task runs.
    pub(crate) behaviour: Option<Box<dyn Behaviour>>,
    /// The handlers, for whoever knows their type.
    pub(crate) table: Option<Arc<dyn Any + Send + Sync>>,
    /// A task has been spawned that will look into the mailbox.
    pub(crate) running: bool,
    pub(crate) dead: bool,
    /// Its init function has not ended well yet.
    pub(crate) starting: bool,
    /// The handler that waits for something.
    pub(crate) waker: Option<Waker>,
    /// Local senders that wait for room.
    pub(crate) room: Option<Arc<Notify>>,
    extras: Option<Box<Extras>>,
    next_id: u64,
}

/// What few ports have.
#[derive(Default)]
pub(crate) struct Extras {
    /// What the running behaviour is to be replaced with (an init function that equips its port).
    pub(crate) successor: Option<Box<dyn Behaviour>>,
    /// The kill that waits for earlier messages, and until when (M4).
    pub(crate) kill: Option<(Instant, Reason)>,
    /// It wants to die when its handler returns.
    pub(crate) stop: Option<Reason>,
    pub(crate) watchers: Watchers,
    /// Links from which nothing is taken until they acknowledge a loss (P2), and whether the acknowledgement waits in
    /// the mailbox already.
    pub(crate) broken: Vec<(LinkId, bool)>,
    /// What is dropped when the port dies (M8).
    ties: BTreeMap<u64, Box<dyn Any + Send>>,
}

impl Extras {
    fn is_empty(&self) -> bool {
        self.successor.is_none()
            && self.kill.is_none()
            && self.stop.is_none()
            && self.watchers.is_empty()
            && self.broken.is_empty()
            && self.ties.is_empty()
    }
}

/// What dies with a port: to be dropped, woken and called without any lock.
pub(crate) struct Remains {
    pub(crate) items: Vec<Item>,
    pub(crate) waiting: Vec<LinkId>,
    pub(crate) watches: Vec<Watch>,
    pub(crate) links: Vec<LinkId>,
    pub(crate) ties: BTreeMap<u64, Box<dyn Any + Send>>,
    pub(crate) behaviours: [Option<Box<dyn Behaviour>>; 2],
    pub(crate) table: Option<Arc<dyn Any + Send + Sync>>,
    pub(crate) waker: Option<Waker>,
    pub(crate) room: Option<Arc<Notify>>,
    pub(crate) was_starting: bool,
}

impl Inner {
    /// Marks it dead and takes everything out. `None`: it was dead already.
    pub(crate) fn bury(&mut self) -> Option<Remains> {
        if std::mem::replace(&mut self.dead, true) {
            return None;
        }
        let (items, waiting) = self.mailbox.close();
        let mut extras = self.extras.take().unwrap_or_default();
        Some(Remains {
            items,
            waiting,
            watches: extras.watchers.take_local(),
            links: extras.watchers.take_links(),
            ties: extras.ties,
            behaviours: [self.behaviour.take(), extras.successor],
            table: self.table.take(),
            waker: self.waker.take(),
            room: self.room.take(),
            was_starting: self.starting,
        })
    }

    /// What few ports have, if this one does.
    pub(crate) fn extras(&mut self) -> Option<&mut Extras> {
        self.extras.as_deref_mut()
    }

    /// The same, made if there is none.
    pub(crate) fn more(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// Adds a local watcher.
    pub(crate) fn watch(&mut self, watch: Watch) -> WatchId {
        let id = WatchId(self.next_id);
        self.next_id += 1;
        self.more().watchers.add(id, watch);
        id
    }

    pub(crate) fn is_broken(&mut self, link: LinkId) -> bool {
        self.extras()
            .is_some_and(|more| more.broken.iter().any(|&(broken, _)| broken == link))
    }

    /// Nothing waits: gives back what the port does not need to wait for more.
    pub(crate) fn rest(&mut self, behaviour: Box<dyn Behaviour>) {
        self.behaviour = Some(behaviour);
        self.running = false;
        self.waker = None;
        self.mailbox.shrink();
        self.tidy();
    }

    /// Gives back the box of what few ports have, if there is nothing in it any more.
    pub(crate) fn tidy(&mut self) {
        if self.extras.as_ref().is_some_and(|more| more.is_empty()) {
            self.extras = None;
        }
    }

    /// Whether at least half of the mailbox is free.
    pub(crate) fn is_roomy(&self) -> bool {
        let limits = self.mailbox.limits();
        self.mailbox.count() <= limits.count_max / 2 && self.mailbox.bytes() <= limits.bytes_max / 2
    }

    /// Whether a task has to be spawned now; if so it counts as running.
    pub(crate) fn start_running(&mut self) -> bool {
        !self.dead && !std::mem::replace(&mut self.running, true)
    }

    /// Puts in a message of this node if there is room.
    pub(crate) fn push_message(&mut self, message: Message) -> Push<Message> {
        let bytes = message.encoded_len();
        match self.mailbox.push(Item::Message(message), bytes) {
            Push::Queued => Push::Queued,
            Push::Full(Item::Message(message)) => Push::Full(message),
            // a mailbox gives back what it was given
            Push::Full(_) => Push::Queued,
        }
    }

    /// Puts in what there is room for of the messages of a link. `false`: some are left.
    pub(crate) fn push_batch(&mut self, batch: &mut Batch, link: LinkId) -> bool {
        let count = self.mailbox.count_fitting(batch.lens());
        if count > 0 {
            let fitting = batch.split_to(count);
            let bytes = fitting.encoded_len();
            self.mailbox
                .push_many(Item::Batch(fitting, link), bytes, count);
        }
        batch.is_empty()
    }

    /// Takes the first item out; of messages that came together no more than `count_max`.
    pub(crate) fn pop(&mut self, count_max: usize) -> Option<Item> {
        let item = self.mailbox.pop()?;
        Some(match item {
            Item::Batch(mut batch, link) if batch.len() > count_max => {
                let front = batch.split_to(count_max);
                let (bytes, count) = (batch.encoded_len(), batch.len());
                self.mailbox
                    .put_back(Item::Batch(batch, link), bytes, count);
                Item::Batch(front, link)
            }
            item => item,
        })
    }
}

impl PortCell {
    pub(crate) fn new(
        id: PortId,
        limits: Arc<MailboxLimits>,
        behaviour: Box<dyn Behaviour>,
        table: Option<Arc<dyn Any + Send + Sync>>,
        spawned_by: Option<NodeId>,
        starting: bool,
    ) -> Arc<Self> {
        Arc::new(PortCell {
            id,
            spawned_by: spawned_by.map(Box::new),
            urgent: AtomicBool::new(false),
            may_be_broken: AtomicBool::new(false),
            has_new_table: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                mailbox: Mailbox::new(limits),
                behaviour: Some(behaviour),
                table,
                running: false,
                dead: false,
                starting,
                waker: None,
                room: None,
                extras: None,
                next_id: 0,
            }),
        })
    }

    /// Its ID.
    pub fn id(&self) -> &PortId {
        &self.id
    }

    /// Its name on this node.
    pub fn name(&self) -> &PortName {
        self.id.name()
    }

    /// The node that spawned it over a link, if one did.
    pub fn spawned_by(&self) -> Option<&NodeId> {
        self.spawned_by.as_deref()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // nothing of the user's runs under this lock; were it poisoned, the data would still be whole
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is dead.
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent.load(Ordering::Acquire)
    }

    /// The runner must look at `kill`, `stop` and `dead`; set under the lock that guards them.
    pub(crate) fn set_urgent(&self) {
        self.urgent.store(true, Ordering::Release);
    }

    /// It has looked; set under the lock.
    pub(crate) fn clear_urgent(&self) {
        self.urgent.store(false, Ordering::Release);
    }

    /// Drops everything of that link from now on until [`Self::mend`]. `false`: it does already.
    pub(crate) fn break_link(&self, link: LinkId, alive: impl Fn(LinkId) -> bool) -> bool {
        let mut inner = self.lock();
        if inner.dead || inner.is_broken(link) {
            return false;
        }
        let is_idle = inner.mailbox.is_empty();
        let broken = &mut inner.more().broken;
        // marks of links that are gone are of no use when nothing of theirs waits; few, so just keep the list short
        if broken.len() >= 16 && is_idle {
            broken.retain(|&(link, _)| alive(link));
        }
        broken.push((link, false));
        self.may_be_broken.store(true, Ordering::Release);
        true
    }

    /// The loss was acknowledged.
    pub(crate) fn mend(&self, link: LinkId) {
        let mut inner = self.lock();
        let Some(more) = inner.extras() else { return };
        more.broken.retain(|&(broken, _)| broken != link);
        self.may_be_broken
            .store(!more.broken.is_empty(), Ordering::Release);
    }

    /// Whether messages of that link are dropped. Only the port's own task changes it.
    pub(crate) fn is_broken(&self, link: LinkId) -> bool {
        self.may_be_broken.load(Ordering::Acquire) && self.lock().is_broken(link)
    }

    /// Its init function has ended well.
    pub fn started(&self) {
        self.lock().starting = false;
    }

    /// How many messages wait, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.mailbox.count(), inner.mailbox.bytes())
    }

    /// Ties a value to the port's life: it is dropped when the port dies, or now if it is dead (M8).
    /// The number takes it back by [`Self::untie`].
    pub fn tie(&self, value: Box<dyn Any + Send>) -> Option<u64> {
        let mut inner = self.lock();
        if inner.dead {
            drop(inner);
            drop(value);
            return None;
        }
        let id = inner.next_id;
        inner.next_id += 1;
        inner.more().ties.insert(id, value);
        Some(id)
    }

    /// Takes a value back that was tied to the port's life.
    pub fn untie(&self, id: u64) -> Option<Box<dyn Any + Send>> {
        self.lock().extras()?.ties.remove(&id)
    }

    /// The handlers, for whoever knows their type.
    pub fn table(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.lock().table.clone()
    }

    /// Whether whoever has looked a handler up has to look again.
    pub(crate) fn has_new_table(&self) -> bool {
        self.has_new_table.load(Ordering::Acquire)
    }

    /// The handlers were changed.
    pub(crate) fn note_new_table(&self) {
        self.has_new_table.store(true, Ordering::Release);
    }

    /// The handlers, if they were replaced since they were last taken here, for the behaviour that knows their type.
    pub fn new_table<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        if !self.has_new_table.load(Ordering::Acquire) {
            return None;
        }
        let inner = self.lock();
        let table = inner.table.clone()?.downcast().ok()?;
        self.has_new_table.store(false, Ordering::Release);
        Some(table)
    }

    /// Puts what `change` makes of the handlers in their place; it runs under the port's lock. The behaviour takes them
    /// before the next message. Here are those from before; `None`: nothing changed, or the port is dead.
    pub fn replace_table(
        &self,
        change: impl FnOnce(&Arc<dyn Any + Send + Sync>) -> Option<Arc<dyn Any + Send + Sync>>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        let mut inner = self.lock();
        let table = change(inner.table.as_ref()?)?;
        let old = inner.table.replace(table);
        self.has_new_table.store(true, Ordering::Release);
        old
    }

    /// From inside the port's init function: what handles everything from when that function returns.
    /// `false`: the port is dead.
    pub fn succeed(
        &self,
        behaviour: Box<dyn Behaviour>,
        table: Arc<dyn Any + Send + Sync>,
        limits: Option<MailboxLimits>,
    ) -> bool {
        let mut inner = self.lock();
        if inner.dead {
            return false;
        }
        let old = (
            inner.more().successor.replace(behaviour),
            inner.table.replace(table),
        );
        if let Some(limits) = limits {
            inner.mailbox.set_limits(limits);
        }
        self.set_urgent();
        drop(inner);
        drop(old);
        true
    }
}

impl fmt::Debug for PortCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PortCell").field(&self.id).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_port_has_is_small() {
        // with the names in it
        assert!(size_of::<PortCell>() <= 216, "{}", size_of::<PortCell>());
    }
}
