//! The node's own port: what every node answers to every other.

use super::{context::Context, node::Node, port::PortBuilder};
use crate::proto::id::PortId;

/// Opens it. It lives as long as the node; what it has no handler for is a loss of the sender's (P2, P4).
pub(crate) fn open(node: &Node) {
    PortBuilder::new(node.clone(), Some(PortId::of_node(node.id().clone())))
        .on(
            "ping",
            async |_: &mut (), cx: &Context, (reply,): (PortId,)| {
                answer(cx, &reply, cx.send(&reply, "pong"));
            },
        )
        .on(
            "info",
            async |_: &mut (), cx: &Context, (reply,): (PortId,)| {
                let node = cx.node();
                let info = (
                    node.id(),
                    node.incarnation().to_string(),
                    env!("CARGO_PKG_VERSION"),
                    node.stats().ports as u64,
                    node.links().len() as u64,
                );
                answer(cx, &reply, cx.send(&reply, info));
            },
        )
        .open();
}

/// A reply that cannot be sent must not count as a fault of the node port.
fn answer(cx: &Context, reply: &PortId, sent: Result<(), super::error::SendError>) {
    if let Err(error) = sent {
        tracing::warn!(port = %cx.id(), %reply, %error, "a reply of the node port was not sent");
    }
}
