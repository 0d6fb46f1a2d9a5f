//! Two peers and two sessions connected by byte queues, with ports that do as they are told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod db;
mod direct;
mod fuzz;
mod pair;
mod peer;
mod retire;
mod session;
mod vectors;

use std::{
    cell::{Ref, RefCell, RefMut},
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroU64,
    time::Duration,
};

use bytes::BytesMut;

use super::{
    peer::{Fired, LinkParams, Peer, Reply},
    session::{Delivery, Ports, Reactions, Session, SessionParams},
};
use crate::proto::{
    close::CloseReason,
    codec::Format,
    id::{Incarnation, NodeId, PortName},
    limits::{Limits, Now},
    link::LinkId,
    message::{Batch, Message, Reason},
};

pub(super) fn link(n: u64) -> LinkId {
    LinkId(NonZeroU64::new(n).unwrap())
}

pub(super) fn name(text: &str) -> PortName {
    text.parse().unwrap()
}

pub(super) fn node(text: &str) -> NodeId {
    text.parse().unwrap()
}

pub(super) fn at(ms: u64) -> Now {
    Now {
        mono: Duration::from_millis(ms),
        wall_ms: 0,
    }
}

/// Small ones, so that every bound is met often.
pub(super) fn small_limits() -> Limits {
    Limits {
        frame_bytes_max: 2048,
        fragment_bytes_max: 1024,
        message_bytes_max: 24 << 10,
        window_bytes: 8 << 10,
        outbound_bytes_max: 64 << 10,
        outbound_count_max: 200,
        monitors_per_link_max: 100,
        ..Limits::default()
    }
}

/// `["m", n, padding]`.
pub(super) fn numbered(n: u64, padding: usize) -> Message {
    Message::encode(&("m", n, "x".repeat(padding)), &Limits::default()).unwrap()
}

/// A message whose CBOR form is exactly so long.
pub(super) fn sized(bytes: usize) -> Message {
    let mut padding = bytes;
    loop {
        let message = Message::encode(&("x".repeat(padding),), &Limits::default()).unwrap();
        if message.encoded_len() <= bytes {
            assert_eq!(message.encoded_len(), bytes);
            return message;
        }
        padding -= 1;
    }
}

pub(super) fn number(message: &Message) -> u64 {
    let (_, n, _): (String, u64, String) = message.decode(&Limits::default()).unwrap();
    n
}

#[derive(Debug)]
enum Mail {
    Message(LinkId, Message),
    Kill(Reason),
    LossAck,
}

#[derive(Debug)]
pub(super) struct TestPort {
    mailbox: VecDeque<Mail>,
    pub(super) room: usize,
    spawned_by: Option<NodeId>,
    pub(super) watchers: BTreeSet<LinkId>,
    waits: Option<LinkId>,
    /// It told a loss over that link.
    broken: Option<LinkId>,
}

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) ports: BTreeMap<PortName, TestPort>,
    pub(super) dead: BTreeMap<PortName, Reason>,
    /// What was handled: the port and the message.
    pub(super) handled: Vec<(PortName, Message)>,
    /// What the ports tell the links.
    replies: Vec<(LinkId, Reply)>,
    room: Vec<PortName>,
    /// Calls of [`Ports::deliver`] and how many messages each brought.
    pub(super) batches: Vec<(PortName, usize)>,
    pub(super) kills: Vec<(PortName, Duration)>,
}

/// The ports of one node.
#[derive(Debug, Default)]
pub(super) struct TestPorts(RefCell<World>);

