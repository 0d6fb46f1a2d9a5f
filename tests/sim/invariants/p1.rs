//! P1: messages from one node to one port arrive in the order in which they were sent, each at most once.

use std::collections::BTreeMap;

use super::View;

pub fn check(view: &View<'_>) -> Result<(), String> {
    let mut last: BTreeMap<_, (usize, u64)> = BTreeMap::new();
    // across the lives of a node, too
    for sent in &view.sent {
        if sent.handled.len() > 1 {
            return Err(format!("message {} was handled twice: {sent:?}", sent.no));
        }
        let Some(&handled) = sent.handled.first() else {
            continue;
        };
        let key = (sent.by.0, sent.to);
        if let Some((before, no)) = last.insert(key, (handled, sent.no))
            && handled < before
        {
            return Err(format!(
                "message {} was sent after {no} and handled before it: {sent:?}",
                sent.no
            ));
        }
    }
    Ok(())
}
