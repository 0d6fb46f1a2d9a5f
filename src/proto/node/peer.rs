//! All that this node sends to one other node, and the monitors it holds there: one per known node ID, shared by all
//! senders under one short lock. It outlives links; a link is an epoch of it (M6).

use std::time::Duration;

use super::reason;

mod rest;
mod types;

use self::rest::Rest;
use crate::proto::{
    close::CloseReason,
    id::{NodeId, PortName},
    limits::{Limits, Now},
    link::{
        LinkId,
        frame::Frame,
        keepalive::Keepalive,
        lane::Item,
        outbound::{Outbound, Terms},
        sink::FrameSink,
        window::Lie,
    },
    message::{Encoded, Message, Reason},
    monitor::{WatchId, Watches},
};

pub use types::{
    Closed, Fired, Handled, LinkParams, Lost, PeerFrame, Reply, SendRefused, Transmit, Wake,
};

/// See the module. `W` is what is to happen when a monitor fires.
#[derive(Debug)]
pub struct Peer<W> {
    node: NodeId,
    limits: Limits,
    link: Option<LinkId>,
    /// Between [`Self::close`] and [`Self::reopen`].
    is_closed: bool,
    watches: Watches<W>,
    out: Outbound,
    /// The writer was told that there is something, and has not run dry since.
    is_writer_awake: bool,
    is_dial_wanted: bool,
    rest: Rest,
    /// Both have the feature `retire`.
    may_retire: bool,
    /// The link is to stay though nothing is sent over it.
    kept: bool,
    /// Likewise, for as long as it lasts.
    pinned: bool,
}

impl<W> Peer<W> {
    /// A node without a link.
    pub fn new(node: NodeId, limits: &Limits) -> Self {
        Peer {
            node,
            limits: limits.clone(),
            link: None,
            is_closed: false,
            watches: Watches::default(),
            out: Outbound::new(limits),
            is_writer_awake: false,
            is_dial_wanted: false,
            rest: Rest::Active,
            may_retire: false,
            kept: false,
            pinned: false,
        }
    }

    /// Its ID.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// The link that is up, if one is.
    pub fn link(&self) -> Option<LinkId> {
        self.link
    }

    // --- commands; each may be called at any time, with a link or without one (P3) ---

