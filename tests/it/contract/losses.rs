//! P2, P4, M6: nothing that was accepted vanishes without the monitors telling.

use portmesh::{CallError, Reason};

use super::*;

here_and_there! {
    // P2
    async fn messages_to_a_port_that_dies_are_handled_from_the_first_on_or_its_monitors_fire(world: World) with with_servant; {
        for kill_at in [0, 1, 50, 99] {
            let mut log = Log::open(&world.near);
            let servant = spawn_servant(&world);
            let monitor = world.near.monitor(&servant).death();
            for n in 0..100 {
                if n == kill_at {
                    world.near.send(&servant, ("fail", "now")).unwrap();
                }
                world.near.send(&servant, ("tell", log.id(), n)).unwrap();
            }
            assert_eq!(in_time(monitor).await.to_string(), "die: now");
            let handled = log.rest().await;
            assert_eq!(handled, (0..kill_at).map(|n| format!("[{n}]")).collect::<Vec<_>>());
        }
    }

    // P2
    async fn losses_are_counted_and_told(world: World) with plain; {
        let mut events = world.near.events();
        let never = PortId::new(world.far.id().clone(), "never".parse().unwrap());
        world.near.send(&never, "x").unwrap();
        let told = event(&mut events, |event| matches!(event, NodeEvent::Undelivered { .. })).await;
        let NodeEvent::Undelivered { to, count, .. } = told else {
            unreachable!()
        };
        assert_eq!((to, count), (never, 1));
    }

    // P2, P4: what nobody handles at the node's own port is a loss, and never kills it
    async fn the_node_port_refuses_what_it_does_not_know(world: World) with plain; {
        let node_port = PortId::of_node(world.far.id().clone());
        let death = world.near.monitor(&node_port).death();
        settle().await;
        world.near.send(&node_port, ("what", "is this")).unwrap();
        let reason = in_time(death).await;
        assert_eq!(reason.tag(), Some("transport_error"), "{reason}");
        assert!(reason.to_string().contains("unhandled_message"), "{reason}");
        let pong: String = world.near.call(&node_port, "ping").await.unwrap();
        assert_eq!(pong, "pong");
        let called = world.near.call::<u64>(&node_port, "what").await;
        assert!(matches!(&called, Err(CallError::Refused { .. })), "{called:?}");
        let pong: String = world.near.call(&node_port, "ping").await.unwrap();
        assert_eq!(pong, "pong");
    }
}

fn reason_text(reason: &Reason) -> String {
    assert_eq!(reason.tag(), Some("transport_error"), "{reason}");
    reason.to_string()
}

// P2, P4: from a peer without the right to kill the port
#[tokio::test(start_paused = true)]
async fn a_refused_message_of_a_peer_is_a_loss_and_so_is_what_follows_until_it_knows() {
    let world = World::remote(plain).await;
    let notes = Notes::new();
    let told = notes.clone();
    let port = world
        .far
        .port()
        .on_fn("n", move |_: &mut (), _: &Context, n: u64| told.note(n))
        .open();
    for (bad, why) in [
        (Value::from("text"), "bad_message"),
        (Value::Null, "bad_message"),
    ] {
        world.near.send(port.id(), ("n", 1)).unwrap();
        assert_eq!(notes.next().await, "1");
        let death = world.near.monitor(port.id()).death();
        settle().await;
        world.near.send(port.id(), ("n", bad)).unwrap();
        for n in 2..100 {
            world.near.send(port.id(), ("n", n)).unwrap();
        }
        let reason = in_time(death).await;
        assert!(reason_text(&reason).contains(why), "{reason}");
        assert!(
            notes.rest().await.is_empty(),
            "nothing behind the loss comes before it is known"
        );
        assert!(port.is_alive());
        // the loss is settled: from now on all is as before
        world.near.send(port.id(), ("n", 7)).unwrap();
        assert_eq!(notes.next().await, "7");
        let called = world.near.call::<u64>(port.id(), ("m", 1)).await;
        assert!(
            matches!(&called, Err(CallError::Refused { text }) if text.contains("unhandled_message")),
            "{called:?}"
        );
    }
    // others are not concerned
    world.far.send(port.id(), ("n", 8)).unwrap();
    assert_eq!(notes.next().await, "8");
    assert_eq!(world.near.links().len(), 1);
}

