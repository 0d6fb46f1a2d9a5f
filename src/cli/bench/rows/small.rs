//! Small messages: as many as go through, decoded by their handlers, counted and timed where they are handled.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::super::{
    super::exit::{Exit, OrExit, Outcome},
    figures::Line,
    pair::{Pair, Stage, check, taken},
    ports::{BODY, SMALL, SMALL_ASYNC},
};
use crate::{Node, PortId};

/// So many messages go between two looks at the clock.
const CHUNK: u64 = 256;

pub(in super::super) async fn run(stage: &Stage, format: &'static str) -> Outcome {
    for (bench, tag) in [
        ("one_way_small", SMALL),
        ("one_way_small_async_handler", SMALL_ASYNC),
    ] {
        let pair = stage.pair(format).await?;
        round(&pair, tag, stage.round_time()).await?; // warms up
        let mut rates = Vec::new();
        let mut messages = 0;
        let load = pair.load();
        for _ in 0..stage.rounds {
            let (count, seconds) = round(&pair, tag, stage.round_time()).await?;
            rates.push(count as f64 / seconds);
            messages += count;
        }
        let line = Line::of_rounds(bench, &rates, "msg/s").with_all(load.stop(messages as f64));
        stage.tell(&pair.line(line));
        pair.end().await;
    }
    Ok(())
}

/// Senders and ports.
const MANY: usize = 8;

pub(in super::super) async fn run_8x8(stage: &Stage, format: &'static str) -> Outcome {
    let pair = stage.pair(format).await?;
    let mut sinks = Vec::new();
    for _ in 0..MANY {
        sinks.push(pair.spawn_sink()?);
    }
    round_of_all(&pair, &sinks, stage.round_time()).await?; // warms up
    let mut rates = Vec::new();
    let mut messages = 0;
    let load = pair.load();
    for _ in 0..stage.rounds {
        let (count, seconds) = round_of_all(&pair, &sinks, stage.round_time()).await?;
        rates.push(count as f64 / seconds);
        messages += count;
    }
    let line = Line::of_rounds(format!("small_{MANY}x{MANY}"), &rates, "msg/s");
    let line = line.with_all(load.stop(messages as f64));
    stage.tell(&pair.line(line));
    pair.end().await;
    Ok(())
}

/// Messages, and seconds from the first of all to the last of all.
async fn round_of_all(pair: &Pair, sinks: &[PortId], time: Duration) -> Outcome<(u64, f64)> {
    let until = Instant::now() + time;
    let mut all = JoinSet::new();
    for sink in sinks {
        let (node, sink) = (pair.node.clone(), sink.clone());
        all.spawn(async move {
            let sent = send(&node, &sink, SMALL, until).await?;
            let taken = taken(&node, &sink).await?;
            check(taken.messages == sent, "messages were lost")?;
            Outcome::Ok(taken)
        });
    }
    let mut messages = 0;
    let (mut first, mut last) = (Duration::MAX, Duration::ZERO);
    while let Some(taken) = all.join_next().await {
        let taken = taken.or_exit(Exit::Failed)??;
        messages += taken.messages;
        first = first.min(taken.first);
        last = last.max(taken.last);
    }
    Ok((messages, last.saturating_sub(first).as_secs_f64()))
}

/// Messages, and seconds from the first to the last.
async fn round(pair: &Pair, tag: &str, time: Duration) -> Outcome<(u64, f64)> {
    let sent = send(&pair.node, &pair.sink, tag, Instant::now() + time).await?;
    let taken = pair.taken(&pair.sink).await?;
    check(taken.messages == sent, "messages were lost")?;
    Ok((sent, taken.seconds()))
}

/// Sends until then, waiting where there is no room; says how many.
async fn send(node: &Node, sink: &PortId, tag: &str, until: Instant) -> Outcome<u64> {
    let mut sent = 0;
    while sent == 0 || Instant::now() < until {
        for n in 0..CHUNK {
            let message = (tag, n % 200, BODY);
            node.send_wait(sink, message).await.or_exit(Exit::Failed)?;
        }
        sent += CHUNK;
    }
    Ok(sent)
}
