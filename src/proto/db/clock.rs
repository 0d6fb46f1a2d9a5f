//! The hybrid logical clock that orders what different nodes write to one key (R2).
//!
//! After Kulkarni, Demirbas, Madappa, Avva and Leone, "Logical Physical Clocks" (2014), with the bound on drift that
//! the authors leave to the application: nothing further ahead than [`DRIFT_MAX_MS`] is followed, and a clock that was
//! set back is followed back. (The order of one owner's own writes does not depend on it: those are numbered.)

use serde::{Deserialize, Serialize};

/// A time further ahead of the wall clock than this, in milliseconds, is refused where it is written and not followed
/// where it is read.
pub const DRIFT_MAX_MS: u64 = 5_000;

/// When something was written: 48 bits of milliseconds since 1970, 16 bits that count within one. The higher is later.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The first one of that millisecond.
    pub fn of_ms(ms: u64) -> Self {
        Stamp(ms.min((1 << 48) - 1) << 16)
    }

    /// Its milliseconds since 1970.
    pub fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// Whether it is further ahead of that wall clock than is borne, and by how much in milliseconds.
    pub fn ahead_of(self, wall_ms: u64) -> Option<u64> {
        let by = self.ms().saturating_sub(wall_ms);
        (by > DRIFT_MAX_MS).then_some(by)
    }
}

/// The clock of one node.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    last: Stamp,
}

impl Clock {
    /// A time later than all that was given before, unless the wall clock was set back by more than the drift; and later
    /// than what it is to replace, unless that is further ahead than the drift.
    pub(crate) fn tick(&mut self, wall_ms: u64, replaces: Stamp) -> Stamp {
        let next = [self.last, replaces].map(|stamp| Stamp(stamp.0.saturating_add(1)));
        let near = next
            .into_iter()
            .filter(|next| next.ahead_of(wall_ms).is_none());
        self.last = near.fold(Stamp::of_ms(wall_ms), Stamp::max);
        self.last
    }

    /// Another node wrote at that time: what is written here from now on is later.
    pub(crate) fn observe(&mut self, stamp: Stamp, wall_ms: u64) {
        if stamp > self.last && stamp.ahead_of(wall_ms).is_none() {
            self.last = stamp;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R2
    #[test]
    fn each_time_is_later_than_what_was_seen_within_the_drift() {
        let (mut clock, none) = (Clock::default(), Stamp::default());
        let first = clock.tick(1_000, none);
        assert_eq!(first, Stamp::of_ms(1_000));
        assert!(clock.tick(1_000, none) > first);
        clock.observe(Stamp::of_ms(3_000), 1_000);
        assert!(clock.tick(1_001, none) > Stamp::of_ms(3_000));
        // a poisoned clock is not followed
        clock.observe(Stamp::of_ms(60_000), 1_001);
        assert!(clock.tick(1_001, none).ahead_of(1_001).is_none());
    }

    #[test]
    fn a_clock_that_was_set_back_is_followed_back() {
        let (mut clock, none) = (Clock::default(), Stamp::default());
        clock.tick(1_000_000, none);
        assert_eq!(clock.tick(400_000, none), Stamp::of_ms(400_000));
        // also where what it replaces is not too far ahead
        assert!(clock.tick(396_000, Stamp::of_ms(401_000)) > Stamp::of_ms(401_000));
        assert_eq!(
            clock.tick(395_000, Stamp::of_ms(401_001)),
            Stamp::of_ms(395_000)
        );
        assert_eq!(Stamp::of_ms(405_001).ahead_of(400_000), Some(5_001));
        assert_eq!(Stamp::of_ms(405_000).ahead_of(400_000), None);
    }
}
