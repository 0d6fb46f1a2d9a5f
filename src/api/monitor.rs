//! Monitors: what happens when a port dies (M2, M3).

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Poll, ready},
};

use tokio::sync::oneshot;

use super::{
    context::Context,
    handler::OnDeath,
    inner::NodeInner,
    node::{Node, Registration},
    port::death_work,
    tied::Tied,
};
use crate::{
    proto::{
        id::PortId,
        limits::Limits,
        message::{EncodeError, IntoMessage, Message, Reason},
        value::Value,
    },
    runtime::Watch,
};

type Action = Box<dyn FnOnce(&Reason) + Send>;

/// What a monitor does, until it has fired or was cancelled: whoever takes it out decides which.
type Slot = Arc<Mutex<Option<Action>>>;

fn take(slot: &Slot) -> Option<Action> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn slot(action: Action) -> (Slot, Watch) {
    let slot = Arc::new(Mutex::new(Some(action)));
    let fired = slot.clone();
    let watch = Box::new(move |reason: &Reason| {
        if let Some(action) = take(&fired) {
            action(reason);
        }
    });
    (slot, watch)
}

/// A monitor in the making: [`Node::monitor`]. Say what is to happen, or await it.
///
/// ```
/// # use portmesh::{Node, PortId};
/// # async fn watch(node: &Node, peer: &PortId, log: &PortId) -> Result<(), Box<dyn std::error::Error>> {
/// let guard = node.monitor(peer).call(|reason| eprintln!("it died: {reason}"));
/// let other = node.monitor(peer).send(log, ("died", peer))?; // the reason's values are appended
/// other.detach();
/// let reason = node.monitor(peer).await;
/// # Ok(()) }
/// ```
#[must_use = "say what is to happen: `.call(…)`, `.send(…)`, `.kill(…)`, or `.await` it"]
#[derive(Debug)]
pub struct Monitoring<'a> {
    node: &'a Node,
    port: PortId,
}

impl<'a> Monitoring<'a> {
    pub(crate) fn new(node: &'a Node, port: PortId) -> Self {
        Monitoring { node, port }
    }

    fn watch(self, action: Action) -> Monitor {
        Monitor {
            end: Some(End::new(self.node, &self.port, action)),
        }
    }

    /// Calls it with the reason. Inline, on whatever thread found the death: it must not block (M6). Where the port is
    /// not there it may be called before this returns.
    pub fn call(self, callback: impl FnOnce(&Reason) + Send + 'static) -> Monitor {
        self.watch(Box::new(callback))
    }

    /// Sends a message, with the reason's values appended. To a port of this node it goes even where the mailbox is full.
    ///
    /// # Errors
    /// The message cannot be encoded; there is no monitor.
    pub fn send(self, to: &PortId, message: impl IntoMessage) -> Result<Monitor, EncodeError> {
        let limits = self.node.registry().limits();
        let message = message.into_message(limits)?;
        let action = send_action(self.node.downgrade(), to.clone(), message);
        Ok(self.watch(action))
    }

    /// Kills another port, if the death was abnormal, with the same reason. A port of this node is dead at once, whatever
    /// waits for it (M6).
    pub fn kill(self, victim: &PortId) -> Monitor {
        let action = kill_action(self.node.downgrade(), victim.clone());
        self.watch(action)
    }

    /// A future that is ready with the reason. The monitor exists from now on, and until the future is dropped.
    pub fn death(self) -> Death {
        let (to, from) = oneshot::channel();
        let monitor = self.watch(Box::new(move |reason| {
            let _ = to.send(reason.clone());
        }));
        Death { from, monitor }
    }
}

impl IntoFuture for Monitoring<'_> {
    type Output = Reason;
    type IntoFuture = Death;
    fn into_future(self) -> Death {
        self.death()
    }
}

fn send_action(node: Weak<NodeInner>, to: PortId, message: Message) -> Action {
    Box::new(move |reason| {
        let Some(node) = node.upgrade().map(Node::from_inner) else {
            return;
        };
        let message = with_reason(&message, reason, node.registry().limits());
        node.send_forced(&to, message);
    })
}

/// A reason that does not fit any more is left out: better a message without it than none.
fn with_reason(message: &Message, reason: &Reason, limits: &Limits) -> Message {
    message
        .with_appended(reason.values(), limits)
        .or_else(|_| message.with_appended(&[Value::from("reason_too_large")], limits))
        .unwrap_or_else(|_| message.clone())
}

fn kill_action(node: Weak<NodeInner>, victim: PortId) -> Action {
    Box::new(move |reason| {
        if reason.is_normal() {
            return;
        }
        if let Some(node) = node.upgrade().map(Node::from_inner) {
            node.kill_linked(&victim, reason.clone());
        }
    })
}

/// A monitor's end at the watching side.
struct End {
    slot: Slot,
    node: Weak<NodeInner>,
    port: PortId,
    registration: Registration,
}

impl End {
    fn new(node: &Node, port: &PortId, action: Action) -> Self {
        let (slot, watch) = slot(action);
        End {
            slot,
            node: node.downgrade(),
            registration: node.register(port, watch),
            port: port.clone(),
        }
    }

