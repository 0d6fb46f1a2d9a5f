//! What every transport must carry: the same tests over memory, TLS with a secret and TLS with certificates.

use std::{future::Future, time::Duration};

use portmesh::{
    NodeId,
    proto::{handshake::Secret, message::Reason, value::Value},
    runtime::events::NodeEvent,
    transport::tls::{Identity, Membership, State, ca::CertificateAuthority},
};

use tokio::time::Instant;

use super::{
    rig::{Rig, TestNode, eventually, pid, soon},
    way::Way,
};

/// Where nodes come from.
struct Net {
    rig: Rig,
    kind: Kind,
}

enum Kind {
    Memory,
    Secret(Secret),
    Certificate(Box<CertificateAuthority>),
}

impl Net {
    fn new(kind: Kind) -> Self {
        Net {
            rig: Rig::new(),
            kind,
        }
    }

    /// A node that knows the others.
    async fn node(&self, name: &str, others: &[&TestNode]) -> TestNode {
        let addrs = others.iter().map(|other| {
            let addr = other.mesh.listen_addrs().remove(0);
            (other.name.clone(), addr)
        });
        self.node_at(name, addrs.collect()).await
    }

    /// A way from a node that is yet to be, to another one.
    async fn way(&self, from: &str, to: &TestNode) -> Way {
        let addr = to.mesh.listen_addrs().remove(0);
        match self.kind {
            Kind::Memory => Way::Memory {
                network: self.rig.network.clone(),
                from: from.to_owned(),
                to: to.name.to_string(),
                addr,
            },
            _ => Way::proxy(&addr).await,
        }
    }

    /// A node that knows others by addresses.
    async fn node_at(&self, name: &str, others: Vec<(NodeId, String)>) -> TestNode {
        let node: NodeId = name.parse().unwrap();
        let membership = Membership {
            node: node.clone(),
            cluster: None,
            identity: None,
            secrets: None,
            state: State::Unpinned,
        };
        let rig = &self.rig;
        let membership = match &self.kind {
            Kind::Memory => None,
            Kind::Secret(secret) => {
                let secrets = Some(secret.clone().into());
                Some(Membership {
                    secrets,
                    ..membership
                })
            }
            Kind::Certificate(ca) => {
                let pem = ca.issue(&node).unwrap().to_pem();
                let identity = Some(Identity::from_pem(&pem).unwrap());
                Some(Membership {
                    identity,
                    ..membership
                })
            }
        };
        let mut config = match membership {
            None => rig.config_of(name, rig.network.host(name), &format!("{name}:0")),
            Some(membership) => {
                let prepared = membership.prepare(&rig.limits).unwrap();
                let transport = std::sync::Arc::new(prepared.transport);
                let mut config = rig.config_of(name, transport, "127.0.0.1:0");
                config.credentials = prepared.credentials;
                config.cluster = prepared.cluster;
                config
            }
        };
        for (other, addr) in others {
            config.addresses.insert(other, vec![addr]);
        }
        TestNode::start(config).await
    }
}

// P1, M2, M4
async fn messages_deaths_and_kills_arrive_in_order(net: Net) {
    let a = net.node("a", &[]).await;
    let b = net.node("b", &[&a]).await;
    let inbox = a.ports.open("in");
    let monitor = b.monitor("a#in");
    for n in 0..5000 {
        b.send("a#in", ("n", n, "x".repeat(n % 300))).unwrap();
    }
    b.mesh
        .kill(&pid("a#in"), &Reason(vec![Value::Text("enough".into())]));
    for n in 0..5000 {
        let (_, got, text) = inbox.next::<(String, usize, String)>().await;
        assert_eq!((got, text.len()), (n, n % 300));
    }
    // the kill is behind them
    assert!(inbox.try_next().is_none());
    assert_eq!(monitor.until_fired().await.tag(), Some("enough"));
    assert_eq!(
        b.monitor("a#never").until_fired().await.tag(),
        Some("no_such_port")
    );
    // and the way back
    let back = b.ports.open("back");
    a.send("b#back", ("back",)).unwrap();
    assert_eq!(back.next::<(String,)>().await.0, "back");
}

// P9
async fn large_messages_arrive_whole_and_small_ones_before_them(net: Net) {
    let a = net.node("a", &[]).await;
    let b = net.node("b", &[&a]).await;
    let (bulk, small) = (a.ports.open("bulk"), a.ports.open("small"));
    let monitor = b.monitor("a");
    b.until_linked("a").await;
    let bytes: String = (0..12 << 20)
        .map(|n| char::from(b'a' + (n % 26) as u8))
        .collect();
    for _ in 0..3 {
        b.send("a#bulk", ("bulk", &bytes)).unwrap();
        b.send("a#small", ("small",)).unwrap();
        small.next::<(String,)>().await;
        let (_, got) = bulk.next::<(String, String)>().await;
        assert!(got == bytes);
    }
    assert_eq!(monitor.reason(), None);
}

