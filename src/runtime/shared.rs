//! What all tasks of a mesh share.

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{mpsc, watch};

use super::{
    DbLinks, LinkSink, NodePorts,
    auth::AuthConfig,
    cells::{Cells, PeerCell},
    clock::Clock,
    counters::Counters,
    driver::Event,
    events::{EventSender, MeshStats, NodeEvent},
    formats::Formats,
    gate::{Gate, RefusalLog},
    links::Links,
    policy::PolicyHandle,
    transport::SharedTransport,
};
use crate::proto::{
    id::{NodeId, PortId, PortName},
    limits::Limits,
    link::LinkId,
    node::peer::{Reply, Wake},
    policy::{Denial, Policy},
};

/// Where a mesh stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Running,
    /// No more is accepted, neither connections nor messages; what was accepted goes out (L6).
    Closing,
    /// No link is made any more, and those that are left end.
    Ending,
}

/// See the module.
pub(super) struct Shared<P> {
    pub(super) node: NodeId,
    pub(super) limits: Limits,
    pub(super) policy: Arc<PolicyHandle>,
    pub(super) auth: AuthConfig,
    pub(super) transport: SharedTransport,
    pub(super) ports: Arc<P>,
    pub(super) db: Option<Arc<dyn DbLinks>>,
    pub(super) clock: Clock,
    pub(super) cells: Cells,
    pub(super) links: Links,
    pub(super) formats: Formats,
    pub(super) gate: Arc<Gate>,
    pub(super) refusals: RefusalLog,
    denials: RefusalLog,
    pub(super) counters: Counters,
    pub(super) events: EventSender,
    /// To the driver. Unbounded, since senders must not block, but short: every connection and every known node has at most
    /// a few entries in it at a time.
    pub(super) driver: mpsc::UnboundedSender<Event>,
    /// Every task holds a receiver, so that the last one to end is noticed.
    pub(super) stage: watch::Sender<Stage>,
    /// Certificates or secrets were replaced.
    pub(super) renewed: watch::Sender<()>,
    next_link: AtomicU64,
    addresses: Mutex<BTreeMap<NodeId, Vec<String>>>,
}

/// What a mesh is given, besides what its tasks make themselves.
pub(super) struct Parts<P> {
    pub(super) node: NodeId,
    pub(super) limits: Limits,
    pub(super) policy: Arc<PolicyHandle>,
    pub(super) auth: AuthConfig,
    pub(super) transport: SharedTransport,
    pub(super) ports: Arc<P>,
    pub(super) db: Option<Arc<dyn DbLinks>>,
    pub(super) addresses: BTreeMap<NodeId, Vec<String>>,
    pub(super) driver: mpsc::UnboundedSender<Event>,
    pub(super) events: EventSender,
}

/// Addresses that are remembered for one node.
const ADDRESSES_PER_NODE_MAX: usize = 16;

impl<P: NodePorts> Shared<P> {
    pub(super) fn new(parts: Parts<P>) -> Self {
        Shared {
            clock: Clock::start(),
            cells: Cells::new(&parts.limits),
            links: Links::default(),
            formats: Formats::default(),
            gate: Gate::new(&parts.limits),
            refusals: RefusalLog::default(),
            denials: RefusalLog::default(),
            counters: Counters::default(),
            events: parts.events,
            stage: watch::Sender::new(Stage::Running),
            renewed: watch::Sender::new(()),
            next_link: AtomicU64::new(1),
            addresses: Mutex::new(parts.addresses),
            node: parts.node,
            limits: parts.limits,
            policy: parts.policy,
            auth: parts.auth,
            transport: parts.transport,
            ports: parts.ports,
            db: parts.db,
            driver: parts.driver,
        }
    }

    /// A name for a connection, never used before.
    pub(super) fn next_link(&self) -> LinkId {
        let number = self.next_link.fetch_add(1, Ordering::Relaxed);
        LinkId(NonZeroU64::new(number).unwrap_or(NonZeroU64::MAX))
    }

    /// What certificates and secrets are used now.
    pub(super) fn generations(&self) -> (u64, u64) {
        (self.transport.generation(), self.auth.generation())
    }

    /// To the driver; when it has ended there is nothing left to drive.
    pub(super) fn tell_driver(&self, event: Event) {
        let _ = self.driver.send(event);
    }

    pub(super) fn emit(&self, event: NodeEvent) {
        self.events.send(event);
    }

    /// Does what a change of a peer asks for.
    pub(super) fn wake(&self, cell: &PeerCell, node: &NodeId, wake: Wake) {
        if wake.writer {
            cell.writer.notify_one();
        }
        if wake.dial {
            self.tell_driver(Event::Want(node.clone()));
        }
        if wake.overrun {
            let link = cell.lock().peer.link();
            if let Some(handle) = link.and_then(|link| self.links.get(link)) {
                handle.overrun();
            }
        }
    }

