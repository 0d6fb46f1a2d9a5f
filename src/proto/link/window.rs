//! The send window: what of one link is under way, and what one lane may add to it.
//!
//! `sent - progress + held` stays within the window that the peer grants. One lane may take a quarter of what is free
//! (the dynamic threshold of Choudhury and Hahne), so that ports that are stuck never take all of it together. A
//! message over that share passes alone in its lane, one such on a link; the window does not count it.

use std::collections::VecDeque;

/// Names a lane of this link while anything of it is under way.
pub(crate) type LaneIndex = u32;

/// One lane's part.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// Under way: room was taken, the peer has not dealt with it.
    inflight: u64,
    /// Held by the peer for a full mailbox.
    held: u64,
    /// All of it is the one message that the window does not count.
    alone: bool,
}

impl Share {
    /// Whether the peer holds anything: send no more.
    pub(crate) fn is_held(&self) -> bool {
        self.held > 0
    }

    /// Whether nothing is under way or held.
    pub(crate) fn is_idle(&self) -> bool {
        self.inflight == 0 && self.held == 0
    }
}

/// What is free of a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// In bytes.
    pub(crate) free: u64,
    /// Whether a message may go that it does not count.
    pub(crate) alone: bool,
}

/// What a peer said that cannot be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lie(pub(crate) &'static str);

/// Frames of one lane, one behind the other and of one cost.
#[derive(Debug)]
struct Sent {
    lane: LaneIndex,
    cost: u64,
    /// They are messages or spawns.
    counts: bool,
    frames: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Window {
    size: u64,
    /// Taken of it by all lanes.
    used: u64,
    alone: bool,
    /// Everything sent whole since the link is up, and what the peer says it has dealt with of that.
    sent: u64,
    progress: u64,
    /// What was sent whole and is not dealt with, in order.
    unprocessed: VecDeque<Sent>,
    /// How many of them are messages or spawns.
    messages: u64,
}

impl Window {
    pub(crate) fn new(size: usize) -> Self {
        Window {
            size: size as u64,
            used: 0,
            alone: false,
            sent: 0,
            progress: 0,
            unprocessed: VecDeque::new(),
            messages: 0,
        }
    }

    /// What is free of it.
    pub(crate) fn room(&self) -> Room {
        Room {
            free: self.size.saturating_sub(self.used),
            alone: !self.alone,
        }
    }

    /// How many bytes have to be free for a message that had to wait, and whether it may go alone instead. `None`: it
    /// waits for what is under way of its own lane. `urgent`: as by [`Self::take_urgent`].
    pub(crate) fn need(&self, share: &Share, cost: u64, urgent: bool) -> Option<(u64, bool)> {
        if share.alone {
            return None;
        }
        let own = share.inflight + share.held;
        let bytes = own.saturating_add(cost).saturating_mul(4);
        let bytes = if urgent { bytes.min(cost) } else { bytes };
        Some((bytes, own == 0))
    }

    /// Takes room for one message. `false`: it has to wait.
    pub(crate) fn take(&mut self, share: &mut Share, cost: u64) -> bool {
        if share.alone {
            return false;
        }
        let free = self.size.saturating_sub(self.used);
        let own = share.inflight + share.held;
        if own.saturating_add(cost) <= free / 4 {
            self.used += cost;
        } else if own == 0 && !self.alone {
            self.alone = true;
            share.alone = true;
        } else {
            return false;
        }
        share.inflight += cost;
        true
    }

    /// Takes room beyond the lane's share, for what must not wait for the lane itself: a kill whose wait is over.
    pub(crate) fn take_urgent(&mut self, share: &mut Share, cost: u64) -> bool {
        if share.alone {
            // it goes uncounted with the message that is alone; the receiver allows for one
            share.inflight += cost;
            return true;
        }
        if self.take(share, cost) {
            return true;
        }
        if self.used.saturating_add(cost) > self.size {
            return false;
        }
        self.used += cost;
        share.inflight += cost;
        true
    }

    /// The last byte of a frame is on its way; `counts`: it is a message or a spawn.
    pub(crate) fn sent(&mut self, lane: LaneIndex, cost: u64, counts: bool) {
        self.sent += cost;
        self.messages += u64::from(counts);
        match self.unprocessed.back_mut() {
            Some(last) if (last.lane, last.cost, last.counts) == (lane, cost, counts) => {
                last.frames += 1;
            }
            _ => self.unprocessed.push_back(Sent {
                lane,
                cost,
                counts,
                frames: 1,
            }),
        }
    }

    /// How many messages and spawns the peer has not dealt with.
    pub(crate) fn unprocessed_messages(&self) -> u64 {
        self.messages
    }

    /// Whether the peer has not dealt with everything.
    pub(crate) fn is_unprocessed(&self) -> bool {
        !self.unprocessed.is_empty()
    }

    /// The peer has dealt with that much in all. Calls `freed` with what of a lane is done.
    pub(crate) fn handle_progress(
        &mut self,
        progress: u64,
        mut freed: impl FnMut(LaneIndex, u64),
    ) -> Result<(), Lie> {
        if progress < self.progress {
            return Err(Lie("PROGRESS went back"));
        }
        if progress > self.sent {
            return Err(Lie("PROGRESS beyond what was sent"));
        }
        while let Some(first) = self.unprocessed.front_mut() {
            // a cost is never 0
            let done = (progress - self.progress) / first.cost.max(1);
            let done = done.min(first.frames);
            if done == 0 {
                break;
            }
            let cost = done * first.cost;
            first.frames -= done;
            self.progress += cost;
            if first.counts {
                self.messages -= done;
            }
            freed(first.lane, cost);
            if first.frames > 0 {
                break;
            }
            self.unprocessed.pop_front();
        }
        if self.progress == progress {
            Ok(())
        } else {
            Err(Lie("PROGRESS within a message"))
        }
    }

