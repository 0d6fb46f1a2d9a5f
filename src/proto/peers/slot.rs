//! One other node: its link, the connections that wait, the probe, the dial and the wish for a link.

use std::time::Duration;

use super::{Candidate, PeersOutput};
use crate::proto::{
    close::{CloseReason, code},
    id::{Incarnation, NodeId},
    limits::Limits,
    link::LinkId,
};

/// Connections of one node that may wait at a time.
const CANDIDATES_PER_NODE_MAX: usize = 4;
/// Dials in a row that may end as duplicates of a connection that is not seen here.
const DUPLICATES_MAX: u32 = 3;

/// What is the same for all nodes.
#[derive(Debug)]
pub(super) struct Rules {
    probe: Duration,
    /// How long a connection waits to be made the link: the decider may be probing meanwhile.
    activation: Duration,
    /// How long an ended life is remembered, so that no earlier one takes its place. Not for ever: a clock that was
    /// set back between two lives must not shut a node out.
    memory: Duration,
    pub(super) shutdown: bool,
}

impl Rules {
    pub(super) fn new(limits: &Limits) -> Self {
        Rules {
            probe: limits.probe_timeout,
            activation: limits.auth_timeout + limits.probe_timeout,
            memory: limits.link_timeout * 8,
            shutdown: false,
        }
    }
}

/// What an input sees and leaves behind.
pub(super) struct Turn<'a> {
    pub(super) node: &'a NodeId,
    pub(super) now: Duration,
    pub(super) rules: &'a Rules,
    pub(super) outputs: Vec<PeersOutput>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Life {
    incarnation: Incarnation,
    identity: [u8; 32],
}

impl Life {
    fn of(candidate: &Candidate) -> Self {
        Life {
            incarnation: candidate.incarnation,
            identity: candidate.identity,
        }
    }

    /// Whether `other` is an earlier life of the same node.
    fn is_after(&self, other: &Life) -> bool {
        self.identity == other.identity && self.incarnation > other.incarnation
    }
}

#[derive(Debug)]
struct Waiting {
    candidate: Candidate,
    life: Life,
    until: Duration,
    /// The peer decides, and has said that this is the link.
    activated: bool,
}

#[derive(Debug)]
struct Probe {
    until: Duration,
    answered: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Dial {
    Idle,
    UnderWay,
    /// The last one ended as a duplicate, but the other connection is not seen here (yet): look again then.
    Again(Duration),
}

/// Whether we or the peer closed the connection because another one is the link.
fn is_duplicate(reason: &CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::Duplicate | CloseReason::ByPeer(code::DUPLICATE, _)
    )
}

#[derive(Debug)]
pub(super) struct Slot {
    decide: bool,
    link: Option<(LinkId, Life)>,
    /// In the order of arrival.
    waiting: Vec<Waiting>,
    /// Only while there is a link and a newcomer waits for its end.
    probe: Option<Probe>,
    past: Option<(Life, Duration)>,
    dial: Dial,
    wanted: bool,
    /// How the dial ended that was made since a link is wanted.
    failed: Option<CloseReason>,
    duplicates: u32,
}

impl Slot {
    pub(super) fn new(decide: bool) -> Self {
        Slot {
            decide,
            link: None,
            waiting: Vec::new(),
            probe: None,
            past: None,
            dial: Dial::Idle,
            wanted: false,
            failed: None,
            duplicates: 0,
        }
    }

    pub(super) fn link(&self) -> Option<(LinkId, Incarnation)> {
        self.link.map(|(link, life)| (link, life.incarnation))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.link.is_none()
            && self.waiting.is_empty()
            && self.past.is_none()
            && self.dial == Dial::Idle
            && !self.wanted
    }

    pub(super) fn timer(&self) -> Option<Duration> {
        let again = match self.dial {
            Dial::Again(at) => Some(at),
            Dial::Idle | Dial::UnderWay => None,
        };
        let waiting = self.waiting.iter().map(|waiting| waiting.until).min();
        let probe = self.probe.as_ref().map(|probe| probe.until);
        let past = self.past.map(|(_, until)| until);
        [again, waiting, probe, past].into_iter().flatten().min()
    }

    // --- inputs; `resolve` follows each ---

    pub(super) fn want(&mut self) {
        if self.link.is_none() && !self.wanted {
            self.wanted = true;
            self.failed = None;
        }
    }

