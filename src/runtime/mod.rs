//! The protocol on tokio: tasks, timers, queues, mailboxes.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use self::transport::BoxFuture;
use crate::proto::{
    close::CloseReason,
    id::{Incarnation, NodeId, PortName},
    link::LinkId,
    message::{Message, Reason},
    node::{peer::Reply, session::Ports},
    policy::PeerPolicy,
};

pub mod auth;
pub mod behaviour;
mod cells;
pub mod clock;
mod connection;
mod counters;
pub mod db;
mod death;
mod dial;
mod driver;
pub mod entropy;
pub mod events;
mod failed;
mod formats;
mod gate;
mod inbound;
mod link;
mod links;
mod listen;
pub mod local;
pub mod mesh;
mod names;
mod places;
pub mod policy;
pub mod port;
pub mod registered;
pub mod registry;
mod renew;
pub mod reply;
mod runner;
mod seeds;
mod shared;
mod stream;
pub mod transport;
pub(crate) mod turns;
mod writer;

/// What a firing monitor does.
pub trait Fire: Send + Sync {
    /// The monitor fires; once at most (M2). It is called inline, by whoever found the death or the lost link, without any
    /// lock held: it must not block. A panic in it is caught and logged.
    fn fire(&self, reason: &Reason);
}

/// A monitor, as those have it who will tell of a death. It is shared with whoever waits for that.
pub type Watch = Arc<dyn Fire>;

/// A monitor that calls a closure.
pub fn watch(call: impl FnOnce(&Reason) + Send + 'static) -> Watch {
    struct Call<F>(Mutex<Option<F>>);
    impl<F: FnOnce(&Reason) + Send> Fire for Call<F> {
        fn fire(&self, reason: &Reason) {
            let call = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(call) = call {
                call(reason);
            }
        }
    }
    Arc::new(Call(Mutex::new(Some(call))))
}

/// What the ports of a node tell its links. [`mesh::Mesh`] is one; the ports get it by [`NodePorts::attach`].
pub trait LinkSink: Send + Sync {
    /// Sends a control frame back over that link (a death the peer monitors, a loss that was settled). Ignored when the
    /// link is gone. Takes the peer's lock for a moment; never blocks, never calls back.
    fn reply(&self, link: LinkId, reply: Reply);
    /// There is room again in the mailbox of that port, for which the link holds messages
    /// ([`Mailbox::take_waiting`](crate::proto::ports::mailbox::Mailbox::take_waiting)), or the port has died.
    fn room(&self, link: LinkId, port: &PortName);
}

/// The ports of a node as its mesh needs them: the registry, or a test's own.
pub trait NodePorts: Ports<Port: Send> + Send + Sync + 'static {
    /// Called once, before the first link: where replies go. Before it there is nobody to tell.
    fn attach(&self, links: Weak<dyn LinkSink>);
    /// That link is up, to that node: called before its session exists.
    fn link_up(&self, link: LinkId, node: &NodeId, policy: &Arc<PeerPolicy>) {
        let _ = (link, node, policy);
    }
    /// What the peer of that link may do here has changed.
    fn link_policy(&self, link: LinkId, policy: &Arc<PeerPolicy>) {
        let _ = (link, policy);
    }
    /// That link is gone: called after its session has closed.
    fn link_down(&self, link: LinkId) {
        let _ = link;
    }
}

/// What a mesh tells the node's database, and asks of it. It is called with no lock held, by the driver and by the links'
/// tasks: it must not block. It may call the mesh back.
///
/// Only links come here on which both nodes have the feature `db`. For each of them [`Self::link_up`] is the first call and
/// [`Self::link_down`] the last but for calls that were under way; a call for a link that is down is to be ignored.
pub trait DbLinks: Send + Sync {
    /// Called once, before the first link: whether this node is a global one.
    fn begin(&self, global: bool);
    /// That link is up: something may be sent over it. `features` are all that the peer says it has; `dialled_seed`: this
    /// node opened the connection to one of its seeds; `policy` is what the peer may do here.
    fn link_up(
        &self,
        link: LinkId,
        node: &NodeId,
        incarnation: Incarnation,
        features: &[String],
        dialled_seed: bool,
        policy: Arc<PeerPolicy>,
    );
    /// What the peer of that link may do here has changed.
    ///
    /// # Errors
    /// The link is to end with this reason.
    fn link_policy(&self, link: LinkId, policy: Arc<PeerPolicy>) -> Result<(), CloseReason> {
        let _ = (link, policy);
        Ok(())
    }
    /// That link is gone, and with it what was sent and not answered.
    fn link_down(&self, link: LinkId, node: &NodeId, reason: &CloseReason);
    /// Something came over that link.
    ///
    /// # Errors
    /// The link is to end with this reason.
    fn handle(&self, link: LinkId, message: Message) -> Result<(), CloseReason>;
    /// More may be sent over that link, after [`mesh::Mesh::db_room`] said no.
    fn room(&self, link: LinkId);
}

/// Knows where nodes listen that this one has no address of (L3): the db, or a test's own.
pub trait Directory: Send + Sync + 'static {
    /// The addresses of that node, the best first; none where it is not known. It may wait for news: the caller bounds the
    /// time, and drops the future when a link comes up meanwhile.
    fn lookup<'a>(&'a self, node: &'a NodeId) -> BoxFuture<'a, Vec<String>>;
}