impl TestPorts {
    pub(super) fn world(&self) -> Ref<'_, World> {
        self.0.borrow()
    }

    pub(super) fn world_mut(&self) -> RefMut<'_, World> {
        self.0.borrow_mut()
    }

    pub(super) fn open(&self, port: &str, room: usize) {
        self.make(&name(port), room, None);
    }

    fn make(&self, port: &PortName, room: usize, spawned_by: Option<NodeId>) {
        let made = TestPort {
            mailbox: VecDeque::new(),
            room,
            spawned_by,
            watchers: BTreeSet::new(),
            waits: None,
            broken: None,
        };
        self.world_mut().ports.insert(port.clone(), made);
    }

    /// The port dies.
    pub(super) fn die(&self, port: &PortName, reason: Reason) {
        let world = &mut *self.world_mut();
        let Some(dead) = world.ports.remove(port) else {
            return;
        };
        for link in dead.watchers {
            let down = Reply::Down {
                port: port.clone(),
                reason: reason.clone(),
            };
            world.replies.push((link, down));
        }
        world.room.extend(dead.waits.map(|_| port.clone()));
        world.dead.insert(port.clone(), reason);
    }

    /// The port handles up to `count` things. A message that `is_bad` says so of is refused as a loss (P4).
    pub(super) fn handle(&self, port: &PortName, count: usize, is_bad: impl Fn(&Message) -> bool) {
        for _ in 0..count {
            let mut kill = None;
            {
                let world = &mut *self.world_mut();
                let Some(live) = world.ports.get_mut(port) else {
                    return;
                };
                match live.mailbox.pop_front() {
                    None => break,
                    Some(Mail::Message(link, _)) if live.broken == Some(link) => {}
                    Some(Mail::Message(link, message)) if is_bad(&message) => {
                        live.broken = Some(link);
                        let loss = Reply::Loss {
                            port: port.clone(),
                            count: 1,
                            text: "bad".into(),
                        };
                        world.replies.push((link, loss));
                    }
                    Some(Mail::Message(_, message)) => world.handled.push((port.clone(), message)),
                    Some(Mail::Kill(reason)) => kill = Some(reason),
                    Some(Mail::LossAck) => live.broken = None,
                }
            }
            if let Some(reason) = kill {
                self.die(port, reason);
                return;
            }
        }
        let world = &mut *self.world_mut();
        if let Some(live) = world.ports.get_mut(port)
            && live.mailbox.len() * 2 <= live.room
            && live.waits.take().is_some()
        {
            world.room.push(port.clone());
        }
    }

    fn link_down(&self, link: LinkId) {
        let world = &mut *self.world_mut();
        for port in world.ports.values_mut() {
            port.watchers.remove(&link);
            port.waits = port.waits.filter(|&other| other != link);
            port.broken = None;
            port.mailbox.retain(|mail| !matches!(mail, Mail::LossAck));
        }
        world.replies.clear();
        world.room.clear();
    }

    /// Whether no mailbox holds anything.
    fn is_idle(&self) -> bool {
        let world = self.world();
        world.ports.values().all(|port| port.mailbox.is_empty())
    }

    pub(super) fn numbers(&self, port: &str) -> Vec<u64> {
        let port = name(port);
        let world = self.world();
        let own = world.handled.iter().filter(|(other, _)| *other == port);
        own.map(|(_, message)| number(message)).collect()
    }
}

impl Ports for TestPorts {
    type Port = PortName;

    fn find(&self, port: &str) -> Option<PortName> {
        let world = self.world();
        world
            .ports
            .get_key_value(port)
            .map(|(name, _)| name.clone())
    }

    fn deliver(&self, port: &PortName, link: LinkId, batch: &mut Batch) -> Delivery {
        let world = &mut *self.world_mut();
        world.batches.push((port.clone(), batch.len()));
        let Some(live) = world.ports.get_mut(port) else {
            return Delivery::Dead;
        };
        while live.mailbox.len() < live.room {
            match batch.next() {
                Some(message) => live.mailbox.push_back(Mail::Message(link, message)),
                None => return Delivery::Done,
            }
        }
        if batch.is_empty() {
            return Delivery::Done;
        }
        live.waits = Some(link);
        Delivery::Full
    }

    fn spawned_by(&self, port: &PortName, node: &NodeId) -> bool {
        let world = self.world();
        let live = world.ports.get(port);
        live.is_some_and(|live| live.spawned_by.as_ref() == Some(node))
    }

    fn kill(&self, port: &PortName, _: LinkId, reason: Reason, within: Duration) {
        self.world_mut().kills.push((port.clone(), within));
        if within.is_zero() {
            self.die(port, reason);
        } else if let Some(live) = self.world_mut().ports.get_mut(port) {
            live.mailbox.push_back(Mail::Kill(reason));
        }
    }

    fn watch(&self, port: &PortName, link: LinkId) -> Result<(), Reason> {
        if let Some(live) = self.world_mut().ports.get_mut(port) {
            live.watchers.insert(link);
            return Ok(());
        }
        Err(self.dead_reason(port))
    }

    fn dead_reason(&self, port: &PortName) -> Reason {
        let world = self.world();
        let known = world.dead.get(port).cloned();
        known.unwrap_or_else(|| Reason(vec!["no_such_port".into(), port.as_str().into()]))
    }

