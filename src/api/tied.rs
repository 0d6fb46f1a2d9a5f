//! Things that live with a port and go before it when they are done: its monitors and timers.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::runtime::port::PortCell;

enum State {
    Free,
    Held(u64),
    Done,
}

/// The place of one such thing.
pub(crate) struct Tied {
    cell: Weak<PortCell>,
    state: Mutex<State>,
}

impl Tied {
    pub(crate) fn to(cell: &Arc<PortCell>) -> Arc<Self> {
        Arc::new(Tied {
            cell: Arc::downgrade(cell),
            state: Mutex::new(State::Free),
        })
    }

    fn swap(&self, state: State) -> State {
        std::mem::replace(
            &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner),
            state,
        )
    }

    /// Ties it, unless it is done already.
    pub(crate) fn hold(&self, value: Box<dyn Any + Send>) {
        let Some(cell) = self.cell.upgrade() else {
            return;
        };
        let Some(id) = cell.tie(value) else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Done = *state {
            drop(state);
            drop(cell.untie(id));
        } else {
            *state = State::Held(id);
        }
    }

    /// It is done: the port need not hold it any longer.
    pub(crate) fn done(&self) {
        self.release();
    }

    /// Takes it off the port and drops it.
    pub(crate) fn release(&self) {
        if let State::Held(id) = self.swap(State::Done)
            && let Some(cell) = self.cell.upgrade()
        {
            drop(cell.untie(id));
        }
    }
}

impl fmt::Debug for Tied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tied")
    }
}
