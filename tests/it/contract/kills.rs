//! M1, M4: kills, and their place among messages and monitors.

use super::*;

here_and_there! {
    // M1
    async fn a_kill_has_the_reason_it_was_given(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        let death = world.near.monitor(&servant).death();
        world.near.kill(&servant, ()).unwrap();
        assert!(in_time(death).await.is_normal());
        let servant = spawn_servant(&world);
        let death = world.near.monitor(&servant).death();
        world.near.kill(&servant, ("too_hot", 451)).unwrap();
        assert_eq!(in_time(death).await.to_string(), "too_hot: 451");
    }

    // M1
    async fn killing_what_is_not_there_does_nothing(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        world.near.kill(&servant, "gone").unwrap();
        in_time(world.near.monitor(&servant)).await;
        world.near.kill(&servant, "again").unwrap();
        let never = PortId::new(world.far.id().clone(), "never".parse().unwrap());
        world.near.kill(&never, "nobody").unwrap();
        let alive = spawn_servant(&world);
        let echo: u64 = world.near.call(&alive, ("echo", 1)).await.unwrap();
        assert_eq!(echo, 1);
    }

    // M1
    async fn the_node_port_cannot_be_killed(world: World) with plain; {
        let node_port = PortId::of_node(world.far.id().clone());
        let monitor = world.near.monitor(&node_port).call(|_| {});
        world.near.kill(&node_port, "die").unwrap();
        world.near.kill(&node_port, ()).unwrap();
        let pong: String = world.near.call(&node_port, "ping").await.unwrap();
        assert_eq!(pong, "pong");
        assert!(!monitor.has_fired());
    }

    // M4
    async fn messages_before_a_kill_are_handled_and_those_behind_are_not(world: World) with with_servant; {
        let mut log = Log::open(&world.near);
        let servant = spawn_servant(&world);
        for n in 0..100 {
            world.near.send(&servant, ("tell", log.id(), n)).unwrap();
        }
        world.near.kill(&servant, "enough").unwrap();
        let death = world.near.monitor(&servant).death();
        world.near.send(&servant, ("tell", log.id(), "too late")).unwrap();
        in_time(death).await;
        assert_eq!(log.rest().await, (0..100).map(|n| format!("[{n}]")).collect::<Vec<_>>());
    }

    // M4: five seconds, then the handler ends at its next await
    async fn a_kill_waits_for_earlier_messages_a_limited_time(world: World) with with_servant; {
        let mut log = Log::open(&world.near);
        let servant = spawn_servant(&world);
        world.near.send(&servant, ("hang", log.id())).unwrap();
        assert_eq!(log.next().await, r#"["hanging"]"#);
        world.near.send(&servant, ("tell", log.id(), "never handled")).unwrap();
        let death = world.near.monitor(&servant).death();
        let before = tokio::time::Instant::now();
        world.near.kill(&servant, "at last").unwrap();
        assert_eq!(in_time(death).await.to_string(), "at last");
        let waited = before.elapsed();
        assert!(waited >= Duration::from_millis(4_900) && waited < Duration::from_millis(5_500), "{waited:?}");
        assert!(log.rest().await.is_empty());
    }

    // M4
    async fn a_second_kill_changes_neither_reason_nor_wait(world: World) with with_servant; {
        let mut log = Log::open(&world.near);
        let servant = spawn_servant(&world);
        world.near.send(&servant, ("hang", log.id())).unwrap();
        log.next().await;
        let death = world.near.monitor(&servant).death();
        let before = tokio::time::Instant::now();
        world.near.kill(&servant, "first").unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        for _ in 0..1_000 {
            world.near.kill(&servant, "second").unwrap();
        }
        assert_eq!(in_time(death).await.to_string(), "first");
        assert!(before.elapsed() < Duration::from_millis(5_500));
    }
}

// M4
#[tokio::test(start_paused = true)]
async fn a_port_that_kills_itself_finishes_its_handler_first() {
    let world = World::local(plain).await;
    let mut log = Log::open(&world.near);
    let port = world
        .near
        .port()
        .on("end", async |_: &mut (), cx: &Context, to: PortId| {
            cx.kill(cx.id(), "by myself").unwrap();
            tokio::time::sleep(Duration::from_secs(20)).await;
            cx.send(&to, "still here")
        })
        .on("late", async |_: &mut (), cx: &Context, to: PortId| {
            cx.send(&to, "late")
        })
        .open();
    let death = world.near.monitor(port.id()).death();
    world.near.send(port.id(), ("end", log.id())).unwrap();
    world.near.send(port.id(), ("late", log.id())).unwrap();
    assert_eq!(in_time(death).await.to_string(), "by myself");
    assert_eq!(log.rest().await, [r#"["still here"]"#]);
}

// M4: a handler that awaits often but never ends is ended at one of its awaits
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_handler_is_ended_at_its_next_await() {
    let node = Node::builder("busy")
        .limits(Limits {
            kill_wait: Duration::from_millis(50),
            ..Limits::default()
        })
        .start()
        .await
        .unwrap();
    let port = node
        .port()
        .on("spin", async |_: &mut (), _: &Context, (): ()| {
            while tokio::time::Instant::now().elapsed() < LONG {
                tokio::task::yield_now().await;
            }
        })
        .open();
    node.send(port.id(), "spin").unwrap();
    let death = node.monitor(port.id()).death();
    port.kill_with("stop it").unwrap();
    assert_eq!(in_time(death).await.to_string(), "stop it");
}
