//! P1, P3, P4, P7, P10: what is sent, is handed over: whole, in order, once, to a handler that can take it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use portmesh::{CallError, SendError, Value};
use serde::{Deserialize, Deserializer};

use super::*;

here_and_there! {
    // P1
    async fn messages_to_one_port_arrive_in_order_each_once(world: World) with plain; {
        let mut log = Log::open(&world.far);
        for n in 0..5_000u64 {
            world.near.send(log.id(), n).unwrap();
        }
        for n in 0..5_000u64 {
            assert_eq!(log.next().await, format!("[{n}]"));
        }
        assert!(log.rest().await.is_empty());
    }

    // P1: a small message does not overtake a large one to the same port
    async fn messages_of_all_sizes_keep_their_order(world: World) with plain; {
        let mut log = Log::open(&world.far);
        let sizes = [0, 100_000, 1, 3_000_000, 17, 40_000, 5];
        for size in sizes {
            world.near.send(log.id(), "x".repeat(size)).unwrap();
        }
        for size in sizes {
            assert_eq!(log.next().await.len(), size + 4);
        }
    }

    // P3
    async fn send_neither_blocks_nor_waits_for_a_link(world: World) with plain; {
        let mut log = Log::open(&world.far);
        let before = tokio::time::Instant::now();
        assert!(world.near.links().is_empty());
        world.near.send(log.id(), "first").unwrap();
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(log.next().await, r#"["first"]"#);
    }

    // P3, P7
    async fn what_cannot_be_encoded_is_refused_to_the_caller(world: World) with small; {
        let mut log = Log::open(&world.far);
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let refused = world.near.send(log.id(), ("x", bad));
            assert!(matches!(refused, Err(SendError::NotEncodable(_))), "{refused:?}");
        }
        let not_texts = std::collections::BTreeMap::from([((1, 2), 3)]);
        let refused = world.near.send(log.id(), not_texts);
        assert!(matches!(refused, Err(SendError::NotEncodable(_))), "{refused:?}");
        let refused = world.near.send(log.id(), "x".repeat(1 << 20));
        assert!(
            matches!(refused, Err(SendError::TooLarge { bytes, max: 1_048_576 }) if bytes > 1 << 20),
            "{refused:?}"
        );
        let called = world.near.call::<u64>(log.id(), f64::NAN).await;
        assert!(matches!(called, Err(CallError::NotEncodable(_))), "{called:?}");
        world.near.send(log.id(), "good").unwrap();
        assert_eq!(log.next().await, r#"["good"]"#);
        assert!(log.rest().await.is_empty());
    }

    // P7
    async fn every_kind_of_value_survives(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        let values = [
            Value::Null,
            Value::from(true),
            Value::from(i64::MIN),
            Value::from(u64::MAX),
            Value::from((1u64 << 53) + 1),
            Value::from(0.1),
            Value::from(-0.0),
            Value::from(f64::MAX),
            Value::from("ä\u{0}\u{1F600}"),
            Value::Bytes(vec![0, 255, 10]),
            Value::List(vec![Value::List(vec![]), Value::Null]),
            Value::Map([("k".to_owned(), Value::from(1))].into()),
        ];
        for value in values {
            let back: Value = world.near.call(&servant, ("echo", &value)).await.unwrap();
            assert_eq!(format!("{back:?}"), format!("{value:?}"));
        }
    }

    // P4
    async fn messages_are_decoded_once_and_only_by_who_takes_them(world: World) with plain; {
        static DECODED: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];
        struct Counted;
        impl<'de> Deserialize<'de> for Counted {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let local = u64::deserialize(from)?;
                DECODED[local as usize].fetch_add(1, Ordering::SeqCst);
                Ok(Counted)
            }
        }
        let done = Notes::new();
        let told = done.clone();
        let port = world.far.port()
            .on_fn("one", move |_: &mut (), _: &Context, _: Counted| told.note("one"))
            .on_fn("other", |_: &mut (), _: &Context, (_, _): (Counted, Counted)| {})
            .open();
        let counter = usize::from(world.is_local());
        for _ in 0..10 {
            world.near.send(port.id(), ("one", counter)).unwrap();
        }
        for _ in 0..10 {
            done.next().await;
        }
        assert_eq!(DECODED[counter].load(Ordering::SeqCst), 10);
    }

    // P4
    async fn a_port_may_ignore_what_it_cannot_handle(world: World) with plain; {
        let notes = Notes::new();
        let told = notes.clone();
        let port = world.far.port()
            .on_fn("n", move |_: &mut (), _: &Context, n: u64| told.note(n))
            .ignore_unhandled()
            .ignore_bad()
            .open();
        world.near.send(port.id(), ("m", 1)).unwrap();
        world.near.send(port.id(), ("n", "no number")).unwrap();
        world.near.send(port.id(), 17).unwrap();
        world.near.send(port.id(), ("n", 2)).unwrap();
        assert_eq!(notes.next().await, "2");
        assert!(port.is_alive());
    }

    // P4: whoever may kill the port, kills it with what it cannot handle
    async fn what_a_port_cannot_handle_kills_it(world: World) with with_servant; {
        let servant = spawn_servant(&world);
        let death = world.near.monitor(&servant).death();
        world.near.send(&servant, ("no such tag", 1)).unwrap();
        let reason = in_time(death).await;
        assert_eq!(reason.to_string(), "unhandled_message: no such tag");

        let servant = spawn_servant(&world);
        let death = world.near.monitor(&servant).death();
        world.near.send(&servant, ("fail", 1, 2)).unwrap();
        let reason = in_time(death).await;
        assert_eq!(reason.tag(), Some("bad_message"));

        let servant = spawn_servant(&world);
        let death = world.near.monitor(&servant).death();
        world.near.send(&servant, 451).unwrap();
        let reason = in_time(death).await;
        assert_eq!(reason.values(), [Value::from("unhandled_message"), Value::Null]);
    }

    async fn a_message_can_be_passed_on_as_it_is(world: World) with plain; {
        let mut log = Log::open(&world.near);
        let to = log.id().clone();
        let relay = world.far.port()
            .state(to)
            .on_other(async |to: &mut PortId, cx: &Context, message: portmesh::Message| {
                cx.send(to, message)
            })
            .open();
        world.near.send(relay.id(), ("a", 1, [2, 3])).unwrap();
        assert_eq!(log.next().await, r#"["a",1,[2,3]]"#);
    }

    async fn a_handler_knows_the_node_of_the_sender(world: World) with plain; {
        let notes = Notes::new();
        let told = notes.clone();
        let port = world.far.port()
            .on_fn("who", move |_: &mut (), cx: &Context, (): ()| {
                told.note(format!("{:?}", cx.sender_node().map(|node| node.as_str().to_owned())));
            })
            .open();
        world.near.send(port.id(), "who").unwrap();
        assert_eq!(notes.next().await, format!("Some({:?})", world.near.id().as_str()));
        world.far.send(port.id(), "who").unwrap();
        assert_eq!(notes.next().await, format!("Some({:?})", world.far.id().as_str()));
    }
}

