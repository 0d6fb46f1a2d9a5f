//! The database between nodes of a test.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZeroU64,
    time::Duration,
};

use super::{
    engine::{Config, Db, GLOBAL, Output, Query, WatchId},
    item::Packed,
    name::Family,
    watch::Change,
};
use crate::proto::{
    id::Incarnation,
    limits::{Limits, Now},
    link::LinkId,
    message::Message,
};

/// Nodes, and links between them that carry what is sent at once.
struct Net {
    limits: Limits,
    now: Duration,
    nodes: BTreeMap<String, Db>,
    /// By node and link: the node and the link at the other end.
    links: BTreeMap<(String, LinkId), (String, LinkId)>,
    wires: VecDeque<(String, LinkId, Message)>,
    outputs: BTreeMap<String, Vec<Output>>,
    next: u64,
    bytes: usize,
    globals: Vec<String>,
}

impl Net {
    fn new(limits: Limits) -> Self {
        Net {
            limits,
            now: Duration::from_secs(1_000_000),
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            wires: VecDeque::new(),
            outputs: BTreeMap::new(),
            next: 1,
            bytes: 0,
            globals: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: self.now,
            wall_ms: self.now.as_millis() as u64,
        }
    }

    fn life(&self) -> Incarnation {
        Incarnation::new(self.now.as_millis() as u64, self.next.into())
    }

    fn start(&mut self, name: &str, global: bool) {
        self.next += 1;
        let config = Config {
            node: name.parse().unwrap(),
            life: self.life(),
            global,
            trusted: vec!["g*".parse().unwrap()],
            limits: self.limits.clone(),
            seed: self.next,
        };
        let mut db = Db::new(config, self.now());
        db.set_seeds_tried(self.now());
        self.nodes.insert(name.to_owned(), db);
        if global {
            self.globals.push(name.to_owned());
        }
        self.settle();
    }

    fn link(&mut self, a: &str, b: &str) {
        self.next += 1;
        let id = LinkId(NonZeroU64::new(self.next).unwrap());
        for (from, to) in [(a, b), (b, a)] {
            self.links
                .insert((from.to_owned(), id), (to.to_owned(), id));
            let (node, life) = {
                let other = &self.nodes[to];
                (other.node().clone(), other.life())
            };
            let features = match self.nodes[to].is_global() {
                true => vec!["db".to_owned(), GLOBAL.to_owned()],
                false => vec!["db".to_owned()],
            };
            let now = self.now();
            let db = self.nodes.get_mut(from).unwrap();
            db.handle_link_up(id, &node, life, &features, now);
        }
        self.settle();
    }

    fn cut(&mut self, a: &str, b: &str) {
        let links: Vec<_> = self
            .links
            .iter()
            .filter(|((from, _), (to, _))| from == a && to == b || from == b && to == a)
            .map(|(at, _)| at.clone())
            .collect();
        for (node, link) in links {
            self.links.remove(&(node.clone(), link));
            let now = self.now();
            if let Some(db) = self.nodes.get_mut(&node) {
                db.handle_link_down(link, false, now);
            }
        }
        self.settle();
    }

    fn crash(&mut self, name: &str) {
        self.nodes.remove(name);
        let peers: Vec<String> = self
            .links
            .iter()
            .filter(|((from, _), _)| from == name)
            .map(|(_, (to, _))| to.clone())
            .collect();
        for peer in peers {
            self.cut(name, &peer);
        }
    }

    fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut idle = true;
            for (name, db) in &mut self.nodes {
                let outputs = self.outputs.entry(name.clone()).or_default();
                while let Some(output) = db.poll_output() {
                    outputs.push(output);
                    idle = false;
                }
                for link in db.take_ready() {
                    let Some((to, other)) = self.links.get(&(name.clone(), link)) else {
                        continue;
                    };
                    let now = Now {
                        mono: self.now,
                        wall_ms: self.now.as_millis() as u64,
                    };
                    while let Some(message) = db.transmit(link, now) {
                        self.bytes += message.encoded_len();
                        self.wires.push_back((to.clone(), *other, message));
                        idle = false;
                    }
                }
            }
            while let Some((to, link, message)) = self.wires.pop_front() {
                let now = self.now();
                if let Some(db) = self.nodes.get_mut(&to)
                    && self.links.contains_key(&(to.clone(), link))
                {
                    db.handle_message(link, &message, now).unwrap();
                }
                idle = false;
            }
            if idle {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let next = self.nodes.values().filter_map(Db::poll_timeout).min();
            let Some(at) = next.filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            let now = self.now();
            for db in self.nodes.values_mut() {
                db.handle_timeout(now);
            }
            self.settle();
        }
        self.now = end;
    }

    fn set(&mut self, node: &str, family: &str, key: &str, value: u64) {
        let now = self.now();
        let value = Packed::encode(&value, &self.limits).unwrap();
        let family = family.parse().unwrap();
        let db = self.nodes.get_mut(node).unwrap();
        db.set(&family, key, value, now).unwrap();
        self.settle();
    }

    fn remove(&mut self, node: &str, family: &str, key: &str) {
        let now = self.now();
        let family = family.parse().unwrap();
        let db = self.nodes.get_mut(node).unwrap();
        assert_eq!(db.remove(&family, &[key], now), Ok(1));
        self.settle();
    }

    /// What that node sees, by a query.
    fn see(&mut self, node: &str, family: &str) -> Vec<(String, u64)> {
        let now = self.now();
        let db = self.nodes.get_mut(node).unwrap();
        let id = db.query(Query::Family(family.parse().unwrap()), now);
        self.settle();
        let outputs = self.outputs.get_mut(node).unwrap();
        let answer = outputs.drain(..).find_map(|output| match output {
            Output::Answer(answered, found) if answered == id => Some(found),
            _ => None,
        });
        answer
            .unwrap()
            .into_iter()
            .map(|(key, found)| (key.to_string(), found.value.decode().unwrap()))
            .collect()
    }

    fn watch(&mut self, node: &str, family: &str) -> WatchId {
        let now = self.now();
        let family: Family = family.parse().unwrap();
        let id = self.nodes.get_mut(node).unwrap().watch(&family, now);
        self.settle();
        id
    }

    fn changes(&mut self, node: &str, watch: WatchId) -> Vec<String> {
        let db = self.nodes.get_mut(node).unwrap();
        std::iter::from_fn(|| db.next_change(watch))
            .map(|change| match change {
                Change::Added(key, found) => format!("+{key}={}", found.value.value()),
                Change::Changed(key, found) => format!("~{key}={}", found.value.value()),
                Change::Deleted(key) => format!("-{key}"),
                Change::Conflict(key, found) => format!("!{key}:{}", found.len()),
                Change::Synced => "synced".to_owned(),
            })
            .collect()
    }
}

fn pairs(list: &[(&str, u64)]) -> Vec<(String, u64)> {
    list.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect()
}

/// Two global nodes, and one node attached to each.
fn two_homes() -> Net {
    let mut net = Net::new(Limits::default());
    net.start("g1", true);
    net.start("g2", true);
    net.link("g1", "g2");
    net.start("a", false);
    net.start("b", false);
    net.link("a", "g1");
    net.link("b", "g2");
    net
}

// R1 R3 R7
#[test]
fn what_one_node_sets_the_others_see_and_it_goes_with_its_owner() {
    let mut net = two_homes();
    net.set("a", "f", "k", 1);
    for node in ["a", "g1", "g2", "b"] {
        assert_eq!(net.see(node, "f"), pairs(&[("k", 1)]), "{node}");
    }
    net.set("b", "f", "l", 2);
    net.remove("a", "f", "k");
    for node in ["a", "g1", "g2", "b"] {
        assert_eq!(net.see(node, "f"), pairs(&[("l", 2)]), "{node}");
    }
    net.crash("b");
    for node in ["a", "g1", "g2"] {
        assert_eq!(net.see(node, "f"), pairs(&[]), "{node}");
    }
}

// R2
#[test]
fn of_several_owners_the_latest_shows_and_then_the_next() {
    let mut net = two_homes();
    net.set("a", "f", "k", 1);
    net.wait(Duration::from_millis(5));
    net.set("b", "f", "k", 2);
    for node in ["a", "g1", "g2", "b"] {
        assert_eq!(net.see(node, "f"), pairs(&[("k", 2)]), "{node}");
    }
    net.crash("b");
    for node in ["a", "g1", "g2"] {
        assert_eq!(net.see(node, "f"), pairs(&[("k", 1)]), "{node}");
    }
}

