//! A stop is orderly: L6.

use std::time::Duration;

use portmesh::{
    proto::{close::CloseReason, value::Value},
    runtime::{events::NodeEvent, mesh::MeshSendError},
};
use tokio::time::{Instant, sleep};

use super::rig::{Rig, TestNode, eventually, soon};

// L6
#[tokio::test(start_paused = true)]
async fn a_shutdown_flushes_tells_the_peers_and_refuses_what_comes_later() {
    let rig = Rig::new();
    rig.network.delay("a", "b", Duration::from_millis(50));
    let a = rig.node("a", &["b"]).await;
    let b = rig.node("b", &[]).await;
    let inbox = b.ports.open("in");
    a.send("b#in", ("first",)).unwrap();
    inbox.next::<(String,)>().await;
    let theirs = b.monitor("a");
    let ours = a.monitor("b#in");

    for n in 0..20_000 {
        a.send("b#in", ("n", n)).unwrap();
    }
    let read = async {
        for n in 0..20_000 {
            assert_eq!(inbox.next::<(String, i32)>().await.1, n);
        }
    };
    let start = Instant::now();
    soon("both", async {
        tokio::join!(a.mesh.shutdown(Duration::from_secs(60)), read)
    })
    .await;
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    let reason = theirs.until_fired().await;
    assert!(
        matches!(reason.0.last(), Some(Value::Text(text)) if text.contains("shutting down")),
        "{reason:?}"
    );
    assert_eq!(ours.until_fired().await.tag(), Some("transport_error"));
    let down = |event: &NodeEvent| {
        matches!(
            event,
            NodeEvent::Down {
                reason: CloseReason::PeerShutdown,
                ..
            }
        )
    };
    assert!(b.events().iter().any(down), "{:?}", b.events());
    assert_eq!(a.ups_and_downs("b"), ["up", "down"]);

    assert!(matches!(
        a.send("b#in", ("late",)),
        Err(MeshSendError::ShutDown(_))
    ));
    let late = a.monitor("b");
    assert_eq!(late.reason().unwrap().tag(), Some("transport_error"));
    // again, at once
    let start = Instant::now();
    a.mesh.shutdown(Duration::from_secs(60)).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    // nobody listens any more
    let c = rig.node("c", &["a"]).await;
    c.monitor("a").until_fired().await;
}

// L6
#[tokio::test(start_paused = true)]
async fn a_shutdown_gives_up_on_a_peer_that_takes_nothing_when_its_time_is_over() {
    let rig = Rig::new();
    let a = rig.node("a", &["b"]).await;
    let b = rig.node("b", &[]).await;
    let inbox = b.ports.open("in");
    a.send("b#in", ("first",)).unwrap();
    inbox.next::<(String,)>().await;
    let monitor = a.monitor("b#in");
    rig.network.hang("a", "b");
    for n in 0..1000 {
        a.send("b#in", ("n", n, "x".repeat(1000))).unwrap();
    }
    let start = Instant::now();
    a.mesh.shutdown(Duration::from_secs(2)).await;
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
    assert!(monitor.reason().is_some());
    assert!(a.mesh.stats().lost > 0);
}

// L6
#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_what_a_full_mailbox_holds_up() {
    let mut rig = Rig::new();
    rig.limits.mailbox_count_max = 10;
    let a = rig.node("a", &["b"]).await;
    let b = rig.node("b", &[]).await;
    let inbox = b.ports.open("in");
    for n in 0..500 {
        a.send("b#in", ("n", n)).unwrap();
    }
    let read = async {
        for n in 0..500 {
            assert_eq!(inbox.next::<(String, i32)>().await.1, n);
            sleep(Duration::from_millis(10)).await;
        }
    };
    soon("both", async {
        tokio::join!(a.mesh.shutdown(Duration::from_secs(60)), read)
    })
    .await;
}

// L6
#[tokio::test(start_paused = true)]
async fn a_shutdown_fires_what_waits_for_nodes_that_never_came() {
    let rig = Rig::new();
    rig.network.hang("a", "b");
    let _b = rig.node("b", &[]).await;
    let a = rig.node("a", &["b"]).await;
    let monitor = a.monitor("b#in");
    a.send("b#in", ("x",)).unwrap();
    let start = Instant::now();
    a.mesh.shutdown(Duration::from_secs(2)).await;
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert!(monitor.reason().is_some());
    assert_eq!(a.mesh.stats().lost, 1);
}

// L6
#[tokio::test(start_paused = true)]
async fn a_shutdown_right_after_a_send_waits_for_the_link_that_is_being_made() {
    let rig = Rig::new();
    rig.network.delay("a", "b", Duration::from_millis(100));
    let b = rig.node("b", &[]).await;
    let inbox = b.ports.open("in");
    for by_seed in [false, true] {
        let mut config = rig.config("a");
        if by_seed {
            config.seeds = vec!["b".to_owned()];
        } else {
            let addrs = vec!["b".to_owned()];
            config.addresses.insert("b".parse().unwrap(), addrs);
        }
        let a = TestNode::start(config).await;
        let start = Instant::now();
        for n in 0..100 {
            a.send("b#in", ("n", n)).unwrap();
        }
        a.mesh.shutdown(Duration::from_secs(60)).await;
        let took = start.elapsed();
        assert!(took < Duration::from_secs(3), "{took:?}");
        for n in 0..100 {
            assert_eq!(inbox.next::<(String, i32)>().await.1, n);
        }
        assert_eq!(a.mesh.stats().lost, 0);
        assert!(!b.linked("a"));
    }
}

// L6, M7
#[tokio::test(start_paused = true)]
async fn a_node_that_is_dropped_ends_and_its_peers_hear_of_it() {
    let rig = Rig::new();
    let hub = rig.node("hub", &[]).await;
    let mut config = rig.config("leaf");
    config.seeds = vec!["hub".to_owned()];
    let leaf = TestNode::start(config).await;
    leaf.until_linked("hub").await;
    hub.until_linked("leaf").await;
    let monitor = hub.monitor("leaf");
    let start = Instant::now();
    drop(leaf);
    monitor.until_fired().await;
    assert!(start.elapsed() < Duration::from_secs(1));
    eventually("no connection is left", || {
        rig.network.connections("leaf", "hub") == 0
    })
    .await;
}
