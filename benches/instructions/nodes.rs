//! What whole nodes do for each message: the public API, tasks, timers and mailboxes, without TLS and the kernel's
//! network, on one thread.

use portmesh::{
    Context, Format, Init, Node, NodeId, Port, PortId, transport::memory::MemoryNetwork,
};
use tokio::task::{JoinSet, yield_now};

use super::core::BODY;

/// Messages that are sent before the other tasks have their turn.
const BURST: u64 = 64;
const SERVER: &str = "bench/server";

#[derive(Default)]
struct Sink {
    messages: u64,
    bytes: u64,
}

async fn put(sink: &mut Sink, _: &Context, (_id, _name, body): (u64, String, String)) {
    sink.messages += 1;
    sink.bytes += body.len() as u64;
}

async fn ping(_: &mut Sink, cx: &Context, (n, reply): (u64, PortId)) {
    let _ = cx.send(&reply, n);
}

async fn taken(sink: &mut Sink, cx: &Context, (reply,): (PortId,)) {
    let _ = cx.send(&reply, sink.messages);
}

async fn stop((): &mut (), cx: &Context, (): ()) {
    cx.stop();
}

async fn init_victim(cx: &Init, (): ()) {
    cx.port().on("stop", stop).open();
}

fn open_sink(node: &Node) -> Port<Sink> {
    node.port()
        .state(Sink::default())
        .on("put", put)
        .on("ping", ping)
        .on("taken", taken)
        .open()
}

/// Two nodes with a link, and a port on the second.
struct Two {
    near: Node,
    server: NodeId,
    sink: PortId,
    _far: Node,
    _port: Port<Sink>,
}

impl Two {
    async fn start(format: &Format) -> Two {
        let network = MemoryNetwork::new();
        let far = Node::builder(SERVER)
            .transport(network.host("f"))
            .listen("f:1")
            .format(format.clone())
            .spawnable("victim", init_victim)
            .start()
            .await
            .expect("a node starts");
        let port = open_sink(&far);
        let near = Node::builder("bench/client")
            .transport(network.host("n"))
            .format(format.clone())
            .address(far.id().clone(), "f:1")
            .start()
            .await
            .expect("a node starts");
        let two = Two {
            near,
            server: far.id().clone(),
            sink: port.id().clone(),
            _far: far,
            _port: port,
        };
        assert_eq!(ask(&two.near, &two.sink, 1).await, 1);
        two
    }
}

async fn ask(node: &Node, port: &PortId, n: u64) -> u64 {
    let answer = node.call::<u64>(port, ("ping", n)).await;
    answer.expect("there is an answer")
}

async fn one_way(node: &Node, sink: &PortId, count: u64) {
    for n in 0..count {
        let sent = node.send_wait(sink, ("put", n, "bench", BODY)).await;
        sent.expect("it is sent");
        if n % BURST == BURST - 1 {
            yield_now().await;
        }
    }
    let taken = node.call::<u64>(sink, ("taken",)).await;
    assert_eq!(taken.expect("there is an answer"), count);
}

fn run(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts")
        .block_on(work);
}

pub(crate) fn local(count: u64) {
    run(async {
        let node = Node::builder("bench/local").start().await;
        let node = node.expect("a node starts");
        let port = open_sink(&node);
        one_way(&node, port.id(), count).await;
    });
}

pub(crate) fn small_cbor(count: u64) {
    run(async {
        let two = Two::start(&Format::cbor()).await;
        one_way(&two.near, &two.sink, count).await;
    });
}

pub(crate) fn small_json(count: u64) {
    run(async {
        let two = Two::start(&Format::json()).await;
        one_way(&two.near, &two.sink, count).await;
    });
}

/// One call after the other.
pub(crate) fn round_trip(count: u64) {
    run(async {
        let two = Two::start(&Format::cbor()).await;
        for n in 0..count {
            assert_eq!(ask(&two.near, &two.sink, n).await, n);
        }
    });
}

/// 64 tasks, each with one call after the other.
pub(crate) fn calls_in_flight(count: u64) {
    const TASKS: u64 = 64;
    run(async {
        let two = Two::start(&Format::cbor()).await;
        let mut all = JoinSet::new();
        for task in 0..TASKS {
            let (node, sink) = (two.near.clone(), two.sink.clone());
            let calls = count / TASKS + u64::from(task < count % TASKS);
            all.spawn(async move {
                for n in 0..calls {
                    assert_eq!(ask(&node, &sink, n).await, n);
                }
            });
        }
        while let Some(done) = all.join_next().await {
            done.expect("no task fails");
        }
    });
}

/// A port is spawned there, monitored, told to stop, and its death awaited.
pub(crate) fn spawn_monitor_exit(count: u64) {
    run(async {
        let two = Two::start(&Format::cbor()).await;
        for _ in 0..count {
            let port = two.near.spawn(&two.server, "victim", ());
            let port = port.expect("it is asked for");
            let death = two.near.monitor(&port).death();
            two.near.send(&port, "stop").expect("it is sent");
            assert!(death.await.is_normal());
        }
    });
}
