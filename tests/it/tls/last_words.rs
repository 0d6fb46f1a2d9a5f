//! What a node said before it left, and is read only when it is gone.

use std::{sync::mpsc, time::Duration};

use portmesh::{Context, Node, PortId, proto::handshake::Secret};
use tokio::time::timeout;

const CALLS: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(60);

/// The requests so far.
type Asked = Vec<(u64, PortId)>;

async fn ask(asked: &mut Asked, _: &Context, (n, reply): (u64, PortId)) {
    asked.push((n, reply));
}

async fn count(asked: &mut Asked, cx: &Context, (to,): (PortId,)) {
    cx.send(&to, asked.len() as u64).unwrap();
}

async fn answer(asked: &mut Asked, cx: &Context, (to,): (PortId,)) {
    for (n, reply) in asked.drain(..) {
        cx.send(&reply, n).unwrap();
    }
    cx.send(&to, ()).unwrap();
}

// S4: whoever has an answer sends on, which fails, since the node is gone; that takes no answer from the others
#[tokio::test]
async fn answers_that_came_before_a_node_left_all_reach_their_callers() {
    let secret = Secret::generate().unwrap();
    let (told, hear) = mpsc::channel();
    let (go, leave) = mpsc::channel::<()>();
    let far_secret = secret.clone();
    // a node with a thread of its own, so that it goes on while this one stands still
    let far = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async move {
            let node = Node::builder("far")
                .secret(far_secret)
                .unpinned()
                .listen("127.0.0.1:0")
                .start()
                .await
                .unwrap();
            let port = node.port().state(Asked::new());
            let port = port.on("ask", ask).on("count", count);
            let port = port.on("answer", answer).open();
            let addr = node.listen_addrs()[0].clone();
            told.send((addr, port.id().clone())).unwrap();
            while node.call::<u64>(port.id(), "count").await.unwrap() < CALLS {
                tokio::task::yield_now().await;
            }
            told.send((String::new(), port.id().clone())).unwrap();
            leave.recv().unwrap();
            let before = node.stats().mesh.bytes_out;
            node.call::<()>(port.id(), "answer").await.unwrap();
            // the answers are written, each of more bytes than this, and not only a word about what came; the other node
            // stands still
            while node.stats().mesh.bytes_out < before + 16 * CALLS {
                tokio::task::yield_now().await;
            }
            node.shutdown(Duration::ZERO).await;
        });
    });
    let (addr, port) = hear.recv().unwrap();
    let near = Node::builder("near")
        .secret(secret)
        .unpinned()
        .address("far".parse().unwrap(), addr)
        .start()
        .await
        .unwrap();
    let calls: Vec<_> = (0..CALLS)
        .map(|n| {
            let (node, to) = (near.clone(), port.clone());
            tokio::spawn(async move {
                let answer = node.call::<u64>(&to, ("ask", n)).within(PATIENCE).await;
                let _ = node.send(&to, ("ask", n));
                (n, answer)
            })
        })
        .collect();
    let all_asked = async {
        while hear.try_recv().is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, all_asked).await.unwrap();
    go.send(()).unwrap();
    // this thread, and with it this node, stands still until the other one is gone
    far.join().unwrap();
    for call in calls {
        let (n, answer) = call.await.unwrap();
        assert_eq!(answer.unwrap(), n);
    }
}
