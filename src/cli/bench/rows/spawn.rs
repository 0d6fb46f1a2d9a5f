//! The whole life of ports there: spawned, monitored, ended, and their monitors fired.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::super::{
    super::exit::{Exit, OrExit, Outcome},
    figures::Line,
    pair::{Pair, Stage, check},
    ports::{BRIEF, VICTIM},
};
use crate::{Node, NodeId};

/// How such a port ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its function returns and nothing is left to do.
    Itself,
    /// It is told to stop.
    Told,
}

pub(in super::super) async fn run(stage: &Stage, format: &'static str) -> Outcome {
    for (end, what) in [(End::Itself, "exit"), (End::Told, "stop")] {
        for at_once in [1, 64] {
            let pair = stage.pair(format).await?;
            lives(&pair, at_once, end, stage.time / 10).await?; // warms up
            let load = pair.load();
            let began = Instant::now();
            let (times, gone) = lives(&pair, at_once, end, stage.time).await?;
            let rate = times.len() as f64 / began.elapsed().as_secs_f64();
            let cpu = load.stop(times.len() as f64);
            let mut line =
                Line::of_times(format!("spawn_monitor_{what}_{at_once}_in_flight"), times)
                    .with("per_second", rate)
                    .with_all(cpu);
            if end == End::Itself {
                line = line.with("gone_before_the_monitor", gone as f64);
            }
            stage.tell(&pair.line(line));
            pair.end().await;
        }
    }
    Ok(())
}

/// How long each life took; and how many ports were gone before the monitor came to them.
async fn lives(
    pair: &Pair,
    at_once: usize,
    end: End,
    time: Duration,
) -> Outcome<(Vec<Duration>, usize)> {
    let until = Instant::now() + time;
    let mut all = JoinSet::new();
    for _ in 0..at_once {
        let (node, server) = (pair.node.clone(), pair.server.clone());
        all.spawn(async move {
            let mut times = Vec::new();
            let mut gone = 0;
            while times.is_empty() || Instant::now() < until {
                let began = Instant::now();
                gone += usize::from(life(&node, &server, end).await?);
                times.push(began.elapsed());
            }
            Outcome::Ok((times, gone))
        });
    }
    let (mut times, mut gone) = (Vec::new(), 0);
    while let Some(done) = all.join_next().await {
        let (more, before) = done.or_exit(Exit::Failed)??;
        times.extend(more);
        gone += before;
    }
    Ok((times, gone))
}

/// Whether the port was gone before the monitor came to it.
async fn life(node: &Node, server: &NodeId, end: End) -> Outcome<bool> {
    let function = match end {
        End::Itself => BRIEF,
        End::Told => VICTIM,
    };
    let port = node.spawn(server, function, ()).or_exit(Exit::Failed)?;
    let death = node.monitor(&port).death();
    if end == End::Told {
        node.send(&port, "stop").or_exit(Exit::Failed)?;
    }
    let reason = death.await;
    let gone = end == End::Itself && reason.tag() == Some("no_such_port");
    check(gone || reason.is_normal(), format!("it died of {reason}"))?;
    Ok(gone)
}
