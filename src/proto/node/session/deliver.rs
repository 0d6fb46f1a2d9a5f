//! Messages on their way into mailboxes: runs, losses, and what is held for a full one.

use std::ops::Range;

use super::{Cx, Delivery, Ports, Session, permit::refused, port_name, send_head};
use crate::proto::{
    close::CloseReason,
    id::PortName,
    link::lane,
    message::Batch,
    node::{
        held::{HeldPort, Item},
        peer::Reply,
        run::{self, Run, Target},
    },
    policy::Operation,
};

impl<P: Ports> Session<P> {
    /// A SEND whose payload is there in what was read. It ends the run and begins the next.
    pub(super) fn run(
        &mut self,
        run: &mut Option<Run<P::Port>>,
        watch: bool,
        port: &str,
        payload: Range<usize>,
        data: &[u8],
        cx: &mut Cx<'_, P>,
    ) -> Result<(), CloseReason> {
        self.check_size(payload.len())?;
        self.end_run(run, data, cx);
        self.direct.fragments = false;
        let found = cx.ports.find(port);
        // the name of a port that is there need not be looked at
        let name = match found {
            Some(_) => PortName::known(port),
            None => port_name(port)?,
        };
        if watch && let Some(item) = self.hold(&name, Item::Watch { cost: 0 }, cx) {
            self.apply(&name, found.as_ref(), item, cx);
        }
        let head = payload.start.saturating_sub(send_head(&name))..payload.start;
        let mut payloads = std::mem::take(&mut self.spare);
        payloads.push(payload);
        *run = Some(Run {
            target: self.target(&name, found, cx),
            name,
            head: (!watch).then_some(head),
            payloads,
        });
        Ok(())
    }

    /// Where messages for that port go now, which was found or not.
    pub(super) fn target(
        &self,
        name: &PortName,
        port: Option<P::Port>,
        cx: &mut Cx<'_, P>,
    ) -> Target<P::Port> {
        if self.broken.contains(name) {
            return Target::Dropped;
        }
        if !self.policy.is_open(Operation::Send)
            && let Some(port) = &port
            && let Err(denial) = self.permit(Operation::Send, name, port, cx)
        {
            let text = format!("not_permitted: {}", denial.text);
            refused(cx, denial);
            return Target::Lost(text);
        }
        if self.held.contains(name.as_str()) {
            return Target::Held;
        }
        match port {
            Some(port) => Target::Port(port),
            None => Target::Lost(format!(
                "no_such_port: there is no port {:?}",
                name.as_str()
            )),
        }
    }

    /// Hands the run on.
    pub(super) fn end_run(
        &mut self,
        run: &mut Option<Run<P::Port>>,
        data: &[u8],
        cx: &mut Cx<'_, P>,
    ) {
        let Some(mut run) = run.take() else {
            return;
        };
        self.hand_on(&mut run, data, cx);
        // small, as most are: a link that waits keeps nothing large
        if run.payloads.capacity() <= 64 {
            run.payloads.clear();
            self.spare = run.payloads;
        }
    }

    fn hand_on(&mut self, run: &mut Run<P::Port>, data: &[u8], cx: &mut Cx<'_, P>) {
        let head = send_head(&run.name);
        let cost_of = |bytes: usize| lane::cost(head + bytes);
        self.done += run
            .payloads
            .iter()
            .map(|payload| cost_of(payload.len()))
            .sum::<u64>();
        let mut rest = run.payloads.as_slice();
        let port = match std::mem::replace(&mut run.target, Target::Held) {
            Target::Dropped => return,
            Target::Lost(text) => return self.lose(&run.name, rest.len() as u64, text, cx),
            Target::Held => None,
            Target::Port(port) => Some(port),
        };
        while !rest.is_empty() && !self.broken.contains(&run.name) {
            let batch = run::take_batch(data, &mut rest, &self.params.format);
            // what became of one batch decides on the next
            let target = match &port {
                Some(port) if !self.held.contains(run.name.as_str()) => Target::Port(port.clone()),
                _ => Target::Held,
            };
            self.hand_over(&run.name, target, batch, cx);
        }
    }

    /// Hands on messages that are counted as dealt with already.
    pub(super) fn hand_over(
        &mut self,
        name: &PortName,
        target: Target<P::Port>,
        mut batch: Batch,
        cx: &mut Cx<'_, P>,
    ) {
        let head = send_head(name);
        match target {
            Target::Dropped => {}
            Target::Lost(text) => self.lose(name, batch.len() as u64, text, cx),
            Target::Held => {
                let item = Item::Messages { batch, head };
                if let Some(Item::Messages { batch, .. }) = self.hold(name, item, cx) {
                    // cannot be: the run began when something was held, and nothing came in between
                    let text = "it is held no longer".to_owned();
                    self.lose(name, batch.len() as u64, text, cx);
                }
            }
            Target::Port(port) => {
                let messages = batch.len();
                let delivery = cx.ports.deliver(&port, self.params.link, &mut batch);
                let handed = messages - batch.len();
                cx.out.portion.hand(handed, cx.ports.is_reply(&port));
                match delivery {
                    Delivery::Done => {}
                    Delivery::Dead => {
                        let lost = batch.len() as u64;
                        self.lose(name, lost, "the port is dead".into(), cx);
                    }
                    Delivery::Full if batch.is_empty() => {}
                    Delivery::Full => {
                        let item = Item::Messages { batch, head };
                        let cost = item.cost();
                        self.held.begin(name, port, item);
                        self.tell_hold(name, cost, cx);
                    }
                }
            }
        }
    }

    /// Holds something more for a port that is held already. Gives it back where it is not.
    pub(super) fn hold(&mut self, name: &PortName, item: Item, cx: &mut Cx<'_, P>) -> Option<Item> {
        if !self.held.contains(name.as_str()) {
            return Some(item);
        }
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
    pub(super) fn lose(&mut self, name: &PortName, count: u64, text: String, cx: &mut Cx<'_, P>) {
        if count == 0 || !self.broken.insert(name.clone()) {
            return;
        }
        if self.broken.len() > self.limits.monitors_per_link_max {
            self.break_protocol("more losses unacknowledged than there may be");
        }
        let port = name.clone();
        cx.out.replies.push(Reply::Loss { port, count, text });
    }

    /// Hands on what is held, as far as it fits. `freed`: what the peer is to be told besides.
    pub(super) fn pump(
        &mut self,
        name: &PortName,
        mut held: HeldPort<P::Port>,
        mut freed: u64,
        cx: &mut Cx<'_, P>,
    ) {
        while let Some(mut item) = held.items.pop_front() {
            let before = item.cost();
            let Item::Messages { batch, .. } = &mut item else {
                freed += before;
                self.apply(name, Some(&held.port), item, cx);
                continue;
            };
            match cx.ports.deliver(&held.port, self.params.link, batch) {
                Delivery::Full if !batch.is_empty() => {
                    freed += before.saturating_sub(item.cost());
                    held.items.push_front(item);
                    break;
                }
                Delivery::Dead => {
                    let lost = batch.len() as u64;
                    self.lose(name, lost, "the port is dead".into(), cx);
                }
                Delivery::Done | Delivery::Full => {}
            }
            freed += before;
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
    pub(super) fn end_kill_wait(&mut self, name: &PortName, cx: &mut Cx<'_, P>) {
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
