//! M4: order holds between messages, kills and monitor requests from one node to one port.

use portmesh::proto::value::Value;

use super::View;
use crate::{
    history::{No, What},
    world::World,
};

pub fn check(view: &View<'_>) -> Result<(), String> {
    for (place, entry) in view.entries.iter().enumerate() {
        let What::KillSent { to, kill } = &entry.what else {
            continue;
        };
        let by = (entry.host, entry.life);
        let Some((_, Some((died, reason)))) = view.ports.get(to) else {
            continue;
        };
        if killed_by(&reason.0) != Some(*kill) {
            continue;
        }
        debug_assert_eq!(**reason, World::kill_reason(*kill));
        let waited = view.at(*died) >= entry.at + view.run.limits.kill_wait;
        for sent in view.sent.iter().filter(|s| s.by == by && s.to == to) {
            if sent.sent > place && !sent.handled.is_empty() {
                return Err(format!("sent after kill {kill} and handled: {sent:?}"));
            }
            if sent.sent < place && sent.handled.is_empty() && !waited {
                // unless it was lost, and told to be
                let lost = view.any(sent.sent, *died, |other| match &other.what {
                    What::Down { peer, .. } => other.host == by.0 && peer == to.node(),
                    What::Unreachable { peer, .. } => other.host == by.0 && peer == to.node(),
                    // larger than the peer takes
                    What::LossTold { port } => other.host == by.0 && port == to,
                    _ => false,
                }) || view.refused(to, by, *died);
                if !lost {
                    return Err(format!(
                        "sent before kill {kill} and not handled: {sent:?}, died at {:?}",
                        view.at(*died)
                    ));
                }
            }
        }
    }
    Ok(())
}

fn killed_by(reason: &[Value]) -> Option<No> {
    match reason {
        [Value::Text(tag), Value::Int(kill)] if tag == "killed" => u64::try_from(*kill).ok(),
        _ => None,
    }
}
