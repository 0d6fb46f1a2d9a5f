//! What a handler knows and can do: its port, its node, and what is tied to the port's life.

use std::{any::Any, fmt, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use super::{
    actor::Actor,
    call::Call,
    error::{RunError, SendError, SpawnError, WrongState},
    handler::{Handler, Outcome, settle},
    message::FromMessage,
    monitor::PortMonitoring,
    node::Node,
    port::{Port, PortBuilder},
    spawn::SpawnTarget,
    table::PlainWork,
    timer::PortAfter,
};
use crate::{
    proto::{
        id::{NodeId, PortId},
        limits::Limits,
        message::{EncodeError, IntoMessage, Reason},
    },
    runtime::{
        behaviour::{Origin, panic_text},
        port::PortCell,
    },
};

/// The port that a handler runs in, and what can be done from there.
///
/// Cheap to clone, to be taken along into a [`task`](Self::task) or a callback. It keeps the node alive, not the port.
#[derive(Clone)]
pub struct Context {
    pub(crate) node: Node,
    pub(crate) cell: Arc<PortCell>,
    pub(crate) origin: Origin,
}

impl Context {
    pub(crate) fn new(node: Node, cell: Arc<PortCell>) -> Self {
        Context {
            node,
            cell,
            origin: Origin::Local,
        }
    }

    /// This port.
    pub fn id(&self) -> &PortId {
        self.cell.id()
    }

    /// The node it lives on.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The bounds of the node.
    pub fn limits(&self) -> &Limits {
        self.node.registry().limits()
    }

    /// The node that sent the message being handled, as its link proved it: this node's own ID for what came from here,
    /// also for work and timers. `None` only where the link is long gone.
    pub fn sender_node(&self) -> Option<&NodeId> {
        match &self.origin {
            Origin::Local => Some(self.node.id()),
            Origin::Link(_, node) => node.as_ref(),
        }
    }

    /// The node that spawned this port from afar, as its link proved it. `None`: it was made on this node.
    pub fn spawned_by(&self) -> Option<&NodeId> {
        self.cell.spawned_by()
    }

    /// [`Node::send`].
    ///
    /// # Errors
    /// See [`SendError`].
    #[doc(alias = "snd")]
    pub fn send(&self, to: &PortId, message: impl IntoMessage) -> Result<(), SendError> {
        self.node.send(to, message)
    }

    /// [`Node::send_wait`]. The port handles nothing else meanwhile; waiting for room in its own mailbox is waiting for ever.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_wait(
        &self,
        to: &PortId,
        message: impl IntoMessage + Send,
    ) -> Result<(), SendError> {
        self.node.send_wait(to, message).await
    }

    /// [`Node::call`]. The port handles nothing else while the call is awaited; [`task`](Self::task) is the way around.
    #[doc(alias = "cal")]
    pub fn call<T: FromMessage>(&self, to: &PortId, message: impl IntoMessage) -> Call<T> {
        self.node.call(to, message)
    }

    /// Watches a port's death, as long as this port lives.
    ///
    /// ```
    /// # use portmesh::{Context, PortId};
    /// # fn handler(cx: &Context, peer: &PortId) {
    /// cx.monitor(peer).kill_self(); // if the peer dies abnormally, so does this port
    /// # }
    /// ```
    #[doc(alias = "mon")]
    pub fn monitor(&self, port: &PortId) -> PortMonitoring<'_> {
        PortMonitoring::new(self, port.clone())
    }

    /// [`Node::kill`]; for this port itself: [`stop_with`](Self::stop_with).
    ///
    /// # Errors
    /// The reason cannot be encoded; nothing happened.
    #[doc(alias = "kil")]
    pub fn kill(&self, port: &PortId, reason: impl IntoMessage) -> Result<(), EncodeError> {
        if port == self.id() {
            self.stop_with(reason)
        } else {
            self.node.kill(port, reason)
        }
    }

    /// The port dies normally when the running handler returns; what waits in its mailbox is lost (M4).
    pub fn stop(&self) {
        self.node.registry().stop(&self.cell, Reason::normal());
    }

    /// Likewise, with a reason.
    ///
    /// # Errors
    /// The reason cannot be encoded; nothing happened.
    pub fn stop_with(&self, reason: impl IntoMessage) -> Result<(), EncodeError> {
        let reason = self.node.reason(reason)?;
        self.node.registry().stop(&self.cell, reason);
        Ok(())
    }

    /// [`Node::spawn`].
    ///
    /// # Errors
    /// See [`SpawnError`].
    pub fn spawn(
        &self,
        on: impl SpawnTarget,
        function: &str,
        args: impl IntoMessage,
    ) -> Result<PortId, SpawnError> {
        self.node.spawn(on, function, args)
    }

    /// Something to happen later, if this port still lives then.
    pub fn after(&self, delay: Duration) -> PortAfter<'_> {
        PortAfter::new(self, delay)
    }

    /// Runs a future in the port's context, one at a time with its handlers, behind what waits in its mailbox. An error
    /// or a panic kills the port (P5). For work that needs the port's state there is [`Port::run`].
    ///
    /// # Errors
    /// The mailbox is full or the port dead; the future was dropped.
    #[doc(alias = "peval")]
    #[doc(alias = "psub")]
    pub fn run<F>(&self, future: F) -> Result<(), RunError>
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let work = PlainWork(Box::new(|_| Box::pin(async move { settle(future.await) })));
        self.node.work(&self.cell, Box::new(work), false)
    }

    /// Runs a future beside the handlers, for as long as the port lives: it is dropped when the port dies, and an error
    /// or a panic in it kills the port (P5).
    pub fn task<F>(&self, future: F)
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let (cell, node) = (Arc::downgrade(&self.cell), self.node.downgrade());
        let (tied, tie) = tokio::sync::oneshot::channel::<Option<u64>>();
        let task = self.node.registry().runtime().spawn(async move {
            let Ok(Some(tie)) = tie.await else { return };
            let result = CatchUnwind(Box::pin(async move { settle(future.await) })).await;
            let Some(cell) = cell.upgrade() else { return };
            if let (Err(reason), Some(node)) = (result, node.upgrade()) {
                node.registry().die(&cell, reason);
            }
            cell.untie(tie);
        });
        let _ = tied.send(self.cell.tie(Box::new(AbortOnDrop(task.abort_handle()))));
    }

    /// Ties a value to the port's life: it is dropped when the port dies (M8).
    #[doc(alias = "mon_guard")]
    pub fn guard(&self, value: impl Any + Send) {
        self.cell.tie(Box::new(value));
    }

    /// Adds or replaces the handler for a tag, from the next message on. Nothing happens where the port is dead.
    ///
    /// # Errors
    /// The port's state is not an `S`.
    #[doc(alias = "rcv")]
    pub fn set<S, A, F>(&self, tag: impl ToString, handler: F) -> Result<(), WrongState>
    where
        S: Send + 'static,
        A: FromMessage + Send + 'static,
        F: for<'a> Handler<'a, S, A> + Send + Sync + 'static,
    {
        self.handle::<S>()?.set(tag, handler);
        Ok(())
    }

    /// Removes the handler for a tag. `false`: there was none.
    ///
    /// # Errors
    /// The port's state is not an `S`.
    pub fn unset<S: Send + 'static>(&self, tag: impl ToString) -> Result<bool, WrongState> {
        Ok(self.handle::<S>()?.unset(tag))
    }

    /// A handle on this port by the type of its state: to change its handlers and to run work in its context.
    ///
    /// # Errors
    /// The port's state is not an `S`, or the port is dead.
    pub fn handle<S: Send + 'static>(&self) -> Result<Port<S>, WrongState> {
        Port::of(self.node.clone(), self.cell.clone())
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Context").field(self.id()).finish()
    }
}

