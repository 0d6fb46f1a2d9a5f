//! Two cores of the protocol, joined by byte buffers: what a link does, without tasks, TLS or a clock.

use std::{
    cell::RefCell, collections::BTreeMap, num::NonZeroU64, rc::Rc, sync::Arc, time::Duration,
};

use bytes::BytesMut;
use portmesh::{
    Format, Incarnation, Limits, Message, NodeId, Overflow, PortName, Reason,
    proto::{
        limits::Now,
        link::LinkId,
        message::Batch,
        node::{
            peer::{LinkParams, Peer, Reply},
            session::{Delivery, Ports, Reactions, Session, SessionParams},
        },
        ports::mailbox::{Mailbox, MailboxLimits},
    },
};

/// What is transmitted in one write, about; the same as in a node.
pub(crate) const WRITE_BYTES: usize = 64 << 10;
const LINK: LinkId = LinkId(NonZeroU64::MIN);

type Shared = Rc<RefCell<Port>>;

/// A port: a mailbox, and whether the link is told of its death.
pub(crate) struct Port {
    mailbox: Mailbox<Batch>,
    /// What was taken out of it last.
    taken: Option<Batch>,
    watched: bool,
    killed: Option<Reason>,
}

/// The ports of one node, by name.
#[derive(Default)]
pub(crate) struct Boxes {
    ports: RefCell<BTreeMap<String, Shared>>,
    /// Those that got something, or a kill, since they were last looked at.
    touched: RefCell<Vec<(PortName, Shared)>>,
}

impl Boxes {
    pub(crate) fn open(&self, name: &PortName) -> Shared {
        let limits = Limits::default();
        let port = Rc::new(RefCell::new(Port {
            mailbox: Mailbox::new(MailboxLimits {
                bytes_max: limits.mailbox_bytes_max,
                count_max: limits.mailbox_count_max,
                overflow: Overflow::PushBack,
            }),
            taken: None,
            watched: false,
            killed: None,
        }));
        let mut ports = self.ports.borrow_mut();
        ports.insert(name.as_str().to_owned(), port.clone());
        port
    }

    pub(crate) fn close(&self, name: &PortName) {
        self.ports.borrow_mut().remove(name.as_str());
    }
}

/// The next message of a port.
pub(crate) fn next(port: &Shared) -> Option<Message> {
    let mut port = port.borrow_mut();
    loop {
        if let Some(message) = port.taken.as_mut().and_then(Iterator::next) {
            return Some(message);
        }
        port.taken = Some(port.mailbox.pop()?);
    }
}

impl Ports for Boxes {
    type Port = (PortName, Shared);

    fn find(&self, name: &str) -> Option<Self::Port> {
        let ports = self.ports.borrow();
        let port = ports.get(name)?;
        Some((name.parse().ok()?, port.clone()))
    }

    fn deliver(&self, (name, port): &Self::Port, _: LinkId, batch: &mut Batch) -> Delivery {
        // as the runtime does it
        let mailbox = &mut port.borrow_mut().mailbox;
        let count = mailbox.count_fitting(batch.lens());
        if count > 0 {
            let fitting = batch.split_to(count);
            let bytes = fitting.encoded_len();
            mailbox.push_many(fitting, bytes, count);
        }
        if !batch.is_empty() {
            return Delivery::Full;
        }
        let mut touched = self.touched.borrow_mut();
        touched.push((name.clone(), port.clone()));
        Delivery::Done
    }

    fn spawned_by(&self, _: &Self::Port, _: &NodeId) -> bool {
        true
    }

    fn kill(&self, (name, port): &Self::Port, _: LinkId, reason: Reason, _: Duration) {
        port.borrow_mut().killed = Some(reason);
        let mut touched = self.touched.borrow_mut();
        touched.push((name.clone(), port.clone()));
    }

    fn watch(&self, (_, port): &Self::Port, _: LinkId) -> Result<(), Reason> {
        port.borrow_mut().watched = true;
        Ok(())
    }

    fn dead_reason(&self, name: &PortName) -> Reason {
        Reason(vec!["no_such_port".into(), name.as_str().into()])
    }

    fn unwatch(&self, (_, port): &Self::Port, _: LinkId) {
        port.borrow_mut().watched = false;
    }

    fn loss_acknowledged(&self, _: &Self::Port, _: LinkId) {}

