//! What a handler is, how it can end, and how handlers of many types are kept together.

use std::{
    any::TypeId,
    future::Future,
    marker::PhantomData,
    sync::{Mutex, PoisonError},
};

use super::{context::Context, message::FromMessage, more::More};
use crate::{
    proto::{
        limits::Limits,
        message::{Message, Reason},
    },
    runtime::behaviour::{Fault, Step},
};

/// An error that a handler ends with: the port dies with `["die", text]`. Made from any error by `?`, and from texts.
///
/// ```
/// use portmesh::Failure;
/// fn parse(text: &str) -> Result<u64, Failure> {
///     let n = text.parse()?;
///     if n == 0 {
///         return Err(Failure::new("zero is not a count"));
///     }
///     Ok(n)
/// }
/// assert_eq!(parse("0").unwrap_err().to_string(), "zero is not a count");
/// assert!(parse("x").unwrap_err().to_string().contains("invalid digit"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// With that text.
    pub fn new(text: impl std::fmt::Display) -> Self {
        Failure(text.to_string())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Failure({})", self.0)
    }
}

// not an `Error` itself, or this would be two implementations
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        Failure(text)
    }
}

/// How work in a port's context ends: `()`, or a `Result` whose error kills the port with `["die", text]` (P5).
pub trait Outcome: Send {
    /// The text of the failure, if it is one.
    fn failure(self) -> Option<String>;
}

impl Outcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: std::fmt::Display + Send> Outcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        // `#`: with all causes, for errors that print them so
        self.err().map(|error| format!("{error:#}"))
    }
}

pub(crate) fn settle(outcome: impl Outcome) -> Result<(), Fault> {
    outcome
        .failure()
        .map_or(Ok(()), |text| Err(Fault::Die(text)))
}

/// An async handler: `async fn(&mut S, &Context, A)`, or an async closure of that form that captures nothing.
///
/// `S` is the port's state, `A` what is taken from the message. Not to be implemented: every fitting function is one.
/// What a handler needs belongs into the state; a closure that captures is for
/// [`on_fn`](super::port::PortBuilder::on_fn).
#[diagnostic::on_unimplemented(
    message = "this is not a handler of a port",
    label = "needs to be `async fn(&mut S, &Context, A)` or `async |s: &mut S, cx: &Context, args: A| {{ … }}`",
    note = "S is the type given to `.state(…)`, () without one; all three parameters need their types written",
    note = "it must capture nothing (keep what it needs in the state, or use `.on_fn`), what it holds across an `.await` must be `Send`, and it returns `()` or `Result<(), E>` with `E: Display`"
)]
pub trait Handler<'a, S: 'a, A>: Fn(&'a mut S, &'a Context, A) -> Self::Fut {
    /// Its future.
    type Fut: Future<Output = Self::Out> + Send + 'a;
    /// How it ends.
    type Out: Outcome;
}

impl<'a, S: 'a, A, F, Fut> Handler<'a, S, A> for F
where
    F: Fn(&'a mut S, &'a Context, A) -> Fut,
    Fut: Future<Output: Outcome> + Send + 'a,
{
    type Fut = Fut;
    type Out = Fut::Output;
}

/// Work done once in a port's context: `async |s: &mut S, cx: &Context| { … }`; it may capture, by `async move`.
/// Not to be implemented.
#[diagnostic::on_unimplemented(
    message = "this cannot be run in a port's context",
    label = "needs to be `async move |s: &mut S, cx: &Context| {{ … }}`",
    note = "S is the type of the port's state; what it holds across an `.await` must be `Send`, and it returns `()` or `Result<(), E>` with `E: Display`"
)]
pub trait Work<'a, S: 'a>: FnOnce(&'a mut S, &'a Context) -> Self::Fut {
    /// Its future.
    type Fut: Future<Output = Self::Out> + Send + 'a;
    /// How it ends.
    type Out: Outcome;
}

impl<'a, S: 'a, F, Fut> Work<'a, S> for F
where
    F: FnOnce(&'a mut S, &'a Context) -> Fut,
    Fut: Future<Output: Outcome> + Send + 'a,
{
    type Fut = Fut;
    type Out = Fut::Output;
}

/// What is done once in a port's context when a monitor fires: `async |s: &mut S, cx: &Context, reason: Reason| { … }`.
/// Not to be implemented.
#[diagnostic::on_unimplemented(
    message = "this cannot be run when a monitor fires",
    label = "needs to be `async move |s: &mut S, cx: &Context, reason: Reason| {{ … }}`"
)]
pub trait OnDeath<'a, S: 'a>: FnOnce(&'a mut S, &'a Context, Reason) -> Self::Fut {
    /// Its future.
    type Fut: Future<Output = Self::Out> + Send + 'a;
    /// How it ends.
    type Out: Outcome;
}

