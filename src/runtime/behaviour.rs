//! What the runner asks of a port's behaviour, and what a behaviour answers.

use std::{any::Any, fmt, sync::Arc};

use super::{port::PortCell, transport::BoxFuture};
use crate::proto::{
    id::NodeId,
    limits::Limits,
    link::LinkId,
    message::{Batch, Message, Reason},
    value::Value,
};

/// Where a message came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This node.
    Local,
    /// A peer, over that link. The node is `None` when the link ended so long ago that nobody remembers it.
    Link(LinkId, Option<NodeId>),
}

/// One thing for a behaviour to do.
pub enum Incoming {
    /// A message.
    Message(Message),
    /// Work to be run in the port's context; the behaviour knows the type in the box.
    Work(Box<dyn Any + Send>),
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Incoming::Message(message) => f.debug_tuple("Message").field(message).finish(),
            Incoming::Work(_) => f.write_str("Work"),
        }
    }
}

/// Why a behaviour did not finish.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The message is not what its handler asks for (P4).
    BadMessage(String),
    /// No handler for it; its tag, null where that is not a text (P4).
    Unhandled(Value),
    /// The handler failed or panicked (P5).
    Die(String),
}

impl Fault {
    /// What the port dies with.
    pub fn reason(&self) -> Reason {
        match self {
            Fault::BadMessage(text) => Reason::bad_message(text),
            Fault::Unhandled(Value::Text(tag)) => Reason::unhandled_message(tag),
            Fault::Unhandled(tag) => Reason(vec!["unhandled_message".into(), tag.clone()]),
            Fault::Die(text) => Reason::die(text),
        }
    }

    /// The same for a loss: the tag, then what there is to say. [`CallError`](crate::CallError) knows the tags.
    pub fn loss_text(&self) -> String {
        self.reason().to_string()
    }
}

/// How far a behaviour got at once.
pub enum Step<'a> {
    /// It is done.
    Done(Result<(), Fault>),
    /// It is done when this is.
    Later(BoxFuture<'a, Result<(), Fault>>),
}

impl fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Done(result) => f.debug_tuple("Done").field(result).finish(),
            Step::Later(_) => f.write_str("Later"),
        }
    }
}

/// What a port does. One call at a time, by the port's own task (P5).
pub trait Behaviour: Send + 'static {
    /// Handles one thing. A panic, here or in the future, is taken for [`Fault::Die`].
    fn handle<'a>(&'a mut self, port: &'a Arc<PortCell>, incoming: Incoming) -> Step<'a>;
    /// Handles messages that came together, in order: takes each out as it begins with it, at least the first. Stops at a
    /// fault, and where the port has something else to do; what is left is asked for again.
    fn handle_batch<'a>(&'a mut self, port: &'a Arc<PortCell>, batch: &'a mut Batch) -> Step<'a>;
    /// Where the messages come from that follow, until said otherwise.
    fn origin(&mut self, _port: &Arc<PortCell>, _origin: Origin) {}
    /// Nothing waits any more: let go of what is only needed at work.
    fn rest(&mut self) {}
}

/// A behaviour that does nothing, in the place of one that is elsewhere.
#[derive(Debug)]
pub(super) struct Nothing;

impl Behaviour for Nothing {
    fn handle<'a>(&'a mut self, _: &'a Arc<PortCell>, _: Incoming) -> Step<'a> {
        Step::Done(Err(Fault::Die("the port has no behaviour".into())))
    }

    fn handle_batch<'a>(&'a mut self, port: &'a Arc<PortCell>, batch: &'a mut Batch) -> Step<'a> {
        match batch.next() {
            Some(message) => self.handle(port, Incoming::Message(message)),
            None => Step::Done(Ok(())),
        }
    }
}

/// The fault of a message that nobody takes.
pub fn unhandled(message: &Message, limits: &Limits) -> Fault {
    match message.tag(limits) {
        Ok(Some(tag)) => Fault::Unhandled(Value::Text(tag.into_owned())),
        Ok(None) => Fault::Unhandled(Value::Null),
        Err(e) => Fault::BadMessage(e.to_string()),
    }
}

/// What a panic said.
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "panic".to_owned()
    }
}

/// Runs it; a panic is logged, not passed on. For the user's code at places where nobody can be blamed: drops, callbacks.
pub fn shielded<T>(what: &str, run: impl FnOnce() -> T) -> Option<T> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok(value) => Some(value),
        Err(payload) => {
            tracing::error!(what, text = panic_text(&*payload), "panic caught");
            None
        }
    }
}
