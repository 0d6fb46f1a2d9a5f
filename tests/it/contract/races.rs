//! The same lines with real threads and no paused clock: many small lives at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use portmesh::CallError;

use super::*;

macro_rules! with_threads {
    ($($(#[$meta:meta])* async fn $name:ident($world:ident: World) with $build:expr; $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            async fn body($world: World) $body
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn here() {
                in_time(body(World::local($build).await)).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn there() {
                in_time(body(World::remote($build).await)).await;
            }
        }
    )*};
}

with_threads! {
    // M2, M4, S1: spawn, send, monitor, kill; every monitor fires once, every message before the kill is handled
    async fn lives_in_parallel_end_as_they_should(world: World) with with_servant; {
        let handled = Arc::new(AtomicUsize::new(0));
        let count = handled.clone();
        let sink = world.near.port()
            .on_other_fn(move |_: &mut (), _: &Context, _: u64| {
                count.fetch_add(1, Ordering::SeqCst);
            })
            .open();
        let fired = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..8u64)
            .map(|who| {
                let (near, far) = (world.near.clone(), world.far.id().clone());
                let (sink, fired) = (sink.id().clone(), fired.clone());
                tokio::spawn(async move {
                    for n in 0..150u64 {
                        let port = near.spawn(&far, "servant", ()).unwrap();
                        let count = fired.clone();
                        let guard = near.monitor(&port).call(move |reason| {
                            assert_eq!(reason.values(), [Value::from(n)]);
                            count.fetch_add(1, Ordering::SeqCst);
                        });
                        near.send(&port, ("tell", &sink, n)).unwrap();
                        let echo: u64 = near.call(&port, ("echo", who)).await.unwrap();
                        assert_eq!(echo, who);
                        near.kill(&port, n).unwrap();
                        let reason = near.monitor(&port).await;
                        assert!(reason.values() == [Value::from(n)] || reason.tag() == Some("no_such_port"), "{reason}");
                        guard.detach();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        until(|| fired.load(Ordering::SeqCst) == 8 * 150).await;
        until(|| handled.load(Ordering::SeqCst) == 8 * 150).await;
    }

    // M2: cancelled or fired, never both, never neither
    async fn a_cancellation_races_a_death(world: World) with with_servant; {
        for round in 0..300u64 {
            let port = spawn_servant(&world);
            let fired = Arc::new(AtomicUsize::new(0));
            let count = fired.clone();
            let guard = world.near.monitor(&port).call(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
            });
            let near = world.near.clone();
            let victim = port.clone();
            let killer = tokio::spawn(async move {
                near.kill(&victim, round).unwrap();
                near.monitor(&victim).await;
            });
            for _ in 0..round % 7 {
                tokio::task::yield_now().await;
            }
            guard.cancel();
            let at_cancel = fired.load(Ordering::SeqCst);
            killer.await.unwrap();
            tokio::task::yield_now().await;
            let at_end = fired.load(Ordering::SeqCst);
            // it may have been running while it was cancelled, but it cannot begin after
            assert!(at_end <= 1 && at_cancel <= at_end, "{at_cancel} {at_end}");
        }
    }

    // S4: whatever a call meets, it ends, and leaves nothing behind
    async fn calls_race_kills_deadlines_and_drops(world: World) with with_servant; {
        let before = world.near.stats().ports;
        let mut ends = [0usize; 4];
        for round in 0..200u64 {
            let port = spawn_servant(&world);
            let calls: Vec<_> = (0..4)
                .map(|n| {
                    let (near, port) = (world.near.clone(), port.clone());
                    tokio::spawn(async move {
                        near.call::<u64>(&port, ("echo", n)).within(Duration::from_micros(round * 10)).await
                    })
                })
                .collect();
            if round % 3 == 0 {
                calls[0].abort();
            }
            for _ in 0..round % 5 {
                tokio::task::yield_now().await;
            }
            world.near.kill(&port, "race").unwrap();
            for (n, call) in calls.into_iter().enumerate() {
                match call.await {
                    Err(_) => ends[0] += 1,
                    Ok(Ok(echo)) => {
                        assert_eq!(echo, n as u64);
                        ends[1] += 1;
                    }
                    Ok(Err(CallError::Died(_) | CallError::NoSuchPort)) => ends[2] += 1,
                    Ok(Err(CallError::Deadline(_))) => ends[3] += 1,
                    Ok(Err(other)) => panic!("{other:?}"),
                }
            }
        }
        assert!(ends[1] + ends[2] + ends[3] > 0);
        until(|| world.near.stats().ports <= before && world.far.stats().ports <= before).await;
    }
}

// P3, P8: no sender that waits for room is forgotten
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn senders_that_wait_all_get_room_in_the_end() {
    let world = World::local(plain).await;
    let handled = Arc::new(AtomicUsize::new(0));
    let count = handled.clone();
    let port = world
        .near
        .port()
        .on_other_fn(move |_: &mut (), _: &Context, _: u64| {
            count.fetch_add(1, Ordering::SeqCst);
        })
        .mailbox(2, 1_000)
        .open();
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let (near, to) = (world.near.clone(), port.id().clone());
            tokio::spawn(async move {
                for n in 0..2_000u64 {
                    near.send_wait(&to, n).await.unwrap();
                }
            })
        })
        .collect();
    for sender in senders {
        in_time(sender).await.unwrap();
    }
    until(|| handled.load(Ordering::SeqCst) == 8 * 2_000).await;
}
