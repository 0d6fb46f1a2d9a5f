//! Lost links, and what is told of them: P2, M5, M6, M7.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use portmesh::{
    proto::{
        message::{Message, Reason},
        value::Value,
    },
    runtime::{events::NodeEvent, watch},
};
use tokio::time::{Instant, advance, sleep};

use super::rig::{Fire, Rig, TestNode, eventually, pid, soon};

/// The text of a transport error.
fn text(reason: &Reason) -> String {
    match reason.0.as_slice() {
        [Value::Text(tag), Value::Text(_), Value::Text(text)] if tag == "transport_error" => {
            text.clone()
        }
        other => panic!("not a transport error: {other:?}"),
    }
}

// M5
#[tokio::test(start_paused = true)]
async fn a_monitor_on_a_node_opens_a_link_and_fires_when_it_is_lost() {
    let rig = Rig::new();
    let a = rig.node("a", &["b"]).await;
    let b = rig.node("b", &[]).await;
    let monitor = a.monitor("b");
    a.until_linked("b").await;
    b.until_linked("a").await;
    assert_eq!(monitor.reason(), None);
    rig.network.cut("a", "b");
    let reason = monitor.until_fired().await;
    assert!(text(&reason).contains("cut"), "{reason:?}");
}

// M5
#[tokio::test(start_paused = true)]
async fn a_monitor_fires_when_no_link_can_be_made_and_says_why() {
    let rig = Rig::new();
    let a = rig.node("a", &["nobody"]).await;
    let unknown = a.monitor("unknown#port").until_fired().await;
    assert!(
        text(&unknown).contains("no address of unknown"),
        "{unknown:?}"
    );
    let refused = a.monitor("nobody#port").until_fired().await;
    assert!(text(&refused).contains("nobody listens"), "{refused:?}");
    let own = a.monitor("a#port").until_fired().await;
    assert!(text(&own).contains("itself"), "{own:?}");
    let unreachable = |event: &NodeEvent| matches!(event, NodeEvent::Unreachable { .. });
    assert_eq!(a.events().iter().filter(|e| unreachable(e)).count(), 3);
    // and again: nothing of the first time is in the way
    a.monitor("nobody#port").until_fired().await;
}

// M5
#[tokio::test(start_paused = true)]
async fn a_dial_finds_another_node_than_the_one_it_is_for_and_says_so() {
    let rig = Rig::new();
    let _other = rig.node("other", &[]).await;
    let mut config = rig.config("a");
    config
        .addresses
        .insert("b".parse().unwrap(), vec!["other".to_owned()]);
    let a = TestNode::start(config).await;
    let reason = a.monitor("b").until_fired().await;
    assert!(text(&reason).contains("found other"), "{reason:?}");
    assert!(!a.linked("other"));
}

// M2
#[tokio::test(start_paused = true)]
async fn a_monitor_that_was_taken_back_never_fires_even_when_its_node_is_forgotten_between() {
    let rig = Rig::new();
    let a = rig.node("a", &[]).await;
    let first = a.monitor("x#p");
    first.until_fired().await;
    // nothing needs x any more; a later monitor on it has another number
    let second = a.monitor("x#p");
    a.mesh.unmonitor(&pid("x#p"), first.id());
    second.until_fired().await;

    let taken_back = a.monitor("x#p");
    a.mesh.unmonitor(&pid("x#p"), taken_back.id());
    a.monitor("x#p").until_fired().await;
    assert_eq!(taken_back.reason(), None);
}

// M6
#[tokio::test(start_paused = true)]
async fn monitors_fire_before_any_later_message_is_delivered() {
    let rig = Rig::new();
    let a = Arc::new(rig.node("a", &["b"]).await);
    let b = rig.node("b", &[]).await;
    let inbox = b.ports.open("in");
    a.send("b#in", ("before",)).unwrap();
    assert_eq!(inbox.next::<(String,)>().await.0, "before");

    // each monitor says so to the port itself: its words must come before anything sent after the cut was seen
    let fired = Arc::new(Mutex::new(Vec::new()));
    for n in 0..100 {
        let (fired, mesh) = (fired.clone(), Arc::downgrade(&a));
        let limits = rig.limits.clone();
        let watch = watch(move |_: &Reason| {
            fired.lock().unwrap().push(n);
            let message = Message::encode(&("fired", n), &limits).unwrap();
            let node = mesh.upgrade().unwrap();
            node.mesh.send(&pid("b#in"), message).unwrap();
        });
        a.mesh
            .monitor(&pid(if n % 2 == 0 { "b#in" } else { "b" }), watch);
    }
    rig.network.cut("a", "b");
    rig.network.heal("a", "b");
    eventually("it is down", || a.ups_and_downs("b").contains(&"down")).await;
    eventually("all fire", || fired.lock().unwrap().len() == 100).await;
    a.send("b#in", ("after", 0)).unwrap();
    for _ in 0..100 {
        assert_eq!(inbox.next::<(String, i32)>().await.0, "fired");
    }
    assert_eq!(inbox.next::<(String, i32)>().await.0, "after");
    let mut fired = fired.lock().unwrap().clone();
    fired.sort_unstable();
    assert!(fired.into_iter().eq(0..100));
}

