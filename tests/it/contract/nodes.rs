//! L1, L5, L6, and the node itself: names, events, stopping, what is left when nobody holds it.

use portmesh::{SendError, StartError};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_name_is_made_of_host_and_chance_and_must_be_one() {
    let one = Node::builder("w/%u").start().await.unwrap();
    let two = Node::builder("w/%u").start().await.unwrap();
    assert_ne!(one.id(), two.id());
    assert!(one.id().as_str().starts_with("w/") && !one.id().as_str().contains('%'));
    let host = Node::builder("%n").start().await.unwrap();
    assert!(!host.id().as_str().is_empty());
    let refused = Node::builder("not a name").start().await;
    assert!(
        matches!(&refused, Err(StartError::Name { name, .. }) if name == "not a name"),
        "{refused:?}"
    );
}

// L5, L6
#[tokio::test(start_paused = true)]
async fn up_and_down_alternate_and_a_shutdown_is_told() {
    let world = World::remote(plain).await;
    let mut events = world.near.events();
    let far = PortId::of_node(world.far.id().clone());
    for round in 0..3 {
        let pong: String = in_time(world.near.call(&far, "ping")).await.unwrap();
        assert_eq!(pong, "pong");
        if round == 2 {
            world.far.shutdown(Duration::from_secs(1)).await;
        } else {
            world.network.cut("n", "f");
            world.linked(false).await;
            world.network.heal("n", "f");
        }
    }
    let mut ups = Vec::new();
    while ups.len() < 6 {
        match in_time(events.next()).await.unwrap() {
            NodeEvent::Up { node, .. } if node == *world.far.id() => ups.push(true),
            NodeEvent::Down { node, .. } if node == *world.far.id() => ups.push(false),
            _ => {}
        }
    }
    assert_eq!(ups, [true, false, true, false, true, false]);
}

here_and_there! {
    // L6
    async fn after_a_shutdown_nothing_is_accepted_and_every_monitor_has_fired(world: World) with with_servant; {
        let mut log = Log::open(&world.near);
        let servant = spawn_servant(&world);
        let echo: u64 = world.near.call(&servant, ("echo", 1)).await.unwrap();
        assert_eq!(echo, 1);
        let death = world.near.monitor(&servant).death();
        let own = world.near.monitor(log.id()).death();
        let node_port = world.near.monitor(&PortId::of_node(world.near.id().clone())).death();
        in_time(world.near.shutdown(Duration::from_secs(1))).await;
        in_time(world.near.shutdown(Duration::from_secs(1))).await;
        for death in [death, own, node_port] {
            assert!(death.has_fired());
            assert!(!in_time(death).await.is_normal());
        }
        assert!(!log.port.is_alive());
        let refused = world.near.send(&servant, "x");
        let Err(SendError::ShutDown(message)) = refused else { panic!("{refused:?}") };
        assert_eq!(message.to_string(), r#"["x"]"#);
        let called = in_time(world.near.call::<u64>(&servant, "x")).await;
        assert!(matches!(called, Err(portmesh::CallError::ShutDown)), "{called:?}");
        assert!(!world.near.port().open().is_alive());
        assert!(matches!(world.near.spawn(world.far.id(), "servant", ()), Err(portmesh::SpawnError::ShutDown)));
        assert!(log.rest().await.is_empty());
    }

    // L6
    async fn a_shutdown_flushes_what_was_sent(world: World) with plain; {
        if world.is_local() {
            return;
        }
        let mut log = Log::open(&world.far);
        for n in 0..1_000 {
            world.near.send(log.id(), n).unwrap();
        }
        in_time(world.near.shutdown(Duration::from_secs(10))).await;
        for n in 0..1_000 {
            assert_eq!(log.next().await, format!("[{n}]"));
        }
    }
}

// L1
#[tokio::test(start_paused = true)]
async fn two_nodes_that_send_to_each_other_at_once_have_one_link_and_lose_nothing() {
    let network = MemoryNetwork::new();
    let mut nodes = Vec::new();
    for (name, other) in [("a", "b"), ("b", "a")] {
        nodes.push(
            Node::builder(name)
                .transport(network.host(name))
                .listen(format!("{name}:1"))
                .address(other.parse().unwrap(), format!("{other}:1"))
                .start()
                .await
                .unwrap(),
        );
    }
    let [a, b] = nodes.as_slice() else {
        unreachable!()
    };
    let (mut to_a, mut to_b) = (Log::open(a), Log::open(b));
    let monitors = [a.monitor(to_b.id()).death(), b.monitor(to_a.id()).death()];
    for n in 0..100 {
        a.send(to_b.id(), n).unwrap();
        b.send(to_a.id(), n).unwrap();
    }
    for n in 0..100 {
        assert_eq!(to_a.next().await, format!("[{n}]"));
        assert_eq!(to_b.next().await, format!("[{n}]"));
    }
    settle().await;
    assert_eq!((a.links().len(), b.links().len()), (1, 1));
    assert!(monitors.iter().all(|monitor| !monitor.has_fired()));
}

#[tokio::test(start_paused = true)]
async fn a_node_ends_with_its_last_handle() {
    let world = World::remote(plain).await;
    let far = PortId::of_node(world.far.id().clone());
    let pong: String = world.near.call(&far, "ping").await.unwrap();
    assert_eq!(pong, "pong");
    struct Flag(Notes);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.note("dropped");
        }
    }
    let notes = Notes::new();
    let World { near, far, .. } = world;
    let port = near
        .port()
        .state(Flag(notes.clone()))
        .on("x", async |_: &mut Flag, _: &Context, (): ()| {})
        .open();
    let id = port.id().clone();
    near.send(&id, "x").unwrap();
    settle().await;
    drop(near);
    assert!(port.is_alive());
    drop(port);
    assert_eq!(notes.next().await, "dropped");
    until(|| far.links().is_empty()).await;
}

