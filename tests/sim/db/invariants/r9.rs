//! R9: who wrote what is refused hears of it, and several keys go in one step.

use super::super::{model::Life, readers::Reader, world::World};

pub fn refused_is_gone(
    world: &mut World,
    host: usize,
    family: usize,
    key: &str,
) -> Result<(), String> {
    let life = world.life(host);
    let view = world.view(host, family).unwrap_or_default();
    match view.get(key) {
        Some(shown) if shown.owner == life => Err(format!(
            "{} still sees {key} as {shown:?}",
            world.name(host)
        )),
        _ => Ok(()),
    }
}

/// Nobody is told that a write was taken which stands and was refused.
pub fn was_not_refused(world: &World, life: Life, seq: u64) -> Result<(), String> {
    let owned = world.model.owned.get(&life);
    let stands = owned.is_some_and(|owned| owned.values().any(|owned| owned.seq == seq));
    if stands && world.refused.contains(&(life, seq)) {
        let me = world.name(life.0);
        return Err(format!(
            "{me} is told that change {seq} is taken, and it was refused"
        ));
    }
    Ok(())
}

/// No part of what was removed at once is still there where the rest is gone.
pub fn in_one_step(world: &World, reader: &Reader) -> Result<(), String> {
    if world.setup.large {
        return Ok(());
    }
    for group in world
        .model
        .groups
        .iter()
        .filter(|g| g.family == reader.family)
    {
        let gone = group.keys.iter().find(|(key, no)| {
            let old = reader.deleted.get(key);
            old.is_some_and(|old| (old.owner, old.no) == (group.owner, *no))
        });
        let there = group.keys.iter().find(|(key, no)| {
            let shown = reader.view.get(key);
            shown.is_some_and(|shown| (shown.owner, shown.no) == (group.owner, *no))
        });
        if let (Some(gone), Some(there)) = (gone, there) {
            return Err(format!(
                "of {:?} {gone:?} is gone and {there:?} is there",
                group.keys
            ));
        }
    }
    Ok(())
}

pub fn all_waits_are_over(world: &World) -> Result<(), String> {
    for (at, host) in world.hosts.iter().enumerate() {
        if host.db.is_some() && !(host.waits.is_empty() && host.asked.is_empty()) {
            let waits = (&host.waits, &host.asked);
            return Err(format!("{} still waits: {waits:?}", world.name(at)));
        }
    }
    Ok(())
}
