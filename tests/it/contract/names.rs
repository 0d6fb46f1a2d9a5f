//! P6: a name is used once.

use std::collections::BTreeSet;

use super::*;

// P6
#[tokio::test(start_paused = true)]
async fn no_two_ports_ever_have_the_same_name_not_even_across_restarts() {
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let node = Node::builder("same").start().await.unwrap();
        for _ in 0..500 {
            let port = node.port().open();
            assert!(seen.insert(port.id().clone()));
            port.kill();
        }
        node.shutdown(Duration::ZERO).await;
    }
}

// P6, P2
#[tokio::test(start_paused = true)]
async fn a_message_for_a_port_of_an_earlier_life_reaches_nobody_and_is_a_loss() {
    let world = World::remote(plain).await;
    let old = Log::open(&world.far);
    let old_id = old.id().clone();
    world.near.send(&old_id, "x").unwrap();
    world.linked(true).await;
    world.far.shutdown(Duration::ZERO).await;
    world.linked(false).await;
    let network = world.network.clone();
    let again = Node::builder("far")
        .transport(network.host("f2"))
        .listen("f2:1")
        .seed("n:1")
        .start()
        .await
        .unwrap();
    let near = Node::builder("near2")
        .transport(network.host("n2"))
        .address(again.id().clone(), "f2:1")
        .start()
        .await
        .unwrap();
    let mut new = Log::open(&again);
    let called = in_time(near.call::<u64>(&old_id, "y")).await;
    assert!(
        matches!(called, Err(portmesh::CallError::NoSuchPort)),
        "{called:?}"
    );
    let mut events = near.events();
    near.send(&old_id, "z").unwrap();
    event(
        &mut events,
        |event| matches!(event, NodeEvent::Undelivered { to, .. } if *to == old_id),
    )
    .await;
    assert!(new.rest().await.is_empty());
}

// P6
#[tokio::test(start_paused = true)]
async fn a_spawn_under_a_name_that_exists_is_refused_and_harms_nobody() {
    // by the public API a name cannot be given twice; what peers may send is tested with the core. Here: the port that
    // was spawned first keeps living through a thousand further spawns
    let world = World::remote(with_servant).await;
    let first = spawn_servant(&world);
    for _ in 0..1_000 {
        spawn_servant(&world);
    }
    let echo: u64 = world.near.call(&first, ("echo", 1)).await.unwrap();
    assert_eq!(echo, 1);
}
