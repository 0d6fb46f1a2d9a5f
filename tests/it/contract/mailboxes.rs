//! P3, P8: bounded mailboxes, and what happens to senders when they are full.

use portmesh::{Overflow, SendError};
use tokio::sync::oneshot;

use super::*;

type Gate = (Option<oneshot::Receiver<()>>, Notes);

/// A port that is stuck in a handler until the gate opens, and notes what it was sent behind that.
async fn stuck(
    world: &World,
    change: impl FnOnce(portmesh::PortBuilder<Gate>) -> portmesh::PortBuilder<Gate>,
) -> (Port<Gate>, oneshot::Sender<()>, Notes) {
    let notes = Notes::new();
    let (open, gate) = oneshot::channel();
    let port = world
        .far
        .port()
        .state((Some(gate), notes.clone()))
        .on("wait", async |s: &mut Gate, _: &Context, (): ()| {
            s.1.note("stuck");
            if let Some(gate) = s.0.take() {
                let _ = gate.await;
            }
        })
        .on(
            "n",
            async |s: &mut Gate, _: &Context, (n, _): (u64, String)| {
                s.1.note(n);
            },
        );
    let port = change(port).open();
    world.near.send(port.id(), "wait").unwrap();
    assert_eq!(notes.next().await, "stuck");
    (port, open, notes)
}

here_and_there! {
    // P8: the default
    async fn a_full_mailbox_pushes_back_on_its_senders_alone(world: World) with with_servant; {
        let (port, open, notes) = stuck(&world, |port| port.mailbox(10, 1 << 20)).await;
        let servant = spawn_servant(&world);
        let near = world.near.clone();
        let to = port.id().clone();
        let sender = tokio::spawn(async move {
            for n in 0..2_000u64 {
                near.send_wait(&to, ("n", n, "x".repeat(1_000))).await.unwrap();
            }
        });
        settle().await;
        assert!(port.waiting() <= 10);
        let echo: u64 = world.near.call(&servant, ("echo", 1)).within(LONG).await.unwrap();
        assert_eq!(echo, 1);
        assert!(port.waiting() <= 10 && port.is_alive());
        open.send(()).unwrap();
        for n in 0..2_000 {
            assert_eq!(notes.next().await, n.to_string());
        }
        in_time(sender).await.unwrap();
    }

    // P8 P3: what waits for one port is no more than what is free besides
    async fn a_port_that_is_stuck_leaves_the_others_room(world: World) with |node| small(with_servant(node)); {
        let (port, open, notes) = stuck(&world, |port| port.mailbox(10, 1 << 20)).await;
        let servant = spawn_servant(&world);
        let mut accepted = 0;
        // until it takes no more, and still does not when all has come to rest
        for _ in 0..5 {
            while world.near.send(port.id(), ("n", accepted, "x".repeat(1_000))).is_ok() {
                accepted += 1;
            }
            settle().await;
        }
        assert!(world.near.send(port.id(), ("n", 0, "")).unwrap_err().is_full());
        let near = world.near.clone();
        let to = port.id().clone();
        let waiting = tokio::spawn(async move { near.send_wait(&to, ("n", accepted, "")).await });
        for n in 0..200u64 {
            let echo: u64 = world.near.call(&servant, ("echo", n)).within(LONG).await.unwrap();
            assert_eq!(echo, n);
        }
        // a thousand senders at once, each waiting for room
        let mut log = Log::open(&world.far);
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let (near, to) = (world.near.clone(), log.id().clone());
            senders.spawn(async move {
                for n in 0..3 {
                    near.send_wait(&to, ("n", n)).await.unwrap();
                }
            });
        }
        for _ in 0..3_000 {
            log.next().await;
        }
        in_time(senders.join_all()).await;
        assert!(port.is_alive() && port.waiting() <= 10 && !waiting.is_finished());
        open.send(()).unwrap();
        in_time(waiting).await.unwrap().unwrap();
        for n in 0..=accepted {
            assert_eq!(notes.next().await, n.to_string());
        }
    }

    // P8
    async fn a_full_mailbox_kills_its_port_if_that_is_its_policy(world: World) with plain; {
        let (port, _open, _) = stuck(&world, |port| port.mailbox(10, 1 << 20).overflow(Overflow::Kill)).await;
        let death = world.near.monitor(port.id()).death();
        for n in 0..11u64 {
            world.near.send(port.id(), ("n", n, "")).unwrap();
        }
        assert_eq!(in_time(death).await.to_string(), "mailbox_overflow: 10");
        assert!(!port.is_alive());
    }

    // P8
    async fn a_message_over_the_bound_passes_when_nothing_else_waits(world: World) with plain; {
        let (_port, open, notes) = stuck(&world, |port| port.mailbox(10, 100)).await;
        world.near.send(_port.id(), ("n", 1, "x".repeat(10_000))).unwrap();
        settle().await;
        assert_eq!(_port.waiting(), 1);
        open.send(()).unwrap();
        assert_eq!(notes.next().await, "1");
    }
}

