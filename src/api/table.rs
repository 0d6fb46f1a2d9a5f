//! The behaviour of a port: a state, and handlers that work on it.

use std::sync::{Arc, Weak};

use super::{context::Context, handlers::Table, inner::NodeInner, node::Node};
use crate::runtime::{
    behaviour::{Behaviour, Fault, Incoming, Origin, Step, unhandled},
    port::PortCell,
    transport::BoxFuture,
};

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
    /// `None` while nothing is to be done: a port that rests is small.
    work: Option<Box<AtWork>>,
}

struct AtWork {
    context: Context,
    /// Where messages come from. The context says another while it is no message that is handled.
    origin: Origin,
}

impl<S: Send + 'static> Equipped<S> {
    pub(crate) fn new(state: S, table: Arc<Table<S>>, node: Weak<NodeInner>) -> Self {
        Equipped {
            state,
            table,
            node,
            work: None,
        }
    }
}

/// What is needed at work, made if it is not there. `None`: the node is gone.
fn at_work<'a>(
    work: &'a mut Option<Box<AtWork>>,
    node: &Weak<NodeInner>,
    port: &Arc<PortCell>,
) -> Option<&'a mut AtWork> {
    if work.is_none() {
        let node = Node::from_inner(node.upgrade()?);
        *work = Some(Box::new(AtWork {
            context: Context::new(node, port.clone()),
            origin: Origin::Local,
        }));
    }
    work.as_deref_mut()
}

impl<S: Send + 'static> Behaviour for Equipped<S> {
    fn handle<'a>(&'a mut self, port: &'a Arc<PortCell>, incoming: Incoming) -> Step<'a> {
        if let Some(table) = port.new_table() {
            self.table = table;
        }
        let Some(AtWork { context, origin }) = at_work(&mut self.work, &self.node, port) else {
            return Step::Done(Err(Fault::Die("the node is gone".into())));
        };
        match &incoming {
            Incoming::Work(_) => context.origin = Origin::Local,
            Incoming::Message(_) if context.origin != *origin => context.origin = origin.clone(),
            Incoming::Message(_) => {}
        }
        let cx = &*context;
        match incoming {
            Incoming::Message(message) => {
                let tag = match message.tag(cx.limits()) {
                    Ok(tag) => tag,
                    Err(e) => {
                        return bad(&self.table, Err(Fault::BadMessage(e.to_string())));
                    }
                };
                let handler = self.table.get(tag.as_deref());
                drop(tag);
                match handler {
                    Some(handler) => match handler.call(&mut self.state, cx, message) {
                        Step::Done(result) => bad(&self.table, result),
                        later @ Step::Later(_) => later,
                    },
                    None if self.table.ignores_unhandled() => {
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

    fn origin(&mut self, port: &Arc<PortCell>, origin: Origin) {
        if let Some(work) = at_work(&mut self.work, &self.node, port) {
            work.origin = origin;
        }
    }

    fn rest(&mut self) {
        self.work = None;
    }
}

/// A message that is not what its handler asks for: passed on, unless the port ignores them. A handler decodes before
/// it does anything, so that this is known at once.
fn bad<S: 'static>(table: &Table<S>, result: Result<(), Fault>) -> Step<'static> {
    match result {
        Err(Fault::BadMessage(text)) if table.ignores_bad() => {
            tracing::trace!(text, "bad message ignored");
            Step::Done(Ok(()))
        }
        result => Step::Done(result),
    }
}
