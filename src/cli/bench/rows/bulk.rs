//! Large messages.

use std::time::{Duration, Instant};

use super::super::{
    super::exit::{Exit, OrExit, Outcome},
    figures::Line,
    pair::{Pair, Stage, check},
    ports::BULK,
};
use crate::{Blob, Node, PortId};

/// KiB a message.
pub(super) const SIZES: [usize; 2] = [64, 1024];

pub(in super::super) async fn run(stage: &Stage, format: &'static str) -> Outcome {
    for kib in SIZES {
        let pair = stage.pair(format).await?;
        round(&pair, kib, stage.round_time()).await?; // warms up
        let mut rates = Vec::new();
        let mut bytes = 0;
        let load = pair.load();
        for _ in 0..stage.rounds {
            let (got, seconds) = round(&pair, kib, stage.round_time()).await?;
            rates.push(got as f64 / 1e6 / seconds);
            bytes += got;
        }
        let line = Line::of_rounds(format!("bulk_{kib}k"), &rates, "MB/s");
        let line = line.with_all(load.stop(bytes as f64 / 1e3));
        stage.tell(&pair.line(line));
        pair.end().await;
    }
    Ok(())
}

/// Bytes, and seconds from the first message to the last.
async fn round(pair: &Pair, kib: usize, time: Duration) -> Outcome<(u64, f64)> {
    let sent = send(&pair.node, &pair.sink, kib, Instant::now() + time).await?;
    let taken = pair.taken(&pair.sink).await?;
    check(taken.messages == sent, "messages were lost")?;
    check(taken.bytes == sent * (kib << 10) as u64, "bytes were lost")?;
    // the first message is where the clock starts
    let part = sent.saturating_sub(1) as f64 / sent as f64;
    Ok((taken.bytes, taken.seconds() / part))
}

/// Sends until then; says how many messages.
pub(super) async fn send(node: &Node, sink: &PortId, kib: usize, until: Instant) -> Outcome<u64> {
    let data = Blob::from(vec![0x5a; kib << 10]);
    let mut sent = 0;
    while sent < 2 || Instant::now() < until {
        let message = (BULK, data.clone());
        node.send_wait(sink, message).await.or_exit(Exit::Failed)?;
        sent += 1;
    }
    Ok(sent)
}
