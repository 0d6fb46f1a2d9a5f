//! All that this node sends to one other node, and the monitors it holds there: one per known node ID, shared by all
//! senders under one short lock. It outlives links; a link is an epoch of it (M6).

use std::time::Duration;

use crate::proto::{
    close::CloseReason,
    codec::Format,
    id::{NodeId, PortName},
    limits::{Limits, Now},
    link::LinkId,
    message::{Message, Reason},
    monitor::WatchId,
};

/// What the caller must do after it changed a [`Peer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wake {
    /// There is something to transmit and the writer may be asleep.
    pub writer: bool,
    /// There is no link and nobody was asked for one yet: dial.
    pub dial: bool,
    /// More control frames wait than the peer may leave unread: close the link with [`CloseReason::Overrun`].
    pub overrun: bool,
}

/// Why [`Peer::send`] and [`Peer::spawn`] refuse. Nothing was queued; the message comes back.
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
    /// Keepalive interval: a quarter of the smaller of both link timeouts.
    pub keepalive: Duration,
}

/// A monitor that fires: what to do, and the reason. Called by the owner of the [`Peer`] outside the lock.
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
    /// A port that we asked for died.
    Down {
        /// The port.
        port: PortName,
        /// Why.
        reason: Reason,
    },
}

/// Frames that the session (or a dying port) wants sent back. See [`Peer::reply`].
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// See [`PeerFrame::Progress`].
    Progress(u64),
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
    /// The peer's loss of that port was acknowledged by it: a later one may be told again.
    LossSettled {
        /// The port.
        port: PortName,
    },
}

/// See the module. `W` is what is to happen when a monitor fires.
#[derive(Debug)]
pub struct Peer<W> {
    _w: std::marker::PhantomData<W>,
}

#[allow(unused_variables)]
impl<W> Peer<W> {
    /// A node without a link.
    pub fn new(node: NodeId, limits: &Limits) -> Self {
        todo!()
    }

    /// Its ID.
    pub fn node(&self) -> &NodeId {
        todo!()
    }

    /// The link that is up, if one is.
    pub fn link(&self) -> Option<LinkId> {
        todo!()
    }

    // --- commands; each may be called at any time, with a link or without one (P3) ---

    /// Queues a message. Never blocks. `Err`: nothing was queued.
    pub fn send(
        &mut self,
        port: &PortName,
        message: Message,
        now: Now,
    ) -> Result<Wake, SendRefused> {
        todo!()
    }

    /// A message whose frame carries a monitor on its port (S4): like [`Self::monitor`] and then [`Self::send`], in one frame.
    pub fn call(
        &mut self,
        port: &PortName,
        message: Message,
        watch: W,
        now: Now,
    ) -> Result<(WatchId, Wake), (SendRefused, W)> {
        todo!()
    }

    /// Adds a monitor on a port there (M2, M4, M5). For the node port: fires only with the link.
    pub fn monitor(&mut self, port: &PortName, watch: W, now: Now) -> (WatchId, Wake) {
        todo!()
    }

    /// Takes a monitor back. `None`: it fired already. After this it never fires.
    pub fn unmonitor(&mut self, port: &PortName, id: WatchId) -> (Option<W>, Wake) {
        todo!()
    }

    /// Kills a port there, behind what was sent to it before, within `Limits::kill_wait` (M4).
    pub fn kill(&mut self, port: &PortName, reason: &Reason, now: Now) -> Wake {
        todo!()
    }

    /// Asks for a new port of that name there.
    pub fn spawn(
        &mut self,
        port: &PortName,
        function: &str,
        args: Message,
        now: Now,
    ) -> Result<Wake, SendRefused> {
        todo!()
    }

    /// Whether a message of that size would be accepted now; for [awaiting] senders.
    pub fn has_room(&self, bytes: usize) -> bool {
        todo!()
    }

    /// Whether all that was accepted has been transmitted, and the peer holds none of it for a full mailbox (L6).
    pub fn is_flushed(&self) -> bool {
        todo!()
    }

    /// Whether anything needs the peer: queued, unacknowledged, or a monitor.
    pub fn is_wanted(&self) -> bool {
        todo!()
    }

    // --- the link's side ---

    /// A link is up: what was queued goes out over it.
    pub fn activate(&mut self, params: LinkParams, now: Now) -> Wake {
        todo!()
    }

    /// Queues a control frame on that link; ignored when `link` is not the link any more.
    pub fn reply(&mut self, link: LinkId, reply: Reply) -> Wake {
        todo!()
    }

    /// Appends at most about `budget` bytes of frames to `buf`; whether anything was appended, and whether more could be at once.
    pub fn transmit(&mut self, buf: &mut Vec<u8>, budget: usize, now: Now) -> Transmit {
        todo!()
    }

    /// What the session read. The monitors that fire are called outside the lock; then, when [`Handled::settle`] names ports, [`Self::settle`].
    pub fn handle(&mut self, link: LinkId, frame: PeerFrame, now: Now) -> Handled<W> {
        todo!()
    }

    /// The monitors of a loss have fired: acknowledge it and let what waits behind it go (P2). Ignored when `link` is
    /// not the link any more.
    pub fn settle(&mut self, link: LinkId, port: &PortName) -> Wake {
        todo!()
    }

    /// What [`Self::transmit`] could not bring out, after it said [`Transmit::lost`]: fire the monitors outside the
    /// lock, then [`Self::settle`] each port.
    pub fn take_lost(&mut self) -> Lost<W> {
        todo!()
    }

    /// The link (or the attempt to make one) is lost: takes out every monitor and drops what was accepted (M6). Until
    /// [`Self::reopen`] no link can be activated, so that the caller fires the monitors before anything later goes out.
    /// What is queued in between belongs to the next link.
    pub fn close(&mut self, why: &CloseReason) -> Closed<W> {
        todo!()
    }

    /// The monitors of [`Self::close`] have fired.
    pub fn reopen(&mut self) -> Wake {
        todo!()
    }

    /// When [`Self::transmit`] has to be called though nobody woke the writer (keepalive, a kill whose wait ends).
    pub fn poll_timeout(&self) -> Option<Duration> {
        todo!()
    }
}

/// What [`Peer::transmit`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// More could be transmitted at once.
    pub more: bool,
    /// Senders that wait for room should be woken.
    pub room: bool,
    /// Accepted messages cannot go over this link (too large for this peer, or its format cannot carry them): call
    /// [`Peer::take_lost`].
    pub lost: bool,
}

/// What [`Peer::take_lost`] asks for.
#[derive(Debug)]
pub struct Lost<W> {
    /// The link it was to go over.
    pub link: Option<LinkId>,
    /// Monitors to fire.
    pub fired: Vec<Fired<W>>,
    /// Then settle the losses on these ports.
    pub settle: Vec<PortName>,
}

/// What [`Peer::handle`] asks for.
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
