//! Whole links: TCP, TLS 1.3 with both certificates, the mesh's handshake, and an orderly end.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::super::{
    super::exit::{Exit, OrExit, Outcome},
    figures::Line,
    pair::{Pair, Stage, linked, other_id},
};

pub(in super::super) async fn run(stage: &Stage, format: &'static str) -> Outcome {
    for at_once in [1, 4] {
        let pair = stage.pair(format).await?;
        round(&pair, at_once, stage.round_time() / 4).await?; // warms up
        let mut rates = Vec::new();
        let mut links = 0;
        let load = pair.load();
        for _ in 0..stage.rounds {
            let began = Instant::now();
            let count = round(&pair, at_once, stage.round_time()).await?;
            rates.push(count as f64 / began.elapsed().as_secs_f64());
            links += count;
        }
        let line = Line::of_rounds(format!("handshakes_{at_once}_at_once"), &rates, "link/s");
        let line = line.with_all(load.stop(links as f64));
        stage.tell(&pair.line(line));
        pair.end().await;
    }
    Ok(())
}

/// How many links those nodes made and ended.
async fn round(pair: &Pair, at_once: usize, time: Duration) -> Outcome<u64> {
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
