//! A database that is told anything by anybody: it never panics, never talks for ever, and holds no more than it may.

use std::{collections::BTreeMap, num::NonZeroU64, time::Duration};

use portmesh::{
    Incarnation, Limits, NodeId,
    proto::{
        close::CloseReason,
        codec::Format,
        db::{
            clock::Stamp,
            engine::{Config, Db, Query},
            item::{Item, Packed},
            name::{Family, WriteRefused},
            wire::{Chunk, Stage, Subscribe, Wire},
        },
        limits::Now,
        link::LinkId,
        message::Message,
        policy::{Operation, PeerIdentity, Policy, Rule},
    },
};
use proptest::{collection::vec, prelude::*, sample::select};

const NODES: [&str; 6] = ["g-me", "g-other", "g-third", "a", "b", "liar"];
const FAMILIES: [&str; 6] = ["f", "g", "'nodes", "'homes", "'links", "'odd"];
const KEYS: [&str; 6] = ["k", "l", "g-me", "g-other", "a", "b"];

/// Takes nodes of that pattern for global nodes.
fn trusting(pattern: &str) -> Policy {
    let rule = Rule::for_nodes(pattern).unwrap();
    Policy::default().with(rule.allow_all(Operation::Global))
}

fn limits() -> Limits {
    Limits {
        db_node_families_max: 4,
        db_node_entries_max: 20,
        db_node_bytes_max: 2_000,
        db_entries_max: 60,
        db_bytes_max: 6_000,
        db_tombstones_max: 3,
        db_subscriptions_max: 5,
        ..Limits::default()
    }
}

/// Low numbers, that may be the next ones, and the highest that there are.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..12u64, 1 => (u64::MAX - 2)..=u64::MAX, 1 => any::<u64>()]
}

fn node() -> impl Strategy<Value = NodeId> {
    select(&NODES[..]).prop_map(|name| name.parse().unwrap())
}

fn life() -> impl Strategy<Value = Incarnation> {
    prop_oneof![5 => Just(1), 2 => Just(0), 2 => Just(2), 1 => Just(u64::MAX)]
        .prop_map(|ms| Incarnation::new(ms, u128::from(ms)))
}

fn family() -> impl Strategy<Value = Family> {
    select(&FAMILIES[..]).prop_map(|name| name.parse().unwrap())
}

fn key() -> impl Strategy<Value = std::sync::Arc<str>> {
    prop_oneof![9 => select(&KEYS[..]).prop_map(str::to_owned), 1 => "[a-z]{1,2}|k{2000}"]
        .prop_map(Into::into)
}

/// Numbers, texts, and what the families of the system are made of.
fn value() -> impl Strategy<Value = Packed> {
    let pack = |message: Result<Packed, _>| message.unwrap();
    prop_oneof![
        number().prop_map(move |n| pack(Packed::encode(&n, &Limits::default()))),
        (0..900usize).prop_map(move |n| pack(Packed::encode(&"x".repeat(n), &Limits::default()))),
        life().prop_map(move |life| pack(Packed::encode(&(life,), &Limits::default()))),
        (life(), number(), number())
            .prop_map(move |claim| pack(Packed::encode(&claim, &Limits::default()))),
        (vec("[a-z]{0,3}", 0..3), any::<bool>()).prop_map(move |(addr, global)| {
            let version = String::new();
            let advert = portmesh::proto::db::engine::Advert {
                addr,
                global,
                version,
            };
            pack(Packed::encode(&advert, &Limits::default()))
        }),
    ]
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        5 => (key(), number(), number(), value())
            .prop_map(|(key, seq, stamp, value)| Item::Set { key, seq, stamp: Stamp(stamp), value }),
        2 => (key(), number()).prop_map(|(key, seq)| Item::Removed { key, seq }),
        1 => (number(), number()).prop_map(|(seq, floor)| Item::Floor { seq, floor }),
    ]
}

