//! A link: one task that reads, hands on whole batches and judges silence, and writes what the peer's cell has ready.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::ReadHalf,
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    NodePorts, Watch,
    cells::{fire, join},
    connection::{Command, End, Io, ended},
    driver::{Event, LATE},
    events::NodeEvent,
    links::LinkHandle,
    renew::{self, Measure},
    shared::{Shared, clean},
    stream::read_batch,
    transport::Stream,
    turns::{Talk, pause, settle},
    writer::Writer,
};
use crate::proto::{
    close::CloseReason,
    id::{PortId, PortName},
    link::sink::FrameSink,
    node::{
        peer::{Fired, PeerFrame, Wake},
        session::{Portion, Reactions, Session, SessionParams},
    },
};

/// What is read at most before the writer has its turn, about.
const FLOOD_BYTES: usize = 64 << 10;
/// So many calls and monitors end before the writer has its turn, or messages are handed on that are answered: what follows of
/// them is on its way while the rest is handed on, so that both sides of a conversation work at the same time, and not by turns.
/// Chosen by measuring with 64 under way, where portions of 32 and more are much slower (manual, performance).
const PORTION_MAX: usize = 22;

/// Runs the link until it ends. The session has ended when this returns.
pub(super) async fn run<P: NodePorts>(
    shared: &Arc<Shared<P>>,
    handle: Arc<LinkHandle>,
    io: &mut Io,
    commands: &mut mpsc::Receiver<Command>,
) -> End {
    let facts = &handle.facts;
    // before the policy is read: what changes meanwhile is seen
    let generation = (shared.policy.generation(), handle.proofs());
    let policy = Arc::new(shared.policy.for_peer(&handle.peer()));
    shared.ports.link_up(facts.link, &facts.node, &policy);
    if generation != (0, 0)
        && let Some(db) = shared.db.as_ref().filter(|_| facts.db)
        && let Err(reason) = db.link_policy(facts.link, policy.clone())
    {
        shared.ports.link_down(facts.link);
        return reason.into();
    }
    let params = SessionParams {
        link: facts.link,
        node: facts.node.clone(),
        incarnation: facts.incarnation,
        format: facts.format.clone(),
        link_timeout: shared.limits.link_timeout,
        db: facts.db,
        retire: facts.retire,
        renew: facts.renew,
    };
    let session = Session::new(params, &shared.limits, policy, shared.clock.now());
    let fresh = AtomicBool::new(false);
    let mut reader = Reader {
        shared,
        handle: &handle,
        session,
        reactions: Reactions {
            portion: Portion::of(PORTION_MAX),
            ..Reactions::default()
        },
        generation,
        stalled: Duration::ZERO,
        answered: false,
        flood: 0,
        talk: Talk::default(),
        due: None,
        fresh: &fresh,
        measure: Measure::new(shared.clock.now().mono),
    };
    let writer = Writer {
        shared,
        handle: &handle,
        fresh: &fresh,
    };
    let begun = renew::begin(shared, &handle);
    let end = loop {
        if let Err(reason) = begun {
            break reason.into();
        }
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Close { reason, stopped }) => {
                    break reader.finish(&mut io.input, End { reason, stopped });
                }
                Some(Command::Activate { .. } | Command::Greet) => continue,
                None => break CloseReason::Shutdown.into(),
            },
            reason = reader.run(&mut io.read, &mut io.input) => break reason.into(),
            reason = writer.run(&mut io.write, &mut io.output) => {
                break reader.finish(&mut io.input, reason.into());
            }
        }
    };
    // an orderly end; what is kept here has not reached its port, and goes with the link
    if end.reason == CloseReason::Shutdown && reader.session.idle_since().is_some() {
        let now = shared.clock.now();
        let peer = &mut handle.cell.lock().peer;
        peer.last_words(facts.link, io.output.bytes.bytes(), now);
    }
    reader.session.close(&*shared.ports);
    shared.ports.link_down(facts.link);
    end
}

struct Reader<'a, P: NodePorts> {
    shared: &'a Arc<Shared<P>>,
    handle: &'a Arc<LinkHandle>,
    session: Session<P>,
    reactions: Reactions,
    /// Of the policy that the session has, and of the proof that it goes by.
    generation: (u64, u64),
    /// Time in which this process stood still since the last byte, which is not held against the peer (M7).
    stalled: Duration,
    /// There are answers. The writer comes before more is read, so that a flood does not hold up its own progress.
    answered: bool,
    /// So much was read since the writer was let go first.
    flood: usize,
    talk: Talk,
    /// When the writer has to tell what was dealt with, if it did not before.
    due: Option<Duration>,
    /// Something was read since the writer wrote last. (This task's own: it is atomic because a task may change threads.)
    fresh: &'a AtomicBool,
    measure: Measure,
}

