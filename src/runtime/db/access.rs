//! What a program does with the database of its node.

use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::{Answered, DbHost, Ended, Reader};
use crate::proto::{
    db::{
        engine::{Change, Query, QueryId, Summary, WatchId},
        item::Packed,
        name::{Family, WriteRefused, system},
    },
    id::NodeId,
};

impl DbHost {
    /// Whether this is a global node.
    ///
    /// # Errors
    /// The node has ended.
    pub fn is_global(&self) -> Result<bool, Ended> {
        self.with(|state, _| state.db.is_global()).ok_or(Ended)
    }

    /// Sets an entry; the number of the change.
    ///
    /// # Errors
    /// The node has ended, or the entry is refused.
    pub fn set(
        &self,
        family: &Family,
        key: &str,
        value: Packed,
    ) -> Result<Result<u64, WriteRefused>, Ended> {
        self.with(|state, now| {
            let set = state.db.set(family, key, value, now);
            self.note_registered(state, family, key);
            set
        })
        .ok_or(Ended)
    }

    /// Tells others of CRLs, in PEM, in the family `'crl`; with an empty text no longer.
    ///
    /// # Errors
    /// The node has ended, or it is too much to be told.
    pub fn tell_crls(&self, pem: &str) -> Result<Result<bool, WriteRefused>, Ended> {
        self.with(|state, now| state.db.tell_crls(pem, now))
            .ok_or(Ended)
    }

    /// The family in which nodes tell each other of CRLs.
    pub fn crl_family() -> Family {
        Family::system(system::CRL)
    }

    /// Waits until a change was taken by this node's home, or refused.
    ///
    /// # Errors
    /// The node has ended.
    pub async fn written(&self, seq: u64) -> Result<Result<(), WriteRefused>, Ended> {
        let waits = self.with(|state, _| {
            if let Some(answer) = state.db.wait_for(seq) {
                return Err(answer);
            }
            let (to, from) = oneshot::channel();
            state.writes.entry(seq).or_default().push(to);
            Ok(from)
        });
        match waits.ok_or(Ended)? {
            Err(answer) => Ok(answer),
            Ok(from) => from.await.map_err(|_| Ended),
        }
    }

    /// Removes keys in one step; how many this node owned.
    ///
    /// # Errors
    /// The node has ended, or the family is the system's.
    pub fn remove(
        &self,
        family: &Family,
        keys: &[&str],
    ) -> Result<Result<usize, WriteRefused>, Ended> {
        self.with(|state, now| {
            let removed = state.db.remove(family, keys, now);
            for key in keys {
                self.note_registered(state, family, key);
            }
            removed
        })
        .ok_or(Ended)
    }

    /// Removes an entry if it is still what that change made it. After the end there is nothing to remove.
    pub fn remove_if(&self, family: &Family, key: &str, seq: u64) {
        self.with(|state, now| {
            state.db.remove_if(family, key, seq, now);
            self.note_registered(state, family, key);
        });
    }

    /// What shows, when it is known; or what the home says of why this node may not read it.
    ///
    /// # Errors
    /// The node has ended.
    pub async fn query(&self, query: Query) -> Result<Answered, Ended> {
        let (to, from) = oneshot::channel();
        let id = self
            .with(|state, now| {
                let id = state.db.query(query, now);
                state.queries.insert(id, to);
                id
            })
            .ok_or(Ended)?;
        let guard = QueryGuard { host: self, id };
        let found = from.await.map_err(|_| Ended);
        drop(guard);
        found
    }

    /// A new reader of a family.
    ///
    /// # Errors
    /// The node has ended.
    pub fn watch(&self, family: &Family) -> Result<WatchId, Ended> {
        self.with(|state, now| {
            let id = state.db.watch(family, now);
            state.readers.insert(id, Reader::default());
            id
        })
        .ok_or(Ended)
    }

    /// That reader is no longer one.
    pub fn unwatch(&self, id: WatchId) {
        self.with(|state, _| {
            state.readers.remove(&id);
            state.db.unwatch(id);
        });
    }

    /// What is next for that reader; `None` when the node has ended.
    pub fn poll_change(&self, id: WatchId, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        let mut guard = self.lock();
        let Some(state) = guard.as_mut() else {
            return Poll::Ready(None);
        };
        if let Some(change) = state.db.next_change(id) {
            return Poll::Ready(Some(change));
        }
        match state.readers.get_mut(&id) {
            Some(reader) => {
                reader.ready = false;
                reader.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }

    /// Waits until all that others had when this node began is here; for one that is not global, until it has a home.
    ///
    /// # Errors
    /// The node has ended.
    pub async fn ready(&self) -> Result<(), Ended> {
        if self.is_global()? {
            let mut synced = self.synced.subscribe();
            synced.wait_for(|synced| *synced).await.map_err(|_| Ended)?;
        } else {
            let mut home = self.home.subscribe();
            home.wait_for(Option::is_some).await.map_err(|_| Ended)?;
        }
        self.is_global().map(|_| ())
    }

    /// What this node holds, in figures.
    ///
    /// # Errors
    /// The node has ended.
    pub fn summary(&self) -> Result<Summary, Ended> {
        self.with(|state, _| state.db.summary()).ok_or(Ended)
    }

    /// The home of this node; itself for a global node.
    pub fn home(&self) -> Option<NodeId> {
        match self.is_global() {
            Ok(true) => Some(self.config.node.clone()),
            _ => self.home.borrow().clone(),
        }
    }
}

/// Takes a query back when nobody waits for it any more.
struct QueryGuard<'a> {
    host: &'a DbHost,
    id: QueryId,
}

impl Drop for QueryGuard<'_> {
    fn drop(&mut self) {
        self.host.with(|state, _| {
            if state.queries.remove(&self.id).is_some() {
                state.db.cancel(self.id);
            }
        });
    }
}