    fn spawn(
        &self,
        _: LinkId,
        _: &NodeId,
        name: &PortName,
        _: &str,
        _: Message,
    ) -> Result<Self::Port, Reason> {
        Ok((name.clone(), self.open(name)))
    }
}

/// One node as a link has it.
pub(crate) struct Side {
    pub(crate) me: Incarnation,
    pub(crate) limits: Limits,
    pub(crate) peer: Peer<u64>,
    session: Session<Boxes>,
    pub(crate) ports: Boxes,
    /// What came and is not read yet.
    input: BytesMut,
    reactions: Reactions,
    /// Monitors that fired.
    pub(crate) fired: u64,
    now: Now,
}

impl Side {
    fn new(me: &str, other: &str, format: &Format) -> Self {
        let limits = Limits::default();
        let now = Now {
            mono: Duration::from_secs(1),
            wall_ms: 1_700_000_000_000,
        };
        let node: NodeId = other.parse().expect("a node ID");
        let incarnation = |name: &str| Incarnation::new(now.wall_ms, name.len() as u128);
        let params = SessionParams {
            link: LINK,
            node: node.clone(),
            incarnation: incarnation(other),
            format: format.clone(),
            link_timeout: limits.link_timeout,
            db: true,
            retire: true,
            renew: true,
        };
        let mut peer = Peer::new(node, &limits);
        let link = LinkParams {
            link: LINK,
            format: format.clone(),
            peer_window_bytes: limits.window_bytes,
            peer_frame_bytes_max: limits.frame_bytes_max,
            peer_message_bytes_max: limits.message_bytes_max,
            keepalive: limits.link_timeout / 4,
            seed: 1,
            retire: true,
            pinned: false,
        };
        peer.activate(link, now);
        Side {
            me: incarnation(me),
            session: Session::new(params, &limits, Arc::default(), now),
            limits,
            peer,
            ports: Boxes::default(),
            input: BytesMut::new(),
            reactions: Reactions::default(),
            fired: 0,
            now,
        }
    }

    pub(crate) fn now(&self) -> Now {
        self.now
    }

    /// Reads what came, and does what it asks for.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        let read =
            self.session
                .handle_bytes(&mut self.input, self.now, &self.ports, &mut self.reactions);
        read.expect("what a core sends is sound");
        for reply in self.reactions.replies.drain(..) {
            self.peer.reply(LINK, reply);
        }
        for frame in self.reactions.frames.drain(..) {
            let handled = self.peer.handle(LINK, frame, self.now);
            self.fired += handled.fired.len() as u64;
            assert!(handled.close.is_none() && handled.settle.is_none());
        }
    }

    /// Takes out the ports that got something; the killed ones die.
    pub(crate) fn touched(&mut self) -> Vec<(PortName, Shared)> {
        let touched = std::mem::take(&mut *self.ports.touched.borrow_mut());
        for (name, port) in &touched {
            let Some(reason) = port.borrow_mut().killed.take() else {
                continue;
            };
            self.ports.ports.borrow_mut().remove(name.as_str());
            if port.borrow().watched {
                let port = name.clone();
                self.peer.reply(LINK, Reply::Down { port, reason });
            }
        }
        touched
    }
}

/// Two nodes with a link.
pub(crate) struct Pair {
    pub(crate) a: Side,
    pub(crate) b: Side,
    wire: Vec<u8>,
}

impl Pair {
    pub(crate) fn new(format: &Format) -> Self {
        Pair {
            a: Side::new("a", "other", format),
            b: Side::new("other", "a", format),
            wire: Vec::new(),
        }
    }

    /// What `a` has to say goes to `b`. Whether there was anything.
    pub(crate) fn forward(&mut self) -> bool {
        carry(&mut self.wire, &mut self.a, &mut self.b)
    }

    /// And back.
    pub(crate) fn back(&mut self) -> bool {
        carry(&mut self.wire, &mut self.b, &mut self.a)
    }

    /// Makes time pass, so that frames that wait for company go alone.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.a.now.mono += time;
        self.b.now = self.a.now;
    }
}

fn carry(wire: &mut Vec<u8>, from: &mut Side, to: &mut Side) -> bool {
    let mut any = false;
    loop {
        wire.clear();
        let transmit = from.peer.transmit(wire, WRITE_BYTES, from.now);
        if !wire.is_empty() {
            any = true;
            to.read(wire);
        }
        if !transmit.more {
            return any;
        }
    }
}
