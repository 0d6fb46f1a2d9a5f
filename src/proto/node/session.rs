//! The inbound half of one link: from bytes to mailboxes. Lives in the link's task, without a lock of its own.

use std::{collections::VecDeque, time::Duration};

use bytes::BytesMut;

use super::peer::{PeerFrame, Reply};
use crate::proto::{
    close::CloseReason,
    codec::Format,
    id::{Incarnation, NodeId, PortName},
    limits::{Limits, Now},
    link::LinkId,
    message::{Message, Reason},
    policy::Policy,
};

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// All of it is in the mailbox.
    Done,
    /// The rest did not fit; the mailbox remembers the link and [`Session::handle_room`] is called when there is room.
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
    fn deliver(&self, port: &Self::Port, link: LinkId, batch: &mut VecDeque<Message>) -> Delivery;
    /// Whether that link's node spawned the port.
    fn spawned_by(&self, port: &Self::Port, node: &NodeId) -> bool;
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
}

/// What one call of [`Session::handle_bytes`] leaves to do, besides what it did to the ports.
#[derive(Debug, Default)]
pub struct Reactions {
    /// Frames to send back: [`super::peer::Peer::reply`].
    pub replies: Vec<Reply>,
    /// Frames about what we send: [`super::peer::Peer::handle`], in order.
    pub frames: Vec<PeerFrame>,
    /// A probe's answer came, or any byte at all did.
    pub alive: bool,
    /// A keepalive's answer came: how long it was on the way.
    pub rtt: Option<Duration>,
}

/// See the module.
#[derive(Debug)]
pub struct Session<P: Ports> {
    _p: std::marker::PhantomData<P>,
}

#[allow(unused_variables)]
impl<P: Ports> Session<P> {
    /// A link that has just been activated.
    pub fn new(params: SessionParams, limits: &Limits, policy: Policy, now: Now) -> Self {
        todo!()
    }

    /// Takes all complete frames out of `data` (what is left is the beginning of the next one). `Err`: close the link.
    pub fn handle_bytes(
        &mut self,
        data: &mut BytesMut,
        now: Now,
        ports: &P,
        out: &mut Reactions,
    ) -> Result<(), CloseReason> {
        todo!()
    }

    /// There is room again in a mailbox that was full.
    pub fn handle_room(&mut self, port: &PortName, now: Now, ports: &P, out: &mut Reactions) {
        todo!()
    }

    /// A time that was asked for has come: a kill that waited behind held messages ends its wait. `Err` when no byte
    /// came for the link timeout (M7).
    pub fn handle_timeout(
        &mut self,
        now: Now,
        ports: &P,
        out: &mut Reactions,
    ) -> Result<(), CloseReason> {
        todo!()
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Duration {
        todo!()
    }

    /// How many bytes this session keeps for messages: fragments and held ones.
    pub fn held_bytes(&self) -> usize {
        todo!()
    }

    /// The link is gone: takes its monitors off the ports, drops what is held.
    pub fn close(self, ports: &P) {
        todo!()
    }
}
