//! The schedule of the seeds (L4): which address is tried when, for ever.
//!
//! An address whose node is linked rests as long as it is; every other one is tried again and again. A node that has all
//! it wants of its seeds (it is attached to a home) lets those rest that have answered once.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use super::{id::NodeId, limits::Now, splitmix::SplitMix64};

#[cfg(test)]
mod tests;

/// How long a seed waits before it is tried again. Each pause is a quarter longer or shorter at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedPauses {
    /// After the first failure; each further one in a row doubles it.
    pub first: Duration,
    /// The longest that this comes to.
    pub longest: Duration,
    /// For an address that is this node's own: it may come to mean another.
    pub own: Duration,
}

impl Default for SeedPauses {
    fn default() -> Self {
        SeedPauses {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(30),
            own: Duration::from_secs(300),
        }
    }
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeedResult {
    /// That node is linked.
    Linked(NodeId),
    /// It is this node itself.
    Own,
    /// Nobody answered, the wrong one, or no link came of it: why.
    Failed(String),
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeedOutput {
    /// Connect to the address of that number; answered once, by [`Seeds::handle_result`].
    Try(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Its answer is awaited.
    Trying,
    /// Until then.
    Waiting(Duration),
    /// As long as its node is linked.
    Linked,
    /// As long as this node is attached.
    Attached,
}

#[derive(Debug)]
struct Seed {
    addr: String,
    phase: Phase,
    /// The next one after a failure.
    pause: Duration,
    last: Option<SeedResult>,
    /// Who answered there last.
    node: Option<NodeId>,
}

/// See the module. After each input [`Self::poll_output`] is called until it is empty.
#[derive(Debug)]
pub struct Seeds {
    seeds: Vec<Seed>,
    pauses: SeedPauses,
    random: SplitMix64,
    /// Nodes that are linked.
    up: BTreeSet<NodeId>,
    attached: bool,
    outputs: VecDeque<SeedOutput>,
}

impl Seeds {
    /// All of them are tried at once. `random` decides the jitter.
    pub fn new(addrs: impl IntoIterator<Item = String>, random: u64, pauses: SeedPauses) -> Self {
        let seeds = addrs.into_iter().map(|addr| Seed {
            addr,
            phase: Phase::Trying,
            pause: pauses.first,
            last: None,
            node: None,
        });
        let seeds: Vec<_> = seeds.collect();
        Seeds {
            outputs: (0..seeds.len()).map(SeedOutput::Try).collect(),
            seeds,
            pauses,
            random: SplitMix64(random),
            up: BTreeSet::new(),
            attached: false,
        }
    }

    /// The address of that number.
    pub fn addr(&self, index: usize) -> Option<&str> {
        self.seeds.get(index).map(|seed| seed.addr.as_str())
    }

    /// A node has proved itself at the address that is tried; whether another one had answered there last, or none. Its
    /// link may follow.
    pub fn handle_answer(&mut self, index: usize, node: &NodeId) -> bool {
        match self.seeds.get_mut(index) {
            Some(seed) if seed.phase == Phase::Trying => {
                seed.node.replace(node.clone()).as_ref() != Some(node)
            }
            _ => false,
        }
    }

    /// A try has ended; whether otherwise than the one before it. A link is told of by [`Self::handle_link`] before: where
    /// it was not, or has ended meanwhile, the seed is tried again.
    pub fn handle_result(&mut self, index: usize, result: SeedResult, now: Now) -> bool {
        let pauses = self.pauses;
        let soon = self.soon();
        let jitter = self.jitter();
        let Some(seed) = self.seeds.get_mut(index) else {
            return false;
        };
        if seed.phase != Phase::Trying {
            return false;
        }
        let wait = match &result {
            SeedResult::Linked(node) => {
                seed.node = Some(node.clone());
                seed.pause = pauses.first;
                soon
            }
            SeedResult::Own => {
                seed.node = None;
                seed.pause = pauses.first;
                jitter.of(pauses.own)
            }
            SeedResult::Failed(_) => {
                let pause = seed.pause;
                seed.pause = pause.saturating_mul(2).min(pauses.longest);
                jitter.of(pause)
            }
        };
        let news = seed.last.as_ref() != Some(&result);
        seed.last = Some(result);
        seed.settle(wait, &self.up, self.attached, now);
        news
    }

    /// A link with that node has come up or ended, whoever made it. Told again it changes nothing.
    pub fn handle_link(&mut self, node: &NodeId, up: bool, now: Now) {
        if up == self.up.contains(node) {
            return;
        }
        if up {
            self.up.insert(node.clone());
        } else {
            self.up.remove(node);
        }
        for index in 0..self.seeds.len() {
            let soon = self.soon();
            let Some(seed) = self.seeds.get_mut(index) else {
                return;
            };
            if seed.node.as_ref() != Some(node) {
                continue;
            }
            match (up, seed.phase) {
                (true, Phase::Waiting(_) | Phase::Attached) => seed.phase = Phase::Linked,
                (false, Phase::Linked) => {
                    seed.pause = self.pauses.first;
                    seed.settle(soon, &self.up, self.attached, now);
                }
                _ => {}
            }
        }
    }

    /// This node has all it wants of its seeds, or no longer: then all that are not linked are tried soon, in some order.
    /// One that never answered is tried all the while.
    pub fn set_attached(&mut self, attached: bool, now: Now) {
        if attached == self.attached {
            return;
        }
        self.attached = attached;
        for index in 0..self.seeds.len() {
            let soon = self.soon();
            let Some(seed) = self.seeds.get_mut(index) else {
                return;
            };
            match (attached, seed.phase) {
                (true, Phase::Waiting(_)) if seed.node.is_some() => seed.phase = Phase::Attached,
                (false, Phase::Waiting(_) | Phase::Attached) => {
                    seed.pause = self.pauses.first;
                    seed.settle(soon, &self.up, false, now);
                }
                _ => {}
            }
        }
    }

    /// A time that was asked for has come.
    pub fn handle_timeout(&mut self, now: Now) {
        for (index, seed) in self.seeds.iter_mut().enumerate() {
            if matches!(seed.phase, Phase::Waiting(at) if at <= now.mono) {
                seed.phase = Phase::Trying;
                self.outputs.push_back(SeedOutput::Try(index));
            }
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Duration> {
        let due = self.seeds.iter().filter_map(|seed| match seed.phase {
            Phase::Waiting(at) => Some(at),
            _ => None,
        });
        due.min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<SeedOutput> {
        self.outputs.pop_front()
    }

    /// How many have not been tried once, to the end.
    pub fn untried(&self) -> usize {
        self.seeds.iter().filter(|seed| seed.last.is_none()).count()
    }

    /// The nodes that answered last at an address of a seed.
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        self.seeds
            .iter()
            .filter_map(|seed| seed.node.clone())
            .collect()
    }

    /// A short time at random, from a quarter of the first pause to five times as long: a whole mesh that has lost the
    /// same seed does not come back at one moment.
    fn soon(&mut self) -> Duration {
        let part = 256 + self.random.next() % (5 * 1024 - 255);
        self.pauses.first.saturating_mul(part as u32) / 1024
    }

    fn jitter(&mut self) -> Jitter {
        Jitter(1536 + (self.random.next() % 1025) as u32)
    }
}

/// A factor from 0.75 to 1.25, in 2048ths.
struct Jitter(u32);

impl Jitter {
    fn of(self, pause: Duration) -> Duration {
        pause.saturating_mul(self.0) / 2048
    }
}

impl Seed {
    /// Rests where it may, else waits that long.
    fn settle(&mut self, wait: Duration, up: &BTreeSet<NodeId>, attached: bool, now: Now) {
        self.phase = match &self.node {
            Some(node) if up.contains(node) => Phase::Linked,
            Some(_) if attached => Phase::Attached,
            _ => Phase::Waiting(now.mono.saturating_add(wait)),
        };
    }
}
