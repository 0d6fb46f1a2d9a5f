//! S4, S5: calls and timers.

use portmesh::CallError;

use super::*;

here_and_there! {
    // S4
    async fn a_call_ends_with_the_reply_and_leaves_nothing(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        let before = world.near.stats().ports;
        for n in 0..200u64 {
            let echo: u64 = world.near.call(&servant, ("echo", n)).within(LONG).await.unwrap();
            assert_eq!(echo, n);
        }
        until(|| world.near.stats().ports <= before + 1).await;
    }

    // S4
    async fn calls_in_flight_at_once_get_their_own_replies(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        let calls: Vec<_> = (0..64u64)
            .map(|n| {
                let (node, to) = (world.near.clone(), servant.clone());
                tokio::spawn(async move { (n, node.call::<u64>(&to, ("echo", n)).await.unwrap()) })
            })
            .collect();
        for call in calls {
            let (n, echo) = in_time(call).await.unwrap();
            assert_eq!(n, echo);
        }
    }

    // S4
    async fn a_call_ends_with_its_deadline(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        let log = Log::open(&world.near);
        world.near.send(&servant, ("hang", log.id())).unwrap();
        let ports = world.near.stats().ports;
        let before = tokio::time::Instant::now();
        let called = world.near.call::<u64>(&servant, ("echo", 1))
            .within(Duration::from_secs(2))
            .await;
        assert!(
            matches!(called, Err(CallError::Deadline(time)) if time == Duration::from_secs(2)),
            "{called:?}"
        );
        assert!(before.elapsed() >= Duration::from_secs(2) && before.elapsed() < Duration::from_secs(3));
        assert_eq!(world.near.stats().ports, ports, "the reply port is gone");
    }

    // S4
    async fn a_call_ends_with_the_death_of_the_called_port(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        let called = world.near.call::<u64>(&servant, ("fail", "no")).await;
        // the handler takes one text, and the call adds its reply port
        assert!(matches!(&called, Err(CallError::Died(reason)) if reason.tag() == Some("bad_message")), "{called:?}");

        let servant = spawn_servant(&world);
        let log = Log::open(&world.near);
        world.near.send(&servant, ("hang", log.id())).unwrap();
        let near = world.near.clone();
        let to = servant.clone();
        let call = tokio::spawn(async move { near.call::<u64>(&to, ("echo", 1)).await });
        settle().await;
        world.near.kill(&servant, ("too_hot", 451)).unwrap();
        let called = in_time(call).await.unwrap();
        assert!(matches!(&called, Err(CallError::Died(reason)) if reason.to_string() == "too_hot: 451"), "{called:?}");

        let called = in_time(world.near.call::<u64>(&servant, ("echo", 1))).await;
        assert!(matches!(called, Err(CallError::NoSuchPort)), "{called:?}");
    }

    // S4
    async fn a_reply_of_another_type_is_told_apart(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        let called = world.near.call::<u64>(&servant, ("echo", "text")).await;
        let Err(CallError::BadReply { reply, .. }) = called else {
            panic!("{called:?}");
        };
        assert_eq!(reply.to_string(), r#"["text"]"#);
        let raw: portmesh::Message = world.near.call(&servant, ("echo", "text")).await.unwrap();
        assert_eq!(raw.to_string(), r#"["text"]"#);
    }

    // S4: the called port can see that nobody waits any more
    async fn the_reply_port_dies_when_the_call_is_given_up(world: World) with plain; {
        let notes = Notes::new();
        let port = world.far.port()
            .state(notes.clone())
            .on("work", async |notes: &mut Notes, cx: &Context, (kind, reply): (String, PortId)| {
                let told = notes.clone();
                cx.monitor(&reply).call(move |reason| told.note(format!("{kind}: {reason}")));
                notes.note("working");
            })
            .open();
        let near = world.near.clone();
        let to = port.id().clone();
        let call = tokio::spawn(async move { near.call::<u64>(&to, ("work", "dropped")).await });
        assert_eq!(notes.next().await, "working");
        call.abort();
        assert_eq!(notes.next().await, "dropped: cancelled");
        let called = world.near.call::<u64>(port.id(), ("work", "late"))
            .within(Duration::from_secs(1))
            .await;
        assert!(matches!(called, Err(CallError::Deadline(_))));
        assert_eq!(notes.next().await, "working");
        assert_eq!(notes.next().await, "late: cancelled");
    }

    // S5
    async fn a_timer_sends_when_it_is_due_and_not_when_it_was_cancelled(world: World) with plain; {
        let mut log = Log::open(&world.far);
        let before = tokio::time::Instant::now();
        world.near.after(Duration::from_secs(3)).send(log.id(), "late").unwrap().detach();
        world.near.after(Duration::from_secs(1)).send(log.id(), "soon").unwrap().detach();
        drop(world.near.after(Duration::from_secs(2)).send(log.id(), "never").unwrap());
        assert_eq!(log.next().await, r#"["soon"]"#);
        assert!(before.elapsed() >= Duration::from_secs(1));
        assert_eq!(log.next().await, r#"["late"]"#);
        assert!(before.elapsed() >= Duration::from_secs(3));
        assert!(log.rest().await.is_empty());
    }

    // S5
    async fn a_timer_kills(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        let death = world.near.monitor(&servant).death();
        let _timer = world.near.after(Duration::from_secs(1)).kill(&servant, "time").unwrap();
        assert_eq!(in_time(death).await.tag(), Some("time"));
    }
}

// S5, P5
#[tokio::test(start_paused = true)]
async fn a_ports_timers_run_in_its_context_and_go_with_it() {
    let world = World::local(plain).await;
    let notes = Notes::new();
    let port = world
        .near
        .port()
        .state((notes.clone(), 0))
        .on(
            "tick",
            async |_: &mut (Notes, u32), cx: &Context, (): ()| {
                cx.after(Duration::from_secs(1))
                    .run(async |s: &mut (Notes, u32), cx: &Context| {
                        s.1 += 1;
                        s.0.note(s.1);
                        if s.1 < 3 {
                            cx.send(cx.id(), "tick")?;
                        }
                        Ok::<(), portmesh::SendError>(())
                    });
                let cancelled = cx
                    .after(Duration::from_secs(1))
                    .call(|| panic!("was cancelled"));
                cancelled.cancel();
                let told = cx.clone();
                cx.after(Duration::from_secs(60))
                    .call(move || panic!("{told:?} is dead by now"));
            },
        )
        .open();
    world.near.send(port.id(), "tick").unwrap();
    for n in ["1", "2", "3"] {
        assert_eq!(notes.next().await, n);
    }
    port.kill();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(notes.rest().await.is_empty());
}
