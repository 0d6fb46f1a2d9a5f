//! What the nodes of a run share: the time, the network, the events to come, the history.

use std::{collections::BTreeMap, time::Duration};

use portmesh::{
    Limits, NodeId, PortId,
    proto::{
        limits::Now,
        message::{Message, Reason},
        value::Value,
    },
};

use crate::{
    history::{Entry, History, No, What},
    mutants::Mutant,
    net::{ConnId, Net},
    plan::Op,
    rng::Rng,
};
use portmesh::PortName;

/// What happens next to whom.
#[derive(Debug, Clone)]
pub enum Event {
    /// Bytes arrived at that side of a connection, or there is room to write.
    Signal {
        host: usize,
        conn: ConnId,
        side: usize,
    },
    Timer {
        host: usize,
        life: u32,
    },
    PortStep {
        host: usize,
        life: u32,
        port: PortName,
    },
    /// The attempt to connect is through (or nobody is there).
    Dialed {
        host: usize,
        life: u32,
        node: NodeId,
        target: usize,
    },
    Wake {
        host: usize,
    },
    Restart {
        host: usize,
        older: bool,
    },
    Op(Op),
}

#[derive(Debug)]
pub struct World {
    pub now: Duration,
    pub net: Net,
    pub queue: BTreeMap<(Duration, u64), Event>,
    seq: u64,
    pub history: History,
    pub rng: Rng,
    pub mutant: Mutant,
    /// The bounds of all nodes; windows differ.
    pub limits: Limits,
    /// Ports that were ever opened or asked for.
    pub directory: Vec<PortId>,
    pub addresses: BTreeMap<NodeId, usize>,
    pub alive: Vec<bool>,
    next_no: No,
}

impl World {
    pub fn new(
        limits: Limits,
        net: Net,
        addresses: BTreeMap<NodeId, usize>,
        rng: Rng,
        mutant: Mutant,
    ) -> Self {
        World {
            now: crate::cluster::start(),
            alive: vec![false; addresses.len() + 1],
            net,
            queue: BTreeMap::new(),
            seq: 0,
            history: History::default(),
            rng,
            mutant,
            limits,
            directory: Vec::new(),
            addresses,
            next_no: 1,
        }
    }

    pub fn now(&self) -> Now {
        Now {
            mono: self.now,
            wall_ms: self.now.as_millis() as u64,
        }
    }

    pub fn no(&mut self) -> No {
        self.next_no += 1;
        self.next_no
    }

    pub fn at(&mut self, at: Duration, event: Event) {
        self.seq += 1;
        self.queue.insert((at.max(self.now), self.seq), event);
    }

    pub fn after(&mut self, after: Duration, event: Event) {
        self.at(self.now + after, event);
    }

    pub fn log(&mut self, host: usize, life: u32, what: What) {
        let at = self.now;
        self.history.entries.push(Entry {
            at,
            host,
            life,
            what,
        });
    }

    pub fn count(&mut self, what: &'static str) {
        self.history.count(what);
    }

    pub fn message(&self, tag: &str, no: No, size: usize) -> Message {
        Message::encode(&(tag, no, Value::Bytes(vec![0x5a; size])), &self.limits).unwrap()
    }

    pub fn kill_reason(no: No) -> Reason {
        Reason(vec![Value::Text("killed".into()), Value::Int(no.into())])
    }
}
