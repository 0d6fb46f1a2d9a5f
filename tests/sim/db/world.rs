//! Nodes in virtual time: each with its database, its clock, its readers, and the events that happen to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use portmesh::{
    Family, Incarnation, NodeId,
    proto::{
        db::{
            clock::Stamp,
            engine::{Advert, Config, Db, QueryId, WatchId},
            item::Packed,
        },
        limits::Now,
        policy::{Operation, Policy, Rule},
    },
};

use super::{
    history::History,
    model::{Life, Model, View},
    mutants::Mutant,
    net::{Conn, ConnId},
    plan::{Act, Setup},
    readers::Reader,
};
use crate::rng::Rng;

/// Takes nodes of that pattern for global nodes.
pub fn trusting(pattern: &str) -> Policy {
    let rule = Rule::for_nodes(pattern).unwrap();
    Policy::default().with(rule.allow_all(Operation::Global))
}

const STEPS_MAX: u64 = 400_000;
pub const START: Duration = Duration::from_secs(1_000_000);

#[derive(Debug, Clone)]
pub enum Event {
    Act(Box<Act>),
    Timer {
        host: usize,
        life: u64,
        at: Duration,
    },
    Deliver {
        conn: ConnId,
        side: usize,
    },
    /// Whether that end has heard nothing for too long.
    Silent {
        conn: ConnId,
        side: usize,
    },
    Down {
        conn: ConnId,
        side: usize,
    },
    Dial {
        from: usize,
        to: usize,
        life: u64,
        probed: bool,
    },
    Seeds {
        host: usize,
        life: u64,
    },
    Take {
        host: usize,
        life: u64,
        watch: WatchId,
    },
    Wake {
        host: usize,
    },
    Restart {
        host: usize,
    },
    Heal {
        partition: u64,
    },
    Sample,
}

/// One node.
#[derive(Debug)]
pub struct Host {
    pub name: NodeId,
    pub is_global: bool,
    pub db: Option<Db>,
    /// Counts from 1.
    pub life_no: u64,
    pub life: Incarnation,
    /// How far its clock is off.
    pub offset_ms: i64,
    /// Since when it does nothing.
    pub hung: Option<Duration>,
    pub backlog: Vec<Event>,
    pub timer: Option<Duration>,
    pub readers: BTreeMap<WatchId, Reader>,
    pub answers: BTreeMap<QueryId, View>,
    pub asked: BTreeMap<QueryId, (usize, Option<u64>)>,
    /// What it was answered when all was quiet.
    pub last_answers: BTreeMap<usize, View>,
    pub adverts_asked: BTreeSet<QueryId>,
    pub adverts: BTreeMap<String, Advert>,
    /// Writes that are waited for.
    pub waits: BTreeSet<u64>,
    pub seeds_answered: BTreeSet<usize>,
    pub seeds_tried: BTreeSet<usize>,
    pub seed_pause: Duration,
    pub kept: BTreeSet<usize>,
    /// The latest life of each other node that was linked, and until when it is remembered.
    pub met: BTreeMap<usize, (Incarnation, Duration)>,
    /// The highest change of each owner's family that it has shown.
    pub high: BTreeMap<(Life, usize), u64>,
    /// When a fault befell it last.
    pub faulted: Option<Duration>,
    pub homes: u64,
}

pub struct World {
    pub rng: Rng,
    pub now: Duration,
    order: u64,
    pub events: BTreeMap<(Duration, u64), Event>,
    pub steps: u64,
    /// More events than this are no run but a loop.
    pub steps_max: u64,
    /// What nodes have told each other.
    pub messages: u64,
    pub hosts: Vec<Host>,
    pub names: BTreeMap<NodeId, usize>,
    pub lives: BTreeMap<(usize, Incarnation), u64>,
    pub conns: BTreeMap<ConnId, Conn>,
    pub next: u64,
    pub setup: Setup,
    pub mutant: Mutant,
    pub history: History,
    pub model: Model,
    pub families: Vec<Family>,
    /// Whether a host is on the other side, and which partition it is.
    pub groups: Option<(u64, Vec<bool>)>,
    pub is_calm: bool,
    /// When something went wrong last, or was made good.
    pub faulted: Duration,
    /// By link: what was sent over it in bytes.
    pub bytes: BTreeMap<ConnId, usize>,
    /// When something other than [`Wire::Known`](portmesh::proto::db::wire::Wire::Known) was sent last.
    pub last_news: (Duration, String),
    pub broken: BTreeMap<&'static str, String>,
    /// The part of a shard that is being dealt with: by whom, whose, from where it goes on.
    pub arrived: Option<(usize, NodeId, u64)>,
    /// What homes said that they refuse.
    pub refused: BTreeSet<(Life, u64)>,
    /// When it had to be quiet.
    pub quiet_at: Duration,
    /// What was set, for a mutant that sets it again.
    pub replayed: BTreeMap<(NodeId, Family, String), (Stamp, Packed)>,
}

