//! Functions that can be spawned by their name, on this node or from others (S1, S2).

use std::{
    any::Any,
    future::Future,
    marker::PhantomData,
    sync::{Arc, Weak},
};

use super::{
    context::Init,
    handler::{Outcome, settle},
    handlers::{Handlers, Table},
    inner::NodeInner,
    message::FromMessage,
    table::{Equipped, PlainWork},
};
use crate::{
    proto::{
        id::{NodeId, ParseIdError, PortId},
        message::Message,
    },
    runtime::{
        behaviour::{Behaviour, Fault},
        registry::Function,
        transport::BoxFuture,
    },
};

/// Where to spawn: a node by its ID or its text, or a port, which stands for its node.
pub trait SpawnTarget {
    /// The node.
    ///
    /// # Errors
    /// It is a text that names no node.
    fn to_node(&self) -> Result<NodeId, ParseIdError>;
}

impl SpawnTarget for NodeId {
    fn to_node(&self) -> Result<NodeId, ParseIdError> {
        Ok(self.clone())
    }
}

impl SpawnTarget for PortId {
    fn to_node(&self) -> Result<NodeId, ParseIdError> {
        Ok(self.node().clone())
    }
}

impl SpawnTarget for str {
    fn to_node(&self) -> Result<NodeId, ParseIdError> {
        self.parse::<PortId>().map(|id| id.node().clone())
    }
}

impl SpawnTarget for String {
    fn to_node(&self) -> Result<NodeId, ParseIdError> {
        self.as_str().to_node()
    }
}

impl<T: SpawnTarget + ?Sized> SpawnTarget for &T {
    fn to_node(&self) -> Result<NodeId, ParseIdError> {
        (**self).to_node()
    }
}

/// An init function: `async fn(&Init, A)`, or an async closure of that form that captures nothing. `A` takes the arguments.
/// Not to be implemented.
#[diagnostic::on_unimplemented(
    message = "this is not an init function",
    label = "needs to be `async fn(&Init, A)` or `async |cx: &Init, args: A| {{ … }}`",
    note = "it must capture nothing, what it holds across an `.await` must be `Send`, and it returns `()` or `Result<(), E>` with `E: Display`"
)]
pub trait InitFn<'a, A>: Fn(&'a Init, A) -> Self::Fut {
    /// Its future.
    type Fut: Future<Output = Self::Out> + Send + 'a;
    /// How it ends.
    type Out: Outcome;
}

impl<'a, A, F, Fut> InitFn<'a, A> for F
where
    F: Fn(&'a Init, A) -> Fut,
    Fut: Future<Output: Outcome> + Send + 'a,
{
    type Fut = Fut;
    type Out = Fut::Output;
}

pub(crate) struct Spawnable<F, A> {
    init: Arc<F>,
    node: Arc<std::sync::OnceLock<Weak<NodeInner>>>,
    /// What a port has before its init function gave it handlers: none.
    table: Arc<Table<()>>,
    args: PhantomData<fn(A)>,
}

impl<F, A> Spawnable<F, A> {
    pub(crate) fn new(init: F, node: Arc<std::sync::OnceLock<Weak<NodeInner>>>) -> Self {
        Spawnable {
            init: Arc::new(init),
            node,
            table: Table::own(Handlers::default()),
            args: PhantomData,
        }
    }
}

impl<F, A> Function for Spawnable<F, A>
where
    A: FromMessage + Send + 'static,
    F: for<'a> InitFn<'a, A> + Send + Sync + 'static,
{
    fn init(&self, args: Message) -> (Box<dyn Behaviour>, Box<dyn Any + Send>) {
        let node = self.node.get().cloned().unwrap_or_default();
        let behaviour = Equipped::new((), self.table.clone(), node);
        let init = self.init.clone();
        let work = PlainWork(Box::new(move |cx| {
            let cx = Init::new(cx.clone());
            let future: BoxFuture<'static, Result<(), Fault>> = Box::pin(async move {
                let args = A::from_message(args, cx.limits()).map_err(|e| {
                    Fault::Die(format!(
                        "the arguments are not what the function takes: {e}"
                    ))
                })?;
                settle(init(&cx, args).await)?;
                cx.cell.started();
                Ok(())
            });
            future
        }));
        (Box::new(behaviour), Box::new(work))
    }
}
