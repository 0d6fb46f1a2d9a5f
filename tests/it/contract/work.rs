//! P5: work in a port's context from outside, and handlers that change while the port lives.

use portmesh::{Failure, RunError};

use super::*;

// P5
#[tokio::test(start_paused = true)]
async fn handlers_come_and_go_while_the_port_lives_also_by_themselves() {
    let world = World::local(plain).await;
    let mut log = Log::open(&world.near);
    let to = log.id().clone();
    let port = world
        .near
        .port()
        .state(to.clone())
        .on(
            "learn",
            async |_: &mut PortId, cx: &Context, tag: String| {
                cx.set(&tag, async |to: &mut PortId, cx: &Context, x: Value| {
                    cx.send(to, ("learnt", x))
                })?;
                cx.unset::<PortId>("learn")?;
                Ok::<(), Failure>(())
            },
        )
        .ignore_unhandled()
        .open();
    let (node, id) = (&world.near, port.id());
    // a tag may be any text, a port ID too
    let tag = "elsewhere#p".parse::<PortId>().unwrap();
    node.send(id, (&tag, 0)).unwrap();
    node.send(id, ("learn", &tag)).unwrap();
    node.send(id, (&tag, 1)).unwrap();
    node.send(id, ("learn", "too late")).unwrap();
    node.send(id, ("too late", 2)).unwrap();
    assert_eq!(log.next().await, r#"["learnt",1]"#);
    assert!(log.rest().await.is_empty());
    port.set(&tag, async |to: &mut PortId, cx: &Context, x: Value| {
        cx.send(to, ("replaced", x))
    });
    let told = Notes::new();
    let notes = told.clone();
    port.set_fn("", move |_: &mut PortId, _: &Context, x: u64| notes.note(x));
    node.send(id, (&tag, 3)).unwrap();
    node.send(id, ("", 4)).unwrap();
    assert_eq!(log.next().await, r#"["replaced",3]"#);
    assert_eq!(told.next().await, "4");
    assert!(port.unset(&tag));
    assert!(!port.unset(&tag));
    node.send(id, (&tag, 5)).unwrap();
    assert!(log.rest().await.is_empty());
    assert!(port.is_alive());
}

// P5
#[tokio::test(start_paused = true)]
async fn ports_made_alike_do_not_share_changes_of_their_handlers() {
    let world = World::local(plain).await;
    let node = &world.near;
    let notes = Notes::new();
    let open = || {
        let port = node.port().state(notes.clone()).on(
            "learn",
            async |_: &mut Notes, cx: &Context, text: String| {
                cx.handle::<Notes>()?.set_fn(
                    "tell",
                    move |notes: &mut Notes, _: &Context, n: u64| {
                        notes.note(format!("{text} {n}"));
                    },
                );
                Ok::<(), Failure>(())
            },
        );
        port.on("tell", async |notes: &mut Notes, _: &Context, n: u64| {
            notes.note(format!("untaught {n}"));
        })
        .open()
    };
    let (one, two) = (open(), open());
    node.send(one.id(), ("learn", "taught")).unwrap();
    node.send(one.id(), ("tell", 1)).unwrap();
    assert_eq!(notes.next().await, "taught 1");
    node.send(two.id(), ("tell", 2)).unwrap();
    assert_eq!(notes.next().await, "untaught 2");
    let three = open();
    node.send(three.id(), ("tell", 3)).unwrap();
    assert_eq!(notes.next().await, "untaught 3");
    assert!(two.unset("tell"));
    node.send(three.id(), ("tell", 4)).unwrap();
    assert_eq!(notes.next().await, "untaught 4");
    // without the handler it is a message that nobody takes
    let death = node.monitor(two.id()).death();
    node.send(two.id(), ("tell", 5)).unwrap();
    assert_eq!(death.await.tag(), Some("unhandled_message"));
    assert!(!two.unset("tell"));
    assert!(one.is_alive() && three.is_alive());
}

// P5
#[tokio::test(start_paused = true)]
async fn what_a_handler_held_is_dropped_with_it() {
    let world = World::local(plain).await;
    let held = Arc::new(());
    let holder = held.clone();
    let port = world
        .near
        .port()
        .on_fn("x", move |(): &mut (), _: &Context, (): ()| {
            let _ = &holder;
        })
        .open();
    world.near.send(port.id(), "x").unwrap();
    settle().await;
    assert_eq!(Arc::strong_count(&held), 2);
    port.set("x", async |(): &mut (), _: &Context, (): ()| {});
    assert_eq!(Arc::strong_count(&held), 1);
}

// P5
#[tokio::test(start_paused = true)]
async fn handlers_of_another_state_are_refused() {
    let world = World::local(plain).await;
    let notes = Notes::new();
    let port = world
        .near
        .port()
        .state(notes.clone())
        .on("set", async |notes: &mut Notes, cx: &Context, (): ()| {
            let wrong = cx.set("x", async |_: &mut String, _: &Context, (): ()| {});
            notes.note(wrong.unwrap_err());
            assert!(cx.handle::<u8>().is_err());
            assert!(cx.handle::<Notes>().is_ok());
        })
        .open();
    world.near.send(port.id(), "set").unwrap();
    assert_eq!(
        notes.next().await,
        "the state of the port is not a alloc::string::String"
    );
    assert!(port.is_alive());
}

// P5
#[tokio::test(start_paused = true)]
async fn work_waits_its_turn_and_its_failure_kills_the_port() {
    let world = World::local(plain).await;
    let notes = Notes::new();
    let port = world
        .near
        .port()
        .state(notes.clone())
        .on("slow", async |notes: &mut Notes, cx: &Context, (): ()| {
            let told = notes.clone();
            cx.run(async move { told.note("run") }).unwrap();
            let told = notes.clone();
            cx.task(async move {
                tokio::time::sleep(Duration::from_millis(500)).await;
                told.note("task, beside the handler");
            });
            tokio::time::sleep(Duration::from_secs(1)).await;
            notes.note("handler");
        })
        .open();
    world.near.send(port.id(), "slow").unwrap();
    settle().await;
    let by = "work".to_owned();
    port.run(async move |notes: &mut Notes, cx: &Context| {
        notes.note(format!("{by} on {}", cx.id().node()));
        Err::<(), _>("spoilt")
    })
    .unwrap();
    let death = world.near.monitor(port.id()).death();
    for line in ["task, beside the handler", "handler", "run", "work on one"] {
        assert_eq!(notes.next().await, line);
    }
    assert_eq!(in_time(death).await.to_string(), "die: spoilt");
    let refused = port.run(async |_: &mut Notes, _: &Context| {});
    assert_eq!(refused, Err(RunError::Dead));
}

// P5, P8
#[tokio::test(start_paused = true)]
async fn work_takes_room_in_the_mailbox() {
    let world = World::local(plain).await;
    let port = world.near.port().mailbox(3, 1_000).open();
    port.run(async |_: &mut (), _: &Context| std::future::pending::<()>().await)
        .unwrap();
    settle().await;
    for _ in 0..3 {
        port.run(async |_: &mut (), _: &Context| {}).unwrap();
    }
    let refused = port.run(async |_: &mut (), _: &Context| {});
    assert_eq!(refused, Err(RunError::Full));
}

// P5: a task of a port ends with it, and kills it when it fails
#[tokio::test(start_paused = true)]
async fn a_task_lives_and_dies_with_its_port() {
    let world = World::local(plain).await;
    let notes = Notes::new();
    struct Flag(Notes);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.note("task dropped");
        }
    }
    let port = world
        .near
        .port()
        .state(notes.clone())
        .on("start", async |notes: &mut Notes, cx: &Context, (): ()| {
            let flag = Flag(notes.clone());
            cx.task(async move {
                let _flag = flag;
                std::future::pending::<()>().await;
            });
        })
        .on("spoil", async |_: &mut Notes, cx: &Context, (): ()| {
            cx.task(async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Err::<(), _>("spoilt by a task")
            });
        })
        .open();
    let death = world.near.monitor(port.id()).death();
    world.near.send(port.id(), "start").unwrap();
    assert!(notes.rest().await.is_empty());
    world.near.send(port.id(), "spoil").unwrap();
    assert_eq!(in_time(death).await.to_string(), "die: spoilt by a task");
    assert_eq!(notes.next().await, "task dropped");
}

#[tokio::test(start_paused = true)]
async fn a_port_outlives_its_handle_and_dies_by_it() {
    let world = World::local(with_servant).await;
    let port = servant(world.near.port()).open();
    let id = port.id().clone();
    drop(port.clone());
    drop(port);
    let echo: u64 = world.near.call(&id, ("echo", 1)).await.unwrap();
    assert_eq!(echo, 1);
    let port = servant(world.near.port()).open();
    let death = world.near.monitor(port.id()).death();
    port.kill();
    assert!(in_time(death).await.is_normal());
    assert!(!port.is_alive());
}
