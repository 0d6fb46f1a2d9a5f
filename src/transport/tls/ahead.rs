//! Key pairs of TLS handshakes, made while this thread waits for a peer anyway: making one is on nobody's way then.
//!
//! A pair serves one connection, as ever. One that was made ahead and is not needed within [`FRESH`] is thrown away, so that
//! a connection's key is never much older than the connection.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    time::{Duration, Instant},
};

use rustls::{
    Error, NamedGroup,
    crypto::{ActiveKeyExchange, SupportedKxGroup, ring::kx_group::X25519},
    ffdhe_groups::FfdheGroup,
};

/// How old a pair may be when it is used.
const FRESH: Duration = Duration::from_secs(1);

struct Made {
    at: Instant,
    pair: Box<dyn ActiveKeyExchange>,
}

thread_local! {
    static MADE: RefCell<Option<Made>> = const { RefCell::new(None) };
}

/// Takes out the pair of this thread, if there is one that is not too old.
fn take(now: Instant) -> Option<Made> {
    let made = MADE.with_borrow_mut(Option::take)?;
    (now.saturating_duration_since(made.at) < FRESH).then_some(made)
}

/// Makes a pair for the next handshake of this thread, where there is none.
fn make(now: Instant) {
    let made = take(now).or_else(|| {
        // who needs one and finds none sees the error
        let pair = X25519.start().ok()?;
        Some(Made { at: now, pair })
    });
    MADE.set(made);
}

/// Runs a part of a handshake. When it waits for the peer for the first time, `other` is done, and a pair for the next
/// handshake is made.
pub(super) async fn meanwhile<F: Future + Unpin>(mut part: F, other: impl FnOnce(&F)) -> F::Output {
    let mut other = Some(other);
    poll_fn(|cx| {
        let polled = Pin::new(&mut part).poll(cx);
        if polled.is_pending()
            && let Some(other) = other.take()
        {
            other(&part);
            make(Instant::now());
        }
        polled
    })
    .await
}

/// X25519 with pairs that were made ahead, where there are any.
#[derive(Debug)]
pub(super) struct Ahead;

impl SupportedKxGroup for Ahead {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        match take(Instant::now()) {
            Some(made) => Ok(made.pair),
            None => X25519.start(),
        }
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        X25519.name()
    }

    fn fips(&self) -> bool {
        X25519.fips()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{collections::BTreeSet, future::ready, task::Poll};

    use super::*;

    fn is_there() -> bool {
        MADE.with_borrow(Option::is_some)
    }

    #[test]
    fn a_pair_serves_one_handshake() {
        let mut seen = BTreeSet::new();
        for _ in 0..4 {
            make(Instant::now());
            make(Instant::now());
            for _ in 0..3 {
                let pair = Ahead.start().unwrap();
                assert_eq!(pair.group(), NamedGroup::X25519);
                assert!(seen.insert(pair.pub_key().to_vec()), "a key twice");
                assert!(!is_there());
            }
        }
    }

    #[test]
    fn both_ends_agree_with_pairs_made_ahead() {
        make(Instant::now());
        let ours = Ahead.start().unwrap();
        make(Instant::now());
        let theirs = Ahead.start_and_complete(ours.pub_key()).unwrap();
        let secret = ours.complete(&theirs.pub_key).unwrap();
        assert_eq!(secret.secret_bytes(), theirs.secret.secret_bytes());
        make(Instant::now());
        assert!(Ahead.start().unwrap().complete(&[0; 32]).is_err());
    }

    #[test]
    fn an_old_pair_is_thrown_away() {
        let now = Instant::now();
        make(now);
        let key = |at| take(at).map(|made| made.pair.pub_key().to_vec());
        assert!(key(now + FRESH / 2).is_some());
        make(now);
        assert_eq!(key(now + FRESH), None);
        assert!(!is_there(), "it is gone");
        make(now);
        let old = MADE.with_borrow(|made| made.as_ref().map(|made| made.pair.pub_key().to_vec()));
        make(now + FRESH);
        assert_ne!(key(now + FRESH), old);
    }

    #[tokio::test]
    async fn only_who_waits_makes_one() {
        meanwhile(ready(()), |_| panic!("it did not wait")).await;
        assert!(!is_there());
        let mut waits = 3;
        let part = poll_fn(|cx| {
            if waits == 0 {
                return Poll::Ready(7);
            }
            waits -= 1;
            // made after the first wait, and not again
            assert_eq!(is_there(), waits == 1);
            if waits == 1 {
                Ahead.start().unwrap();
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        let mut others = 0;
        assert_eq!(meanwhile(part, |_| others += 1).await, 7);
        assert_eq!(others, 1);
        assert!(!is_there());
    }
}
