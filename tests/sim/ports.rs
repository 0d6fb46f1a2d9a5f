//! The ports of one simulated node: real mailboxes, scripted handlers.

use std::{
    cell::{RefCell, RefMut},
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use portmesh::{
    Limits, NodeId, PortId, PortName,
    proto::{
        link::LinkId,
        message::{Batch, Message, Reason},
        node::{
            peer::Reply,
            session::{Delivery, Ports},
        },
        ports::mailbox::{Mailbox, MailboxLimits, Overflow, Push},
        value::Value,
    },
};

use crate::{
    history::{No, What},
    mutants::Mutant,
};

/// How many dead ports' reasons are kept.
const RING: usize = 256;

/// How long a message takes where the handler is stuck.
const STUCK: Duration = Duration::from_secs(1000);

#[derive(Debug)]
enum Item {
    Init { fails: bool },
    Message { link: LinkId, message: Message },
    Kill(Reason),
    LossAck(LinkId),
}

/// What the ports want of their node.
#[derive(Debug)]
pub enum PortOut {
    Reply(LinkId, Reply),
    Room(LinkId, PortName),
    /// Call [`SimPorts::step`] then.
    Step(PortName, Duration),
    Log(What),
    Count(&'static str),
}

#[derive(Debug)]
struct SimPort {
    mailbox: Mailbox<Item>,
    /// How long each message takes.
    service: Duration,
    scheduled: bool,
    ready: bool,
    by: Option<NodeId>,
    watchers: BTreeSet<LinkId>,
    kills: Vec<(Duration, Reason)>,
    broken: BTreeSet<LinkId>,
}

/// See the module.
#[derive(Debug)]
pub struct Inner {
    node: NodeId,
    limits: Limits,
    mutant: Mutant,
    pub now: Duration,
    ports: BTreeMap<PortName, SimPort>,
    dead: VecDeque<(PortName, Reason)>,
    out: Vec<PortOut>,
    service: Duration,
}

#[derive(Debug)]
pub struct SimPorts(RefCell<Inner>);

impl SimPorts {
    pub fn new(node: NodeId, limits: Limits, service: Duration, mutant: Mutant) -> Self {
        SimPorts(RefCell::new(Inner {
            node,
            limits,
            mutant,
            now: Duration::ZERO,
            ports: BTreeMap::new(),
            dead: VecDeque::new(),
            out: Vec::new(),
            service,
        }))
    }

    pub fn set_now(&self, now: Duration) {
        self.inner().now = now;
    }

    fn inner(&self) -> RefMut<'_, Inner> {
        self.0.borrow_mut()
    }

    pub fn open(&self, name: &PortName, service: Duration, overflow: Overflow) {
        let mut inner = self.inner();
        inner.make(name, service, overflow, None);
        inner
            .out
            .push(PortOut::Log(What::Ready { port: name.clone() }));
        inner.ports.get_mut(name).unwrap().ready = true;
    }

    pub fn step(&self, name: &PortName) {
        self.inner().step(name);
    }

    /// Ends a port from inside.
    pub fn die(&self, name: &PortName, reason: Reason) {
        self.inner().die(name, reason);
    }

    /// Ends those whose handlers would never return.
    pub fn die_stuck(&self, reason: &Reason) {
        let mut inner = self.inner();
        let stuck = inner.ports.iter().filter(|(_, port)| port.service == STUCK);
        for name in stuck.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            inner.die(&name, reason.clone());
        }
    }

    pub fn take_out(&self) -> Vec<PortOut> {
        std::mem::take(&mut self.inner().out)
    }

    /// The kills whose wait has ended.
    pub fn handle_timeout(&self) {
        let mut inner = self.inner();
        let now = inner.now;
        let due = |port: &SimPort| {
            let kill = port.kills.iter().find(|(at, _)| *at <= now);
            kill.map(|(_, reason)| reason.clone())
        };
        let killed: Vec<_> = inner
            .ports
            .iter()
            .filter_map(|(name, port)| Some((name.clone(), due(port)?)))
            .collect();
        for (name, reason) in killed {
            inner
                .out
                .push(PortOut::Count("kill did not wait any longer"));
            inner.die(&name, reason);
        }
    }

    pub fn poll_timeout(&self) -> Option<Duration> {
        let inner = self.inner();
        let kills = inner.ports.values().flat_map(|port| &port.kills);
        kills.map(|(at, _)| *at).min()
    }

    /// What still waits, for the end of a run.
    pub fn waiting(&self) -> Vec<(PortName, usize)> {
        let inner = self.inner();
        let waiting = inner.ports.iter().filter(|(_, p)| !p.mailbox.is_empty());
        waiting
            .map(|(name, port)| (name.clone(), port.mailbox.count()))
            .collect()
    }

    pub fn lives(&self, name: &PortName) -> bool {
        self.inner().ports.contains_key(name)
    }

    pub fn living(&self) -> Vec<PortName> {
        self.inner().ports.keys().cloned().collect()
    }

    /// Bytes in a mailbox that is over its bound, and the bound.
    pub fn measure(&self) -> Option<(usize, usize)> {
        let inner = self.inner();
        let (bytes_max, count_max) = (
            inner.limits.mailbox_bytes_max,
            inner.limits.mailbox_count_max,
        );
        inner.ports.values().find_map(|port| {
            let (bytes, count) = (port.mailbox.bytes(), port.mailbox.count());
            let over = bytes > bytes_max && count > 1 || count > count_max;
            over.then_some((bytes, bytes_max))
        })
    }
}

