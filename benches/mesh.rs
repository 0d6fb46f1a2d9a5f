//! What the mesh does between two processes over real TLS: `cargo bench --bench mesh`, or some of it:
//! `cargo bench --bench mesh -- rtt bulk`.
//!
//! Prints one JSON object a line. `value` is the median of the rounds, or p50 where the unit says so; `tx_cpu_ns` and
//! `rx_cpu_ns` are nanoseconds of CPU for each message (for bulk: for each kB) here and in the other process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/load.rs"]
mod load;
mod support;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use load::Load;
use portmesh::{CertificateAuthority, Context, Identity, Init, Node, NodeId, PortId};
use serde::{Deserialize, Serialize};
use support::{Peer, emit, emit_rounds, emit_times};
use tokio::task::JoinSet;

type Res<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const SERVER: &str = "bench/server";
const CLIENT: &str = "bench/client";
const NAMES: [&str; 7] = [
    "idle",
    "small",
    "rtt",
    "flight",
    "bulk",
    "spawn",
    "handshake",
];
/// How often each rate is measured.
const ROUNDS: usize = 5;
/// Identities for the handshakes made at the same time.
const DIALLERS: usize = 4;
const SMALL: u64 = 200_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// What a small message carries: the message of the benchmarks of other systems, 64 bytes in all.
const BODY: &str = "the quick brown fox jumps over";

#[derive(Default)]
struct Sink {
    messages: u64,
    bytes: u64,
}

/// Bytes that travel as bytes.
#[derive(Serialize, Deserialize)]
struct Blob(#[serde(with = "as_bytes")] bytes::Bytes);

mod as_bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &bytes::Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<bytes::Bytes, D::Error> {
        bytes::Bytes::deserialize(from)
    }
}

async fn put(sink: &mut Sink, _: &Context, (_id, _name, body): (u64, String, String)) {
    sink.messages += 1;
    sink.bytes += body.len() as u64;
}

async fn blob(sink: &mut Sink, _: &Context, (blob,): (Blob,)) {
    sink.messages += 1;
    sink.bytes += blob.0.len() as u64;
}

async fn ping(_: &mut Sink, cx: &Context, (n, reply): (u64, PortId)) {
    let _ = cx.send(&reply, n);
}

async fn taken(sink: &mut Sink, cx: &Context, (reply,): (PortId,)) {
    let _ = cx.send(&reply, (sink.messages, sink.bytes));
    *sink = Sink::default();
}

async fn init_sink(cx: &Init, (): ()) {
    cx.port()
        .state(Sink::default())
        .on("put", put)
        .on("blob", blob)
        .on("ping", ping)
        .on("taken", taken)
        .open();
}

async fn stop((): &mut (), cx: &Context, (): ()) {
    cx.stop();
}

async fn init_victim(cx: &Init, (): ()) {
    cx.port().on("stop", stop).open();
}

/// The other process.
async fn serve(dir: &Path) -> Res {
    let node = Node::builder(SERVER)
        .identity(Identity::from_pem_file(dir.join("server.pem"))?)
        .listen("127.0.0.1:0")
        .spawnable("sink", init_sink)
        .spawnable("victim", init_victim)
        .start()
        .await?;
    support::ready(&node.listen_addrs()[0]);
    std::future::pending().await
}

/// Everything a benchmark needs.
struct Bench {
    node: Node,
    server: NodeId,
    sink: PortId,
    mode: String,
    peer: Peer,
}

impl Bench {
    async fn start(dir: &Path) -> Res<(Bench, String)> {
        let mut peer = Peer::start(&["serve", &dir.to_string_lossy()]);
        let addr = peer.ready();
        let server: NodeId = SERVER.parse()?;
        let node = dial(dir, CLIENT, "client.pem", &addr).await?;
        let sink = node.spawn(&server, "sink", ())?;
        node.call::<u64>(&sink, ("ping", 1))
            .within(PATIENCE)
            .await?;
        let link = &node.links()[0];
        let mode = format!("{} {}", link.security, link.format);
        let bench = Bench {
            node,
            server,
            sink,
            mode,
            peer,
        };
        Ok((bench, addr))
    }

    /// Waits until all that was sent has been handled.
    async fn taken(&self) -> Res<(u64, u64)> {
        Ok(self
            .node
            .call::<(u64, u64)>(&self.sink, ("taken",))
            .within(PATIENCE)
            .await?)
    }

