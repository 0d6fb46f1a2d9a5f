//! P2: a message that was accepted is handed to the port, or every monitor that the sender's node holds on that port
//! fires; and before it has nothing that was sent later is handed to the port.

use portmesh::PortId;

use super::{Life, View};
use crate::history::What;

pub fn check(view: &View<'_>) -> Result<(), String> {
    for (place, entry) in view.entries.iter().enumerate() {
        if let What::LossTold { port } = &entry.what
            && !has_cause(view, place, (entry.host, entry.life), port)
        {
            return Err(format!("nothing of {port} can have been lost: {entry:?}"));
        }
    }
    for ((life, to), lane) in view.lanes() {
        let watches: Vec<_> = view.watches_on(life, to).collect();
        if watches.is_empty() {
            continue;
        }
        for (at, lost) in lane.iter().enumerate() {
            if !lost.handled.is_empty() {
                continue;
            }
            let next = lane[at + 1..].iter().find_map(|sent| {
                let handled = *sent.handled.first()?;
                Some((sent.no, handled))
            });
            for watch in &watches {
                if !watch.held_at(lost.sent) {
                    continue;
                }
                let ended = watch.ended();
                if let Some((later, handled)) = next
                    && ended.is_none_or(|ended| ended > handled)
                {
                    return Err(format!(
                        "message {} to {to} was lost, {later} was handled before monitor {} fired",
                        lost.no, watch.no
                    ));
                }
                if ended.is_none() && view.survived(life) {
                    return Err(format!(
                        "message {} to {to} was lost and monitor {} did not fire",
                        lost.no, watch.no
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Whether something that the life sent to the port can have been lost by then, a lost link aside.
fn has_cause(view: &View<'_>, place: usize, by: Life, port: &PortId) -> bool {
    let smallest = view.run.limits.message_bytes_max / 3;
    let too_large =
        |sent: &super::Sent<'_>| sent.by == by && sent.to == port && sent.bytes > smallest;
    let killed = |entry: &crate::history::Entry| {
        let own = (entry.host, entry.life) == by;
        own && matches!(&entry.what, What::KillSent { to, .. } if to == port)
    };
    !view.lived(port, place)
        || view.doubled(port.node(), 0, place)
        || view.refused(port, by, place)
        || view.any(0, place, killed)
        || view.sent.iter().any(too_large)
        || early(view, by, port)
}

/// Whether something was sent before the port was opened by the node that asked for it.
fn early(view: &View<'_>, by: Life, port: &PortId) -> bool {
    let opened = view.ports.get(port).map(|(opened, _)| *opened);
    let mut sent = view.sent.iter();
    view.spawner(port).is_some_and(|spawner| spawner != by)
        && sent.any(|s| s.by == by && s.to == port && opened.is_some_and(|at| s.sent < at))
}
