//! What TLS and the wire allow: tokio, rustls and a codec with no mesh on top, between two processes with one thread each.
//!
//! It measures as `portmesh bench` does: over one connection a line, after one round that warms up, and where it is received.

pub(crate) mod server;
pub(crate) mod tls;
pub(crate) mod wire;

use std::{
    io::{BufRead, Write},
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use portmesh::cli::measure::{BODY, Line};
use serde_json::Value as Json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    runtime::{Builder, Runtime},
};

use self::{
    server::{BULK_END, Job, Small, Taken},
    tls::{Dialler, Identity, KEYS, Stream, security},
    wire::{All, END, Format, Frames, Owned},
};
use super::support::{self, Peer};

/// What goes wrong ends the run.
pub(crate) type Res<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// By which this program knows that it is to be the raw peer, and the server of it.
pub(crate) const AS_RAW: &str = "as-raw";
const AS_SERVER: &str = "as-raw-server";

/// Each rate is measured so often; the value is the median.
const ROUNDS: u32 = 3;
/// Frames are written when there are so many bytes of them.
const WRITE_BYTES: usize = 64 << 10;
/// KiB a write of bulk.
const BULK_KIB: [usize; 2] = [64, 1024];

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    Small,
    Bulk,
    Rtt,
    Handshake,
}

/// What TLS and the wire allow, without a mesh
#[derive(Debug, Parser)]
struct Args {
    #[arg(value_name = "ROW")]
    rows: Vec<Row>,
    /// Seconds for each line of a row
    #[arg(long, value_name = "SECONDS", default_value = "0.3")]
    secs: f64,
}

/// Whether these arguments are for the raw peer.
pub(crate) fn is_meant(first: Option<&str>) -> bool {
    matches!(first, Some(AS_RAW | AS_SERVER))
}

/// The raw peer, or its server.
pub(crate) fn main(args: &[std::ffi::OsString]) -> Res<()> {
    if args.first().is_some_and(|first| first == AS_SERVER) {
        return serve();
    }
    let args = Args::parse_from(args);
    let rows = match args.rows.is_empty() {
        true => Row::value_variants(),
        false => &args.rows,
    };
    let [servers, clients] = tls::mint()?;
    let mut peer = Peer::start(&[AS_SERVER]);
    // by a pipe: keys are neither in a file nor on a command line
    let mut identities = serde_json::to_vec(&servers)?;
    identities.push(b'\n');
    let stdin = peer.child.stdin.as_mut();
    stdin
        .ok_or("the server has no input")?
        .write_all(&identities)?;
    let ports: Vec<u16> = serde_json::from_str(&peer.ready())?;
    let time = Duration::try_from_secs_f64(args.secs)?;
    let tell = |line| println!("{line}");
    let work = run(rows, time, &clients, &ports, peer.child.id(), tell);
    runtime()?.block_on(work)
}

fn runtime() -> Res<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// The other process.
fn serve() -> Res<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let identities: Vec<Identity> = serde_json::from_str(&line)?;
    runtime()?.block_on(async {
        let (listeners, ports) = listen().await?;
        support::ready(&serde_json::to_string(&ports)?);
        server::serve(&identities, listeners).await
    })
}

/// Listeners for each of [`KEYS`] and one that reads ahead, and their ports.
pub(crate) async fn listen() -> Res<(Vec<TcpListener>, Vec<u16>)> {
    let (mut listeners, mut ports) = (Vec::new(), Vec::new());
    for _ in 0..=KEYS.len() {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        ports.push(listener.local_addr()?.port());
        listeners.push(listener);
    }
    Ok((listeners, ports))
}

/// Measures these rows; `pid` is the server's.
pub(crate) async fn run(
    rows: &[Row],
    time: Duration,
    identities: &[Identity],
    ports: &[u16],
    pid: u32,
    mut tell: impl FnMut(Json),
) -> Res<()> {
    let mut diallers = Vec::new();
    for (identity, port) in identities.iter().zip(ports) {
        diallers.push(Dialler::new(identity, *port, pid)?);
    }
    let (Some(first), Some(identity), Some(port)) =
        (diallers.first(), identities.first(), ports.last())
    else {
        return Err("there is no identity".into());
    };
    let ahead = Dialler::new(identity, *port, pid)?;
    for row in rows {
        match row {
            Row::Small => {
                for format in [Format::Cbor, Format::Json] {
                    for (all, batched) in
                        [(true, true), (true, false), (false, true), (false, false)]
                    {
                        tell(
                            small(
                                &ahead,
                                Small {
                                    format,
                                    all,
                                    batched,
                                },
                                time,
                            )
                            .await?,
                        );
                    }
                }
            }
            Row::Bulk => {
                for kib in BULK_KIB {
                    tell(bulk(first, kib, time).await?);
                }
            }
            Row::Rtt => tell(rtt(first, time).await?),
            Row::Handshake => {
                for (dialler, key) in diallers.iter().zip(KEYS) {
                    tell(handshakes(dialler, key, time).await?);
                }
            }
        }
    }
    Ok(())
}

/// A line, and what it says besides.
fn line(line: &Line, says: &[(&str, &str)]) -> Json {
    let mut line = line.json(1);
    if let Some(line) = line.as_object_mut() {
        for (name, text) in [("peer", "raw")].iter().chain(says) {
            line.insert((*name).to_owned(), (*text).into());
        }
    }
    line
}

async fn ask(dialler: &Dialler, job: Job) -> Res<Stream> {
    let mut stream = dialler.connect().await?;
    let mut line = serde_json::to_vec(&job)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.flush().await?;
    Ok(stream)
}

