//! The handlers of a port by their tags; ports that have the same ones share them.

use std::{
    any::{Any, TypeId},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{context::Context, handler::Erased, more::More};
use crate::{
    proto::message::Message,
    runtime::{behaviour::Step, port::PortCell},
};

/// Handlers by tag. Most ports have few, so that a sorted list is both small and quick.
pub(crate) struct Handlers<S> {
    tags: Vec<(Box<str>, Arc<dyn Erased<S>>)>,
    pub(crate) other: Option<Arc<dyn Erased<S>>>,
    pub(crate) ignore_unhandled: bool,
    pub(crate) ignore_bad: bool,
}

impl<S> Default for Handlers<S> {
    fn default() -> Self {
        Handlers {
            tags: Vec::new(),
            other: None,
            ignore_unhandled: false,
            ignore_bad: false,
        }
    }
}

impl<S> Clone for Handlers<S> {
    fn clone(&self) -> Self {
        Handlers {
            tags: self.tags.clone(),
            other: self.other.clone(),
            ..*self
        }
    }
}

impl<S> Handlers<S> {
    fn place(&self, tag: &str) -> Result<usize, usize> {
        self.tags
            .binary_search_by(|(name, _)| name.as_ref().cmp(tag))
    }

    /// Adds or replaces. The old one comes back, to be dropped elsewhere.
    pub(crate) fn set(
        &mut self,
        tag: &str,
        handler: Arc<dyn Erased<S>>,
    ) -> Option<Arc<dyn Erased<S>>> {
        match self.place(tag) {
            Ok(at) => self
                .tags
                .get_mut(at)
                .map(|(_, old)| std::mem::replace(old, handler)),
            Err(at) => {
                self.tags.insert(at, (tag.into(), handler));
                None
            }
        }
    }

    pub(crate) fn unset(&mut self, tag: &str) -> Option<Arc<dyn Erased<S>>> {
        self.place(tag).ok().map(|at| self.tags.remove(at).1)
    }

    fn get(&self, tag: Option<&str>) -> Option<&Arc<dyn Erased<S>>> {
        tag.and_then(|tag| self.place(tag).ok())
            .and_then(|at| self.tags.get(at))
            .map(|(_, handler)| handler)
            .or(self.other.as_ref())
    }

    /// What the handlers are, where that says all of them; `None`: one of them holds something of its own.
    fn kinds(&self) -> Option<Vec<(Option<&str>, TypeId)>> {
        let tagged = self
            .tags
            .iter()
            .map(|(tag, of)| Some((Some(&**tag), of.kind()?)));
        let other = self.other.iter().map(|of| Some((None, of.kind()?)));
        tagged.chain(other).collect()
    }
}

impl Handlers<()> {
    /// The same handlers, for a port with another state, which they do not see.
    pub(crate) fn adapt<S: 'static>(self) -> Handlers<S> {
        let adapt = |handler| Arc::new(Stateless(handler)) as Arc<dyn Erased<S>>;
        Handlers {
            tags: self
                .tags
                .into_iter()
                .map(|(tag, handler)| (tag, adapt(handler)))
                .collect(),
            other: self.other.map(adapt),
            ignore_unhandled: self.ignore_unhandled,
            ignore_bad: self.ignore_bad,
        }
    }
}

struct Stateless(Arc<dyn Erased<()>>);

impl<S> Erased<S> for Stateless {
    fn call<'a>(
        &'a self,
        _: &'a mut S,
        cx: &'a Context,
        message: Message,
        more: More<'a>,
    ) -> Step<'a> {
        // a leaked `()` takes no memory
        self.0.call(Box::leak(Box::new(())), cx, message, more)
    }

    fn kind(&self) -> Option<TypeId> {
        self.0.kind()
    }
}

/// The handlers of a port.
pub(crate) enum Table<S> {
    /// Those of all ports that were made with the same ones; nothing changes them.
    Shared(Handlers<S>),
    /// Those of one port: they hold something of its own, or were changed.
    Own(Mutex<Handlers<S>>),
}

