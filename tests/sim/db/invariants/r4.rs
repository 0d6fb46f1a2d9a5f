//! R4: what a dead node owned is gone from every view in time.

use std::time::Duration;

use super::super::{model::View, plan::LINK_TIMEOUT, world::World};

/// For messages under way.
const SLACK: Duration = Duration::from_secs(3);
/// While more and more goes wrong, each node on the way may need its own time.
const HOPS: u32 = 3;

pub fn no_dead_owner_shows(world: &World, host: usize, view: &View) -> Result<(), String> {
    let time = LINK_TIMEOUT + world.setup.limits.db_grace + SLACK;
    // one that hung has heard nothing
    let faulted = world.hosts[host].faulted.unwrap_or_default();
    for (key, shown) in view {
        let Some(died) = world.model.died.get(&shown.owner).copied() else {
            continue;
        };
        let is_over = died.max(world.faulted) + time < world.now
            || died.max(faulted) + time * HOPS < world.now;
        if is_over {
            let since = world.now - died;
            return Err(format!(
                "{} shows {key} = {shown:?}, whose owner {} died {since:?} ago",
                world.name(host),
                world.name(shown.owner.0)
            ));
        }
    }
    Ok(())
}
