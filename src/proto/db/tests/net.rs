//! Nodes of a test, and what lies between them.

use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZeroU64,
    time::Duration,
};

use super::super::{
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
    policy::{Operation, PeerIdentity, Policy, Rule},
};

/// Takes nodes of that pattern for global nodes.
fn trusting(pattern: &str) -> Policy {
    let rule = Rule::for_nodes(pattern).unwrap();
    Policy::default().with(rule.allow_all(Operation::Global))
}

/// Nodes, and links between them that carry what is sent at once.
pub(super) struct Net {
    pub(super) limits: Limits,
    pub(super) now: Duration,
    pub(super) nodes: BTreeMap<String, Db>,
    /// By node and link: the node and the link at the other end.
    pub(super) links: BTreeMap<(String, LinkId), (String, LinkId)>,
    pub(super) wires: VecDeque<(String, LinkId, Message)>,
    pub(super) outputs: BTreeMap<String, Vec<Output>>,
    pub(super) next: u64,
    pub(super) bytes: usize,
    pub(super) globals: Vec<String>,
    /// A subscription that is read as soon as there is something, so that nothing of it is coalesced.
    pub(super) follows: Option<(String, WatchId)>,
    pub(super) followed: Vec<String>,
}

impl Net {
    pub(super) fn new(limits: Limits) -> Self {
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
            follows: None,
            followed: Vec::new(),
        }
    }

    pub(super) fn now(&self) -> Now {
        Now {
            mono: self.now,
            wall_ms: self.now.as_millis() as u64,
        }
    }

    pub(super) fn life(&self) -> Incarnation {
        Incarnation::new(self.now.as_millis() as u64, self.next.into())
    }

    pub(super) fn start(&mut self, name: &str, global: bool) {
        self.next += 1;
        let config = Config {
            node: name.parse().unwrap(),
            life: self.life(),
            global,
            policy: trusting("g*"),
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

    pub(super) fn link(&mut self, a: &str, b: &str) {
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
            let peer = PeerIdentity::of_node(node.clone());
            let policy = trusting("g*").for_peer(&peer).into();
            db.handle_link_up(id, &node, life, &features, policy, now);
        }
        self.settle();
    }

    pub(super) fn cut(&mut self, a: &str, b: &str) {
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

    pub(super) fn crash(&mut self, name: &str) {
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

    pub(super) fn settle(&mut self) {
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
            let told: Vec<_> = match self.follows.clone() {
                Some((node, watch)) => self.changes(&node, watch),
                None => Vec::new(),
            };
            self.followed.extend(told);
            if idle {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    pub(super) fn wait(&mut self, time: Duration) {
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

    pub(super) fn set(&mut self, node: &str, family: &str, key: &str, value: u64) {
        let now = self.now();
        let value = Packed::encode(&value, &self.limits).unwrap();
        let family = family.parse().unwrap();
        let db = self.nodes.get_mut(node).unwrap();
        db.set(&family, key, value, now).unwrap();
        self.settle();
    }

    pub(super) fn remove(&mut self, node: &str, family: &str, key: &str) {
        let now = self.now();
        let family = family.parse().unwrap();
        let db = self.nodes.get_mut(node).unwrap();
        assert_eq!(db.remove(&family, &[key], now), Ok(1));
        self.settle();
    }

    /// What that node sees, by a query.
    pub(super) fn see(&mut self, node: &str, family: &str) -> Vec<(String, u64)> {
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

    pub(super) fn watch(&mut self, node: &str, family: &str) -> WatchId {
        let now = self.now();
        let family: Family = family.parse().unwrap();
        let id = self.nodes.get_mut(node).unwrap().watch(&family, now);
        self.settle();
        id
    }

    pub(super) fn changes(&mut self, node: &str, watch: WatchId) -> Vec<String> {
        let db = self.nodes.get_mut(node).unwrap();
        std::iter::from_fn(|| db.next_change(watch))
            .map(|change| match change {
                Change::Added(key, found) => format!("+{key}={}", found.value.value()),
                Change::Changed(key, found) => format!("~{key}={}", found.value.value()),
                Change::Deleted(key) => format!("-{key}"),
                Change::Conflict(key, found) => format!("!{key}:{}", found.len()),
                Change::Synced => "synced".to_owned(),
                Change::Denied(text) => format!("denied: {text}"),
            })
            .collect()
    }
}
