//! L5: node up and node down alternate per node.

use std::collections::BTreeMap;

use super::View;
use crate::history::What;

pub fn check(view: &View<'_>) -> Result<(), String> {
    let mut up = BTreeMap::new();
    for entry in view.entries {
        let key = |peer| (entry.host, entry.life, peer);
        match &entry.what {
            What::Up { peer, link, .. } if up.insert(key(peer), link).is_some() => {
                return Err(format!("up twice: {entry:?}"));
            }
            What::Down { peer, link, .. } if up.remove(&key(peer)) != Some(link) => {
                return Err(format!("down without up: {entry:?}"));
            }
            _ => {}
        }
    }
    Ok(())
}
