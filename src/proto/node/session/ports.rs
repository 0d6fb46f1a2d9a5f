//! What a [`Session`](super::Session) needs of the ports of this node, and what it asks for.

use std::time::Duration;

use super::Portion;
use crate::proto::{
    codec::Format,
    id::{Incarnation, NodeId, PortName},
    link::LinkId,
    message::{Batch, Message, Reason},
    node::peer::{PeerFrame, Reply},
    policy::Denial,
};

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// All of it is in the mailbox.
    Done,
    /// The rest did not fit; the mailbox remembers the link and
    /// [`Session::handle_room`](super::Session::handle_room) is called when there is room.
    Full,
    /// The port is dead, or dies of the overflow; the rest is lost.
    Dead,
}

/// What a session needs of the ports of this node. Implemented by the runtime and by the simulation.
pub trait Ports {
    /// A living port.
    type Port: Clone;
    /// The living port of that name; the node's own for the empty name.
    fn find(&self, name: &str) -> Option<Self::Port>;
    /// Puts messages into the mailbox, front first, as many as fit; what does not fit stays in `batch`.
    fn deliver(&self, port: &Self::Port, link: LinkId, batch: &mut Batch) -> Delivery;
    /// Whether that link's node spawned the port.
    fn spawned_by(&self, port: &Self::Port, node: &NodeId) -> bool;
    /// Whether the port is registered in a family of the database that `wanted` says yes to.
    fn is_registered(&self, port: &Self::Port, wanted: &dyn Fn(&str) -> bool) -> bool {
        let _ = (port, wanted);
        false
    }
    /// Whether the port is there to take one reply. Who was asked may always send it.
    fn is_reply(&self, port: &Self::Port) -> bool {
        let _ = port;
        false
    }
    /// Queues a kill behind what is in the mailbox; it takes effect within `within` at the latest (M4).
    fn kill(&self, port: &Self::Port, link: LinkId, reason: Reason, within: Duration);
    /// The peer of that link monitors the port. `Err`: it is dead; the reason to tell.
    /// Asked once a link and port; asking again changes nothing.
    fn watch(&self, port: &Self::Port, link: LinkId) -> Result<(), Reason>;
    /// What a monitor on a port that [`Self::find`] does not know fires with: why its spawn failed where that is still
    /// remembered (S2), else `["no_such_port", port]`.
    fn dead_reason(&self, name: &PortName) -> Reason;
    /// No longer.
    fn unwatch(&self, port: &Self::Port, link: LinkId);
    /// The peer has acknowledged a loss on that port: where the port itself told it (its mark for that link is set), put
    /// it into the mailbox behind what is there; else nothing. (An acknowledgement that nobody waits for takes no memory.)
    fn loss_acknowledged(&self, port: &Self::Port, link: LinkId);
    /// Makes the new port at once, its init function runs later (S1). `Err`: the reason it died with, never having lived.
    fn spawn(
        &self,
        link: LinkId,
        by: &NodeId,
        name: &PortName,
        function: &str,
        args: Message,
    ) -> Result<Self::Port, Reason>;
}

/// Who is on the other side, and what was agreed on.
#[derive(Debug, Clone)]
pub struct SessionParams {
    /// This link.
    pub link: LinkId,
    /// The peer's proven ID.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// How payloads are read.
    pub format: Format,
    /// The longer of both link timeouts is not used: ours decides when we give up.
    pub link_timeout: Duration,
    /// Whether both have the feature `db`.
    pub db: bool,
    /// Whether both have the feature `retire`.
    pub retire: bool,
    /// Whether both have the feature `renew`.
    pub renew: bool,
}

/// What one call of [`Session::handle_bytes`](super::Session::handle_bytes) leaves to do, besides what it did to the ports.
#[derive(Debug, Default)]
pub struct Reactions {
    /// Frames to send back: [`Peer::reply`](crate::proto::node::peer::Peer::reply).
    pub replies: Vec<Reply>,
    /// Frames about what we send: [`Peer::handle`](crate::proto::node::peer::Peer::handle), in order.
    pub frames: Vec<PeerFrame>,
    /// What came for the database, in order.
    pub db: Vec<Message>,
    /// Bodies of RENEW, in order; a few at most.
    pub renewals: Vec<Vec<u8>>,
    /// A probe's answer came, or any byte at all did; but for the last ones of a link.
    pub alive: bool,
    /// A keepalive's answer came: how long it was on the way.
    pub rtt: Option<Duration>,
    /// What was refused to the peer, for the log; no more than a few a batch.
    pub refused: Vec<Denial>,
    /// How often something was refused to it.
    pub denied: u64,
    /// How much of what came was handed on.
    pub portion: Portion,
}
