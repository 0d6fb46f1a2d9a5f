//! Request and reply (S4).

use std::{
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::{
    error::{CallError, SendError},
    message::FromMessage,
    monitor::Registration,
    node::Node,
};
use crate::{
    proto::{
        id::PortId,
        message::{EncodeError, IntoMessage, Message},
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
    /// The reply port that there will be.
    reply: PortId,
    /// Until it is sent.
    request: Option<Result<Message, EncodeError>>,
    within: Option<Duration>,
    takes: PhantomData<fn() -> T>,
}

impl<T: FromMessage> Call<T> {
    pub(crate) fn new(node: &Node, to: &PortId, message: impl IntoMessage) -> Self {
        let reply = node.registry().next_id();
        let request = message.into_request(&reply, node.registry().limits());
        Call {
            node: node.clone(),
            to: to.clone(),
            reply,
            request: Some(request),
            within: None,
            takes: PhantomData,
        }
    }

    /// The call ends with [`CallError::Deadline`] after this time. Without it there is no deadline: it waits as long as
    /// the called port lives and its node is reached.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }
}

impl<T: FromMessage> IntoFuture for Call<T> {
    type Output = Result<T, CallError>;
    type IntoFuture = Calling<T>;
    fn into_future(self) -> Calling<T> {
        Calling {
            call: self,
            pending: None,
            deadline: None,
        }
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

/// A call that is awaited: what a [`Call`] becomes. Dropping it ends the call.
#[must_use = "nothing is sent before the call is awaited"]
pub struct Calling<T> {
    call: Call<T>,
    /// What it has left behind, from when it is sent until it ends.
    pending: Option<Pending>,
    deadline: Option<Pin<Box<Sleep>>>,
}

struct Pending {
    cell: Arc<ReplyCell>,
    registration: Registration,
}

impl<T: FromMessage> Calling<T> {
    /// Sends the request.
    fn begin(&mut self) -> Result<(), CallError> {
        let Some(request) = self.call.request.take() else {
            return Ok(());
        };
        let request = request.map_err(SendError::from)?;
        let Call {
            node, to, reply, ..
        } = &self.call;
        let Some(cell) = node.registry().open_reply(reply.clone()) else {
            return Err(CallError::ShutDown);
        };
        let sent = node.send_call(to, request, cell.clone());
        if sent.is_err() {
            node.registry().end_reply(&cell, None, &cancelled());
        }
        self.pending = Some(Pending {
            cell,
            registration: sent?,
        });
        self.deadline = self.call.within.map(|time| Box::pin(sleep(time)));
        Ok(())
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, CallError>> {
        if let Err(error) = self.begin() {
            return Poll::Ready(Err(error));
        }
        let Some(pending) = &self.pending else {
            // after its end
            return Poll::Pending;
        };
        let limits = self.call.node.registry().limits();
        match pending.cell.poll(cx) {
            Poll::Ready(Some(Answer::Reply(reply))) => {
                let answer = T::or_message(reply, limits);
                Poll::Ready(answer.map_err(|(source, reply)| CallError::BadReply { reply, source }))
            }
            Poll::Ready(Some(Answer::Died(reason))) => {
                Poll::Ready(Err(CallError::from_reason(reason)))
            }
            Poll::Ready(None) => Poll::Ready(Err(CallError::Died(cancelled()))),
            Poll::Pending => {
                if let (Some(deadline), Some(time)) = (&mut self.deadline, self.call.within)
                    && deadline.as_mut().poll(cx).is_ready()
                {
                    return Poll::Ready(Err(CallError::Deadline(time)));
                }
                Poll::Pending
            }
        }
    }
}

impl<T: FromMessage> Future for Calling<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = self.poll_answer(cx);
        if answer.is_ready() {
            self.end();
        }
        answer
    }
}

impl<T> Calling<T> {
    /// What a call leaves behind however it ends: nothing.
    fn end(&mut self) {
        self.deadline = None;
        if let Some(Pending { cell, registration }) = self.pending.take() {
            let node = &self.call.node;
            if cell.lock().is_open() {
                node.registry().end_reply(&cell, None, &cancelled());
            }
            node.unregister(&self.call.to, registration);
        }
    }
}

impl<T> Drop for Calling<T> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<T> fmt::Debug for Calling<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Calling").field(&self.call).finish()
    }
}
