//! Who lives: which global nodes can be reached, whom they list as attached, and for how long the lost ones show (R1,
//! R4, R5).
//!
//! Each global node alone writes, in its own shard, whom it is linked with and who is attached to it. A global node can be
//! reached where there is a way to it over such links, beginning with one's own. A node lives while a global node that
//! can be reached lists it, with its latest life and the latest of its attachments that was heard of, and is shown from
//! when its shard is there in the version that it had when it was attached.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{item::Packed, name::system, shard::Shard, store::Store};
use crate::proto::id::{Incarnation, NodeId};

/// What a home says of one of its own: its life, which of its attachments this is, the version that its shard had then.
pub(crate) type Claim = (Incarnation, u64, u64);

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Listed by a home that can be reached.
    Listed,
    /// Its home was lost: it shows until then.
    Grace(Duration),
}

/// Why a node is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A home says so, or it said so itself.
    Word,
    /// A home cannot be reached any more.
    Lost,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Roster {
    me: NodeId,
    life: Incarnation,
    grace: Duration,
    /// Global nodes that can be reached, with this one.
    reach: BTreeMap<NodeId, Incarnation>,
    presence: BTreeMap<NodeId, Presence>,
    graces: BTreeSet<(Duration, NodeId)>,
    /// The latest attachment of each node that was heard of.
    seen: BTreeMap<NodeId, (Incarnation, u64)>,
    /// The home that lists it.
    homes: BTreeMap<NodeId, NodeId>,
    /// Global nodes that could be reached if their shards were as far as they said.
    awaited: BTreeSet<NodeId>,
}

/// What became of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) shown: bool,
    /// Another home than before lists it, and its shard is not there in the version that it had then.
    pub(crate) lacks: bool,
}

impl Roster {
    pub(crate) fn new(me: NodeId, life: Incarnation, grace: Duration) -> Self {
        Roster {
            reach: BTreeMap::from([(me.clone(), life)]),
            me,
            life,
            grace,
            presence: BTreeMap::new(),
            graces: BTreeSet::new(),
            seen: BTreeMap::new(),
            homes: BTreeMap::new(),
            awaited: BTreeSet::new(),
        }
    }

    /// Finds anew which global nodes can be reached. Returns those that cannot any more (or live another life), and those
    /// that can now.
    pub(crate) fn find_way(&mut self, store: &Store) -> (Vec<NodeId>, Vec<NodeId>) {
        let mut reach = BTreeMap::from([(self.me.clone(), self.life)]);
        let mut todo = VecDeque::from([self.me.clone()]);
        self.awaited.clear();
        while let Some(at) = todo.pop_front() {
            let Some(shard) = store.shard(&at) else {
                continue;
            };
            if reach.get(&at) != Some(&shard.life()) {
                continue;
            }
            let links = shard.family(system::LINKS);
            for (key, entry) in links.into_iter().flat_map(|part| part.live()) {
                let Ok(node) = key.parse::<NodeId>() else {
                    continue;
                };
                let shard = store.shard(&node);
                let known = reach.get(&node).copied();
                if known.is_some() && known == shard.map(Shard::life) {
                    continue;
                }
                let Some(Ok((life, version))) = entry.value.as_ref().map(Packed::decode) else {
                    continue;
                };
                // before its shard is that far its old words lead nowhere
                let shard = shard.filter(|shard| shard.life() == life);
                if shard.map_or(0, |shard| shard.version()) < version {
                    self.awaited.insert(node);
                } else if known.is_none_or(|known| known < life) {
                    reach.insert(node.clone(), life);
                    todo.push_back(node);
                }
            }
        }
        let lost = self
            .reach
            .iter()
            .filter(|(node, life)| reach.get(*node) != Some(life))
            .map(|(node, _)| node.clone())
            .collect();
        let found = reach
            .iter()
            .filter(|(node, life)| self.reach.get(*node) != Some(life))
            .map(|(node, _)| node.clone())
            .collect();
        self.reach = reach;
        (lost, found)
    }

    /// Whether there is a link to that global node, and its shard is not as far yet as it said when the link began.
    pub(crate) fn awaits(&self, node: &NodeId) -> bool {
        self.awaited.contains(node)
    }

    /// Global nodes that can be reached, with this one.
    pub(crate) fn reachable(&self) -> impl Iterator<Item = &NodeId> {
        self.reach.keys()
    }

    /// The home that lists that node; a global node is its own.
    pub(crate) fn home(&self, node: &NodeId) -> Option<&NodeId> {
        self.homes.get(node)
    }

