//! What one peer lacks of the shards that it is told of: how far it knows each, and the next part of it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
};

use super::{
    item::Item,
    name::{Family, Key},
    shard::{FamilyShard, Shard},
    wire::{Chunk, Known, Stage},
};
use crate::proto::id::{Incarnation, NodeId};

/// A part is about this long, in bytes: short, so that messages pass between two of them (P9).
const CHUNK_BYTES: usize = 16 << 10;
/// Numbers of living entries in one part.
const ALIVE_MAX: usize = 4_000;

/// What of a shard is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Filter {
    All,
    Family(Family),
    Key(Family, Key),
}

impl Filter {
    /// Whether that shard has or had anything of it.
    pub(crate) fn touches(&self, shard: &Shard) -> bool {
        match self {
            Filter::All => true,
            Filter::Family(family) => shard.family(family.as_str()).is_some(),
            Filter::Key(family, key) => shard
                .family(family.as_str())
                .is_some_and(|part| part.entry(key).is_some()),
        }
    }

    fn families<'a>(&self, shard: &'a Shard) -> Vec<(&'a Family, &'a FamilyShard)> {
        match self {
            Filter::All => shard.families().collect(),
            Filter::Family(family) | Filter::Key(family, _) => shard
                .families()
                .filter(|(name, _)| *name == family)
                .collect(),
        }
    }
}

/// A reader below a floor is told in parts that count together.
#[derive(Debug, Clone)]
struct Sweep {
    from: u64,
    to: u64,
    begun: bool,
    alive: VecDeque<(Family, Vec<u64>)>,
}

/// How far a peer knows one shard.
#[derive(Debug, Clone)]
struct Cursor {
    life: Incarnation,
    /// What it has been sent, or told that it has.
    at: u64,
    sweep: Option<Sweep>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Feed {
    sub: u64,
    filter: Filter,
    cursors: BTreeMap<NodeId, Cursor>,
    queue: VecDeque<NodeId>,
    queued: BTreeSet<NodeId>,
}

impl Feed {
    pub(crate) fn new(sub: u64, filter: Filter) -> Self {
        Feed {
            sub,
            filter,
            cursors: BTreeMap::new(),
            queue: VecDeque::new(),
            queued: BTreeSet::new(),
        }
    }

    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The peer has that much of it.
    pub(crate) fn knows(&mut self, (owner, life, at): Known) {
        let cursor = Cursor {
            life,
            at,
            sweep: None,
        };
        self.cursors.insert(owner, cursor);
    }

    /// The peer has that much of it at least: it sent it itself.
    pub(crate) fn has_shown(&mut self, owner: &NodeId, life: Incarnation, at: u64) {
        match self.cursors.get_mut(owner) {
            Some(cursor) if cursor.life == life => {
                if cursor.sweep.is_none() {
                    cursor.at = cursor.at.max(at);
                }
            }
            Some(cursor) if cursor.life > life => {}
            _ => self.knows((owner.clone(), life, at)),
        }
    }

    /// Up to which version the peer has, or was sent, that shard.
    pub(crate) fn reached(&self, owner: &NodeId) -> u64 {
        self.cursors.get(owner).map_or(0, |cursor| cursor.at)
    }

    /// Whether the peer was told of that shard, or told of it.
    pub(crate) fn is_known(&self, owner: &NodeId) -> bool {
        self.cursors.contains_key(owner)
    }

    /// The peer is told that it is gone.
    pub(crate) fn forget(&mut self, owner: &NodeId) -> Option<Incarnation> {
        self.cursors.remove(owner).map(|cursor| cursor.life)
    }

    /// There may be something new of that owner.
    pub(crate) fn mark(&mut self, owner: &NodeId) {
        if self.queued.insert(owner.clone()) {
            self.queue.push_back(owner.clone());
        }
    }

    /// The next owner of which there may be something new; [`Self::mark`] it again where there is more.
    pub(crate) fn next_owner(&mut self) -> Option<NodeId> {
        let owner = self.queue.pop_front()?;
        self.queued.remove(&owner);
        Some(owner)
    }

