//! Links that nobody uses are closed, and nothing is lost with them.

use std::time::Duration;

use portmesh::{
    proto::{close::CloseReason, message::Message},
    runtime::{events::NodeEvent, watch},
};
use tokio::time::{Instant, sleep};

use super::rig::{Rig, TestNode, eventually, pid};

const IDLE: Duration = Duration::from_secs(30);

fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.limits.idle_timeout = IDLE;
    rig
}

async fn two(rig: &Rig) -> (TestNode, TestNode) {
    let nodes = (rig.node("a", &["b"]).await, rig.node("b", &["a"]).await);
    nodes.0.mesh.want(&nodes.1.name);
    nodes.0.until_linked("b").await;
    nodes.1.until_linked("a").await;
    nodes
}

/// Neither node loses the link within a time in which an idle one ends.
async fn stays(nodes: &(TestNode, TestNode)) {
    let start = Instant::now();
    while start.elapsed() < IDLE * 4 {
        assert!(nodes.0.linked("b") && nodes.1.linked("a"));
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(nodes.0.ups_and_downs("b").last(), Some(&"up"));
}

/// It ends now that nothing needs it.
async fn ends(nodes: &(TestNode, TestNode)) {
    nodes.0.until_not_linked("b").await;
    nodes.1.until_not_linked("a").await;
}

// P2, L5
#[tokio::test(start_paused = true)]
async fn an_idle_link_ends_and_the_next_message_opens_it_again() {
    let rig = rig();
    let (a, b) = two(&rig).await;
    let (to_a, to_b) = (a.ports.open("in"), b.ports.open("in"));
    for n in 0..5 {
        let start = Instant::now();
        // whoever sends next
        let (from, to, inbox) = match n % 2 {
            0 => (&a, "b#in", &to_b),
            _ => (&b, "a#in", &to_a),
        };
        from.send(to, ("n", n)).unwrap();
        assert_eq!(inbox.next::<(String, i32)>().await.1, n);
        a.until_not_linked("b").await;
        b.until_not_linked("a").await;
        let lasted = start.elapsed();
        assert!(
            (IDLE..IDLE + Duration::from_secs(6)).contains(&lasted),
            "{lasted:?}"
        );
        assert_eq!(rig.network.connections("a", "b"), 0);
    }
    for (node, of) in [(&a, "b"), (&b, "a")] {
        assert_eq!(node.ups_and_downs(of), ["up", "down"].repeat(5));
        assert_eq!(node.mesh.stats().lost, 0);
        let is_idle = |event: &NodeEvent| match event {
            NodeEvent::Down { reason, .. } => *reason == CloseReason::Idle,
            _ => true,
        };
        assert!(node.events().iter().all(is_idle));
    }
}

// M5
#[tokio::test(start_paused = true)]
async fn a_monitor_of_either_side_holds_it_open() {
    let rig = rig();
    let nodes = two(&rig).await;
    let (a, b) = (&nodes.0, &nodes.1);
    a.ports.open("in");
    b.ports.open("in");
    for (node, to) in [(a, "b"), (a, "b#in"), (b, "a"), (b, "a#in")] {
        node.mesh.want(&pid(to).node().clone());
        a.until_linked("b").await;
        b.until_linked("a").await;
        let monitor = node.monitor(to);
        stays(&nodes).await;
        assert_eq!(monitor.reason(), None);
        node.mesh.unmonitor(&pid(to), monitor.id());
        ends(&nodes).await;
        assert_eq!(monitor.reason(), None);
    }
}

// S4
#[tokio::test(start_paused = true)]
async fn a_call_under_way_and_a_message_that_is_held_hold_it_open() {
    let mut rig = rig();
    rig.limits.mailbox_count_max = 1;
    let nodes = two(&rig).await;
    let (a, b) = (&nodes.0, &nodes.1);
    let inbox = b.ports.open("in");
    let message = Message::encode(&("call", 0), &rig.limits).unwrap();
    let id = a.mesh.call(&pid("b#in"), message, watch(|_| {})).unwrap();
    stays(&nodes).await;
    // it was answered
    a.mesh.unmonitor(&pid("b#in"), id);
    // one is in the mailbox already, so this one is held
    a.send("b#in", ("n", 1)).unwrap();
    stays(&nodes).await;
    assert_eq!(inbox.next::<(String, i32)>().await.1, 0);
    assert_eq!(inbox.next::<(String, i32)>().await.1, 1);
    ends(&nodes).await;
    assert_eq!(a.mesh.stats().lost, 0);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_kept_stays_until_it_is_not() {
    let rig = rig();
    let nodes = two(&rig).await;
    for (keeper, of) in [(&nodes.0, &nodes.1), (&nodes.1, &nodes.0)] {
        keeper.mesh.want(&of.name);
        nodes.0.until_linked("b").await;
        nodes.1.until_linked("a").await;
        keeper.mesh.keep(&of.name, true);
        stays(&nodes).await;
        keeper.mesh.keep(&of.name, false);
        ends(&nodes).await;
        // it belongs to the link: without one it does nothing
        keeper.mesh.keep(&of.name, true);
    }
    nodes.0.mesh.want(&nodes.1.name);
    nodes.0.until_linked("b").await;
    ends(&nodes).await;
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_zero_and_a_link_to_a_seed_never_end() {
    let mut rig = rig();
    let mut config = rig.config("a");
    config.seeds = vec!["b".to_owned()];
    let b = rig.node("b", &[]).await;
    let seeded = (TestNode::start(config).await, b);
    seeded.0.until_linked("b").await;
    seeded.1.until_linked("a").await;
    stays(&seeded).await;
    assert_eq!(seeded.0.ups_and_downs("b"), ["up"]);

    rig = Rig::new();
    rig.limits.idle_timeout = Duration::ZERO;
    stays(&two(&rig).await).await;
}

// P1, P2, M2, M6
#[tokio::test(start_paused = true)]
async fn whatever_crosses_the_end_of_an_idle_link_arrives_over_the_next() {
    let mut ended = 0;
    // every moment around the question and its answer
    for step in 0..60_u64 {
        let mut rig = rig();
        rig.limits.idle_timeout = Duration::from_secs(5);
        rig.limits.link_timeout = Duration::from_secs(2);
        for (from, to) in [("a", "b"), ("b", "a")] {
            rig.network.delay(from, to, Duration::from_millis(70));
        }
        let (a, b) = two(&rig).await;
        let (to_a, to_b) = (a.ports.open("in"), b.ports.open("in"));
        sleep(Duration::from_millis(4900 + 20 * step)).await;
        // the monitor of one side, messages of both
        a.send("b#in", ("n", 1)).unwrap();
        let monitors = [a.monitor("b#in"), a.monitor("b")];
        a.send("b#in", ("n", 2)).unwrap();
        b.send("a#in", ("n", 3)).unwrap();
        assert_eq!(to_b.next::<(String, i32)>().await.1, 1);
        assert_eq!(to_b.next::<(String, i32)>().await.1, 2);
        assert_eq!(to_a.next::<(String, i32)>().await.1, 3);
        assert_eq!(a.mesh.stats().lost + b.mesh.stats().lost, 0, "step {step}");
        assert!(monitors.iter().all(|m| m.reason().is_none()), "step {step}");
        // the monitor is there
        to_b.die(portmesh::proto::message::Reason::die("now"));
        monitors[0].until_fired().await;
        assert_eq!(monitors[1].reason(), None);
        let downs = a.events().into_iter().filter_map(|event| match event {
            NodeEvent::Down { reason, .. } => Some(reason),
            _ => None,
        });
        let downs: Vec<_> = downs.collect();
        assert!(
            downs.iter().all(|reason| *reason == CloseReason::Idle),
            "step {step}: {downs:?}"
        );
        ended += u32::from(!downs.is_empty());
    }
    assert!((1..60).contains(&ended), "{ended} links ended");
}

// L6
#[tokio::test(start_paused = true)]
async fn what_was_accepted_while_a_link_ended_goes_out_at_a_shutdown() {
    for step in 0..20_u64 {
        let mut rig = rig();
        rig.limits.idle_timeout = Duration::from_secs(5);
        rig.limits.link_timeout = Duration::from_secs(2);
        rig.network.delay("a", "b", Duration::from_millis(70));
        let (a, b) = two(&rig).await;
        let inbox = b.ports.open("in");
        sleep(Duration::from_millis(4900 + 60 * step)).await;
        a.send("b#in", ("n", 1)).unwrap();
        a.mesh.shutdown(Duration::from_secs(10)).await;
        eventually("the last message", || inbox.waiting().0 == 1).await;
        assert_eq!(a.mesh.stats().lost, 0, "step {step}");
    }
}