    async fn one_way(&self) -> Res {
        let mut rates = Vec::new();
        self.taken().await?;
        let load = Load::start(&self.peer);
        for _ in 0..ROUNDS {
            let began = Instant::now();
            for n in 0..SMALL {
                self.node
                    .send_wait(&self.sink, ("put", n, "bench", BODY))
                    .await?;
            }
            let (messages, _) = self.taken().await?;
            assert_eq!(messages, SMALL);
            rates.push(SMALL as f64 / began.elapsed().as_secs_f64());
        }
        let cpu = load.stop((ROUNDS as u64 * SMALL) as f64);
        emit_rounds("one_way_small", &self.mode, rates, "msg/s", &cpu);
        Ok(())
    }

    async fn round_trips(&self, bench: &str, time: Duration) -> Res {
        let mut times = Vec::new();
        let load = Load::start(&self.peer);
        let end = Instant::now() + time;
        while Instant::now() < end {
            let began = Instant::now();
            self.node
                .call::<u64>(&self.sink, ("ping", 7))
                .within(PATIENCE)
                .await?;
            times.push(began.elapsed());
        }
        let cpu = load.stop(times.len() as f64);
        emit_times(bench, &self.mode, times, &cpu);
        Ok(())
    }

    async fn in_flight(&self, tasks: u64) -> Res {
        const CALLS: u64 = 600;
        let mut rates = Vec::new();
        let load = Load::start(&self.peer);
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let mut all = JoinSet::new();
            for _ in 0..tasks {
                let (node, sink) = (self.node.clone(), self.sink.clone());
                all.spawn(async move {
                    for n in 0..CALLS {
                        let call = node.call::<u64>(&sink, ("ping", n)).within(PATIENCE);
                        assert_eq!(call.await.unwrap(), n);
                    }
                });
            }
            while let Some(done) = all.join_next().await {
                done?;
            }
            rates.push((tasks * CALLS) as f64 / began.elapsed().as_secs_f64());
        }
        let cpu = load.stop((ROUNDS as u64 * tasks * CALLS) as f64);
        emit_rounds(
            &format!("calls_{tasks}_in_flight"),
            &self.mode,
            rates,
            "call/s",
            &cpu,
        );
        Ok(())
    }

    async fn bulk(&self, bytes: usize, count: u64) -> Res {
        let data = bytes::Bytes::from(vec![0x5a; bytes]);
        let mut rates = Vec::new();
        self.taken().await?;
        let load = Load::start(&self.peer);
        for _ in 0..ROUNDS {
            let began = Instant::now();
            for _ in 0..count {
                self.node
                    .send_wait(&self.sink, ("blob", Blob(data.clone())))
                    .await?;
            }
            let (messages, got) = self.taken().await?;
            assert_eq!((messages, got), (count, count * bytes as u64));
            rates.push(got as f64 / 1e6 / began.elapsed().as_secs_f64());
        }
        let kilobytes = (ROUNDS as u64 * count * bytes as u64) as f64 / 1e3;
        let name = format!("bulk_{}k", bytes >> 10);
        emit_rounds(&name, &self.mode, rates, "MB/s", &load.stop(kilobytes));
        Ok(())
    }

    /// Round trips while another port gets all the megabytes that fit.
    async fn round_trips_under_bulk(&self) -> Res {
        let node = self.node.clone();
        let other = node.spawn(&self.server, "sink", ())?;
        let filler = tokio::spawn(async move {
            let data = bytes::Bytes::from(vec![0x5a; 1 << 20]);
            loop {
                let sent = node.send_wait(&other, ("blob", Blob(data.clone()))).await;
                sent.unwrap();
            }
        });
        self.round_trips("round_trip_under_bulk", Duration::from_secs(2))
            .await?;
        filler.abort();
        let _ = filler.await;
        Ok(())
    }

    async fn life_and_death(&self, at_once: usize) -> Res {
        const LIVES: usize = 200;
        let mut all = JoinSet::new();
        let load = Load::start(&self.peer);
        let began = Instant::now();
        for _ in 0..at_once {
            let (node, server) = (self.node.clone(), self.server.clone());
            all.spawn(async move {
                let mut times = Vec::new();
                for _ in 0..LIVES {
                    let began = Instant::now();
                    let port = node.spawn(&server, "victim", ()).unwrap();
                    let death = node.monitor(&port).death();
                    node.send(&port, "stop").unwrap();
                    assert!(death.await.is_normal());
                    times.push(began.elapsed());
                }
                times
            });
        }
        let mut times = Vec::new();
        while let Some(done) = all.join_next().await {
            times.extend(done?);
        }
        let rate = times.len() as f64 / began.elapsed().as_secs_f64();
        let mut extra = load.stop(times.len() as f64).to_vec();
        extra.push(("per_second", rate));
        let name = format!("spawn_monitor_exit_{at_once}_in_flight");
        emit_times(&name, &self.mode, times, &extra);
        Ok(())
    }

    /// Whole links: TCP, TLS 1.3 with both certificates, the mesh handshake, and an orderly end.
    async fn handshakes(&self, dir: &Path, addr: &str, at_once: usize) -> Res {
        const LINKS: usize = 40;
        let mut rates = Vec::new();
        let load = Load::start(&self.peer);
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let mut all = JoinSet::new();
            for n in 0..at_once {
                let (dir, addr) = (dir.to_path_buf(), addr.to_string());
                all.spawn(async move {
                    for _ in 0..LINKS {
                        let id = format!("bench/dialler-{n}");
                        let node = dial(&dir, &id, &format!("dialler-{n}.pem"), &addr).await?;
                        node.shutdown(Duration::from_secs(1)).await;
                    }
                    Res::Ok(())
                });
            }
            while let Some(done) = all.join_next().await {
                done??;
            }
            rates.push((at_once * LINKS) as f64 / began.elapsed().as_secs_f64());
        }
        let cpu = load.stop((ROUNDS * at_once * LINKS) as f64);
        let name = format!("handshakes_{at_once}_at_once");
        emit_rounds(&name, &self.mode, rates, "link/s", &cpu);
        Ok(())
    }
}

