//! The other nodes of this one: a map of cells, one a node, each with its own short lock.

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use super::Watch;
use crate::proto::{
    id::{NodeId, PortName},
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
    /// Wakes the writer of its link.
    pub(super) writer: Notify,
    /// Wakes senders that wait for room.
    pub(super) room: Notify,
    /// What the numbers of its monitors begin at. A cell is dropped when nothing needs it and made anew later; a monitor's
    /// guard may live on, and must not cancel a monitor of the new one.
    first_watch: u64,
}

pub(super) struct CellState {
    pub(super) peer: Peer<Watch>,
    open: Open,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Yes,
    /// Not in the map any more: look there for the one that took its place.
    Gone,
    /// The node shuts down (L6).
    Shut,
}

impl PeerCell {
    pub(super) fn lock(&self) -> MutexGuard<'_, CellState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a monitor among those of all cells.
    pub(super) fn outer_id(&self, id: WatchId) -> WatchId {
        WatchId(self.first_watch.wrapping_add(id.0))
    }

    /// The number of a monitor among those of this cell; `None`: it is of an earlier one.
    pub(super) fn inner_id(&self, id: WatchId) -> Option<WatchId> {
        let inner = id.0.wrapping_sub(self.first_watch);
        (inner >> WATCHES_PER_CELL_BITS == 0).then_some(WatchId(inner))
    }
}

/// The monitor of a call: [`Mesh::call`](super::mesh::Mesh::call).
#[derive(Debug)]
pub struct Called {
    /// Not looked up again. Where it was dropped and made anew meanwhile the monitor has fired.
    pub(super) cell: Arc<PeerCell>,
    pub(super) id: WatchId,
}

impl Called {
    /// Takes it back.
    pub(super) fn end(&self, port: &PortName) -> Wake {
        let (watch, wake) = self.cell.lock().peer.unmonitor(port, self.id);
        // what the watch holds may do anything when it is dropped
        drop(watch);
        wake
    }
}

impl fmt::Debug for PeerCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCell").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Shard {
    cells: HashMap<NodeId, Arc<PeerCell>>,
    shut: bool,
}

/// The map. A message takes a shard's lock for reading, never for the node as a whole.
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

    /// The cell of that node; `None` after [`Self::shut`].
    fn get_or_make(&self, node: &NodeId) -> Option<Arc<PeerCell>> {
        if let Some(cell) = self.get(node) {
            return Some(cell);
        }
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
                    open: Open::Yes,
                }),
                writer: Notify::new(),
                room: Notify::new(),
                first_watch: number << WATCHES_PER_CELL_BITS,
            })
        });
        Some(cell.clone())
    }

    /// Runs a command on the peer, under its lock. `Err`: the node is shut down; what it was for comes back.
    pub(super) fn with<T, R>(
        &self,
        node: &NodeId,
        item: T,
        command: impl FnOnce(&mut Peer<Watch>, T) -> R,
    ) -> Result<(Arc<PeerCell>, R), T> {
        loop {
            let Some(cell) = self.get_or_make(node) else {
                return Err(item);
            };
            let mut state = cell.lock();
            match state.open {
                Open::Gone => continue,
                Open::Shut => return Err(item),
                Open::Yes => {}
            }
            let done = command(&mut state.peer, item);
            drop(state);
            return Ok((cell, done));
        }
    }

    /// The cell for a link that comes up. After [`Self::shut`] only where something was accepted before.
    pub(super) fn for_link(&self, node: &NodeId) -> Option<Arc<PeerCell>> {
        match self.with(node, (), |_, ()| ()) {
            Ok((cell, ())) => Some(cell),
            Err(()) => self.get(node),
        }
    }

    /// Drops the cell if nothing needs it.
    pub(super) fn collect(&self, node: &NodeId) {
        let shard = self.shard(node).write();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = shard.cells.get(node) {
            let mut state = cell.lock();
            if state.peer.link().is_none() && !state.peer.is_wanted() {
                if state.open == Open::Yes {
                    state.open = Open::Gone;
                }
                drop(state);
                shard.cells.remove(node);
            }
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
            cell.lock().open = Open::Shut;
            cell.room.notify_waiters();
        }
        cells
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