#[tokio::test]
async fn a_node_that_cannot_start_says_why_and_leaves_nothing() {
    let without = Node::builder("n").listen("127.0.0.1:0").start().await;
    let text = without.unwrap_err().to_string();
    assert!(
        text.contains("identity") && text.contains("secret"),
        "{text}"
    );
    // a fixed name in secret mode needs a place for its key
    let secret = portmesh::Secret::from_bytes([7; 32]);
    let unkept = Node::builder("n")
        .secret(secret.clone())
        .listen("127.0.0.1:0")
        .start()
        .await;
    let text = unkept.unwrap_err().to_string();
    assert!(
        text.contains("state directory") && text.contains("%u"),
        "{text}"
    );
    // the address is taken
    let network = MemoryNetwork::new();
    let first = Node::builder("a")
        .transport(network.host("a"))
        .listen("a:1")
        .start()
        .await
        .unwrap();
    let second = Node::builder("b")
        .transport(network.host("b"))
        .listen("a:1")
        .start()
        .await;
    assert!(matches!(second, Err(StartError::Mesh(_))), "{second:?}");
    assert_eq!(first.listen_addrs(), ["a:1"]);
}

// P1, S4: over TCP and TLS, in secret mode, by the builder alone
#[tokio::test]
async fn two_nodes_meet_over_tls_with_a_secret() {
    let secret = portmesh::Secret::from_bytes([7; 32]);
    let far = Node::builder("far/%u")
        .secret(secret.clone())
        .listen("127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let near = Node::builder("near/%u")
        .secret(secret)
        .address(far.id().clone(), &far.listen_addrs()[0])
        .start()
        .await
        .unwrap();
    let pong: String = in_time(near.call(&PortId::of_node(far.id().clone()), "ping"))
        .await
        .unwrap();
    assert_eq!(pong, "pong");
    let links = near.links();
    assert_eq!(links.len(), 1);
    assert!(links[0].security.contains("TLS"), "{:?}", links[0]);
    in_time(near.shutdown(Duration::from_secs(1))).await;
    in_time(far.shutdown(Duration::from_secs(1))).await;
}
