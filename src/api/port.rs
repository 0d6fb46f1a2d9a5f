//! Ports: how they are made, and the handle on a living one.

use std::{any::Any, fmt, future::Future, marker::PhantomData, sync::Arc};

use super::{
    context::Context,
    error::{RunError, WrongState},
    handler::{
        Args, AsyncHandler, Erased, Handler, OnDeath, Outcome, SyncHandler, Whole, Work, settle,
    },
    handlers::{Handlers, Table},
    message::FromMessage,
    node::Node,
    table::{Equipped, StateWork},
};
use crate::{
    proto::{
        id::PortId,
        message::{EncodeError, IntoMessage, Reason},
        ports::mailbox::{MailboxLimits, Overflow},
    },
    runtime::{behaviour::Step, port::PortCell},
};

/// Makes a port: [`Node::port`]. Nothing exists before [`open`](Self::open).
///
/// `S` is what the handlers get as `&mut S`: the port's own state, given by [`state`](PortBuilder::state), `()` without.
#[must_use = "there is no port before `.open()`"]
pub struct PortBuilder<S> {
    node: Node,
    place: Place,
    state: S,
    handlers: Handlers<S>,
    mailbox: Option<MailboxLimits>,
    guards: Vec<Box<dyn Any + Send>>,
}

enum Place {
    /// A new port, of that name where one is given.
    New(Option<PortId>),
    /// The port whose init function is running.
    This(Arc<PortCell>),
}

impl PortBuilder<()> {
    pub(crate) fn new(node: Node, id: Option<PortId>) -> Self {
        Self::at(node, Place::New(id))
    }

    pub(crate) fn equip(node: Node, cell: Arc<PortCell>) -> Self {
        Self::at(node, Place::This(cell))
    }

    fn at(node: Node, place: Place) -> Self {
        PortBuilder {
            node,
            place,
            state: (),
            handlers: Handlers::default(),
            mailbox: None,
            guards: Vec::new(),
        }
    }

    /// The state that the port owns and its handlers work on. (Handlers given before go on with none.)
    pub fn state<S: Send + 'static>(self, state: S) -> PortBuilder<S> {
        PortBuilder {
            node: self.node,
            place: self.place,
            state,
            handlers: self.handlers.adapt(),
            mailbox: self.mailbox,
            guards: self.guards,
        }
    }
}