// P8
async fn a_slow_port_holds_up_its_own_senders_alone(mut net: Net) {
    net.rig.limits.mailbox_bytes_max = 32 << 10;
    net.rig.limits.window_bytes = 512 << 10;
    net.rig.limits.outbound_bytes_max = 2 << 20;
    let a = net.node("a", &[]).await;
    let b = net.node("b", &[&a]).await;
    let (slow, quick) = (a.ports.open("slow"), a.ports.open("quick"));
    let mut sent = 0;
    while b.send("a#slow", ("n", sent, "x".repeat(4000))).is_ok() {
        sent += 1;
    }
    for n in 0..100 {
        soon("room for others", async {
            while b.send("a#quick", ("q", n)).is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert_eq!(quick.next::<(String, i32)>().await.1, n);
    }
    for n in 0..sent {
        assert_eq!(slow.next::<(String, usize, String)>().await.1, n);
    }
}

// L1
async fn nodes_that_dial_each_other_at_once_have_one_link(net: Net) {
    for _ in 0..10 {
        let a = net.node("a", &[]).await;
        let b = net.node("b", &[&a]).await;
        // a learns where b is only now: both dial at the same moment all the same
        let c = net.node("c", &[&a, &b]).await;
        let (to_a, to_b, to_c) = (a.ports.open("in"), b.ports.open("in"), c.ports.open("in"));
        let monitors = [b.monitor("a"), c.monitor("a"), c.monitor("b")];
        for n in 0..100 {
            b.send("a#in", ("b", n)).unwrap();
            c.send("a#in", ("c", n)).unwrap();
            c.send("b#in", ("c", n)).unwrap();
        }
        for _ in 0..200 {
            to_a.next::<(String, i32)>().await;
        }
        for n in 0..100 {
            assert_eq!(to_b.next::<(String, i32)>().await.1, n);
        }
        a.send("c#in", ("a",)).unwrap();
        b.send("c#in", ("b",)).unwrap();
        to_c.next::<(String,)>().await;
        to_c.next::<(String,)>().await;
        for node in [&a, &b, &c] {
            assert_eq!(node.mesh.links().len(), 2);
            assert_eq!(node.mesh.stats().links_up, 2);
        }
        assert!(
            monitors.iter().all(|m| m.reason().is_none()),
            "{monitors:?}"
        );
        for node in [a, b, c] {
            node.mesh.shutdown(Duration::from_secs(10)).await;
        }
    }
}

// L2
async fn a_second_living_node_of_an_id_is_refused(net: Net) {
    let hub = net.node("hub", &[]).await;
    let first = net.node("twin", &[&hub]).await;
    first.monitor("hub");
    first.until_linked("hub").await;
    hub.until_linked("twin").await;
    let second = net.node("twin", &[&hub]).await;
    second.monitor("hub").until_fired().await;
    assert!(!second.linked("hub"));
    assert!(first.linked("hub"));
    assert_eq!(hub.ups_and_downs("twin"), ["up"]);
}

// L6, M5
async fn a_shutdown_is_told_and_loses_nothing(net: Net) {
    let a = net.node("a", &[]).await;
    let b = net.node("b", &[&a]).await;
    let inbox = a.ports.open("in");
    for n in 0..5000 {
        b.send("a#in", ("n", n)).unwrap();
    }
    b.until_linked("a").await;
    a.until_linked("b").await;
    let monitor = a.monitor("b");
    let ((), ()) = tokio::join!(b.mesh.shutdown(Duration::from_secs(60)), async {
        for n in 0..5000 {
            assert_eq!(inbox.next::<(String, i32)>().await.1, n);
        }
    });
    let reason = monitor.until_fired().await;
    assert!(
        matches!(reason.0.last(), Some(Value::Text(text)) if text.contains("shutting down")),
        "{reason:?}"
    );
    eventually("it is down", || a.ups_and_downs("b") == ["up", "down"]).await;
}

// M5, L5
async fn a_node_that_vanishes_is_found_and_can_come_back(net: Net) {
    let a = net.node("a", &[]).await;
    for round in 1..=3 {
        let b = net.node("b", &[&a]).await;
        b.monitor("a");
        b.until_linked("a").await;
        a.until_linked("b").await;
        let monitor = a.monitor("b#x");
        let gone = a.monitor("b");
        assert_eq!(monitor.until_fired().await.tag(), Some("no_such_port"));
        drop(b);
        assert_eq!(gone.until_fired().await.tag(), Some("transport_error"));
        eventually("downs", || {
            a.ups_and_downs("b") == ["up", "down"].repeat(round)
        })
        .await;
    }
    let lost = |event: &NodeEvent| matches!(event, NodeEvent::Undelivered { .. });
    assert!(!a.events().iter().any(lost));
}

// M7
async fn a_hang_is_found_within_the_link_timeout(mut net: Net) {
    net.rig.limits.link_timeout = Duration::from_secs(1);
    let a = net.node("a", &[]).await;
    let way = net.way("b", &a).await;
    let b = net
        .node_at("b", vec![(a.name.clone(), way.addr().to_owned())])
        .await;
    let ours = b.monitor("a");
    b.until_linked("a").await;
    a.until_linked("b").await;
    let theirs = a.monitor("b");
    let start = Instant::now();
    way.hang();
    ours.until_fired().await;
    theirs.until_fired().await;
    let took = ours.at().max(theirs.at()) - start;
    // the slack is for a machine that is busy with other tests
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(took > Duration::from_millis(700), "{took:?}");
    eventually("it is told", || a.ups_and_downs("b") == ["up", "down"]).await;
}

// M7
async fn a_stall_shorter_than_the_link_timeout_fires_nothing(mut net: Net) {
    net.rig.limits.link_timeout = Duration::from_secs(4);
    let a = net.node("a", &[]).await;
    let inbox = a.ports.open("in");
    let way = net.way("b", &a).await;
    let b = net
        .node_at("b", vec![(a.name.clone(), way.addr().to_owned())])
        .await;
    let back = b.ports.open("back");
    let monitor = b.monitor("a#in");
    b.until_linked("a").await;
    for n in 0..2 {
        way.hang();
        for _ in 0..100 {
            b.send("a#in", ("n", n)).unwrap();
        }
        let stalled = Instant::now();
        eventually("half of the timeout", || {
            stalled.elapsed() > net.rig.limits.link_timeout / 2
        })
        .await;
        assert!(inbox.try_next().is_none());
        way.heal();
        for _ in 0..100 {
            assert_eq!(inbox.next::<(String, i32)>().await.1, n);
        }
        // the other side has heard something too before the next stall
        a.send("b#back", ("back",)).unwrap();
        back.next::<(String,)>().await;
    }
    assert_eq!(monitor.reason(), None);
    assert_eq!(a.ups_and_downs("b"), ["up"]);
}

// P1, P2, M6
async fn cuts_leave_no_hole_that_is_not_told(net: Net) {
    let a = net.node("a", &[]).await;
    let inbox = a.ports.open("in");
    let way = net.way("b", &a).await;
    let b = net
        .node_at("b", vec![(a.name.clone(), way.addr().to_owned())])
        .await;
    let mut monitors = vec![b.monitor("a#in")];
    let mut next = 0u64;
    let mut before: Option<(usize, u64)> = None;
    let mut arrived = 0;
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < Duration::from_secs(100), "no last word");
        let epoch = monitors.len() - 1;
        if epoch < 30 {
            if b.send("a#in", ("n", epoch, next)).is_ok() {
                next += 1;
            }
            if next % 1000 == 10 * epoch as u64 {
                way.cut();
            }
        } else {
            // however many are cut down, one gets through in the end
            let _ = b.send("a#in", ("last", epoch, next));
        }
        if epoch >= 30 || next % 100 == 99 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while let Some(message) = inbox.try_next() {
            let (tag, epoch, n) = message
                .decode::<(String, usize, u64)>(&net.rig.limits)
                .unwrap();
            if tag == "last" {
                assert!(arrived > 500, "{arrived} arrived");
                assert!(b.mesh.stats().lost > 0, "nothing was lost");
                return;
            }
            let expected = match before {
                Some((same, m)) if same == epoch => m + 1,
                _ => 0,
            };
            assert!(before.is_none_or(|before| before < (epoch, n)));
            if n != expected {
                // told before anything behind the hole was delivered: the sender may have gone on in this epoch before it
                // looked
                assert!(
                    monitors[epoch].reason().is_some(),
                    "{epoch}: {expected}, {n}"
                );
            }
            before = Some((epoch, n));
            arrived += 1;
        }
        if monitors[epoch].reason().is_some() {
            monitors.push(b.monitor("a#in"));
            next = 0;
        }
    }
}

fn real(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work);
}

macro_rules! conformance {
    ($($name:ident)*) => {
        mod memory {
            use super::*;
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name(Net::new(Kind::Memory)).await;
            })*
        }
        mod tls_with_a_secret {
            use super::*;
            $(#[test]
            fn $name() {
                let secret = Secret::generate().unwrap();
                real(super::$name(Net::new(Kind::Secret(secret))));
            })*
        }
        mod tls_with_certificates {
            use super::*;
            $(#[test]
            fn $name() {
                let ca = CertificateAuthority::create("test").unwrap();
                real(super::$name(Net::new(Kind::Certificate(Box::new(ca)))));
            })*
        }
    };
}

conformance! {
    messages_deaths_and_kills_arrive_in_order
    large_messages_arrive_whole_and_small_ones_before_them
    a_slow_port_holds_up_its_own_senders_alone
    nodes_that_dial_each_other_at_once_have_one_link
    a_second_living_node_of_an_id_is_refused
    a_shutdown_is_told_and_loses_nothing
    a_node_that_vanishes_is_found_and_can_come_back
    a_hang_is_found_within_the_link_timeout
    a_stall_shorter_than_the_link_timeout_fires_nothing
    cuts_leave_no_hole_that_is_not_told
}
