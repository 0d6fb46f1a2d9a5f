//! R7: a node sees its own writes at once.

use portmesh::proto::db::clock::DRIFT_MAX_MS;

use super::super::world::World;

pub fn own_write_shows(
    world: &mut World,
    host: usize,
    family: usize,
    key: &str,
) -> Result<(), String> {
    let life = world.life(host);
    let wall_ms = world.clock(host).wall_ms;
    let Some(view) = world.view(host, family) else {
        return Ok(());
    };
    let owned = world.model.owns(life, &(family, key.to_owned()));
    let shown = view.get(key);
    let fits = match (owned, shown) {
        (Some(owned), Some(shown)) if shown.owner == life => shown.no == owned.no,
        // another one's clock is further ahead of this one's than is followed
        (Some(_), Some(shown)) => shown.stamp.ms() > wall_ms + DRIFT_MAX_MS,
        (Some(_), None) => false,
        (None, shown) => shown.is_none_or(|shown| shown.owner != life),
    };
    if fits {
        return Ok(());
    }
    Err(format!(
        "{} owns {key} as {owned:?} and sees {shown:?}",
        world.name(host)
    ))
}
