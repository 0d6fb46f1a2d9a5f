//! Ports that are slow or stuck, and what others on the same link feel of it: two nodes, one link.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use portmesh::{Context, Limits, Node, Port, PortId, SendError};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Authority, PATIENCE, Res, seconds, support};

const MODE: &str = "tls1.3 cbor";
/// Round trips that are timed while nothing else happens.
const QUIET: usize = 2_000;

/// A port whose handler takes so many messages as it is allowed.
struct Gate(Arc<Semaphore>, Arc<AtomicU64>);

async fn gated(gate: &mut Gate, _: &Context, _: (u64, String)) {
    // the gate is never closed
    gate.0.acquire().await.expect("it is open").forget();
    gate.1.fetch_add(1, Ordering::Relaxed);
}

async fn echo((): &mut (), cx: &Context, (n, reply): (u64, PortId)) {
    let _ = cx.send(&reply, n);
}

async fn count(seen: &mut Arc<AtomicU64>, _: &Context, _: (u64, String)) {
    seen.fetch_add(1, Ordering::Relaxed);
}

struct Two {
    near: Node,
    far: Node,
    echo: Port<()>,
}

impl Two {
    async fn start(authority: &Authority, name: &str) -> Res<Two> {
        let far = authority.builder(&format!("{name}/far"))?.start().await?;
        let near = authority.builder(&format!("{name}/near"))?;
        let near = near.address(far.id().clone(), &far.listen_addrs()[0]);
        let near = near.start().await?;
        let echo = far.port().on("ping", self::echo).open();
        let two = Two { near, far, echo };
        two.trip(0).await?;
        Ok(two)
    }

    async fn trip(&self, n: u64) -> Res<Duration> {
        let began = Instant::now();
        let call = self.near.call::<u64>(self.echo.id(), ("ping", n));
        assert_eq!(call.within(PATIENCE).await?, n);
        Ok(began.elapsed())
    }

    /// p50 and p99 of round trips in microseconds.
    async fn trips(&self, count: usize) -> Res<(f64, f64)> {
        let mut times = Vec::with_capacity(count);
        for n in 0..count {
            times.push(self.trip(n as u64).await?);
        }
        Ok(percentiles(times))
    }

    /// A port that takes nothing until its gate lets it.
    fn gated(&self) -> (Port<Gate>, Arc<Semaphore>, Arc<AtomicU64>) {
        let (gate, seen) = (Arc::new(Semaphore::new(0)), Arc::default());
        let state = Gate(gate.clone(), Arc::clone(&seen));
        (
            self.far.port().state(state).on("n", gated).open(),
            gate,
            seen,
        )
    }

    async fn end(self) {
        self.near.shutdown(Duration::ZERO).await;
        self.far.shutdown(Duration::ZERO).await;
    }
}

fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e6;
    (at(0.5), at(0.99))
}

/// What may wait between a sender and a handler, in bytes of messages: the queue of the sender's node, the window of the
/// link and the mailbox.
fn stated() -> f64 {
    let limits = Limits::default();
    (limits.outbound_bytes_max + limits.window_bytes + limits.mailbox_bytes_max) as f64
}