impl<S: Send + 'static> PortBuilder<S> {
    /// What handles messages with that tag. The tag may be any text, also a port ID; `A` takes what follows the tag.
    ///
    /// Handlers are `async fn`s or async closures that capture nothing; a later one for the same tag replaces the
    /// former. A message that `A` cannot take kills the port with `["bad_message", …]` (P4), an error or a panic with
    /// `["die", text]` (P5).
    ///
    /// ```
    /// # use portmesh::{Context, Node, PortId};
    /// # fn ports(node: &Node) {
    /// #[derive(Default)]
    /// struct Pinger { seen: u64 }
    ///
    /// async fn reset(s: &mut Pinger, _cx: &Context, (): ()) {
    ///     s.seen = 0;
    /// }
    ///
    /// let port = node.port().state(Pinger::default())
    ///     .on("ping", async |s: &mut Pinger, cx: &Context, (n, reply): (u64, PortId)| {
    ///         s.seen += 1;
    ///         cx.send(&reply, ("pong", n))
    ///     })
    ///     .on("reset", reset)
    ///     .open();
    /// # }
    /// ```
    #[doc(alias = "rcv")]
    pub fn on<A, F>(mut self, tag: impl ToString, handler: F) -> Self
    where
        A: FromMessage + Send + 'static,
        F: for<'a> Handler<'a, S, A> + Send + Sync + 'static,
    {
        self.handlers.set(&tag.to_string(), on(handler));
        self
    }

    /// Likewise, with a function that does not await and may capture.
    ///
    /// ```
    /// # use portmesh::{Context, Node, PortId};
    /// # fn ports(node: &Node, log: std::sync::mpsc::Sender<String>) {
    /// let port = node.port()
    ///     .on_fn("line", move |_: &mut (), _: &Context, line: String| {
    ///         let _ = log.send(line);
    ///     })
    ///     .open();
    /// # }
    /// ```
    pub fn on_fn<A, O, F>(mut self, tag: impl ToString, handler: F) -> Self
    where
        A: FromMessage + 'static,
        O: Outcome + 'static,
        F: FnMut(&mut S, &Context, A) -> O + Send + 'static,
    {
        self.handlers.set(&tag.to_string(), on_fn(handler));
        self
    }

    /// What handles messages for whose tag there is no handler. `A` takes the whole message;
    /// [`Message`](crate::Message) takes any, undecoded.
    pub fn on_other<A, F>(mut self, handler: F) -> Self
    where
        A: FromMessage + Send + 'static,
        F: for<'a> Handler<'a, S, A> + Send + Sync + 'static,
    {
        self.handlers.other = Some(Arc::new(AsyncHandler::<F, A, Whole>::new(handler)));
        self
    }

    /// Likewise, with a function that does not await and may capture.
    pub fn on_other_fn<A, O, F>(mut self, handler: F) -> Self
    where
        A: FromMessage + 'static,
        O: Outcome + 'static,
        F: FnMut(&mut S, &Context, A) -> O + Send + 'static,
    {
        self.handlers.other = Some(Arc::new(SyncHandler::<F, A, O, Whole>::new(handler)));
        self
    }

    pub(crate) fn other(mut self, handler: Arc<dyn Erased<S>>) -> Self {
        self.handlers.other = Some(handler);
        self
    }

    /// Messages that no handler matches are dropped, instead of killing the port (P4).
    pub fn ignore_unhandled(mut self) -> Self {
        self.handlers.ignore_unhandled = true;
        self
    }

    /// Messages that their handler cannot take are dropped, instead of killing the port (P4).
    pub fn ignore_bad(mut self) -> Self {
        self.handlers.ignore_bad = true;
        self
    }

    fn mailbox_mut(&mut self) -> &mut MailboxLimits {
        let default = self.node.registry().mailbox_limits();
        self.mailbox.get_or_insert_with(|| **default)
    }

    /// How many messages may wait, and how many bytes (P8). A message over the bytes passes when nothing else waits.
    /// Default: [`Limits::mailbox_count_max`](crate::Limits::mailbox_count_max), and `mailbox_bytes_max`.
    pub fn mailbox(mut self, count_max: usize, bytes_max: usize) -> Self {
        let limits = self.mailbox_mut();
        limits.count_max = count_max.max(1);
        limits.bytes_max = bytes_max.max(1);
        self
    }

    /// What a full mailbox does: push back on the senders (the default), or kill the port (P8).
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.mailbox_mut().overflow = overflow;
        self
    }

    /// Ties a value to the port's life: it is dropped when the port dies (M8).
    #[doc(alias = "mon_guard")]
    pub fn guard(mut self, value: impl Any + Send) -> Self {
        self.guards.push(Box::new(value));
        self
    }

    /// Makes the port. It lives until it is killed, fails, or its node stops: the [`Port`] that is returned is a handle,
    /// and dropping that changes nothing.
    ///
    /// (In an init function: the new port has these handlers from when that function returns. On a node that is shut
    /// down, the port is dead.)
    #[doc(alias = "port")]
    pub fn open(self) -> Port<S> {
        let table = self.node.inner().tables.table(self.handlers);
        let weak = self.node.downgrade();
        let behaviour = Box::new(Equipped::new(self.state, table.clone(), weak));
        let registry = self.node.registry();
        let cell = match self.place {
            Place::New(id) => {
                let id = id.unwrap_or_else(|| registry.next_id());
                match registry.open(id, self.mailbox, behaviour, Some(table)) {
                    Ok(cell) | Err(cell) => cell,
                }
            }
            Place::This(cell) => {
                cell.succeed(behaviour, table, self.mailbox);
                cell
            }
        };
        for value in self.guards {
            cell.tie(value);
        }
        Port {
            node: self.node,
            cell,
            state: PhantomData,
        }
    }
}

fn on<S, A, F>(handler: F) -> Arc<dyn Erased<S>>
where
    S: Send + 'static,
    A: FromMessage + Send + 'static,
    F: for<'a> Handler<'a, S, A> + Send + Sync + 'static,
{
    Arc::new(AsyncHandler::<F, A, Args>::new(handler))
}

fn on_fn<S, A, O, F>(handler: F) -> Arc<dyn Erased<S>>
where
    S: Send + 'static,
    A: FromMessage + 'static,
    O: Outcome + 'static,
    F: FnMut(&mut S, &Context, A) -> O + Send + 'static,
{
    Arc::new(SyncHandler::<F, A, O, Args>::new(handler))
}

impl<S> fmt::Debug for PortBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortBuilder").finish_non_exhaustive()
    }
}

/// A handle on a port of this node, by the type of its state. Cheap to clone.
///
/// Dropping it does not end the port: a port lives until it is killed, fails, or its node stops. The handle keeps the
/// node alive.
pub struct Port<S> {
    node: Node,
    cell: Arc<PortCell>,
    state: PhantomData<fn(S) -> S>,
}

impl<S> Clone for Port<S> {
    fn clone(&self) -> Self {
        Port {
            node: self.node.clone(),
            cell: self.cell.clone(),
            state: PhantomData,
        }
    }
}