    pub(super) fn admit(&mut self, candidate: Candidate, full: bool, turn: &mut Turn<'_>) {
        let life = Life::of(&candidate);
        if candidate.dialed || matches!(self.dial, Dial::Again(_)) {
            self.dial = Dial::Idle;
        }
        let stranger = |(_, linked): (LinkId, Life)| linked.identity != life.identity;
        let known = self.link.map(|(_, linked)| linked);
        let known = known.or(self.past.map(|(past, _)| past));
        let later = |life: &Life| {
            known.is_some_and(|known| known.is_after(life))
                || self.waiting.iter().any(|other| other.life.is_after(life))
        };
        let refusal = if turn.rules.shutdown {
            Some(CloseReason::Shutdown)
        } else if self.link.is_some_and(stranger) {
            Some(CloseReason::NodeIdInUse)
        } else if later(&life) {
            Some(CloseReason::OldIncarnation)
        } else if full || self.waiting.len() >= CANDIDATES_PER_NODE_MAX {
            Some(CloseReason::Duplicate)
        } else {
            None
        };
        let waiting = Waiting {
            life,
            until: turn.now + turn.rules.activation,
            activated: false,
            candidate,
        };
        match refusal {
            Some(reason) => self.refuse(waiting, reason, turn),
            None => {
                self.waiting.push(waiting);
                self.refuse_where(turn, |_, other| {
                    life.is_after(&other.life)
                        .then_some(CloseReason::OldIncarnation)
                });
            }
        }
    }

    /// Whether it is the first ACTIVATE on that connection.
    pub(super) fn activate(&mut self, link: LinkId) -> bool {
        match self.waiting.iter_mut().find(|w| w.candidate.link == link) {
            Some(waiting) => !std::mem::replace(&mut waiting.activated, true),
            None => false,
        }
    }

    pub(super) fn alive(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        if let (Some((linked, life)), Some(probe)) = (self.link, &mut self.probe)
            && linked == link
        {
            probe.answered = true;
            // A newer life waits on: if the old one has just died, then its last bytes came before its end.
            self.refuse_where(turn, |decide, waiting| {
                (decide && waiting.life == life).then_some(CloseReason::Duplicate)
            });
        }
    }

    pub(super) fn closed(&mut self, link: LinkId, reason: CloseReason, turn: &mut Turn<'_>) {
        if self.link.is_some_and(|(linked, _)| linked == link) {
            self.lose(reason, turn);
        } else if let Some(at) = self.waiting.iter().position(|w| w.candidate.link == link)
            && self.waiting.remove(at).candidate.dialed
        {
            self.dial_ended(reason, turn);
        }
    }

    pub(super) fn dial_failed(&mut self, reason: CloseReason, turn: &mut Turn<'_>) {
        if self.dial == Dial::UnderWay {
            self.dial = Dial::Idle;
            self.dial_ended(reason, turn);
        }
    }

    pub(super) fn timeout(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        if matches!(self.dial, Dial::Again(at) if at <= now) {
            self.dial = Dial::Idle;
        }
        if self.past.is_some_and(|(_, until)| until <= now) {
            self.past = None;
        }
        self.refuse_where(turn, |_, waiting| {
            (waiting.until <= now).then_some(CloseReason::NotActivated)
        });
        if let (Some((_, life)), Some(probe)) = (self.link, &self.probe)
            && probe.until <= now
        {
            if probe.answered {
                self.probe = None;
                self.refuse_where(turn, |decide, waiting| {
                    if waiting.life != life {
                        Some(CloseReason::NodeIdInUse)
                    } else {
                        decide.then_some(CloseReason::Duplicate)
                    }
                });
            } else {
                self.lose(CloseReason::Replaced, turn);
            }
        }
    }

    pub(super) fn forget(&mut self, _: &mut Turn<'_>) {
        self.past = None;
    }

    // --- what follows ---