    pub(super) fn stats(&self) -> MeshStats {
        let counters = &self.counters;
        MeshStats {
            links_up: counters.links_up.get(),
            links_down: counters.links_down.get(),
            accepted: counters.accepted.get(),
            dialled: counters.dialled.get(),
            dials_failed: counters.dials_failed.get(),
            refused_by_limit: counters.refused_by_limit.get(),
            refused_by_auth: counters.refused_by_auth.get(),
            refused_by_rule: counters.refused_by_rule.get(),
            renewed: counters.renewed.get(),
            renewals_refused: counters.renewals_refused.get(),
            unproven: counters.unproven.get(),
            denied: counters.denied.get(),
            accept_errors: counters.accept_errors.get(),
            lost: counters.lost.get(),
            bytes_in: counters.bytes_in.get(),
            bytes_out: counters.bytes_out.get(),
            unauthenticated: self.gate.unauthenticated(),
            links: self.links.all().len(),
        }
    }

    /// Counts messages that were accepted and are lost (P2), and says so.
    pub(super) fn lost(&self, to: PortId, count: u64, reason: String) {
        if count > 0 {
            self.counters.lost.add(count);
            tracing::warn!(%to, count, %reason, "messages lost");
            self.emit(NodeEvent::Undelivered { to, count, reason });
        }
    }

    /// A connection is refused, by either side: logged with measure, so that a stranger cannot fill the log.
    pub(super) fn refused(&self, addr: &str, key: &str, node: Option<&NodeId>, reason: String) {
        let Some(untold) = self.refusals.take(key, self.clock.now().mono) else {
            return;
        };
        let name = node.map_or("unknown", NodeId::as_str);
        tracing::warn!(peer_addr = addr, peer_node = name, %reason, untold, "connection refused");
        self.emit(NodeEvent::Refused {
            addr: addr.to_owned(),
            node: node.cloned(),
            reason,
        });
    }

    /// The policy refused something to a peer: audited with measure, so that a peer cannot fill the log.
    pub(super) fn audit(&self, node: &NodeId, addr: &str, denial: &Denial) {
        let key = node.as_str();
        let Some(untold) = self.denials.take(key, self.clock.now().mono) else {
            return;
        };
        let (what, text) = (clean(&denial.target), clean(&denial.text));
        let rule = denial
            .by
            .map_or_else(|| "a limit".to_owned(), |by| by.to_string());
        let operation = denial.operation.name();
        tracing::warn!(
            target: "portmesh::audit", peer = key, peer_addr = addr, operation, what, rule,
            untold, "refused: {text}"
        );
    }

    /// Another policy. Links look at it before they take anything more from their peers.
    pub(super) fn set_policy(&self, policy: Policy) {
        self.policy.set(policy);
        for link in self.links.all() {
            link.reader.notify_one();
        }
    }

    fn book(&self) -> MutexGuard<'_, BTreeMap<NodeId, Vec<String>>> {
        let book = self.addresses.lock();
        book.unwrap_or_else(PoisonError::into_inner)
    }

    /// Where that node can be dialled.
    pub(super) fn addresses(&self, node: &NodeId) -> Vec<String> {
        self.book().get(node).cloned().unwrap_or_default()
    }

    /// That node answered at that address, as it proved: it is tried there first from now on.
    pub(super) fn learn(&self, node: &NodeId, addr: &str) {
        let mut book = self.book();
        let known = book.entry(node.clone()).or_default();
        known.retain(|other| other != addr);
        known.insert(0, addr.to_owned());
        known.truncate(ADDRESSES_PER_NODE_MAX);
    }

    /// Another node answered at that address than the one that was thought to.
    pub(super) fn unlearn(&self, addr: &str) {
        let mut book = self.book();
        for known in book.values_mut() {
            known.retain(|other| other != addr);
        }
        book.retain(|_, known| !known.is_empty());
    }
}

impl<P: NodePorts> LinkSink for Shared<P> {
    fn reply(&self, link: LinkId, reply: Reply) {
        if let Some(handle) = self.links.get(link) {
            let wake = handle.cell.lock().peer.reply(link, reply);
            self.wake(&handle.cell, &handle.facts.node, wake);
        }
    }

    fn room(&self, link: LinkId, port: &PortName) {
        if let Some(handle) = self.links.get(link) {
            handle.give_room(port);
        }
    }
}

/// A peer's text as it may go into a log: on one line, and without the terminal's magic.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