    /// Queues a message. Never blocks.
    ///
    /// # Errors
    /// Nothing was queued: the queue is full, or the peer takes no message of that size.
    pub fn send<'a>(
        &mut self,
        port: &PortName,
        message: impl Into<Encoded<'a>>,
    ) -> Result<Wake, SendRefused> {
        let message = message.into();
        if let Some((bytes, format, size)) = message.checked()
            && self.out.push_small(port, bytes, format, size)
        {
            return Ok(self.wake());
        }
        let message = self.admit(port, message.into_message())?;
        let watch = false;
        self.out.push(port, Item::Send { message, watch });
        Ok(self.wake())
    }

    /// A message whose frame carries a monitor on its port (S4): like [`Self::monitor`] and then [`Self::send`], in one
    /// frame.
    ///
    /// # Errors
    /// As for [`Self::send`]; nothing was queued and no monitor added.
    pub fn call(
        &mut self,
        port: &PortName,
        message: Message,
        watch: W,
    ) -> Result<(WatchId, Wake), (SendRefused, W)> {
        let message = match self.admit(port, message) {
            Ok(message) => message,
            Err(refused) => return Err((refused, watch)),
        };
        let (id, watch) = self.add_watch(port, watch);
        self.out.push(port, Item::Send { message, watch });
        Ok((id, self.wake()))
    }

    /// Adds a monitor on a port there (M2, M4, M5). For the node port: fires only with the link.
    pub fn monitor(&mut self, port: &PortName, watch: W) -> (WatchId, Wake) {
        let (id, ask) = self.add_watch(port, watch);
        if ask {
            self.out.push(port, Item::Monitor);
        }
        (id, self.wake())
    }

    /// Takes a monitor back. `None`: it fired already. After this it never fires.
    pub fn unmonitor(&mut self, port: &PortName, id: WatchId) -> (Option<W>, Wake) {
        let watch = self.watches.remove(port, id);
        self.evict();
        (watch, self.wake())
    }

    /// Kills a port there, behind what was sent to it before, within `Limits::kill_wait` (M4). A reason that is too
    /// long is shortened to its tag.
    pub fn kill(&mut self, port: &PortName, reason: &Reason, now: Now) -> Wake {
        if !port.is_node_port() {
            let reason = reason::encode(reason, &self.limits);
            let deadline = now.mono + self.limits.kill_wait;
            self.out.push(port, Item::Kill { reason, deadline });
        }
        self.wake()
    }

    /// Asks for a new port of that name there.
    ///
    /// # Errors
    /// As for [`Self::send`].
    pub fn spawn(
        &mut self,
        port: &PortName,
        function: &str,
        args: Message,
    ) -> Result<Wake, SendRefused> {
        let args = self.admit(port, args)?;
        let function = function.into();
        self.out.push(port, Item::Spawn { function, args });
        Ok(self.wake())
    }

    /// Sends something to the database of that link's node, in order; ignored when `link` is not the link any more. Only
    /// where both have the feature `db`.
    pub fn send_db(&mut self, link: LinkId, message: Message) -> Wake {
        if self.link == Some(link) {
            self.out.push_db(message);
        }
        self.wake()
    }

    /// Whether fewer than [`DB_BACKLOG_MAX`](crate::proto::link::DB_BACKLOG_MAX) bytes of the database wait here. Where
    /// not, [`Transmit::db_room`] tells when half of it is out; nothing tells when the link ends before.
    pub fn db_room(&mut self) -> bool {
        self.out.db_room()
    }

    /// Whether a message of that size to that port would be accepted now; for [awaiting] senders. They are told by
    /// [`Transmit::room`], and have to try again after [`Self::close`] too.
    ///
    /// [awaiting]: SendRefused::Full
    pub fn has_room(&mut self, port: &PortName, bytes: usize) -> bool {
        self.out.has_room(port, bytes)
    }

    /// Whether all that was accepted has been transmitted, and the peer has dealt with it and holds none of it for a
    /// full mailbox (L6).
    pub fn is_flushed(&self) -> bool {
        self.out.is_flushed()
    }

    /// Whether anything needs the peer: queued, unacknowledged, or a monitor.
    pub fn is_wanted(&self) -> bool {
        self.out.is_busy() || !self.watches.is_empty()
    }

    // --- the link's side ---

    /// A link is up: what was queued goes out over it. Nothing happens while another is up, or before
    /// [`Self::reopen`].
    pub fn activate(&mut self, params: LinkParams, now: Now) -> Wake {
        if self.link.is_some() || self.is_closed {
            return Wake::default();
        }
        self.link = Some(params.link);
        self.is_dial_wanted = false;
        self.may_retire = params.retire;
        self.pinned = params.pinned;
        let terms = Terms {
            format: params.format,
            frame_bytes_max: params.peer_frame_bytes_max,
            message_bytes_max: params.peer_message_bytes_max,
            keepalive: Keepalive::new(params.keepalive, params.seed, now.mono),
        };
        self.out.activate(terms, params.peer_window_bytes, now);
        self.wake()
    }

    /// Queues a control frame on that link; ignored when `link` is not the link any more.
    pub fn reply(&mut self, link: LinkId, reply: Reply) -> Wake {
        if self.link != Some(link) {
            return Wake::default();
        }
        let control = &mut self.out.control;
        match reply {
            Reply::Progress { done, at } => control.progress(done, at),
            Reply::Hold { port, bytes } => control.held(&port, bytes.into()),
            Reply::Resume { port, bytes } => control.held(&port, -i128::from(bytes)),
            Reply::Loss { port, count, text } => self.out.loss(&port, count, &text),
            Reply::KillRefused { port, text } => self.out.kill_refused(&port, &text),
            Reply::Ping(number) => control.push(Frame::Ping(number)),
            Reply::Pong(number) => control.pong(number),
            Reply::Renew(body) => control.push(Frame::Renew(&body)),
            Reply::LossSettled { port } => control.loss_settled(&port),
            Reply::Down { port, reason } => {
                if let Some(terms) = self.out.terms() {
                    let reason = reason::encode_as(&reason, &terms.format, &self.limits);
                    self.out.down(&port, &reason);
                }
            }
        }
        let bound = self
            .limits
            .outbound_bytes_max
            .saturating_add(self.limits.monitors_per_link_max.saturating_mul(64));
        let mut wake = self.wake();
        wake.overrun = self.out.control_bytes() > bound;
        wake
    }

    /// Appends at most about `budget` bytes of frames to `sink`, control frames first.
    pub fn transmit(&mut self, sink: &mut dyn FrameSink, budget: usize, now: Now) -> Transmit {
        let sent = self.out.transmit(sink, budget, now);
        self.is_writer_awake = sent.more;
        Transmit {
            more: sent.more,
            room: sent.room,
            lost: sent.lost,
            db_room: sent.db_room,
        }
    }

    /// What the session read. The monitors that fire are called outside the lock; then, when [`Handled::settle`] names a
    /// port, [`Self::settle`].
    pub fn handle(&mut self, link: LinkId, frame: PeerFrame, now: Now) -> Handled<W> {
        let mut handled = Handled {
            fired: Vec::new(),
            settle: None,
            wake: Wake::default(),
            close: None,
        };
        if self.link != Some(link) || self.rest == Rest::Retired {
            return handled;
        }
        let result = match frame {
            PeerFrame::Progress(done) => self.out.handle_progress(done, now),
            PeerFrame::Hold { port, bytes } => self.out.handle_hold(&port, bytes),
            PeerFrame::Resume { port, bytes } => self.out.handle_resume(&port, bytes),
            PeerFrame::Loss { port, text, .. } => {
                let result = self.out.fence(&port, true);
                handled.fired = self.fire_loss(&port, &text);
                handled.settle = Some(port);
                result
            }
            // the runtime tells of it
            PeerFrame::KillRefused { .. } => Ok(()),
            PeerFrame::Down { port, reason } => {
                let watches = self.watches.down(&port);
                handled.fired = fire(&port, watches, &reason);
                Ok(())
            }
            PeerFrame::Retire => {
                self.handle_retire(&mut handled);
                Ok(())
            }
            PeerFrame::Stay => self.handle_stay(now),
        };
        if let Err(Lie(text)) = result {
            handled.close = Some(CloseReason::Protocol(text.to_owned()));
        }
        handled.wake = self.wake();
        handled
    }

    fn fire_loss(&mut self, port: &PortName, text: &str) -> Vec<Fired<W>> {
        let reason = Reason::transport_error(&self.node, text);
        fire(port, self.watches.loss(port), &reason)
    }

    /// The monitors of a loss have fired: acknowledge it and let what waits behind it go (P2). Ignored when `link` is
    /// not the link any more.
    pub fn settle(&mut self, link: LinkId, port: &PortName) -> Wake {
        if self.link != Some(link) {
            return Wake::default();
        }
        self.out.settle(port);
        self.wake()
    }

    /// What [`Self::transmit`] could not bring out, after it said [`Transmit::lost`]: fire the monitors outside the
    /// lock, then [`Self::settle`] each port.
    pub fn take_lost(&mut self) -> Lost<W> {
        let mut lost = Lost {
            link: self.link,
            fired: Vec::new(),
            settle: Vec::new(),
            close: self.out.take_db_broken().map(|text| {
                let text = format!("what the database sent cannot go over this link: {text}");
                CloseReason::Transport(text)
            }),
        };
        for (port, text) in self.out.take_lost() {
            self.watches.forget_ask(&port);
            lost.fired.append(&mut self.fire_loss(&port, &text));
            lost.settle.push(port);
        }
        lost
    }

    /// The link (or the attempt to make one) is lost: takes out every monitor and drops what was accepted (M6). Until
    /// [`Self::reopen`] no link can be activated, so that the caller fires the monitors before anything later goes out.
    /// What is queued in between belongs to the next link. Senders that wait for room should be woken.
    ///
    /// Where both sides have agreed to the end ([`Self::why`] says so) nothing is lost and nothing fires, and what was
    /// queued since belongs to the next link too.
    pub fn close(&mut self, why: &CloseReason) -> Closed<W> {
        let keeps = match self.rest {
            Rest::Active => false,
            Rest::Retiring => *why == CloseReason::Idle,
            Rest::Retired => true,
        };
        self.rest = Rest::Active;
        (self.may_retire, self.kept, self.pinned) = (false, false, false);
        self.link = None;
        self.is_closed = true;
        self.is_writer_awake = false;
        self.is_dial_wanted = false;
        if keeps {
            self.rest();
            let fired = Vec::new();
            return Closed { fired, lost: 0 };
        }
        let reason = Reason::transport_error(&self.node, why);
        let fired = self
            .watches
            .close()
            .into_iter()
            .flat_map(|(port, watches)| fire(&port, watches, &reason))
            .collect();
        Closed {
            fired,
            lost: self.out.reset(),
        }
    }

    /// The monitors of [`Self::close`] have fired.
    pub fn reopen(&mut self) -> Wake {
        self.is_closed = false;
        self.wake()
    }

    /// When [`Self::transmit`] has to be called though nobody woke the writer (keepalive, a kill whose wait ends).
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.out.poll_timeout()
    }

    /// When the writer has to look for what the peer is to be told of what this side has dealt with, if nothing wakes it
    /// before; a part of [`Self::poll_timeout`].
    pub fn poll_progress(&self) -> Option<Duration> {
        self.out.control.poll_timeout()
    }

    /// Appends what the peer was not told yet, before this node's last word on that link: above all what this side has dealt
    /// with, so that the peer takes nothing for lost that has arrived (P2).
    pub fn last_words(&mut self, link: LinkId, buf: &mut Vec<u8>, now: Now) {
        if self.link == Some(link) {
            self.out.control.transmit(buf, true, now);
        }
    }

    fn admit(&mut self, port: &PortName, message: Message) -> Result<Message, SendRefused> {
        let bytes = message.encoded_len();
        if let Some(terms) = self.out.terms()
            && message.size().unwrap_or(bytes) > terms.message_bytes_max
        {
            let max = terms.message_bytes_max;
            return Err(SendRefused::TooLarge { message, max });
        }
        if !self.out.has_room(port, bytes) {
            return Err(SendRefused::Full(message));
        }
        Ok(message)
    }

    fn wake(&mut self) -> Wake {
        let mut wake = Wake::default();
        if self.link.is_some() {
            wake.writer = !self.is_writer_awake && self.out.is_sendable();
            self.is_writer_awake |= wake.writer;
        } else if !self.is_closed && !self.is_dial_wanted && self.is_wanted() {
            self.is_dial_wanted = true;
            wake.dial = true;
        }
        wake
    }
}

fn fire<W>(port: &PortName, watches: Vec<W>, reason: &Reason) -> Vec<Fired<W>> {
    watches
        .into_iter()
        .map(|watch| Fired {
            port: port.clone(),
            watch,
            reason: reason.clone(),
        })
        .collect()
}
