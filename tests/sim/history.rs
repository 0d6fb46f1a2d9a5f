//! What happened in a run, in order, and how often each kind of fault and race did.

use std::{collections::BTreeMap, fmt::Write, hash::Hasher, time::Duration};

use portmesh::{
    NodeId, PortId, PortName,
    proto::{close::CloseReason, link::LinkId, message::Reason},
};

use crate::net::ConnId;

/// Names a message, a monitor, a kill: each of a number of its own within the run.
pub type No = u64;

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Started {
        node: NodeId,
    },
    Crashed,
    /// Processes nothing until then.
    Hung(Duration),
    Woke,
    Up {
        peer: NodeId,
        link: LinkId,
        conn: ConnId,
    },
    Down {
        peer: NodeId,
        link: LinkId,
        conn: ConnId,
        reason: CloseReason,
    },
    Unreachable {
        peer: NodeId,
        reason: CloseReason,
    },
    /// Accepted.
    Sent {
        to: PortId,
        message: No,
        bytes: usize,
    },
    /// Not accepted.
    SendRefused {
        to: PortId,
        message: No,
    },
    Handled {
        port: PortName,
        message: No,
    },
    Monitored {
        to: PortId,
        watch: No,
    },
    /// `taken`: before it fired.
    Unmonitored {
        watch: No,
        taken: bool,
    },
    Fired {
        watch: No,
        reason: Reason,
    },
    KillSent {
        to: PortId,
        kill: No,
    },
    SpawnSent {
        port: PortId,
        function: &'static str,
    },
    /// A port exists.
    Opened {
        port: PortName,
    },
    /// Its init function ran.
    Ready {
        port: PortName,
    },
    Died {
        port: PortName,
        reason: Reason,
    },
    /// The port refused the message: a loss for its sender.
    Refused {
        port: PortName,
        message: No,
    },
    /// A measure over its bound (P8).
    Measured {
        what: &'static str,
        value: usize,
        bound: usize,
    },
    /// A fault of the network, on that connection, which only one or both hosts may find out.
    Broken {
        conn: ConnId,
        fault: &'static str,
    },
    /// Nothing passes from this host to that one until then.
    Stalled {
        to: usize,
        until: Duration,
    },
    /// The peer told of a loss on its port.
    LossTold {
        port: PortId,
    },
    Probed {
        link: LinkId,
    },
    Answered {
        link: LinkId,
    },
    /// A connection waits no longer to be the link.
    Turned {
        peer: NodeId,
        conn: ConnId,
        reason: CloseReason,
    },
    /// The faults have ended; only what follows from them still happens.
    Calm,
    /// Something that waits at the very end.
    Stuck {
        text: String,
    },
}

/// By whom, when, what.
#[derive(Debug, Clone)]
pub struct Entry {
    pub at: Duration,
    pub host: usize,
    /// Which of the host's lives.
    pub life: u32,
    pub what: What,
}

#[derive(Debug, Default)]
pub struct History {
    pub entries: Vec<Entry>,
    pub counts: BTreeMap<&'static str, u64>,
}

impl History {
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// The same for the same run.
    pub fn digest(&self) -> u64 {
        let mut digest = std::hash::DefaultHasher::new();
        let mut text = String::new();
        for entry in &self.entries {
            text.clear();
            let _ = write!(text, "{entry:?}");
            digest.write(text.as_bytes());
        }
        digest.finish()
    }
}