/// A handler that was found.
pub(crate) enum Found<'a, S> {
    Shared(&'a dyn Erased<S>),
    Own(Arc<dyn Erased<S>>),
}

impl<S: 'static> Table<S> {
    /// A port's own.
    pub(crate) fn own(mut handlers: Handlers<S>) -> Arc<Self> {
        handlers.tags.shrink_to_fit();
        Arc::new(Table::Own(Mutex::new(handlers)))
    }

    fn with<R>(&self, look: impl FnOnce(&Handlers<S>) -> R) -> R {
        match self {
            Table::Shared(handlers) => look(handlers),
            Table::Own(handlers) => look(&lock(handlers)),
        }
    }

    pub(crate) fn get(&self, tag: Option<&str>) -> Option<Found<'_, S>> {
        match self {
            Table::Shared(handlers) => handlers.get(tag).map(|of| Found::Shared(&**of)),
            Table::Own(handlers) => lock(handlers).get(tag).cloned().map(Found::Own),
        }
    }

    pub(crate) fn ignores_unhandled(&self) -> bool {
        self.with(|handlers| handlers.ignore_unhandled)
    }

    pub(crate) fn ignores_bad(&self) -> bool {
        self.with(|handlers| handlers.ignore_bad)
    }

    /// The table of a port whose state is an `S`.
    pub(crate) fn of(cell: &PortCell) -> Option<Arc<Self>> {
        cell.table()?.downcast().ok()
    }

    /// Changes the handlers of a port, from its next message on. What `change` returns is dropped without any lock.
    /// `None`: the port is dead.
    pub(crate) fn change<R>(
        cell: &PortCell,
        change: impl FnOnce(&mut Handlers<S>) -> R,
    ) -> Option<R> {
        // from now on the port has its own; handlers that are shared own nothing that could be dropped here
        cell.replace_table(|table| match table.downcast_ref()? {
            Table::<S>::Shared(handlers) => Some(Table::own(handlers.clone())),
            Table::Own(_) => None,
        });
        let changed = match &*Self::of(cell)? {
            Table::Own(handlers) => Some(change(&mut lock(handlers))),
            Table::Shared(_) => None,
        };
        cell.note_new_table();
        changed
    }
}

fn lock<S>(handlers: &Mutex<Handlers<S>>) -> MutexGuard<'_, Handlers<S>> {
    // no handler runs under it
    handlers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many tables a node keeps for the next port that is made with the same handlers. A program rarely has more kinds
/// of ports; one that has pays for it in memory.
const KEPT_MAX: u64 = 64;

/// A table, with the hash of what it is.
type Kept = (u64, Arc<dyn Any + Send + Sync>);

/// The tables of the ports of one node that can be shared.
#[derive(Default)]
pub(crate) struct SharedTables {
    hasher: RandomState,
    kept: Mutex<Vec<Option<Kept>>>,
}

impl SharedTables {
    /// A table of these handlers: that of earlier ports, where it is the same.
    pub(crate) fn table<S: 'static>(&self, mut handlers: Handlers<S>) -> Arc<Table<S>> {
        let Some(kinds) = handlers.kinds() else {
            return Table::own(handlers);
        };
        let flags = (handlers.ignore_unhandled, handlers.ignore_bad);
        let hash = self.hasher.hash_one((TypeId::of::<S>(), &kinds, flags));
        let at = (hash % KEPT_MAX) as usize;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Some((of, table))) = kept.get(at)
            && *of == hash
            && let Ok(table) = table.clone().downcast::<Table<S>>()
            && let Table::Shared(other) = &*table
            && other.kinds().as_ref() == Some(&kinds)
            && flags == (other.ignore_unhandled, other.ignore_bad)
        {
            return table;
        }
        drop(kinds);
        handlers.tags.shrink_to_fit();
        let table = Arc::new(Table::Shared(handlers));
        if kept.is_empty() {
            kept.resize_with(KEPT_MAX as usize, || None);
        }
        if let Some(place) = kept.get_mut(at) {
            *place = Some((hash, table.clone()));
        }
        table
    }
}
