//! Planted faults: a simulation that does not catch them proves nothing. They tamper with messages and inputs alone.

use std::{collections::BTreeMap, time::Duration};

use portmesh::{
    Limits,
    proto::{
        db::{
            clock::Stamp,
            item::Item,
            wire::{Chunk, Stage, Wire},
        },
        message::Message,
    },
};

use super::world::{Host, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    None,
    /// Of two entries some nodes take the earlier one.
    Merge,
    /// Parts are lost, and nobody sees the gap.
    Gap,
    /// What was removed below a floor is not told.
    Tombstones,
    /// Removals are not told.
    Removals,
    /// Who has lost its home looks for no other.
    NoFailover,
    /// Whom a global node cannot reach at once it never tries again.
    NoRetry,
    /// That an owner is gone is not told to attached nodes.
    NotGone,
    /// What came through a lost home is gone at once.
    NoGrace,
    /// Dead owners show for long.
    LongGrace,
    /// Nodes that meet tell each other everything.
    Everything,
    /// A reader begins anew at each home.
    WatchAnew,
    /// A node sees its own writes late.
    LateOwnWrites,
    /// Refusals are not told.
    NotRefused,
    /// Adverts go lost.
    NoAdverts,
    /// An old value is told as a new change.
    Replay,
    /// Global nodes never come to an end: there is a hole before all that they send.
    Chatter,
}

/// All of them, with the invariant that must catch each.
pub const MUTANTS: &[(Mutant, &str)] = &[
    (Mutant::Merge, "R2"),
    (Mutant::Gap, "R3"),
    (Mutant::Tombstones, "R3"),
    (Mutant::Removals, "resurrection"),
    (Mutant::NoFailover, "L4"),
    (Mutant::NoRetry, "L4"),
    (Mutant::NotGone, "R4"),
    (Mutant::NoGrace, "R5"),
    (Mutant::LongGrace, "R4"),
    (Mutant::Everything, "R8"),
    (Mutant::WatchAnew, "R6"),
    (Mutant::LateOwnWrites, "R7"),
    (Mutant::NotRefused, "R9"),
    (Mutant::NoAdverts, "L3"),
    (Mutant::Replay, "R3"),
    (Mutant::Chatter, "quiescence"),
];

impl Mutant {
    pub fn limits(self, limits: &Limits) -> Limits {
        let grace = match self {
            Mutant::NoGrace => Duration::ZERO,
            Mutant::LongGrace => Duration::from_secs(60),
            _ => limits.db_grace,
        };
        Limits {
            db_grace: grace,
            ..limits.clone()
        }
    }

    /// Whether that node does not look for others any more.
    pub fn gives_up(self, host: &Host) -> bool {
        match self {
            Mutant::NoFailover => {
                let db = host.db.as_ref();
                host.homes > 0 && db.is_some_and(|db| db.home().is_none())
            }
            Mutant::NoRetry => host.seed_pause > Duration::from_millis(500),
            _ => false,
        }
    }
}

/// What is sent in the place of that message, if another.
pub fn tamper(world: &mut World, from: usize, to: usize, wire: Wire) -> Option<Vec<Message>> {
    let both = world.hosts[from].is_global && world.hosts[to].is_global;
    let wires = match (world.mutant, wire) {
        (Mutant::None, _) => return None,
        (Mutant::Merge, Wire::Chunk(mut chunk)) if to == 0 && both => {
            for item in items(&mut chunk) {
                if let Item::Set { stamp, .. } = item {
                    *stamp = Stamp(u64::MAX >> 8)
                        .max(*stamp)
                        .min(Stamp(u64::MAX - stamp.0));
                }
            }
            vec![Wire::Chunk(chunk)]
        }
        (Mutant::Gap, Wire::Chunk(mut chunk)) => {
            let lost = both && chunk.from > 0 && world.rng.one_in(10);
            chunk.from = if chunk.stage == Stage::Whole {
                0
            } else {
                chunk.from
            };
            if lost {
                Vec::new()
            } else {
                vec![Wire::Chunk(chunk)]
            }
        }
        (Mutant::Tombstones, Wire::Chunk(mut chunk)) if chunk.stage != Stage::Whole => {
            chunk.stage = Stage::Whole;
            chunk.alive.clear();
            vec![Wire::Chunk(chunk)]
        }
        (Mutant::Removals, Wire::Chunk(mut chunk)) if both => {
            for (_, items) in &mut chunk.items {
                items.retain(|item| !matches!(item, Item::Removed { .. }));
            }
            vec![Wire::Chunk(chunk)]
        }
        (Mutant::NotGone, Wire::Gone { .. }) | (Mutant::NotRefused, Wire::Refused { .. }) => {
            Vec::new()
        }
        (Mutant::Everything, Wire::Known { mut shards, last }) => {
            for shard in &mut shards {
                shard.2 = 0;
            }
            vec![Wire::Known { shards, last }]
        }
        (Mutant::NoAdverts, Wire::Chunk(mut chunk)) if both && to == 0 => {
            chunk
                .items
                .retain(|(family, _)| family.as_str() != "'nodes");
            vec![Wire::Chunk(chunk)]
        }
        (Mutant::Replay, Wire::Chunk(mut chunk)) if both => {
            replay(world, &mut chunk);
            vec![Wire::Chunk(chunk)]
        }
        (Mutant::Chatter, Wire::Chunk(mut chunk)) if both && chunk.stage == Stage::Whole => {
            // there is always a hole before it
            chunk.from = u64::MAX;
            vec![Wire::Chunk(chunk)]
        }
        _ => return None,
    };
    let limits = &world.setup.limits;
    Some(
        wires
            .iter()
            .map(|wire| wire.encode(limits).unwrap())
            .collect(),
    )
}

fn items(chunk: &mut Chunk) -> impl Iterator<Item = &mut Item> {
    chunk.items.iter_mut().flat_map(|(_, items)| items)
}

/// Removals become the value that was there.
fn replay(world: &mut World, chunk: &mut Chunk) {
    let mut old: BTreeMap<_, _> = std::mem::take(&mut world.replayed);
    for (family, items) in &mut chunk.items {
        for item in items {
            let place = |key: &str| (chunk.owner.clone(), family.clone(), key.to_owned());
            match item {
                Item::Set {
                    key, value, stamp, ..
                } => {
                    old.insert(place(key), (*stamp, value.clone()));
                }
                Item::Removed { key, seq } => {
                    if let Some((stamp, value)) = old.get(&place(key)).cloned() {
                        *item = Item::Set {
                            key: key.clone(),
                            seq: *seq,
                            stamp,
                            value,
                        };
                    }
                }
                Item::Floor { .. } => {}
            }
        }
    }
    world.replayed = old;
}
