//! The other nodes of this one: a map of cells, one a node, each with its own short lock.

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use super::Watch;
use crate::proto::{
    id::NodeId,
    limits::Limits,
    monitor::WatchId,
    node::peer::{Fired, Peer, Wake},
};

const SHARDS: usize = 16;
/// Watch IDs of one cell; the next cell begins behind them.
const WATCHES_PER_CELL_BITS: u32 = 40;

/// All that is sent to one other node.
pub(super) struct PeerCell {
    state: Mutex<CellState>,
    /// Counts what programs do to it, so that its link sees whether they are at it: written under the lock.
    commands: AtomicU64,
    /// Wakes the writer of its link.
    pub(super) writer: Notify,
    /// Wakes senders that wait for room.
    pub(super) room: Notify,
    /// Whether its link was JSON when it came up last.
    pub(super) json: AtomicBool,
    /// What the numbers of its monitors begin at. A cell is dropped when nothing needs it and made anew later; a monitor's
    /// guard may live on, and must not cancel a monitor of the new one.
    first_watch: u64,
}

pub(super) struct CellState {
    pub(super) peer: Peer<Watch>,
    /// The node shuts down (L6).
    is_shut: bool,
}

impl PeerCell {
    pub(super) fn lock(&self) -> MutexGuard<'_, CellState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that changes with every command of a program.
    pub(super) fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    pub(super) fn outer_ids(&self) -> OuterIds {
        OuterIds {
            first: self.first_watch,
        }
    }
}

/// The numbers of one cell's monitors among those of all cells.
#[derive(Debug, Clone, Copy)]
pub(super) struct OuterIds {
    first: u64,
}

impl OuterIds {
    /// The number of a monitor among those of all cells.
    pub(super) fn outer(self, id: WatchId) -> WatchId {
        WatchId(self.first.wrapping_add(id.0))
    }

    /// The number of a monitor among those of this cell; `None`: it is of an earlier one.
    pub(super) fn inner(self, id: WatchId) -> Option<WatchId> {
        let inner = id.0.wrapping_sub(self.first);
        (inner >> WATCHES_PER_CELL_BITS == 0).then_some(WatchId(inner))
    }
}

impl fmt::Debug for PeerCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCell").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Shard {
    // a shard has few, so that comparing them is cheaper than a hash that a stranger cannot choose for
    cells: BTreeMap<NodeId, Arc<PeerCell>>,
    shut: bool,
}

/// The map. A message takes a shard's lock for reading, never for the node as a whole. Within it a cell's lock may be taken;
/// never the other way around.
pub(super) struct Cells {
    shards: [RwLock<Shard>; SHARDS],
    limits: Limits,
    made: AtomicU64,
}

impl Cells {
    pub(super) fn new(limits: &Limits) -> Self {
        Cells {
            shards: std::array::from_fn(|_| RwLock::default()),
            limits: limits.clone(),
            made: AtomicU64::new(0),
        }
    }