/// The context of an init function, which can equip the new port.
///
/// ```
/// use portmesh::{Context, Init, Node};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let node = Node::builder("n")
///     .spawnable("counter", async |cx: &Init, (start,): (u64,)| {
///         cx.port()
///             .state(start)
///             .on("next", async |n: &mut u64, cx: &Context, reply: portmesh::PortId| {
///                 *n += 1;
///                 cx.send(&reply, *n)
///             })
///             .open();
///     })
///     .start()
///     .await?;
/// let counter = node.spawn(node.id(), "counter", (41,))?;
/// assert_eq!(node.call::<u64>(&counter, "next").await?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Init {
    cx: Context,
}

impl Init {
    pub(crate) fn new(cx: Context) -> Self {
        Init { cx }
    }

    /// Equips the new port: with a state, with handlers. What it was sent meanwhile comes to them when the init function
    /// has returned (S1).
    pub fn port(&self) -> PortBuilder<()> {
        PortBuilder::equip(self.cx.node.clone(), self.cx.cell.clone())
    }

    /// Makes the new port that actor.
    pub fn actor<T: Actor>(&self, actor: T) -> PortBuilder<T> {
        super::actor::equip(self.port(), actor)
    }
}

impl std::ops::Deref for Init {
    type Target = Context;
    fn deref(&self) -> &Context {
        &self.cx
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The future's result as a reason to die.
struct CatchUnwind(
    crate::runtime::transport::BoxFuture<'static, Result<(), crate::runtime::behaviour::Fault>>,
);

impl Future for CatchUnwind {
    type Output = Result<(), Reason>;
    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx)));
        match polled {
            Ok(poll) => poll.map(|result| result.map_err(|fault| fault.reason())),
            Err(payload) => std::task::Poll::Ready(Err(Reason::die(panic_text(&*payload)))),
        }
    }
}
