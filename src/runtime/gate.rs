//! What strangers may cost: connections that have not authenticated are counted, slowed down and logged with measure.

use std::{
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    net::{IpAddr, Ipv6Addr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::ready,
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::proto::limits::Limits;

/// A line about one address at most this often.
const LOG_PAUSE: Duration = Duration::from_secs(10);
/// Addresses that are remembered for the log; the rest share one line.
const LOG_ADDRESSES_MAX: usize = 1024;

/// What counts as one address: an IPv4 address, or the first 64 bits of an IPv6 one, which is what one customer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AddressKey(IpAddr);

impl fmt::Display for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

impl AddressKey {
    pub(super) fn new(ip: IpAddr) -> Self {
        AddressKey(match ip.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 => v4,
        })
    }
}

/// Why a connection is turned away before a byte of it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Turned {
    #[error("{0} connections have not authenticated yet, which is the limit for accepted ones")]
    Full(usize),
    #[error("{0} connections of this address have not authenticated yet, which is the limit")]
    AddressFull(usize),
}

/// The counts. One a node.
#[derive(Debug)]
pub(super) struct Gate {
    counts: Mutex<Counts>,
    inbound_max: usize,
    per_address_max: usize,
    outbound: Arc<Semaphore>,
    computing: Arc<Semaphore>,
    interval: Duration,
    burst: Duration,
}

#[derive(Debug, Default)]
struct Counts {
    inbound: usize,
    outbound: usize,
    addresses: HashMap<AddressKey, usize>,
    /// When the bucket of the accepts would be full again.
    full_at: Duration,
}

/// A connection that is counted as not authenticated, until this is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    address: Option<AddressKey>,
    outbound: Option<OwnedSemaphorePermit>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut counts = self.gate.lock();
        if self.outbound.is_some() {
            counts.outbound -= 1;
            return;
        }
        counts.inbound -= 1;
        let Some(address) = self.address else { return };
        let left = counts.addresses.get_mut(&address).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            counts.addresses.remove(&address);
        }
    }
}

