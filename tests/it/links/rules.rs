//! Which connection is the link: L1, L2, L5.

use std::time::Duration;

use portmesh::proto::close::CloseReason;
use portmesh::runtime::events::NodeEvent;
use tokio::time::Instant;

use super::rig::{Rig, TestNode, eventually};

// L1
#[tokio::test(start_paused = true)]
async fn a_simultaneous_connect_leaves_one_link_and_loses_nothing() {
    for delay_ms in [0, 1, 20, 300] {
        let rig = Rig::new();
        for (from, to) in [("a", "b"), ("b", "a")] {
            rig.network.delay(from, to, Duration::from_millis(delay_ms));
        }
        let a = rig.node("a", &["b"]).await;
        let b = rig.node("b", &["a"]).await;
        let (to_a, to_b) = (a.ports.open("in"), b.ports.open("in"));
        let monitors = [
            a.monitor("b"),
            a.monitor("b#in"),
            b.monitor("a"),
            b.monitor("a#in"),
        ];
        for n in 0..500 {
            a.send("b#in", ("n", n)).unwrap();
            b.send("a#in", ("n", n)).unwrap();
        }
        for n in 0..500 {
            assert_eq!(to_b.next::<(String, i32)>().await, ("n".to_owned(), n));
            assert_eq!(to_a.next::<(String, i32)>().await, ("n".to_owned(), n));
        }
        eventually("one connection", || rig.network.connections("a", "b") == 1).await;
        assert_eq!(a.mesh.links().len(), 1);
        assert_eq!(b.mesh.links().len(), 1);
        assert_ne!(a.mesh.links()[0].initiator, b.mesh.links()[0].initiator);
        assert!(
            monitors.iter().all(|m| m.reason().is_none()),
            "{monitors:?}"
        );
        assert_eq!(a.mesh.stats().lost + b.mesh.stats().lost, 0);
        assert_eq!(a.ups_and_downs("b"), ["up"]);
        assert_eq!(b.ups_and_downs("a"), ["up"]);
    }
}

// L1
#[tokio::test(start_paused = true)]
async fn many_nodes_that_all_connect_at_once_end_with_one_link_a_pair() {
    let rig = Rig::new();
    let names = ["a", "b", "c", "d", "e"];
    for (i, from) in (1..).zip(names) {
        for (j, to) in (1..).zip(names) {
            rig.network
                .delay(from, to, Duration::from_millis(i * 7 + j * 3));
        }
    }
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(rig.node(name, &names).await);
    }
    let mut monitors = Vec::new();
    let inboxes: Vec<_> = nodes.iter().map(|node| node.ports.open("in")).collect();
    for (node, from) in nodes.iter().zip(names) {
        for to in names.iter().filter(|to| **to != from) {
            monitors.push(node.monitor(&format!("{to}#in")));
            for n in 0..50 {
                node.send(&format!("{to}#in"), (from, n)).unwrap();
            }
        }
    }
    for inbox in &inboxes {
        let mut next = std::collections::BTreeMap::<String, i32>::new();
        for _ in 0..50 * (names.len() - 1) {
            let (from, n) = inbox.next::<(String, i32)>().await;
            let expected = next.entry(from).or_default();
            assert_eq!(n, *expected);
            *expected += 1;
        }
    }
    for from in names {
        for to in names.iter().filter(|to| **to > from) {
            eventually("one connection a pair", || {
                rig.network.connections(from, to) == 1
            })
            .await;
        }
    }
    for node in &nodes {
        assert_eq!(node.mesh.links().len(), names.len() - 1);
        assert_eq!(node.mesh.stats().links_up, 4);
        assert_eq!(node.mesh.stats().lost, 0);
    }
    assert!(
        monitors.iter().all(|m| m.reason().is_none()),
        "{monitors:?}"
    );
}

