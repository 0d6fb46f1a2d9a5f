//! A million ports in a node.

use std::time::{Duration, Instant};

use portmesh::{Context, Node, Port, PortId};

use super::{Res, support};

const PORTS: usize = 1_000_000;
const CALLS: usize = 10_000;

async fn ping(n: &mut usize, cx: &Context, (reply,): (PortId,)) {
    let _ = cx.send(&reply, *n);
}

fn open(node: &Node, n: usize) -> Port<usize> {
    node.port().state(n).on("ping", ping).open()
}

pub(crate) async fn run() -> Res {
    let node = Node::builder("scale/ports").start().await?;
    // what is made once
    drop(open(&node, 0));
    let mut ports = Vec::with_capacity(PORTS);
    let before = support::resident_bytes();
    let began = Instant::now();
    for n in 0..PORTS {
        ports.push(open(&node, n));
    }
    let took = began.elapsed();
    let bytes = (support::resident_bytes() - before) / PORTS as f64;
    let mut times = Vec::with_capacity(CALLS);
    let mut at = 12_345;
    for _ in 0..CALLS {
        // all over them, none twice
        at = (at + 618_033) % PORTS;
        let began = Instant::now();
        let answer = node.call::<usize>(ports[at].id(), ("ping",)).await?;
        times.push(began.elapsed());
        assert_eq!(answer, at);
    }
    assert!(node.stats().ports > PORTS);
    times.sort_unstable();
    let micros = |q: f64| times[((CALLS - 1) as f64 * q) as usize].as_secs_f64() * 1e6;
    let began = Instant::now();
    drop(ports);
    let closed = began.elapsed();
    let extra = [
        ("ports", PORTS as f64),
        ("open_ns", took.as_nanos() as f64 / PORTS as f64),
        ("close_ns", closed.as_nanos() as f64 / PORTS as f64),
        ("call_p50_us", micros(0.5)),
        ("call_p99_us", micros(0.99)),
    ];
    support::emit("scale_ports", "local", bytes, "bytes a port", &extra);
    node.shutdown(Duration::ZERO).await;
    Ok(())
}
