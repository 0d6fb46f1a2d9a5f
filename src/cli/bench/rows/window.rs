//! Many requests at once of one port, answered with messages: what an actor does that waits for no single one of them.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::{
    super::exit::{Exit, OrExit, Outcome},
    figures::Line,
    pair::{PATIENCE, Pair, Stage, check},
    ports::{ECHO, ECHOED},
};
use crate::{Context, PortId};

const WINDOW: u64 = 64;
/// How often the asking port looks at the clock, in answers.
const LOOK: u64 = 256;

pub(in super::super) async fn run(stage: &Stage, format: &'static str) -> Outcome {
    let pair = stage.pair(format).await?;
    round(&pair, stage.round_time()).await?; // warms up
    let mut rates = Vec::new();
    let mut all = 0;
    let load = pair.load();
    for _ in 0..stage.rounds {
        let (count, seconds) = round(&pair, stage.round_time()).await?;
        rates.push(count as f64 / seconds);
        all += count;
    }
    let line = Line::of_rounds(format!("window_{WINDOW}_in_flight"), &rates, "call/s");
    let line = line.with_all(load.stop(all as f64));
    stage.tell(&pair.line(line));
    pair.end().await;
    Ok(())
}

/// The port that asks.
struct Asker {
    sink: PortId,
    until: Instant,
    late: bool,
    asked: u64,
    answered: u64,
    /// Takes how many were answered, all of them in their order; or the number that was not.
    done: Option<oneshot::Sender<Result<u64, u64>>>,
}

impl Asker {
    fn ask(&mut self, cx: &Context) {
        let sent = cx.send(&self.sink, (ECHO, self.asked, cx.id()));
        self.asked += u64::from(sent.is_ok());
    }

    fn answer(&mut self, cx: &Context, (n,): (u64,)) {
        let expected = self.answered;
        self.answered += 1;
        if n != expected {
            return self.end(Err(n));
        }
        self.late |= expected.is_multiple_of(LOOK) && Instant::now() >= self.until;
        if !self.late {
            self.ask(cx);
        }
        if self.answered == self.asked {
            self.end(Ok(self.answered));
        }
    }

    fn end(&mut self, how: Result<u64, u64>) {
        if let Some(done) = self.done.take() {
            let _ = done.send(how);
        }
    }
}

fn begin(asker: &mut Asker, cx: &Context, (): ()) {
    for _ in 0..WINDOW {
        asker.ask(cx);
    }
}

/// Requests that were answered, and seconds.
async fn round(pair: &Pair, time: Duration) -> Outcome<(u64, f64)> {
    let began = Instant::now();
    let (done, ended) = oneshot::channel();
    let asker = Asker {
        sink: pair.sink.clone(),
        until: began + time,
        late: false,
        asked: 0,
        answered: 0,
        done: Some(done),
    };
    let port = pair.node.port().state(asker);
    let port = port
        .on_fn("begin", begin)
        .on_fn(ECHOED, Asker::answer)
        .open();
    pair.node.send(port.id(), "begin").or_exit(Exit::Failed)?;
    let ended = tokio::time::timeout(time + PATIENCE, ended).await;
    let ended = ended.or_exit(Exit::Timeout)?.or_exit(Exit::Failed)?;
    let seconds = began.elapsed().as_secs_f64();
    let count = ended.unwrap_or_default();
    check(count > 0, format!("answers out of order: {ended:?}"))?;
    Ok((count, seconds))
}
