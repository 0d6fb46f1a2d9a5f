//! The time as the core is told it, from tokio's clock (so that tests can pause it) and the clock on the wall.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::proto::limits::Now;

/// One clock a node: all that its core is told comes from here. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Clock {
            start: Instant::now(),
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Now {
        Now {
            mono: self.start.elapsed(),
            wall_ms: wall_ms(),
        }
    }

    /// The moment of tokio's clock that the core calls `mono`.
    #[must_use]
    pub fn instant(&self, mono: Duration) -> Instant {
        self.start
            .checked_add(mono)
            .unwrap_or_else(|| self.start + Duration::from_secs(86_400 * 365 * 30))
    }
}

/// Milliseconds since 1970 by the clock on the wall; 0 before that.
#[must_use]
pub fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis().try_into().unwrap_or(u64::MAX))
}