impl World {
    pub fn new(setup: Setup, rng: Rng, mutant: Mutant) -> Self {
        let count = setup.globals + setup.leaves;
        let mut world = World {
            rng,
            now: START,
            order: 0,
            events: BTreeMap::new(),
            steps: 0,
            steps_max: STEPS_MAX,
            messages: 0,
            hosts: Vec::new(),
            names: BTreeMap::new(),
            lives: BTreeMap::new(),
            conns: BTreeMap::new(),
            next: 0,
            mutant,
            history: History::default(),
            model: Model::default(),
            families: (0..setup.families)
                .map(|n| format!("f{n}").parse().unwrap())
                .collect(),
            groups: None,
            is_calm: false,
            faulted: START,
            bytes: BTreeMap::new(),
            last_news: (START, String::new()),
            broken: BTreeMap::new(),
            arrived: None,
            refused: BTreeSet::new(),
            quiet_at: START,
            replayed: BTreeMap::new(),
            setup,
        };
        for host in 0..count {
            let is_global = host < world.setup.globals;
            let name = match is_global {
                true => format!("g{host}"),
                false => format!("n{}", host - world.setup.globals),
            };
            let name: NodeId = name.parse().unwrap();
            world.names.insert(name.clone(), host);
            world.hosts.push(Host::new(name, is_global));
        }
        world
    }

    pub fn after(&mut self, pause: Duration, event: Event) {
        self.at(self.now + pause, event);
    }

    pub fn at(&mut self, at: Duration, event: Event) {
        self.order += 1;
        self.events.insert((at.max(self.now), self.order), event);
    }

