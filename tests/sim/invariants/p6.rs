//! P6: a port name is never used twice, and a message for a port of an earlier life reaches nobody.

use std::collections::BTreeMap;

use super::View;
use crate::history::What;

pub fn check(view: &View<'_>) -> Result<(), String> {
    let mut opened = BTreeMap::new();
    for entry in view.entries {
        let by = (entry.host, entry.life);
        match &entry.what {
            What::Opened { port } if !port.is_node_port() => {
                // an impostor is another process with names of its own
                if let Some(first) = opened.insert(port, by) {
                    return Err(format!("port {port} was opened by {first:?} and by {by:?}"));
                }
            }
            What::Handled { port, message }
                if !port.is_node_port() && opened.get(port) != Some(&by) =>
            {
                return Err(format!("{message} was handled by {port} in {by:?}"));
            }
            _ => {}
        }
    }
    Ok(())
}
