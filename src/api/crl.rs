//! CRLs that spread through the mesh: whoever has a newer one tells the others, in the family `'crl` of the database.
//!
//! A CRL is signed by its CA, so it does not matter who tells of it. One node that tells is enough: of several that tell
//! the same the one with the smallest ID goes on, and when it goes another one takes its place.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{inner::NodeInner, node::Node};
use crate::{
    proto::{
        db::{engine::Change, item::Packed},
        id::NodeId,
    },
    runtime::{db::DbHost, entropy},
};

/// Before a node tells of its CRLs it waits for others to do so, up to about this long.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes CRLs from the mesh, and tells of its own, until the node ends.
pub(super) async fn spread(node: Weak<NodeInner>, host: Arc<DbHost>) {
    let Some(mut renewals) = upgrade(&node).and_then(|node| node.renewals()) else {
        return;
    };
    let Ok(watch) = host.watch(&DbHost::crl_family()) else {
        return;
    };
    // what others tell, by who tells it
    let mut told: BTreeMap<NodeId, Packed> = BTreeMap::new();
    let mut due = Some(soon());
    loop {
        tokio::select! {
            change = poll_fn(|cx| host.poll_change(watch, cx)) => {
                let Some(change) = change else { return };
                let Some(node) = upgrade(&node) else { return };
                match change {
                    Change::Added(_, found) | Change::Changed(_, found) => {
                        if found.owner != *node.id()
                            && let Ok(pem) = found.value.decode::<String>()
                        {
                            take(&node, &found.owner, &pem);
                            told.insert(found.owner, found.value);
                        }
                    }
                    Change::Deleted(key) => told.retain(|owner, _| owner.as_str() != &*key),
                    _ => continue,
                }
                due = due.or_else(|| Some(soon()));
            }
            changed = renewals.changed() => {
                if changed.is_err() {
                    return;
                }
                due = due.or_else(|| Some(soon()));
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                due = None;
                let Some(node) = upgrade(&node) else { return };
                tell(&node, &host, &told);
            }
        }
    }
}

fn upgrade(node: &Weak<NodeInner>) -> Option<Node> {
    node.upgrade().map(Node::from_inner)
}

/// Not at the same time as others.
fn soon() -> Instant {
    let random = entropy::random::<8>().map_or(0, u64::from_le_bytes);
    Instant::now() + PATIENCE.mul_f64(0.1 + 0.9 * (random % 1000) as f64 / 1000.0)
}

fn take(node: &Node, from: &NodeId, pem: &str) {
    match node.add_crl(pem) {
        Ok(true) => tracing::info!(%from, "a newer CRL came from the mesh"),
        Ok(false) => {}
        // one of a CA that is not trusted here any more, or not yet
        Err(error) => tracing::debug!(%from, %error, "a CRL from the mesh is not taken"),
    }
}

/// Tells of what this node has, where nobody else does who comes before it.
fn tell(node: &Node, host: &DbHost, told: &BTreeMap<NodeId, Packed>) {
    let own = node.crls();
    let others = told.iter().filter(|(owner, _)| *owner < node.id());
    let says = |value: &Packed| value.decode::<String>().is_ok_and(|pem| pem == own);
    let is_told = others.into_iter().any(|(_, value)| says(value));
    let pem = if is_told { "" } else { &own };
    match host.tell_crls(pem) {
        Ok(Ok(true)) if !pem.is_empty() => tracing::info!("this node tells the mesh of its CRLs"),
        Ok(Ok(_)) | Err(_) => {}
        Ok(Err(error)) => tracing::error!(
            %error, "the CRLs of this node are too large to be told to the mesh: give every node the file"
        ),
    }
}
