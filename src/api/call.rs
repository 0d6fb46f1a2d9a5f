//! Request and reply (S4).

use std::{
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use super::{
    error::{CallError, SendError},
    message::FromMessage,
    node::{Node, Registration},
};
use crate::{
    proto::{
        id::PortId,
        message::{EncodeError, Message, Reason},
        value::Value,
    },
    runtime::{
        local::cancelled,
        reply::{Answer, ReplyCell},
    },
};

/// A call in the making: [`Node::call`]. Nothing is sent before it is awaited.
///
/// The called port finds the ID of a reply port as the last value of the message, and sends the reply there. The call ends
/// with the reply, with the deadline, or with the death of the called port, whichever is first; dropping the future
/// ends it too. In every case the reply port and the monitor are gone afterwards. The reply port can be monitored like
/// any other: it dies normally with the reply, and with `["cancelled"]` where nobody waits any more.
#[must_use = "nothing is sent before the call is awaited"]
pub struct Call<T> {
    node: Node,
    to: PortId,
    request: Result<Message, EncodeError>,
    within: Option<Duration>,
    reply: PhantomData<fn() -> T>,
}

impl<T: FromMessage> Call<T> {
    pub(crate) fn new(node: Node, to: PortId, request: Result<Message, EncodeError>) -> Self {
        Call {
            node,
            to,
            request,
            within: None,
            reply: PhantomData,
        }
    }

    /// The call ends with [`CallError::Deadline`] after this time. Without it there is no deadline: it waits as long as
    /// the called port lives and its node is reached.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }

    async fn run(self) -> Result<T, CallError> {
        let request = self.request.map_err(SendError::from)?;
        let node = &self.node;
        let limits = node.registry().limits();
        let Some((cell, answer)) = node.registry().open_reply() else {
            return Err(CallError::ShutDown);
        };
        let mut pending = Pending {
            node,
            to: &self.to,
            cell: cell.clone(),
            registration: Registration::None,
        };
        let request = request
            .with_appended(&[Value::from(cell.id().to_string())], limits)
            .map_err(SendError::from)?;
        pending.registration = node.send_call(&self.to, request, cell)?;
        let answer = match self.within {
            None => answer.await,
            Some(time) => tokio::time::timeout(time, answer)
                .await
                .map_err(|_| CallError::Deadline(time))?,
        };
        match answer {
            Ok(Answer::Reply(reply)) => T::from_message(reply.clone(), limits)
                .map_err(|source| CallError::BadReply { reply, source }),
            Ok(Answer::Died(reason)) => Err(CallError::from_reason(reason)),
            Err(_) => Err(CallError::Died(cancelled())),
        }
    }
}

impl<T: FromMessage + 'static> IntoFuture for Call<T> {
    type Output = Result<T, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("to", &self.to)
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}

/// What a call leaves behind however it ends: nothing.
struct Pending<'a> {
    node: &'a Node,
    to: &'a PortId,
    cell: Arc<ReplyCell>,
    registration: Registration,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.node
            .registry()
            .end_reply(&self.cell, None, &cancelled());
        let registration = std::mem::replace(&mut self.registration, Registration::None);
        self.node.unregister(self.to, registration);
    }
}

/// What ends a call when the called port dies.
pub(crate) fn death_watch(node: &Node, cell: Arc<ReplyCell>) -> crate::runtime::Watch {
    let node = node.downgrade();
    Box::new(move |reason: &Reason| {
        if let Some(node) = node.upgrade() {
            let answer = Answer::Died(reason.clone());
            node.registry().end_reply(&cell, Some(answer), &cancelled());
        }
    })
}
