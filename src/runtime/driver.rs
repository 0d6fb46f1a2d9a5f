//! The driver: one task a node that owns the rules of which connection is the link, and does what they say, in order.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    NodePorts,
    cells::{PeerCell, fire},
    connection::Command,
    dial, entropy,
    events::NodeEvent,
    links::{Facts, LinkHandle},
    shared::{Shared, Stage},
};
use crate::proto::{
    close::CloseReason,
    id::{NodeId, PortId},
    link::LinkId,
    node::peer::{LinkParams, Reply},
    peers::{Candidate, Peers, PeersOutput},
};

/// What the driver is told. All of it is rare: a few a connection, none a message.
pub(super) enum Event {
    /// Something was queued for a node without a link.
    Want(NodeId),
    /// A connection has authenticated.
    Candidate {
        /// Who is there.
        facts: Arc<Facts>,
        /// Its task.
        commands: mpsc::Sender<Command>,
    },
    /// ACTIVATE came.
    Activated(LinkId),
    /// A byte came on a probed link.
    Alive(LinkId),
    /// The connection has ended, and its session with it.
    Closed(LinkId, CloseReason),
    /// A dial that the driver asked for came to nothing.
    DialFailed(NodeId, CloseReason),
    /// Somebody here wants the link to end.
    End(LinkId, CloseReason),
    /// Stop in order (L6).
    Shutdown {
        /// How long links may go on transmitting.
        flush: Duration,
        /// Answered when no link and no monitor is left.
        done: oneshot::Sender<()>,
    },
}

struct Connection {
    facts: Arc<Facts>,
    commands: mpsc::Sender<Command>,
    up: Option<Arc<LinkHandle>>,
    /// It was told to end by [`Event::End`]: once is enough.
    ended: bool,
}

/// See the module.
pub(super) struct Driver<P> {
    shared: Arc<Shared<P>>,
    peers: Peers,
    events: mpsc::UnboundedReceiver<Event>,
    connections: HashMap<LinkId, Connection>,
    dials: dial::Dials<P>,
    closing: Option<Closing>,
    /// A connection that has just come, and has something left to say of its handshake.
    ungreeted: Option<LinkId>,
    /// Time in which this process did not run is not held against others.
    stalled: Duration,
}

/// A shutdown under way: first what was accepted goes out, over links that are still being made too; then all ends.
struct Closing {
    /// When this part of it is over at the latest.
    until: Instant,
    part: Part,
    cells: Vec<Arc<PeerCell>>,
    done: Vec<oneshot::Sender<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Flushing,
    /// The connections that are left were told to end.
    Ending,
    /// They did not: a callback of the program blocks them.
    Overdue,
}

/// A connection that is told to end has done so by then.
const STOP_TIME: Duration = Duration::from_secs(2);

/// A timer later than this means that the process stood still.
pub(super) const LATE: Duration = Duration::from_millis(100);

impl<P: NodePorts> Driver<P> {
    pub(super) fn new(
        shared: Arc<Shared<P>>,
        peers: Peers,
        events: mpsc::UnboundedReceiver<Event>,
        dials: dial::Dials<P>,
    ) -> Self {
        Driver {
            shared,
            peers,
            events,
            connections: HashMap::new(),
            dials,
            closing: None,
            ungreeted: None,
            stalled: Duration::ZERO,
        }
    }

    fn now(&self) -> crate::proto::limits::Now {
        let mut now = self.shared.clock.now();
        now.mono = now.mono.saturating_sub(self.stalled);
        now
    }

    /// Runs until a shutdown has ended.
    pub(super) async fn run(mut self) {
        loop {
            self.drain().await;
            self.greet();
            if self.is_flushed() {
                self.stop();
                continue;
            }
            if let Some(closing) = &self.closing
                && (closing.part == Part::Overdue
                    || closing.part == Part::Ending && self.connections.is_empty())
            {
                return self.end();
            }
            let due = self.peers.poll_timeout();
            let due = due.map(|mono| self.shared.clock.instant(mono + self.stalled));
            let flushed = self.closing.as_ref().map(|closing| closing.until);
            let at = [due, flushed].into_iter().flatten().min();
            tokio::select! {
                biased;
                event = self.events.recv() => match event {
                    Some(event) => self.handle(event),
                    None => return,
                },
                () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {
                    self.handle_time(at);
                }
            }
        }
    }

