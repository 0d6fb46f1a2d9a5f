//! Monitors: what happens when a port dies (M2, M3).

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{self, Poll, Waker},
};

use super::{
    context::Context, handler::OnDeath, inner::NodeInner, node::Node, port::death_work, tied::Tied,
};
use crate::{
    proto::{
        id::PortId,
        limits::Limits,
        message::{EncodeError, IntoMessage, Message, Reason},
        monitor::WatchId,
        value::Value,
    },
    runtime::Fire,
};

type Action = Box<dyn FnOnce(&Reason) + Send>;

/// A monitor, shared by the one who set it and those who will tell of the death: whoever changes it first decides whether it
/// fires or is cancelled.
struct Slot(Mutex<State>);

enum State {
    /// It will do that.
    Armed(Action),
    /// Its reason is awaited, or will be.
    Awaited(Option<Waker>),
    /// It has fired; the reason is for whoever awaits it.
    Fired(Option<Reason>),
    Cancelled,
}

impl Slot {
    fn new(state: State) -> Arc<Self> {
        Arc::new(Slot(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_fired(&self) -> bool {
        matches!(*self.lock(), State::Fired(_))
    }

    /// `None`: it has fired. Else it never will, and that is what it would have done.
    fn cancel(&self) -> Option<State> {
        let mut state = self.lock();
        match &*state {
            State::Fired(_) => None,
            _ => Some(std::mem::replace(&mut *state, State::Cancelled)),
        }
    }

    fn poll(&self, cx: &task::Context<'_>) -> Poll<Reason> {
        match &mut *self.lock() {
            State::Fired(reason) => Poll::Ready(
                reason
                    .take()
                    .unwrap_or_else(crate::runtime::local::shutdown),
            ),
            State::Awaited(Some(waker)) if waker.will_wake(cx.waker()) => Poll::Pending,
            State::Awaited(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Armed(_) | State::Cancelled => Poll::Pending,
        }
    }
}

impl Fire for Slot {
    fn fire(&self, reason: &Reason) {
        let mut state = self.lock();
        match &mut *state {
            State::Armed(_) => {
                let armed = std::mem::replace(&mut *state, State::Fired(None));
                drop(state);
                if let State::Armed(action) = armed {
                    action(reason);
                }
            }
            State::Awaited(waker) => {
                let waker = waker.take();
                *state = State::Fired(Some(reason.clone()));
                drop(state);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            State::Fired(_) | State::Cancelled => {}
        }
    }
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
            end: Some(End::new(self.node, self.port, State::Armed(action))),
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
        Death {
            end: Some(End::new(self.node, self.port, State::Awaited(None))),
        }
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

/// Where a monitor was set.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Registration {
    None,
    Local(WatchId),
    Remote(WatchId),
}

/// A monitor's end at the watching side.
struct End {
    slot: Arc<Slot>,
    node: Weak<NodeInner>,
    port: PortId,
    registration: Registration,
}

impl End {
    fn new(node: &Node, port: PortId, state: State) -> Self {
        let slot = Slot::new(state);
        End {
            registration: node.register(&port, slot.clone()),
            slot,
            node: node.downgrade(),
            port,
        }
    }

    fn cancel(self) {
        // from now on it cannot fire, whatever the other side is doing
        if let Some(state) = self.slot.cancel() {
            if let Some(node) = self.node.upgrade().map(Node::from_inner) {
                node.unregister(&self.port, self.registration);
            }
            drop(state);
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
        self.end.as_ref().is_some_and(|end| end.slot.has_fired())
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
pub struct Death {
    end: Option<End>,
}

impl Death {
    /// Whether it is ready.
    pub fn has_fired(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.slot.has_fired())
    }
}

impl Future for Death {
    type Output = Reason;
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Reason> {
        // every monitor fires when its node stops, so that there always is a reason
        self.end
            .as_ref()
            .map_or(Poll::Pending, |end| end.slot.poll(cx))
    }
}

impl Drop for Death {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end.cancel();
        }
    }
}

impl fmt::Debug for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Death")
            .field("port", &self.end.as_ref().map(|end| &end.port))
            .finish()
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
        let end = End::new(self.cx.node(), self.port, State::Armed(action));
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
