//! M2, M3, M6: monitors fire once, with the right reason, and do what they were told to.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::*;

here_and_there! {
    // M2
    async fn a_monitor_fires_exactly_once(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        let fired = Arc::new(AtomicUsize::new(0));
        let count = fired.clone();
        let monitor = world.near.monitor(&servant).call(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        world.near.kill(&servant, "x").unwrap();
        world.near.kill(&servant, "y").unwrap();
        until(|| monitor.has_fired()).await;
        settle().await;
        world.near.send(&servant, "lost").unwrap();
        settle().await;
        assert_eq!(fired.load(Ordering::SeqCst), 1);
    }

    // M2
    async fn a_monitor_on_what_is_not_there_fires_with_no_such_port(world: World) with with_servant; {
        let never = PortId::new(world.far.id().clone(), "never".parse().unwrap());
        assert_eq!(in_time(world.near.monitor(&never)).await.tag(), Some("no_such_port"));
        let servant = spawn_servant(&world);
        world.near.kill(&servant, "x").unwrap();
        in_time(world.near.monitor(&servant)).await;
        assert_eq!(in_time(world.near.monitor(&servant)).await.tag(), Some("no_such_port"));
    }

    // M2
    async fn a_cancelled_monitor_never_fires(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        let fired = Notes::new();
        let (one, two) = (fired.clone(), fired.clone());
        let cancelled = world.near.monitor(&servant).call(move |_| one.note("cancelled"));
        let kept = world.near.monitor(&servant).call(move |_| two.note("kept"));
        let death = world.near.monitor(&servant).death();
        settle().await;
        drop(cancelled);
        drop(death);
        world.near.kill(&servant, "x").unwrap();
        assert_eq!(fired.next().await, "kept");
        assert!(fired.rest().await.is_empty());
        assert!(kept.has_fired());
    }

    // M3
    async fn a_monitor_sends_its_message_with_the_reasons_values(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        let mut log = Log::open(&world.near);
        world.near.monitor(&servant).send(log.id(), ("died", 1)).unwrap().detach();
        world.near.kill(&servant, ("too_hot", 451)).unwrap();
        assert_eq!(log.next().await, r#"["died",1,"too_hot",451]"#);
        let servant = spawn_servant(&world);
        world.near.monitor(&servant).send(log.id(), ("died", 2)).unwrap().detach();
        world.near.kill(&servant, ()).unwrap();
        assert_eq!(log.next().await, r#"["died",2]"#);
    }

    // M3
    async fn a_monitor_kills_another_port_only_when_the_death_was_abnormal(world: World) with with_servant; {
        let victim = spawn_servant(&world);
        let (calm, wild) = (spawn_servant(&world), spawn_servant(&world));
        let first = world.near.monitor(&calm).kill(&victim);
        let _second = world.near.monitor(&wild).kill(&victim);
        let death = world.near.monitor(&victim).death();
        world.near.kill(&calm, ()).unwrap();
        until(|| first.has_fired()).await;
        let echo: u64 = world.near.call(&victim, ("echo", 1)).await.unwrap();
        assert_eq!(echo, 1);
        world.near.kill(&wild, "boom").unwrap();
        assert_eq!(in_time(death).await.to_string(), "boom");
    }

    // M3
    async fn a_port_can_die_with_another(world: World) with with_servant; {
        let (calm, wild) = (spawn_servant(&world), spawn_servant(&world));
        let port = world.near.port()
            .on("with", async |_: &mut (), cx: &Context, peer: PortId| {
                cx.monitor(&peer).kill_self();
            })
            .open();
        let death = world.near.monitor(port.id()).death();
        world.near.send(port.id(), ("with", &calm)).unwrap();
        world.near.send(port.id(), ("with", &wild)).unwrap();
        settle().await;
        world.near.kill(&calm, ()).unwrap();
        settle().await;
        assert!(port.is_alive());
        world.near.kill(&wild, ("boom", 1)).unwrap();
        assert_eq!(in_time(death).await.to_string(), "boom: 1");
    }

    // M3, P5
    async fn a_ports_monitors_run_in_its_context_and_go_with_it(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        let notes = Notes::new();
        let port = world.near.port()
            .state(notes.clone())
            .on("watch", async |_: &mut Notes, cx: &Context, peer: PortId| {
                cx.monitor(&peer).run(async |notes: &mut Notes, cx: &Context, reason: portmesh::Reason| {
                    notes.note(format!("{} says {reason}", cx.id().node()));
                });
                let cancelled = cx.monitor(&peer).call(|_| panic!("was cancelled"));
                cancelled.cancel();
            })
            .open();
        let doomed = world.near.port()
            .state(notes.clone())
            .on("watch", async |notes: &mut Notes, cx: &Context, peer: PortId| {
                let notes = notes.clone();
                cx.monitor(&peer).call(move |_| notes.note("its port is dead"));
            })
            .open();
        world.near.send(port.id(), ("watch", &servant)).unwrap();
        world.near.send(doomed.id(), ("watch", &servant)).unwrap();
        settle().await;
        doomed.kill();
        settle().await;
        world.near.kill(&servant, "bye").unwrap();
        assert_eq!(notes.next().await, format!("{} says bye", world.near.id()));
        assert!(notes.rest().await.is_empty());
    }

    // M2, M4: in the order of the program, whatever is under way
    async fn a_monitor_set_before_a_kill_tells_its_reason(world: World) with with_servant; {
        let log = Log::open(&world.near);
        for n in 0..50 {
            let servant = spawn_servant(&world);
            world.near.send(&servant, ("echo", n, log.id())).unwrap();
            let death = world.near.monitor(&servant).death();
            world.near.kill(&servant, n).unwrap();
            assert_eq!(in_time(death).await.values(), [Value::from(n)]);
        }
    }

    // M2
    async fn many_monitors_of_one_port_all_fire(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        let fired = Arc::new(AtomicUsize::new(0));
        let monitors: Vec<_> = (0..1_000)
            .map(|_| {
                let fired = fired.clone();
                world.near.monitor(&servant).call(move |_| { fired.fetch_add(1, Ordering::SeqCst); })
            })
            .collect();
        for kept in monitors.into_iter().skip(1).step_by(2) {
            kept.detach();
        }
        world.near.kill(&servant, "x").unwrap();
        until(|| fired.load(Ordering::SeqCst) >= 500).await;
        settle().await;
        assert_eq!(fired.load(Ordering::SeqCst), 500);
    }
}

// M6: fired means that the message is in the mailbox, full or not
#[tokio::test(start_paused = true)]
async fn a_monitors_message_goes_into_a_full_mailbox() {
    let world = World::local(with_servant).await;
    let servant = spawn_servant(&world);
    let notes = Notes::new();
    let told = notes.clone();
    let (open, gate) = tokio::sync::oneshot::channel::<()>();
    let port = world
        .near
        .port()
        .state(Some(gate))
        .on(
            "wait",
            async |gate: &mut Option<tokio::sync::oneshot::Receiver<()>>, _: &Context, (): ()| {
                let _ = gate.take().unwrap().await;
            },
        )
        .on_fn("note", move |_: &mut _, _: &Context, text: String| {
            told.note(text)
        })
        .mailbox(1, 1_000)
        .open();
    world.near.send(port.id(), "wait").unwrap();
    settle().await;
    world.near.send(port.id(), ("note", "first")).unwrap();
    assert!(world.near.send(port.id(), ("note", "full")).is_err());
    world
        .near
        .monitor(&servant)
        .send(port.id(), "note")
        .unwrap()
        .detach();
    world.near.kill(&servant, "death").unwrap();
    settle().await;
    open.send(()).unwrap();
    assert_eq!(notes.next().await, "first");
    assert_eq!(notes.next().await, "death");
}

// M3: a chain as long as one likes
#[tokio::test(start_paused = true)]
async fn a_long_chain_of_ports_that_die_with_each_other_dies() {
    let world = World::local(plain).await;
    let ports: Vec<_> = (0..50_000).map(|_| world.near.port().open()).collect();
    for pair in ports.windows(2) {
        let [one, next] = pair else { unreachable!() };
        world.near.monitor(one.id()).kill(next.id()).detach();
    }
    let last = world.near.monitor(ports.last().unwrap().id()).death();
    ports[0].kill_with(("all", "of", "them")).unwrap();
    assert_eq!(in_time(last).await.to_string(), "all: of, them");
    assert!(ports.iter().all(|port| !port.is_alive()));
}