// M3
#[tokio::test(start_paused = true)]
async fn a_callback_that_panics_harms_no_other() {
    let rig = Rig::new();
    let a = rig.node("a", &["b"]).await;
    let _b = rig.node("b", &[]).await;
    let before = a.monitor("b#x");
    a.until_linked("b").await;
    a.mesh.monitor(&pid("b#x"), watch(|_| panic!("on purpose")));
    let after = a.monitor("b#x");
    rig.network.cut("a", "b");
    before.until_fired().await;
    after.until_fired().await;
    rig.network.heal("a", "b");
    let _ = a.monitor("b");
    a.until_linked("b").await;
}

// M7
#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_is_found_within_the_link_timeout() {
    for (from, to) in [("a", "b"), ("b", "a")] {
        let rig = Rig::new();
        let a = rig.node("a", &["b"]).await;
        let b = rig.node("b", &[]).await;
        let monitor = a.monitor("b");
        a.until_linked("b").await;
        b.until_linked("a").await;
        let start = Instant::now();
        rig.network.hang(from, to);
        monitor.until_fired().await;
        b.until_not_linked("a").await;
        // one direction is enough: who hears nothing gives up, and its end is heard or missed by the other
        let took = start.elapsed();
        let limit = rig.limits.link_timeout;
        assert!(took <= limit * 2 + Duration::from_secs(1), "{took:?}");
        let silent = if from == "b" {
            monitor.at() - start
        } else {
            took
        };
        assert!(silent <= limit + Duration::from_millis(50), "{silent:?}");
    }
}

// M7
#[tokio::test(start_paused = true)]
async fn a_stall_of_the_network_shorter_than_the_timeout_fires_nothing() {
    let rig = Rig::new();
    let a = rig.node("a", &["b"]).await;
    let b = rig.node("b", &[]).await;
    let inbox = b.ports.open("in");
    let monitor = a.monitor("b#in");
    a.until_linked("b").await;
    for _ in 0..5 {
        rig.network.hang("a", "b");
        rig.network.hang("b", "a");
        a.send("b#in", ("x",)).unwrap();
        // a keepalive comes each quarter of the timeout, so that three quarters are sure to be borne
        sleep(rig.limits.link_timeout.mul_f64(0.74)).await;
        rig.network.heal("a", "b");
        inbox.next::<(String,)>().await;
        sleep(rig.limits.link_timeout / 2).await;
    }
    assert_eq!(monitor.reason(), None);
    assert_eq!(a.ups_and_downs("b"), ["up"]);
}

// M7
#[tokio::test(start_paused = true)]
async fn a_standstill_of_this_process_loses_no_link_however_long() {
    let rig = Rig::new();
    let a = rig.node("a", &["b"]).await;
    let _b = rig.node("b", &[]).await;
    let monitor = a.monitor("b");
    a.until_linked("b").await;
    for _ in 0..5 {
        // all timers are late by minutes at once, as after SIGSTOP and SIGCONT
        advance(Duration::from_secs(600)).await;
        sleep(Duration::from_secs(20)).await;
    }
    assert_eq!(monitor.reason(), None);
    assert!(a.linked("b"));
}

// M7
#[tokio::test(start_paused = true)]
async fn a_busy_link_with_a_large_message_under_way_is_not_lost() {
    let mut rig = Rig::new();
    rig.network = portmesh::transport::memory::MemoryNetwork::with_buffer_bytes(32 << 10);
    let a = rig.node("a", &["b"]).await;
    let b = rig.node("b", &[]).await;
    let inbox = b.ports.open("in");
    let monitor = a.monitor("b#in");
    a.until_linked("b").await;
    // 32 KiB a second: the message takes more than a minute, six link timeouts
    rig.network.delay("a", "b", Duration::from_secs(1));
    let start = Instant::now();
    a.send("b#in", ("large", "x".repeat(2 << 20))).unwrap();
    let (_, large) = inbox.next::<(String, String)>().await;
    assert_eq!(large.len(), 2 << 20);
    assert!(
        start.elapsed() > rig.limits.link_timeout * 3,
        "{:?}",
        start.elapsed()
    );
    assert_eq!(monitor.reason(), None);
}

// M7
#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_dropped() {
    let rig = Rig::new();
    let a = rig.node("a", &["b"]).await;
    let mut config = rig.config("b");
    // it would not give up for hours, and goes on talking
    config.limits.link_timeout = Duration::from_secs(10_000);
    let b = TestNode::start(config).await;
    let inbox = b.ports.open("in");
    a.send("b#in", ("x",)).unwrap();
    inbox.next::<(String,)>().await;
    let monitor = a.monitor("b#in");
    // what b says still arrives: only that nothing is taken shows that it hangs
    rig.network.hang("a", "b");
    let start = Instant::now();
    for _ in 0..100 {
        a.send("b#in", ("x", "x".repeat(10_000))).unwrap();
    }
    let reason = monitor.until_fired().await;
    assert!(text(&reason).contains("took no byte"), "{reason:?}");
    assert!(
        start.elapsed() < rig.limits.link_timeout * 2,
        "{:?}",
        start.elapsed()
    );
    assert!(a.mesh.stats().lost >= 99, "{:?}", a.mesh.stats());
}

