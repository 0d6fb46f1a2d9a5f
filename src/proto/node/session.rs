//! The inbound half of one link: from bytes to mailboxes. Lives in the link's task, without a lock of its own.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};

use super::{
    held::{Held, HeldPort, Item},
    peer::{PeerFrame, Reply},
    run::{self, Run, Target},
    watched::Watched,
};
use crate::proto::{
    close::CloseReason,
    codec::Format,
    id::{Incarnation, NodeId, PortName},
    limits::{Limits, Now},
    link::{
        LinkId,
        frame::{self, Frame, LENGTH_BYTES, REASON_BYTES_MAX},
        lane,
        reassembly::Reassembly,
    },
    message::{Message, Reason},
    policy::{Operation, Policy},
};

/// What a frame adds to its payload at most: kind, fields and names.
const HEAD_BYTES_MAX: usize = 1 + 4 + 2 * 256;
/// How many refused spawns are remembered.
const REFUSED_MAX: usize = 1024;
/// How many refusals one batch tells.
const REFUSALS_TOLD_MAX: usize = 8;

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
    /// What was refused to the peer, for the log; no more than a few a batch.
    pub refused: Vec<String>,
}

/// See the module.
#[derive(Debug)]
pub struct Session<P: Ports> {
    params: SessionParams,
    limits: Limits,
    policy: Policy,
    /// What the names of ports begin with that the peer spawns.
    prefix: String,
    heard: Duration,
    /// What was dealt with of what came in lanes, and what the peer was told of it.
    done: u64,
    told: u64,
    open: Reassembly,
    held: Held<P::Port>,
    /// Ports whose messages are dropped until the peer has acknowledged a loss (P2).
    broken: BTreeSet<PortName>,
    watched: Watched,
    /// Why ports were never spawned, for monitors that come just after (S2).
    unborn: VecDeque<(PortName, Reason)>,
    /// Found where there is no result to tell it with.
    fault: Option<CloseReason>,
}

/// What every step needs.
struct Cx<'a, P> {
    ports: &'a P,
    out: &'a mut Reactions,
    now: Duration,
}

impl<P: Ports> Session<P> {
    /// A link that has just been activated.
    pub fn new(params: SessionParams, limits: &Limits, policy: Policy, now: Now) -> Self {
        Session {
            prefix: params.incarnation.port_prefix(),
            params,
            limits: limits.clone(),
            policy,
            heard: now.mono,
            done: 0,
            told: 0,
            open: Reassembly::default(),
            held: Held::default(),
            broken: BTreeSet::new(),
            watched: Watched::default(),
            unborn: VecDeque::new(),
            fault: None,
        }
    }

