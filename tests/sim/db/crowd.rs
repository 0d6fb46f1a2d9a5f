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
/// What a node says and hears while it joins, beside who the others are: that it is attached, which nodes are global, and
/// what these tell each other of it.
const JOINING: u64 = 25;
/// Timers and attempts to dial of a node in all the time.
const TIMERS: u64 = 500;
/// What global nodes tell each other anew in the quiet minutes, and who of them is told in one message.
const EXCHANGES: u64 = 3;
const KNOWN_PER_MESSAGE: u64 = 1_000;
/// What it takes to say how far one is known.
const KNOWN_BYTES: u64 = 40;
/// What it takes to tell one of another, with what is told of joining.
const TOLD_BYTES: u64 = 300;
/// In what time all know of a death, in seconds: the link timeout, the grace, and some to spare for those that lose their home.
const SETTLED: u64 = 20;

/// What became of it.
#[derive(Debug)]
pub struct Crowd {
    pub steps: u64,
    /// What nodes told each other until all knew all, in the quiet minutes, and until all knew of the deaths.
    pub messages: [u64; 3],
    /// From when the last began until all knew all, and until all knew of the deaths: not later, in seconds.
    pub settled_in: [u64; 2],
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

impl Crowd {
    /// What nobody needs to hear is not said: a message for each node that another has to hear of, and some for each node.
    pub fn check(&self, nodes: usize) {
        let (nodes, globals) = (nodes as u64, GLOBALS as u64);
        // those that lose their home hear from another one of all that had the same
        let homeless = nodes / globals;
        let most = [
            nodes * nodes + JOINING * nodes,
            EXCHANGES * globals * (globals - 1) * nodes.div_ceil(KNOWN_PER_MESSAGE),
            2 * nodes + 2 * homeless * homeless + JOINING * nodes,
        ];
        for (said, most) in self.messages.into_iter().zip(most) {
            assert!(said <= most, "{said} messages of {most}: {self:?}");
        }
        let said: u64 = self.messages.iter().sum();
        assert!(self.steps < said + TIMERS * nodes, "{self:?}");
        let exchanged = EXCHANGES * globals * (globals - 1) * nodes;
        let bytes = self.quiet_bytes as u64;
        assert!(0 < bytes && bytes < KNOWN_BYTES * exchanged, "{self:?}");
        let told = self.bytes as u64;
        assert!(told < TOLD_BYTES * nodes * nodes, "{self:?}");
        assert!(self.settled_in[1] <= SETTLED, "{self:?}");
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
    let count = nodes as u64;
    world.steps_max = 1_000 * count + 2 * count * count;
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
    let known_in = settle(&mut world, &mut readers, &all, Duration::from_secs(20));
    let known = world.messages;
    let sent = |world: &World| world.bytes.values().sum::<usize>();
    let bytes = sent(&world);
    // nothing happens, and little is said
    world.run(world.now + Duration::from_secs(180));
    let quiet_bytes = sent(&world) - bytes;
    let quiet = world.messages - known;
    // two die without a word, one of them a home
    for host in [0, nodes - 1] {
        let (told, back) = (false, None);
        all.remove(&world.name(host));
        world.act(Act::Crash { host, told, back });
    }
    readers.retain(|reader| world.hosts[reader.host].db.is_some());
    let heard_in = settle(&mut world, &mut readers, &all, Duration::from_secs(40));
    assert!(world.broken.is_empty(), "{:?}", world.broken);
    Crowd {
        steps: world.steps,
        messages: [known, quiet, world.messages - known - quiet],
        settled_in: [known_in, heard_in],
        bytes,
        quiet_bytes,
    }
}

/// Until each sees just these; how many seconds that took.
fn settle(
    world: &mut World,
    readers: &mut [Reader],
    all: &BTreeSet<String>,
    most: Duration,
) -> u64 {
    let began = world.now;
    let end = began + most;
    loop {
        world.run(world.now + Duration::from_secs(1));
        readers.iter_mut().for_each(|reader| reader.read(world));
        let behind = readers.iter().find(|reader| reader.nodes != *all);
        let Some(behind) = behind else {
            return (world.now - began).as_secs();
        };
        assert!(world.broken.is_empty(), "{:?}", world.broken);
        let (name, sees) = (world.name(behind.host), behind.nodes.len());
        assert!(world.now < end, "{name} sees {sees} nodes of {}", all.len());
    }
}