impl Gate {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        // an eighth stays free for what this node dials, however many strangers knock
        let outbound = (limits.unauthenticated_max / 8).max(1);
        let interval = Duration::from_secs(1) / limits.accepts_per_second.max(1);
        Arc::new(Gate {
            counts: Mutex::default(),
            inbound_max: limits.unauthenticated_max.saturating_sub(outbound).max(1),
            per_address_max: limits.unauthenticated_per_address_max.max(1),
            outbound: Arc::new(Semaphore::new(outbound)),
            computing: Arc::new(Semaphore::new(limits.handshakes_max.max(1))),
            interval,
            burst: interval.saturating_mul(limits.accepts_burst.max(1) - 1),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a token for one accept; `Some`: there is none, ask again after that time. What is not accepted waits in the
    /// system's own queue, so a burst of honest nodes is slowed down and not turned away.
    pub(super) fn take_token(&self, mono: Duration) -> Option<Duration> {
        let mut counts = self.lock();
        let full_at = counts.full_at.max(mono);
        let early = full_at.checked_sub(mono.saturating_add(self.burst));
        match early {
            Some(wait) if wait > Duration::ZERO => Some(wait),
            _ => {
                counts.full_at = full_at + self.interval;
                None
            }
        }
    }

    /// Counts an accepted connection.
    pub(super) fn admit(self: &Arc<Self>, ip: Option<IpAddr>) -> Result<Pass, Turned> {
        let address = ip.map(AddressKey::new);
        let mut counts = self.lock();
        if counts.inbound >= self.inbound_max {
            return Err(Turned::Full(self.inbound_max));
        }
        if let Some(address) = address {
            let count = counts.addresses.entry(address).or_default();
            if *count >= self.per_address_max {
                return Err(Turned::AddressFull(self.per_address_max));
            }
            *count += 1;
        }
        counts.inbound += 1;
        drop(counts);
        Ok(Pass {
            gate: self.clone(),
            address,
            outbound: None,
        })
    }

    /// Counts a dial; waits while too many are under way.
    pub(super) async fn dial(self: &Arc<Self>) -> Pass {
        // never closed
        let permit = self.outbound.clone().acquire_owned().await.ok();
        self.lock().outbound += usize::from(permit.is_some());
        Pass {
            gate: self.clone(),
            address: None,
            outbound: permit,
        }
    }

    /// Connections that have not authenticated, now.
    pub(super) fn unauthenticated(&self) -> usize {
        let counts = self.lock();
        counts.inbound + counts.outbound
    }

    /// Runs a handshake so that no more than the limit compute at the same moment. One that waits for its peer holds no
    /// place, so that a peer that says nothing holds up nobody.
    pub(super) async fn computing<F: Future + Unpin>(&self, mut handshake: F) -> F::Output {
        type Waiting = Pin<
            Box<
                dyn Future<Output = Result<OwnedSemaphorePermit, tokio::sync::AcquireError>> + Send,
            >,
        >;
        let mut waiting: Option<Waiting> = None;
        poll_fn(|cx| {
            let place = match (waiting.as_mut(), self.computing.clone().try_acquire_owned()) {
                (None, Ok(place)) => Ok(place),
                (_, got) => {
                    drop(got);
                    let wait = waiting
                        .get_or_insert_with(|| Box::pin(self.computing.clone().acquire_owned()));
                    let place = ready!(wait.as_mut().poll(cx));
                    waiting = None;
                    place
                }
            };
            let polled = Pin::new(&mut handshake).poll(cx);
            drop(place);
            polled
        })
        .await
    }
}

/// Decides which refusals are worth a line.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    lines: Mutex<HashMap<String, Line>>,
}

#[derive(Debug)]
struct Line {
    at: Duration,
    untold: u64,
}

impl RefusalLog {
    /// `Some`: write a line, and say how many were left out since the last one about this address.
    pub(super) fn take(&self, address: &str, mono: Duration) -> Option<u64> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = address;
        if !lines.contains_key(key) && lines.len() >= LOG_ADDRESSES_MAX {
            lines.retain(|_, line| mono < line.at + LOG_PAUSE);
            if lines.len() >= LOG_ADDRESSES_MAX {
                key = "";
            }
        }
        match lines.get_mut(key) {
            Some(line) if mono < line.at + LOG_PAUSE => {
                line.untold += 1;
                None
            }
            Some(line) => {
                line.at = mono;
                Some(std::mem::take(&mut line.untold))
            }
            None => {
                lines.insert(
                    key.to_owned(),
                    Line {
                        at: mono,
                        untold: 0,
                    },
                );
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{pin::pin, task::Poll};

    use super::*;

    fn gate(all: usize, per_address: usize) -> Arc<Gate> {
        Gate::new(&Limits {
            unauthenticated_max: all,
            unauthenticated_per_address_max: per_address,
            handshakes_max: 1,
            accepts_per_second: 10,
            accepts_burst: 3,
            ..Limits::default()
        })
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_gets_its_share_and_gets_it_back() {
        let gate = gate(100, 2);
        let first = gate.admit(ip("192.0.2.1")).unwrap();
        let _second = gate.admit(ip("192.0.2.1")).unwrap();
        assert_eq!(
            gate.admit(ip("192.0.2.1")).unwrap_err(),
            Turned::AddressFull(2)
        );
        // written as IPv6 it is the same address
        assert!(gate.admit(ip("::ffff:192.0.2.1")).is_err());
        assert!(gate.admit(ip("192.0.2.2")).is_ok());
        drop(first);
        assert!(gate.admit(ip("192.0.2.1")).is_ok());
        assert_eq!(gate.unauthenticated(), 1);
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_address() {
        let gate = gate(100, 1);
        let _one = gate.admit(ip("2001:db8::1")).unwrap();
        assert!(gate.admit(ip("2001:db8::ffff:2")).is_err());
        assert!(gate.admit(ip("2001:db8:0:1::1")).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_cannot_take_the_places_of_dials() {
        let gate = gate(16, 100);
        let held: Vec<_> = (0..14).map(|_| gate.admit(None).unwrap()).collect();
        assert_eq!(gate.admit(None).unwrap_err(), Turned::Full(14));
        let _one = gate.dial().await;
        let two = gate.dial().await;
        assert_eq!(gate.unauthenticated(), 16);
        // a third waits for one of the two
        let third = gate.dial();
        let mut third = pin!(third);
        assert!(
            tokio::time::timeout(Duration::from_secs(60), third.as_mut())
                .await
                .is_err()
        );
        drop(two);
        third.await;
        drop(held);
        assert_eq!(gate.unauthenticated(), 1);
    }

    #[test]
    fn accepts_come_in_bursts_and_then_at_their_rate() {
        let gate = gate(16, 16);
        let at = Duration::from_millis;
        for _ in 0..3 {
            assert_eq!(gate.take_token(at(500)), None);
        }
        assert_eq!(gate.take_token(at(500)), Some(at(100)));
        assert_eq!(gate.take_token(at(600)), None);
        assert_eq!(gate.take_token(at(650)), Some(at(50)));
        for _ in 0..3 {
            assert_eq!(gate.take_token(at(9000)), None);
        }
        assert!(gate.take_token(at(9000)).is_some());
    }

    #[tokio::test]
    async fn a_silent_handshake_holds_up_no_other() {
        let gate = gate(16, 16);
        let silent = gate.computing(std::future::pending::<()>());
        let mut silent = pin!(silent);
        // polled once, and left waiting for its peer
        assert!(futures_poll(silent.as_mut()).await.is_pending());
        assert_eq!(gate.computing(pin!(async { 7 })).await, 7);
    }

    async fn futures_poll<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    }

    #[test]
    fn one_line_an_address_and_the_rest_is_counted() {
        let log = RefusalLog::default();
        let at = Duration::from_secs;
        assert_eq!(log.take("192.0.2.1", at(0)), Some(0));
        assert_eq!(log.take("192.0.2.1", at(1)), None);
        assert_eq!(log.take("192.0.2.1", at(2)), None);
        assert_eq!(log.take("192.0.2.2", at(2)), Some(0));
        assert_eq!(log.take("192.0.2.1", at(10)), Some(2));
        for n in 0..5000 {
            log.take(&n.to_string(), at(11));
        }
        assert!(log.lines.lock().unwrap().len() <= LOG_ADDRESSES_MAX + 1);
    }
}