impl Inner {
    fn make(&mut self, name: &PortName, service: Duration, overflow: Overflow, by: Option<NodeId>) {
        let limits = MailboxLimits {
            bytes_max: self.limits.mailbox_bytes_max,
            count_max: self.limits.mailbox_count_max,
            overflow,
        };
        let limits = match self.mutant {
            Mutant::UnboundedMailbox => MailboxLimits {
                bytes_max: usize::MAX,
                count_max: usize::MAX,
                ..limits
            },
            _ => limits,
        };
        self.ports.insert(
            name.clone(),
            SimPort {
                mailbox: Mailbox::new(limits),
                service,
                scheduled: false,
                ready: false,
                by,
                watchers: BTreeSet::new(),
                kills: Vec::new(),
                broken: BTreeSet::new(),
            },
        );
        self.out
            .push(PortOut::Log(What::Opened { port: name.clone() }));
    }

    fn schedule(&mut self, name: &PortName, after: Duration) {
        if let Some(port) = self.ports.get_mut(name)
            && !port.scheduled
            && !port.mailbox.is_empty()
        {
            port.scheduled = true;
            self.out.push(PortOut::Step(name.clone(), self.now + after));
        }
    }

    fn step(&mut self, name: &PortName) {
        let Some(port) = self.ports.get_mut(name) else {
            return;
        };
        port.scheduled = false;
        let mut pause = Duration::ZERO;
        let Some(item) = port.mailbox.pop() else {
            return;
        };
        for link in port.mailbox.take_waiting() {
            self.out.push(PortOut::Room(link, name.clone()));
        }
        match item {
            Item::Init { fails: true } => {
                self.die(name, text_reason("die", "init"));
            }
            Item::Init { fails: false } => {
                port.ready = true;
                self.out
                    .push(PortOut::Log(What::Ready { port: name.clone() }));
            }
            Item::Kill(reason) => self.die(name, reason),
            Item::LossAck(link) => {
                port.broken.remove(&link);
                let settled = Reply::LossSettled { port: name.clone() };
                self.out.push(PortOut::Reply(link, settled));
            }
            Item::Message { link, message } => {
                pause = port.service;
                self.message(name, link, &message);
            }
        }
        self.schedule(name, pause);
    }

    fn message(&mut self, name: &PortName, link: LinkId, message: &Message) {
        let Some(port) = self.ports.get_mut(name) else {
            return;
        };
        let decoded = message.decode_args::<(No, Value)>(&self.limits);
        let tag = message.tag(&self.limits);
        let (no, tag) = match (&decoded, &tag) {
            (Ok((no, _)), Ok(Some(tag))) => (*no, &**tag),
            _ => (0, "refuse"),
        };
        if port.broken.contains(&link) {
            self.out
                .push(PortOut::Count("dropped behind a loss in a mailbox"));
            return;
        }
        if tag == "refuse" {
            port.broken.insert(link);
            self.out.push(PortOut::Log(What::Refused {
                port: name.clone(),
                message: no,
            }));
            let loss = Reply::Loss {
                port: name.clone(),
                count: 1,
                text: "refused".into(),
            };
            self.out.push(PortOut::Reply(link, loss));
            return;
        }
        let handled = What::Handled {
            port: name.clone(),
            message: no,
        };
        self.out.push(PortOut::Log(handled.clone()));
        if self.mutant == Mutant::DeliverTwice && no % 16 == 3 {
            self.out.push(PortOut::Log(handled));
        }
    }

    fn die(&mut self, name: &PortName, reason: Reason) {
        let Some(mut port) = self.ports.remove(name) else {
            return;
        };
        self.out.push(PortOut::Log(What::Died {
            port: name.clone(),
            reason: reason.clone(),
        }));
        let (items, waiting) = port.mailbox.close();
        if items.iter().any(|i| matches!(i, Item::Message { .. })) {
            self.out.push(PortOut::Count("died with messages waiting"));
        }
        for link in port.watchers {
            let port = name.clone();
            let reason = reason.clone();
            let down = Reply::Down { port, reason };
            self.out.push(PortOut::Reply(link, down));
        }
        for item in items {
            if let Item::LossAck(link) = item {
                let settled = Reply::LossSettled { port: name.clone() };
                self.out.push(PortOut::Reply(link, settled));
            }
        }
        for link in waiting {
            self.out.push(PortOut::Room(link, name.clone()));
        }
        if !port.ready {
            self.remember(name, reason);
        }
    }

    fn remember(&mut self, name: &PortName, reason: Reason) {
        self.dead.push_back((name.clone(), reason));
        if self.dead.len() > RING {
            self.dead.pop_front();
        }
    }
}

