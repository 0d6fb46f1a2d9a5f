//! A node that finds no home says so, and what to do about it.

use std::time::Duration;

use portmesh::{Node, transport::memory::MemoryNetwork};

use super::whole::{builder, start, within};
use crate::{links::rig::eventually, support::log::Log};

async fn alone(network: &MemoryNetwork, name: &str, seeds: &[&str]) -> Node {
    builder(network, name, seeds).start().await.unwrap()
}

fn warnings(log: &Log, node: &str) -> Vec<String> {
    let about = format!("node={node}");
    let lines = log.lines().into_iter();
    lines
        .filter(|line| line.contains("no home in the database") && line.contains(&about))
        .collect()
}

// R5 L4
#[tokio::test(start_paused = true)]
async fn a_node_without_a_home_says_why_and_what_to_do() {
    let (log, _guard) = Log::begin();
    let network = MemoryNetwork::new();
    // nobody at the seed, an ordinary node there, none, and a global one that is no seed
    let plain = alone(&network, "plain", &["g"]).await;
    let lost = alone(&network, "lost", &["plain"]).await;
    let seedless = alone(&network, "seedless", &[]).await;
    let wrong = alone(&network, "wrong", &["plain"]).await;
    let other = builder(&network, "other", &["wrong"]).global(true);
    let other = other.start().await.unwrap();
    for (node, words) in [
        ("plain", "none of the seeds answers"),
        ("lost", "(plain) are no global nodes"),
        ("seedless", "has no seed"),
        ("wrong", "other would be a global node by its own word"),
    ] {
        eventually("it warns", || !warnings(&log, node).is_empty()).await;
        let told = warnings(&log, node);
        assert!(
            told[0].contains(words) && told[0].contains(" WARN "),
            "{told:?}"
        );
    }
    drop((lost, seedless, wrong, other));
    // once, and again when a home that was found is gone for long
    let g = start(&network, "g", &[]).await;
    within(plain.db().ready()).await.unwrap();
    assert_eq!(warnings(&log, "plain").len(), 1);
    g.shutdown(Duration::from_secs(1)).await;
    eventually("it warns again", || warnings(&log, "plain").len() == 2).await;
    let told = warnings(&log, "plain").pop();
    assert!(
        told.is_some_and(|told| told.contains("no node at the seeds is linked any more (g was)"))
    );
    let g = start(&network, "g", &[]).await;
    within(plain.db().ready()).await.unwrap();
    drop(g);
}
