//! Links between simulated nodes: in-order pipes of messages, what is under way in them, and what goes wrong with them.

use std::{collections::VecDeque, time::Duration};

use portmesh::proto::message::Message;

/// Names a link; both ends know it by that number.
pub type ConnId = u64;

/// What an end of a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It has not heard that the connection is the link.
    Pending,
    Up,
    Down,
}

/// What travels.
#[derive(Debug, Clone)]
pub enum Packet {
    /// The connection is the link.
    Activate,
    Db(Message),
    /// The sender stops.
    Leave,
}

/// One direction of a link.
#[derive(Debug)]
pub struct Way {
    pub queue: VecDeque<(Duration, Packet)>,
    /// When the last of them arrives.
    last: Duration,
    pub delay: Duration,
    /// What is sent vanishes.
    pub is_deaf: bool,
    /// Since when nothing can have been heard.
    pub silent: Option<Duration>,
    /// Everything waits from then until then.
    stalled: Option<(Duration, Duration)>,
    /// There was no room for more.
    pub is_full: bool,
}

impl Way {
    pub fn new(delay: Duration) -> Self {
        Way {
            queue: VecDeque::new(),
            last: Duration::ZERO,
            delay,
            is_deaf: false,
            silent: None,
            stalled: None,
            is_full: false,
        }
    }

    /// Puts it on its way; when it arrives, if it does.
    pub fn send(&mut self, packet: Packet, now: Duration, more: Duration) -> Option<Duration> {
        if self.is_deaf {
            return None;
        }
        let held = self.stalled.map_or(Duration::ZERO, |(_, until)| until);
        let at = (now + self.delay + more).max(self.last).max(held);
        self.last = at;
        self.queue.push_back((at, packet));
        Some(at)
    }

    /// What has arrived.
    pub fn receive(&mut self, now: Duration) -> Option<Packet> {
        let (at, _) = self.queue.front()?;
        if *at > now {
            return None;
        }
        self.queue.pop_front().map(|(_, packet)| packet)
    }

    /// Holds everything until then. How many were held.
    pub fn stall(&mut self, now: Duration, until: Duration) -> usize {
        self.stalled = Some((now, until));
        self.last = self.last.max(until);
        for (at, _) in &mut self.queue {
            *at = (*at).max(until);
        }
        self.queue.len()
    }

    /// Nothing passes any more.
    pub fn silence(&mut self, now: Duration, drop: bool) {
        self.is_deaf = true;
        self.silent.get_or_insert(now);
        if drop {
            self.queue.clear();
        }
    }

    /// Since when the other end hears nothing.
    pub fn silent_since(&self, now: Duration) -> Option<Duration> {
        let stalled = self.stalled.filter(|(_, until)| *until > now);
        let stalled = stalled.map(|(from, _)| from);
        [self.silent, stalled].into_iter().flatten().min()
    }
}

/// A link, or a connection that is about to be one. The first end is that of the node that decides.
#[derive(Debug)]
pub struct Conn {
    pub ends: [usize; 2],
    pub lives: [u64; 2],
    pub state: [End; 2],
    /// From each end to the other.
    pub ways: [Way; 2],
}

impl Conn {
    pub fn side(&self, host: usize) -> usize {
        usize::from(self.ends[0] != host)
    }

    pub fn is_between(&self, a: usize, b: usize) -> bool {
        self.ends == [a, b] || self.ends == [b, a]
    }

    pub fn is_up(&self) -> bool {
        self.state == [End::Up; 2]
    }

    pub fn is_over(&self) -> bool {
        self.state.iter().all(|end| *end == End::Down)
    }
}
