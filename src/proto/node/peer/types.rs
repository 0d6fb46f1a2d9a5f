//! What goes into a [`Peer`](super::Peer) and what comes out of it.

use std::time::Duration;

use crate::proto::{
    close::CloseReason,
    codec::Format,
    id::PortName,
    link::LinkId,
    message::{Message, Reason},
};

/// What the caller must do after it changed a [`Peer`](super::Peer).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wake {
    /// There is something to transmit and the writer may be asleep.
    pub writer: bool,
    /// There is no link and nobody was asked for one yet: dial.
    pub dial: bool,
    /// More control frames wait than the peer may leave unread: close the link with [`CloseReason::Overrun`].
    pub overrun: bool,
}

/// Why [`Peer::send`](super::Peer::send) and [`Peer::spawn`](super::Peer::spawn) refuse. Nothing was queued; the message comes back.
#[derive(Debug)]
pub enum SendRefused {
    /// The outbound queue is full (P3, P8).
    Full(Message),
    /// The peer takes no message of that size (in its CBOR form).
    TooLarge {
        /// The message.
        message: Message,
        /// The largest that the peer takes, in bytes.
        max: usize,
    },
}

/// What was agreed on in the handshake, and the link's name.
#[derive(Debug, Clone)]
pub struct LinkParams {
    /// This link.
    pub link: LinkId,
    /// How payloads are written.
    pub format: Format,
    /// The window that the peer grants: what may be under way to it, in bytes.
    pub peer_window_bytes: usize,
    /// Largest frame the peer takes.
    pub peer_frame_bytes_max: usize,
    /// Largest message the peer takes, in its CBOR form.
    pub peer_message_bytes_max: usize,
    /// Longest keepalive interval: a quarter of the smaller of both link timeouts.
    pub keepalive: Duration,
    /// Decides how much earlier each keepalive goes out: another one for each link, so that they do not go on in step.
    pub seed: u64,
    /// Whether both have the feature `retire`: the link may end when it is idle.
    pub retire: bool,
    /// Whether this side wants the link for as long as it lasts: it would be dialled anew at once.
    pub pinned: bool,
}

/// A monitor that fires: what to do, and the reason. Called by the owner of the [`Peer`](super::Peer) outside the lock.
#[derive(Debug)]
pub struct Fired<W> {
    /// The port that was monitored.
    pub port: PortName,
    /// What was to be done.
    pub watch: W,
    /// Why.
    pub reason: Reason,
}

/// Inbound frames that concern what we send; the session hands them on.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerFrame {
    /// The peer processed that many message bytes in all (cumulative).
    Progress(u64),
    /// The peer holds that many bytes for a full mailbox: stop sending to that port.
    Hold {
        /// The port.
        port: PortName,
        /// How many bytes more it holds now.
        bytes: u64,
    },
    /// They went into the mailbox (or were dropped with the port): go on.
    Resume {
        /// The port.
        port: PortName,
        /// How many bytes it holds no longer.
        bytes: u64,
    },
    /// Messages were lost (P2).
    Loss {
        /// The port they were for.
        port: PortName,
        /// How many.
        count: u64,
        /// Why.
        text: String,
    },
    /// A kill of ours was refused: nothing has happened.
    KillRefused {
        /// The port.
        port: PortName,
        /// Why.
        text: String,
    },
    /// A port that we asked for died.
    Down {
        /// The port.
        port: PortName,
        /// Why.
        reason: Reason,
    },
    /// The peer asks whether the link may end.
    Retire,
    /// The answer to our asking: it needs the link.
    Stay,
}

/// Frames that the session (or a dying port) wants sent back. See [`Peer::reply`](super::Peer::reply).
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// See [`PeerFrame::Progress`].
    Progress {
        /// How much.
        done: u64,
        /// When, on this node's clock: it is told within a short time.
        at: Duration,
    },
    /// See [`PeerFrame::Hold`].
    Hold {
        /// The port.
        port: PortName,
        /// Bytes.
        bytes: u64,
    },
    /// See [`PeerFrame::Resume`].
    Resume {
        /// The port.
        port: PortName,
        /// Bytes.
        bytes: u64,
    },
    /// We dropped messages of the peer's (P2). At most one a port is unacknowledged.
    Loss {
        /// The port.
        port: PortName,
        /// How many.
        count: u64,
        /// Why, for people.
        text: String,
    },
    /// A kill of the peer's was refused, and nothing has happened.
    KillRefused {
        /// The port.
        port: PortName,
        /// Why, for people.
        text: String,
    },
    /// A port of ours that the peer monitors died.
    Down {
        /// The port.
        port: PortName,
        /// Why.
        reason: Reason,
    },
    /// Asks for a [`Reply::Pong`]: keepalive, round trip, probe.
    Ping(u64),
    /// The answer.
    Pong(u64),
    /// The body of a RENEW.
    Renew(Vec<u8>),
    /// The peer's loss of that port was acknowledged by it: a later one may be told again.
    LossSettled {
        /// The port.
        port: PortName,
    },
}

/// What [`Peer::transmit`](super::Peer::transmit) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// More could be transmitted at once.
    pub more: bool,
    /// Senders that wait for room should be woken.
    pub room: bool,
    /// Accepted messages cannot go over this link (too large for this peer, or its format cannot carry them): call
    /// [`Peer::take_lost`](super::Peer::take_lost).
    pub lost: bool,
    /// The database may send more, after [`Peer::db_room`](super::Peer::db_room) told it to wait.
    pub db_room: bool,
}

/// What [`Peer::take_lost`](super::Peer::take_lost) asks for.
#[derive(Debug)]
pub struct Lost<W> {
    /// The link it was to go over.
    pub link: Option<LinkId>,
    /// Monitors to fire.
    pub fired: Vec<Fired<W>>,
    /// Then settle the losses on these ports.
    pub settle: Vec<PortName>,
    /// What the database sent cannot go over this link: close it with this.
    pub close: Option<CloseReason>,
}

/// What [`Peer::handle`](super::Peer::handle) asks for.
#[derive(Debug)]
pub struct Handled<W> {
    /// Monitors to fire.
    pub fired: Vec<Fired<W>>,
    /// Then settle the loss on this port.
    pub settle: Option<PortName>,
    /// Then wake.
    pub wake: Wake,
    /// The peer broke the protocol: close the link with this.
    pub close: Option<CloseReason>,
}

/// What a link's end took along.
#[derive(Debug)]
pub struct Closed<W> {
    /// Monitors to fire, all of them.
    pub fired: Vec<Fired<W>>,
    /// Accepted messages that were never transmitted, and those transmitted but not known to be processed.
    pub lost: u64,
}