    /// Brings the slot to rest after an input.
    pub(super) fn resolve(&mut self, turn: &mut Turn<'_>) {
        if turn.rules.shutdown {
            self.refuse_where(turn, |_, _| Some(CloseReason::Shutdown));
            self.probe = None;
            self.dial = Dial::Idle;
            if std::mem::take(&mut self.wanted) {
                self.unreachable(CloseReason::Shutdown, turn);
            }
            return;
        }
        let decided_anew = |(_, life): (LinkId, Life)| {
            self.waiting
                .iter()
                .any(|waiting| waiting.activated && waiting.life == life)
        };
        if self.link.is_some_and(decided_anew) {
            // The same life of the node that decides says that this one is the link: the old one is gone for it.
            self.lose(CloseReason::Replaced, turn);
        }
        if self.link.is_none() {
            self.choose(turn);
        }
        if let Some((link, life)) = self.link {
            let contested = self
                .waiting
                .iter()
                .any(|waiting| self.decide || waiting.life != life);
            if !contested {
                self.probe = None;
            } else if self.probe.is_none() {
                self.probe = Some(Probe {
                    until: turn.now + turn.rules.probe,
                    answered: false,
                });
                turn.outputs.push(PeersOutput::Probe(link));
            }
        } else if self.wanted && self.waiting.is_empty() && self.dial == Dial::Idle {
            match self.failed.take() {
                Some(reason) => {
                    self.wanted = false;
                    self.unreachable(reason, turn);
                }
                None => {
                    self.dial = Dial::UnderWay;
                    turn.outputs.push(PeersOutput::Dial(turn.node.clone()));
                }
            }
        }
    }

    /// Without a link: makes one of those that wait the link, if one may be. The newest life and the latest arrival
    /// are the likeliest to be alive.
    fn choose(&mut self, turn: &mut Turn<'_>) {
        let best = (0..)
            .zip(&self.waiting)
            .filter(|(_, waiting)| self.decide || waiting.activated)
            .max_by_key(|&(at, waiting)| (waiting.life.incarnation, at))
            .map(|(at, _): (usize, _)| at);
        let Some(at) = best else { return };
        let Waiting {
            candidate, life, ..
        } = self.waiting.remove(at);
        self.link = Some((candidate.link, life));
        self.past = None;
        self.wanted = false;
        self.failed = None;
        self.duplicates = 0;
        if matches!(self.dial, Dial::Again(_)) {
            self.dial = Dial::Idle;
        }
        turn.outputs.push(PeersOutput::Activate {
            link: candidate.link,
            node: candidate.node,
            tell: self.decide,
        });
        self.refuse_where(turn, |decide, waiting| {
            if waiting.life.identity != life.identity {
                Some(CloseReason::NodeIdInUse)
            } else if life.is_after(&waiting.life) {
                Some(CloseReason::OldIncarnation)
            } else {
                // the node that decides closes its peer's others itself
                decide.then_some(CloseReason::Duplicate)
            }
        });
    }

    fn lose(&mut self, reason: CloseReason, turn: &mut Turn<'_>) {
        if let Some((link, life)) = self.link.take() {
            self.probe = None;
            self.past = Some((life, turn.now + turn.rules.memory));
            turn.outputs.push(PeersOutput::Lost {
                link,
                node: turn.node.clone(),
                reason,
            });
        }
    }

    fn unreachable(&mut self, reason: CloseReason, turn: &mut Turn<'_>) {
        self.duplicates = 0;
        turn.outputs.push(PeersOutput::Unreachable {
            node: turn.node.clone(),
            reason,
        });
    }

    fn refuse_where(
        &mut self,
        turn: &mut Turn<'_>,
        why: impl Fn(bool, &Waiting) -> Option<CloseReason>,
    ) {
        let decide = self.decide;
        for waiting in std::mem::take(&mut self.waiting) {
            match why(decide, &waiting) {
                Some(reason) => self.refuse(waiting, reason, turn),
                None => self.waiting.push(waiting),
            }
        }
    }

    fn refuse(&mut self, waiting: Waiting, reason: CloseReason, turn: &mut Turn<'_>) {
        turn.outputs.push(PeersOutput::Refuse {
            link: waiting.candidate.link,
            reason: reason.clone(),
        });
        let other = self.link.is_some() || !self.waiting.is_empty();
        if waiting.candidate.dialed && !(reason == CloseReason::Duplicate && other) {
            self.failed = Some(reason);
        }
    }

    /// A dial of ours came to nothing.
    fn dial_ended(&mut self, reason: CloseReason, turn: &Turn<'_>) {
        if is_duplicate(&reason) {
            if !self.wanted || self.link.is_some() || !self.waiting.is_empty() {
                return; // the other connection answers the wish, or its end will
            }
            self.duplicates += 1;
            if self.duplicates <= DUPLICATES_MAX {
                self.dial = Dial::Again(turn.now + turn.rules.probe);
                return;
            }
        }
        self.failed = Some(reason);
    }
}
