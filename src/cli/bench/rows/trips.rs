//! Round trips: one at a time on an idle link, and while bulk goes over the same link.

use std::time::{Duration, Instant};

use super::{
    super::{
        super::exit::{Exit, OrExit, Outcome},
        figures::{Line, micros, percentile},
        pair::{Pair, Stage},
    },
    bulk,
};

/// Between two round trips under bulk: they are to suffer from it, not to add to it.
const PACE: Duration = Duration::from_millis(2);

pub(in super::super) async fn run(stage: &Stage, format: &'static str) -> Outcome {
    let pair = stage.pair(format).await?;
    trips(&pair, stage.time / 10, None).await?; // warms up
    let load = pair.load();
    let times = trips(&pair, stage.time, None).await?;
    let cpu = load.stop(times.len() as f64);
    let line = Line::of_times("round_trip", times).with_all(cpu);
    stage.tell(&pair.line(line));
    pair.end().await;
    Ok(())
}

async fn trips(pair: &Pair, time: Duration, pace: Option<Duration>) -> Outcome<Vec<Duration>> {
    let end = Instant::now() + time;
    let mut times = Vec::new();
    while times.is_empty() || Instant::now() < end {
        times.push(pair.ping(&pair.sink, times.len() as u64).await?);
        if let Some(pace) = pace {
            tokio::time::sleep(pace).await;
        }
    }
    Ok(times)
}

pub(in super::super) async fn run_under_bulk(stage: &Stage, format: &'static str) -> Outcome {
    for kib in bulk::SIZES {
        let pair = stage.pair(format).await?;
        trips(&pair, stage.time / 10, None).await?; // warms up
        let mut idle = trips(&pair, stage.time / 4, Some(PACE)).await?;
        idle.sort_unstable();
        let idle = micros(percentile(&idle, 0.5));
        filled(&pair, kib, stage.time / 4, false).await?; // warms up
        let (alone, _) = filled(&pair, kib, stage.time, false).await?;
        let (beside, times) = filled(&pair, kib, stage.time, true).await?;
        let line = Line::of_times(format!("round_trip_under_bulk_{kib}k"), times);
        let p99 = line.figure("p99_us");
        let line = line.with_all([
            ("idle_us_p50", idle),
            ("p99_to_idle", p99 / idle),
            ("bulk_mb_s", beside),
            ("bulk_alone_mb_s", alone),
            ("bulk_kept", beside / alone),
        ]);
        stage.tell(&pair.line(line));
        pair.end().await;
    }
    Ok(())
}

/// Bulk to another port for that time: MB/s there, and the round trips meanwhile.
async fn filled(
    pair: &Pair,
    kib: usize,
    time: Duration,
    with_trips: bool,
) -> Outcome<(f64, Vec<Duration>)> {
    let other = pair.spawn_sink()?;
    let mut filler = tokio::task::JoinSet::new();
    let (node, sink) = (pair.node.clone(), other.clone());
    filler.spawn(async move { bulk::send(&node, &sink, kib, Instant::now() + time).await });
    let times = match with_trips {
        true => trips(pair, time, Some(PACE)).await?,
        false => Vec::new(),
    };
    while let Some(sent) = filler.join_next().await {
        sent.or_exit(Exit::Failed)??;
    }
    let taken = pair.taken(&other).await?;
    pair.node.kill(&other, ()).or_exit(Exit::Failed)?;
    Ok((taken.bytes as f64 / 1e6 / taken.seconds(), times))
}
