//! Many nodes, a few of them global, as in a mesh of that size: all learn of all, and of a death.

use std::{collections::BTreeSet, time::Duration};

use portmesh::{
    Family, Limits,
    proto::db::engine::{Change, WatchId},
};

use super::{
    mutants::Mutant,
    plan::{Act, LINK_TIMEOUT, Setup},
    world::{Event, START, World},
};
use crate::rng::Rng;

const GLOBALS: usize = 5;

/// What became of it.
#[derive(Debug)]
pub struct Crowd {
    pub steps: u64,
    /// Bytes that went over links until all knew all, and then in three quiet minutes, in which global nodes tell each other
    /// anew what they have.
    pub bytes: usize,
    pub quiet_bytes: usize,
}

struct Reader {
    host: usize,
    watch: WatchId,
    nodes: BTreeSet<String>,
}

impl Reader {
    fn read(&mut self, world: &mut World) {
        let Some(db) = &mut world.hosts[self.host].db else {
            return;
        };
        while let Some(change) = db.next_change(self.watch) {
            match change {
                Change::Added(key, _) => assert!(self.nodes.insert(key.to_string())),
                Change::Deleted(key) => assert!(self.nodes.remove(&*key)),
                Change::Changed(..) | Change::Synced => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Plays that many nodes; panics where something does not hold.
pub fn run(nodes: usize, seed: u64) -> Crowd {
    let leaves = nodes - GLOBALS;
    let mut seeds: Vec<Vec<usize>> = (0..GLOBALS).map(|n| (0..n).collect()).collect();
    seeds.extend((0..leaves).map(|n| vec![n % GLOBALS, (n + 1) % GLOBALS]));
    let setup = Setup {
        globals: GLOBALS,
        leaves,
        seeds,
        limits: Limits {
            link_timeout: LINK_TIMEOUT,
            ..Limits::default()
        },
        families: 0,
        keys: 0,
        room: 64,
        only_homes: false,
        large: false,
    };
    let mut world = World::new(setup, Rng::new(seed), Mutant::None);
    for host in 0..nodes {
        let soon = world.ms(0, 2_000);
        world.after(soon, Event::Restart { host });
    }
    world.run(START + Duration::from_secs(3));
    let family: Family = "'nodes".parse().unwrap();
    let mut readers = Vec::new();
    for host in 0..nodes {
        let now = world.clock(host);
        let watch = world.hosts[host].db.as_mut().unwrap().watch(&family, now);
        world.pump(host);
        let nodes = BTreeSet::new();
        readers.push(Reader { host, watch, nodes });
    }
    let mut all: BTreeSet<String> = (0..nodes).map(|host| world.name(host)).collect();
    settle(&mut world, &mut readers, &all, Duration::from_secs(20));
    let sent = |world: &World| world.bytes.values().sum::<usize>();
    let bytes = sent(&world);
    // nothing happens, and little is said
    world.run(world.now + Duration::from_secs(180));
    let quiet_bytes = sent(&world) - bytes;
    // two die without a word, one of them a home
    for host in [0, nodes - 1] {
        let (told, back) = (false, None);
        all.remove(&world.name(host));
        world.act(Act::Crash { host, told, back });
    }
    readers.retain(|reader| world.hosts[reader.host].db.is_some());
    settle(&mut world, &mut readers, &all, Duration::from_secs(40));
    assert!(world.broken.is_empty(), "{:?}", world.broken);
    Crowd {
        steps: world.steps,
        bytes,
        quiet_bytes,
    }
}

/// Until each sees just these.
fn settle(world: &mut World, readers: &mut [Reader], all: &BTreeSet<String>, most: Duration) {
    let end = world.now + most;
    loop {
        world.run(world.now + Duration::from_secs(1));
        readers.iter_mut().for_each(|reader| reader.read(world));
        let behind = readers.iter().find(|reader| reader.nodes != *all);
        let Some(behind) = behind else {
            return;
        };
        assert!(world.broken.is_empty(), "{:?}", world.broken);
        let (name, sees) = (world.name(behind.host), behind.nodes.len());
        assert!(world.now < end, "{name} sees {sees} nodes of {}", all.len());
    }
}