fn chunk() -> impl Strategy<Value = Chunk> {
    use Stage::{First, Last, Only, Part, Whole};
    let stage = prop_oneof![4 => Just(Whole), 1 => select(vec![First, Part, Last, Only])];
    // as an owner would write it, or not at all so
    let items = vec((family(), vec(item(), 0..4)), 0..3);
    let items = (items, any::<bool>()).prop_map(|(mut items, sorts)| {
        if sorts {
            for (_, items) in &mut items {
                items.sort_by_key(Item::seq);
                items.dedup_by_key(|item| item.seq());
            }
        }
        items
    });
    let alive = vec((family(), vec(number(), 0..4)), 0..2);
    (
        (0..8u64, node(), life(), number(), number()),
        stage,
        items,
        alive,
    )
        .prop_map(
            |((sub, owner, life, from, to), stage, items, alive)| Chunk {
                sub,
                owner,
                life,
                from,
                to,
                stage,
                items,
                alive,
            },
        )
}

fn known() -> impl Strategy<Value = Vec<(NodeId, Incarnation, u64)>> {
    vec((node(), life(), number()), 0..4)
}

fn wire() -> impl Strategy<Value = Wire> {
    let subscribe = (
        number(),
        family(),
        proptest::option::of(key()),
        any::<bool>(),
        known(),
    );
    let subscribe = subscribe.prop_map(|(sub, family, key, once, known)| {
        Wire::Subscribe(Subscribe {
            sub,
            family,
            key,
            once,
            known,
        })
    });
    prop_oneof![
        12 => chunk().prop_map(Wire::Chunk),
        3 => number().prop_map(Wire::Accept),
        1 => ".{0,9}".prop_map(Wire::Decline),
        3 => (known(), any::<bool>()).prop_map(|(shards, last)| Wire::Known { shards, last }),
        2 => number().prop_map(Wire::Synced),
        4 => (number(), number()).prop_map(|(counter, version)| Wire::Attach { counter, version }),
        1 => Just(Wire::Detach),
        5 => subscribe,
        1 => number().prop_map(Wire::Unsubscribe),
        3 => (number(), number()).prop_map(|(version, wall_ms)| Wire::Attached { version, wall_ms }),
        2 => number().prop_map(Wire::Applied),
        2 => (number(), number()).prop_map(|(seq, n)| Wire::Refused { seq, why: WriteRefused::NodeFull(n) }),
        2 => (number(), node(), life()).prop_map(|(sub, owner, life)| Wire::Gone { sub, owner, life }),
        1 => vec((node(), vec("[a-z]{0,3}", 0..3)), 0..3).prop_map(Wire::Globals),
        1 => (family(), key(), vec(node(), 0..3))
            .prop_map(|(family, key, owners)| Wire::Conflict { family, key, owners }),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    /// A link with that node, of that life, comes up, or ends.
    Up(&'static str, Incarnation),
    Down(&'static str, bool),
    Says(&'static str, Wire),
    /// It asks for a home, or writes as an owner does.
    Attaches(&'static str, u64),
    Owns(&'static str, Chunk),
    Bytes(&'static str, Vec<u8>),
    Seeds(&'static str),
    Set(Family, std::sync::Arc<str>, Packed),
    Remove(Family, std::sync::Arc<str>),
    Watch(Family),
    Ask(Family),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let other = || select(&NODES[1..]);
    prop_oneof![
        3 => (other(), life()).prop_map(|(node, life)| Step::Up(node, life)),
        1 => (other(), any::<bool>()).prop_map(|(node, orderly)| Step::Down(node, orderly)),
        30 => (other(), wire()).prop_map(|(node, wire)| Step::Says(node, wire)),
        6 => (other(), number()).prop_map(|(node, version)| Step::Attaches(node, version)),
        15 => (other(), chunk()).prop_map(|(node, chunk)| Step::Owns(node, chunk)),
        1 => (other(), vec(any::<u8>(), 0..40)).prop_map(|(node, bytes)| Step::Bytes(node, bytes)),
        1 => other().prop_map(Step::Seeds),
        2 => (family(), key(), value()).prop_map(|(family, key, value)| Step::Set(family, key, value)),
        2 => (family(), key()).prop_map(|(family, key)| Step::Remove(family, key)),
        1 => family().prop_map(Step::Watch),
        1 => family().prop_map(Step::Ask),
        2 => (0..100_000u64).prop_map(Step::Wait),
    ]
}

struct Told {
    db: Db,
    now: Duration,
    links: BTreeMap<&'static str, LinkId>,
    next: u64,
    limits: Limits,
    lives: BTreeMap<&'static str, Incarnation>,
    versions: BTreeMap<&'static str, u64>,
    /// What trusted nodes said: they may bring any entries.
    trusted: usize,
}

impl Told {
    fn new(name: &str, global: bool) -> Told {
        let limits = limits();
        let config = Config {
            node: name.parse().unwrap(),
            life: Incarnation::new(1, 1),
            global,
            policy: trusting("g-*"),
            limits: limits.clone(),
            seed: 1,
        };
        let now = Duration::from_secs(1_000);
        let at = Now {
            mono: now,
            wall_ms: 1_000_000,
        };
        let mut db = Db::new(config, at);
        db.set_seeds_tried(at);
        Told {
            db,
            now,
            links: BTreeMap::new(),
            next: 0,
            limits,
            lives: BTreeMap::new(),
            versions: BTreeMap::new(),
            trusted: 0,
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: self.now,
            wall_ms: self.now.as_millis() as u64,
        }
    }

    fn up(&mut self, node: &'static str, life: Incarnation) {
        if self.links.contains_key(node) {
            return;
        }
        self.next += 1;
        let link = LinkId(NonZeroU64::new(self.next).unwrap());
        self.links.insert(node, link);
        if self.lives.insert(node, life) != Some(life) {
            self.versions.remove(node);
        }
        let mut features = vec!["db".to_owned()];
        if node.starts_with("g-") || node == "liar" {
            features.push("global".to_owned());
        }
        let now = self.now();
        let node: NodeId = node.parse().unwrap();
        let peer = PeerIdentity::of_node(node.clone());
        let policy = trusting("g-*").for_peer(&peer).into();
        self.db
            .handle_link_up(link, &node, life, &features, policy, now);
    }

    fn down(&mut self, node: &str, orderly: bool) {
        if let Some(link) = self.links.remove(node) {
            let now = self.now();
            self.db.handle_link_down(link, orderly, now);
        }
    }

    /// Makes it one that its owner might have written.
    fn owned(&mut self, node: &'static str, mut chunk: Chunk) -> Chunk {
        let version = self.versions.entry(node).or_default();
        chunk.owner = node.parse().unwrap();
        chunk.life = self.lives[node];
        chunk.sub = 0;
        chunk.from = chunk.from.min(*version);
        let mut to = chunk.from;
        for (_, items) in &mut chunk.items {
            items.sort_by_key(Item::seq);
            items.dedup_by_key(|item| item.seq());
            items.retain(|item| item.seq() > chunk.from);
            to = to.max(items.last().map_or(0, Item::seq));
        }
        chunk.to = to;
        if chunk.stage != Stage::Part && chunk.stage != Stage::First {
            *version = to.max(*version);
        }
        chunk
    }

    fn told(&mut self, node: &'static str, message: &Message) {
        self.up(node, Incarnation::new(1, 1));
        let (link, now) = (self.links[node], self.now());
        match self.db.handle_message(link, message, now) {
            Ok(()) => {}
            Err(CloseReason::Protocol(_) | CloseReason::Overrun) => self.down(node, false),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn step(&mut self, step: Step) {
        let now = self.now();
        match step {
            Step::Up(node, life) => self.up(node, life),
            Step::Down(node, orderly) => self.down(node, orderly),
            Step::Says(node, wire) => {
                if node.starts_with("g-") {
                    self.trusted += 1;
                }
                self.told(node, &wire.encode(&Limits::default()).unwrap());
            }
            Step::Attaches(node, version) => {
                let counter = self.next;
                let wire = Wire::Attach { counter, version };
                self.told(node, &wire.encode(&Limits::default()).unwrap());
            }
            Step::Owns(node, chunk) => {
                if node.starts_with("g-") {
                    self.trusted += 1;
                }
                self.up(node, Incarnation::new(1, 1));
                let chunk = self.owned(node, chunk);
                let wire = Wire::Chunk(chunk);
                self.told(node, &wire.encode(&Limits::default()).unwrap());
            }
            Step::Bytes(node, bytes) => {
                for format in [Format::cbor(), Format::json()] {
                    self.told(node, &Message::from_wire(bytes.clone().into(), format));
                }
            }
            Step::Seeds(node) => self.db.set_seeds([node.parse().unwrap()].into(), now),
            Step::Set(family, key, value) => {
                if let Ok(seq) = self.db.set(&family, &key, value, now) {
                    self.db.wait_for(seq);
                }
            }
            Step::Remove(family, key) => {
                let _ = self.db.remove(&family, &[&*key], now);
            }
            Step::Watch(family) => {
                let watch = self.db.watch(&family, now);
                for _ in 0..1_000 {
                    if self.db.next_change(watch).is_none() {
                        break;
                    }
                }
                if self.next.is_multiple_of(2) {
                    self.db.unwatch(watch);
                }
            }
            Step::Ask(family) => {
                self.db.query(Query::Family(family), now);
            }
            Step::Wait(ms) => {
                self.now += Duration::from_millis(ms);
                for _ in 0..100 {
                    let due = self.db.poll_timeout();
                    if due.is_none_or(|due| due > self.now) {
                        break;
                    }
                    let now = self.now();
                    self.db.handle_timeout(now);
                }
            }
        }
        self.rest();
    }

    /// All that it wants to say and do; it comes to an end.
    fn rest(&mut self) {
        let mut said = 0;
        loop {
            let mut idle = true;
            while self.db.poll_output().is_some() {
                said += 1;
                assert!(said < 20_000, "it asks for ever");
            }
            for link in self.db.take_ready() {
                let now = self.now();
                while self.db.transmit(link, now).is_some() {
                    idle = false;
                    said += 1;
                    assert!(said < 20_000, "it talks for ever");
                }
            }
            if idle {
                break;
            }
        }
        let held = self.db.summary();
        // what trusted ones bring is not measured here; a leaf's summary is of its own entries
        if self.trusted == 0 {
            assert!(
                held.held_entries <= self.limits.db_entries_max as u64 + 20,
                "{held:?}"
            );
            assert!(
                held.held_bytes <= self.limits.db_bytes_max as u64 + 2_000,
                "{held:?}"
            );
        }
    }
}

fn run(name: &str, global: bool, steps: Vec<Step>) {
    let mut told = Told::new(name, global);
    for step in steps {
        told.step(step);
    }
}

/// `PROPTEST_CASES` for more.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").map_or(300, |cases| cases.parse().unwrap());
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    // R9
    #[test]
    fn a_global_node_bears_anything(steps in vec(step(), 1..120)) {
        run("g-me", true, steps);
    }

    // R9
    #[test]
    fn an_ordinary_node_bears_anything(steps in vec(step(), 1..120)) {
        run("me", false, steps);
    }

    // R9: without any node that is trusted what it holds is bounded
    #[test]
    fn strangers_fill_no_global_node(steps in vec(step(), 1..200)) {
        let strange = |step: &Step| match step {
            Step::Up(node, _)
            | Step::Says(node, _)
            | Step::Owns(node, _)
            | Step::Attaches(node, _)
            | Step::Bytes(node, _) => !node.starts_with("g-"),
            Step::Seeds(_) => false,
            _ => true,
        };
        run("g-me", true, steps.into_iter().filter(strange).collect());
    }
}
