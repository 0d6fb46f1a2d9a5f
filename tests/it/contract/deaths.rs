//! P5, M8: how a port dies by its own handlers, alone, and what dies with it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use portmesh::Failure;

use super::*;

here_and_there! {
    // P5
    async fn a_handler_that_fails_kills_its_port_with_the_text(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        let death = world.near.monitor(&servant).death();
        world.near.send(&servant, ("fail", "out of paper")).unwrap();
        assert_eq!(in_time(death).await.to_string(), "die: out of paper");
    }

    // P5
    async fn a_handler_that_panics_kills_its_port_and_nothing_else(world: World) with with_servant; {
        let (servant, bystander) = (spawn_servant(&world), spawn_servant(&world));
        let death = world.near.monitor(&servant).death();
        world.near.send(&servant, "panic").unwrap();
        assert_eq!(in_time(death).await.to_string(), "die: as told");
        let echo: u64 = world.near.call(&bystander, ("echo", 1)).await.unwrap();
        assert_eq!(echo, 1);
    }

    // M4
    async fn a_port_that_stops_dies_normally_when_its_handler_returns(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        let death = world.near.monitor(&servant).death();
        world.near.send(&servant, "stop").unwrap();
        assert!(in_time(death).await.is_normal());
    }
}

// P5
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_runs_one_handler_at_a_time() {
    let world = World::local(plain).await;
    let (inside, clashes, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    type State = (Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>);
    async fn enter(s: &mut State) {
        if s.0.swap(true, Ordering::SeqCst) {
            s.1.fetch_add(1, Ordering::SeqCst);
        }
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        s.0.store(false, Ordering::SeqCst);
        s.2.fetch_add(1, Ordering::SeqCst);
    }
    let port = world
        .near
        .port()
        .state((inside, clashes.clone(), done.clone()))
        .on("work", async |s: &mut State, cx: &Context, (): ()| {
            // further ways into the port's context, all at once
            cx.after(Duration::ZERO)
                .run(async |s: &mut State, _: &Context| enter(s).await);
            let gone: PortId = "one#never".parse().unwrap();
            cx.monitor(&gone)
                .run(async |s: &mut State, _: &Context, _: portmesh::Reason| enter(s).await);
            enter(s).await;
        })
        .open();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (port, node) = (port.clone(), world.near.clone());
            std::thread::spawn(move || {
                for _ in 0..200 {
                    node.send(port.id(), "work").unwrap();
                    port.run(async |s: &mut State, _: &Context| enter(s).await)
                        .unwrap();
                }
            })
        })
        .collect();
    tokio::task::spawn_blocking(move || threads.into_iter().for_each(|t| t.join().unwrap()))
        .await
        .unwrap();
    until(|| done.load(Ordering::SeqCst) == 4 * 200 * 4).await;
    assert_eq!(clashes.load(Ordering::SeqCst), 0);
}

struct Flag(Arc<AtomicBool>);
impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

// M8
#[tokio::test(start_paused = true)]
async fn what_is_tied_to_a_port_is_dropped_when_it_dies_and_not_before() {
    let world = World::local(plain).await;
    let flags: Vec<_> = (0..5).map(|_| Arc::new(AtomicBool::new(false))).collect();
    let dropped = |n: usize| flags[n].load(Ordering::SeqCst);
    let port = world
        .near
        .port()
        .state(Flag(flags[0].clone()))
        .on("tie", async |_: &mut Flag, _: &Context, (): ()| {})
        .guard(Flag(flags[1].clone()))
        .open();
    port.guard(Flag(flags[2].clone()));
    let flag = Flag(flags[3].clone());
    port.run(async move |_: &mut Flag, cx: &Context| cx.guard(flag))
        .unwrap();
    world.near.send(port.id(), "tie").unwrap();
    settle().await;
    assert!((0..4).all(|n| !dropped(n)));
    port.kill();
    until(|| !port.is_alive()).await;
    assert!((1..4).all(dropped), "the guards go with the port");
    until(|| dropped(0)).await;
    port.guard(Flag(flags[4].clone()));
    assert!(dropped(4), "what is tied to a dead port is dropped at once");
}

// P5
#[tokio::test(start_paused = true)]
async fn a_failure_carries_its_causes_and_panics_of_all_places_are_caught() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::num::ParseIntError);
    let world = World::local(plain).await;
    let port = world
        .near
        .port()
        .on("x", async |_: &mut (), _: &Context, text: String| {
            text.parse::<u64>().map_err(Outer)?;
            Ok::<(), Failure>(())
        })
        .open();
    let death = world.near.monitor(port.id()).death();
    world.near.send(port.id(), ("x", "1")).unwrap();
    world.near.send(port.id(), ("x", "one")).unwrap();
    assert_eq!(
        in_time(death).await.to_string(),
        "die: outer: invalid digit found in string"
    );

    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a drop");
        }
    }
    // in a sync handler, in work, in a task, in a monitor's callback, in the drop of a state and of a guard
    for how in ["fn", "run", "task", "timer"] {
        let port = world
            .near
            .port()
            .state(Bomb)
            .guard(Bomb)
            .on_fn("fn", |_: &mut Bomb, _: &Context, (): ()| {
                if tokio::time::Instant::now().elapsed() < LONG {
                    panic!("boom")
                }
            })
            .on("task", async |_: &mut Bomb, cx: &Context, (): ()| {
                cx.task(async {
                    if tokio::time::Instant::now().elapsed() < LONG {
                        panic!("boom")
                    }
                });
            })
            .on("timer", async |_: &mut Bomb, cx: &Context, (): ()| {
                cx.after(Duration::from_millis(1))
                    .run(async |_: &mut Bomb, _: &Context| Err::<(), _>("boom"));
            })
            .open();
        let other = world
            .near
            .monitor(port.id())
            .call(|_| panic!("in a callback"));
        let death = world.near.monitor(port.id()).death();
        match how {
            "run" => port
                .run(async |_: &mut Bomb, _: &Context| Err::<(), _>("boom"))
                .unwrap(),
            tag => world.near.send(port.id(), tag).unwrap(),
        }
        assert_eq!(in_time(death).await.to_string(), "die: boom", "{how}");
        assert!(other.has_fired());
    }
}
