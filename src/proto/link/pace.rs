//! How much may be under way on a link so that it is kept busy and what is sent next does not wait long behind it.
//!
//! What a link needs is its rate times the time of a round trip; all beyond that stands in queues, where it delays every
//! lane. Both are measured by what the peer says it has dealt with, as by BBR (Cardwell et al., "BBR: Congestion-Based
//! Congestion Control", ACM Queue 14, 2016): the highest rate and the shortest time count, and each is forgotten after a
//! while. Now and then less is let go for a moment, so that the time is measured without a queue of one's own.

use std::{collections::VecDeque, time::Duration};

/// So much may always be under way, in bytes: what a fast link between two processes needs for being busy.
pub(crate) const FLIGHT_MIN: u64 = 1 << 20;
/// While the time is measured anew.
const FLIGHT_PROBING: u64 = FLIGHT_MIN / 2;
/// How many times the rate times the time may be under way. One lane alone takes half of it, and twice what the link needs is
/// what lets a rate that was measured low be found to be higher.
const GAIN: u64 = 4;
/// Measured again when so much more was sent, in bytes.
const MARK_BYTES: u64 = 64 << 10;
/// No more marks than these are kept.
const MARKS_MAX: usize = 256;
/// What is kept for marks while there are none.
const MARKS_KEPT: usize = 8;
/// A rate counts for about so long, and a time of a round trip.
const RATE_WINDOW: Duration = Duration::from_secs(2);
const TIME_WINDOW: Duration = Duration::from_secs(10);

/// What had been sent and dealt with at a time.
#[derive(Debug)]
struct Mark {
    sent: u64,
    progress: u64,
    at: Duration,
}

/// See the module. Bytes are those that the window counts.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    marks: VecDeque<Mark>,
    /// Bytes a second.
    rate: Best,
    /// Of a round trip, in nanoseconds below the greatest number: the shortest is the best.
    time: Best,
    /// The time is measured anew until so much was dealt with.
    probing: Option<u64>,
}

impl Pace {
    /// So much was sent by now, and so much of it dealt with.
    pub(crate) fn mark(&mut self, sent: u64, progress: u64, now: Duration) {
        let last = self.marks.back().map_or(progress, |mark| mark.sent);
        let is_new = match self.marks.is_empty() {
            true => sent > progress,
            false => sent >= last.saturating_add(MARK_BYTES) && self.marks.len() < MARKS_MAX,
        };
        if is_new {
            let at = now;
            self.marks.push_back(Mark { sent, progress, at });
        }
    }

    /// So much was dealt with by now, of what was sent in all.
    pub(crate) fn progress(&mut self, progress: u64, sent: u64, now: Duration) {
        let mut measured = None;
        while self.marks.front().is_some_and(|mark| mark.sent <= progress) {
            measured = self.marks.pop_front();
        }
        if self.marks.is_empty() && self.marks.capacity() > MARKS_KEPT {
            // a link that waits keeps little
            self.marks = VecDeque::new();
        }
        if let Some(mark) = measured
            && let Some(time) = now.checked_sub(mark.at).filter(|time| !time.is_zero())
        {
            let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            let bytes = u128::from(progress - mark.progress.min(progress));
            let rate = bytes * 1_000_000_000 / u128::from(nanos);
            let rate = u64::try_from(rate).unwrap_or(u64::MAX);
            self.rate.add(rate, now, RATE_WINDOW);
            if self.time.add(u64::MAX - nanos, now, TIME_WINDOW) {
                self.probing = Some(sent.saturating_add(FLIGHT_PROBING));
            }
        }
        self.probing = self.probing.filter(|&until| progress < until);
    }

    /// How much may be under way.
    pub(crate) fn flight_max(&self) -> u64 {
        if self.probing.is_some() {
            return FLIGHT_PROBING;
        }
        let nanos = u64::MAX - self.time.get();
        let needed = u128::from(self.rate.get()) * u128::from(nanos) / 1_000_000_000;
        let needed = u64::try_from(needed).unwrap_or(u64::MAX);
        needed.saturating_mul(GAIN).max(FLIGHT_MIN)
    }
}

