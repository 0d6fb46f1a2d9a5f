//! L1: two nodes hold at most one link; when both connect at once nothing is lost and no monitor fires.

use std::collections::BTreeMap;

use portmesh::proto::close::CloseReason;

use super::View;
use crate::{history::What, plan::HOSTS};

pub fn check(view: &View<'_>) -> Result<(), String> {
    let mut up = BTreeMap::new();
    for entry in view.entries {
        let by = (entry.host, entry.life);
        match &entry.what {
            What::Up { peer, conn, .. } => {
                if let Some(other) = up.insert((by, peer), *conn) {
                    return Err(format!("a second link beside {other}: {entry:?}"));
                }
            }
            What::Down {
                peer, conn, reason, ..
            } => {
                if up.get(&(by, peer)) == Some(conn) {
                    up.remove(&(by, peer));
                }
                if view.run.clean && *reason != CloseReason::Idle {
                    return Err(format!("a link was lost without a fault: {entry:?}"));
                }
            }
            What::Crashed => up.retain(|(life, _), _| *life != by),
            What::Fired { reason, watch } if view.run.clean => {
                let to = view.watched.get(watch).map(|watch| watch.to);
                let told = |port| {
                    view.any(
                        0,
                        view.entries.len(),
                        |e| matches!(&e.what, What::LossTold { port: at } if at == port),
                    )
                };
                if reason.tag() == Some("transport_error") && !to.is_some_and(told) {
                    return Err(format!("a monitor fired without a fault: {entry:?}"));
                }
            }
            _ => {}
        }
    }
    // both sides agree on which it is
    for ((by, peer), conn) in &up {
        let other = view.host(peer);
        if by.0 >= HOSTS {
            continue;
        }
        let back = up
            .iter()
            .find(|((life, node), _)| life.0 == other && **node == view.run.nodes[by.0]);
        if back.map(|(_, conn)| conn) != Some(conn) {
            return Err(format!(
                "{by:?} has {conn} as the link to {peer}, there it is {back:?}"
            ));
        }
    }
    Ok(())
}
