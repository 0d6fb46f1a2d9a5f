//! The handlers of a port, which change while it lives, and the behaviour that uses them.

use std::{
    any::Any,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{context::Context, handler::Erased, inner::NodeInner, node::Node};
use crate::{
    proto::message::{Batch, Message},
    runtime::{
        behaviour::{Behaviour, Fault, Incoming, Origin, Step, unhandled},
        port::PortCell,
        transport::BoxFuture,
    },
};

/// Handlers by tag. Most ports have few, so that a sorted list is both small and quick.
pub(crate) struct Handlers<S> {
    tags: Vec<(Box<str>, Arc<dyn Erased<S>>)>,
    pub(crate) other: Option<Arc<dyn Erased<S>>>,
    pub(crate) ignore_unhandled: bool,
    pub(crate) ignore_bad: bool,
}

impl<S> Default for Handlers<S> {
    fn default() -> Self {
        Handlers {
            tags: Vec::new(),
            other: None,
            ignore_unhandled: false,
            ignore_bad: false,
        }
    }
}

impl<S> Handlers<S> {
    fn place(&self, tag: &str) -> Result<usize, usize> {
        self.tags
            .binary_search_by(|(name, _)| name.as_ref().cmp(tag))
    }

    /// Adds or replaces. The old one comes back, to be dropped elsewhere.
    pub(crate) fn set(
        &mut self,
        tag: &str,
        handler: Arc<dyn Erased<S>>,
    ) -> Option<Arc<dyn Erased<S>>> {
        match self.place(tag) {
            Ok(at) => self
                .tags
                .get_mut(at)
                .map(|(_, old)| std::mem::replace(old, handler)),
            Err(at) => {
                self.tags.insert(at, (tag.into(), handler));
                None
            }
        }
    }

    pub(crate) fn unset(&mut self, tag: &str) -> Option<Arc<dyn Erased<S>>> {
        self.place(tag).ok().map(|at| self.tags.remove(at).1)
    }

    fn get(&self, tag: Option<&str>) -> Option<Arc<dyn Erased<S>>> {
        tag.and_then(|tag| self.place(tag).ok())
            .and_then(|at| self.tags.get(at))
            .map(|(_, handler)| handler.clone())
            .or_else(|| self.other.clone())
    }

    pub(crate) fn shrink(&mut self) {
        self.tags.shrink_to_fit();
    }
}

impl Handlers<()> {
    /// The same handlers, for a port with another state, which they do not see.
    pub(crate) fn adapt<S: 'static>(self) -> Handlers<S> {
        let adapt = |handler| Arc::new(Stateless(handler)) as Arc<dyn Erased<S>>;
        Handlers {
            tags: self
                .tags
                .into_iter()
                .map(|(tag, handler)| (tag, adapt(handler)))
                .collect(),
            other: self.other.map(adapt),
            ignore_unhandled: self.ignore_unhandled,
            ignore_bad: self.ignore_bad,
        }
    }
}

struct Stateless(Arc<dyn Erased<()>>);

impl<S> Erased<S> for Stateless {
    fn call<'a>(
        self: Arc<Self>,
        _: &'a mut S,
        cx: &'a Context,
        message: Message,
        more: More<'a>,
    ) -> Step<'a> {
        // a leaked `()` takes no memory
        self.0
            .clone()
            .call(Box::leak(Box::new(())), cx, message, more)
    }
}

/// The handlers, shared by the behaviour and by who changes them.
pub(crate) struct Table<S> {
    handlers: Mutex<Handlers<S>>,
    /// Counts the changes, for who has looked a handler up.
    changes: AtomicU32,
}

impl<S> Table<S> {
    pub(crate) fn new(handlers: Handlers<S>) -> Arc<Self> {
        Arc::new(Table {
            handlers: Mutex::new(handlers),
            changes: AtomicU32::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Handlers<S>> {
        // no handler runs under it
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the handlers, from the next message on.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Handlers<S>) -> T) -> T {
        let mut handlers = self.lock();
        self.changes.fetch_add(1, Ordering::Release);
        change(&mut handlers)
    }
}

/// What a [`Table`] is to the messages behind one that is handled.
trait Rules: Sync {
    fn changes(&self) -> u32;
    fn ignore_bad(&self) -> bool;
}

impl<S> Rules for Table<S> {
    fn changes(&self) -> u32 {
        self.changes.load(Ordering::Acquire)
    }
    fn ignore_bad(&self) -> bool {
        self.lock().ignore_bad
    }
}

/// The messages that came with one and go to the same handler, so that it need not be looked up, nor room be made for its
/// future, once a message.
pub(crate) struct More<'a>(Option<Run<'a>>);

struct Run<'a> {
    batch: &'a mut Batch,
    tag: Box<str>,
    port: &'a PortCell,
    rules: &'a dyn Rules,
    changes: u32,
}

impl More<'_> {
    /// The next of them. None as well where something else comes first: a kill, other handlers.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let run = self.0.as_mut()?;
        if run.port.is_urgent() || run.rules.changes() != run.changes {
            return None;
        }
        run.batch.next_if_tagged(&run.tag)
    }

    /// What is to be done about a message that is not what its handler asks for: nothing, where the port ignores them.
    pub(crate) fn bad(&self, fault: Fault) -> Result<(), Fault> {
        match (&self.0, fault) {
            (Some(run), Fault::BadMessage(text)) if run.rules.ignore_bad() => {
                tracing::trace!(text, "bad message ignored");
                Ok(())
            }
            (_, fault) => Err(fault),
        }
    }
}

