//! S1, S2, S3: ports made by name.

use std::sync::atomic::{AtomicUsize, Ordering};

use portmesh::{Failure, SpawnError};

use super::*;

fn with_inits(node: NodeBuilder) -> NodeBuilder {
    with_servant(node)
        .spawnable("late", async |cx: &Init, (log,): (PortId,)| {
            cx.send(&log, "init begins")?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            cx.send(&log, "init ends")?;
            cx.port()
                .state(log)
                .on(
                    "say",
                    async |log: &mut PortId, cx: &Context, text: String| cx.send(log, text),
                )
                .open();
            Ok::<(), Failure>(())
        })
        .spawnable("fails", async |_: &Init, (): ()| Err::<(), _>("not today"))
        .spawnable("panics", async |_: &Init, (): ()| {
            if tokio::time::Instant::now().elapsed() < LONG {
                panic!("boom")
            }
        })
        .spawnable("bare", async |_: &Init, (): ()| {})
        .spawnable("picky", async |_: &Init, (_,): (u64,)| {})
        .spawnable("stops", async |cx: &Init, (): ()| cx.stop())
}

here_and_there! {
    // S1
    async fn what_is_sent_at_once_comes_after_the_init_function(world: World) with with_inits; {
        let mut log = Log::open(&world.near);
        let port = world.near.spawn(world.far.id(), "late", (log.id(),)).unwrap();
        let death = world.near.monitor(&port).death();
        for n in 0..10 {
            world.near.send(&port, ("say", format!("message {n}"))).unwrap();
        }
        world.near.kill(&port, "done").unwrap();
        assert_eq!(log.next().await, r#"["init begins"]"#);
        assert_eq!(log.next().await, r#"["init ends"]"#);
        for n in 0..10 {
            assert_eq!(log.next().await, format!(r#"["message {n}"]"#));
        }
        assert_eq!(in_time(death).await.to_string(), "done");
    }

    // S1, P6
    async fn a_spawned_port_has_a_name_of_its_spawner_and_the_node_it_was_asked_for(world: World) with with_inits; {
        let mut seen = std::collections::BTreeSet::new();
        let prefix = world.near.incarnation().port_prefix();
        for _ in 0..100 {
            let port = spawn_servant(&world);
            assert_eq!(port.node(), world.far.id());
            assert!(port.name().as_str().starts_with(&prefix));
            assert!(seen.insert(port));
        }
    }

    // S1: a port stands for its node, a text for the node it names
    async fn the_target_is_a_node_or_a_port_in_any_form(world: World) with with_inits; {
        let one = world.near.spawn(world.far.id(), "servant", ()).unwrap();
        let two = world.near.spawn(&one, "servant", ()).unwrap();
        let three = world.near.spawn(two.to_string(), "servant", ()).unwrap();
        for port in [one, two, three] {
            let echo: u64 = world.near.call(&port, ("echo", 3)).await.unwrap();
            assert_eq!(echo, 3);
        }
        let refused = world.near.spawn("not a node", "servant", ());
        assert!(matches!(refused, Err(SpawnError::BadTarget(_))));
        let refused = world.near.spawn(world.far.id(), "servant", f64::NAN);
        assert!(matches!(refused, Err(SpawnError::NotEncodable(_))));
        let refused = world.near.spawn(world.far.id(), &"f".repeat(256), ());
        assert!(matches!(refused, Err(SpawnError::FunctionName(256))));
    }

    // S2
    async fn what_goes_wrong_at_birth_the_port_dies_of(world: World) with with_inits; {
        for (function, reason) in [
            ("no such", "no_such_function: no such"),
            ("fails", "die: not today"),
            ("panics", "die: boom"),
        ] {
            let port = world.near.spawn(world.far.id(), function, ()).unwrap();
            let at_once = world.near.monitor(&port).death();
            assert_eq!(in_time(at_once).await.to_string(), reason);
            // also for a monitor that comes a little later
            let later = world.near.monitor(&port).death();
            assert_eq!(in_time(later).await.to_string(), reason);
        }
        let port = world.near.spawn(world.far.id(), "picky", ("text",)).unwrap();
        let reason = in_time(world.near.monitor(&port)).await;
        assert_eq!(reason.tag(), Some("die"));
        assert!(reason.to_string().contains("arguments"), "{reason}");
    }

    // S1, P4
    async fn an_init_function_without_handlers_leaves_a_port_that_handles_nothing(world: World) with with_inits; {
        let port = world.near.spawn(world.far.id(), "bare", ()).unwrap();
        let death = world.near.monitor(&port).death();
        settle().await;
        assert!(!death.has_fired());
        world.near.send(&port, "hello").unwrap();
        assert_eq!(in_time(death).await.to_string(), "unhandled_message: hello");
    }

    async fn an_init_function_can_stop_its_port(world: World) with with_inits; {
        let port = world.near.spawn(world.far.id(), "stops", ()).unwrap();
        let reason = in_time(world.near.monitor(&port)).await;
        assert!(reason.is_normal() || reason.tag() == Some("no_such_port"), "{reason}");
    }
}

// S3
#[tokio::test(start_paused = true)]
async fn a_local_init_function_does_nothing_before_spawn_returns() {
    static RUN: AtomicUsize = AtomicUsize::new(0);
    let node = Node::builder("n")
        .spawnable("count", async |_: &Init, (): ()| {
            RUN.fetch_add(1, Ordering::SeqCst);
        })
        .start()
        .await
        .unwrap();
    // in a handler too
    let notes = Notes::new();
    let port = node
        .port()
        .state(notes.clone())
        .on("go", async |notes: &mut Notes, cx: &Context, (): ()| {
            cx.spawn(cx.node().id(), "count", ()).unwrap();
            notes.note(RUN.load(Ordering::SeqCst));
        })
        .open();
    for n in 1..=3 {
        node.spawn("n", "count", ()).unwrap();
        assert_eq!(RUN.load(Ordering::SeqCst), 2 * (n - 1));
        until(|| RUN.load(Ordering::SeqCst) == 2 * n - 1).await;
        node.send(port.id(), "go").unwrap();
        assert_eq!(notes.next().await, (2 * n - 1).to_string());
        until(|| RUN.load(Ordering::SeqCst) == 2 * n).await;
    }
}