// P1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_at_once_keep_their_own_order() {
    let world = World::local(plain).await;
    let got = Arc::new(std::sync::Mutex::new(vec![Vec::new(); 8]));
    let into = got.clone();
    let port = world
        .far
        .port()
        .on_fn(
            "n",
            move |_: &mut (), _: &Context, (who, n): (usize, u64)| {
                into.lock().unwrap()[who].push(n);
            },
        )
        .open();
    let senders: Vec<_> = (0..8)
        .map(|who| {
            let (node, to) = (world.near.clone(), port.id().clone());
            std::thread::spawn(move || {
                let mut n = 0;
                while n < 5_000u64 {
                    match node.send(&to, ("n", who, n)) {
                        Ok(()) => n += 1,
                        Err(SendError::Full(_)) => std::thread::yield_now(),
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    tokio::task::spawn_blocking(move || senders.into_iter().for_each(|s| s.join().unwrap()))
        .await
        .unwrap();
    until(|| got.lock().unwrap().iter().all(|ns| ns.len() == 5_000)).await;
    for ns in got.lock().unwrap().iter() {
        assert!(ns.iter().copied().eq(0..5_000));
    }
}

// P10
#[tokio::test(start_paused = true)]
async fn without_a_mesh_other_nodes_are_unreachable_at_once() {
    let world = World::local(plain).await;
    let elsewhere: PortId = "elsewhere#p".parse().unwrap();
    let reason = in_time(world.near.monitor(&elsewhere)).await;
    assert_eq!(reason.tag(), Some("transport_error"));
    let called = in_time(world.near.call::<u64>(&elsewhere, "x")).await;
    assert!(
        matches!(&called, Err(CallError::Unreachable { node, .. }) if node.as_str() == "elsewhere"),
        "{called:?}"
    );
    world.near.send(&elsewhere, "x").unwrap();
    assert!(world.near.links().is_empty() && world.near.listen_addrs().is_empty());
}

// P7, P4: the same over a link that speaks JSON
#[tokio::test(start_paused = true)]
async fn every_kind_of_value_survives_json_too() {
    let json = |node| with_servant(node).format(portmesh::Format::json());
    let world = World::remote(json).await;
    let (near, network) = (world.near.clone(), world.network.clone());
    let far = world.far.clone();
    in_time(every_kind_of_value_survives::body(world)).await;
    assert_eq!(near.links()[0].format, "json");
    in_time(what_a_port_cannot_handle_kills_it::body(World {
        near,
        far,
        network,
    }))
    .await;
}

// P1, P7
#[tokio::test(start_paused = true)]
async fn a_node_whose_links_differ_sends_to_each_peer_what_it_reads() {
    let network = MemoryNetwork::new();
    let mut near = Node::builder("near").transport(network.host("n"));
    let mut peers = Vec::new();
    for (name, format) in [
        ("json", portmesh::Format::json()),
        ("cbor", portmesh::Format::cbor()),
    ] {
        let far = Node::builder(name)
            .transport(network.host(name))
            .listen(format!("{name}:1"))
            .format(format);
        let far = far.start().await.unwrap();
        near = near.address(far.id().clone(), format!("{name}:1"));
        peers.push((Log::open(&far), far));
    }
    let near = near.start().await.unwrap();
    let map = std::collections::BTreeMap::from([("$k", "a\n\"b\"")]);
    let long = "long".repeat(5_000);
    let send = |log: &Log, n: u64| {
        let text = if n % 10 == 9 { &long } else { "" };
        let sent = near.send(log.id(), ("row", n, &map, 0.5, text));
        sent.unwrap();
        format!(r#"["row",{n},{{"$$k":"a\n\"b\""}},0.5,"{text}"]"#)
    };
    // the first before there is a link
    for n in 0..40 {
        for (log, _) in &mut peers {
            let expected = send(log, n);
            assert_eq!(log.next().await, expected);
        }
    }
    let mut formats: Vec<String> = near
        .links()
        .iter()
        .map(|link| link.format.to_string())
        .collect();
    formats.sort();
    assert_eq!(formats, ["cbor", "json"]);
    // what is under way together comes in order as well
    let mut expected = [Vec::new(), Vec::new()];
    for n in 40..80 {
        for ((log, _), expected) in peers.iter().zip(&mut expected) {
            expected.push(send(log, n));
        }
    }
    for ((log, _), expected) in peers.iter_mut().zip(expected) {
        assert_eq!(log.rest().await, expected);
    }
}
