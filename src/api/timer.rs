//! Things that happen later (S5).

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::AbortHandle;

use super::{context::Context, handler::Work, node::Node, port::state_work, tied::Tied};
use crate::{
    proto::{
        id::PortId,
        message::{EncodeError, IntoMessage},
    },
    runtime::behaviour::shielded,
};

type Action = Box<dyn FnOnce(Node) + Send>;

/// Something to happen later, in the making: [`Node::after`].
#[must_use = "say what is to happen: `.send(…)`, `.call(…)` or `.kill(…)`"]
#[derive(Debug)]
pub struct After<'a> {
    node: &'a Node,
    delay: Duration,
}

impl<'a> After<'a> {
    pub(crate) fn new(node: &'a Node, delay: Duration) -> Self {
        After { node, delay }
    }

    /// Sends a message then. To a port of this node it goes even where the mailbox is full; on the way to another node
    /// it is lost where the outbound queue is full.
    ///
    /// # Errors
    /// The message cannot be encoded; there is no timer.
    pub fn send(self, to: &PortId, message: impl IntoMessage) -> Result<Timer, EncodeError> {
        let message = message.into_message(self.node.registry().limits())?;
        let to = to.clone();
        Ok(self.start(Box::new(move |node| node.send_forced(&to, message))))
    }

    /// Kills a port then.
    ///
    /// # Errors
    /// The reason cannot be encoded; there is no timer.
    pub fn kill(self, port: &PortId, reason: impl IntoMessage) -> Result<Timer, EncodeError> {
        let reason = self.node.reason(reason)?;
        let port = port.clone();
        Ok(self.start(Box::new(move |node| node.kill_raw(&port, reason))))
    }

    /// Calls it then, in a task. A panic in it is logged.
    pub fn call(self, callback: impl FnOnce() + Send + 'static) -> Timer {
        self.start(Box::new(move |_| callback()))
    }

    fn start(self, action: Action) -> Timer {
        let slot = Arc::new(Mutex::new(Some(action)));
        let (due, node, delay) = (slot.clone(), self.node.downgrade(), self.delay);
        let task = self.node.registry().runtime().spawn(async move {
            tokio::time::sleep(delay).await;
            let action = due.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let (Some(action), Some(node)) = (action, node.upgrade()) {
                shielded("a timer's callback", || action(Node::from_inner(node)));
            }
        });
        Timer {
            end: Some((slot, task.abort_handle())),
        }
    }
}

/// A timer. Dropping it cancels it: after that nothing happens.
#[must_use = "dropping it cancels the timer; keep it, or `.detach()` it"]
pub struct Timer {
    end: Option<(Arc<Mutex<Option<Action>>>, AbortHandle)>,
}

impl Timer {
    /// Lets it happen.
    #[doc(alias = "forget")]
    pub fn detach(mut self) {
        self.end = None;
    }

    /// Cancels it; the same as dropping it.
    pub fn cancel(self) {}
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some((slot, task)) = self.end.take() {
            let action = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            if action.is_some() {
                task.abort();
            }
        }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timer")
    }
}

/// Something to happen later, as long as the port lives, in the making: [`Context::after`].
#[must_use = "say what is to happen: `.run(…)`, `.send(…)`, `.call(…)` or `.kill(…)`"]
#[derive(Debug)]
pub struct PortAfter<'a> {
    cx: &'a Context,
    delay: Duration,
}

impl<'a> PortAfter<'a> {
    pub(crate) fn new(cx: &'a Context, delay: Duration) -> Self {
        PortAfter { cx, delay }
    }

    fn tied(self, action: Action) -> PortTimer {
        let tied = Tied::to(&self.cx.cell);
        let done = tied.clone();
        let timer = After::new(self.cx.node(), self.delay).start(Box::new(move |node| {
            done.done();
            action(node);
        }));
        tied.hold(Box::new(timer));
        PortTimer { tied }
    }

    /// Runs work in the port's context then, one at a time with its handlers, with the port's state. An error or a panic
    /// kills the port (P5).
    #[doc(alias = "psub")]
    pub fn run<S, F>(self, work: F) -> PortTimer
    where
        S: Send + 'static,
        F: for<'s> Work<'s, S> + Send + 'static,
    {
        let cell = Arc::downgrade(&self.cx.cell);
        self.tied(Box::new(move |node| {
            if let Some(cell) = cell.upgrade() {
                let _ = node.work(&cell, state_work::<S, F>(work), true);
            }
        }))
    }

    /// [`After::send`].
    ///
    /// # Errors
    /// The message cannot be encoded; there is no timer.
    pub fn send(self, to: &PortId, message: impl IntoMessage) -> Result<PortTimer, EncodeError> {
        let message = message.into_message(self.cx.limits())?;
        let to = to.clone();
        Ok(self.tied(Box::new(move |node| node.send_forced(&to, message))))
    }

    /// [`After::kill`].
    ///
    /// # Errors
    /// The reason cannot be encoded; there is no timer.
    pub fn kill(self, port: &PortId, reason: impl IntoMessage) -> Result<PortTimer, EncodeError> {
        let reason = self.cx.node().reason(reason)?;
        let port = port.clone();
        Ok(self.tied(Box::new(move |node| node.kill_raw(&port, reason))))
    }

    /// [`After::call`].
    pub fn call(self, callback: impl FnOnce() + Send + 'static) -> PortTimer {
        self.tied(Box::new(move |_| callback()))
    }
}

/// A timer that lives with a port, or until it is cancelled. Dropping this changes nothing.
#[derive(Debug, Clone)]
pub struct PortTimer {
    tied: Arc<Tied>,
}

impl PortTimer {
    /// Cancels the timer: after that nothing happens.
    pub fn cancel(&self) {
        self.tied.release();
    }
}