// P3, P8: to a port of the own node, `send` itself says so, and gives the message back
#[tokio::test(start_paused = true)]
async fn a_refused_message_comes_back_and_can_be_sent_again() {
    let world = World::local(plain).await;
    for (count, bytes) in [(5, 1 << 20), (1_000, 550)] {
        let (port, open, notes) = stuck(&world, |port| port.mailbox(count, bytes)).await;
        let mut sent = 0;
        let refused = loop {
            match world.near.send(port.id(), ("n", sent, "x".repeat(100))) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(sent, 5);
        assert!(refused.is_full() && matches!(refused, SendError::Full(_)));
        let message = refused.into_message().unwrap();
        let again = world.near.send(port.id(), &message).unwrap_err();
        assert!(again.is_full());
        let near = world.near.clone();
        let to = port.id().clone();
        let waiting = tokio::spawn(async move { near.send_wait(&to, message).await });
        settle().await;
        assert!(!waiting.is_finished());
        open.send(()).unwrap();
        in_time(waiting).await.unwrap().unwrap();
        for n in 0..=5 {
            assert_eq!(notes.next().await, n.to_string());
        }
        assert!(notes.rest().await.is_empty());
    }
}

// P3: a sender that waits for room is let go when the port dies
#[tokio::test(start_paused = true)]
async fn senders_that_wait_are_let_go_when_the_port_dies() {
    let world = World::local(plain).await;
    let (port, _open, _) = stuck(&world, |port| port.mailbox(1, 1_000)).await;
    world.near.send(port.id(), ("n", 1, "")).unwrap();
    let waiting: Vec<_> = (0..10)
        .map(|n| {
            let (near, to) = (world.near.clone(), port.id().clone());
            tokio::spawn(async move { near.send_wait(&to, ("n", n, "")).await })
        })
        .collect();
    settle().await;
    assert!(waiting.iter().all(|task| !task.is_finished()));
    port.kill();
    for task in waiting {
        in_time(task).await.unwrap().unwrap();
    }
}

// P3, P8: nothing goes where there is no link, and not too much waits for one
#[tokio::test(start_paused = true)]
async fn what_waits_for_another_node_is_bounded() {
    let world = World::remote(small).await;
    let log = Log::open(&world.far);
    world.network.cut("n", "f");
    // as many for one port as are free besides, and no more than all for all
    let others: Vec<_> = (0..20).map(|_| Log::open(&world.far)).collect();
    let mut all = 0;
    let mut first = None;
    for log in [&log].into_iter().chain(&others) {
        let mut sent = 0;
        let refused = loop {
            match world.near.send(log.id(), sent) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
            assert!(sent <= 100);
        };
        assert!(refused.is_full());
        first = first.or(Some(sent));
        all += sent;
    }
    assert_eq!((first, all), (Some(50), 100));
}
