//! The behaviour of a port: a state, and handlers that work on it.

use std::sync::{Arc, Weak};

use super::{
    context::Context,
    handler::Erased,
    handlers::{Found, Table},
    inner::NodeInner,
    more::More,
    node::Node,
};
use crate::{
    proto::message::{Batch, Message},
    runtime::{
        behaviour::{Behaviour, Fault, Incoming, Origin, Step, unhandled},
        port::PortCell,
        transport::BoxFuture,
    },
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
    work: Option<Box<AtWork<S>>>,
}

struct AtWork<S> {
    context: Context,
    /// Where messages come from. The context says another while it is no message that is handled.
    origin: Origin,
    /// The handler at work, where only this port has it: it may be replaced meanwhile.
    handler: Option<Arc<dyn Erased<S>>>,
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
fn at_work<'a, S>(
    work: &'a mut Option<Box<AtWork<S>>>,
    node: &Weak<NodeInner>,
    port: &Arc<PortCell>,
) -> Option<&'a mut AtWork<S>> {
    if work.is_none() {
        let node = Node::from_inner(node.upgrade()?);
        *work = Some(Box::new(AtWork {
            context: Context::new(node, port.clone()),
            origin: Origin::Local,
            handler: None,
        }));
    }
    work.as_deref_mut()
}

impl<S: Send + 'static> Equipped<S> {
    /// Hands a message to its handler, and those behind it that are for the same one.
    fn take<'a>(
        &'a mut self,
        port: &'a Arc<PortCell>,
        message: Message,
        batch: Option<&'a mut Batch>,
    ) -> Step<'a> {
        if let Some(table) = port.new_table() {
            self.table = table;
        }
        let Equipped {
            state,
            table,
            node,
            work,
        } = self;
        let Some(AtWork {
            context,
            origin,
            handler,
        }) = at_work(work, node, port)
        else {
            return Step::Done(Err(node_gone()));
        };
        if context.origin != *origin {
            context.origin = origin.clone();
        }
        let (cx, table) = (&*context, &**table);
        let tag = match message.tag(cx.limits()) {
            Ok(tag) => tag,
            Err(e) => return bad(table, Err(Fault::BadMessage(e.to_string()))),
        };
        let found = match table.get(tag.as_deref()) {
            Some(Found::Shared(found)) => Some(found),
            Some(Found::Own(own)) => Some(&**handler.insert(own)),
            None => None,
        };
        let Some(found) = found else {
            drop(tag);
            if table.ignores_unhandled() {
                tracing::trace!(port = %port.id(), %message, "unhandled message ignored");
                return Step::Done(Ok(()));
            }
            return Step::Done(Err(unhandled(&message, cx.limits())));
        };
        let more = More::new(tag.as_deref(), batch, port, table);
        drop(tag);
        match found.call(state, cx, message, more) {
            Step::Done(result) => bad(table, result),
            later @ Step::Later(_) => later,
        }
    }
}

fn node_gone() -> Fault {
    Fault::Die("the node is gone".into())
}

impl<S: Send + 'static> Behaviour for Equipped<S> {
    fn handle<'a>(&'a mut self, port: &'a Arc<PortCell>, incoming: Incoming) -> Step<'a> {
        let work = match incoming {
            Incoming::Message(message) => return self.take(port, message, None),
            Incoming::Work(work) => work,
        };
        let Some(AtWork { context, .. }) = at_work(&mut self.work, &self.node, port) else {
            return Step::Done(Err(node_gone()));
        };
        context.origin = Origin::Local;
        let cx = &*context;
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
        match batch.next() {
            Some(message) => self.take(port, message, Some(batch)),
            None => Step::Done(Ok(())),
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
