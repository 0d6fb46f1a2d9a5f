//! When the faults have ended and time has passed nothing is stuck: last messages arrive, nothing is held.

use super::View;
use crate::{cluster, history::What, plan};

pub fn check(view: &View<'_>) -> Result<(), String> {
    for entry in view.entries {
        if let What::Stuck { text } = &entry.what {
            return Err(format!("{text}: {entry:?}"));
        }
    }
    let last = cluster::start() + plan::LAST;
    for sent in view.sent.iter().filter(|sent| sent.at == last) {
        if sent.handled.is_empty() {
            return Err(format!("a last message did not arrive: {sent:?}"));
        }
    }
    for watch in view.watched.values() {
        if view.at(watch.set) == last
            && let Some(fired) = watch.fired.first()
        {
            return Err(format!("a last monitor fired: {fired:?} {watch:?}"));
        }
    }
    Ok(())
}
