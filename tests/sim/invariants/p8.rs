//! P8: mailboxes and what links hold for them are bounded, and a full mailbox holds up its own senders alone.

use super::{View, p9};
use crate::history::What;

pub fn check(view: &View<'_>) -> Result<(), String> {
    for entry in view.entries {
        if let What::Measured { what, value, bound } = entry.what {
            return Err(format!(
                "{what}: {value} bytes, the bound is {bound}, {entry:?}"
            ));
        }
    }
    if !view.run.clean {
        return Ok(());
    }
    // whatever the other ports do, a small message to an idle port passes
    for small in view.sent.iter().filter(|sent| sent.bytes <= p9::SMALL) {
        if let Some(allowed) = p9::allowance(view, small)
            && small
                .handled
                .first()
                .is_some_and(|at| view.at(*at) > small.at + allowed)
        {
            return Err(format!("{allowed:?} would have been enough for {small:?}"));
        }
    }
    Ok(())
}
