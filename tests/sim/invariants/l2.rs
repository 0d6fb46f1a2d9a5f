//! L2: a node that is linked and answers is not replaced; one that does not answer a probe is, by the same identity.

use portmesh::proto::close::CloseReason;

use super::View;
use crate::history::{Entry, What};

pub fn check(view: &View<'_>) -> Result<(), String> {
    for (place, entry) in view.entries.iter().enumerate() {
        if let What::Down {
            peer,
            link,
            conn,
            reason: CloseReason::Replaced,
        } = &entry.what
        {
            let host = view.far((entry.host, entry.life), *conn, peer);
            if excused(view, place, entry, host, *conn) {
                continue;
            }
            let own = |other: &&Entry| (other.host, other.life) == (entry.host, entry.life);
            let answered = view.entries[..place]
                .iter()
                .rev()
                .filter(own)
                .take_while(|other| other.what != What::Probed { link: *link })
                .any(|other| other.what == What::Answered { link: *link });
            if answered {
                return Err(format!("the link had answered and was replaced: {entry:?}"));
            }
            return Err(format!("the peer lived and would have answered: {entry:?}"));
        }
    }
    Ok(())
}

/// Whether the other end cannot have answered, or had given the link up itself.
fn excused(view: &View<'_>, place: usize, down: &Entry, host: usize, conn: u64) -> bool {
    let since = down.at.saturating_sub(view.run.limits.probe_timeout * 2);
    view.entries[..place].iter().any(|entry| match &entry.what {
        What::Broken { conn: broken, .. } => *broken == conn,
        What::Down { conn: other, .. } => *other == conn,
        What::Turned { conn: other, .. } => *other == conn && entry.host == host,
        What::Crashed => entry.host == host,
        What::Hung(end) => *end > since && (entry.host == host || entry.host == down.host),
        What::Stalled { to, until } => {
            let pair = [entry.host, *to];
            *until > since && pair.contains(&host) && pair.contains(&down.host)
        }
        _ => false,
    })
}