/// A sender that never waits for its port, which takes a thousand messages of 1 KiB a second: memory each few seconds, and
/// the round trips of another port meanwhile.
pub(crate) async fn slow(authority: &Authority) -> Res {
    let two = Two::start(authority, "slow").await?;
    let (idle_p50, idle_p99) = two.trips(QUIET).await?;
    let (port, gate, seen) = two.gated();
    let (node, to) = (two.near.clone(), port.id().clone());
    let (accepted, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let before = support::resident_bytes();
    let mut work = JoinSet::new();
    let counts = (accepted.clone(), refused.clone());
    work.spawn(async move {
        let body = "x".repeat(1 << 10);
        for n in 0_u64.. {
            match node.send(&to, ("n", n, &body)) {
                Ok(()) => counts.0.fetch_add(1, Ordering::Relaxed),
                Err(SendError::Full(_)) => {
                    // it would be accepted when there is room: try again, for ever
                    tokio::time::sleep(Duration::from_micros(200)).await;
                    counts.1.fetch_add(1, Ordering::Relaxed)
                }
                Err(error) => panic!("{error}"),
            };
            if n % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    work.spawn(async move {
        loop {
            gate.add_permits(10);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let (mut times, mut most, mut early, mut shown) = (Vec::new(), 0_f64, 0.0, 0);
    let (began, time) = (Instant::now(), seconds());
    while began.elapsed() < time {
        times.push(two.trip(1).await?);
        let grown = support::resident_bytes() - before;
        most = most.max(grown);
        let tenth = (began.elapsed().as_secs_f64() / time.as_secs_f64() * 10.0) as u32;
        if tenth > shown {
            shown = tenth;
            let at = began.elapsed().as_secs_f64();
            let extra = [
                ("at_s", at),
                ("handled", seen.load(Ordering::Relaxed) as f64),
            ];
            support::emit("slow_port_memory", MODE, grown, "bytes", &extra);
            if shown == 2 {
                early = grown;
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    work.shutdown().await;
    let (p50, p99) = percentiles(times);
    let extra = [
        ("after_a_fifth", early),
        ("stated_bound_of_messages", stated()),
        ("accepted", accepted.load(Ordering::Relaxed) as f64),
        ("refused", refused.load(Ordering::Relaxed) as f64),
        ("seconds", time.as_secs_f64()),
    ];
    support::emit("slow_port_memory_most", MODE, most, "bytes", &extra);
    let extra = [
        ("p99_us", p99),
        ("idle_p50_us", idle_p50),
        ("idle_p99_us", idle_p99),
    ];
    support::emit("round_trip_beside_slow_port", MODE, p50, "us_p50", &extra);
    assert!(most < 3.0 * stated(), "{most} bytes");
    two.end().await;
    Ok(())
}

/// Ports that take nothing at all, each with a sender that never ends, and a port that takes 64 KiB messages: round
/// trips of another port meanwhile. What waits in the mailboxes comes on top of the stated bound. (Many more stuck ports leave
/// less of the window than such a message needs, and it waits for one of them.)
pub(crate) async fn stuck(authority: &Authority) -> Res {
    const PORTS: usize = 10;
    let two = Two::start(authority, "stuck").await?;
    let (idle_p50, idle_p99) = two.trips(QUIET).await?;
    let ports: Vec<_> = (0..PORTS).map(|_| two.gated()).collect();
    let mut work = JoinSet::new();
    for (port, ..) in &ports {
        let (node, to) = (two.near.clone(), port.id().clone());
        work.spawn(async move {
            // whatever it takes, and then what there is room for
            let body = "x".repeat(1 << 10);
            for n in 0_u64.. {
                let sent = node.send_wait(&to, ("n", n, &body));
                sent.await.expect("it is sent");
                tokio::task::yield_now().await;
            }
        });
    }
    // until they are stuck
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = support::resident_bytes();
    let told = |name: &str, (p50, p99): (f64, f64)| {
        let extra = [
            ("p99_us", p99),
            ("idle_p50_us", idle_p50),
            ("idle_p99_us", idle_p99),
            ("stuck", PORTS as f64),
            ("memory_since", support::resident_bytes() - before),
        ];
        support::emit(name, MODE, p50, "us_p50", &extra);
    };
    told("round_trip_beside_stuck_ports", two.trips(QUIET).await?);
    let taken = Arc::new(AtomicU64::new(0));
    let bulk = two.far.port().state(taken.clone()).on("n", count).open();
    let (node, to) = (two.near.clone(), bulk.id().clone());
    let filler = work.spawn(async move {
        let body = "x".repeat(64 << 10);
        for n in 0_u64.. {
            let sent = node.send_wait(&to, ("n", n, &body));
            sent.await.expect("it is sent");
        }
    });
    told("round_trip_beside_stuck_and_bulk", two.trips(QUIET).await?);
    let began = Instant::now();
    while taken.load(Ordering::Relaxed) == 0 {
        assert!(began.elapsed() < PATIENCE, "bulk goes on");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    filler.abort();
    work.shutdown().await;
    drop(ports);
    two.end().await;
    Ok(())
}

/// A thousand tasks that send to one port of the other node at once, each waiting for room, and round trips beside.
pub(crate) async fn senders(authority: &Authority) -> Res {
    const SENDERS: u64 = 1_000;
    const EACH: u64 = 1_000;
    let two = Two::start(authority, "senders").await?;
    let (idle_p50, idle_p99) = two.trips(QUIET).await?;
    let seen = Arc::new(AtomicU64::new(0));
    let port = two.far.port().state(seen.clone()).on("n", count).open();
    let before = support::resident_bytes();
    let began = Instant::now();
    let mut work = JoinSet::new();
    for _ in 0..SENDERS {
        let (node, to) = (two.near.clone(), port.id().clone());
        work.spawn(async move {
            for n in 0..EACH {
                let sent = node.send_wait(&to, ("n", n, "the quick brown fox"));
                sent.await.expect("it is sent");
            }
        });
    }
    let (mut times, mut most) = (Vec::new(), 0_f64);
    while seen.load(Ordering::Relaxed) < SENDERS * EACH {
        times.push(two.trip(1).await?);
        most = most.max(support::resident_bytes() - before);
        assert!(began.elapsed() < PATIENCE);
    }
    while work.join_next().await.is_some() {}
    let rate = (SENDERS * EACH) as f64 / began.elapsed().as_secs_f64();
    let (p50, p99) = percentiles(times);
    let extra = [
        ("round_trip_p50_us", p50),
        ("round_trip_p99_us", p99),
        ("idle_p50_us", idle_p50),
        ("idle_p99_us", idle_p99),
        ("memory_most", most),
        ("stated_bound_of_messages", stated()),
    ];
    support::emit("thousand_senders", MODE, rate, "msg/s", &extra);
    two.end().await;
    Ok(())
}