// M5, M6, P2
#[tokio::test(start_paused = true)]
async fn a_lost_link_fires_every_monitor_before_a_later_message_is_delivered() {
    let world = World::remote(with_servant).await;
    let servants: Vec<_> = (0..10).map(|_| spawn_servant(&world)).collect();
    let mut log = Log::open(&world.near);
    let node_port = PortId::of_node(world.far.id().clone());
    let monitors: Vec<_> = servants
        .iter()
        .chain([&node_port])
        .map(|port| world.near.monitor(port).death())
        .collect();
    let call: u64 = world.near.call(&servants[0], ("echo", 1)).await.unwrap();
    assert_eq!(call, 1);
    world.network.cut("n", "f");
    world.linked(false).await;
    assert!(monitors.iter().all(|monitor| monitor.has_fired()));
    for monitor in monitors {
        reason_text(&in_time(monitor).await);
    }
    world.network.heal("n", "f");
    // the ports have survived; their order goes on
    for n in 0..10 {
        world
            .near
            .send(&servants[3], ("tell", log.id(), n))
            .unwrap();
    }
    for n in 0..10 {
        assert_eq!(log.next().await, format!("[{n}]"));
    }
}

// M5
#[tokio::test(start_paused = true)]
async fn a_monitor_on_a_node_fires_when_no_link_can_be_made() {
    let world = World::remote(plain).await;
    world.network.cut("n", "f");
    let far = PortId::of_node(world.far.id().clone());
    let reason = in_time(world.near.monitor(&far)).await;
    reason_text(&reason);
    let called = in_time(world.near.call::<u64>(&far, "ping")).await;
    assert!(
        matches!(&called, Err(CallError::Unreachable { node, .. }) if node == world.far.id()),
        "{called:?}"
    );
    let unknown: PortId = "nobody".parse().unwrap();
    reason_text(&in_time(world.near.monitor(&unknown)).await);
}

// M5
#[tokio::test(start_paused = true)]
async fn a_monitor_on_a_node_makes_a_link_and_stays_quiet_while_it_lasts() {
    let world = World::remote(plain).await;
    let far = PortId::of_node(world.far.id().clone());
    let death = world.near.monitor(&far).death();
    world.linked(true).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(!death.has_fired());
    assert_eq!(world.near.links().len(), 1);
    world.far.shutdown(Duration::from_secs(1)).await;
    reason_text(&in_time(death).await);
}

// P4: a peer that spawned a port may kill it, with a message too; another may not
#[tokio::test(start_paused = true)]
async fn only_the_spawner_of_a_port_may_kill_it() {
    let world = World::remote(with_servant).await;
    let port = servant(world.far.port()).open();
    let death = world.near.monitor(port.id()).death();
    settle().await;
    world.near.kill(port.id(), "not mine").unwrap();
    settle().await;
    assert!(port.is_alive() && !death.has_fired());
    let echo: u64 = world.near.call(port.id(), ("echo", 1)).await.unwrap();
    assert_eq!(echo, 1);
    let mine = spawn_servant(&world);
    let death = world.near.monitor(&mine).death();
    world.near.kill(&mine, "mine").unwrap();
    assert_eq!(in_time(death).await.to_string(), "mine");
}

// M6, P2: a port that dies with its peer cannot send behind the loss
#[tokio::test(start_paused = true)]
async fn a_port_that_dies_with_a_lost_peer_does_nothing_more() {
    type State = (Option<tokio::sync::oneshot::Receiver<()>>, PortId);
    let world = World::remote(plain).await;
    let mut log = Log::open(&world.far);
    let (open, gate) = tokio::sync::oneshot::channel();
    let port = world
        .near
        .port()
        .state((Some(gate), log.id().clone()))
        .on("begin", async |s: &mut State, cx: &Context, (): ()| {
            cx.monitor(&s.1).kill_self();
            cx.send(&s.1, "begun").unwrap();
            let _ = s.0.take().unwrap().await;
            cx.send(&s.1, "handler went on").unwrap();
        })
        .on("say", async |s: &mut State, cx: &Context, n: u64| {
            cx.send(&s.1, n).unwrap();
        })
        .open();
    world.near.send(port.id(), "begin").unwrap();
    assert_eq!(log.next().await, r#"["begun"]"#);
    for n in 0..100 {
        world.near.send(port.id(), ("say", n)).unwrap();
    }
    let death = world.near.monitor(port.id()).death();
    world.network.cut("n", "f");
    world.linked(false).await;
    assert!(!port.is_alive(), "dead as soon as the link is lost");
    world.network.heal("n", "f");
    // the handler has ended at its await: most likely nobody waits at the gate any more
    let _ = open.send(());
    assert_eq!(in_time(death).await.tag(), Some("transport_error"));
    assert!(log.rest().await.is_empty());
}
