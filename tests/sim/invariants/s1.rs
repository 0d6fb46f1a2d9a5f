//! S1: messages and monitors that follow a spawn arrive after the init function ran.

use std::collections::BTreeSet;

use super::View;
use crate::history::What;

pub fn check(view: &View<'_>) -> Result<(), String> {
    let mut ready = BTreeSet::new();
    for entry in view.entries {
        match &entry.what {
            What::Ready { port } => {
                ready.insert((entry.host, entry.life, port));
            }
            What::Handled { port, message } if !ready.contains(&(entry.host, entry.life, port)) => {
                return Err(format!("{message} was handled by {port} before its init"));
            }
            _ => {}
        }
    }
    if !view.run.clean {
        return Ok(());
    }
    // without faults they do arrive
    for (place, entry) in view.entries.iter().enumerate() {
        if let What::SpawnSent { port, function } = &entry.what
            && *function == "works"
        {
            let Some((_, died)) = view.ports.get(port) else {
                return Err(format!("{port} was never opened: {entry:?}"));
            };
            for sent in view.sent.iter().filter(|s| s.to == port && s.sent > place) {
                let early = died
                    .is_none_or(|(died, _)| sent.at + view.run.limits.kill_wait < view.at(died));
                let refused = view.any(0, view.entries.len(), |e| match &e.what {
                    What::Refused { port: at, .. } => at == port.name(),
                    What::LossTold { port: at } => at == port,
                    _ => false,
                });
                if sent.handled.is_empty() && early && !refused {
                    return Err(format!("did not arrive at a spawned port: {sent:?}"));
                }
            }
        }
    }
    Ok(())
}
