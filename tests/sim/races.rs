//! Which faults and races a run met: those that were counted as they happened, and those that its history shows.

use std::collections::BTreeMap;

use portmesh::proto::close::CloseReason;

use crate::{cluster::Run, history::What, invariants::View};

/// Each of these happens in some seeds, else the simulation does not test what it says.
pub const REQUIRED: &[&str] = &[
    // faults
    "cut",
    "cut with bytes under way",
    "half-open",
    "half-open with bytes under way",
    "cut that only one side learns of",
    "stall",
    "short hang",
    "long hang",
    "crash",
    "power loss",
    "restart",
    "second process of a node ID",
    "link timed out",
    "link lost with something under way",
    "held messages at the end of a link",
    "crashed while it monitored",
    "restarted while it was monitored",
    "hello timed out",
    "unreachable",
    // links
    "both want a link at once",
    "second connection of a linked life",
    "connection of another life of a linked node",
    "refused as a duplicate",
    "refused: node ID in use",
    "refused: older life",
    "refused: not activated in time",
    "a probe was answered",
    "link replaced",
    "replaced by the decider's word",
    "ACTIVATE never arrived",
    "idle link closed",
    "idle link closed with something waiting",
    "idle link needed by the peer",
    "sent without a link",
    "sent while a monitor fired",
    // messages
    "send refused",
    "waits for room",
    "cannot go over the link",
    "hold told",
    "held for a full mailbox",
    "died of a full mailbox",
    "writer waits for the network",
    "small overtook large",
    "loss told",
    "loss told while sending the other way",
    "monitor fired by a loss",
    "dropped behind a loss in a mailbox",
    "sent between a loss and its telling",
    // death
    "kill with messages waiting",
    "kill did not wait any longer",
    "died with messages waiting",
    "sent to a dead port",
    "sent to a port of an earlier life",
    "monitor taken back",
    "taken back after the port had died",
    "monitor on a dead port",
    "init failed",
    "no such function",
];

/// How often each happened.
pub fn count(run: &Run) -> BTreeMap<&'static str, u64> {
    let mut counts = run.history.counts.clone();
    let view = View::new(run);
    let mut add = |what| *counts.entry(what).or_default() += 1;
    let mut ups: BTreeMap<u64, usize> = BTreeMap::new();
    for (place, entry) in view.entries.iter().enumerate() {
        match &entry.what {
            What::Up { conn, .. } => *ups.entry(*conn).or_default() += 1,
            What::Answered { .. } => add("a probe was answered"),
            What::Down {
                link,
                reason: CloseReason::Replaced,
                ..
            } => {
                let probed = view.entries[..place].iter().any(|other| {
                    (other.host, other.life) == (entry.host, entry.life)
                        && other.what == What::Probed { link: *link }
                });
                if !probed {
                    add("replaced by the decider's word");
                }
            }
            What::Crashed if entry.host < run.nodes.len() => {
                let node = &run.nodes[entry.host];
                let mut watches = view.watched.values();
                if watches.any(|w| w.to.node() == node && w.held_at(place))
                    && view.after(place, |_, later| {
                        let started = matches!(later.what, What::Started { .. });
                        (later.host == entry.host && started).then_some(())
                    }) == Some(())
                {
                    add("restarted while it was monitored");
                }
            }
            What::Fired { reason, .. } => match reason.tag() {
                Some("no_such_port") => add("monitor on a dead port"),
                Some("no_such_function") => add("no such function"),
                Some("die") if *reason == crate::ports::text_reason("die", "init") => {
                    add("init failed");
                }
                _ => {}
            },
            What::Unmonitored { watch, taken: true } => {
                let watch = &view.watched[watch];
                let died = view.ports.get(watch.to).and_then(|(_, died)| *died);
                if died.is_some_and(|(at, _)| watch.set < at && at < place) {
                    add("taken back after the port had died");
                }
            }
            What::LossTold { port } => {
                let sent = view.sent.iter();
                let mut late = sent.filter(|s| s.by == (entry.host, entry.life) && s.to == port);
                if late.any(|s| s.sent < place && s.handled.is_empty() && s.at + SOON > entry.at) {
                    add("sent between a loss and its telling");
                }
            }
            _ => {}
        }
    }
    for _ in ups.values().filter(|ups| **ups == 1) {
        add("ACTIVATE never arrived");
    }
    for sent in &view.sent {
        let Some((opened, died)) = view.ports.get(sent.to) else {
            continue;
        };
        if died.is_some_and(|(at, _)| at < sent.sent) {
            add("sent to a dead port");
        }
        let life = (view.entries[*opened].host, view.entries[*opened].life);
        if view.crashed.get(&life).is_some_and(|at| *at < sent.sent) {
            add("sent to a port of an earlier life");
        }
    }
    for large in view.sent.iter().filter(|large| large.bytes > 10_000) {
        let Some(handled) = large.handled.first() else {
            continue;
        };
        let mut later = view.sent.iter().filter(|small| {
            small.sent > large.sent
                && small.by == large.by
                && small.to.node() == large.to.node()
                && small.bytes < 400
        });
        if later.any(|small| small.handled.first().is_some_and(|at| at < handled)) {
            add("small overtook large");
        }
    }
    counts
}

/// About the time that word of a loss takes.
pub const SOON: std::time::Duration = std::time::Duration::from_millis(50);

/// Links that were closed over what the peer sent.
pub fn protocol_errors(run: &Run) -> u64 {
    let downs = run.history.entries.iter().filter(|entry| {
        let reason = match &entry.what {
            What::Down { reason, .. } => reason,
            _ => return false,
        };
        matches!(reason, CloseReason::Protocol(_))
    });
    downs.count() as u64
}
