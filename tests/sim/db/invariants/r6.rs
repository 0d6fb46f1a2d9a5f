//! R6: a reader is told of the family as it stands, once that this was all, then of what changes.

use portmesh::proto::db::engine::{Change, WatchId};

use super::super::{model::Shown, readers::Reader, world::World};

pub fn is_well_formed(
    reader: &mut Reader,
    change: &Change,
    shown: Option<Shown>,
) -> Result<(), String> {
    let was_there = match change {
        Change::Added(key, _)
        | Change::Changed(key, _)
        | Change::Deleted(key)
        | Change::Conflict(key, _) => reader.view.contains_key(&**key),
        Change::Synced => reader.synced,
        Change::Denied(text) => return Err(format!("nobody denies anything: {text}")),
    };
    let done = match (change, was_there) {
        (Change::Added(..) | Change::Synced, false) => Ok(()),
        (Change::Changed(..) | Change::Deleted(..) | Change::Conflict(..), true) => Ok(()),
        _ => Err(format!("it is told {change:?}, was there: {was_there}")),
    };
    match (change, shown) {
        (Change::Added(key, _) | Change::Changed(key, _), Some(shown)) => {
            reader.deleted.remove(&**key);
            reader.view.insert(key.to_string(), shown);
        }
        (Change::Deleted(key), _) => {
            if let Some(old) = reader.view.remove(&**key) {
                reader.deleted.insert(key.to_string(), old);
            }
        }
        (Change::Synced, _) => reader.synced = true,
        _ => {}
    }
    done
}

pub fn holds_what_is_there(world: &mut World, host: usize, watch: WatchId) -> Result<(), String> {
    let family = world.hosts[host].readers[&watch].family;
    let Some(view) = world.view(host, family) else {
        return Err(format!("{} does not answer at once", world.name(host)));
    };
    let reader = &world.hosts[host].readers[&watch];
    if reader.view == view {
        return Ok(());
    }
    Err(format!(
        "{} was told {:?} and holds {view:?}",
        world.name(host),
        reader.view
    ))
}
