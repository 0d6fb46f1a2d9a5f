//! Memory of what waits and does nothing.

use std::time::Duration;

use super::super::{
    super::exit::{Exit, OrExit, Outcome},
    figures::Line,
    load::resident_bytes,
    pair::Stage,
};
use crate::{Context, Node, PortId};

const PORTS: usize = 100_000;

/// Ports that wait for messages, and nothing else.
pub(in super::super) async fn ports(stage: &Stage) -> Outcome {
    let node = Node::builder("bench/idle").start().await;
    let node = node.or_exit(Exit::Failed)?;
    let mut ports = Vec::with_capacity(PORTS);
    let before = resident_bytes();
    for n in 0..PORTS {
        ports.push(node.port().state(n).on("ping", ping).open());
    }
    let fresh = (resident_bytes() - before) / PORTS as f64;
    // and after each has done something
    for port in &ports {
        let call = node.call::<usize>(port.id(), ("ping",));
        call.await.or_exit(Exit::Failed)?;
    }
    let used = (resident_bytes() - before) / PORTS as f64;
    let line = Line::new("idle_port", used, "bytes");
    stage.tell(&line.with("fresh", fresh).with("ports", PORTS as f64));
    node.shutdown(Duration::ZERO).await;
    Ok(())
}

async fn ping(n: &mut usize, cx: &Context, (reply,): (PortId,)) {
    let _ = cx.send(&reply, *n);
}