    pub fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.range(from, to))
    }

    pub fn say(&mut self, line: String) {
        self.history.say(self.now - START, line);
    }

    /// The first time that a line does not hold.
    pub fn broken(&mut self, line: &'static str, why: String) {
        let at = self.now - START;
        if !self.broken.contains_key(line) {
            self.say(format!("BROKEN {line}: {why}"));
            self.broken.insert(line, format!("at {at:?}: {why}"));
        }
    }

    pub fn check(&mut self, line: &'static str, done: Result<(), String>) {
        if let Err(why) = done {
            self.broken(line, why);
        }
    }

    /// The time on that host.
    pub fn clock(&self, host: usize) -> Now {
        let wall = self.now.as_millis() as i64 + self.hosts[host].offset_ms;
        Now {
            mono: self.now,
            wall_ms: wall as u64,
        }
    }

    /// Whether the last questions are asked.
    pub fn is_over(&self) -> bool {
        self.quiet_at > START
    }

    /// Whether someone has asked and has no answer.
    pub fn waits(&self) -> bool {
        let mut hosts = self.hosts.iter().filter(|host| host.db.is_some());
        hosts.any(|host| !(host.asked.is_empty() && host.adverts_asked.is_empty()))
    }

    pub fn living(&self) -> Vec<Life> {
        let all = self.hosts.iter().enumerate();
        all.filter(|(_, host)| host.db.is_some())
            .map(|(at, host)| (at, host.life_no))
            .collect()
    }

    pub fn name(&self, host: usize) -> String {
        self.hosts[host].name.to_string()
    }

    /// A node begins, or begins anew.
    pub fn start(&mut self, at: usize) {
        let now = self.clock(at);
        let random: u128 = self.rng.next().into();
        let limits = self.mutant.limits(&self.setup.limits);
        let seed = self.rng.next();
        let host = &mut self.hosts[at];
        if host.db.is_some() {
            return;
        }
        // an owner whose clock went back between two lives waits until it has passed where it was
        let earlier = host.life.started_ms();
        if now.wall_ms <= earlier && host.life_no > 0 {
            host.offset_ms += (earlier + 1 - now.wall_ms) as i64;
        }
        let wall = (self.now.as_millis() as i64 + host.offset_ms) as u64;
        let now = Now {
            wall_ms: wall,
            ..now
        };
        host.life_no += 1;
        host.life = Incarnation::new(now.wall_ms, random);
        let life = host.life_no;
        self.lives.insert((at, host.life), life);
        let config = Config {
            node: host.name.clone(),
            life: host.life,
            global: host.is_global,
            policy: trusting("g*"),
            limits: limits.clone(),
            seed,
        };
        let mut db = Db::new(config, now);
        let advert = Advert {
            addr: vec![format!("at:{}", host.name)],
            global: host.is_global,
            version: life.to_string(),
        };
        let told = db.advertise(advert, now);
        host.begin(db);
        self.say(format!("{}.{life} starts", self.name(at)));
        if let Err(why) = told {
            self.broken("R9", format!("no advert: {why}"));
        }
        if life > 1 {
            self.history.count("restart under the same name");
        }
        if self.setup.seeds[at].is_empty() {
            self.hosts[at].db.as_mut().unwrap().set_seeds_tried(now);
        }
        let soon = self.ms(1, 50);
        self.after(soon, Event::Seeds { host: at, life });
        self.pump(at);
    }

    /// Plays until then.
    pub fn run(&mut self, until: Duration) {
        while let Some((&(at, _), _)) = self.events.first_key_value() {
            if at > until || !self.step() {
                break;
            }
        }
        self.now = until;
    }

    fn step(&mut self) -> bool {
        let Some(((at, _), event)) = self.events.pop_first() else {
            return false;
        };
        self.now = self.now.max(at);
        self.steps += 1;
        if self.steps > self.steps_max {
            self.broken("quiescence", "it does not come to rest".to_owned());
            return false;
        }
        if let Some(host) = self.concerns(&event)
            && self.hosts[host].hung.is_some()
        {
            self.hosts[host].backlog.push(event);
            return true;
        }
        match event {
            Event::Act(act) => self.act(*act),
            Event::Timer { host, life, at } => {
                if self.hosts[host].timer == Some(at) && self.hosts[host].life_no == life {
                    self.hosts[host].timer = None;
                    let now = self.clock(host);
                    if let Some(db) = &mut self.hosts[host].db {
                        db.handle_timeout(now);
                    }
                    self.pump(host);
                }
            }
            Event::Deliver { conn, side } => self.deliver(conn, side),
            Event::Silent { conn, side } => self.look_at_silence(conn, side),
            Event::Down { conn, side } => self.down(conn, side, false),
            Event::Dial {
                from,
                to,
                life,
                probed,
            } => self.dialled(from, to, life, probed),
            Event::Seeds { host, life } => self.try_seeds(host, life),
            Event::Take { host, life, watch } => {
                if self.hosts[host].life_no == life {
                    self.take(host, watch);
                }
            }
            Event::Wake { host } => self.wake(host),
            Event::Restart { host } => self.start(host),
            Event::Heal { partition } => {
                if self.groups.as_ref().is_some_and(|(id, _)| *id == partition) {
                    self.groups = None;
                    self.faulted = self.now;
                    self.say("the partition heals".to_owned());
                }
            }
            Event::Sample => {
                self.sample();
                let next = if self.setup.globals + self.setup.leaves > 10 {
                    4_000
                } else {
                    2_000
                };
                self.after(Duration::from_millis(next), Event::Sample);
            }
        }
        true
    }

    /// Whose event it is, where it waits for one that hangs.
    fn concerns(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Timer { host, .. } | Event::Seeds { host, .. } | Event::Take { host, .. } => {
                Some(*host)
            }
            Event::Deliver { conn, side }
            | Event::Silent { conn, side }
            | Event::Down { conn, side } => Some(self.conns.get(conn)?.ends[*side]),
            _ => None,
        }
    }

    fn wake(&mut self, host: usize) {
        if self.hosts[host].hung.take().is_none() {
            return;
        }
        self.say(format!("{} wakes", self.name(host)));
        self.hosts[host].faulted = Some(self.now);
        self.faulted = self.now;
        for event in std::mem::take(&mut self.hosts[host].backlog) {
            self.after(Duration::ZERO, event);
        }
        self.pump(host);
        for id in self.links_of(host) {
            // there may be room since
            self.transmit(host, id);
        }
    }

    /// Everything that it asks for, now.
    pub fn pump(&mut self, host: usize) {
        if self.hosts[host].hung.is_some() {
            return;
        }
        loop {
            let mut idle = true;
            while let Some(output) = self.hosts[host].db.as_mut().and_then(Db::poll_output) {
                self.output(host, output);
                idle = false;
            }
            let ready = self.hosts[host].db.as_mut().map(Db::take_ready);
            for link in ready.unwrap_or_default() {
                idle &= !self.transmit(host, link.0.get());
            }
            if idle {
                break;
            }
        }
        let next = self.hosts[host].db.as_ref().and_then(Db::poll_timeout);
        let life = self.hosts[host].life_no;
        if self.hosts[host].timer != next {
            self.hosts[host].timer = next;
            if let Some(at) = next {
                self.at(at, Event::Timer { host, life, at });
            }
        }
    }
}

impl Host {
    fn new(name: NodeId, is_global: bool) -> Self {
        Host {
            name,
            is_global,
            db: None,
            life_no: 0,
            life: Incarnation::new(0, 0),
            offset_ms: 0,
            hung: None,
            backlog: Vec::new(),
            timer: None,
            readers: BTreeMap::new(),
            answers: BTreeMap::new(),
            asked: BTreeMap::new(),
            last_answers: BTreeMap::new(),
            adverts_asked: BTreeSet::new(),
            adverts: BTreeMap::new(),
            waits: BTreeSet::new(),
            seeds_answered: BTreeSet::new(),
            seeds_tried: BTreeSet::new(),
            seed_pause: Duration::from_millis(500),
            kept: BTreeSet::new(),
            met: BTreeMap::new(),
            high: BTreeMap::new(),
            faulted: None,
            homes: 0,
        }
    }

    /// Nothing of an earlier life is left.
    fn begin(&mut self, db: Db) {
        *self = Host {
            life_no: self.life_no,
            life: self.life,
            offset_ms: self.offset_ms,
            faulted: self.faulted,
            db: Some(db),
            ..Host::new(self.name.clone(), self.is_global)
        };
    }
}
