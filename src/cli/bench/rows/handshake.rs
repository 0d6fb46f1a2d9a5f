//! Links a second: between nodes that are there, until the first answer; and those of whole nodes, with their start and end.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use super::super::{
    super::exit::{Exit, OrExit, Outcome},
    figures::Line,
    pair::{OTHERS, PATIENCE, Pair, Stage, linked, other_id},
};
use crate::{Node, PortId};

pub(in super::super) async fn run(stage: &Stage, format: &'static str) -> Outcome {
    for at_once in [1, 4] {
        let pair = stage.pair(format).await?;
        batch(&pair, at_once).await?; // warms up
        let (mut rates, mut cpu) = (Vec::new(), Vec::new());
        for _ in 0..stage.rounds {
            let (mut links, mut took) = (0, Duration::ZERO);
            while links == 0 || took < stage.round_time() {
                let (count, time, load) = batch(&pair, at_once).await?;
                links += count;
                took += time;
                cpu.push(load);
            }
            rates.push(links as f64 / took.as_secs_f64());
        }
        let line = Line::of_rounds(format!("handshakes_{at_once}_at_once"), &rates, "link/s");
        stage.tell(&pair.line(line.with_all(mean(&cpu))));
        pair.end().await;
    }
    for at_once in [1, 4] {
        let pair = stage.pair(format).await?;
        lives(&pair, at_once, stage.round_time() / 4).await?; // warms up
        let mut rates = Vec::new();
        let mut links = 0;
        let load = pair.load();
        for _ in 0..stage.rounds {
            let began = Instant::now();
            let count = lives(&pair, at_once, stage.round_time()).await?;
            rates.push(count as f64 / began.elapsed().as_secs_f64());
            links += count;
        }
        let line = Line::of_rounds(format!("nodes_{at_once}_at_once"), &rates, "link/s");
        let line = line.with_all(load.stop(links as f64));
        stage.tell(&pair.line(line));
        pair.end().await;
    }
    Ok(())
}

/// Nodes that were started have come to rest by then.
const SETTLE_TIME: Duration = Duration::from_millis(20);

type Cpu = Vec<(&'static str, f64)>;

/// Nodes that have started and know where the other one is call it, each once: how many, how long all of them took, and
/// the CPU for each.
async fn batch(pair: &Pair, at_once: usize) -> Outcome<(usize, Duration, Cpu)> {
    let mut nodes = Vec::new();
    for n in 0..OTHERS {
        nodes.push(pair.dialler.node(&other_id(n)).await?);
    }
    // what starting them has left to be done is not for the links
    sleep(SETTLE_TIME).await;
    let mut all = JoinSet::new();
    let load = pair.load();
    let began = Instant::now();
    for part in nodes.chunks(OTHERS.div_ceil(at_once)) {
        all.spawn(call_from_each(part.to_vec(), pair.sink.clone()));
    }
    while let Some(done) = all.join_next().await {
        done.or_exit(Exit::Failed)??;
    }
    let took = began.elapsed();
    let cpu = load.stop(OTHERS as f64);
    for node in nodes {
        node.shutdown(Duration::from_secs(1)).await;
    }
    Ok((OTHERS, took, cpu))
}

async fn call_from_each(nodes: Vec<Node>, sink: PortId) -> Outcome {
    for node in nodes {
        let call = node.call::<u64>(&sink, ("ping", 1)).within(PATIENCE);
        call.await.or_exit(Exit::Failed)?;
    }
    Ok(())
}

/// The mean of each figure.
fn mean(all: &[Cpu]) -> BTreeMap<&'static str, f64> {
    let mut sums = BTreeMap::new();
    for (name, value) in all.iter().flatten() {
        *sums.entry(*name).or_insert(0.0) += value / all.len() as f64;
    }
    sums
}

/// How many nodes those tasks started, linked and ended.
async fn lives(pair: &Pair, at_once: usize, time: Duration) -> Outcome<u64> {
    let until = Instant::now() + time;
    let mut all = JoinSet::new();
    for n in 0..at_once {
        let (dialler, id) = (pair.dialler.clone(), other_id(n));
        all.spawn(async move {
            let mut links = 0;
            while links == 0 || Instant::now() < until {
                let node = dialler.node(&id).await?;
                linked(&node, dialler.other()).await?;
                node.shutdown(Duration::from_secs(1)).await;
                links += 1;
            }
            Outcome::Ok(links)
        });
    }
    let mut links = 0;
    while let Some(done) = all.join_next().await {
        links += done.or_exit(Exit::Failed)??;
    }
    Ok(links)
}