    /// So much of this lane is done (see [`Self::handle_progress`]).
    pub(crate) fn free(&mut self, share: &mut Share, cost: u64) {
        share.inflight = share.inflight.saturating_sub(cost);
        self.give_back(share, cost);
    }

    /// The peer holds that much more for the lane.
    pub(crate) fn hold(&mut self, share: &mut Share, bytes: u64) -> Result<(), Lie> {
        if bytes > share.inflight {
            return Err(Lie("HOLD of more than is under way"));
        }
        share.held = share.held.saturating_add(bytes);
        if !share.alone {
            self.used = self.used.saturating_add(bytes);
        }
        Ok(())
    }

    /// The peer holds that much less for the lane.
    pub(crate) fn resume(&mut self, share: &mut Share, bytes: u64) -> Result<(), Lie> {
        share.held = share
            .held
            .checked_sub(bytes)
            .ok_or(Lie("RESUME of more than is held"))?;
        self.give_back(share, bytes);
        Ok(())
    }

    fn give_back(&mut self, share: &mut Share, bytes: u64) {
        if !share.alone {
            self.used = self.used.saturating_sub(bytes);
        } else if share.is_idle() {
            share.alone = false;
            self.alone = false;
        }
    }

    /// What is taken of the window.
    #[cfg(test)]
    pub(crate) fn used(&self) -> u64 {
        self.used
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Op {
        Take { lane: usize, cost: u64 },
        Progress { count: usize },
        Hold { lane: usize },
        Resume { lane: usize },
    }

    fn op() -> impl Strategy<Value = Op> {
        let lane = 0..5_usize;
        prop_oneof![
            4 => (lane.clone(), prop_oneof![1..60_u64, 200..3000_u64]).prop_map(|(lane, cost)| Op::Take { lane, cost }),
            2 => (1..5_usize).prop_map(|count| Op::Progress { count }),
            1 => lane.clone().prop_map(|lane| Op::Hold { lane }),
            1 => lane.prop_map(|lane| Op::Resume { lane }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        // P8
        #[test]
        fn no_more_is_under_way_than_the_window_and_one_message(ops in proptest::collection::vec(op(), 1..200)) {
            const SIZE: u64 = 1000;
            let mut window = Window::new(SIZE as usize);
            let mut shares: Vec<Share> = (0..5).map(|_| Share::default()).collect();
            // what is under way in order, and what is held, as the other side knows it
            let mut flying: VecDeque<(usize, u64)> = VecDeque::new();
            let mut held = [0; 5];
            let mut done = 0;
            let mut most_alone = 0;
            for op in ops {
                match op {
                    Op::Take { lane, cost } => {
                        let idle = shares[lane].is_idle();
                        let free = SIZE - window.used();
                        if window.take(&mut shares[lane], cost) {
                            window.sent(lane as u32, cost, true);
                            flying.push_back((lane, cost));
                            if cost > free / 4 {
                                prop_assert!(idle);
                                most_alone = most_alone.max(cost);
                            }
                        }
                    }
                    Op::Progress { count } => {
                        for _ in 0..count {
                            let Some((lane, cost)) = flying.pop_front() else { break };
                            done += cost;
                            let mut freed = Vec::new();
                            window.handle_progress(done, |lane, cost| freed.push((lane, cost))).unwrap();
                            prop_assert_eq!(&freed, &[(lane as u32, cost)]);
                            window.free(&mut shares[lane], cost);
                        }
                    }
                    Op::Hold { lane } => {
                        // the receiver holds the next message, tells it, and then that it is done with it
                        let next = flying.front().copied();
                        if let Some((_, cost)) = next.filter(|next| next.0 == lane) {
                            held[lane] += cost;
                            window.hold(&mut shares[lane], cost).unwrap();
                            done += cost;
                            flying.pop_front();
                            window.handle_progress(done, |_, _| {}).unwrap();
                            window.free(&mut shares[lane], cost);
                        }
                    }
                    Op::Resume { lane } => {
                        window.resume(&mut shares[lane], held[lane]).unwrap();
                        held[lane] = 0;
                        prop_assert_eq!(window.resume(&mut shares[lane], 1), Err(Lie("RESUME of more than is held")));
                    }
                }
                prop_assert!(window.used() <= SIZE);
                let all = flying.iter().map(|next| next.1).sum::<u64>() + held.iter().sum::<u64>();
                prop_assert!(all <= SIZE + most_alone);
                prop_assert_eq!(shares.iter().any(|share| share.alone), window.alone);
            }
            for (lane, cost) in flying {
                done += cost;
                window.handle_progress(done, |_, _| {}).unwrap();
                window.free(&mut shares[lane], cost);
            }
            for lane in 0..5 {
                window.resume(&mut shares[lane], held[lane]).unwrap();
            }
            prop_assert_eq!(window.used(), 0);
            prop_assert!(!window.alone && !window.is_unprocessed());
        }
    }
}
