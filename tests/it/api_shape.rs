//! The API reads as it is promised: handlers, actors, calls, spawns, monitors and timers, in their natural forms.

use std::time::Duration;

use portmesh::{Actor, Context, Failure, Init, Message, Node, PortId, Reason};
use serde::{Deserialize, Serialize};

#[derive(Default)]
struct Pinger {
    seen: u64,
}

async fn report(s: &mut Pinger, cx: &Context, reply: PortId) -> Result<(), portmesh::SendError> {
    tokio::task::yield_now().await;
    cx.send(&reply, s.seen)
}

#[derive(Serialize, Deserialize)]
enum Order {
    Add {
        n: u64,
    },
    #[serde(rename = "total")]
    Total(PortId),
}

struct Summer(u64);

impl Actor for Summer {
    type Message = Order;
    async fn handle(&mut self, cx: &Context, message: Order) -> Result<(), Failure> {
        tokio::task::yield_now().await;
        match message {
            Order::Add { n } => self.0 += n,
            Order::Total(reply) => cx.send(&reply, self.0)?,
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_of_all_forms_work_together() {
    let node = Node::builder("shape").start().await.unwrap();
    let (out, mut lines) = tokio::sync::mpsc::unbounded_channel::<String>();
    let other = out.clone();
    let port = node
        .port()
        .state(Pinger::default())
        .on(
            "ping",
            async |s: &mut Pinger, cx: &Context, (n, reply): (u64, PortId)| {
                s.seen += 1;
                tokio::task::yield_now().await;
                cx.send(&reply, ("pong", n))
            },
        )
        .on("report", report)
        .on_fn("line", move |_: &mut Pinger, _: &Context, line: String| {
            let _ = out.send(line);
        })
        .on_other(async |s: &mut Pinger, _: &Context, _: Message| s.seen += 100)
        .open();

    let (tag, n): (String, u64) = node
        .call(port.id(), ("ping", 7))
        .within(Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!((tag.as_str(), n), ("pong", 7));
    node.send(port.id(), ("line", "hello")).unwrap();
    assert_eq!(lines.recv().await.as_deref(), Some("hello"));
    node.send(port.id(), ("what", 1, 2, 3)).unwrap();
    let by = 1000;
    port.run(async move |s: &mut Pinger, _: &Context| {
        s.seen += by;
    })
    .unwrap();
    assert_eq!(node.call::<u64>(port.id(), "report").await.unwrap(), 1101);

    port.set(
        "twice",
        async |_: &mut Pinger, cx: &Context, (n, reply): (u64, PortId)| {
            cx.set(
                "thrice",
                async |_: &mut Pinger, cx: &Context, (n, reply): (u64, PortId)| {
                    cx.send(&reply, 3 * n)
                },
            )?;
            cx.send(&reply, 2 * n)?;
            Ok::<(), Failure>(())
        },
    );
    assert_eq!(node.call::<u64>(port.id(), ("twice", 4)).await.unwrap(), 8);
    assert_eq!(
        node.call::<u64>(port.id(), ("thrice", 4)).await.unwrap(),
        12
    );
    assert!(port.unset("thrice"));

    let watched = node.actor(Summer(1)).open();
    node.send(watched.id(), Order::Add { n: 4 }).unwrap();
    node.send(watched.id(), ("Add", 5)).unwrap();
    assert_eq!(node.call::<u64>(watched.id(), "total").await.unwrap(), 10);
    let guard = node.monitor(watched.id()).call(move |reason| {
        let _ = other.send(reason.to_string());
    });
    let death = node.monitor(watched.id()).death();
    node.kill(watched.id(), ("too_hot", 451)).unwrap();
    assert_eq!(death.await.tag(), Some("too_hot"));
    assert_eq!(lines.recv().await.as_deref(), Some("too_hot: 451"));
    assert!(guard.has_fired());
    let gone: Reason = node.monitor(watched.id()).await;
    assert_eq!(gone.tag(), Some("no_such_port"));
    node.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_spawned_port_is_equipped_by_its_init_function() {
    let node = Node::builder("shape")
        .spawnable("echo", async |cx: &Init, (first, to): (u64, PortId)| {
            tokio::task::yield_now().await;
            cx.send(&to, ("init", first))?;
            cx.port()
                .state(first)
                .on("next", async |n: &mut u64, cx: &Context, reply: PortId| {
                    *n += 1;
                    cx.send(&reply, *n)
                })
                .open();
            Ok::<(), Failure>(())
        })
        .spawnable("summer", async |cx: &Init, start: u64| {
            cx.actor(Summer(start)).open();
        })
        .start()
        .await
        .unwrap();
    let (out, mut inits) = tokio::sync::mpsc::unbounded_channel::<u64>();
    let me = node
        .port()
        .on_fn("init", move |_: &mut (), _: &Context, n: u64| {
            let _ = out.send(n);
        })
        .open();
    let echo = node.spawn("shape", "echo", (41, me.id())).unwrap();
    assert_eq!(node.call::<u64>(&echo, "next").await.unwrap(), 42);
    assert_eq!(inits.recv().await, Some(41));
    let summer = node.spawn(me.id(), "summer", 5).unwrap();
    assert_eq!(node.call::<u64>(&summer, "total").await.unwrap(), 5);
}
