//! P8: mailboxes and what links hold for them are bounded.

use super::View;
use crate::history::What;

pub fn check(view: &View<'_>) -> Result<(), String> {
    for entry in view.entries {
        if let What::Measured { what, value, bound } = entry.what {
            return Err(format!(
                "{what}: {value} bytes, the bound is {bound}, {entry:?}"
            ));
        }
    }
    Ok(())
}