// R5 R6
#[test]
fn a_home_that_dies_costs_no_entry_and_no_flapping() {
    let mut net = two_homes();
    net.set("a", "f", "k", 1);
    let watch = net.watch("b", "f");
    let local = net.watch("g2", "f");
    assert_eq!(net.changes("b", watch), ["+k=1", "synced"]);
    assert_eq!(net.changes("g2", local), ["+k=1", "synced"]);
    net.crash("g1");
    net.wait(Duration::from_secs(2));
    net.link("a", "g2");
    net.wait(Duration::from_secs(20));
    net.set("a", "f", "l", 2);
    assert_eq!(net.changes("b", watch), ["+l=2"]);
    assert_eq!(net.changes("g2", local), ["+l=2"]);
    // and one that dies for good, with all that is attached to it
    net.crash("a");
    assert_eq!(net.changes("b", watch), ["-k", "-l"]);
}

// R6
#[test]
fn a_watcher_goes_on_with_the_difference_at_another_home() {
    let mut net = two_homes();
    for n in 0..50 {
        net.set("a", "f", &format!("k{n}"), n);
    }
    net.start("w", false);
    net.link("w", "g2");
    let watch = net.watch("w", "f");
    assert_eq!(net.changes("w", watch).len(), 51);
    net.cut("w", "g2");
    net.set("a", "f", "new", 1);
    net.bytes = 0;
    net.link("w", "g1");
    net.wait(Duration::from_secs(10));
    assert_eq!(net.changes("w", watch), ["+new=1"]);
    assert!(net.bytes < 2_000, "{}", net.bytes);
}

// R3 R8
#[test]
fn nodes_that_meet_again_exchange_the_difference_alone() {
    let mut net = two_homes();
    for n in 0..500 {
        net.set("a", "f", &format!("k{n}"), n);
        net.set("b", "g", &format!("k{n}"), n);
    }
    net.cut("g1", "g2");
    net.wait(Duration::from_secs(10));
    assert_eq!(net.see("b", "f").len(), 0);
    for n in 0..10 {
        net.set("a", "f", &format!("k{n}"), n + 1_000);
        net.remove("b", "g", &format!("k{n}"));
    }
    net.bytes = 0;
    net.link("g1", "g2");
    assert!(net.bytes < 4_000, "{}", net.bytes);
    assert_eq!(net.see("g1", "g").len(), 490);
    assert_eq!(net.see("b", "f").len(), 500);
    let (one, two) = (net.nodes["g1"].summary(), net.nodes["g2"].summary());
    assert_eq!(one.digest, two.digest);
}

// R3
#[test]
fn global_nodes_that_are_linked_only_through_others_hold_the_same() {
    let mut net = Net::new(Limits::default());
    for name in ["g1", "g2", "g3"] {
        net.start(name, true);
    }
    net.link("g1", "g2");
    net.link("g2", "g3");
    net.start("a", false);
    net.link("a", "g1");
    net.set("a", "f", "k", 1);
    net.set("g3", "f", "l", 2);
    for node in ["g1", "g2", "g3", "a"] {
        assert_eq!(net.see(node, "f"), pairs(&[("k", 1), ("l", 2)]), "{node}");
    }
    let digests = net.nodes.values().filter(|db| db.is_global());
    let digests: Vec<String> = digests.map(|db| db.summary().digest).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
}

// R8: removals that the owner has forgotten do not come back
#[test]
fn who_missed_forgotten_removals_learns_of_them_all_the_same() {
    let limits = Limits {
        db_tombstones_max: 4,
        ..Limits::default()
    };
    let mut net = Net::new(limits);
    net.start("g1", true);
    net.start("g2", true);
    net.link("g1", "g2");
    net.start("a", false);
    net.link("a", "g1");
    for n in 0..40 {
        net.set("a", "f", &format!("k{n:02}"), n);
    }
    let watch = net.watch("g2", "f");
    net.changes("g2", watch);
    net.cut("g1", "g2");
    for n in 0..35 {
        net.remove("a", "f", &format!("k{n:02}"));
    }
    net.set("a", "f", "k36", 1_000);
    net.link("g1", "g2");
    assert_eq!(net.see("g2", "f").len(), 5);
    let changes = net.changes("g2", watch);
    assert_eq!(changes.iter().filter(|c| c.starts_with('-')).count(), 35);
    assert!(changes.contains(&"~k36=1000".to_owned()));
}

