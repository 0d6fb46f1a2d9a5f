//! The database: until a watcher on another node sees what was set, both attached to one global node in the other process.

use std::time::{Duration, Instant};

use super::super::{
    super::exit::{Exit, Failure, OrExit, Outcome},
    figures::Line,
    load::Load,
    pair::{CLIENT, PATIENCE, Stage, check, other_id},
};
use crate::{DbEvent, Node, Watch};

const MANY: usize = 10_000;
const VALUE: &str = "the quick brown fox jumps over t";

pub(in super::super) async fn run(stage: &Stage, format: &'static str) -> Outcome {
    let global = stage.other(format).await?;
    let setter = stage.attached(CLIENT, format, &global).await?;
    let watcher = stage.attached(&other_id(0), format, &global).await?;
    check(
        setter.db().home().as_ref() == Some(&global.node),
        "the setter has another home",
    )?;
    let link = setter.links().into_iter().next();
    let link = link.ok_or_else(|| Failure::new(Exit::Unreachable, "the link is gone"))?;

    let mut watch = watch(&watcher, "one").await?;
    ones(&setter, &mut watch, stage.time / 10).await?; // warms up
    let load = Load::start(global.pid);
    let times = ones(&setter, &mut watch, stage.time).await?;
    let cpu = load.stop(times.len() as f64);
    let line = Line::of_times("set_visible", times).with_all(cpu);
    stage.tell(&line.over(&link.security, &link.format));

    let mut times = Vec::new();
    many(&setter, &watcher, "warm").await?;
    let load = Load::start(global.pid);
    for round in 0..stage.rounds {
        times.push(many(&setter, &watcher, &format!("round{round}")).await?);
    }
    let cpu = load.stop(MANY as f64 * f64::from(stage.rounds));
    let line = Line::of_times(format!("sets_{MANY}_visible"), times);
    let rate = MANY as f64 * 1e6 / line.value();
    let line = line.with("entry_per_s", rate).with_all(cpu);
    stage.tell(&line.over(&link.security, &link.format));
    for node in [setter, watcher] {
        node.shutdown(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn watch(node: &Node, family: &str) -> Outcome<Watch> {
    let mut watch = node.db().watch(family).or_exit(Exit::Failed)?;
    loop {
        match next(&mut watch).await? {
            DbEvent::Synced => return Ok(watch),
            _ => continue,
        }
    }
}

async fn next(watch: &mut Watch) -> Outcome<DbEvent> {
    let event = watch.next_within(PATIENCE).await;
    event.ok_or_else(|| Failure::new(Exit::Timeout, "what was set is not seen"))
}

/// Sets one entry after the other, each when the one before is seen.
async fn ones(setter: &Node, watch: &mut Watch, time: Duration) -> Outcome<Vec<Duration>> {
    let end = Instant::now() + time;
    let mut times = Vec::new();
    while times.is_empty() || Instant::now() < end {
        let key = format!("k{}", times.len());
        let began = Instant::now();
        let entry = setter.db().set("one", &key, VALUE).or_exit(Exit::Failed)?;
        until(
            watch,
            |event| matches!(event, DbEvent::Added { key: seen, .. } if *seen == key),
        )
        .await?;
        times.push(began.elapsed());
        drop(entry); // removes it
        until(
            watch,
            |event| matches!(event, DbEvent::Deleted { key: seen } if *seen == key),
        )
        .await?;
    }
    Ok(times)
}

async fn until(watch: &mut Watch, wanted: impl Fn(&DbEvent) -> bool) -> Outcome {
    while !wanted(&next(watch).await?) {}
    Ok(())
}

/// Sets that many entries at once, until the last of them is seen.
async fn many(setter: &Node, watcher: &Node, family: &str) -> Outcome<Duration> {
    let mut watch = watch(watcher, family).await?;
    let mut entries = Vec::with_capacity(MANY);
    let began = Instant::now();
    for n in 0..MANY {
        let entry = setter.db().set(family, &format!("k{n}"), VALUE);
        entries.push(entry.or_exit(Exit::Failed)?);
    }
    for _ in 0..MANY {
        until(&mut watch, |event| matches!(event, DbEvent::Added { .. })).await?;
    }
    let took = began.elapsed();
    drop(entries);
    for _ in 0..MANY {
        until(&mut watch, |event| matches!(event, DbEvent::Deleted { .. })).await?;
    }
    Ok(took)
}
