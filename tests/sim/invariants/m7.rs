//! M7: a peer that hangs is found within the link timeout, and a stall that is shorter loses no link.

use std::time::Duration;

use portmesh::proto::close::CloseReason;

use super::View;
use crate::history::{Entry, What};

/// The way there, the peer's keepalive on the way, and a tick.
const SLACK: Duration = Duration::from_millis(700);

pub fn check(view: &View<'_>) -> Result<(), String> {
    for (place, entry) in view.entries.iter().enumerate() {
        match &entry.what {
            What::Down {
                peer,
                conn,
                reason: CloseReason::Timeout(_),
                ..
            } => {
                let host = view.far((entry.host, entry.life), *conn, peer);
                let silent = silence(view, place, entry, host, *conn);
                if silent < view.run.limits.link_timeout / 2 {
                    return Err(format!(
                        "{peer} was given up after only {silent:?} that it could not be heard: {entry:?}"
                    ));
                }
            }
            What::Up { peer, conn, .. } => {
                let host = view.far((entry.host, entry.life), *conn, peer);
                found(view, place, entry, host, *conn)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// How much of the link timeout before that place faults can have kept the link silent.
fn silence(view: &View<'_>, place: usize, down: &Entry, host: usize, conn: u64) -> Duration {
    let until = down.at;
    let from = until.saturating_sub(view.run.limits.link_timeout + SLACK);
    let overlap = |start: Duration, end: Duration| end.min(until).saturating_sub(start.max(from));
    let faults = view.entries[..place].iter().map(|entry| match &entry.what {
        What::Hung(end) if entry.host == host || entry.host == down.host => overlap(entry.at, *end),
        What::Crashed if entry.host == host => overlap(entry.at, until),
        What::Broken { conn: broken, .. } if *broken == conn => overlap(entry.at, until),
        What::Stalled { to, until } if (entry.host, *to) == (host, down.host) => {
            overlap(entry.at, *until)
        }
        _ => Duration::ZERO,
    });
    faults.sum()
}

/// Whether the end of the peer, or of what comes from it on that link, was found in time.
fn found(view: &View<'_>, up: usize, at: &Entry, host: usize, conn: u64) -> Result<(), String> {
    let limit = view.run.limits.link_timeout + SLACK;
    let lost = view.after(up + 1, |place, entry| {
        let own = (entry.host, entry.life) == (at.host, at.life);
        let down = matches!(entry.what, What::Down { conn: id, .. } if id == conn);
        (own && (down || matches!(entry.what, What::Crashed))).then_some(place)
    });
    let end = lost.unwrap_or(view.entries.len());
    let until = match lost {
        Some(place) => view.at(place),
        None => view.entries.last().map_or(Duration::ZERO, |last| last.at),
    };
    for (place, entry) in (up..).zip(&view.entries[up..end]) {
        let silent = match &entry.what {
            What::Hung(_) if entry.host == host => {
                let woke = view.after(place, |_, other| {
                    (other.host == host && other.what == What::Woke).then_some(other.at)
                });
                woke.map_or(Duration::MAX, |woke| woke - entry.at)
            }
            What::Crashed if entry.host == host => Duration::MAX,
            What::Broken { conn: id, fault } if *id == conn => match *fault {
                "half-open" if entry.host == host => Duration::MAX,
                _ => continue,
            },
            _ => continue,
        };
        // one that hangs itself notices nothing
        let hung = view.entries[..end].iter().any(|other| {
            other.host == at.host
                && matches!(other.what, What::Hung(woke) if woke + SLACK > entry.at)
        });
        // what was under way may have come late
        let late = view.entries[..end].iter().any(|other| {
            let path = other.host == host;
            path && matches!(other.what, What::Stalled { to, until } if to == at.host && until > entry.at)
        });
        if !hung && !late && silent > limit && until > entry.at + limit {
            return Err(format!(
                "nothing came since {:?} from {entry:?}; lost at {until:?} only: {at:?}",
                entry.at
            ));
        }
    }
    Ok(())
}
