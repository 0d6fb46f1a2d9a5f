//! M6: when a link is lost, every monitor on a port behind it fires before any later message to that node can be
//! delivered.

use portmesh::proto::close::CloseReason;

use super::View;
use crate::history::What;

pub fn check(view: &View<'_>) -> Result<(), String> {
    for (place, entry) in view.entries.iter().enumerate() {
        let (What::Down { peer, reason, .. } | What::Unreachable { peer, reason }) = &entry.what
        else {
            continue;
        };
        if *reason == CloseReason::Idle {
            continue; // nothing is lost with it
        }
        let by = (entry.host, entry.life);
        // the first message that was sent later and was handled
        let later = view.sent.iter().filter(|sent| sent.sent > place);
        let later = later.filter(|sent| sent.by == by && sent.to.node() == peer);
        let first = later.filter_map(|sent| sent.handled.first()).min();
        for watch in view.watched.values() {
            if watch.by != by || watch.to.node() != peer || !watch.held_at(place) {
                continue;
            }
            let ended = watch.ended();
            if let Some(first) = first
                && ended.is_none_or(|ended| ended > *first)
            {
                return Err(format!(
                    "{peer} was lost at {:?}, a later message was delivered before {watch:?}",
                    entry.at
                ));
            }
            if ended.is_none() && view.survived(by) {
                return Err(format!(
                    "{peer} was lost at {:?}, silent: {watch:?}",
                    entry.at
                ));
            }
        }
    }
    Ok(())
}
