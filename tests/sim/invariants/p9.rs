//! P9: a large message does not hold up small ones to other ports on the same link.

use std::{collections::BTreeSet, time::Duration};

use super::{Sent, View};
use crate::history::What;

/// What counts as large: so many fragments that one after the other would be seen.
const LARGE: usize = 16_000;
pub const SMALL: usize = 400;

pub fn check(view: &View<'_>) -> Result<(), String> {
    if !view.run.clean {
        return Ok(());
    }
    for (at, large) in view.sent.iter().enumerate() {
        let Some(&handled) = large.handled.first() else {
            continue;
        };
        if large.bytes < LARGE {
            continue;
        }
        for small in &view.sent[at + 1..] {
            if small.sent > handled {
                break;
            }
            if small.by != large.by
                || small.to.node() != large.to.node()
                || small.to == large.to
                || small.bytes > SMALL
            {
                continue;
            }
            if let Some(allowed) = allowance(view, small)
                && small.at + allowed < view.at(handled)
                && small.handled.first().is_some_and(|at| *at > handled)
            {
                return Err(format!(
                    "{small:?} waited for {large:?}, {allowed:?} would have been enough"
                ));
            }
        }
    }
    Ok(())
}

/// How long that message may take when fragments of others go between; `None` where its own port or lane is busy or
/// no link is up.
pub fn allowance(view: &View<'_>, small: &Sent<'_>) -> Option<Duration> {
    let host = view.host(small.to.node());
    let handled = small.handled.first().copied().unwrap_or_default();
    let mut others = view.sent.iter();
    if others.any(|o| o.to == small.to && small.sent < o.sent && o.sent < handled) {
        return None; // those of other nodes may have come first
    }
    let mut lanes = BTreeSet::new();
    for other in &view.sent {
        if other.sent >= small.sent {
            break;
        }
        let open = match other.handled.first() {
            Some(handled) => *handled > small.sent,
            None => view.at(other.sent) + Duration::from_secs(5) > small.at,
        };
        if open && other.to == small.to {
            return None;
        }
        if open && other.by == small.by && other.to.node() == small.to.node() {
            lanes.insert(other.to);
        }
    }
    let up = view.entries[..small.sent].iter().any(|entry| {
        entry.host == small.by.0
            && matches!(&entry.what, What::Up { peer, .. } if peer == small.to.node())
    });
    if !up || !view.lived(small.to, small.sent) {
        return None;
    }
    let path = &view.run.net.paths[&(small.by.0, host)];
    let back = &view.run.net.paths[&(host, small.by.0)];
    // what the network holds, what is ready to go, one turn of each lane, and the way there and back for the window
    let bytes = 2 * (8 << 10) + (lanes.len() as u64 + 2) * 4 * (1 << 10);
    let ways = (path.delay + path.jitter + back.delay + back.jitter) * 2;
    Some(Duration::from_millis(bytes / path.bytes_per_ms + 30) + ways)
}
