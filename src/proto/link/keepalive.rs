//! When a link on which nothing else goes out says that it is there (M7).
//!
//! After three quarters of the longest time to the whole of it, drawn anew for each PING: links that came up together, or
//! were all written to at one moment, do not go on in step, and a node with many of them never has to serve all at once.

use std::time::Duration;

use crate::proto::splitmix::SplitMix64;

/// See the module.
#[derive(Debug)]
pub(crate) struct Keepalive {
    longest: Duration,
    interval: Duration,
    chance: SplitMix64,
    last_sent: Duration,
}

impl Keepalive {
    /// `longest`: what was agreed on. A seed of its own for each link.
    pub(crate) fn new(longest: Duration, seed: u64, now: Duration) -> Self {
        let mut keepalive = Keepalive {
            longest,
            interval: longest,
            chance: SplitMix64(seed),
            last_sent: now,
        };
        keepalive.draw();
        keepalive
    }

    /// Something went out.
    pub(crate) fn sent(&mut self, now: Duration) {
        self.last_sent = now;
    }

    /// Nothing did: whether a PING is to.
    pub(crate) fn ping(&mut self, now: Duration) -> bool {
        let is_due = self.due() <= now;
        if is_due {
            self.last_sent = now;
            self.draw();
        }
        is_due
    }

    /// When the next PING goes out if nothing else does.
    pub(crate) fn due(&self) -> Duration {
        self.last_sent + self.interval
    }

    fn draw(&mut self) {
        let early = (self.chance.next() >> 40) as f64 / (1_u64 << 24) as f64 / 4.0;
        self.interval = self.longest.mul_f64(1.0 - early);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    const LONGEST: Duration = Duration::from_millis(2500);
    const LINKS: u64 = 200;

    /// How many of the links have a PING due within the busiest tenth of the longest time, of those that begin in it.
    fn busiest(links: &[Keepalive], from: Duration) -> usize {
        let step = LONGEST / 10;
        let due = |n: u32| {
            let window = from + step * n..from + step * (n + 1);
            links.iter().filter(|l| window.contains(&l.due())).count()
        };
        (0..11).map(due).max().unwrap_or(0)
    }

    /// Until the next PING of each is due after `end`.
    fn run(links: &mut [Keepalive], end: Duration) {
        for link in links {
            while link.due() <= end {
                let (due, early) = (link.due(), link.due() - Duration::from_nanos(1));
                assert!(!link.ping(early) && link.ping(due));
                let interval = link.due() - due;
                assert!(LONGEST * 3 / 4 <= interval && interval <= LONGEST);
            }
        }
    }

    // M7
    #[test]
    fn links_that_come_up_at_once_do_not_ping_at_once() {
        let start = Duration::from_secs(7);
        let links = (0..LINKS).map(|seed| Keepalive::new(LONGEST, seed, start));
        let mut links: Vec<_> = links.collect();
        // a quarter of the time to spread over: 80 of 200 are in its busiest tenth if they are spread at all
        assert!(busiest(&links, start) <= 100, "at first");
        let later = start + LONGEST * 40;
        run(&mut links, later);
        assert!(busiest(&links, later) <= 45, "and ever more");
        // all are written to at one moment, as when a program tells everybody something
        for link in &mut links {
            link.sent(later);
        }
        assert!(busiest(&links, later) <= 100, "nor after a word to all");
        let again = later + LONGEST * 40;
        run(&mut links, again);
        assert!(busiest(&links, again) <= 45);
    }

    #[test]
    fn the_same_seed_draws_the_same_times() {
        let dues = |seed| {
            let mut link = Keepalive::new(LONGEST, seed, Duration::ZERO);
            let next = |_| {
                let due = link.due();
                assert!(link.ping(due));
                due
            };
            (0..10).map(next).collect::<Vec<_>>()
        };
        assert_eq!(dues(1), dues(1));
        assert_ne!(dues(1), dues(2));
    }
}
