//! R5: where only homes die, no reader is told that a key of a living owner is gone.

use super::super::{readers::Reader, world::World};

pub fn goes_only_with_its_owner(
    world: &World,
    host: usize,
    reader: &Reader,
    key: &str,
) -> Result<(), String> {
    let Some(shown) = reader.view.get(key) else {
        return Ok(());
    };
    let owner = &world.hosts[shown.owner.0];
    let faultless = world.hosts[host].faulted.is_none() && owner.faulted.is_none();
    if !world.setup.only_homes || !faultless {
        return Ok(());
    }
    let owned = world
        .model
        .owns(shown.owner, &(reader.family, key.to_owned()));
    match owned {
        Some(owned) if owned.since <= shown.seq => Err(format!(
            "{} is told that {key} is gone, and {} owns it as {owned:?}",
            world.name(host),
            owner.name
        )),
        _ => Ok(()),
    }
}
