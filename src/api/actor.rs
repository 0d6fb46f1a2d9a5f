//! Typed actors: one message type, one method.

use std::{future::Future, sync::Arc};

use super::{
    context::Context,
    handler::{Erased, Failure, Part, Whole, settle},
    message::FromMessage,
    more::More,
    port::PortBuilder,
};
use crate::{proto::message::Message, runtime::behaviour::Step};

/// A port whose messages are all of one type, most often an enum: each variant is a tag and its arguments on the wire, so
/// that actors and tagged handlers understand each other.
///
/// ```
/// use portmesh::{Actor, Context, Failure, Node, PortId};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// #[serde(rename_all = "snake_case")]
/// enum Bank {
///     Deposit { amount: u64 },  // ["deposit", amount]
///     Balance(PortId),          // ["balance", reply]
/// }
///
/// struct Account(u64);
///
/// impl Actor for Account {
///     type Message = Bank;
///     async fn handle(&mut self, cx: &Context, message: Bank) -> Result<(), Failure> {
///         match message {
///             Bank::Deposit { amount } => self.0 += amount,
///             Bank::Balance(reply) => cx.send(&reply, self.0)?,
///         }
///         Ok(())
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let node = Node::builder("bank").start().await?;
/// let account = node.actor(Account(0)).open();
/// node.send(account.id(), Bank::Deposit { amount: 7 })?;
/// assert_eq!(node.call::<u64>(account.id(), "balance").await?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Actor: Sized + Send + 'static {
    /// What it takes: any serde type.
    type Message: FromMessage + Send + 'static;

    /// Handles one message. One at a time; an error or a panic kills the port with `["die", text]` (P5).
    fn handle(
        &mut self,
        cx: &Context,
        message: Self::Message,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

struct ActorHandler;

impl<T: Actor> Erased<T> for ActorHandler {
    fn call<'a>(
        &'a self,
        actor: &'a mut T,
        cx: &'a Context,
        message: Message,
        mut more: More<'a>,
    ) -> Step<'a> {
        let mut message = match Whole::take::<T::Message>(message, cx.limits()) {
            Err(fault) => return Step::Done(Err(fault)),
            Ok(message) => message,
        };
        Step::Later(Box::pin(async move {
            loop {
                settle(actor.handle(cx, message).await)?;
                message = loop {
                    let Some(next) = more.next() else {
                        return Ok(());
                    };
                    match Whole::take(next, cx.limits()) {
                        Ok(message) => break message,
                        Err(fault) => more.bad(fault)?,
                    }
                };
            }
        }))
    }
}

pub(crate) fn equip<T: Actor>(port: PortBuilder<()>, actor: T) -> PortBuilder<T> {
    port.state(actor).other(Arc::new(ActorHandler))
}