    /// Takes all complete frames out of `data` (what is left is the beginning of the next one).
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
        out.alive |= !data.is_empty();
        self.heard = self.heard.max(now.mono);
        let mut cx = Cx {
            ports,
            out,
            now: now.mono,
        };
        let mut run = None;
        let mut at = 0;
        let result = loop {
            let rest = data.get(at..).unwrap_or_default();
            let inner = match frame::peek(rest, self.limits.frame_bytes_max) {
                Ok(Some(inner)) => inner,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
            let end = at + LENGTH_BYTES + inner.len();
            let handled = match Frame::decode(inner) {
                Err(error) => Err(error.into()),
                Ok(Frame::Send {
                    watch,
                    port,
                    payload,
                }) => {
                    if watch {
                        self.end_run(&mut run, data, &mut cx);
                    }
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
        self.tell_progress(&mut cx);
        result.and(self.fault.take().map_or(Ok(()), Err))
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
            cx.out.replies.push(Reply::Progress(self.done));
        }
    }

    fn payload_bytes_max(&self) -> usize {
        self.limits
            .message_bytes_max
            .saturating_mul(self.params.format.expansion_max())
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

    // --- messages ---

    /// A SEND whose payload is there in what was read. It joins the run, or ends it and begins the next.
    fn run(
        &mut self,
        run: &mut Option<Run<P::Port>>,
        watch: bool,
        port: &str,
        payload: std::ops::Range<usize>,
        data: &[u8],
        cx: &mut Cx<'_, P>,
    ) -> Result<(), CloseReason> {
        let max = self.payload_bytes_max();
        if payload.len() > max {
            let bytes = payload.len();
            let text = format!("a message of {bytes} bytes, the limit is {max}");
            return Err(CloseReason::Protocol(text));
        }
        if let Some(run) = run
            && run.name.as_str() == port
        {
            run.payloads.push(payload);
            return Ok(());
        }
        self.end_run(run, data, cx);
        let name = port_name(port)?;
        if watch {
            self.ordered(&name, Item::Watch { cost: 0 }, cx);
        }
        *run = Some(Run {
            target: self.target(&name, cx),
            name,
            payloads: vec![payload],
        });
        Ok(())
    }

    /// Where messages for that port go now.
    fn target(&self, name: &PortName, cx: &mut Cx<'_, P>) -> Target<P::Port> {
        if self.broken.contains(name) {
            return Target::Dropped;
        }
        let port = name.as_str();
        if let Err(text) = self
            .policy
            .check(&self.params.node, Operation::Send { port })
        {
            refused(cx, &text);
            return Target::Lost(text);
        }
        if self.held.contains(port) {
            return Target::Held;
        }
        match cx.ports.find(port) {
            Some(port) => Target::Port(port),
            None => Target::Lost(format!("there is no port {port:?}")),
        }
    }

    /// Hands the run on.
    fn end_run(&mut self, run: &mut Option<Run<P::Port>>, data: &[u8], cx: &mut Cx<'_, P>) {
        let Some(run) = run.take() else {
            return;
        };
        let head = send_head(&run.name);
        let cost_of = |bytes: usize| lane::cost(head + bytes);
        let format = &self.params.format;
        let mut batch = VecDeque::new();
        if matches!(run.target, Target::Port(_) | Target::Held) {
            batch.reserve(run.payloads.len());
            run::messages(data, &run.payloads, format, &mut batch);
        }
        self.done += run
            .payloads
            .iter()
            .map(|payload| cost_of(payload.len()))
            .sum::<u64>();
        let count = run.payloads.len() as u64;
        self.hand_over(&run.name, run.target, batch, count, cx);
    }

    /// `count` messages, those in `batch` unless they are to be lost. They are counted as dealt with already.
    fn hand_over(
        &mut self,
        name: &PortName,
        target: Target<P::Port>,
        mut batch: VecDeque<Message>,
        count: u64,
        cx: &mut Cx<'_, P>,
    ) {
        match target {
            Target::Dropped => {}
            Target::Lost(text) => self.lose(name, count, text, cx),
            Target::Held => {
                let item = held_messages(name, batch);
                if let Some(Item::Messages { batch, .. }) = self.hold(name, item, cx) {
                    // cannot be: the run began when something was held, and nothing came in between
                    let text = "it is held no longer".to_owned();
                    self.lose(name, batch.len() as u64, text, cx);
                }
            }
            Target::Port(port) => match cx.ports.deliver(&port, self.params.link, &mut batch) {
                Delivery::Done => {}
                Delivery::Dead => {
                    let lost = batch.len() as u64;
                    self.lose(name, lost, "the port is dead".into(), cx);
                }
                Delivery::Full if batch.is_empty() => {}
                Delivery::Full => {
                    let item = held_messages(name, batch);
                    let cost = item.cost();
                    self.held.begin(name, port, item);
                    self.tell_hold(name, cost, cx);
                }
            },
        }
    }

    /// Holds something more for a port that is held already. Gives it back where it is not.
    fn hold(&mut self, name: &PortName, item: Item, cx: &mut Cx<'_, P>) -> Option<Item> {
        let cost = item.cost();
        let back = self.held.push(name, item);
        if back.is_none() {
            self.tell_hold(name, cost, cx);
        }
        back
    }

    fn tell_hold(&mut self, name: &PortName, bytes: u64, cx: &mut Cx<'_, P>) {
        if self.kept() > self.kept_max() {
            self.break_protocol("more under way than the window allows");
        }
        if bytes > 0 {
            let port = name.clone();
            cx.out.replies.push(Reply::Hold { port, bytes });
        }
    }

    fn break_protocol(&mut self, text: &str) {
        self.fault
            .get_or_insert_with(|| CloseReason::Protocol(text.to_owned()));
    }

    /// Messages are lost (P2): from now on everything to that port is, until the peer has acknowledged that.
    fn lose(&mut self, name: &PortName, count: u64, text: String, cx: &mut Cx<'_, P>) {
        if count == 0 || !self.broken.insert(name.clone()) {
            return;
        }
        if self.broken.len() > self.limits.monitors_per_link_max {
            self.break_protocol("more losses unacknowledged than there may be");
        }
        let port = name.clone();
        cx.out.replies.push(Reply::Loss { port, count, text });
    }

    // --- everything else ---

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
                frames.push(PeerFrame::Loss { port, count, text });
            }
            Frame::Down { port, reason } => {
                let port = port_name(port)?;
                let reason = self.reason(reason)?;
                frames.push(PeerFrame::Down { port, reason });
            }
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
                let max = self.payload_bytes_max().saturating_add(HEAD_BYTES_MAX);
                let room = self.kept_max().saturating_sub(self.kept());
                if let Some(whole) = self.open.handle_first(lane, total, data, max, room)? {
                    self.handle_whole(whole, cx)?;
                }
            }
            Frame::FragmentMore { lane, data } => {
                if let Some(whole) = self.open.handle_more(lane, data)? {
                    self.handle_whole(whole, cx)?;
                }
            }
            Frame::Send { .. } | Frame::Spawn { .. } | Frame::Kill { .. } => {
                self.handle_payload(frame, |payload| Bytes::copy_from_slice(payload), cx)?;
            }
        }
        Ok(())
    }

    /// A message that came in fragments; what is left of it is not copied again.
    fn handle_whole(&mut self, whole: Vec<u8>, cx: &mut Cx<'_, P>) -> Result<(), CloseReason> {
        let whole = Bytes::from(whole);
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
                let name = port_name(port)?;
                self.done += lane::cost(send_head(&name) + payload.len());
                if watch {
                    self.ordered(&name, Item::Watch { cost: 0 }, cx);
                }
                let target = self.target(&name, cx);
                let batch = VecDeque::from([Message::from_wire(own(payload), format)]);
                self.hand_over(&name, target, batch, 1, cx);
            }
            Frame::Spawn {
                name,
                function,
                args,
            } => {
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
        Message::from_wire(Bytes::copy_from_slice(bytes), self.params.format.clone())
            .values(&self.limits)
            .map(Reason)
            .map_err(|error| CloseReason::Protocol(format!("a reason that is none: {error}")))
    }

    fn spawn(
        &mut self,
        name: PortName,
        function: &str,
        args: Message,
        cx: &mut Cx<'_, P>,
    ) -> Result<(), CloseReason> {
        let own = name.as_str().strip_prefix(self.prefix.as_str());
        if own.is_none_or(str::is_empty) {
            let text = format!("a spawn of {name:?}, which is not the peer's to give");
            return Err(CloseReason::Protocol(text));
        }
        let by = &self.params.node;
        let spawned = match self.policy.check(by, Operation::Spawn { function }) {
            Ok(()) => cx.ports.spawn(self.params.link, by, &name, function, args),
            Err(text) => {
                refused(cx, &text);
                Err(Reason::not_permitted(text))
            }
        };
        if let Err(reason) = spawned {
            if self.unborn.len() >= REFUSED_MAX {
                self.unborn.pop_front();
            }
            self.unborn.push_back((name, reason));
        }
        Ok(())
    }

    fn kill(
        &mut self,
        name: &PortName,
        reason: Reason,
        wait: Duration,
        cost: u64,
        cx: &mut Cx<'_, P>,
    ) {
        let Some(port) = cx.ports.find(name.as_str()) else {
            return;
        };
        let spawned_by_asker = cx.ports.spawned_by(&port, &self.params.node);
        let operation = Operation::Kill {
            port: name.as_str(),
            spawned_by_asker,
        };
        let permitted = if name.is_node_port() {
            Err("the node port cannot be killed".to_owned())
        } else {
            self.policy.check(&self.params.node, operation)
        };
        if let Err(text) = permitted {
            refused(cx, &text);
            if wait.is_zero() {
                // the sender may have dropped messages for the sake of this kill
                self.lose(name, 1, text, cx);
            }
            return;
        }
        let item = Item::Kill {
            reason,
            deadline: cx.now + wait,
            cost,
        };
        let held = self.held.contains(name.as_str());
        self.ordered(name, item, cx);
        if held && wait.is_zero() {
            self.end_kill_wait(name, cx);
        }
    }

    /// Does it, behind what is held for the port.
    fn ordered(&mut self, name: &PortName, item: Item, cx: &mut Cx<'_, P>) {
        if let Some(item) = self.hold(name, item, cx) {
            let port = cx.ports.find(name.as_str());
            self.apply(name, port.as_ref(), item, cx);
        }
    }

    fn apply(&mut self, name: &PortName, port: Option<&P::Port>, item: Item, cx: &mut Cx<'_, P>) {
        let link = self.params.link;
        match item {
            Item::Messages { .. } => {}
            Item::Watch { .. } => self.watch(name, cx),
            Item::Unwatch { .. } => {
                if self.watched.remove(name)
                    && let Some(port) = port
                {
                    cx.ports.unwatch(port, link);
                }
            }
            Item::LossAck { .. } => {
                if let Some(port) = port {
                    cx.ports.loss_acknowledged(port, link);
                }
            }
            Item::Kill {
                reason, deadline, ..
            } => {
                if let Some(port) = port {
                    let within = deadline.saturating_sub(cx.now);
                    cx.ports.kill(port, link, reason, within);
                }
            }
        }
    }

    fn watch(&mut self, name: &PortName, cx: &mut Cx<'_, P>) {
        if let Err(reason) = self.try_watch(name, cx) {
            let port = name.clone();
            cx.out.replies.push(Reply::Down { port, reason });
        }
    }

    fn try_watch(&mut self, name: &PortName, cx: &mut Cx<'_, P>) -> Result<(), Reason> {
        let operation = Operation::Monitor {
            port: name.as_str(),
        };
        if let Err(text) = self.policy.check(&self.params.node, operation) {
            refused(cx, &text);
            return Err(Reason::not_permitted(text));
        }
        let Some(port) = cx.ports.find(name.as_str()) else {
            let unborn = self.unborn.iter().find(|(other, _)| other == name);
            return Err(
                unborn.map_or_else(|| cx.ports.dead_reason(name), |(_, reason)| reason.clone())
            );
        };
        if self.watched.contains(name) {
            return Ok(());
        }
        let max = self.limits.monitors_per_link_max;
        let is_alive = |name: &str| cx.ports.find(name).is_some();
        if !self.watched.has_room(max, is_alive) {
            let text = format!("more than {max} monitors over one link");
            refused(cx, &text);
            return Err(Reason::not_permitted(text));
        }
        cx.ports.watch(&port, self.params.link)?;
        self.watched.insert(name.clone());
        Ok(())
    }

    // --- held messages ---

    /// Hands on what is held, as far as it fits. `freed`: what the peer is to be told besides.
    fn pump(
        &mut self,
        name: &PortName,
        mut held: HeldPort<P::Port>,
        mut freed: u64,
        cx: &mut Cx<'_, P>,
    ) {
        while let Some(mut item) = held.items.pop_front() {
            let Item::Messages { batch, costs } = &mut item else {
                freed += item.cost();
                self.apply(name, Some(&held.port), item, cx);
                continue;
            };
            let before = batch.len();
            let delivery = cx.ports.deliver(&held.port, self.params.link, batch);
            let fit = costs.drain(..(before - batch.len().min(before)).min(costs.len()));
            freed += fit.sum::<u64>();
            if delivery == Delivery::Full && !batch.is_empty() {
                held.items.push_front(item);
                break;
            }
            if delivery == Delivery::Dead {
                freed += costs.iter().sum::<u64>();
                let lost = batch.len() as u64;
                self.lose(name, lost, "the port is dead".into(), cx);
            }
        }
        if !held.items.is_empty() {
            self.held.put_back(name, held);
        }
        if freed > 0 {
            let port = name.clone();
            let bytes = freed;
            cx.out.replies.push(Reply::Resume { port, bytes });
        }
    }

    /// The kill among what is held ends its wait: the messages before it are dropped with the port (M4).
    fn end_kill_wait(&mut self, name: &PortName, cx: &mut Cx<'_, P>) {
        let Some(mut held) = self.held.take(name) else {
            return;
        };
        let mut freed = 0;
        while let Some(item) = held.items.pop_front() {
            freed += item.cost();
            let is_kill = matches!(item, Item::Kill { .. });
            self.apply(name, Some(&held.port), item, cx);
            if is_kill {
                break;
            }
        }
        self.pump(name, held, freed, cx);
    }
}

fn port_name(name: &str) -> Result<PortName, CloseReason> {
    name.parse()
        .map_err(|error| CloseReason::Protocol(format!("a bad name: {error}")))
}

/// Notes a refusal for the log.
fn refused<P>(cx: &mut Cx<'_, P>, text: &str) {
    if cx.out.refused.len() < REFUSALS_TOLD_MAX {
        cx.out.refused.push(text.to_owned());
    }
}

/// Bytes of a SEND before its payload.
fn send_head(name: &PortName) -> usize {
    1 + 1 + 1 + name.as_str().len()
}

/// What a frame counts for that holds nothing but the name.
fn bare_cost(name: &PortName) -> u64 {
    lane::cost(1 + 1 + name.as_str().len())
}

fn held_messages(name: &PortName, batch: VecDeque<Message>) -> Item {
    let costs = batch
        .iter()
        .map(|message| lane::cost(send_head(name) + message.encoded_len()))
        .collect();
    Item::Messages { batch, costs }
}
