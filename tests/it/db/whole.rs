//! Whole nodes on a memory network, and what several tests of them share.

use std::{sync::Arc, time::Duration};

use portmesh::{
    DbEvent, Limits, Node, NodeBuilder, NodeEvent, Watch,
    transport::memory::{MemoryNetwork, MemoryTransport},
};

/// More than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// A node that listens on its name and takes all nodes of a name with `g` for global ones that say that they are.
pub(crate) fn builder(network: &MemoryNetwork, name: &str, seeds: &[&str]) -> NodeBuilder {
    let transport: Arc<MemoryTransport> = network.host(name);
    let builder = Node::builder(name)
        .transport(transport)
        .listen(name)
        .global(name.starts_with('g'))
        .trust_global("g*".parse().unwrap());
    seeds
        .iter()
        .fold(builder, |builder, seed| builder.seed(*seed))
}

pub(crate) async fn start(network: &MemoryNetwork, name: &str, seeds: &[&str]) -> Node {
    limited(network, name, seeds, Limits::default()).await
}

pub(crate) async fn limited(
    network: &MemoryNetwork,
    name: &str,
    seeds: &[&str],
    limits: Limits,
) -> Node {
    let builder = builder(network, name, seeds).limits(limits);
    let node = builder.start().await.unwrap();
    within(node.db().ready()).await.unwrap();
    node
}

pub(crate) async fn within<T>(work: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(LONG, work.into_future())
        .await
        .expect("in time")
}

/// The next one.
pub(crate) async fn next(watch: &mut Watch) -> DbEvent {
    within(watch.next()).await.expect("an event")
}

pub(crate) async fn until_added(watch: &mut Watch, wanted: &str) {
    loop {
        if let DbEvent::Added { key, .. } = next(watch).await
            && key == wanted
        {
            return;
        }
    }
}

/// What has happened to this node since, without waiting.
pub(crate) async fn happened(events: &mut portmesh::Events) -> Vec<NodeEvent> {
    let mut all = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, events.next()).await {
        all.push(event);
    }
    all
}