// L2
#[tokio::test(start_paused = true)]
async fn a_second_living_node_of_the_same_id_is_refused() {
    for same_identity in [false, true] {
        let rig = Rig::new();
        let hub = rig.node("hub", &[]).await;
        let transport = rig.network.host("first");
        let mut config = rig.config_of("twin", transport.clone(), "first");
        config.seeds = vec!["hub".to_owned()];
        let first = TestNode::start(config).await;
        first.until_linked("hub").await;
        let monitor = hub.monitor("twin");

        // the same key file on another host, or a stranger of the same name
        let transport = match same_identity {
            true => transport,
            false => rig.network.host("second"),
        };
        let mut config = rig.config_of("twin", transport, "second");
        config.seeds = vec!["hub".to_owned()];
        let second = TestNode::start(config).await;
        let refused = || {
            let is = |event: &NodeEvent| matches!(event, NodeEvent::Refused { node: Some(node), .. } if node.as_str() == "twin");
            hub.events().iter().any(is)
        };
        eventually("the hub refuses the second", refused).await;
        let told = || {
            let is = |event: &NodeEvent| matches!(event, NodeEvent::Refused { reason, .. } if reason.contains("of this ID"));
            second.events().iter().any(is)
        };
        eventually("the second is told", told).await;
        assert!(!second.linked("hub"));
        assert!(hub.linked("twin") && first.linked("hub"));
        assert_eq!(monitor.reason(), None);
        assert_eq!(hub.ups_and_downs("twin"), ["up"]);
    }
}

// L2, M6
#[tokio::test(start_paused = true)]
async fn a_silent_predecessor_is_replaced_after_its_monitors_fired() {
    let rig = Rig::new();
    let hub = rig.node("hub", &[]).await;
    let transport = rig.network.host("twin");
    let mut config = rig.config_on("twin", transport.clone());
    config.seeds = vec!["hub".to_owned()];
    let first = TestNode::start(config.clone()).await;
    first.until_linked("hub").await;
    hub.until_linked("twin").await;
    let monitor = hub.monitor("twin");

    // power loss: the host comes back with the same key, its old connection never says another word
    rig.network.abandon("hub", "twin");
    drop(first);
    eventually("its address is free", || {
        rig.network.connections("twin", "twin") == 0
    })
    .await;
    let start = Instant::now();
    config.incarnation = portmesh::runtime::entropy::incarnation().unwrap();
    config.listen.clear();
    let second = TestNode::start(config).await;
    second.until_linked("hub").await;
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    let reason = monitor.until_fired().await;
    assert_eq!(reason.tag(), Some("transport_error"));
    assert_eq!(hub.ups_and_downs("twin"), ["up", "down", "up"]);
    let down = hub.events().into_iter().find_map(|event| match event {
        NodeEvent::Down { reason, .. } => Some(reason),
        _ => None,
    });
    assert_eq!(down, Some(CloseReason::Replaced));
    // and the new one is as good as any
    let inbox = second.ports.open("in");
    hub.send("twin#in", ("hello",)).unwrap();
    assert_eq!(inbox.next::<(String,)>().await.0, "hello");
}

// L5
#[tokio::test(start_paused = true)]
async fn ups_and_downs_alternate_through_cuts_and_heals() {
    let rig = Rig::new();
    let hub = rig.node("hub", &[]).await;
    let mut config = rig.config("leaf");
    config.seeds = vec!["hub".to_owned()];
    let leaf = TestNode::start(config).await;
    for round in 1..=5 {
        leaf.until_linked("hub").await;
        hub.until_linked("leaf").await;
        rig.network.cut("hub", "leaf");
        leaf.until_not_linked("hub").await;
        hub.until_not_linked("leaf").await;
        rig.network.heal("leaf", "hub");
        let expected: Vec<_> = ["up", "down"].repeat(round);
        assert_eq!(hub.ups_and_downs("leaf"), expected);
        assert_eq!(leaf.ups_and_downs("hub"), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_says_who_is_linked_and_how() {
    let rig = Rig::new();
    let a = rig.node("a", &["b"]).await;
    let b = rig.node("b", &[]).await;
    let _monitor = a.monitor("b");
    a.until_linked("b").await;
    let info = a.mesh.links().remove(0);
    assert_eq!(info.node.as_str(), "b");
    assert_eq!((info.addr.as_str(), info.initiator), ("b", true));
    assert_eq!(info.format, "cbor");
    assert_eq!(info.security, "memory, no TLS");
    rig.network.delay("a", "b", Duration::from_millis(30));
    rig.network.delay("b", "a", Duration::from_millis(12));
    eventually("a round trip of 42 ms", || {
        // who is asked does not ask
        let links = a.mesh.links().into_iter().chain(b.mesh.links());
        links.into_iter().any(|link| {
            let millis = link.rtt.map(|rtt| rtt.as_millis());
            millis.is_some_and(|millis| (42..60).contains(&millis))
        })
    })
    .await;
    assert!(!b.mesh.links()[0].initiator);
}