// P2
#[tokio::test(start_paused = true)]
async fn a_loss_is_told_before_anything_later_arrives_and_then_the_way_is_open_again() {
    let rig = Rig::new();
    let a = rig.node("a", &["b"]).await;
    let b = rig.node("b", &[]).await;
    let other = b.ports.open("other");
    for round in 0..3 {
        let inbox = b.ports.open("in");
        a.send("b#in", ("before", round)).unwrap();
        inbox.next::<(String, i32)>().await;
        inbox.die(Reason::normal());
        let monitor = a.monitor("b#x");
        monitor.until_fired().await;
        for n in 0..10 {
            a.send("b#in", ("lost", n)).unwrap();
        }
        let lost = || {
            let events = a.events().into_iter();
            let counts = events.map(|event| match event {
                NodeEvent::Undelivered { to, count, .. } if to == pid("b#in") => count,
                _ => 0,
            });
            counts.sum::<u64>() > round as u64
        };
        eventually("the loss is told", lost).await;
        // a port of that name again, which no real node would give away twice: the way to it is open
        let inbox = b.ports.open("in");
        eventually("a message passes", || {
            a.send("b#in", ("after", round)).unwrap();
            inbox.try_next().is_some()
        })
        .await;
        a.send("b#other", ("other", round)).unwrap();
        assert_eq!(other.next::<(String, i32)>().await.1, round);
    }
    assert_eq!(a.ups_and_downs("b"), ["up"]);
}

/// Sends numbered messages through thick and thin: after each monitor that fires a new epoch begins.
struct Stubborn {
    epoch: u64,
    next: u64,
    monitor: Fire,
}

// P1, P2
#[tokio::test(start_paused = true)]
async fn cuts_leave_no_hole_without_a_monitor_that_fires() {
    let rig = Rig::new();
    let a = rig.node("a", &["b"]).await;
    let b = rig.node("b", &[]).await;
    let inbox = b.ports.open("in");
    let mut stubborn = Stubborn {
        epoch: 0,
        next: 0,
        monitor: a.monitor("b#in"),
    };
    let mut got: Vec<(u64, u64)> = Vec::new();
    for round in 0..60u64 {
        for n in 0..200 {
            if stubborn.monitor.reason().is_some() {
                stubborn.epoch += 1;
                stubborn.next = 0;
                stubborn.monitor = a.monitor("b#in");
            }
            let sent = a.send("b#in", ("n", stubborn.epoch, stubborn.next));
            sent.unwrap();
            stubborn.next += 1;
            if n == round * 3 {
                rig.network.cut("a", "b");
            }
            if n % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
        rig.network.heal("a", "b");
        sleep(Duration::from_millis(round % 7)).await;
        while let Some(message) = inbox.try_next() {
            let (_, epoch, n) = message.decode::<(String, u64, u64)>(&rig.limits).unwrap();
            got.push((epoch, n));
        }
    }
    // the last epoch ends with a word that arrives
    rig.network.heal("a", "b");
    loop {
        let monitor = a.monitor("b#in");
        a.send("b#in", ("n", u64::MAX, 0u64)).unwrap();
        let message = soon("the last word", async {
            loop {
                if let Some(message) = inbox.try_next() {
                    return Some(message);
                }
                if monitor.reason().is_some() {
                    return None;
                }
                sleep(Duration::from_millis(1)).await;
            }
        });
        let Some(message) = message.await else {
            continue;
        };
        let (_, epoch, n) = message.decode::<(String, u64, u64)>(&rig.limits).unwrap();
        if epoch == u64::MAX {
            break;
        }
        got.push((epoch, n));
    }
    assert!(stubborn.epoch > 20, "only {} epochs", stubborn.epoch);
    let mut before = None;
    for (epoch, n) in &got {
        match before {
            // within an epoch nothing is missing and nothing comes twice
            Some((same, m)) if same == *epoch => assert_eq!(*n, m + 1, "epoch {epoch}"),
            Some((earlier, _)) => {
                assert!(earlier < *epoch);
                assert_eq!(*n, 0, "epoch {epoch} begins with {n}");
            }
            None => assert_eq!(*n, 0),
        }
        before = Some((*epoch, *n));
    }
    let sent_at_least = got.len() as u64;
    assert!(sent_at_least > 500, "{sent_at_least}");
    let undelivered = |event: &NodeEvent| matches!(event, NodeEvent::Undelivered { .. });
    assert!(a.events().iter().any(undelivered));
}
