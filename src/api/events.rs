//! What a node tells of its mesh.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;

use crate::runtime::events::EventReceiver;
pub use crate::runtime::events::{LinkInfo, MeshStats, NodeEvent};

/// Events of a node, as they come: [`Node::events`](super::node::Node::events).
///
/// ```
/// # async fn watch(node: &portmesh::Node) {
/// let mut events = node.events();
/// while let Some(event) = events.next().await {
///     println!("{event:?}");
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Events {
    local: Option<EventReceiver>,
    mesh: Option<EventReceiver>,
}

impl Events {
    pub(crate) fn new(local: EventReceiver, mesh: Option<EventReceiver>) -> Self {
        Events {
            local: Some(local),
            mesh,
        }
    }

    /// The next one; `None` when the node is gone. A listener that falls behind loses the oldest ones.
    pub async fn next(&mut self) -> Option<NodeEvent> {
        loop {
            let (received, local) = match (&mut self.local, &mut self.mesh) {
                (None, None) => return None,
                (Some(local), None) => (local.recv().await, true),
                (None, Some(mesh)) => (mesh.recv().await, false),
                (Some(local), Some(mesh)) => tokio::select! {
                    event = local.recv() => (event, true),
                    event = mesh.recv() => (event, false),
                },
            };
            match received {
                Ok(event) => return Some(Arc::unwrap_or_clone(event)),
                Err(RecvError::Lagged(count)) => {
                    tracing::warn!(count, "a listener to events was too slow and lost some");
                }
                Err(RecvError::Closed) if local => self.local = None,
                Err(RecvError::Closed) => self.mesh = None,
            }
        }
    }
}

/// Counters of a node since it started, and what it holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct NodeStats {
    /// Ports that live, the node's own and those of waiting calls included.
    pub ports: usize,
    /// Messages that were accepted here and then dropped: their port was dead, or died before it handled them.
    pub undelivered: u64,
    /// When this node's certificate expires; `None` in secret mode and without a mesh.
    pub certificate_expires: Option<std::time::SystemTime>,
    /// Of the links.
    pub mesh: MeshStats,
}