impl<'a, S: 'a, F, Fut> OnDeath<'a, S> for F
where
    F: FnOnce(&'a mut S, &'a Context, Reason) -> Fut,
    Fut: Future<Output: Outcome> + Send + 'a,
{
    type Fut = Fut;
    type Out = Fut::Output;
}

/// A handler whose types nobody knows any more but the state's.
pub(crate) trait Erased<S>: Send + Sync {
    /// Handles a message and then `more`.
    fn call<'a>(
        &'a self,
        state: &'a mut S,
        cx: &'a Context,
        message: Message,
        more: More<'a>,
    ) -> Step<'a>;

    /// Which handler it is, where its type says all of it: it holds nothing, and nothing happens when it is dropped.
    /// Ports can share such a handler.
    fn kind(&self) -> Option<TypeId> {
        None
    }
}

/// Whether a handler takes the whole message or what follows its tag.
pub(crate) trait Part: Send + Sync + 'static {
    fn take<A: FromMessage>(message: Message, limits: &Limits) -> Result<A, Fault>;
}

pub(crate) struct Args;
impl Part for Args {
    fn take<A: FromMessage>(message: Message, limits: &Limits) -> Result<A, Fault> {
        A::from_args(message, limits).map_err(|e| Fault::BadMessage(e.to_string()))
    }
}

pub(crate) struct Whole;
impl Part for Whole {
    fn take<A: FromMessage>(message: Message, limits: &Limits) -> Result<A, Fault> {
        A::from_message(message, limits).map_err(|e| Fault::BadMessage(e.to_string()))
    }
}

pub(crate) struct AsyncHandler<F, A, P>(F, PhantomData<fn(A, P)>);

impl<F, A, P> AsyncHandler<F, A, P> {
    pub(crate) fn new(handler: F) -> Self {
        AsyncHandler(handler, PhantomData)
    }
}

impl<S: Send + 'static, A, F, P> Erased<S> for AsyncHandler<F, A, P>
where
    F: for<'a> Handler<'a, S, A> + Send + Sync + 'static,
    A: FromMessage + Send + 'static,
    P: Part,
{
    fn kind(&self) -> Option<TypeId> {
        (size_of::<F>() == 0 && !std::mem::needs_drop::<F>()).then(TypeId::of::<Self>)
    }

    fn call<'a>(
        &'a self,
        state: &'a mut S,
        cx: &'a Context,
        message: Message,
        mut more: More<'a>,
    ) -> Step<'a> {
        let mut args = match P::take(message, cx.limits()) {
            Err(fault) => return Step::Done(Err(fault)),
            Ok(args) => args,
        };
        // one future for all of them: room is made for it once
        Step::Later(Box::pin(async move {
            loop {
                settle((self.0)(&mut *state, cx, args).await)?;
                args = loop {
                    let Some(message) = more.next() else {
                        return Ok(());
                    };
                    match P::take(message, cx.limits()) {
                        Ok(args) => break args,
                        Err(fault) => more.bad(fault)?,
                    }
                };
            }
        }))
    }
}

pub(crate) struct SyncHandler<F, A, O, P>(Mutex<F>, PhantomData<fn(A, O, P)>);

impl<F, A, O, P> SyncHandler<F, A, O, P> {
    pub(crate) fn new(handler: F) -> Self {
        SyncHandler(Mutex::new(handler), PhantomData)
    }
}

impl<S: 'static, A, O, F, P> Erased<S> for SyncHandler<F, A, O, P>
where
    F: FnMut(&mut S, &Context, A) -> O + Send,
    A: FromMessage + 'static,
    O: Outcome + 'static,
    P: Part,
{
    fn call<'a>(
        &'a self,
        state: &'a mut S,
        cx: &'a Context,
        message: Message,
        mut more: More<'a>,
    ) -> Step<'a> {
        // one at a time anyway; after a panic the port is dead
        let mut handler = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut message = message;
        loop {
            let result = match P::take(message, cx.limits()) {
                Ok(args) => settle((handler)(state, cx, args)),
                Err(fault) => more.bad(fault),
            };
            message = match result.is_ok().then(|| more.next()).flatten() {
                Some(message) => message,
                None => return Step::Done(result),
            };
        }
    }
}