/// The best that was measured in this window of time or the one before.
#[derive(Debug, Default)]
struct Best {
    began: Option<Duration>,
    now: u64,
    before: u64,
}

impl Best {
    /// Whether the window ended with this, and not for the first time.
    fn add(&mut self, value: u64, at: Duration, window: Duration) -> bool {
        let began = *self.began.get_or_insert(at);
        let is_over = at.saturating_sub(began) >= window;
        if is_over {
            self.began = Some(at);
            // what was before a whole window without anything counts no more
            let is_old = at.saturating_sub(began) >= 2 * window;
            self.before = if is_old { 0 } else { self.now };
            self.now = 0;
        }
        self.now = self.now.max(value);
        is_over
    }

    fn get(&self) -> u64 {
        self.now.max(self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link of that rate in bytes a second and that time of a round trip, and a sender that always has something. What
    /// may be under way after that long, and what waited in the queue on average.
    fn run(rate: u64, time: Duration, length: Duration) -> (u64, u64) {
        const STEP: u64 = 16 << 10;
        let mut pace = Pace::default();
        let (mut sent, mut progress) = (0, 0);
        // when what was sent is dealt with
        let mut ends: VecDeque<(u64, Duration)> = VecDeque::new();
        let mut free = Duration::ZERO;
        let mut now = Duration::ZERO;
        let (mut queued, mut samples) = (0u128, 0u128);
        let tick =
            Duration::from_nanos(STEP * 1_000_000_000 / rate / 2).max(Duration::from_micros(1));
        while now < length {
            now += tick;
            while ends.front().is_some_and(|&(_, at)| at <= now) {
                if let Some((upto, _)) = ends.pop_front() {
                    progress = upto;
                    pace.progress(progress, sent, now);
                }
            }
            // as one lane does
            while sent - progress + STEP <= pace.flight_max() / 2 {
                sent += STEP;
                free = free.max(now) + Duration::from_nanos(STEP * 1_000_000_000 / rate);
                ends.push_back((sent, free + time));
                pace.mark(sent, progress, now);
            }
            let needed = rate as u128 * time.as_nanos() / 1_000_000_000;
            queued += u128::from(sent - progress).saturating_sub(needed);
            samples += 1;
        }
        (pace.flight_max(), (queued / samples) as u64)
    }

    #[test]
    fn a_fast_near_link_has_no_more_under_way_than_the_least() {
        let (flight, queued) = run(1 << 30, Duration::from_micros(50), Duration::from_secs(1));
        assert!(flight <= 2 * FLIGHT_MIN, "{flight}");
        assert!(queued <= FLIGHT_MIN, "{queued}");
    }

    #[test]
    fn a_far_link_gets_what_it_needs_and_not_much_more() {
        // 12.5 MB are under way there when it is busy
        let (rate, time) = (125_000_000, Duration::from_millis(100));
        let needed = 12_500_000;
        let (flight, _) = run(rate, time, Duration::from_secs(3));
        assert!(flight / 2 >= needed, "{flight}");
        assert!(flight <= 8 * needed, "{flight}");
    }

    #[test]
    fn a_queue_of_ones_own_does_not_grow_from_window_to_window() {
        let (rate, time) = (100 << 20, Duration::from_micros(200));
        let (short, _) = run(rate, time, Duration::from_secs(5));
        let (long, queued) = run(rate, time, Duration::from_secs(60));
        assert!(long <= 2 * short.max(2 * FLIGHT_MIN), "{short} {long}");
        assert!(queued <= 2 * FLIGHT_MIN, "{queued}");
    }

    #[test]
    fn marks_are_bounded_whatever_is_sent() {
        let mut pace = Pace::default();
        for n in 0..10_000 {
            pace.mark(n * MARK_BYTES, 0, Duration::from_millis(n));
        }
        assert!(pace.marks.len() <= MARKS_MAX);
        pace.progress(u64::MAX, u64::MAX, Duration::from_secs(1));
        assert!(pace.marks.capacity() <= MARKS_KEPT);
    }
}