    fn unwatch(&self, port: &PortName, link: LinkId) {
        if let Some(live) = self.world_mut().ports.get_mut(port) {
            live.watchers.remove(&link);
        }
    }

    fn loss_acknowledged(&self, port: &PortName, link: LinkId) {
        if let Some(live) = self.world_mut().ports.get_mut(port)
            && live.broken == Some(link)
        {
            live.mailbox.push_back(Mail::LossAck);
        }
    }

    fn spawn(
        &self,
        _: LinkId,
        by: &NodeId,
        port: &PortName,
        function: &str,
        _: Message,
    ) -> Result<PortName, Reason> {
        if function == "bad" {
            return Err(Reason::no_such_function("bad"));
        }
        if self.find(port.as_str()).is_some() {
            return Err(Reason::not_permitted("it exists"));
        }
        self.make(port, 4, Some(by.clone()));
        Ok(port.clone())
    }
}

pub(super) fn incarnation(node: &NodeId) -> Incarnation {
    let random = node
        .as_str()
        .bytes()
        .fold(0, |sum: u128, b| sum * 256 + u128::from(b));
    Incarnation::new(1_700_000_000_000, random << 44)
}

pub(super) fn session_params(node: &NodeId, link: LinkId, format: &Format) -> SessionParams {
    SessionParams {
        link,
        node: node.clone(),
        incarnation: incarnation(node),
        format: format.clone(),
        link_timeout: Duration::from_secs(10),
        db: true,
        retire: true,
        renew: true,
    }
}

pub(super) fn link_params(link: LinkId, format: &Format, limits: &Limits) -> LinkParams {
    LinkParams {
        link,
        format: format.clone(),
        peer_window_bytes: limits.window_bytes,
        peer_frame_bytes_max: limits.frame_bytes_max,
        peer_message_bytes_max: limits.message_bytes_max,
        keepalive: Duration::from_millis(2500),
        seed: link.0.get(),
        retire: true,
        pinned: false,
    }
}

/// One node, as the other one sees it and as it sees the other one.
pub(super) struct Side {
    pub(super) me: NodeId,
    pub(super) limits: Limits,
    pub(super) peer: Peer<u32>,
    pub(super) session: Option<Session<TestPorts>>,
    pub(super) ports: TestPorts,
    /// Bytes on their way to this node, and what was read of them.
    pub(super) wire: Vec<u8>,
    pub(super) input: BytesMut,
    pub(super) fired: Vec<(u32, Reason)>,
    /// What came for the database.
    pub(super) db: Vec<Message>,
    pub(super) now: Now,
}

impl Side {
    pub(super) fn new(me: &str, other: &str, limits: &Limits) -> Self {
        Side {
            me: node(me),
            limits: limits.clone(),
            peer: Peer::new(node(other), limits),
            session: None,
            ports: TestPorts::default(),
            wire: Vec::new(),
            input: BytesMut::new(),
            fired: Vec::new(),
            db: Vec::new(),
            now: at(1000),
        }
    }

    pub(super) fn activate(&mut self, link: LinkId, format: &Format) {
        let limits = self.limits.clone();
        let params = session_params(self.peer.node(), link, format);
        self.session = Some(Session::new(
            params,
            &limits,
            std::sync::Arc::default(),
            self.now,
        ));
        self.peer
            .activate(link_params(link, format, &limits), self.now);
    }

    fn note(&mut self, fired: Vec<Fired<u32>>) {
        let fired = fired.into_iter().map(|fired| (fired.watch, fired.reason));
        self.fired.extend(fired);
    }

    pub(super) fn close(&mut self) -> u64 {
        let Some(session) = self.session.take() else {
            return 0;
        };
        session.close(&self.ports);
        if let Some(link) = self.peer.link() {
            self.ports.link_down(link);
        }
        let closed = self.peer.close(&CloseReason::Transport("cut".into()));
        self.note(closed.fired);
        self.peer.reopen();
        self.wire.clear();
        self.input.clear();
        closed.lost
    }

    /// What goes out now.
    pub(super) fn transmit(&mut self, budget: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let transmit = self.peer.transmit(&mut out, budget, self.now);
        if transmit.lost {
            let lost = self.peer.take_lost();
            self.note(lost.fired);
            for port in lost.settle {
                self.peer.settle(lost.link.unwrap(), &port);
            }
        }
        out
    }

