//! Randomness of the operating system.

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

/// A seed for jitter, which needs no secrecy: without entropy the clock has to do.
pub(super) fn jitter() -> u64 {
    random().map_or_else(|_| clock::wall_ms(), u64::from_le_bytes)
}
