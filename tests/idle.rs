//! How much memory a port takes that waits for messages: measured by an allocator that counts, so one test alone in its
//! process.
#![allow(clippy::unwrap_used)]

use peak_alloc::PeakAlloc;
use portmesh::{Context, Node, Port, PortId};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const PORTS: usize = 20_000;

async fn ping(n: &mut usize, cx: &Context, (reply,): (PortId,)) {
    let _ = cx.send(&reply, *n);
}

async fn nothing(_: &mut usize, _: &Context, (): ()) {}

/// The bytes that one port takes, the handle that is kept on it included, after it has handled something. What the
/// allocator adds is not counted.
async fn idle(open: impl Fn(&Node, usize) -> Port<usize>) -> usize {
    let node = Node::builder("n").start().await.unwrap();
    open(&node, 0);
    let mut ports = Vec::with_capacity(PORTS);
    let before = ALLOCATOR.current_usage();
    for n in 0..PORTS {
        ports.push(open(&node, n));
    }
    for (n, port) in ports.iter().enumerate() {
        assert_eq!(node.call::<usize>(port.id(), ("ping",)).await.unwrap(), n);
    }
    // the answer is sent before the port rests
    node.call::<usize>(ports.last().unwrap().id(), ("ping",))
        .await
        .unwrap();
    let bytes = (ALLOCATOR.current_usage() - before) / PORTS + size_of::<Port<usize>>();
    // dropping it would give memory back while the next is measured
    std::mem::forget(node);
    bytes
}

#[test]
fn an_idle_port_is_small() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let plain = idle(|node, n| node.port().state(n).on("ping", ping).open()).await;
        assert!(plain <= 340, "a port with one handler takes {plain} bytes");

        // ports that are made alike share their handlers, so that more of them take nothing
        let busy = idle(|node, n| {
            let tags = (0..16).map(|tag| format!("a rather long tag {tag}"));
            let port = tags.fold(node.port().state(n), |port, tag| port.on(tag, nothing));
            port.on("ping", ping).open()
        })
        .await;
        assert!(
            busy <= plain + 8,
            "a port with many handlers takes {busy} bytes"
        );

        // a closure that holds something cannot be shared
        let own = idle(|node, n| {
            node.port()
                .state(n)
                .on("ping", ping)
                .on_fn("add", move |state: &mut usize, _: &Context, (): ()| {
                    *state += n
                })
                .open()
        })
        .await;
        assert!(
            own <= plain + 280,
            "a port with its own handlers takes {own} bytes"
        );
    });
}
