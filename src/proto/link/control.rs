//! Control frames that wait to go out, before everything that travels in lanes. What can be said once is said once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{frame::Frame, pace};
use crate::proto::{id::PortName, limits::Now};

/// A PROGRESS that frees little waits this long for something to travel with.
const PROGRESS_DELAY: Duration = Duration::from_millis(20);

/// A PROGRESS that frees more goes at once, in bytes: several go to what a busy link has under way.
const STEP_MAX: u64 = pace::FLIGHT_MIN / 8;

/// See the module.
#[derive(Debug)]
pub(crate) struct Control {
    /// Frames, in order.
    bytes: Vec<u8>,
    /// HOLD (positive) and RESUME (negative) that were not told yet, one sum a port.
    held: BTreeMap<PortName, i128>,
    /// Losses that were told and not acknowledged: at most one a port (P2).
    told: BTreeSet<PortName>,
    /// What the peer asked last. Older questions are answered by it.
    pong: Option<u64>,
    /// The peer asked whether the link may end, and was not told yet that it may not.
    stay: bool,
    progress: Progress,
}

#[derive(Debug)]
struct Progress {
    done: u64,
    told: u64,
    /// More than this is told at once.
    step: u64,
    /// When less is told on its own.
    due: Option<Duration>,
}

impl Control {
    /// `window`: what this node grants the peer.
    pub(crate) fn new(window: usize) -> Self {
        Control {
            bytes: Vec::new(),
            held: BTreeMap::new(),
            told: BTreeSet::new(),
            pong: None,
            stay: false,
            progress: Progress {
                done: 0,
                told: 0,
                step: (window as u64 / 16).clamp(1, STEP_MAX),
                due: None,
            },
        }
    }

    /// A frame that has no other place.
    pub(crate) fn push(&mut self, frame: Frame<'_>) {
        frame.encode(&mut self.bytes);
    }

    pub(crate) fn pong(&mut self, number: u64) {
        self.pong = Some(number);
    }

    /// STAY: however often the peer has asked, it waits for one answer.
    pub(crate) fn stay(&mut self) {
        if !std::mem::replace(&mut self.stay, true) {
            self.push(Frame::Stay);
        }
    }

    /// Whether no loss is told that the peer has not acknowledged.
    pub(crate) fn is_settled(&self) -> bool {
        self.told.is_empty()
    }

    pub(crate) fn progress(&mut self, done: u64, at: Duration) {
        let progress = &mut self.progress;
        progress.done = progress.done.max(done);
        if progress.done > progress.told {
            progress.due.get_or_insert(at + PROGRESS_DELAY);
        }
    }

    /// HOLD of that many bytes, RESUME of as many below zero. Told before the PROGRESS that covers them.
    pub(crate) fn held(&mut self, port: &PortName, bytes: i128) {
        if let Some(sum) = self.held.get_mut(port) {
            *sum += bytes;
            if *sum == 0 {
                self.held.remove(port);
            }
        } else if bytes != 0 {
            self.held.insert(port.clone(), bytes);
        }
    }

    /// Whether a loss is to be told: not while an earlier one of that port is unsettled.
    pub(crate) fn tell_loss(&mut self, port: &PortName) -> bool {
        self.told.insert(port.clone())
    }

    /// The loss on that port was acknowledged.
    pub(crate) fn loss_settled(&mut self, port: &PortName) {
        self.told.remove(port);
    }

    /// Bytes that wait, about.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.held.len() * 32
    }

    /// Whether something is to go out without waiting.
    pub(crate) fn is_urgent(&self) -> bool {
        !self.bytes.is_empty()
            || !self.held.is_empty()
            || self.pong.is_some()
            || self.progress.done - self.progress.told >= self.progress.step
    }

    /// Appends all that is to go out now. `along`: something else goes out anyway.
    pub(crate) fn transmit(&mut self, buf: &mut Vec<u8>, along: bool, now: Now) {
        let start = buf.len();
        self.stay = false;
        if buf.is_empty() {
            std::mem::swap(buf, &mut self.bytes);
        } else {
            buf.append(&mut self.bytes);
        }
        for (port, bytes) in std::mem::take(&mut self.held) {
            let port = port.as_str();
            let size = bytes.unsigned_abs().try_into().unwrap_or(u64::MAX);
            if bytes > 0 {
                Frame::Hold { port, bytes: size }.encode(buf);
            } else {
                Frame::Resume { port, bytes: size }.encode(buf);
            }
        }
        if let Some(number) = self.pong.take() {
            Frame::Pong(number).encode(buf);
        }
        let progress = &mut self.progress;
        let waiting = progress.done - progress.told;
        if waiting > 0 {
            let is_due = progress.due.is_none_or(|due| due <= now.mono);
            if along || buf.len() > start || waiting >= progress.step || is_due {
                Frame::Progress(progress.done).encode(buf);
                progress.told = progress.done;
                progress.due = None;
            }
        }
    }

    /// When something has to go out though nothing new came.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        self.progress.due
    }
}