    fn has_fired(&self) -> bool {
        self.slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    fn cancel(self) {
        // once it is out it cannot fire, whatever the other side is doing
        if let Some(action) = take(&self.slot) {
            if let Some(node) = self.node.upgrade().map(Node::from_inner) {
                node.unregister(&self.port, self.registration);
            }
            drop(action);
        }
    }
}

/// A monitor. Dropping it cancels it: after that it never fires.
#[must_use = "dropping it cancels the monitor; keep it, or `.detach()` it"]
pub struct Monitor {
    end: Option<End>,
}

impl Monitor {
    /// Lets it stand until it fires.
    #[doc(alias = "forget")]
    pub fn detach(mut self) {
        self.end = None;
    }

    /// Whether it has fired.
    pub fn has_fired(&self) -> bool {
        self.end.as_ref().is_some_and(End::has_fired)
    }

    /// Cancels it; the same as dropping it.
    pub fn cancel(self) {}
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end.cancel();
        }
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor")
            .field("port", &self.end.as_ref().map(|end| &end.port))
            .finish_non_exhaustive()
    }
}

/// The death of a port, to be awaited. Dropping it cancels the monitor.
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct Death {
    from: oneshot::Receiver<Reason>,
    monitor: Monitor,
}

impl Death {
    /// Whether it is ready.
    pub fn has_fired(&self) -> bool {
        self.monitor.has_fired()
    }
}

impl Future for Death {
    type Output = Reason;
    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Reason> {
        // every monitor fires when its node stops, so that there always is a reason
        Poll::Ready(
            ready!(Pin::new(&mut self.from).poll(cx))
                .unwrap_or_else(|_| crate::runtime::local::shutdown()),
        )
    }
}

/// A monitor in the making that lives with a port: [`Context::monitor`].
#[must_use = "say what is to happen: `.kill_self()`, `.run(…)`, `.call(…)`, `.send(…)`, `.kill(…)`, or `.await` it"]
#[derive(Debug)]
pub struct PortMonitoring<'a> {
    cx: &'a Context,
    port: PortId,
}

impl<'a> PortMonitoring<'a> {
    pub(crate) fn new(cx: &'a Context, port: PortId) -> Self {
        PortMonitoring { cx, port }
    }

    fn tied(self, action: Action) -> PortMonitor {
        let tied = Tied::to(&self.cx.cell);
        let done = tied.clone();
        let action = Box::new(move |reason: &Reason| {
            done.done();
            action(reason);
        });
        let end = End::new(self.cx.node(), &self.port, action);
        tied.hold(Box::new(Monitor { end: Some(end) }));
        PortMonitor { tied }
    }

    /// Kills this port, if the death was abnormal, with the same reason: it is dead at once, whatever waits for it (M6),
    /// and a handler that runs ends at its next await.
    pub fn kill_self(self) -> PortMonitor {
        let action = kill_action(self.cx.node().downgrade(), self.cx.id().clone());
        self.tied(action)
    }

    /// Runs a callback in this port's context, one at a time with its handlers, with the port's state (AEMP's `psub`).
    /// It takes its place behind what waits in the mailbox, even where that is full.
    ///
    /// ```
    /// # use portmesh::{Context, PortId, Reason};
    /// # struct Pool { workers: Vec<PortId> }
    /// # fn handler(cx: &Context, worker: PortId) {
    /// cx.monitor(&worker.clone()).run(async move |s: &mut Pool, _: &Context, _: Reason| {
    ///     s.workers.retain(|other| *other != worker);
    /// });
    /// # }
    /// ```
    #[doc(alias = "psub")]
    pub fn run<S, F>(self, callback: F) -> PortMonitor
    where
        S: Send + 'static,
        F: for<'s> OnDeath<'s, S> + Send + 'static,
    {
        let (node, cell) = (self.cx.node().downgrade(), Arc::downgrade(&self.cx.cell));
        self.tied(Box::new(move |reason| {
            let work = death_work::<S, F>(callback, reason.clone());
            if let (Some(node), Some(cell)) = (node.upgrade(), cell.upgrade()) {
                let _ = Node::from_inner(node).work(&cell, work, true);
            }
        }))
    }

    /// [`Monitoring::call`].
    pub fn call(self, callback: impl FnOnce(&Reason) + Send + 'static) -> PortMonitor {
        self.tied(Box::new(callback))
    }

    /// [`Monitoring::send`].
    ///
    /// # Errors
    /// The message cannot be encoded; there is no monitor.
    pub fn send(self, to: &PortId, message: impl IntoMessage) -> Result<PortMonitor, EncodeError> {
        let message = message.into_message(self.cx.limits())?;
        let action = send_action(self.cx.node().downgrade(), to.clone(), message);
        Ok(self.tied(action))
    }

    /// [`Monitoring::kill`].
    pub fn kill(self, victim: &PortId) -> PortMonitor {
        let action = kill_action(self.cx.node().downgrade(), victim.clone());
        self.tied(action)
    }

    /// [`Monitoring::death`]: this one lives with the future, not with the port.
    pub fn death(self) -> Death {
        Monitoring::new(self.cx.node(), self.port).death()
    }
}

impl IntoFuture for PortMonitoring<'_> {
    type Output = Reason;
    type IntoFuture = Death;
    fn into_future(self) -> Death {
        self.death()
    }
}

/// A monitor that lives with a port, or until it is cancelled. Dropping this changes nothing.
#[derive(Debug, Clone)]
pub struct PortMonitor {
    tied: Arc<Tied>,
}

impl PortMonitor {
    /// Cancels the monitor: after that it never fires.
    pub fn cancel(&self) {
        self.tied.release();
    }
}
