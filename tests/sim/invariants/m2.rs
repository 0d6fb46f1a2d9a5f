//! M2: a monitor fires exactly once, or is cancelled and then never; and it tells why.

use portmesh::proto::{close::CloseReason, message::Reason};

use super::{View, Watched};
use crate::history::What;

pub fn check(view: &View<'_>) -> Result<(), String> {
    for watch in view.watched.values() {
        if watch.fired.len() > 1 {
            return Err(format!("monitor fired more than once: {watch:?}"));
        }
        match (watch.taken, watch.fired.first()) {
            (Some((_, true)), Some(_)) => {
                return Err(format!("monitor fired and was taken back: {watch:?}"));
            }
            (Some((taken, false)), fired) if fired.is_none_or(|(at, _)| *at > taken) => {
                return Err(format!("monitor was not there to be taken back: {watch:?}"));
            }
            _ => {}
        }
        if let Some((place, reason)) = watch.fired.first() {
            truth(view, watch, *place, reason)?;
        } else if watch.taken.is_none()
            && view.survived(watch.by)
            && !(is_there(view, watch) && view.linked(watch.by, watch.to.node()))
        {
            return Err(format!(
                "the port is dead, the monitor is silent: {watch:?}"
            ));
        }
    }
    Ok(())
}

/// Whether there is something to watch when the run ends.
fn is_there(view: &View<'_>, watch: &Watched<'_>) -> bool {
    watch.to.name().is_node_port() || view.lived(watch.to, view.entries.len())
}

/// Whether what it fired with is so.
fn truth(
    view: &View<'_>,
    watch: &Watched<'_>,
    place: usize,
    reason: &Reason,
) -> Result<(), String> {
    let (host, life) = watch.by;
    let node = watch.to.node();
    let is_true = match reason.tag() {
        Some("transport_error") => view.entries[..=place].iter().any(|entry| {
            (entry.host, entry.life) == (host, life)
                && match &entry.what {
                    // nothing is lost with an idle one
                    What::Down { peer, reason, .. } => peer == node && *reason != CloseReason::Idle,
                    What::Unreachable { peer, .. } => peer == node,
                    What::LossTold { port } => port == watch.to,
                    _ => false,
                }
        }),
        Some("no_such_port") => {
            // who did not spawn it may have asked too early
            let spawned = view.spawner(watch.to);
            let early = spawned != Some(watch.by) && !view.lived(watch.to, watch.set);
            early || !view.lived(watch.to, place) || view.doubled(node, watch.set, place)
        }
        Some("no_such_function") => view.entries.iter().any(|entry| {
            matches!(&entry.what, What::SpawnSent { port, function: "missing" } if port == watch.to)
        }),
        _ => {
            let died = view.ports.get(watch.to).and_then(|(_, died)| *died);
            died.is_some_and(|(at, with)| at < place && with == reason)
        }
    };
    if is_true {
        Ok(())
    } else {
        Err(format!("monitor fired with what is not so: {watch:?}"))
    }
}