/// A node that is linked with the server.
async fn dial(dir: &Path, id: &str, file: &str, addr: &str) -> Res<Node> {
    let server: NodeId = SERVER.parse()?;
    let node = Node::builder(id)
        .identity(Identity::from_pem_file(dir.join(file))?)
        .address(server.clone(), addr)
        .start()
        .await?;
    let mut events = node.events();
    let up = async {
        let mut death = std::pin::pin!(node.monitor(&server.into()).death());
        while node.links().is_empty() {
            tokio::select! {
                _ = events.next() => {}
                reason = &mut death => return Err(format!("no link: {reason}")),
            }
        }
        Ok(())
    };
    up.await?;
    Ok(node)
}

/// Memory of ports that wait for messages, and nothing else.
async fn idle_ports() -> Res {
    const PORTS: usize = 100_000;
    const BYTES_MAX: f64 = 1024.0;
    let node = Node::builder("bench/idle").start().await?;
    let mut ports = Vec::with_capacity(PORTS);
    let before = support::resident_bytes();
    for n in 0..PORTS {
        ports.push(node.port().state(n).on("ping", idle_ping).open());
    }
    let fresh = (support::resident_bytes() - before) / PORTS as f64;
    // and after each has done something
    for port in &ports {
        node.call::<usize>(port.id(), ("ping",)).await?;
    }
    let used = (support::resident_bytes() - before) / PORTS as f64;
    emit(
        "idle_port",
        "local",
        used,
        "bytes",
        &[("fresh", fresh), ("ports", PORTS as f64)],
    );
    assert!(
        used < BYTES_MAX,
        "an idle port takes {used} bytes, the limit is {BYTES_MAX}"
    );
    node.shutdown(Duration::ZERO).await;
    Ok(())
}

async fn idle_ping(n: &mut usize, cx: &Context, (reply,): (PortId,)) {
    let _ = cx.send(&reply, *n);
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Res {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, dir, ..] = &args[..]
        && first == "serve"
    {
        return serve(Path::new(dir)).await;
    }
    let wanted = support::chosen(&args, &NAMES);

    if wanted("idle") {
        idle_ports().await?;
    }
    let dir = tempfile::tempdir()?;
    let ca = CertificateAuthority::create("bench")?;
    let issue = |id: &str, file: &str| -> Res {
        let issued = ca.issue(&id.parse()?)?;
        Ok(issued.save(dir.path().join(file), false)?)
    };
    issue(SERVER, "server.pem")?;
    issue(CLIENT, "client.pem")?;
    for n in 0..DIALLERS {
        issue(&format!("bench/dialler-{n}"), &format!("dialler-{n}.pem"))?;
    }
    let (bench, addr) = Bench::start(dir.path()).await?;
    if wanted("small") {
        bench.one_way().await?;
    }
    if wanted("rtt") {
        bench
            .round_trips("round_trip", Duration::from_secs(2))
            .await?;
    }
    if wanted("flight") {
        bench.in_flight(64).await?;
    }
    if wanted("bulk") {
        bench.bulk(64 << 10, 3000).await?;
        bench.bulk(1 << 20, 200).await?;
        bench.round_trips_under_bulk().await?;
    }
    if wanted("spawn") {
        bench.life_and_death(1).await?;
        bench.life_and_death(64).await?;
    }
    if wanted("handshake") {
        bench.handshakes(dir.path(), &addr, 1).await?;
        bench.handshakes(dir.path(), &addr, DIALLERS).await?;
    }
    bench.node.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
