//! How soon it is noticed that the other process stands still: no connection ends, it only says nothing any more.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{
    super::{
        super::exit::{Exit, OrExit, Outcome},
        figures::Line,
        pair::{PATIENCE, Pair, Stage, check},
        ports::VICTIM,
    },
    bulk,
};

/// KiB a message, of those that go on being sent.
const TRAFFIC_KIB: usize = 64;

pub(in super::super) async fn run(stage: &Stage, format: &'static str) -> Outcome {
    for (name, has_traffic) in [("hung_peer", false), ("hung_peer_under_traffic", true)] {
        let mut pair = stage.pair(format).await?;
        let noticed = noticed(&mut pair, has_traffic).await?;
        stage.tell(&pair.line(Line::of_times(name, vec![noticed])));
        pair.process.kill()?;
        pair.end().await;
    }
    Ok(())
}

/// From SIGSTOP of the other process until a monitor on one of its ports fires.
async fn noticed(pair: &mut Pair, has_traffic: bool) -> Outcome<Duration> {
    let victim = pair.spawn(VICTIM)?;
    let death = pair.node.monitor(&victim).death();
    // after this it is there
    pair.ping(&pair.sink, 0).await?;
    let mut traffic = JoinSet::new();
    if has_traffic {
        let (node, sink) = (pair.node.clone(), pair.sink.clone());
        let until = Instant::now() + PATIENCE;
        traffic.spawn(async move { bulk::send(&node, &sink, TRAFFIC_KIB, until).await });
    }
    let began = Instant::now();
    let suspended = pair.process.suspend().await?;
    let fired = tokio::time::timeout(PATIENCE, death).await;
    let reason = fired.or_exit_in(Exit::Timeout, "waiting for the monitor to fire")?;
    check(
        reason.tag() == Some("transport_error"),
        format!("the monitor fired with {reason}"),
    )?;
    let noticed = began.elapsed();
    drop(suspended);
    Ok(noticed)
}