    /// Those that another node lists.
    pub(crate) fn attached(&self) -> impl Iterator<Item = &NodeId> {
        let all = self.homes.iter();
        all.filter(|(node, home)| node != home && **home != self.me)
            .map(|(node, _)| node)
    }

    /// The latest life of a node that was listed.
    pub(crate) fn life(&self, node: &NodeId) -> Option<Incarnation> {
        self.seen.get(node).map(|(life, _)| *life)
    }

    /// The best claim on a node, by whom.
    fn claim(&self, store: &Store, node: &NodeId) -> Option<(NodeId, Claim)> {
        if let Some(life) = self.reach.get(node) {
            return Some((node.clone(), (*life, u64::MAX, 0)));
        }
        self.reach
            .iter()
            .filter_map(|(home, life)| {
                let shard = store.shard(home).filter(|shard| shard.life() == *life)?;
                let entry = shard.get(system::HOMES, node.as_str())?;
                let claim: Claim = entry.value.as_ref()?.decode().ok()?;
                Some((home.clone(), claim))
            })
            .max_by_key(|(_, claim)| (claim.0, claim.1))
    }

    /// Looks at a node again.
    pub(crate) fn judge(
        &mut self,
        store: &Store,
        node: &NodeId,
        cause: Cause,
        now: Duration,
    ) -> Verdict {
        let mut claim = self.claim(store, node);
        if let Some((_, (life, counter, _))) = &claim {
            let said = (*life, *counter);
            let seen = self.seen.entry(node.clone()).or_insert(said);
            if said < *seen {
                // an old word of a home that has not heard yet that the node is somewhere else, or dead
                claim = None;
            } else {
                *seen = said;
            }
        }
        let shard = store.shard(node);
        let was_shown = store.is_shown(node);
        let Some((home, (life, _, version))) = claim else {
            self.homes.remove(node);
            // what did not show yet does not begin to
            let shown = self.unlisted(node, cause, now) && was_shown;
            return Verdict {
                shown,
                lacks: false,
            };
        };
        let is_new = self.homes.get(node) != Some(&home);
        let is_of_another = home != *node && home != self.me;
        self.homes.insert(node.clone(), home);
        self.set(node, Some(Presence::Listed));
        let shard = shard.filter(|shard| shard.life() == life);
        let is_here = shard.is_some_and(|shard| shard.version() >= version);
        Verdict {
            // one that shows goes on showing while the rest is on its way
            shown: is_here || (shard.is_some() && was_shown),
            lacks: is_new && is_of_another && !is_here,
        }
    }

    /// Nobody lists the node. Whether it shows for a while.
    fn unlisted(&mut self, node: &NodeId, cause: Cause, now: Duration) -> bool {
        match self.presence.get(node) {
            Some(Presence::Grace(until)) if *until > now => true,
            Some(Presence::Listed) if cause == Cause::Lost => {
                self.set(node, Some(Presence::Grace(now + self.grace)));
                true
            }
            _ => {
                self.set(node, None);
                false
            }
        }
    }

    fn set(&mut self, node: &NodeId, presence: Option<Presence>) {
        let old = match presence {
            Some(presence) => self.presence.insert(node.clone(), presence),
            None => self.presence.remove(node),
        };
        if let Some(Presence::Grace(until)) = old {
            self.graces.remove(&(until, node.clone()));
        }
        if let Some(Presence::Grace(until)) = presence {
            self.graces.insert((until, node.clone()));
        }
    }

    /// Nodes whose time is over: to be judged again.
    pub(crate) fn take_due(&mut self, now: Duration) -> Vec<NodeId> {
        let due: Vec<NodeId> = self
            .graces
            .iter()
            .take_while(|(until, _)| *until <= now)
            .map(|(_, node)| node.clone())
            .collect();
        for node in &due {
            self.set(node, None);
        }
        due
    }

    /// When the next one's is.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        self.graces.first().map(|(until, _)| *until)
    }

    /// The node and its shard are forgotten.
    pub(crate) fn forget(&mut self, node: &NodeId) {
        self.seen.remove(node);
        self.homes.remove(node);
        self.set(node, None);
    }
}

/// Everyone that this shard of a home lists.
pub(crate) fn listed(shard: &Shard) -> Vec<NodeId> {
    shard
        .family(system::HOMES)
        .into_iter()
        .flat_map(|part| part.live())
        .filter_map(|(key, _)| key.parse().ok())
        .collect()
}
