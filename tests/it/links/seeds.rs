//! Seeds: tried until they answer, and again when their node goes.

use std::time::Duration;

use portmesh::runtime::events::NodeEvent;
use tokio::time::{Instant, sleep};

use super::rig::{Rig, TestNode, eventually};

async fn with_seed(rig: &Rig, name: &str, seeds: &[&str]) -> TestNode {
    let mut config = rig.config(name);
    config.seeds = seeds.iter().map(|s| (*s).to_owned()).collect();
    TestNode::start(config).await
}

#[tokio::test(start_paused = true)]
async fn a_seed_that_comes_late_is_found() {
    let rig = Rig::new();
    let leaf = with_seed(&rig, "leaf", &["hub"]).await;
    sleep(Duration::from_secs(600)).await;
    assert!(
        leaf.mesh.stats().dials_failed > 15,
        "{:?}",
        leaf.mesh.stats()
    );
    assert!(
        leaf.mesh.stats().dials_failed < 60,
        "{:?}",
        leaf.mesh.stats()
    );
    let start = Instant::now();
    let _hub = rig.node("hub", &[]).await;
    leaf.until_linked("hub").await;
    assert!(
        start.elapsed() < Duration::from_secs(40),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_seed_that_goes_and_comes_back_under_another_name_is_linked_again() {
    let rig = Rig::new();
    let leaf = with_seed(&rig, "leaf", &["hub"]).await;
    let hub = rig.node("hub", &[]).await;
    leaf.until_linked("hub").await;
    hub.mesh.shutdown(Duration::from_secs(1)).await;
    leaf.until_not_linked("hub").await;
    let transport = rig.network.host("hub");
    let other = TestNode::start(rig.config_of("other", transport, "hub")).await;
    leaf.until_linked("other").await;
    other.until_linked("leaf").await;
    assert_eq!(leaf.ups_and_downs("hub"), ["up", "down"]);
}

#[tokio::test(start_paused = true)]
async fn two_nodes_that_are_each_others_seeds_find_each_other_again_after_a_cut() {
    let rig = Rig::new();
    let a = with_seed(&rig, "a", &["b"]).await;
    let b = with_seed(&rig, "b", &["a"]).await;
    for _ in 0..5 {
        a.until_linked("b").await;
        b.until_linked("a").await;
        rig.network.cut("a", "b");
        a.until_not_linked("b").await;
        b.until_not_linked("a").await;
        sleep(Duration::from_secs(60)).await;
        rig.network.heal("a", "b");
    }
    a.until_linked("b").await;
    b.until_linked("a").await;
    eventually("one connection", || rig.network.connections("a", "b") == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_seed_that_is_the_node_itself_is_left_alone_quietly() {
    let rig = Rig::new();
    let a = with_seed(&rig, "a", &["a", "b"]).await;
    let _b = rig.node("b", &[]).await;
    a.until_linked("b").await;
    sleep(Duration::from_secs(100)).await;
    let refused = |event: &NodeEvent| matches!(event, NodeEvent::Refused { .. });
    assert!(!a.events().iter().any(refused), "{:?}", a.events());
    assert!(!a.linked("a"));
    assert!(a.mesh.stats().dialled < 20, "{:?}", a.mesh.stats());
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_right_after_the_start_reaches_a_node_that_is_only_known_as_a_seed() {
    let rig = Rig::new();
    rig.network.delay("leaf", "hub", Duration::from_millis(100));
    let hub = rig.node("hub", &[]).await;
    let inbox = hub.ports.open("in");
    let leaf = with_seed(&rig, "leaf", &["hub"]).await;
    let monitor = leaf.monitor("hub#in");
    leaf.send("hub#in", ("early",)).unwrap();
    assert_eq!(inbox.next::<(String,)>().await.0, "early");
    assert_eq!(monitor.reason(), None);
    // a name that no seed has is unreachable as soon as that is known
    let start = Instant::now();
    leaf.monitor("other").until_fired().await;
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_a_seed_taught_is_dialled_for_its_node() {
    let rig = Rig::new();
    let hub = rig.node("hub", &[]).await;
    let inbox = hub.ports.open("in");
    let leaf = with_seed(&rig, "leaf", &["hub"]).await;
    leaf.until_linked("hub").await;
    rig.network.cut("leaf", "hub");
    leaf.until_not_linked("hub").await;
    rig.network.heal("leaf", "hub");
    // at once, not at the seed's next turn
    let start = Instant::now();
    leaf.send("hub#in", ("again",)).unwrap();
    assert_eq!(inbox.next::<(String,)>().await.0, "again");
    assert!(start.elapsed() < Duration::from_millis(100));
}
