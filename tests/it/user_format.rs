//! A format of the user's between two processes, by the public API alone.

use std::{process::Stdio, time::Duration};

use portmesh::{Context, Format, Node, NodeBuilder, PortId, Secret, Value};
use tokio::{process::Command, sync::mpsc};

use crate::support::msgpack::MessagePack;

const LONG: Duration = Duration::from_secs(30);
const ADDR: &str = "USER_FORMAT_TEST_ADDR";
const PORT: &str = "USER_FORMAT_TEST_PORT";

fn builder(name: &str) -> NodeBuilder {
    Node::builder(name)
        .secret(Secret::from_bytes([7; 32]))
        .formats([Format::new(MessagePack)])
}

/// What only a format that carries the whole data model brings across.
type Load = (u64, i64, f64, Option<bool>, Value);

fn load() -> Load {
    let map = [
        ("bytes", Value::from(vec![0u8, 255])),
        ("list", Value::from([Value::Null])),
    ];
    (u64::MAX, i64::MIN, -0.5, None, Value::from_iter(map))
}

// P7
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_speak_messagepack() {
    let node = builder("parent/%u")
        .listen("127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let (done, mut ended) = mpsc::unbounded_channel();
    let port = node
        .port()
        .on(
            "echo",
            async |_: &mut (), cx: &Context, (load, reply): (Load, PortId)| {
                cx.send(&reply, ("echoed", load))
            },
        )
        .on_fn("done", move |_: &mut (), cx: &Context, said: String| {
            let formats: Vec<String> = cx
                .node()
                .links()
                .into_iter()
                .map(|link| link.format)
                .collect();
            let _ = done.send((said, formats));
        })
        .open();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "user_format::the_other_process",
            "--ignored",
            "--nocapture",
        ])
        .env(ADDR, &node.listen_addrs()[0])
        .env(PORT, port.id().to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let ended = tokio::time::timeout(LONG, ended.recv()).await.unwrap();
    let (said, formats) = ended.unwrap();
    assert_eq!(said, "msgpack");
    assert_eq!(formats, ["msgpack"]);
    let status = tokio::time::timeout(LONG, child.wait()).await.unwrap();
    assert!(status.unwrap().success());
    node.shutdown(Duration::ZERO).await;
}

#[ignore = "run by the test above as a process of its own"]
#[tokio::test(flavor = "multi_thread")]
async fn the_other_process() {
    let port: PortId = std::env::var(PORT).unwrap().parse().unwrap();
    let node = builder("child/%u")
        .address(port.node().clone(), std::env::var(ADDR).unwrap())
        .start()
        .await
        .unwrap();
    let (tag, echoed): (String, Load) = node
        .call(&port, ("echo", load()))
        .within(LONG)
        .await
        .unwrap();
    assert_eq!((tag.as_str(), echoed), ("echoed", load()));
    let links = node.links();
    node.send(&port, ("done", &links[0].format)).unwrap();
    node.shutdown(LONG).await;
}