pub fn text_reason(tag: &str, text: &str) -> Reason {
    Reason(vec![Value::Text(tag.into()), Value::Text(text.into())])
}

impl Ports for SimPorts {
    type Port = PortName;

    fn find(&self, name: &str) -> Option<PortName> {
        let inner = self.inner();
        inner
            .ports
            .get_key_value(name)
            .map(|(port, _)| port.clone())
    }

    fn deliver(&self, name: &PortName, link: LinkId, batch: &mut Batch) -> Delivery {
        let mut inner = self.inner();
        let mutant = inner.mutant;
        let Some(port) = inner.ports.get_mut(name) else {
            return Delivery::Dead;
        };
        if mutant == Mutant::Reorder && batch.len() > 1 {
            let mut all: Vec<Message> = batch.collect();
            all.swap(0, 1);
            *batch = Batch::of(&all);
        }
        let mut delivery = Delivery::Done;
        while let Some(bytes) = batch.next_len() {
            let drop = mutant == Mutant::DropSilently && bytes % 8 == 5;
            if !drop && !port.mailbox.fits(bytes) {
                delivery = Delivery::Full;
                break;
            }
            if let Some(message) = batch.next().filter(|_| !drop) {
                let pushed = port.mailbox.push(Item::Message { link, message }, bytes);
                assert!(matches!(pushed, Push::Queued), "there was room");
            }
        }
        if delivery == Delivery::Full {
            if port.mailbox.limits().overflow == Overflow::Kill {
                let waiting = port.mailbox.count() as u64;
                let reason = Reason(vec![
                    Value::Text("mailbox_overflow".into()),
                    Value::Int(waiting.into()),
                ]);
                inner.out.push(PortOut::Count("died of a full mailbox"));
                inner.die(name, reason);
                return Delivery::Dead;
            }
            port.mailbox.wait_for_room(link);
            inner.out.push(PortOut::Count("held for a full mailbox"));
        }
        inner.schedule(name, Duration::ZERO);
        delivery
    }

    fn spawned_by(&self, name: &PortName, node: &NodeId) -> bool {
        let inner = self.inner();
        let port = inner.ports.get(name);
        port.is_some_and(|port| port.by.as_ref() == Some(node))
    }

    fn kill(&self, name: &PortName, _link: LinkId, reason: Reason, within: Duration) {
        let mut inner = self.inner();
        let now = inner.now;
        let hasty = inner.mutant == Mutant::KillAtOnce;
        let Some(port) = inner.ports.get_mut(name) else {
            return;
        };
        if hasty {
            return inner.die(name, reason);
        }
        let waiting = port.mailbox.count() > 0;
        port.kills.push((now + within, reason.clone()));
        port.mailbox.push_control(Item::Kill(reason));
        if waiting {
            inner.out.push(PortOut::Count("kill with messages waiting"));
        }
        inner.schedule(name, Duration::ZERO);
    }

    fn watch(&self, name: &PortName, link: LinkId) -> Result<(), Reason> {
        let mut inner = self.inner();
        if let Some(port) = inner.ports.get_mut(name) {
            port.watchers.insert(link);
            return Ok(());
        }
        drop(inner);
        Err(self.dead_reason(name))
    }

    fn dead_reason(&self, name: &PortName) -> Reason {
        let inner = self.inner();
        let dead = inner.dead.iter().find(|(port, _)| port == name);
        let missing = || Reason::no_such_port(&PortId::new(inner.node.clone(), name.clone()));
        dead.map_or_else(missing, |(_, reason)| reason.clone())
    }

    fn unwatch(&self, name: &PortName, link: LinkId) {
        if let Some(port) = self.inner().ports.get_mut(name) {
            port.watchers.remove(&link);
        }
    }

    fn loss_acknowledged(&self, name: &PortName, link: LinkId) {
        let mut inner = self.inner();
        if let Some(port) = inner.ports.get_mut(name)
            && port.broken.contains(&link)
        {
            port.mailbox.push_control(Item::LossAck(link));
            inner.schedule(name, Duration::ZERO);
        }
    }

    fn spawn(
        &self,
        _link: LinkId,
        by: &NodeId,
        name: &PortName,
        function: &str,
        _args: Message,
    ) -> Result<PortName, Reason> {
        let mut inner = self.inner();
        if inner.ports.contains_key(name) {
            return Err(text_reason("die", "the name exists"));
        }
        if function == "missing" {
            let reason = text_reason("no_such_function", function);
            inner.remember(name, reason.clone());
            return Err(reason);
        }
        let service = match function {
            "slow" => Duration::from_millis(120),
            "stuck" => STUCK,
            _ => inner.service,
        };
        inner.make(name, service, Overflow::PushBack, Some(by.clone()));
        let fails = function == "fails";
        let late = inner.mutant == Mutant::InitLate;
        let port = inner.ports.get_mut(name).unwrap();
        if !late {
            port.mailbox.push_control(Item::Init { fails });
        }
        // the init function takes its time
        inner.schedule(name, Duration::from_millis(3));
        Ok(name.clone())
    }
}