    /// Reads bytes that came.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), CloseReason> {
        self.input.extend_from_slice(bytes);
        let mut out = Reactions::default();
        let session = self.session.as_mut().unwrap();
        let result = session.handle_bytes(&mut self.input, self.now, &self.ports, &mut out);
        self.react(out).and(result)
    }

    /// Lets the ports' words reach the links, and full mailboxes take more.
    pub(super) fn settle_ports(&mut self) -> Result<(), CloseReason> {
        loop {
            let (replies, room) = {
                let world = &mut *self.ports.world_mut();
                (
                    std::mem::take(&mut world.replies),
                    std::mem::take(&mut world.room),
                )
            };
            if replies.is_empty() && room.is_empty() {
                return Ok(());
            }
            for (link, reply) in replies {
                self.peer.reply(link, reply);
            }
            let Some(session) = self.session.as_mut() else {
                return Ok(());
            };
            let mut out = Reactions::default();
            for port in room {
                session.handle_room(&port, self.now, &self.ports, &mut out);
            }
            self.react(out)?;
        }
    }

    pub(super) fn tick(&mut self) -> Result<(), CloseReason> {
        let Some(session) = self.session.as_mut() else {
            return Ok(());
        };
        let mut out = Reactions::default();
        let result = session.handle_timeout(self.now, &self.ports, &mut out);
        self.react(out).and(result)
    }

    fn react(&mut self, out: Reactions) -> Result<(), CloseReason> {
        self.db.extend(out.db);
        let link = self.peer.link().unwrap();
        for reply in out.replies {
            let wake = self.peer.reply(link, reply);
            assert!(!wake.overrun);
        }
        let mut close = Ok(());
        for frame in out.frames {
            let handled = self.peer.handle(link, frame, self.now);
            self.note(handled.fired);
            if let Some(port) = handled.settle {
                self.peer.settle(link, &port);
            }
            if let Some(reason) = handled.close {
                close = close.and(Err(reason));
            }
        }
        close
    }
}

/// Two nodes, `a` and `b`.
pub(super) struct Pair {
    pub(super) a: Side,
    pub(super) b: Side,
    links: u64,
}

impl Pair {
    pub(super) fn new(limits: &Limits) -> Self {
        Pair {
            a: Side::new("a", "b", limits),
            b: Side::new("b", "a", limits),
            links: 0,
        }
    }

    pub(super) fn activate(&mut self, format: &Format) {
        self.links += 1;
        self.a.activate(link(self.links), format);
        self.b.activate(link(self.links), format);
    }

    pub(super) fn cut(&mut self) {
        self.a.close();
        self.b.close();
    }

    pub(super) fn advance(&mut self, ms: u64) {
        self.a.now.mono += Duration::from_millis(ms);
        self.b.now = self.a.now;
    }

    /// Everything goes back and forth until nothing does any more.
    pub(super) fn flow(&mut self) {
        for _ in 0..100_000 {
            let to_b = self.a.transmit(4096);
            let to_a = self.b.transmit(4096);
            if to_b.is_empty()
                && to_a.is_empty()
                && self.a.wire.is_empty()
                && self.b.wire.is_empty()
            {
                return;
            }
            self.b.wire.extend(to_b);
            self.a.wire.extend(to_a);
            for side in [&mut self.a, &mut self.b] {
                let bytes = std::mem::take(&mut side.wire);
                if !bytes.is_empty() {
                    side.read(&bytes).unwrap();
                }
                side.settle_ports().unwrap();
            }
        }
        panic!("it never comes to rest");
    }

    /// Likewise, with the time that lazy frames take.
    pub(super) fn rest(&mut self) {
        for _ in 0..4 {
            self.flow();
            self.advance(30);
        }
        self.flow();
    }
}

/// Splits what was transmitted into frames.
pub(super) fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut frames = Vec::new();
    while let Some(inner) = crate::proto::link::frame::peek(rest, usize::MAX).unwrap() {
        frames.push(inner.to_vec());
        rest = &rest[4 + inner.len()..];
    }
    assert!(rest.is_empty(), "half a frame was transmitted");
    frames
}

pub(super) fn kinds(bytes: &[u8]) -> Vec<u8> {
    frames(bytes).iter().map(|frame| frame[0]).collect()
}
