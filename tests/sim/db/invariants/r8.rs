//! R8: two global nodes that meet again with nothing new exchange little.

use super::super::world::World;

/// For each owner, and for the link itself, in bytes: one number an owner, and what became of the link.
const PER_OWNER: usize = 160;
const PER_LINK: usize = 1_500;

pub fn little_is_exchanged(world: &World, conn: u64) -> Result<(), String> {
    let sent = world.bytes.get(&conn).copied().unwrap_or_default();
    let owners = world.hosts.iter().map(|host| host.life_no).sum::<u64>() as usize;
    let most = PER_OWNER * owners.min(2 * world.hosts.len()) + PER_LINK;
    if sent > most {
        return Err(format!("{sent} bytes for {owners} owners, {most} at most"));
    }
    Ok(())
}
