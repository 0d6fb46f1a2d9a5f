//! The lines of the contract that hold for ports, each on one node and, with the same test, between two nodes.

mod calls;
mod deaths;
mod kills;
mod losses;
mod mailboxes;
mod messages;
mod monitors;
mod names;
mod nodes;
mod races;
mod spawns;
mod work;

use std::{future::IntoFuture, sync::Arc, time::Duration};

use portmesh::{
    Context, Init, Limits, Node, NodeBuilder, NodeEvent, Port, PortId, Value,
    transport::memory::MemoryNetwork,
};
use tokio::sync::mpsc;

/// Nothing here takes this long unless it hangs.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// Two places: where things are done from, and where they are done. The same node, or two with a link.
pub(super) struct World {
    pub(super) near: Node,
    pub(super) far: Node,
    pub(super) network: MemoryNetwork,
}

impl World {
    pub(super) fn is_local(&self) -> bool {
        self.near == self.far
    }

    /// Both in one.
    pub(super) async fn local(build: impl Fn(NodeBuilder) -> NodeBuilder) -> World {
        let node = build(Node::builder("one")).start().await.unwrap();
        World {
            near: node.clone(),
            far: node,
            network: MemoryNetwork::new(),
        }
    }

    /// Two nodes over the memory transport. Nobody has asked for a link yet.
    pub(super) async fn remote(build: impl Fn(NodeBuilder) -> NodeBuilder) -> World {
        let network = MemoryNetwork::new();
        let far = build(Node::builder("far"))
            .transport(network.host("f"))
            .listen("f:1")
            .start()
            .await
            .unwrap();
        let near = build(Node::builder("near"))
            .transport(network.host("n"))
            .address(far.id().clone(), "f:1")
            .start()
            .await
            .unwrap();
        World { near, far, network }
    }

    /// Until the near node has a link to the far one, or has lost it.
    pub(super) async fn linked(&self, up: bool) {
        until(|| self.is_local() || self.near.links().is_empty() != up).await;
    }
}

/// Makes of each test `async fn name(world: World)` two: on one node, and between two. Time is paused.
macro_rules! here_and_there {
    ($($(#[$meta:meta])* async fn $name:ident($world:ident: World) with $build:expr; $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            pub(super) async fn body($world: $crate::contract::World) $body
            $(#[$meta])*
            #[tokio::test(start_paused = true)]
            async fn here() {
                $crate::contract::in_time(body($crate::contract::World::local($build).await)).await;
            }
            $(#[$meta])*
            #[tokio::test(start_paused = true)]
            async fn there() {
                $crate::contract::in_time(body($crate::contract::World::remote($build).await)).await;
            }
        }
    )*};
}
pub(super) use here_and_there;

/// No change to the nodes.
pub(super) fn plain(node: NodeBuilder) -> NodeBuilder {
    node
}

/// Small bounds of what is sent.
pub(super) fn small(node: NodeBuilder) -> NodeBuilder {
    node.limits(Limits {
        message_bytes_max: 1 << 20,
        outbound_bytes_max: 1 << 20,
        outbound_count_max: 100,
        ..Limits::default()
    })
}

pub(super) async fn in_time<T>(what: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(LONG, what)
        .await
        .expect("it hangs: nothing more happens")
}

/// Waits for a condition.
pub(super) async fn until(mut condition: impl FnMut() -> bool) {
    in_time(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// What a port was sent, in order, as one line of JSON each.
pub(super) struct Log {
    pub(super) port: Port<()>,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Log {
    /// A port on that node that takes everything.
    pub(super) fn open(node: &Node) -> Log {
        let (to, lines) = mpsc::unbounded_channel();
        let port = node
            .port()
            .on_other_fn(move |_: &mut (), _: &Context, message: portmesh::Message| {
                let _ = to.send(message.to_string());
            })
            .open();
        Log { port, lines }
    }

    pub(super) fn id(&self) -> &PortId {
        self.port.id()
    }

    pub(super) async fn next(&mut self) -> String {
        in_time(self.lines.recv()).await.unwrap()
    }

    /// All that is there after everything that was under way has come to rest.
    pub(super) async fn rest(&mut self) -> Vec<String> {
        settle().await;
        let mut rest = Vec::new();
        while let Ok(line) = self.lines.try_recv() {
            rest.push(line);
        }
        rest
    }
}

/// Lets everything happen that can within a second of paused time, which is far more than messages in memory need.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Tells what it notes to whoever listens.
#[derive(Clone)]
pub(super) struct Notes(
    mpsc::UnboundedSender<String>,
    Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>>,
);

impl Notes {
    pub(super) fn new() -> Self {
        let (to, from) = mpsc::unbounded_channel();
        Notes(to, Arc::new(tokio::sync::Mutex::new(from)))
    }
    pub(super) fn note(&self, line: impl ToString) {
        let _ = self.0.send(line.to_string());
    }
    pub(super) async fn next(&self) -> String {
        in_time(async { self.1.lock().await.recv().await })
            .await
            .unwrap()
    }
    pub(super) async fn rest(&self) -> Vec<String> {
        settle().await;
        let mut from = self.1.lock().await;
        let mut rest = Vec::new();
        while let Ok(line) = from.try_recv() {
            rest.push(line);
        }
        rest
    }
}

/// A function to be spawned: a port that answers `["echo", x, reply]` with x, `["tell", port, x]` by sending x on, that fails
/// on `["fail", text]`, panics on `["panic"]`, stops on `["stop"]`, and never comes back from `["hang", port]` (it says
/// `hanging` to that port before).
pub(super) fn with_servant(node: NodeBuilder) -> NodeBuilder {
    node.spawnable("servant", async |cx: &Init, (): ()| {
        servant(cx.port()).open();
    })
}

pub(super) fn servant(port: portmesh::PortBuilder<()>) -> portmesh::PortBuilder<()> {
    port.on(
        "echo",
        async |_: &mut (), cx: &Context, (x, reply): (Value, PortId)| cx.send(&reply, x),
    )
    .on(
        "tell",
        async |_: &mut (), cx: &Context, (to, x): (PortId, Value)| cx.send(&to, x),
    )
    .on("fail", async |_: &mut (), _: &Context, text: String| {
        Err::<(), _>(text)
    })
    .on("panic", async |_: &mut (), _: &Context, (): ()| {
        tokio::task::yield_now().await;
        if tokio::time::Instant::now().elapsed() < LONG {
            panic!("as told");
        }
    })
    .on("stop", async |_: &mut (), cx: &Context, (): ()| cx.stop())
    .on("hang", async |_: &mut (), cx: &Context, to: PortId| {
        cx.send(&to, "hanging")?;
        std::future::pending::<()>().await;
        Ok::<(), portmesh::SendError>(())
    })
}

/// The servant on the far side, spawned from the near one, so that the near one may kill it.
pub(super) fn spawn_servant(world: &World) -> PortId {
    world.near.spawn(world.far.id(), "servant", ()).unwrap()
}

/// Waits for an event.
pub(super) async fn event(
    events: &mut portmesh::Events,
    wanted: impl Fn(&NodeEvent) -> bool,
) -> NodeEvent {
    in_time(async {
        loop {
            let event = events.next().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}
