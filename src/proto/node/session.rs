//! The inbound half of one link: from bytes to mailboxes. Lives in the link's task, without a lock of its own.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};

use super::{
    held::{Held, Item},
    peer::{PeerFrame, Reply},
    reason,
    run::Run,
    watched::Watched,
};
use crate::proto::{
    close::CloseReason,
    id::PortName,
    limits::{Limits, Now},
    link::{
        frame::{self, Frame, FrameError, LENGTH_BYTES, REASON_BYTES_MAX, kind},
        lane,
        reassembly::Reassembly,
    },
    message::{Batch, Message, Reason},
    policy::PeerPolicy,
};

/// What a frame adds to its payload at most: kind, fields and names.
const HEAD_BYTES_MAX: usize = 1 + 4 + 2 * 256;
/// The longest body of a RENEW: a certificate, and those of a few CAs above it.
pub const RENEW_BYTES_MAX: usize = 16 << 10;
/// How many of them one batch may bring.
const RENEWALS_MAX: usize = 8;

mod deliver;
mod direct;
mod orders;
mod permit;
mod portion;
mod ports;

use direct::Direct;
pub use portion::Portion;
pub use ports::{Delivery, Ports, Reactions, SessionParams};

/// See the module.
#[derive(Debug)]
pub struct Session<P: Ports> {
    params: SessionParams,
    limits: Limits,
    policy: Arc<PeerPolicy>,
    /// What the names of ports begin with that the peer spawns.
    prefix: String,
    heard: Duration,
    /// When the last frame of a lane came, or the link came up.
    last_lane: Duration,
    /// What was dealt with of what came in lanes, and what the peer was told of it.
    done: u64,
    told: u64,
    open: Reassembly,
    direct: Direct,
    held: Held<P::Port>,
    /// Ports whose messages are dropped until the peer has acknowledged a loss (P2).
    broken: BTreeSet<PortName>,
    watched: Watched,
    /// Why ports were never spawned, for monitors that come just after (S2).
    unborn: VecDeque<(PortName, Reason)>,
    /// Found where there is no result to tell it with.
    fault: Option<CloseReason>,
    /// Of the last run, empty, for the next one.
    spare: Vec<Range<usize>>,
}

/// What every step needs.
struct Cx<'a, P> {
    ports: &'a P,
    out: &'a mut Reactions,
    now: Duration,
}

impl<P: Ports> Session<P> {
    /// A link that has just been activated.
    pub fn new(params: SessionParams, limits: &Limits, policy: Arc<PeerPolicy>, now: Now) -> Self {
        Session {
            prefix: params.incarnation.port_prefix(),
            params,
            limits: limits.clone(),
            policy,
            heard: now.mono,
            last_lane: now.mono,
            done: 0,
            told: 0,
            open: Reassembly::default(),
            direct: Direct::default(),
            held: Held::default(),
            broken: BTreeSet::new(),
            watched: Watched::default(),
            unborn: VecDeque::new(),
            fault: None,
            spare: Vec::new(),
        }
    }