// R9
#[test]
fn a_home_refuses_what_is_too_far_ahead_and_its_owner_drops_it() {
    let mut net = two_homes();
    let family: Family = "f".parse().unwrap();
    let value = Packed::encode(&1, &net.limits).unwrap();
    let mut now = net.now();
    now.wall_ms += 6_000;
    let a = net.nodes.get_mut("a").unwrap();
    let seq = a.set(&family, "k", value, now).unwrap();
    assert_eq!(a.wait_for(seq), None);
    net.settle();
    let outputs = &net.outputs["a"];
    assert!(
        outputs
            .iter()
            .any(|o| matches!(o, Output::Written(s, Err(_)) if *s == seq))
    );
    for node in ["a", "g1", "b"] {
        assert_eq!(net.see(node, "f"), pairs(&[]), "{node}");
    }
    net.set("a", "f", "k", 2);
    assert_eq!(net.see("b", "f"), pairs(&[("k", 2)]));
}

// R3: a home that never had an entry passes its removal on
#[test]
fn what_was_removed_between_two_homes_is_gone_where_it_was_known() {
    let mut net = two_homes();
    net.set("a", "f", "k", 1);
    net.crash("g1");
    net.remove("a", "f", "k");
    net.set("a", "f", "l", 2);
    net.start("g3", true);
    net.link("a", "g3");
    net.link("g3", "g2");
    assert_eq!(net.see("b", "f"), pairs(&[("l", 2)]));
}

// R3 R9
#[test]
fn a_refusal_that_is_lost_with_the_home_parts_no_views() {
    let mut net = two_homes();
    let family: Family = "f".parse().unwrap();
    let value = Packed::encode(&1, &net.limits).unwrap();
    let mut now = net.now();
    now.wall_ms += 6_000;
    let a = net.nodes.get_mut("a").unwrap();
    let seq = a.set(&family, "k", value, now).unwrap();
    assert_eq!(a.wait_for(seq), None);
    // what g1 answers does not arrive
    let links = net.links.clone();
    net.links
        .retain(|(from, _), (to, _)| (&**from, &**to) != ("g1", "a"));
    net.settle();
    net.links = links;
    net.cut("a", "g1");
    net.wait(Duration::from_secs(10));
    net.link("a", "g2");
    for node in ["a", "g1", "g2", "b"] {
        assert_eq!(net.see(node, "f"), pairs(&[("k", 1)]), "{node}");
    }
    // under the number that its writer knows
    let now = net.now();
    let a = net.nodes.get_mut("a").unwrap();
    assert!(a.remove_if(&family, "k", seq, now));
    net.settle();
    assert_eq!(net.see("b", "f"), pairs(&[]));
}

// R2: told as an event with all owners
#[test]
fn a_conflict_is_told_to_readers_and_to_both_owners() {
    let mut net = two_homes();
    let watch = net.watch("g1", "f");
    net.set("a", "f", "k", 1);
    net.wait(Duration::from_millis(5));
    net.set("b", "f", "k", 2);
    let told = |net: &Net, node: &str| {
        let outputs = &net.outputs[node];
        outputs.iter().any(
            |o| matches!(o, Output::Conflict(_, key, owners) if **key == *"k" && owners.len() == 2),
        )
    };
    assert!(told(&net, "a"));
    assert!(told(&net, "b"));
    assert_eq!(net.changes("g1", watch), ["synced", "+k=2", "!k:2"]);
}

/// A slow reader is told one change a key.
// R6
#[test]
fn what_a_slow_reader_missed_is_one_change_a_key() {
    let mut net = two_homes();
    let watch = net.watch("b", "f");
    assert_eq!(net.changes("b", watch), ["synced"]);
    for n in 0..100 {
        net.set("a", "f", "k", n);
        net.set("a", "f", "passing", n);
        net.remove("a", "f", "passing");
    }
    assert_eq!(net.changes("b", watch), ["+k=99"]);
}
