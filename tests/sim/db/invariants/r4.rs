//! R4: what a dead node owned is gone from every view in time.

use std::time::Duration;

use super::super::{model::View, plan::LINK_TIMEOUT, world::World};

/// A link on the way is silent too, or slow.
const SLACK: Duration = Duration::from_secs(8);

pub fn no_dead_owner_shows(world: &World, host: usize, view: &View) -> Result<(), String> {
    let bound = LINK_TIMEOUT + world.setup.limits.db_grace + SLACK;
    // one that hung has heard nothing
    let faulted = world.hosts[host].faulted.unwrap_or_default();
    if faulted + bound > world.now {
        return Ok(());
    }
    for (key, shown) in view {
        if let Some(died) = world.model.died.get(&shown.owner)
            && *died + bound < world.now
        {
            let since = world.now - *died;
            return Err(format!(
                "{} shows {key} = {shown:?}, whose owner {} died {since:?} ago",
                world.name(host),
                world.name(shown.owner.0)
            ));
        }
    }
    Ok(())
}