    /// Takes the complete frames out of `data`, all or a portion ([`Portion::max`]). What is left is the beginning of
    /// the next one.
    ///
    /// # Errors
    /// The peer closed, or broke the protocol: close the link with that. What came before has been handed on.
    pub fn handle_bytes(
        &mut self,
        data: &mut BytesMut,
        now: Now,
        ports: &P,
        out: &mut Reactions,
    ) -> Result<(), CloseReason> {
        out.portion.begin();
        let came = !data.is_empty() | self.direct.take_came();
        let done = self.done;
        self.heard = self.heard.max(now.mono);
        let mut cx = Cx {
            ports,
            out,
            now: now.mono,
        };
        let mut run: Option<Run<P::Port>> = None;
        let mut begun = self.take_expected(data, &mut cx);
        let mut at = 0;
        let result = loop {
            if let Err(reason) = std::mem::replace(&mut begun, Ok(())) {
                break Err(reason);
            }
            let waiting = run.as_ref().map_or(0, |run| run.payloads.len());
            if cx.out.portion.ends(waiting, at, data.len()) {
                break Ok(());
            }
            let rest = data.get(at..).unwrap_or_default();
            let inner = match frame::peek(rest, self.limits.frame_bytes_max) {
                Ok(Some(inner)) => inner,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
            let end = at + LENGTH_BYTES + inner.len();
            // the usual frame: one more to the port of the last one, whose name was checked
            if let Some(run) = &mut run
                && let Some(head) = run.head.clone().and_then(|head| data.get(head))
                && let Some(payload) = inner.strip_prefix(head)
            {
                if let Err(reason) = self.check_size(payload.len()) {
                    break Err(reason);
                }
                run.payloads.push(end - payload.len()..end);
                at = end;
                continue;
            }
            let handled = match Frame::decode(inner) {
                Err(error) => Err(error.into()),
                Ok(Frame::Send {
                    watch,
                    port,
                    payload,
                }) => {
                    let payload = end - payload.len()..end;
                    self.run(&mut run, watch, port, payload, data, &mut cx)
                }
                Ok(frame) => {
                    self.end_run(&mut run, data, &mut cx);
                    self.handle_frame(frame, &mut cx)
                }
            };
            if let Err(reason) = handled {
                break Err(reason);
            }
            at = end;
        };
        self.end_run(&mut run, data, &mut cx);
        data.advance(at);
        let result = result.and_then(|()| self.expect(data).map(|_| ()));
        // that was among what came
        self.direct.take_came();
        self.tell_progress(&mut cx);
        if self.done > done || self.open.declared() > 0 {
            self.last_lane = now.mono;
        }
        let result = result.and(self.fault.take().map_or(Ok(()), Err));
        // the last word of a link is no sign of life
        out.alive |= came && result.is_ok();
        result
    }

    /// There is room again in a mailbox that was full.
    pub fn handle_room(&mut self, port: &PortName, now: Now, ports: &P, out: &mut Reactions) {
        let mut cx = Cx {
            ports,
            out,
            now: now.mono,
        };
        if let Some(held) = self.held.take(port) {
            self.pump(port, held, 0, &mut cx);
        }
        self.tell_progress(&mut cx);
    }

    /// A time that was asked for has come: a kill that waited behind held messages ends its wait.
    ///
    /// # Errors
    /// No byte came for the link timeout (M7), or a fault that came out late.
    pub fn handle_timeout(
        &mut self,
        now: Now,
        ports: &P,
        out: &mut Reactions,
    ) -> Result<(), CloseReason> {
        let mut cx = Cx {
            ports,
            out,
            now: now.mono,
        };
        while let Some(port) = self.held.due_kill(now.mono) {
            self.end_kill_wait(&port, &mut cx);
        }
        self.tell_progress(&mut cx);
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if now.mono >= self.heard + self.params.link_timeout {
            return Err(CloseReason::Timeout(self.params.link_timeout));
        }
        Ok(())
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Duration {
        let silence = self.heard + self.params.link_timeout;
        self.held
            .kill_deadline()
            .map_or(silence, |kill| kill.min(silence))
    }

    /// How many bytes this session keeps for messages: fragments and held ones, as the window counts them. Never more
    /// than the window and one message.
    pub fn held_bytes(&self) -> usize {
        self.open.bytes() + self.held.cost() as usize
    }

    /// Since when nothing came in lanes. `None`: something that came is held, or not all there.
    pub fn idle_since(&self) -> Option<Duration> {
        (self.kept() == 0).then_some(self.last_lane)
    }

    /// The link is gone: takes its monitors off the ports, drops what is held.
    pub fn close(self, ports: &P) {
        for name in self.watched.into_ports() {
            if let Some(port) = ports.find(name.as_str()) {
                ports.unwatch(&port, self.params.link);
            }
        }
    }

    fn tell_progress(&mut self, cx: &mut Cx<'_, P>) {
        if self.done > self.told {
            self.told = self.done;
            cx.out.replies.push(Reply::Progress {
                done: self.done,
                at: cx.now,
            });
        }
    }

    fn payload_bytes_max(&self) -> usize {
        self.limits
            .message_bytes_max
            .saturating_mul(self.params.format.expansion_max())
    }

    fn check_size(&self, bytes: usize) -> Result<(), CloseReason> {
        let max = self.payload_bytes_max();
        if bytes > max {
            let text = format!("a message of {bytes} bytes, the limit is {max}");
            return Err(CloseReason::Protocol(text));
        }
        Ok(())
    }

    /// What may be kept for messages: the window, one message that it does not count, and a kill behind that.
    fn kept_max(&self) -> u64 {
        let reason = REASON_BYTES_MAX.saturating_mul(self.params.format.expansion_max());
        (self.limits.window_bytes as u64)
            .saturating_add(lane::cost(self.payload_bytes_max()))
            .saturating_add(lane::cost(reason))
            .saturating_add(2 * lane::cost(HEAD_BYTES_MAX))
    }

    fn kept(&self) -> u64 {
        self.open.declared() + self.held.cost()
    }

    fn handle_frame(&mut self, frame: Frame<'_>, cx: &mut Cx<'_, P>) -> Result<(), CloseReason> {
        let frames = &mut cx.out.frames;
        match frame {
            Frame::Ping(number) => cx.out.replies.push(Reply::Pong(number)),
            Frame::Pong(number) => {
                let sent = Duration::from_nanos(number);
                cx.out.rtt = cx.now.checked_sub(sent).or(cx.out.rtt);
            }
            Frame::Activate => {
                return Err(CloseReason::Protocol("ACTIVATE on an active link".into()));
            }
            Frame::Close { code, text } => return Err(CloseReason::from_wire(code, text)),
            Frame::Progress(done) => frames.push(PeerFrame::Progress(done)),
            Frame::Hold { port, bytes } => {
                let port = port_name(port)?;
                frames.push(PeerFrame::Hold { port, bytes });
            }
            Frame::Resume { port, bytes } => {
                let port = port_name(port)?;
                frames.push(PeerFrame::Resume { port, bytes });
            }
            Frame::Loss { port, count, text } => {
                let port = port_name(port)?;
                let text = text.to_owned();
                frames.push(match count {
                    0 => PeerFrame::KillRefused { port, text },
                    _ => PeerFrame::Loss { port, count, text },
                });
            }
            Frame::Down { port, reason } => {
                let port = port_name(port)?;
                let reason = self.reason(reason)?;
                cx.out.portion.fire();
                cx.out.frames.push(PeerFrame::Down { port, reason });
            }
            Frame::Renew(_) if !self.params.renew => {
                return Err(FrameError::UnknownKind(frame.kind()).into());
            }
            Frame::Renew(body) => {
                if body.len() > RENEW_BYTES_MAX || cx.out.renewals.len() >= RENEWALS_MAX {
                    let text = "a RENEW that is too long, or too many of them";
                    return Err(CloseReason::Protocol(text.into()));
                }
                cx.out.renewals.push(body.to_vec());
            }
            Frame::Retire | Frame::Stay if !self.params.retire => {
                return Err(FrameError::UnknownKind(frame.kind()).into());
            }
            Frame::Retire if self.kept() > 0 => {
                let text = "RETIRE with something under way";
                return Err(CloseReason::Protocol(text.into()));
            }
            Frame::Retire => frames.push(PeerFrame::Retire),
            Frame::Stay => frames.push(PeerFrame::Stay),
            Frame::LossAck { port } => {
                let name = port_name(port)?;
                // before anything later of that lane is looked at: a later loss has to be told
                self.broken.remove(&name);
                let port = name.clone();
                cx.out.replies.push(Reply::LossSettled { port });
                let cost = bare_cost(&name);
                self.done += cost;
                self.ordered(&name, Item::LossAck { cost }, cx);
            }
            Frame::Monitor { port } => {
                let name = port_name(port)?;
                let cost = bare_cost(&name);
                self.done += cost;
                self.ordered(&name, Item::Watch { cost }, cx);
            }
            Frame::Unmonitor { port } => {
                let name = port_name(port)?;
                let cost = bare_cost(&name);
                self.done += cost;
                self.ordered(&name, Item::Unwatch { cost }, cx);
            }
            Frame::FragmentFirst { lane, total, data } => {
                self.check_fragments_of(data.first().copied())?;
                let terms = self.terms();
                self.direct.fragments = true;
                if let Some(whole) = self.open.handle_first(lane, total, data, terms)? {
                    self.handle_whole(whole, cx)?;
                }
            }
            Frame::FragmentMore { lane, data } => {
                self.direct.fragments = true;
                if let Some(whole) = self.open.handle_more(lane, data)? {
                    self.handle_whole(whole, cx)?;
                }
            }
            Frame::Send { .. } | Frame::Spawn { .. } | Frame::Kill { .. } | Frame::Db { .. } => {
                self.direct.fragments = false;
                self.handle_payload(frame, Bytes::copy_from_slice, cx)?;
            }
        }
        Ok(())
    }

    /// A message that came in fragments; what is left of it is not copied again.
    fn handle_whole(&mut self, whole: Bytes, cx: &mut Cx<'_, P>) -> Result<(), CloseReason> {
        let frame = Frame::decode(&whole)?;
        self.handle_payload(frame, |payload| whole.slice_ref(payload), cx)
    }

    fn handle_payload(
        &mut self,
        frame: Frame<'_>,
        own: impl FnOnce(&[u8]) -> Bytes,
        cx: &mut Cx<'_, P>,
    ) -> Result<(), CloseReason> {
        let format = self.params.format.clone();
        match frame {
            Frame::Send {
                watch,
                port,
                payload,
            } => {
                self.check_size(payload.len())?;
                let name = port_name(port)?;
                self.done += lane::cost(send_head(&name) + payload.len());
                if watch {
                    self.ordered(&name, Item::Watch { cost: 0 }, cx);
                }
                let found = cx.ports.find(name.as_str());
                let target = self.target(&name, found, cx);
                let batch = Batch::one(own(payload), format);
                self.hand_over(&name, target, batch, cx);
            }
            Frame::Spawn {
                name,
                function,
                args,
            } => {
                self.check_size(args.len())?;
                let head = 1 + 1 + name.len() + 1 + function.len();
                self.done += lane::cost(head + args.len());
                let name = port_name(name)?;
                let args = Message::from_wire(own(args), format);
                self.spawn(name, function, args, cx)?;
            }
            Frame::Kill {
                port,
                wait_ms,
                reason,
            } => {
                let name = port_name(port)?;
                let cost = lane::cost(1 + 1 + port.len() + 4 + reason.len());
                self.done += cost;
                let reason = self.reason(reason)?;
                let wait = Duration::from_millis(wait_ms.into()).min(self.limits.kill_wait);
                self.kill(&name, reason, wait, cost, cx);
            }
            Frame::Db { .. } if !self.params.db => {
                return Err(FrameError::UnknownKind(kind::DB).into());
            }
            Frame::Db { payload } => {
                self.check_size(payload.len())?;
                self.done += lane::cost(1 + payload.len());
                cx.out.db.push(Message::from_wire(own(payload), format));
            }
            _ => {}
        }
        Ok(())
    }

    fn reason(&self, bytes: &[u8]) -> Result<Reason, CloseReason> {
        let max = REASON_BYTES_MAX.saturating_mul(self.params.format.expansion_max());
        if bytes.len() > max {
            let text = format!("a reason of {} bytes, the limit is {max}", bytes.len());
            return Err(CloseReason::Protocol(text));
        }
        if bytes == reason::NORMAL && self.params.format.is_cbor() {
            return Ok(Reason::normal());
        }
        Message::from_wire(Bytes::copy_from_slice(bytes), self.params.format.clone())
            .values(&self.limits)
            .map(Reason)
            .map_err(|error| CloseReason::Protocol(format!("a reason that is none: {error}")))
    }
}

fn port_name(name: &str) -> Result<PortName, CloseReason> {
    name.parse()
        .map_err(|error| CloseReason::Protocol(format!("a bad name: {error}")))
}

/// Bytes of a SEND before its payload.
fn send_head(name: &PortName) -> usize {
    1 + 1 + 1 + name.as_str().len()
}

/// What a frame counts for that holds nothing but the name.
fn bare_cost(name: &PortName) -> u64 {
    lane::cost(1 + 1 + name.as_str().len())
}
