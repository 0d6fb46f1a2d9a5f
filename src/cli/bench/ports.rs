//! The ports of the other process: what they take, count, time and answer.

use std::{
    hint::black_box,
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{Blob, Context, Init, NodeBuilder, PortId};

/// Takes messages and counts them.
pub(super) const SINK: &str = "bench.sink";
/// Ends when it is told to.
pub(super) const VICTIM: &str = "bench.victim";
/// Ends at once.
pub(super) const BRIEF: &str = "bench.brief";
/// Kills ports of its own node, and says when.
pub(super) const KILLER: &str = "bench.killer";

/// The small message of the benchmarks of other systems: `[port, "msg", n, alphabet]`, 64 bytes in CBOR.
pub const BODY: &str = "abcdefghijklmnopqrstuvwxyz";
/// Its tag.
pub const SMALL: &str = "msg";
/// Its tag where the handler is an `async fn`.
pub(super) const SMALL_ASYNC: &str = "msga";
pub(super) const BULK: &str = "blob";
/// Asks for a message back, with this tag.
pub(super) const ECHO: &str = "echo";
pub(super) const ECHOED: &str = "echoed";

/// The functions that can be spawned.
pub(super) fn functions(builder: NodeBuilder) -> NodeBuilder {
    builder
        .spawnable(SINK, init_sink)
        .spawnable(VICTIM, init_victim)
        .spawnable(BRIEF, init_brief)
        .spawnable(KILLER, init_killer)
}

/// What a sink has got since it was asked before.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// When the first one was handled and when this was, by the clock of the other process.
    pub(super) first: Duration,
    pub(super) last: Duration,
}

impl Taken {
    /// From the first message to the last, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.last.saturating_sub(self.first).as_secs_f64()
    }
}

#[derive(Default)]
struct Sink {
    first: Option<Duration>,
    messages: u64,
    bytes: u64,
}

impl Sink {
    fn count(&mut self, bytes: usize) {
        if self.first.is_none() {
            self.first = Some(since_start());
        }
        self.messages += 1;
        self.bytes += bytes as u64;
    }
}

/// One clock for all ports of this process.
fn since_start() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

fn small(sink: &mut Sink, _: &Context, message: (u64, String)) {
    let (_, body) = black_box(message);
    sink.count(body.len());
}

async fn small_async(sink: &mut Sink, _: &Context, message: (u64, String)) {
    let (_, body) = black_box(message);
    sink.count(body.len());
}

fn bulk(sink: &mut Sink, _: &Context, (blob,): (Blob,)) {
    sink.count(black_box(blob).0.len());
}

async fn ping(_: &mut Sink, cx: &Context, (n, reply): (u64, PortId)) {
    let _ = cx.send(&reply, n);
}

fn echo(_: &mut Sink, cx: &Context, (n, reply): (u64, PortId)) {
    let _ = cx.send(&reply, (ECHOED, n));
}

async fn taken(sink: &mut Sink, cx: &Context, (reply,): (PortId,)) {
    let last = since_start();
    let taken = Taken {
        messages: sink.messages,
        bytes: sink.bytes,
        first: sink.first.unwrap_or(last),
        last,
    };
    *sink = Sink::default();
    let _ = cx.send(&reply, (taken,));
}

async fn init_sink(cx: &Init, (): ()) {
    since_start();
    cx.port()
        .state(Sink::default())
        .on_fn(SMALL, small)
        .on(SMALL_ASYNC, small_async)
        .on_fn(BULK, bulk)
        .on("ping", ping)
        .on_fn(ECHO, echo)
        .on("taken", taken)
        .open();
}

async fn stop((): &mut (), cx: &Context, (): ()) {
    cx.stop();
}

async fn init_victim(cx: &Init, (): ()) {
    cx.port().on("stop", stop).open();
}

async fn init_brief(cx: &Init, (): ()) {
    cx.stop();
}

async fn init_killer(cx: &Init, (): ()) {
    cx.port().on("kill", kill).open();
}

/// Kills a port, and answers when that was.
async fn kill((): &mut (), cx: &Context, (victim, reply): (PortId, PortId)) {
    let when = clock();
    let _ = cx.kill(&victim, "bench");
    let _ = cx.send(&reply, (when,));
}

/// The host's clock, the same in both processes.
pub(super) fn clock() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
