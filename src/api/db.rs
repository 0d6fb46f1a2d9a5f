//! The replicated database (R1–R10): what this node sets, what all have set, and who is told of changes.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{error::DbError, inner::NodeInner, monitor::Monitor, node::Node};
use crate::proto::{
    db::{
        engine::{Change, Found, Query, Summary, WatchId},
        item::Packed,
        name::{Family, Key, check_key},
    },
    id::{NodeId, PortId},
    value::{DecodeError, Value},
};

/// The database of the mesh, as one node uses it: [`Node::db`].
///
/// An entry is a value under a key of a family, owned by the node that set it: nobody else can change it, and it goes when
/// its owner stops, dies or removes it (R1). Where several nodes own one key, all agree which one shows: the latest (R2).
/// What this node sets it sees at once (R7); the others see it as soon as the network carries it. A mesh that is cut in
/// two goes on in both parts, and agrees again when it is whole: this is a directory, not a lock.
///
/// ```
/// use portmesh::Node;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let node = Node::builder("me").start().await?; // with .seed(…) it is the database of the whole mesh
/// let db = node.db();
/// let entry = db.set("config", "colour", "red")?; // dropped, it removes what it set
/// assert_eq!(db.get::<String>("config", "colour").await?.as_deref(), Some("red"));
/// drop(entry);
/// assert_eq!(db.get::<String>("config", "colour").await?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Db<'a> {
    node: &'a Node,
}

impl<'a> Db<'a> {
    pub(crate) fn new(node: &'a Node) -> Self {
        Db { node }
    }

    fn limits(&self) -> &crate::proto::limits::Limits {
        self.node.registry().limits()
    }

    /// Sets an entry of this node's: any serde type under any non-empty key. It shows here at once, and with the others when
    /// it has reached them. What this node's home refuses (a quota, a clock that is ahead) goes again, and
    /// [`NodeEvent::DbRefused`](crate::NodeEvent::DbRefused) tells; [`Self::set_wait`] waits for its word.
    ///
    /// # Errors
    /// [`DbError`]: a bad name, a value too large, this node's own quota, or the node is shut down. Nothing was set then.
    #[doc(alias = "db_set")]
    pub fn set<T: Serialize + ?Sized>(
        &self,
        family: &str,
        key: &str,
        value: &T,
    ) -> Result<Entry, DbError> {
        let family: Family = family.parse()?;
        let value = Packed::encode(value, self.limits())?;
        let seq = self.node.db_host().set(&family, key, value)??;
        Ok(Entry {
            node: self.node.downgrade(),
            family,
            key: key.into(),
            seq,
            armed: true,
            monitor: None.into(),
        })
    }

    /// Likewise, and waits until this node's home has taken the entry (at once for a global node); it shows here at once all
    /// the same. While there is no home it waits.
    ///
    /// # Errors
    /// As for [`Self::set`], and [`DbError::Refused`] where the home refuses: the entry is gone again then.
    pub async fn set_wait<T: Serialize + ?Sized>(
        &self,
        family: &str,
        key: &str,
        value: &T,
    ) -> Result<Entry, DbError> {
        let entry = self.set(family, key, value)?;
        entry.accepted().await?;
        Ok(entry)
    }