impl<P: NodePorts> Reader<'_, P> {
    async fn run(
        &mut self,
        stream: &mut ReadHalf<Box<dyn Stream>>,
        input: &mut bytes::BytesMut,
    ) -> CloseReason {
        // what came right behind ACTIVATE
        if !input.is_empty() {
            self.fresh.store(true, Ordering::Relaxed);
        }
        if let Err(reason) = self.take(input) {
            return reason;
        }
        // short ticks, so that a standstill at any time is noticed
        let tick = self.shared.limits.link_timeout / 4;
        let mut timer = pin!(sleep_until(Instant::now() + tick));
        loop {
            if self.reactions.portion.take_woken() > 1 {
                // first the tasks that were woken, then the writer with what they sent, then the rest
                self.fresh.store(false, Ordering::Relaxed);
                settle(&self.handle.cell).await;
                self.fresh.store(true, Ordering::Relaxed);
                if self.reactions.portion.is_more() {
                    pause().await;
                }
            }
            if self.reactions.portion.is_more() {
                if let Err(reason) = self.take(input) {
                    return reason;
                }
                continue;
            }
            let done = tokio::select! {
                biased;
                // before any judgement: what has come counts, however late it is looked at
                got = read_batch(stream, input, &mut self.session) => match ended(got) {
                    Ok(count) => {
                        self.shared.counters.bytes_in.add(count as u64);
                        self.fresh.store(true, Ordering::Relaxed);
                        self.flood += count;
                        self.take(input)
                    }
                    Err(reason) => Err(reason),
                },
                () = self.handle.reader.notified() => self.room(),
                () = timer.as_mut() => {
                    let late = timer.deadline().elapsed();
                    if late > LATE {
                        self.stalled += late;
                    }
                    timer.as_mut().reset(Instant::now() + tick);
                    self.tell_progress();
                    self.judge()
                }
            };
            if let Err(reason) = done {
                return reason;
            }
            let due = self.session.poll_timeout() + self.stalled;
            let due = self.due.map_or(due, |progress| due.min(progress));
            let due = self.shared.clock.instant(due);
            if due < timer.deadline() {
                timer.as_mut().reset(due);
            }
            // where little comes there is nothing to be read the next time, and the writer's turn comes by itself
            if self.answered && self.flood >= FLOOD_BYTES {
                (self.answered, self.flood) = (false, 0);
                pause().await;
            }
        }
    }

    /// Wakes the writer if it is time to say what was dealt with, and nothing else went out along with which it was said.
    fn tell_progress(&mut self) {
        let now = self.shared.clock.now().mono;
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let cell = &self.handle.cell;
        self.due = cell.lock().peer.poll_progress();
        if self.due.take_if(|due| *due <= now).is_some() {
            cell.writer.notify_one();
        }
    }

    /// Whether the peer was silent for too long; what else is due.
    fn judge(&mut self) -> Result<(), CloseReason> {
        let mut now = self.shared.clock.now();
        now.mono = now.mono.saturating_sub(self.stalled);
        let ports = &*self.shared.ports;
        let judged = self.session.handle_timeout(now, ports, &mut self.reactions);
        self.react().and(judged)?;
        self.retire();
        Ok(())
    }

    /// Where nobody uses the link, the peer is asked whether it may end.
    fn retire(&self) {
        let LinkHandle { facts, cell, .. } = &**self.handle;
        let now = self.shared.clock.now();
        let heard = self.session.idle_since();
        let wake = cell.lock().peer.retire(facts.link, heard, now);
        self.shared.wake(cell, &facts.node, wake);
    }

    /// Hands on what was read.
    fn take(&mut self, input: &mut bytes::BytesMut) -> Result<(), CloseReason> {
        if input.is_empty() && !self.session.has_come() {
            return Ok(());
        }
        self.stalled = Duration::ZERO;
        self.follow_policy()?;
        let commands = self.handle.cell.commands();
        let portion = &mut self.reactions.portion;
        portion.answers = self.talk.answers(portion.handed(), commands);
        let now = self.shared.clock.now();
        let ports = &*self.shared.ports;
        let taken = self
            .session
            .handle_bytes(input, now, ports, &mut self.reactions);
        if taken.is_ok() && self.handle.is_alive() {
            self.shared
                .tell_driver(Event::Alive(self.handle.facts.link));
        }
        if let Some(rtt) = self.reactions.rtt.take() {
            self.handle.measured(rtt);
        }
        self.react()?;
        // a flood must not keep held messages waiting
        self.room()?;
        taken
    }

    /// The link ends while a part of what was read is left: that has come, and counts.
    fn finish(&mut self, input: &mut bytes::BytesMut, end: End) -> End {
        if !self.reactions.portion.is_more() {
            return end;
        }
        self.reactions.portion.max = 0;
        match self.take(input) {
            // the peer has said why
            Err(reason) if matches!(end.reason, CloseReason::Transport(_)) => reason.into(),
            _ => end,
        }
    }

    /// There is room for held messages, or too much waits to be written.
    fn room(&mut self) -> Result<(), CloseReason> {
        if self.handle.is_overrun() {
            return Err(CloseReason::Overrun);
        }
        let is_new = self.follow_policy()?;
        let roomy = self.handle.take_room();
        if roomy.is_empty() && !is_new {
            return Ok(());
        }
        let now = self.shared.clock.now();
        for port in &roomy {
            let ports = &*self.shared.ports;
            self.session
                .handle_room(port, now, ports, &mut self.reactions);
        }
        self.react()
    }

    /// Reads the policy again where it was replaced, or the peer has proved itself anew.
    fn follow_policy(&mut self) -> Result<bool, CloseReason> {
        let generation = (self.shared.policy.generation(), self.handle.proofs());
        if generation == self.generation {
            return Ok(false);
        }
        self.generation = generation;
        let facts = &self.handle.facts;
        let policy = Arc::new(self.shared.policy.for_peer(&self.handle.peer()));
        let (ports, now) = (&*self.shared.ports, self.shared.clock.now());
        ports.link_policy(facts.link, &policy);
        self.session
            .set_policy(policy.clone(), now, ports, &mut self.reactions);
        if let Some(db) = self.shared.db.as_ref().filter(|_| facts.db) {
            db.link_policy(facts.link, policy)?;
        }
        Ok(true)
    }

    /// What the batch asks for, under one lock; then, outside of it, the monitors; then what waited for them.
    fn react(&mut self) -> Result<(), CloseReason> {
        let Reactions {
            replies,
            frames,
            refused,
            denied,
            db,
            renewals,
            ..
        } = &mut self.reactions;
        if *denied > 0 {
            self.shared.counters.denied.add(std::mem::take(denied));
        }
        for denial in refused.drain(..) {
            let facts = &self.handle.facts;
            self.shared.audit(&facts.node, &facts.addr, &denial);
        }
        let mut handed = Ok(());
        for body in renewals.drain(..) {
            let Reader {
                shared,
                handle,
                measure,
                ..
            } = self;
            handed = handed.and_then(|()| renew::handle(shared, handle, measure, &body));
        }
        for message in db.drain(..) {
            if let Some(db) = &self.shared.db
                && handed.is_ok()
            {
                handed = db.handle(self.handle.facts.link, message);
            }
        }
        if replies.is_empty() && frames.is_empty() {
            return handed;
        }
        let now = self.shared.clock.now();
        let link = self.handle.facts.link;
        let node = &self.handle.facts.node;
        let cell = &self.handle.cell;
        let mut wake = Wake::default();
        let mut fired: Vec<Fired<Watch>> = Vec::new();
        let mut settle: Vec<PortName> = Vec::new();
        let mut losses = Vec::new();
        let mut close = None;
        let mut state = cell.lock();
        for reply in replies.drain(..) {
            join(&mut wake, state.peer.reply(link, reply));
        }
        for frame in frames.drain(..) {
            if let PeerFrame::KillRefused { port, text } = &frame {
                let port = PortId::new(node.clone(), port.clone());
                let reason = clean(text);
                self.shared.emit(NodeEvent::KillRefused { port, reason });
            }
            if let PeerFrame::Loss { port, count, text } = &frame {
                losses.push((port.clone(), *count, clean(text)));
            }
            let handled = state.peer.handle(link, frame, now);
            if fired.is_empty() {
                fired = handled.fired;
            } else {
                fired.extend(handled.fired);
            }
            settle.extend(handled.settle);
            close = close.or(handled.close);
            join(&mut wake, handled.wake);
        }
        self.due = state.peer.poll_progress();
        drop(state);
        fire(fired);
        if !settle.is_empty() {
            let mut state = cell.lock();
            for port in &settle {
                join(&mut wake, state.peer.settle(link, port));
            }
        }
        for (port, count, text) in losses {
            self.shared
                .lost(PortId::new(node.clone(), port), count, text);
        }
        self.answered |= wake.writer;
        // the last progress may be what the writer waits for (L6)
        wake.writer |= self.handle.is_flushing();
        self.shared.wake(cell, node, wake);
        close.map_or(handed, Err)
    }
}
