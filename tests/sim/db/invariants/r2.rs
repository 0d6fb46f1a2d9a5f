//! R2: of several owners of a key the latest shows, ties by node ID.

use portmesh::proto::db::engine::Change;

pub fn conflict_is_in_order(change: &Change) -> Result<(), String> {
    let Change::Conflict(key, found) = change else {
        return Ok(());
    };
    let ranks: Vec<_> = found.iter().map(|f| (f.stamp, f.owner.as_str())).collect();
    if found.len() < 2 || !ranks.is_sorted_by(|a, b| a > b) {
        return Err(format!("a conflict about {key} in this order: {ranks:?}"));
    }
    Ok(())
}