    /// Removes keys that this node owns, in one step. Returns how many it owned; others' entries stay.
    ///
    /// ```
    /// # async fn example(node: &portmesh::Node) -> Result<(), portmesh::DbError> {
    /// node.db().remove("config", ["colour", "size"])?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The family's name is none, or the node is shut down.
    #[doc(alias = "db_del")]
    pub fn remove<K: AsRef<str>>(
        &self,
        family: &str,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<usize, DbError> {
        let family: Family = family.parse()?;
        let keys: Vec<K> = keys.into_iter().collect();
        let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
        Ok(self.node.db_host().remove(&family, &keys)??)
    }

    /// Sets an entry whose key is a port's ID and whose value is null; it goes when the port dies (R10). Others find the
    /// port by [`keys`](Self::keys) or a [`watch`](Self::watch).
    ///
    /// ```
    /// # use portmesh::{Node, PortId};
    /// # async fn example(node: &Node) -> Result<(), Box<dyn std::error::Error>> {
    /// let worker = node.port().on("job", async |_: &mut (), _: &portmesh::Context, _: u64| {}).open();
    /// node.db().register("workers", worker.id())?.detach();
    /// let workers: Vec<String> = node.db().keys("workers").await?;
    /// let first: PortId = workers[0].parse()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`Self::set`].
    #[doc(alias = "db_reg")]
    pub fn register(&self, family: &str, port: &PortId) -> Result<Entry, DbError> {
        self.register_with(family, port, &())
    }

    /// Likewise, with a value.
    ///
    /// # Errors
    /// As for [`Self::set`].
    pub fn register_with<T: Serialize + ?Sized>(
        &self,
        family: &str,
        port: &PortId,
        value: &T,
    ) -> Result<Entry, DbError> {
        let entry = self.set(family, &port.to_string(), value)?;
        let (node, family, key, seq) = (
            self.node.downgrade(),
            entry.family.clone(),
            entry.key.clone(),
            entry.seq,
        );
        let monitor = self.node.monitor(port).call(move |_| {
            if let Some(node) = node.upgrade() {
                Node::from_inner(node)
                    .db_host()
                    .remove_if(&family, &key, seq);
            }
        });
        let mut slot = entry.monitor.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(monitor);
        drop(slot);
        Ok(entry)
    }

    async fn query(&self, query: Query) -> Result<Vec<(Key, Found)>, DbError> {
        let limit = self.limits().db_query_timeout;
        match tokio::time::timeout(limit, self.node.db_host().query(query)).await {
            Ok(found) => found?.map_err(DbError::NotPermitted),
            Err(_) => Err(DbError::NoAnswer(limit)),
        }
    }

    /// What shows under a key, as the type that is asked for; `None` where there is nothing.
    ///
    /// # Errors
    /// [`DbError`]: a bad name, no answer within `Limits::db_query_timeout` (there is no home), a value of another type.
    pub async fn get<T: DeserializeOwned>(
        &self,
        family: &str,
        key: &str,
    ) -> Result<Option<T>, DbError> {
        let entry = self.entry(family, key).await?;
        Ok(entry.map(|entry| entry.decode()).transpose()?)
    }

    /// Likewise, with its owner and undecoded.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub async fn entry(&self, family: &str, key: &str) -> Result<Option<DbValue>, DbError> {
        let family = family.parse()?;
        check_key(key, self.limits().db_key_bytes_max)?;
        let query = Query::Key(family, key.into());
        let found = self.query(query).await?;
        Ok(found.into_iter().next().map(|(_, found)| DbValue(found)))
    }

    /// All entries of a family that show, by key.
    ///
    /// # Errors
    /// As for [`Self::get`].
    #[doc(alias = "db_family")]
    pub async fn family(&self, family: &str) -> Result<Vec<(String, DbValue)>, DbError> {
        let found = self.query(Query::Family(family.parse()?)).await?;
        Ok(found
            .into_iter()
            .map(|(key, found)| (key.as_ref().to_owned(), DbValue(found)))
            .collect())
    }

    /// The keys of a family, in order.
    ///
    /// # Errors
    /// As for [`Self::get`].
    #[doc(alias = "db_keys")]
    pub async fn keys(&self, family: &str) -> Result<Vec<String>, DbError> {
        let family = self.family(family).await?;
        Ok(family.into_iter().map(|(key, _)| key).collect())
    }

    /// The values of a family, in the order of their keys.
    ///
    /// # Errors
    /// As for [`Self::get`].
    #[doc(alias = "db_values")]
    pub async fn values<T: DeserializeOwned>(&self, family: &str) -> Result<Vec<T>, DbError> {
        let family = self.family(family).await?;
        let values = family.into_iter().map(|(_, value)| value.decode());
        Ok(values.collect::<Result<_, _>>()?)
    }

    /// Follows a family (R6): first all that is there, then [`DbEvent::Synced`], then every change. A reader that is slow is
    /// told the last state of each key. It goes on through a change of homes.
    ///
    /// ```
    /// # use portmesh::{DbEvent, Node};
    /// # async fn example(node: &Node) -> Result<(), portmesh::DbError> {
    /// let mut workers = node.db().watch("workers")?;
    /// while let Some(event) = workers.next().await {
    ///     match event {
    ///         DbEvent::Added { key, .. } => println!("{key} is there"),
    ///         DbEvent::Deleted { key } => println!("{key} is gone"),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The family's name is none, or the node is shut down.
    #[doc(alias = "db_mon")]
    pub fn watch(&self, family: &str) -> Result<Watch, DbError> {
        let family: Family = family.parse()?;
        Ok(Watch {
            id: self.node.db_host().watch(&family)?,
            node: self.node.clone(),
            family,
        })
    }

    /// Waits until this node has a home; a global node: until it has all that the others had when it began.
    ///
    /// # Errors
    /// The node is shut down.
    pub async fn ready(&self) -> Result<(), DbError> {
        Ok(self.node.db_host().ready().await?)
    }

    /// The global node that this node is attached to; itself if it is one; none while it looks for one.
    pub fn home(&self) -> Option<NodeId> {
        self.node.db_host().home()
    }

    /// What this node holds, in figures: two global nodes that hold the same show the same digest. Takes time in proportion
    /// to what it holds.
    ///
    /// # Errors
    /// The node is shut down.
    pub fn summary(&self) -> Result<Summary, DbError> {
        Ok(self.node.db_host().summary()?)
    }
}

