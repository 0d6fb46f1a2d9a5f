//! From dialling a node to its first answer.

use std::time::{Duration, Instant};

use super::super::{
    super::exit::{Exit, OrExit, Outcome},
    figures::Line,
    pair::{PATIENCE, Pair, Stage, check, other_id},
};

pub(in super::super) async fn run(stage: &Stage, format: &'static str) -> Outcome {
    let pair = stage.pair(format).await?;
    connects(&pair, stage.time / 10).await?; // warms up
    let load = pair.load();
    let times = connects(&pair, stage.time).await?;
    let cpu = load.stop(times.len() as f64);
    stage.tell(&pair.line(Line::of_times("connect", times).with_all(cpu)));
    pair.end().await;
    Ok(())
}

/// Calls of fresh nodes that have no link yet.
async fn connects(pair: &Pair, time: Duration) -> Outcome<Vec<Duration>> {
    let end = Instant::now() + time;
    let mut times = Vec::new();
    while times.is_empty() || Instant::now() < end {
        let node = pair.dialler.node(&other_id(0)).await?;
        check(node.links().is_empty(), "it is linked before it is asked")?;
        let began = Instant::now();
        let call = node.call::<u64>(&pair.sink, ("ping", 1)).within(PATIENCE);
        call.await.or_exit(Exit::Failed)?;
        times.push(began.elapsed());
        node.shutdown(Duration::from_secs(1)).await;
    }
    Ok(times)
}