type WithState<S> = dyn for<'a> FnOnce(&'a mut S, &'a Context) -> Step<'a> + Send;
type WithoutState = dyn FnOnce(&Context) -> BoxFuture<'static, Result<(), Fault>> + Send;

/// Work that needs the port's state.
pub(crate) struct StateWork<S>(pub(crate) Box<WithState<S>>);

/// Work that does not.
pub(crate) struct PlainWork(pub(crate) Box<WithoutState>);

/// A state, its handlers, and the context they get while there is work.
pub(crate) struct Equipped<S> {
    state: S,
    table: Arc<Table<S>>,
    node: Weak<NodeInner>,
    context: Option<Context>,
    origin: Origin,
}

impl<S: Send + 'static> Equipped<S> {
    pub(crate) fn new(state: S, table: Arc<Table<S>>, node: Weak<NodeInner>) -> Self {
        Equipped {
            state,
            table,
            node,
            context: None,
            origin: Origin::Local,
        }
    }
}

impl<S: Send + 'static> Equipped<S> {
    /// Makes the context where there is none.
    fn enter(&mut self, port: &Arc<PortCell>) {
        if self.context.is_none() {
            let node = self.node.upgrade();
            self.context = node.map(|node| Context::new(Node::from_inner(node), port.clone()));
        }
    }

    /// Hands a message to its handler, and those behind it that are for the same one.
    fn take<'a>(
        &'a mut self,
        port: &'a PortCell,
        message: Message,
        batch: Option<&'a mut Batch>,
    ) -> Step<'a> {
        let Some(cx) = &mut self.context else {
            return Step::Done(Err(node_gone()));
        };
        if cx.origin != self.origin {
            cx.origin = self.origin.clone();
        }
        let cx = &*cx;
        let table = &*self.table;
        let tag = match message.tag(cx.limits()) {
            Ok(tag) => tag,
            Err(e) => return bad(table, Err(Fault::BadMessage(e.to_string()))),
        };
        // before the look, so that a change that comes right after is seen
        let changes = table.changes();
        let handler = table.lock().get(tag.as_deref());
        let run = match (&tag, batch) {
            (Some(tag), Some(batch)) if !batch.is_empty() => Some(Run {
                tag: tag.as_ref().into(),
                batch,
                port,
                rules: table,
                changes,
            }),
            _ => None,
        };
        drop(tag);
        match handler {
            Some(handler) => match handler.call(&mut self.state, cx, message, More(run)) {
                Step::Done(result) => bad(table, result),
                later @ Step::Later(_) => later,
            },
            None if table.lock().ignore_unhandled => {
                tracing::trace!(port = %port.id(), %message, "unhandled message ignored");
                Step::Done(Ok(()))
            }
            None => Step::Done(Err(unhandled(&message, cx.limits()))),
        }
    }
}

fn node_gone() -> Fault {
    Fault::Die("the node is gone".into())
}

impl<S: Send + 'static> Behaviour for Equipped<S> {
    fn handle<'a>(&'a mut self, port: &'a Arc<PortCell>, incoming: Incoming) -> Step<'a> {
        self.enter(port);
        let work = match incoming {
            Incoming::Message(message) => return self.take(port, message, None),
            Incoming::Work(work) => work,
        };
        let Some(cx) = &mut self.context else {
            return Step::Done(Err(node_gone()));
        };
        cx.origin = Origin::Local;
        let cx = &*cx;
        match work.downcast::<PlainWork>() {
            Ok(work) => Step::Later((work.0)(cx)),
            Err(work) => match work.downcast::<StateWork<S>>() {
                Ok(work) => (work.0)(&mut self.state, cx),
                Err(_) => Step::Done(Err(Fault::Die(
                    "work for a port with another type of state".into(),
                ))),
            },
        }
    }

    fn handle_batch<'a>(&'a mut self, port: &'a Arc<PortCell>, batch: &'a mut Batch) -> Step<'a> {
        self.enter(port);
        match batch.next() {
            Some(message) => self.take(port, message, Some(batch)),
            None => Step::Done(Ok(())),
        }
    }

    fn origin(&mut self, origin: Origin) {
        self.origin = origin;
    }

    fn rest(&mut self) {
        self.context = None;
    }
}

/// A message that is not what its handler asks for: passed on, unless the port ignores them. A handler decodes before
/// it does anything, so that this is known at once.
fn bad<S>(table: &Table<S>, result: Result<(), Fault>) -> Step<'static> {
    match result {
        Err(Fault::BadMessage(text)) if table.lock().ignore_bad => {
            tracing::trace!(text, "bad message ignored");
            Step::Done(Ok(()))
        }
        result => Step::Done(result),
    }
}

/// The table of a port whose state is an `S`.
pub(crate) fn typed<S: 'static>(table: Arc<dyn Any + Send + Sync>) -> Option<Arc<Table<S>>> {
    table.downcast().ok()
}
