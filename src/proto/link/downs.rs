//! DOWNs that wait for what was sent before them, so that a port's last words come before the news of its death; and
//! LOSSes behind them, so that a message that came too late does not hide what the port died of.
//!
//! The contract asks for no order between messages and monitors; a caller would miss it all the same, when the answer is
//! large and the one who gave it dies. What waits in lanes belongs to a generation, each DOWN ends one, and goes out
//! when no older item waits any more, or after a second. Lanes that the peer holds are not waited for.

use std::{collections::VecDeque, time::Duration};

use crate::proto::limits::Now;

/// How long a DOWN waits at most.
const WAIT_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Down {
    generation: u64,
    /// When it goes at the latest; set when the writer first sees it.
    due: Option<Duration>,
    frame: Vec<u8>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Downs {
    /// Items that wait in each generation, oldest first.
    waiting: VecDeque<u64>,
    /// The number of the first of these.
    first: u64,
    downs: VecDeque<Down>,
    bytes: usize,
}

impl Downs {
    /// An item begins to wait: its generation.
    pub(crate) fn enter(&mut self) -> u64 {
        match self.waiting.back_mut() {
            Some(count) => *count += 1,
            None => self.waiting.push_back(1),
        }
        self.first + self.waiting.len() as u64 - 1
    }

    /// It waits no longer.
    pub(crate) fn leave(&mut self, generation: u64) {
        let at = generation.saturating_sub(self.first) as usize;
        if let Some(count) = self.waiting.get_mut(at) {
            *count = count.saturating_sub(1);
        }
        while self.waiting.len() > 1 && self.waiting.front() == Some(&0) {
            self.waiting.pop_front();
            self.first += 1;
        }
    }

    /// Whether nothing older waits that a DOWN or LOSS would have to wait for.
    pub(crate) fn is_clear(&self) -> bool {
        self.waiting.front().is_none_or(|&count| count == 0) && self.downs.is_empty()
    }

    /// An encoded DOWN or LOSS. It is given back where nothing older waits.
    pub(crate) fn push(&mut self, frame: Vec<u8>) -> Option<Vec<u8>> {
        if self.is_clear() {
            return Some(frame);
        }
        self.bytes += frame.len() + 64;
        if self.waiting.back() != Some(&0) {
            self.waiting.push_back(0);
        }
        // all but the generation that is now open are older
        let older = (self.waiting.len() as u64).saturating_sub(2);
        self.downs.push_back(Down {
            generation: self.first + older,
            due: None,
            frame,
        });
        None
    }

    /// Bytes that wait, about.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Appends those that wait for nothing any more.
    pub(crate) fn transmit(&mut self, buf: &mut Vec<u8>, now: Now) {
        while let Some(down) = self.downs.front_mut() {
            let due = *down.due.get_or_insert(now.mono + WAIT_MAX);
            let open = down.generation > self.first
                || (down.generation == self.first && self.waiting.front().is_some_and(|&n| n > 0));
            if open && due > now.mono {
                break;
            }
            if let Some(down) = self.downs.pop_front() {
                self.bytes -= down.frame.len() + 64;
                buf.extend_from_slice(&down.frame);
            }
        }
    }

    /// When the first goes at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        self.downs.front().and_then(|down| down.due)
    }

    /// Whether some wait that the writer has not seen.
    pub(crate) fn is_new(&self) -> bool {
        self.downs.front().is_some_and(|down| down.due.is_none())
    }
}