/// An entry that this node has set. Dropping it removes the entry, unless it was set anew since.
#[must_use = "dropping it removes the entry; keep it, or `.detach()` it"]
pub struct Entry {
    node: std::sync::Weak<NodeInner>,
    family: Family,
    key: Key,
    seq: u64,
    armed: bool,
    /// Of the port whose death ends it.
    monitor: Mutex<Option<Monitor>>,
}

impl Entry {
    /// Its family.
    pub fn family(&self) -> &Family {
        &self.family
    }

    /// Its key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Waits until this node's home has taken it; at once for a global node.
    ///
    /// # Errors
    /// [`DbError::Refused`]: the home did not take it, and it is gone; [`DbError::ShutDown`].
    pub async fn accepted(&self) -> Result<(), DbError> {
        let node = self.node.upgrade().ok_or(DbError::ShutDown)?;
        Node::from_inner(node).db_host().written(self.seq).await??;
        Ok(())
    }

    /// Lets it stand until it is removed, set anew, or its owner or port goes.
    #[doc(alias = "forget")]
    pub fn detach(mut self) {
        self.armed = false;
        let monitor = self.monitor.get_mut();
        if let Some(monitor) = monitor.unwrap_or_else(PoisonError::into_inner).take() {
            monitor.detach();
        }
    }

    /// Removes it now; the same as dropping it.
    pub fn remove(self) {}
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.armed
            && let Some(node) = self.node.upgrade()
        {
            Node::from_inner(node)
                .db_host()
                .remove_if(&self.family, &self.key, self.seq);
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("family", &self.family)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// A value of the database, and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct DbValue(Found);

impl DbValue {
    /// Who set it.
    pub fn owner(&self) -> &NodeId {
        &self.0.owner
    }

    /// When, in milliseconds since 1970 by the clocks that its owner has seen.
    pub fn written_ms(&self) -> u64 {
        self.0.stamp.ms()
    }

    /// As any serde type.
    ///
    /// # Errors
    /// It is not of that type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        self.0.value.decode()
    }

    /// As it is.
    pub fn value(&self) -> Value {
        self.0.value.value()
    }
}

/// What a [`Watch`] tells.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum DbEvent {
    /// The key is there; it was not.
    Added {
        /// The key.
        key: String,
        /// What shows under it.
        value: DbValue,
    },
    /// Another value shows, or another owner's.
    Changed {
        /// The key.
        key: String,
        /// What shows under it now.
        value: DbValue,
    },
    /// The key is there no longer.
    Deleted {
        /// The key.
        key: String,
    },
    /// Several nodes own the key. Told behind the change that it came with.
    Conflict {
        /// The key.
        key: String,
        /// All entries, the one first that shows.
        values: Vec<DbValue>,
    },
    /// All that was there when the watch began has been told. Once.
    Synced,
    /// This node's home does not let it read the family: what others own there is told as deleted, and nothing more until
    /// its home's policy is another, or its home.
    Refused {
        /// Why, for people.
        text: String,
    },
}

impl From<Change> for DbEvent {
    fn from(change: Change) -> Self {
        let text = |key: Key| key.as_ref().to_owned();
        match change {
            Change::Added(key, found) => DbEvent::Added {
                key: text(key),
                value: DbValue(found),
            },
            Change::Changed(key, found) => DbEvent::Changed {
                key: text(key),
                value: DbValue(found),
            },
            Change::Deleted(key) => DbEvent::Deleted { key: text(key) },
            Change::Conflict(key, found) => DbEvent::Conflict {
                key: text(key),
                values: found.into_iter().map(DbValue).collect(),
            },
            Change::Synced => DbEvent::Synced,
            Change::Denied(text) => DbEvent::Refused { text },
        }
    }
}

/// A stream of what happens to a family: [`Db::watch`]. Dropping it ends it.
///
/// What was not taken yet is one change a key, so that a reader that is slow costs no more memory than the family.
#[derive(Debug)]
#[must_use = "a watch that nobody reads tells nobody anything"]
pub struct Watch {
    node: Node,
    family: Family,
    id: WatchId,
}

impl Watch {
    /// The family.
    pub fn family(&self) -> &Family {
        &self.family
    }

    /// The next event; `None` when the node is shut down. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<DbEvent> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Likewise, within a time: `None` also when it is over.
    pub async fn next_within(&mut self, time: Duration) -> Option<DbEvent> {
        tokio::time::timeout(time, self.next()).await.ok().flatten()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<DbEvent>> {
        let polled = self.node.db_host().poll_change(self.id, cx);
        polled.map(|change| change.map(DbEvent::from))
    }
}

impl futures_core::Stream for Watch {
    type Item = DbEvent;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<DbEvent>> {
        self.poll_event(cx)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.node.db_host().unwatch(self.id);
    }
}
