//! Randomness of the operating system, and the jitter of pauses.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

use super::clock;
use crate::proto::id::Incarnation;

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoEntropy;

/// That many random bytes, fit for keys.
///
/// # Errors
/// [`NoEntropy`], on a system that is broken or sealed off.
pub fn random<const N: usize>() -> Result<[u8; N], NoEntropy> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| NoEntropy)?;
    Ok(bytes)
}

/// A new life of a node, that begins now.
///
/// # Errors
/// [`NoEntropy`].
pub fn incarnation() -> Result<Incarnation, NoEntropy> {
    Ok(Incarnation::new(
        clock::wall_ms(),
        u128::from_le_bytes(random()?),
    ))
}

/// Pauses between attempts: each twice as long as the one before, up to a longest, and each a quarter longer or shorter
/// at random, so that many nodes that lost the same peer do not come back at the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    state: u64,
}

impl Backoff {
    /// From `first` to `longest`, jitter aside.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        // jitter needs no secrecy: without entropy the clock has to do
        let seed = random().map_or_else(|_| clock::wall_ms(), u64::from_le_bytes);
        Backoff {
            first,
            longest,
            next: first,
            state: seed,
        }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let base = self.next;
        self.next = (base * 2).min(self.longest);
        // 0.75 to 1.25, in steps of 1/2048
        base * (1536 + (self.random() % 1025) as u32) / 2048
    }

    /// After a success: the next pause is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_with_jitter_and_start_again_after_a_success() {
        let (first, longest) = (Duration::from_millis(200), Duration::from_secs(30));
        let mut backoff = Backoff::new(first, longest);
        let mut base = first;
        for _ in 0..20 {
            let pause = backoff.pause();
            assert!(pause >= base * 3 / 4 && pause <= base * 5 / 4, "{pause:?}");
            base = (base * 2).min(longest);
        }
        assert_eq!(base, longest);
        backoff.reset();
        assert!(backoff.pause() <= first * 5 / 4);
    }

    #[test]
    fn two_backoffs_do_not_pause_alike() {
        let pauses = || {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
            (0..8).map(|_| backoff.pause()).collect::<Vec<_>>()
        };
        assert_ne!(pauses(), pauses());
    }
}
