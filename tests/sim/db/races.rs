//! Which faults and races a run met.

use portmesh::proto::db::wire::{Stage, Wire};

use super::world::World;

/// Each of these happens in some seeds, else the simulation does not test what it says.
pub const REQUIRED: &[&str] = &[
    "cut",
    "cut with messages under way",
    "cut that one side learns of late",
    "half-open",
    "stall",
    "short hang",
    "long hang",
    "crash",
    "orderly stop",
    "restart under the same name",
    "partition of global nodes",
    "clock jumps forwards",
    "clock jumps backwards",
    "link timed out",
    "a link that is half gone is probed",
    "idle link closed",
    "home crashes with attached nodes",
    "home hangs with attached nodes",
    "attached again",
    "write on one side",
    "write on the other side",
    "write refused at once",
    "write refused by the home",
    "write refused by the home, told to who waits",
    "several keys removed at once",
    "conflict told to an owner",
    "conflict told to a reader",
    "slow reader takes several changes",
    "unwatch",
    "skew told",
    "sweep in one part",
    "sweep in several parts",
    "a change in several parts",
    "hole",
    "an owner is gone for an attached node",
    "relayed over a third node",
    "a living owner is out of reach",
    "write numbered anew",
    "asked for what is listed and lacking",
];

pub fn count_wire(world: &mut World, from: usize, wire: &Wire) {
    match wire {
        Wire::Chunk(chunk) => {
            match chunk.stage {
                Stage::Only => world.history.count("sweep in one part"),
                Stage::First | Stage::Last => world.history.count("sweep in several parts"),
                Stage::Whole | Stage::Part => {}
            }
            if chunk.stage == Stage::Whole
                && chunk.items.iter().map(|(_, i)| i.len()).sum::<usize>() > 1
            {
                world.history.count("several changes in one message");
            }
            let owner = world.names.get(&chunk.owner).copied();
            if chunk.sub == 0
                && owner.is_some_and(|owner| owner != from && world.hosts[owner].is_global)
            {
                world.history.count("relayed over a third node");
            }
            if world.setup.large
                && chunk
                    .items
                    .iter()
                    .any(|(_, items)| items.iter().any(|i| i.seq() < chunk.to))
            {
                world.history.count("a change in several parts");
            }
        }
        Wire::Known { shards, last: true } => {
            if let [(node, _, version)] = &shards[..]
                && *node != world.hosts[from].name
            {
                let is_hole = world.arrived.as_ref().is_some_and(|(at, owner, begins)| {
                    (*at, owner) == (from, node) && begins > version
                });
                world.history.count(if is_hole {
                    "hole"
                } else {
                    "asked for what is listed and lacking"
                });
            }
        }
        Wire::Gone { .. } => world.history.count("an owner is gone for an attached node"),
        _ => {}
    }
}
