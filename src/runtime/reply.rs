//! Reply ports: ports of one message, for calls (S4). No mailbox, no task, no behaviour.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{Watch, port::Watchers};
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

/// A port that dies with the first message.
pub struct ReplyCell {
    id: PortId,
    inner: Mutex<ReplyInner>,
}

pub(crate) struct ReplyInner {
    pub(crate) to: Option<oneshot::Sender<Answer>>,
    pub(crate) watchers: Watchers,
    next_id: u64,
}

impl ReplyInner {
    /// Adds a local watcher.
    pub(crate) fn watch(&mut self, watch: Watch) -> WatchId {
        let id = WatchId(self.next_id);
        self.next_id += 1;
        self.watchers.add(id, watch);
        id
    }
}

impl ReplyCell {
    pub(crate) fn new(id: PortId) -> (Arc<Self>, oneshot::Receiver<Answer>) {
        let (to, from) = oneshot::channel();
        let cell = Arc::new(ReplyCell {
            id,
            inner: Mutex::new(ReplyInner {
                to: Some(to),
                watchers: Watchers::default(),
                next_id: 0,
            }),
        });
        (cell, from)
    }

    /// Its ID, to be sent along.
    pub fn id(&self) -> &PortId {
        &self.id
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ReplyInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ReplyCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReplyCell").field(&self.id).finish()
    }
}
