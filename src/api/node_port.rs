//! The node's own port: what every node answers to every other.

use super::{
    context::Context,
    node::Node,
    port::PortBuilder,
    report::{self, DB_DIGEST, LINKS, LastDigest},
};
use crate::proto::id::{NodeId, PortId};

/// Opens it. It lives as long as the node; what it has no handler for is a loss of the sender's (P2, P4).
pub(crate) fn open(node: &Node) {
    PortBuilder::new(node.clone(), Some(PortId::of_node(node.id().clone())))
        .state(LastDigest::default())
        .on(
            "ping",
            async |_: &mut LastDigest, cx: &Context, (reply,): (PortId,)| {
                answer(cx, &reply, cx.send(&reply, "pong"));
            },
        )
        .on(
            "info",
            async |_: &mut LastDigest, cx: &Context, (reply,): (PortId,)| {
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
        .on(
            LINKS,
            async |_: &mut LastDigest, cx: &Context, (after, reply): (Option<NodeId>, PortId)| {
                let page = report::page(cx.node(), after.as_ref());
                answer(cx, &reply, cx.send(&reply, (page,)));
            },
        )
        .on(
            DB_DIGEST,
            async |last: &mut LastDigest, cx: &Context, (reply,): (PortId,)| {
                // a node that is shut down answers nothing any more
                if let Some(digest) = last.get(cx.node()).await {
                    answer(cx, &reply, cx.send(&reply, (digest,)));
                }
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
