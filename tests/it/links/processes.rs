//! Links to a real process that is stopped and goes on: M7 as it is on a real machine.

use std::{sync::Arc, time::Duration};

use portmesh::transport::tls::{Identity, Membership, State};
use tokio::time::{Instant, sleep_until};

use super::rig::{Rig, TestNode, eventually};
use crate::process::{Ended, Running, portmesh, portmesh_cert};

/// A process that runs node `a`, and node `b` here, that gives a silent peer up after so long.
async fn process_and_node(link_timeout: Duration) -> (Running, TestNode) {
    let dir = tempfile::tempdir().unwrap();
    Ended::of(portmesh_cert(dir.path()).args(["ca", "init"])).code(0);
    for node in ["a", "b"] {
        Ended::of(portmesh_cert(dir.path()).args(["issue", node])).code(0);
    }
    let mut run = portmesh(dir.path());
    run.args(["--json", "run", "--identity", "a.pem"]);
    let a = Running::start(run.args(["--listen", "127.0.0.1:0"]));

    let mut rig = Rig::new();
    rig.limits.link_timeout = link_timeout;
    let membership = Membership {
        node: "b".parse().unwrap(),
        cluster: None,
        identity: Some(Identity::from_pem_file(dir.path().join("b.pem")).unwrap()),
        secrets: None,
        state: State::None,
    };
    let prepared = membership.prepare(&rig.limits).unwrap();
    let mut config = rig.config_of("b", Arc::new(prepared.transport), "127.0.0.1:0");
    config.credentials = prepared.credentials;
    config.cluster = prepared.cluster;
    config
        .addresses
        .insert("a".parse().unwrap(), vec![a.ready()]);
    let b = TestNode::start(config).await;
    b.monitor("a");
    b.until_linked("a").await;
    (a, b)
}

/// An answer from there.
async fn answers(b: &TestNode) -> bool {
    b.monitor("a#nobody").until_fired().await.tag() == Some("no_such_port")
}

// M7
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_process_that_is_stopped_is_found_and_linked_again_when_it_goes_on() {
    let (a, b) = process_and_node(Duration::from_secs(1)).await;
    let monitor = b.monitor("a");
    assert!(answers(&b).await);
    let start = Instant::now();
    a.send_signal("STOP");
    monitor.until_fired().await;
    // the slack is for a machine that is busy with other tests
    let took = monitor.at() - start;
    assert!(took < Duration::from_secs(4), "{took:?}");
    eventually("it is told", || b.ups_and_downs("a") == ["up", "down"]).await;
    a.send_signal("CONT");
    eventually("it is linked again", || {
        b.monitor("a");
        b.linked("a")
    })
    .await;
    assert!(answers(&b).await);
}

// M7
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_process_that_stood_still_longer_than_its_own_timeout_loses_no_link() {
    let (a, b) = process_and_node(Duration::from_secs(120)).await;
    assert!(answers(&b).await);
    let monitor = b.monitor("a");
    a.send_signal("STOP");
    // its link timeout is the default one: when it goes on, all its deadlines have passed
    sleep_until(Instant::now() + Duration::from_secs(11)).await;
    a.send_signal("CONT");
    assert!(answers(&b).await);
    let still = Instant::now() + Duration::from_secs(2);
    while Instant::now() < still {
        assert!(answers(&b).await);
        assert_eq!(monitor.reason(), None);
    }
    assert_eq!(b.ups_and_downs("a"), ["up"]);
}
