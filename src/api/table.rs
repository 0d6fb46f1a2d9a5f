//! The handlers of a port, which change while it lives, and the behaviour that uses them.

use std::{
    any::Any,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::{context::Context, handler::Erased, inner::NodeInner, node::Node};
use crate::{
    proto::message::Message,
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
    fn call<'a>(&self, _: &'a mut S, cx: &'a Context, message: Message) -> Step<'a> {
        // a leaked `()` takes no memory
        self.0.call(Box::leak(Box::new(())), cx, message)
    }
}

/// The handlers, shared by the behaviour and by who changes them.
pub(crate) struct Table<S>(Mutex<Handlers<S>>);

impl<S> Table<S> {
    pub(crate) fn new(handlers: Handlers<S>) -> Arc<Self> {
        Arc::new(Table(Mutex::new(handlers)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Handlers<S>> {
        // no handler runs under it
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

impl<S: Send + 'static> Behaviour for Equipped<S> {
    fn handle<'a>(&'a mut self, port: &'a Arc<PortCell>, incoming: Incoming) -> Step<'a> {
        if self.context.is_none() {
            self.context = self
                .node
                .upgrade()
                .map(|node| Context::new(Node::from_inner(node), port.clone()));
        }
        let Some(cx) = &mut self.context else {
            return Step::Done(Err(Fault::Die("the node is gone".into())));
        };
        match (&incoming, &self.origin) {
            (Incoming::Work(_), _) => cx.origin = Origin::Local,
            (Incoming::Message(_), origin) if cx.origin != *origin => cx.origin = origin.clone(),
            _ => {}
        }
        let cx = &*cx;
        match incoming {
            Incoming::Message(message) => {
                let tag = match message.tag(cx.limits()) {
                    Ok(tag) => tag,
                    Err(e) => {
                        return bad(&self.table, Err(Fault::BadMessage(e.to_string())));
                    }
                };
                let handler = self.table.lock().get(tag.as_deref());
                drop(tag);
                match handler {
                    Some(handler) => match handler.call(&mut self.state, cx, message) {
                        Step::Done(result) => bad(&self.table, result),
                        later @ Step::Later(_) => later,
                    },
                    None if self.table.lock().ignore_unhandled => {
                        tracing::trace!(port = %port.id(), %message, "unhandled message ignored");
                        Step::Done(Ok(()))
                    }
                    None => Step::Done(Err(unhandled(&message, cx.limits()))),
                }
            }
            Incoming::Work(work) => match work.downcast::<PlainWork>() {
                Ok(work) => Step::Later((work.0)(cx)),
                Err(work) => match work.downcast::<StateWork<S>>() {
                    Ok(work) => (work.0)(&mut self.state, cx),
                    Err(_) => Step::Done(Err(Fault::Die(
                        "work for a port with another type of state".into(),
                    ))),
                },
            },
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
