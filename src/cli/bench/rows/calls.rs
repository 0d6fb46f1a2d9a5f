//! Many calls at once.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::super::{
    super::exit::{Exit, OrExit, Outcome},
    figures::Line,
    pair::{PATIENCE, Pair, Stage, check},
};

const TASKS: u64 = 64;

pub(in super::super) async fn run(stage: &Stage, format: &'static str) -> Outcome {
    let pair = stage.pair(format).await?;
    round(&pair, stage.round_time()).await?; // warms up
    let mut rates = Vec::new();
    let mut calls = 0;
    let load = pair.load();
    for _ in 0..stage.rounds {
        let (count, seconds) = round(&pair, stage.round_time()).await?;
        rates.push(count as f64 / seconds);
        calls += count;
    }
    let line = Line::of_rounds(format!("calls_{TASKS}_in_flight"), &rates, "call/s");
    let line = line.with_all(load.stop(calls as f64));
    stage.tell(&pair.line(line));
    pair.end().await;
    Ok(())
}

/// Calls that were answered, and seconds.
async fn round(pair: &Pair, time: Duration) -> Outcome<(u64, f64)> {
    let began = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..TASKS {
        let (node, sink) = (pair.node.clone(), pair.sink.clone());
        all.spawn(async move {
            let mut calls = 0;
            while calls == 0 || began.elapsed() < time {
                let call = node.call::<u64>(&sink, ("ping", calls)).within(PATIENCE);
                let answer = call.await.or_exit(Exit::Failed)?;
                check(answer == calls, "an answer to another question")?;
                calls += 1;
            }
            Outcome::Ok(calls)
        });
    }
    let mut calls = 0;
    while let Some(done) = all.join_next().await {
        calls += done.or_exit(Exit::Failed)??;
    }
    Ok((calls, began.elapsed().as_secs_f64()))
}