    /// The next part of that shard, and whether there is more of it. `None`: the peer has it all. `confirm`: the peer is to
    /// hear of the shard even if there is nothing new in it.
    pub(crate) fn next_chunk(
        &mut self,
        owner: &NodeId,
        shard: &Shard,
        confirm: bool,
    ) -> Option<(Chunk, bool)> {
        let life = shard.life();
        let cursor = self.cursors.entry(owner.clone()).or_insert(Cursor {
            life,
            at: 0,
            sweep: None,
        });
        if cursor.life != life {
            *cursor = Cursor {
                life,
                at: 0,
                sweep: None,
            };
        }
        // it says that it has more than there is: its words are not worth more than ours
        cursor.at = cursor.at.min(shard.version());
        let families = self.filter.families(shard);
        if cursor.sweep.is_none() && cursor.at > 0 && !matches!(self.filter, Filter::Key(..)) {
            cursor.sweep = sweep(cursor.at, shard, &families);
        }
        let new = families.iter().any(|(_, part)| {
            part.last_seq() > cursor.at && !matches!(self.filter, Filter::Key(..))
        });
        let mut chunk = Chunk {
            sub: self.sub,
            owner: owner.clone(),
            life,
            from: cursor.at,
            to: shard.version(),
            stage: Stage::Whole,
            items: Vec::new(),
            alive: Vec::new(),
        };
        if let Filter::Key(family, key) = &self.filter {
            cursor.at = shard.version();
            chunk.from = 0;
            chunk.items.extend(one(shard, family, key));
            return Some((chunk, false));
        }
        if let Some(sweep) = &mut cursor.sweep {
            let (to, items) = part(&families, cursor.at, sweep.to);
            (chunk.from, chunk.to, chunk.items) = (sweep.from, sweep.to, items);
            cursor.at = to;
            if to >= sweep.to {
                chunk.alive.extend(sweep.alive.pop_front());
            }
            let ends = to >= sweep.to && sweep.alive.is_empty();
            chunk.stage = match (std::mem::replace(&mut sweep.begun, true), ends) {
                (false, false) => Stage::First,
                (true, false) => Stage::Part,
                (true, true) => Stage::Last,
                (false, true) => Stage::Only,
            };
            let more = !ends || to < shard.version();
            if ends {
                cursor.sweep = None;
            }
            return Some((chunk, more));
        }
        if !new {
            // what is new is in other families
            let moved = cursor.at < shard.version();
            cursor.at = shard.version();
            let tells = confirm || (moved && matches!(self.filter, Filter::All));
            return tells.then_some((chunk, false));
        }
        let (to, items) = part(&families, cursor.at, shard.version());
        (chunk.to, chunk.items) = (to, items);
        cursor.at = to;
        Some((chunk, to < shard.version()))
    }
}

/// What a reader has to be told beyond the changes: which families forgot removals that it does not know of.
fn sweep(at: u64, shard: &Shard, families: &[(&Family, &FamilyShard)]) -> Option<Sweep> {
    let mut alive = VecDeque::new();
    for (family, part) in families.iter().filter(|(_, part)| part.floor() > at) {
        let seqs = part.live_seqs(at);
        if seqs.is_empty() {
            alive.push_back(((*family).clone(), Vec::new()));
        }
        for seqs in seqs.chunks(ALIVE_MAX) {
            alive.push_back(((*family).clone(), seqs.to_vec()));
        }
    }
    (!alive.is_empty()).then(|| Sweep {
        from: at,
        to: shard.version(),
        begun: false,
        alive,
    })
}

/// Changes above `from` and up to `to`, in the order of their numbers, about as many as fit: up to which number, and what.
fn part(
    families: &[(&Family, &FamilyShard)],
    from: u64,
    to: u64,
) -> (u64, Vec<(Family, Vec<Item>)>) {
    let mut streams: Vec<_> = families.iter().map(|(_, part)| part.since(from)).collect();
    let mut heads: Vec<Option<(u64, Item)>> = streams.iter_mut().map(Iterator::next).collect();
    let mut heap: BinaryHeap<Reverse<(u64, usize)>> = heads
        .iter()
        .enumerate()
        .filter_map(|(at, head)| Some(Reverse((head.as_ref()?.0, at))))
        .collect();
    let mut items: BTreeMap<usize, Vec<Item>> = BTreeMap::new();
    let mut bytes = 0;
    let mut reached = to;
    while let Some(Reverse((seq, at))) = heap.pop() {
        if seq > to {
            break;
        }
        let (Some(head), Some(stream)) = (heads.get_mut(at), streams.get_mut(at)) else {
            continue;
        };
        let Some((_, item)) = head.take() else {
            continue;
        };
        bytes += item.size();
        items.entry(at).or_default().push(item);
        *head = stream.next();
        if let Some((next, _)) = head {
            heap.push(Reverse((*next, at)));
        }
        if bytes >= CHUNK_BYTES {
            // what is left is above this one
            if heap.peek().is_some_and(|Reverse((next, _))| *next <= to) {
                reached = seq;
            }
            break;
        }
    }
    let items = items
        .into_iter()
        .filter_map(|(at, items)| Some((families.get(at)?.0.clone(), items)))
        .collect();
    (reached, items)
}

fn one(shard: &Shard, family: &Family, key: &Key) -> Option<(Family, Vec<Item>)> {
    let entry = shard.get(family.as_str(), key)?;
    let item = Item::Set {
        key: key.clone(),
        seq: entry.seq,
        stamp: entry.stamp,
        value: entry.value.clone()?,
    };
    Some((family.clone(), vec![item]))
}
