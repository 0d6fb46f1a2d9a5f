//! Connections that do not authenticate: bounded in number and time, and in nobody's way.

use std::{io, sync::Arc, time::Duration};

use portmesh::{
    NodeId,
    proto::handshake::{Credentials, Secret},
    runtime::{
        events::NodeEvent,
        transport::{BoxFuture, ConnectError, Connection, Incoming, Listener, Transport},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::rig::{Rig, TestNode, eventually, soon};

fn refusals(node: &TestNode) -> Vec<(String, Option<NodeId>, String)> {
    let events = node.events().into_iter();
    events
        .filter_map(|event| match event {
            NodeEvent::Refused { addr, node, reason } => Some((addr, node, reason)),
            _ => None,
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_node_with_another_secret_is_refused_on_both_sides_with_the_reason() {
    let rig = Rig::new();
    let hub = rig.node("hub", &[]).await;
    let mut config = rig.config("leaf");
    config.seeds = vec!["hub".to_owned()];
    config.credentials = Credentials::secret(Secret::from_bytes([7; 32]));
    let leaf = TestNode::start(config).await;
    eventually("both say it", || {
        !refusals(&hub).is_empty() && !refusals(&leaf).is_empty()
    })
    .await;
    let (addr, _, reason) = refusals(&hub).remove(0);
    assert!(addr.contains("leaf"), "{addr}");
    assert!(reason.contains("another secret"), "{reason}");
    assert_eq!(refusals(&leaf)[0].0, "hub");
    assert!(hub.mesh.stats().refused_by_auth >= 1);
    // many attempts later it has been said with measure
    let start = Instant::now();
    eventually("many attempts", || hub.mesh.stats().refused_by_auth > 6).await;
    let said = refusals(&hub).len() as u64;
    assert!(said <= 2 + start.elapsed().as_secs() / 10, "{said} lines");
}

#[tokio::test(start_paused = true)]
async fn silent_strangers_are_bounded_in_number_and_time_and_dials_still_go_out() {
    let mut rig = Rig::new();
    rig.limits.unauthenticated_max = 16;
    let other = rig.node("other", &[]).await;
    let hub = rig.node("hub", &["other"]).await;
    let stranger = rig.network.host("stranger");
    let mut silent: Vec<Connection> = Vec::new();
    for _ in 0..40 {
        silent.push(stranger.dial("hub", None).await.unwrap());
    }
    eventually("the rest is turned away", || {
        hub.mesh.stats().refused_by_limit == 26
    })
    .await;
    assert_eq!(hub.mesh.stats().unauthenticated, 14);
    // places are kept for what the node itself dials
    hub.monitor("other");
    hub.until_linked("other").await;
    other.until_linked("hub").await;
    let start = Instant::now();
    eventually("the silent ones are gone", || {
        hub.mesh.stats().unauthenticated == 0
    })
    .await;
    assert!(start.elapsed() <= rig.limits.auth_timeout + Duration::from_millis(10));
    // and an honest node comes in
    let leaf = rig.node("leaf", &["hub"]).await;
    leaf.monitor("hub");
    leaf.until_linked("hub").await;
}

#[tokio::test(start_paused = true)]
async fn garbage_closes_its_connection_and_nothing_else() {
    let rig = Rig::new();
    let hub = rig.node("hub", &[]).await;
    let stranger = rig.network.host("stranger");
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 64],
        &[0xff; 4096],
        b"\0\x01x",
    ] {
        let mut connection = stranger.dial("hub", None).await.unwrap();
        // it may be closed while this is being written
        let _ = connection.stream.write_all(garbage).await;
        let mut rest = Vec::new();
        let end = soon("its end", connection.stream.read_to_end(&mut rest)).await;
        assert!(end.is_err() || rest.is_empty());
    }
    assert_eq!(hub.mesh.stats().refused_by_auth, 4);
    let leaf = rig.node("leaf", &["hub"]).await;
    leaf.monitor("hub");
    leaf.until_linked("hub").await;
}

/// A listener whose `accept` fails now and then, as it does without file descriptors.
struct Flaky(Box<dyn Listener>, u32);

impl Listener for Flaky {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming>> {
        self.1 += 1;
        if !self.1.is_multiple_of(5) {
            return Box::pin(async { Err(io::Error::other("too many open files")) });
        }
        self.0.accept()
    }
    fn local_addr(&self) -> String {
        self.0.local_addr()
    }
}

struct FlakyTransport<T>(Arc<T>);

impl<T: Transport> Transport for FlakyTransport<T> {
    fn dial<'a>(
        &'a self,
        addr: &'a str,
        expect: Option<&'a NodeId>,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        self.0.dial(addr, expect)
    }
    fn listen<'a>(
        &'a self,
        addr: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, ConnectError>> {
        Box::pin(async move {
            let listener = self.0.listen(addr).await?;
            Ok(Box::new(Flaky(listener, 0)) as Box<dyn Listener>)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_accept_are_survived_and_counted() {
    let rig = Rig::new();
    let transport = Arc::new(FlakyTransport(rig.network.host("hub")));
    let hub = TestNode::start(rig.config_of("hub", transport, "hub")).await;
    for name in ["x", "y", "z"] {
        let leaf = rig.node(name, &["hub"]).await;
        leaf.monitor("hub");
        leaf.until_linked("hub").await;
    }
    assert!(
        hub.mesh.stats().accept_errors >= 12,
        "{:?}",
        hub.mesh.stats()
    );
}

#[tokio::test(start_paused = true)]
async fn accepts_are_slowed_to_their_rate_and_none_is_turned_away_for_it() {
    let mut rig = Rig::new();
    rig.limits.accepts_per_second = 2;
    rig.limits.accepts_burst = 3;
    let hub = rig.node("hub", &[]).await;
    let start = Instant::now();
    let mut leaves = Vec::new();
    for n in 0..9 {
        let leaf = rig.node(&format!("leaf{n}"), &["hub"]).await;
        leaf.monitor("hub");
        leaves.push(leaf);
    }
    for leaf in &leaves {
        leaf.until_linked("hub").await;
    }
    assert!(
        start.elapsed() >= Duration::from_millis(2900),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(hub.mesh.stats().refused_by_limit, 0);
}
