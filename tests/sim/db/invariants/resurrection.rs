//! What was removed or overwritten does not come back where its successor was seen.

use super::super::{model::View, world::World};

pub fn nothing_comes_back(
    world: &mut World,
    host: usize,
    family: usize,
    view: &View,
) -> Result<(), String> {
    let high = &mut world.hosts[host].high;
    for (key, shown) in view {
        let overtaken = world.model.overtaken.get(&(shown.owner, shown.no));
        let seen = high.get(&(shown.owner, family));
        if let (Some(by), Some(seen)) = (overtaken, seen)
            && by <= seen
        {
            let why =
                format!("shows {key} = {shown:?}, overtaken before change {by}, after {seen}");
            return Err(format!("{} {why}", world.name(host)));
        }
    }
    for shown in view.values() {
        let seen = high.entry((shown.owner, family)).or_default();
        *seen = (*seen).max(shown.seq);
    }
    Ok(())
}