    /// What did not become the link at once says the rest of its handshake; else that goes along with what comes first.
    fn greet(&mut self) {
        if let Some(link) = self.ungreeted.take()
            && let Some(connection) = self.connections.get(&link)
            && connection.up.is_none()
        {
            // never full: it is the first command, unless there was an end
            let _ = connection.commands.try_send(Command::Greet);
        }
    }

    fn handle_time(&mut self, at: Option<Instant>) {
        let late = at.map_or(Duration::ZERO, |at| at.elapsed());
        if late > LATE {
            // what has come meanwhile is read before anybody is judged
            self.stalled += late;
        }
        let part = self.closing.as_ref();
        match part.filter(|closing| closing.until <= Instant::now()) {
            Some(closing) if closing.part == Part::Flushing => self.stop(),
            Some(_) => {
                if let Some(closing) = &mut self.closing {
                    closing.part = Part::Overdue;
                }
            }
            None => {}
        }
        self.peers.handle_timeout(self.now());
    }

    fn handle(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Want(node) if node == self.shared.node => {
                let reason = CloseReason::Transport("this is the node itself".to_owned());
                self.unreachable(&node, reason);
            }
            Event::Want(node) => self.peers.want(&node, now),
            Event::Candidate { facts, commands } => {
                let candidate = Candidate {
                    link: facts.link,
                    node: facts.node.clone(),
                    incarnation: facts.incarnation,
                    identity: facts.identity,
                    dialed: facts.dialed,
                };
                let candidate_is_ours = facts.initiator;
                let connection = Connection {
                    facts,
                    commands,
                    up: None,
                    ended: false,
                };
                self.ungreeted = candidate_is_ours.then_some(candidate.link);
                self.connections.insert(candidate.link, connection);
                self.peers.handle_candidate(candidate, now);
            }
            Event::Activated(link) => {
                if let Err(reason) = self.peers.handle_activate(link, now)
                    && let Some(connection) = self.connections.get(&link)
                {
                    // its task tells when it has ended
                    close(&connection.commands, reason, None);
                }
            }
            Event::End(link, reason) => {
                if let Some(connection) = self.connections.get_mut(&link)
                    && connection.up.is_some()
                    && !std::mem::replace(&mut connection.ended, true)
                {
                    close(&connection.commands, reason, None);
                }
            }
            Event::Alive(link) => self.peers.handle_alive(link, now),
            Event::Closed(link, reason) => {
                if self.connections.contains_key(&link) {
                    self.peers.handle_closed(link, reason, now);
                    // a link is still named in the output that follows
                    if self.connections.get(&link).is_some_and(|c| c.up.is_none()) {
                        self.connections.remove(&link);
                    }
                }
            }
            Event::DialFailed(node, reason) => self.peers.handle_dial_failed(&node, reason, now),
            Event::Shutdown { flush, done } => self.handle_shutdown(flush, done),
        }
    }

    fn handle_shutdown(&mut self, flush: Duration, done: oneshot::Sender<()>) {
        let until = Instant::now() + flush.min(Duration::from_secs(86_400));
        if let Some(closing) = &mut self.closing {
            // asked for again, perhaps with less patience
            closing.until = closing.until.min(until);
            closing.done.push(done);
            return;
        }
        tracing::info!(node = %self.shared.node, "shutting down");
        self.shared.stage.send_replace(Stage::Closing);
        self.closing = Some(Closing {
            until,
            part: Part::Flushing,
            cells: self.shared.cells.shut(),
            done: vec![done],
        });
        for connection in self.connections.values() {
            if let Some(up) = &connection.up {
                up.flush();
            }
        }
    }

    /// Whether a shutdown has nothing left to transmit.
    fn is_flushed(&self) -> bool {
        self.closing.as_ref().is_some_and(|closing| {
            let mut cells = closing.cells.iter();
            closing.part == Part::Flushing && cells.all(|cell| cell.lock().peer.is_flushed())
        })
    }

    /// The second part of a shutdown: no link is made any more, and those that are left end.
    fn stop(&mut self) {
        if let Some(closing) = &mut self.closing {
            closing.part = Part::Ending;
            closing.until = Instant::now() + STOP_TIME;
        }
        self.shared.stage.send_replace(Stage::Ending);
        self.peers.handle_shutdown();
        for connection in self.connections.values() {
            if connection.up.is_some() {
                close(&connection.commands, CloseReason::Shutdown, None);
            }
        }
    }

    /// After the last link: what was never sent is lost, all monitors that are left fire.
    fn end(&mut self) {
        let Some(closing) = self.closing.take() else {
            return;
        };
        for cell in closing.cells {
            let node = cell.lock().peer.node().clone();
            self.give_up(&cell, &node, &CloseReason::Shutdown);
        }
        for done in closing.done {
            // nobody may wait any more
            let _ = done.send(());
        }
    }

    async fn drain(&mut self) {
        while let Some(output) = self.peers.poll_output() {
            match output {
                PeersOutput::Dial(node) => self.dials.dial(node),
                PeersOutput::Activate { link, node, tell } => self.activate(link, node, tell),
                PeersOutput::Refuse { link, reason } => {
                    if let Some(connection) = self.connections.remove(&link) {
                        self.refuse(&connection.facts, &reason);
                        close(&connection.commands, reason, None);
                    }
                }
                PeersOutput::Lost { link, node, reason } => self.lost(link, node, reason).await,
                PeersOutput::Probe(link) => self.probe(link),
                PeersOutput::Unreachable { node, reason } => self.unreachable(&node, reason),
            }
        }
    }

    fn refuse(&self, facts: &Facts, reason: &CloseReason) {
        self.shared.counters.refused_by_rule.add(1);
        match reason {
            CloseReason::Duplicate | CloseReason::Shutdown => {
                let (node, addr) = (&facts.node, &facts.addr);
                tracing::debug!(peer_node = %node, peer_addr = addr, %reason, "connection closed");
            }
            _ => {
                let node = Some(&facts.node);
                self.shared
                    .refused(&facts.addr, facts.node.as_str(), node, reason.to_string());
            }
        }
    }

    fn activate(&mut self, link: LinkId, node: NodeId, tell: bool) {
        let Some(connection) = self.connections.get_mut(&link) else {
            return;
        };
        let facts = &connection.facts;
        let Some(cell) = self.shared.cells.for_link(&node) else {
            // nothing waits for it, and the node stops
            return close(&connection.commands, CloseReason::Shutdown, None);
        };
        let now = self.shared.clock.now();
        let handle = LinkHandle::new(facts.clone(), cell.clone(), now.mono);
        connection.up = Some(handle.clone());
        if self.closing.is_some() {
            handle.flush();
        }
        self.shared.links.insert(&handle);
        let timeout = self.shared.limits.link_timeout.min(facts.peer_link_timeout);
        let params = LinkParams {
            link,
            format: facts.format.clone(),
            peer_window_bytes: facts.peer_window_bytes,
            peer_frame_bytes_max: facts.peer_frame_bytes_max,
            peer_message_bytes_max: facts.peer_message_bytes_max,
            keepalive: timeout / 4,
            seed: entropy::jitter(),
            retire: facts.retire,
            pinned: facts.dialled_seed,
        };
        self.shared.formats.up(&facts.format);
        cell.json.store(facts.format.is_json(), Ordering::Relaxed);
        let wake = cell.lock().peer.activate(params, now);
        self.shared.wake(&cell, &node, wake);
        self.shared.counters.links_up.add(1);
        tracing::info!(
            peer_node = %node, peer_addr = facts.addr, incarnation = %facts.incarnation, ?link,
            initiator = facts.initiator, mode = ?facts.mode, security = facts.security,
            proof = facts.proof.text, format = facts.format.name(), "link up"
        );
        let told = NodeEvent::Up {
            node: node.clone(),
            incarnation: facts.incarnation,
            link: Box::new(handle.info(now.mono)),
        };
        self.shared.emit(told);
        if let Some(db) = self.shared.db.as_ref().filter(|_| facts.db) {
            let (features, seed) = (&facts.peer_features, facts.dialled_seed);
            let policy = Arc::new(self.shared.policy.for_peer(&handle.peer()));
            db.link_up(link, &node, facts.incarnation, features, seed, policy);
        }
        // never full: a connection gets one of each command at most
        let _ = connection
            .commands
            .try_send(Command::Activate { tell, handle });
    }

    /// M6, in strict order: nothing more comes in, the monitors fire, the way is open again.
    async fn lost(&mut self, link: LinkId, node: NodeId, reason: CloseReason) {
        let Some(connection) = self.connections.remove(&link) else {
            return;
        };
        let (stopped, stop) = oneshot::channel();
        close(&connection.commands, reason.clone(), Some(stopped));
        // an error says that it had stopped before
        let _ = stop.await;
        let Some(up) = connection.up else { return };
        let life = self.peers.link(&node).map(|(_, life)| life);
        let moved = reason == CloseReason::Replaced && life == Some(up.facts.incarnation);
        let reason = up.cell.lock().peer.why(reason, moved);
        self.give_up(&up.cell, &node, &reason);
        if let Some(db) = self.shared.db.as_ref().filter(|_| up.facts.db) {
            db.link_down(link, &node, &reason);
        }
        self.shared.links.remove(link, &node);
        self.shared.formats.down(&up.facts.format);
        self.shared.counters.links_down.add(1);
        tracing::info!(peer_node = %node, peer_addr = connection.facts.addr, ?link, %reason, "link down");
        self.shared.cells.collect(&node);
        self.shared.emit(NodeEvent::Down { node, reason });
    }

    fn unreachable(&self, node: &NodeId, reason: CloseReason) {
        if let Some(cell) = self.shared.cells.get(node) {
            self.give_up(&cell, node, &reason);
            self.shared.cells.collect(node);
        }
        tracing::info!(peer_node = %node, %reason, "unreachable");
        self.shared.emit(NodeEvent::Unreachable {
            node: node.clone(),
            reason,
        });
    }

    /// What was accepted for that node is lost: its monitors fire, then the way is open again.
    fn give_up(&self, cell: &PeerCell, node: &NodeId, reason: &CloseReason) {
        let closed = cell.lock().peer.close(reason);
        fire(closed.fired);
        let to = PortId::of_node(node.clone());
        self.shared.lost(to, closed.lost, reason.to_string());
        let wake = cell.lock().peer.reopen();
        self.shared.wake(cell, node, wake);
        cell.room.notify_waiters();
    }

    fn probe(&self, link: LinkId) {
        if let Some(up) = self.connections.get(&link).and_then(|c| c.up.as_ref()) {
            up.ask_whether_alive();
            // the number is when it was sent, so that its answer measures the round trip
            let nanos = self.shared.clock.now().mono.as_nanos() as u64;
            let wake = up.cell.lock().peer.reply(link, Reply::Ping(nanos));
            self.shared.wake(&up.cell, &up.facts.node, wake);
        }
    }
}

/// Ends a connection; `stopped` is answered when its session has ended.
fn close(
    commands: &mpsc::Sender<Command>,
    reason: CloseReason,
    stopped: Option<oneshot::Sender<()>>,
) {
    // where it fails, the connection has ended or has been told before
    let _ = commands.try_send(Command::Close { reason, stopped });
}