/// Ends it in order, and says how it was secured.
async fn end(mut stream: Stream) -> Res<String> {
    let secured = security(&stream)?;
    stream.shutdown().await?;
    Ok(secured)
}

/// What the server says of a round.
async fn taken(stream: &mut Stream) -> Res<Taken> {
    stream.flush().await?;
    Ok(Taken {
        messages: stream.read_u64().await?,
        bytes: stream.read_u64().await?,
        time: Duration::from_nanos(stream.read_u64().await?),
    })
}

async fn small(dialler: &Dialler, how: Small, time: Duration) -> Res<Json> {
    let mut stream = ask(dialler, Job::Small(how)).await?;
    small_round(&mut stream, how.format, time / ROUNDS).await?; // warms up
    let (mut rates, mut messages) = (Vec::new(), 0);
    let load = dialler.load();
    for _ in 0..ROUNDS {
        let taken = small_round(&mut stream, how.format, time / ROUNDS).await?;
        rates.push(taken.messages as f64 / taken.time.as_secs_f64());
        messages += taken.messages;
    }
    let measured = Line::of_rounds("small", &rates, "msg/s")
        .with_all(load.stop(messages as f64))
        .over(&end(stream).await?, how.format.name());
    let owned = if how.all { "all" } else { "arguments" };
    let handed = if how.batched { "batched" } else { "in place" };
    Ok(line(&measured, &[("owned", owned), ("handed", handed)]))
}

async fn small_round(stream: &mut Stream, format: Format, time: Duration) -> Res<Taken> {
    let until = Instant::now() + time;
    let mut frames = Vec::with_capacity(WRITE_BYTES + 256);
    let mut sent = 0;
    while sent == 0 || Instant::now() < until {
        frames.clear();
        while frames.len() < WRITE_BYTES {
            format.put(sent % 200, &mut frames)?;
            sent += 1;
        }
        stream.write_all(&frames).await?;
        stream.flush().await?;
    }
    stream.write_all(&END).await?;
    let taken = taken(stream).await?;
    if taken.messages != sent || taken.bytes != sent * BODY.len() as u64 {
        return Err(format!("{sent} messages were sent, and {taken:?} received").into());
    }
    Ok(taken)
}

async fn bulk(dialler: &Dialler, kib: usize, time: Duration) -> Res<Json> {
    let mut stream = ask(dialler, Job::Bulk).await?;
    bulk_round(&mut stream, kib, time / ROUNDS).await?; // warms up
    let (mut rates, mut bytes) = (Vec::new(), 0);
    let load = dialler.load();
    for _ in 0..ROUNDS {
        let taken = bulk_round(&mut stream, kib, time / ROUNDS).await?;
        rates.push(taken.bytes as f64 / 1e6 / taken.time.as_secs_f64());
        bytes += taken.bytes;
    }
    let measured = Line::of_rounds(format!("bulk_{kib}k"), &rates, "MB/s")
        .with_all(load.stop(bytes as f64 / 1e3))
        .over(&end(stream).await?, "");
    Ok(line(&measured, &[]))
}

async fn bulk_round(stream: &mut Stream, kib: usize, time: Duration) -> Res<Taken> {
    let until = Instant::now() + time;
    let data = vec![!BULK_END; kib << 10];
    let mut sent = 0;
    while sent < 2 || Instant::now() < until {
        stream.write_all(&data).await?;
        sent += 1;
    }
    stream.write_all(&[BULK_END]).await?;
    let taken = taken(stream).await?;
    if taken.bytes != sent * data.len() as u64 {
        return Err(format!("{sent} writes of {kib} KiB were made, and {taken:?} received").into());
    }
    Ok(taken)
}

async fn rtt(dialler: &Dialler, time: Duration) -> Res<Json> {
    let mut stream = ask(dialler, Job::Echo).await?;
    trips(&mut stream, time / 10).await?; // warms up
    let load = dialler.load();
    let times = trips(&mut stream, time).await?;
    let cpu = load.stop(times.len() as f64);
    let measured = Line::of_times("round_trip", times)
        .with_all(cpu)
        .over(&end(stream).await?, Format::Cbor.name());
    Ok(line(&measured, &[]))
}

async fn trips(stream: &mut Stream, time: Duration) -> Res<Vec<Duration>> {
    let until = Instant::now() + time;
    let mut times = Vec::new();
    let (mut out, mut buffer) = (Vec::new(), bytes::BytesMut::with_capacity(4096));
    while times.is_empty() || Instant::now() < until {
        let began = Instant::now();
        let n = times.len() as u64;
        out.clear();
        buffer.clear();
        Format::Cbor.put(n, &mut out)?;
        stream.write_all(&out).await?;
        stream.flush().await?;
        let answer = loop {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err("the server ended".into());
            }
            if let Some(frame) = Frames(&buffer).next() {
                break All::cbor(frame)?;
            }
        };
        if answer.2 != n {
            return Err("an answer to another message".into());
        }
        times.push(began.elapsed());
    }
    Ok(times)
}

async fn handshakes(dialler: &Dialler, key: &str, time: Duration) -> Res<Json> {
    let stream = dialler.connect().await?; // warms up
    let (mut rates, mut all) = (Vec::new(), 0);
    let load = dialler.load();
    for _ in 0..ROUNDS {
        let (began, mut count) = (Instant::now(), 0);
        while count == 0 || began.elapsed() < time / ROUNDS {
            dialler.connect().await?;
            count += 1;
        }
        rates.push(f64::from(count) / began.elapsed().as_secs_f64());
        all += count;
    }
    let measured = Line::of_rounds("handshakes_1_at_once", &rates, "link/s")
        .with_all(load.stop(f64::from(all)))
        .over(&end(stream).await?, "");
    Ok(line(&measured, &[("key", key)]))
}