    /// By the last bytes of the ID, in which those of one mesh differ: this only spreads the locks, so that it need not be a
    /// good hash.
    fn shard(&self, node: &NodeId) -> &RwLock<Shard> {
        let [first, ..] = &self.shards;
        let tail = node.as_str().as_bytes().iter().rev().take(4);
        let at = tail.fold(0, |sum: usize, &byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        self.shards.get(at % SHARDS).unwrap_or(first)
    }

    /// The cell of that node, if anything needs it.
    pub(super) fn get(&self, node: &NodeId) -> Option<Arc<PeerCell>> {
        let shard = self.shard(node).read();
        let shard = shard.unwrap_or_else(PoisonError::into_inner);
        shard.cells.get(node).cloned()
    }

    /// Whether the link of that node was JSON when it came up last.
    pub(super) fn is_json(&self, node: &NodeId) -> bool {
        let shard = self.shard(node).read();
        let shard = shard.unwrap_or_else(PoisonError::into_inner);
        let cell = shard.cells.get(node);
        cell.is_some_and(|cell| cell.json.load(Ordering::Relaxed))
    }

    /// The cell of that node, a new one where there is none; `None` after [`Self::shut`].
    fn make(&self, node: &NodeId) -> Option<Arc<PeerCell>> {
        let shard = self.shard(node).write();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        if shard.shut {
            return None;
        }
        let cell = shard.cells.entry(node.clone()).or_insert_with(|| {
            let number = self.made.fetch_add(1, Ordering::Relaxed);
            Arc::new(PeerCell {
                state: Mutex::new(CellState {
                    peer: Peer::new(node.clone(), &self.limits),
                    is_shut: false,
                }),
                commands: AtomicU64::new(0),
                writer: Notify::new(),
                room: Notify::new(),
                json: AtomicBool::new(false),
                first_watch: number << WATCHES_PER_CELL_BITS,
            })
        });
        Some(cell.clone())
    }

    /// Runs a command on the peer, under its lock, and then, without it, what follows of it. Neither may come back to the
    /// map. `Err`: the node is shut down; what it was for comes back.
    pub(super) fn with<T, R, Q>(
        &self,
        node: &NodeId,
        item: T,
        command: impl FnOnce(&mut Peer<Watch>, T) -> R,
        then: impl FnOnce(&PeerCell, R) -> Q,
    ) -> Result<Q, T> {
        loop {
            let shard = self.shard(node).read();
            let shard = shard.unwrap_or_else(PoisonError::into_inner);
            // while the shard is read nobody drops the cell: a counter less for each message
            if let Some(cell) = shard.cells.get(node) {
                let mut state = cell.lock();
                if state.is_shut {
                    return Err(item);
                }
                let done = command(&mut state.peer, item);
                let commands = cell.commands().wrapping_add(1);
                cell.commands.store(commands, Ordering::Relaxed);
                drop(state);
                return Ok(then(cell, done));
            }
            drop(shard);
            if self.make(node).is_none() {
                return Err(item);
            }
        }
    }

    /// The cell for a link that comes up. After [`Self::shut`] only where something was accepted before.
    pub(super) fn for_link(&self, node: &NodeId) -> Option<Arc<PeerCell>> {
        self.make(node).or_else(|| self.get(node))
    }

    /// Drops the cell if nothing needs it.
    pub(super) fn collect(&self, node: &NodeId) {
        let shard = self.shard(node).write();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        let is_over = shard.cells.get(node).is_some_and(|cell| {
            let peer = &cell.lock().peer;
            peer.link().is_none() && !peer.is_wanted()
        });
        if is_over {
            shard.cells.remove(node);
        }
    }

    /// From now on commands are refused. The cells, with what they have accepted.
    pub(super) fn shut(&self) -> Vec<Arc<PeerCell>> {
        let mut cells = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.shut = true;
            cells.extend(shard.cells.values().cloned());
        }
        for cell in &cells {
            cell.lock().is_shut = true;
            cell.room.notify_waiters();
        }
        cells
    }
}

/// What a command was refused for asks for nothing.
pub(super) fn split<R, E>(done: Result<(R, Wake), E>) -> (Result<R, E>, Wake) {
    match done {
        Ok((done, wake)) => (Ok(done), wake),
        Err(refused) => (Err(refused), Wake::default()),
    }
}

/// Puts together what several commands on one peer ask for.
pub(super) fn join(into: &mut Wake, wake: Wake) {
    into.writer |= wake.writer;
    into.dial |= wake.dial;
    into.overrun |= wake.overrun;
}

/// Calls monitors, with no lock held (M6). A panic in one harms nobody else (P5).
pub(super) fn fire(fired: impl IntoIterator<Item = Fired<Watch>>) {
    for Fired {
        port,
        watch,
        reason,
    } in fired
    {
        if catch_unwind(AssertUnwindSafe(|| watch.fire(&reason))).is_err() {
            tracing::error!(%port, "the action of a monitor panicked");
        }
    }
}
