//! Reply ports: ports of one message, for calls (S4). No mailbox, no task, no behaviour. One allocation is all of it: the
//! port, the monitor on the called port, and what the caller waits for.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

use super::{Fire, Watch, local::cancelled, port::Watchers, registry::Registry};
use crate::proto::{
    id::PortId,
    message::{Message, Reason},
    monitor::WatchId,
};

/// What a call ends with, unless it is cancelled.
#[derive(Debug)]
pub enum Answer {
    /// The reply.
    Reply(Message),
    /// The called port died, or the reply port was killed.
    Died(Reason),
}

/// A port that dies with the first message. Fired as a monitor it ends the call.
pub struct ReplyCell {
    id: PortId,
    registry: Weak<Registry>,
    inner: Mutex<ReplyInner>,
}

enum State {
    /// It lives; who is to be woken by its end.
    Open(Option<Waker>),
    /// It is dead. `None`: the answer was taken, or there is none.
    Ended(Option<Answer>),
}

pub(crate) struct ReplyInner {
    state: State,
    /// Hardly ever any.
    watchers: Option<Box<Watchers>>,
    next_id: u64,
}

impl ReplyInner {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// It is dead from now on, and who is to be woken. `None`: it was dead already.
    pub(crate) fn end(&mut self, answer: Option<Answer>) -> Option<Option<Waker>> {
        let State::Open(waker) = &mut self.state else {
            return None;
        };
        let waker = waker.take();
        self.state = State::Ended(answer);
        Some(waker)
    }

    /// Adds a local watcher.
    pub(crate) fn watch(&mut self, watch: Watch) -> WatchId {
        let id = WatchId(self.next_id);
        self.next_id += 1;
        self.more().add(id, watch);
        id
    }

    /// Those who are told of its death, if there are any.
    pub(crate) fn watchers(&mut self) -> Option<&mut Watchers> {
        self.watchers.as_deref_mut()
    }

    /// The same, made if there are none.
    pub(crate) fn more(&mut self) -> &mut Watchers {
        self.watchers.get_or_insert_default()
    }
}

impl ReplyCell {
    pub(crate) fn new(id: PortId, registry: Weak<Registry>) -> Arc<Self> {
        Arc::new(ReplyCell {
            id,
            registry,
            inner: Mutex::new(ReplyInner {
                state: State::Open(None),
                watchers: None,
                next_id: 0,
            }),
        })
    }

    /// Its ID, to be sent along.
    pub fn id(&self) -> &PortId {
        &self.id
    }

    /// Ready when it is dead: with the answer, or `None` where it was cancelled. To be awaited by one.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<Option<Answer>> {
        match &mut self.lock().state {
            State::Ended(answer) => Poll::Ready(answer.take()),
            State::Open(Some(waker)) if waker.will_wake(cx.waker()) => Poll::Pending,
            State::Open(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ReplyInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The called port died.
impl Fire for ReplyCell {
    fn fire(&self, reason: &Reason) {
        if let Some(registry) = self.registry.upgrade() {
            let answer = Answer::Died(reason.clone());
            registry.end_reply(self, Some(answer), &cancelled());
        }
    }
}

impl fmt::Debug for ReplyCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReplyCell").field(&self.id).finish()
    }
}