impl<S: Send + 'static> Port<S> {
    pub(crate) fn of(node: Node, cell: Arc<PortCell>) -> Result<Self, WrongState> {
        Table::<S>::of(&cell).ok_or(WrongState {
            expected: std::any::type_name::<S>(),
        })?;
        Ok(Port {
            node,
            cell,
            state: PhantomData,
        })
    }

    /// Its address, to be sent to, printed, and sent along.
    pub fn id(&self) -> &PortId {
        self.cell.id()
    }

    /// The node it lives on.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Whether it lives.
    pub fn is_alive(&self) -> bool {
        !self.cell.is_dead()
    }

    /// Messages that wait in its mailbox.
    pub fn waiting(&self) -> usize {
        self.cell.waiting().0
    }

    fn set_handler(&self, tag: &str, handler: Arc<dyn Erased<S>>) {
        let old = Table::change(&self.cell, |handlers| handlers.set(tag, handler));
        drop(old);
    }

    /// Adds or replaces the handler for a tag, from the next message on (P5). See [`PortBuilder::on`].
    #[doc(alias = "rcv")]
    pub fn set<A, F>(&self, tag: impl ToString, handler: F)
    where
        A: FromMessage + Send + 'static,
        F: for<'a> Handler<'a, S, A> + Send + Sync + 'static,
    {
        self.set_handler(&tag.to_string(), on(handler));
    }

    /// Likewise, with a function that does not await and may capture. See [`PortBuilder::on_fn`].
    pub fn set_fn<A, O, F>(&self, tag: impl ToString, handler: F)
    where
        A: FromMessage + 'static,
        O: Outcome + 'static,
        F: FnMut(&mut S, &Context, A) -> O + Send + 'static,
    {
        self.set_handler(&tag.to_string(), on_fn(handler));
    }

    /// Removes the handler for a tag. `false`: there was none.
    pub fn unset(&self, tag: impl ToString) -> bool {
        let tag = tag.to_string();
        let old = Table::<S>::change(&self.cell, |handlers| handlers.unset(&tag));
        old.flatten().is_some()
    }

    /// Runs work in the port's context: with its state, one at a time with its handlers, behind what waits in its
    /// mailbox. An error or a panic kills the port (P5).
    ///
    /// ```
    /// # use portmesh::{Context, Port};
    /// # fn work(counter: &Port<u64>, by: u64) -> Result<(), portmesh::RunError> {
    /// counter.run(async move |n: &mut u64, _cx: &Context| *n += by)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The mailbox is full or the port dead; the work was dropped.
    #[doc(alias = "peval")]
    #[doc(alias = "psub")]
    pub fn run<F>(&self, work: F) -> Result<(), RunError>
    where
        F: for<'a> Work<'a, S> + Send + 'static,
    {
        self.node.work(&self.cell, state_work::<S, F>(work), false)
    }

    /// Kills the port normally, behind what waits in its mailbox, within [`kill_wait`](crate::Limits::kill_wait) (M1, M4).
    #[doc(alias = "kil")]
    pub fn kill(&self) {
        self.node
            .registry()
            .kill(self.cell.name(), Reason::normal());
    }

    /// Likewise, with a reason.
    ///
    /// # Errors
    /// The reason cannot be encoded; nothing happened.
    pub fn kill_with(&self, reason: impl IntoMessage) -> Result<(), EncodeError> {
        let reason = self.node.reason(reason)?;
        self.node.registry().kill(self.cell.name(), reason);
        Ok(())
    }

    /// Ties a value to the port's life: it is dropped when the port dies, or now if it is dead (M8).
    #[doc(alias = "mon_guard")]
    pub fn guard(&self, value: impl Any + Send) {
        self.cell.tie(Box::new(value));
    }
}

pub(crate) fn state_work<S, F>(work: F) -> Box<dyn Any + Send>
where
    S: Send + 'static,
    F: for<'a> Work<'a, S> + Send + 'static,
{
    Box::new(StateWork::<S>(Box::new(move |state, cx| {
        later(work(state, cx))
    })))
}

pub(crate) fn death_work<S, F>(work: F, reason: Reason) -> Box<dyn Any + Send>
where
    S: Send + 'static,
    F: for<'a> OnDeath<'a, S> + Send + 'static,
{
    Box::new(StateWork::<S>(Box::new(move |state, cx| {
        later(work(state, cx, reason))
    })))
}

fn later<'a, F, O>(future: F) -> Step<'a>
where
    F: Future<Output = O> + Send + 'a,
    O: Outcome,
{
    Step::Later(Box::pin(async move { settle(future.await) }))
}

impl<S> fmt::Debug for Port<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Port").field(self.cell.id()).finish()
    }
}

impl<S> From<&Port<S>> for PortId {
    fn from(port: &Port<S>) -> Self {
        port.cell.id().clone()
    }
}
