//! How soon monitors fire: when a port there is killed, and when its whole process is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::super::{
    super::exit::{Exit, OrExit, Outcome},
    figures::Line,
    pair::{PATIENCE, Pair, Stage, check},
    ports::{KILLER, VICTIM, clock},
};
use crate::PortId;

pub(in super::super) async fn run(stage: &Stage, format: &'static str) -> Outcome {
    let pair = stage.pair(format).await?;
    let killer = pair.spawn(KILLER)?;
    killed_there(&pair, &killer, stage.time / 10).await?; // warms up
    let load = pair.load();
    let times = killed_there(&pair, &killer, stage.time / 2).await?;
    let cpu = load.stop(times.len() as f64);
    let line = Line::of_times("monitor_fire", times).with_all(cpu);
    stage.tell(&pair.line(line));

    let load = pair.load();
    let times = killed_from_here(&pair, stage.time / 2).await?;
    let cpu = load.stop(times.len() as f64);
    let line = Line::of_times("kill_to_monitor_fire", times).with_all(cpu);
    stage.tell(&pair.line(line));
    pair.end().await;
    Ok(())
}

/// From a kill by a port of its own node, by the host's clock, which both processes read.
async fn killed_there(pair: &Pair, killer: &PortId, time: Duration) -> Outcome<Vec<Duration>> {
    let end = Instant::now() + time;
    let mut times = Vec::new();
    while times.is_empty() || Instant::now() < end {
        let victim = pair.spawn(VICTIM)?;
        let death = pair.node.monitor(&victim).death();
        // after this the monitor is there
        pair.ping(&pair.sink, 0).await?;
        let kill = pair.node.call::<(Duration,)>(killer, ("kill", victim));
        let fired = async {
            let reason = death.await;
            (clock(), reason)
        };
        let ((fired, reason), killed) = tokio::join!(fired, kill.within(PATIENCE));
        let (killed,) = killed.or_exit(Exit::Failed)?;
        check(
            reason.tag() == Some("bench"),
            format!("it died of {reason}"),
        )?;
        // a clock that was set back meanwhile is no measurement
        times.extend(fired.checked_sub(killed));
    }
    Ok(times)
}

async fn killed_from_here(pair: &Pair, time: Duration) -> Outcome<Vec<Duration>> {
    let end = Instant::now() + time;
    let mut times = Vec::new();
    while times.is_empty() || Instant::now() < end {
        let victim = pair.spawn(VICTIM)?;
        let death = pair.node.monitor(&victim).death();
        pair.ping(&pair.sink, 0).await?;
        let began = Instant::now();
        pair.node.kill(&victim, "bench").or_exit(Exit::Failed)?;
        let reason = death.await;
        times.push(began.elapsed());
        check(
            reason.tag() == Some("bench"),
            format!("it died of {reason}"),
        )?;
    }
    Ok(times)
}

pub(in super::super) async fn run_node_kill(stage: &Stage, format: &'static str) -> Outcome {
    for monitors in [1, 10_000] {
        let mut times = Vec::new();
        let mut line = None;
        for _ in 0..stage.rounds {
            let mut pair = stage.pair(format).await?;
            times.push(node_kill(&mut pair, monitors).await?);
            line = Some(pair.line(Line::of_times(
                format!("node_kill_{monitors}_monitors"),
                times.clone(),
            )));
            pair.end().await;
        }
        if let Some(line) = line {
            stage.tell(&line);
        }
    }
    Ok(())
}

/// From SIGKILL of the other process until the last monitor has fired.
async fn node_kill(pair: &mut Pair, monitors: usize) -> Outcome<Duration> {
    let left = Arc::new(AtomicUsize::new(monitors));
    let (last, mut fired) = mpsc::unbounded_channel();
    for _ in 0..monitors {
        let victim = pair.spawn(VICTIM)?;
        let (left, last) = (left.clone(), last.clone());
        let monitor = pair.node.monitor(&victim).call(move |reason| {
            let lost = reason.tag() == Some("transport_error");
            if !lost || left.fetch_sub(1, Ordering::Relaxed) == 1 {
                let _ = last.send((Instant::now(), lost));
            }
        });
        monitor.detach();
    }
    // after this all are there
    pair.ping(&pair.sink, 0).await?;
    let began = Instant::now();
    pair.process.kill()?;
    let fired = tokio::time::timeout(PATIENCE, fired.recv()).await;
    let fired = fired.or_exit_in(Exit::Timeout, "waiting for the monitors to fire")?;
    let (at, lost) = fired.unwrap_or((began, false));
    check(lost, "a monitor fired for another reason than the loss")?;
    check(
        pair.process.was_killed().await?,
        "the process ended otherwise",
    )?;
    Ok(at.saturating_duration_since(began))
}
