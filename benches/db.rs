//! What the database of the mesh does, over real TLS: `cargo bench --bench db`, or `cargo bench --bench db -- visible meet`.
//!
//! Prints one JSON object a line, as `benches/mesh.rs` does. `--erlang PROGRAM` runs that program before, which prints the
//! same figures of Erlang's pg, `global` and mnesia in its own JSON lines, so that both are of one run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use portmesh::{
    CertificateAuthority, Context, DbEvent, Identity, Init, Limits, Node, NodeId, PortId, Watch,
};
use support::{Peer, emit, emit_rounds, emit_times};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

type Res<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const PATIENCE: Duration = Duration::from_secs(300);
const FAMILY: &str = "bench";
const NODES: usize = 200;
const NAMES: [&str; 5] = ["visible", "reads", "join", "meet", "crowd"];
const MODE: &str = "certificate cbor";

/// Room for a million entries of one owner.
fn limits() -> Limits {
    Limits {
        db_node_entries_max: 2_000_000,
        db_node_bytes_max: 1 << 30,
        ..Limits::default()
    }
}

async fn start(dir: &Path, name: &str, global: bool, seeds: &[&str]) -> Res<Node> {
    let mut builder = Node::builder(format!("bench/{name}"))
        .identity(Identity::from_pem_file(dir.join(format!("{name}.pem")))?)
        .listen("127.0.0.1:0")
        .global(global)
        .trust_global("bench/g*".parse()?)
        .limits(limits())
        .spawnable("filler", init_filler);
    for seed in seeds {
        builder = builder.seed(*seed);
    }
    Ok(builder.start().await?)
}

/// Sets many entries on its node, and tells of its memory.
async fn init_filler(cx: &Init, (): ()) {
    cx.port().on("fill", fill).on("resident", resident).open();
}

async fn fill(_: &mut (), cx: &Context, (family, count, reply): (String, u64, PortId)) {
    set_many(cx.node(), &family, count).unwrap();
    let _ = cx.send(&reply, count);
}

async fn resident(_: &mut (), cx: &Context, (reply,): (PortId,)) {
    let _ = cx.send(&reply, support::resident_bytes() as u64);
}

/// Key and value of such an entry: 16 and 33 bytes.
const DATA_BYTES: f64 = 49.0;

fn set_many(node: &Node, family: &str, count: u64) -> Res {
    for n in 0..count {
        let value = "the quick brown fox jumps over t";
        node.db().set(family, &format!("k{n:015}"), value)?.detach();
    }
    Ok(())
}

/// A global node in a process of its own.
async fn serve(dir: &Path, name: &str, seeds: &[&str]) -> Res {
    let node = start(dir, name, true, seeds).await?;
    support::ready(&node.listen_addrs()[0]);
    std::future::pending().await
}

/// Two global nodes in processes of their own, and a node attached to each in this one.
struct Bench<'a> {
    dir: &'a Path,
    a: Node,
    b: Node,
    _g1: Peer,
    _g2: Peer,
}

impl<'a> Bench<'a> {
    async fn start(dir: &'a Path) -> Res<Bench<'a>> {
        let path = dir.to_string_lossy();
        let mut g1 = Peer::start(&["serve", &path, "g1"]);
        let addr = g1.ready();
        let mut g2 = Peer::start(&["serve", &path, "g2", &addr]);
        let other = g2.ready();
        let a = start(dir, "a", false, &[&addr]).await?;
        let b = start(dir, "b", false, &[&other]).await?;
        a.db().ready().await?;
        b.db().ready().await?;
        assert_ne!(a.db().home(), b.db().home());
        Ok(Bench {
            dir,
            a,
            b,
            _g1: g1,
            _g2: g2,
        })
    }

    /// From `set` on one node until a watcher on another one sees it, two global nodes between them.
    async fn visible(&self) -> Res {
        const WARM: usize = 300;
        const ROUNDS: usize = 2000;
        let mut watch = self.b.db().watch(FAMILY)?;
        until_synced(&mut watch).await?;
        let mut times = Vec::new();
        for n in 0..WARM + ROUNDS {
            let began = Instant::now();
            self.a.db().set(FAMILY, &format!("v{n}"), &n)?.detach();
            until_key(&mut watch, &format!("v{n}")).await?;
            if n >= WARM {
                times.push(began.elapsed());
            }
        }
        emit_times("db_set_visible", MODE, times, &[("globals", 2.0)]);
        let mut times = Vec::new();
        for n in 0..ROUNDS {
            let began = Instant::now();
            let entry = self.a.db().set_wait(FAMILY, &format!("w{n}"), &n).await?;
            times.push(began.elapsed());
            entry.detach();
        }
        emit_times("db_set_accepted", MODE, times, &[]);
        Ok(())
    }

    /// Many at once, until the last is seen there.
    async fn bulk(&self) -> Res {
        const COUNT: u64 = 10_000;
        let mut times = Vec::new();
        for round in 0..3 {
            let family = format!("bulk{round}");
            let mut watch = self.b.db().watch(&family)?;
            until_synced(&mut watch).await?;
            let began = Instant::now();
            set_many(&self.a, &family, COUNT)?;
            until_key(&mut watch, &format!("k{:015}", COUNT - 1)).await?;
            times.push(COUNT as f64 / began.elapsed().as_secs_f64());
        }
        emit_rounds("db_bulk_visible", MODE, times, "entry/s", &[]);
        Ok(())
    }

    /// Queries on a node that has the family.
    async fn reads(&self) -> Res {
        const COUNT: u64 = 20_000;
        let node = start(self.dir, "g9", true, &[]).await?;
        set_many(&node, FAMILY, 1000)?;
        let began = Instant::now();
        for n in 0..COUNT {
            let key = format!("k{:015}", n % 1000);
            assert!(node.db().get::<String>(FAMILY, &key).await?.is_some());
        }
        let rate = COUNT as f64 / began.elapsed().as_secs_f64();
        emit("db_local_get", "local", rate, "read/s", &[]);
        Ok(())
    }

    /// A node comes to a mesh that has that many entries: a global one, and an attached one that watches their family.
    async fn join(&self, count: u64) -> Res {
        let path = self.dir.to_string_lossy();
        let mut full = Peer::start(&["serve", &path, "g3"]);
        let addr = full.ready();
        let asker = start(self.dir, "c", false, &[&addr]).await?;
        asker.db().ready().await?;
        let g3: NodeId = "bench/g3".parse()?;
        let filler = asker.spawn(&g3, "filler", ())?;
        let resident = async || {
            let asked = asker.call::<u64>(&filler, ("resident",));
            asked.within(PATIENCE).await
        };
        let before = resident().await?;
        let filled = asker.call::<u64>(&filler, ("fill", FAMILY, count));
        assert_eq!(filled.within(PATIENCE).await?, count);
        let bytes = (resident().await? - before) as f64 / count as f64;
        if count >= 100_000 {
            let extra = [("with_data", bytes), ("entries", count as f64)];
            emit("db_entry_memory", MODE, bytes - DATA_BYTES, "bytes", &extra);
        }

        let began = Instant::now();
        let node = start(self.dir, "g4", true, &[&addr]).await?;
        tokio::time::timeout(PATIENCE, node.db().ready()).await??;
        let took = began.elapsed().as_secs_f64();
        let seen = node.db().summary()?.entries;
        assert!(seen as u64 >= count, "{seen} of {count}");
        let name = format!("db_join_global_{count}");
        emit(
            &name,
            MODE,
            took * 1e3,
            "ms",
            &[("entry_per_s", count as f64 / took)],
        );
        node.shutdown(Duration::from_secs(1)).await;

        let began = Instant::now();
        let mut watch = asker.db().watch(FAMILY)?;
        let mut seen = 0;
        loop {
            match watch.next_within(PATIENCE).await {
                Some(DbEvent::Added { .. }) => seen += 1,
                Some(DbEvent::Synced) => break,
                other => return Err(format!("{other:?}").into()),
            }
        }
        assert_eq!(seen, count);
        let took = began.elapsed().as_secs_f64();
        let name = format!("db_watch_synced_{count}");
        emit(
            &name,
            MODE,
            took * 1e3,
            "ms",
            &[("entry_per_s", count as f64 / took)],
        );
        asker.shutdown(Duration::from_secs(1)).await;
        Ok(())
    }
}

async fn until_synced(watch: &mut Watch) -> Res {
    loop {
        match watch.next_within(PATIENCE).await {
            Some(DbEvent::Synced) => return Ok(()),
            Some(_) => {}
            None => return Err("it never comes to an end".into()),
        }
    }
}

async fn until_key(watch: &mut Watch, wanted: &str) -> Res {
    loop {
        match watch.next_within(PATIENCE).await {
            Some(DbEvent::Added { key, .. }) if key == wanted => return Ok(()),
            Some(_) => {}
            None => return Err(format!("{wanted} never comes").into()),
        }
    }
}

/// A cable that counts, and can be cut.
struct Proxy {
    addr: String,
    up: watch::Sender<bool>,
    bytes: Arc<AtomicU64>,
}

impl Proxy {
    async fn start(to: String) -> Res<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = Proxy {
            addr: listener.local_addr()?.to_string(),
            up: watch::Sender::new(true),
            bytes: Arc::default(),
        };
        let (up, bytes) = (proxy.up.subscribe(), proxy.bytes.clone());
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                if *up.borrow() {
                    tokio::spawn(carry(from, to.clone(), up.clone(), bytes.clone()));
                }
            }
        });
        Ok(proxy)
    }
}

async fn carry(
    from: TcpStream,
    to: String,
    mut up: watch::Receiver<bool>,
    bytes: Arc<AtomicU64>,
) -> Option<()> {
    let to = TcpStream::connect(to).await.ok()?;
    let (mut from_read, mut from_write) = from.into_split();
    let (mut to_read, mut to_write) = to.into_split();
    let there = copy(&mut from_read, &mut to_write, &bytes);
    let back = copy(&mut to_read, &mut from_write, &bytes);
    tokio::select! {
        _ = up.wait_for(|up| !up) => {}
        _ = there => {}
        _ = back => {}
    }
    Some(())
}

async fn copy(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    bytes: &AtomicU64,
) -> Option<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let len = from.read(&mut buffer).await.ok().filter(|len| *len > 0)?;
        bytes.fetch_add(len as u64, Ordering::Relaxed);
        to.write_all(&buffer[..len]).await.ok()?;
    }
}

/// Two global nodes with 100,000 equal entries that were apart while 10 more came to be: what goes over the cable.
async fn meet(dir: &Path) -> Res {
    const EQUAL: u64 = 100_000;
    const NEW: usize = 10;
    let one = start(dir, "g5", true, &[]).await?;
    let proxy = Proxy::start(one.listen_addrs()[0].clone()).await?;
    let two = start(dir, "g6", true, &[&proxy.addr]).await?;
    set_many(&one, FAMILY, EQUAL / 2)?;
    set_many(&two, "others", EQUAL / 2)?;
    let until_equal = async || -> Res {
        let began = Instant::now();
        while one.db().summary()?.digest != two.db().summary()?.digest {
            assert!(began.elapsed() < PATIENCE, "they never agree");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    two.db().ready().await?;
    until_equal().await?;
    proxy.up.send_replace(false);
    let mut watch = two.db().watch(FAMILY)?;
    while !two.links().is_empty() || !one.links().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for n in 0..NEW {
        one.db().set(FAMILY, &format!("new{n}"), &n)?.detach();
    }
    let before = proxy.bytes.load(Ordering::Relaxed);
    let began = Instant::now();
    proxy.up.send_replace(true);
    until_key(&mut watch, &format!("new{}", NEW - 1)).await?;
    let took = began.elapsed().as_secs_f64() * 1e3;
    until_equal().await?;
    let bytes = proxy.bytes.load(Ordering::Relaxed) - before;
    let extra = [
        ("equal", EQUAL as f64),
        ("different", NEW as f64),
        ("ms", took),
    ];
    emit("db_meet_again", MODE, bytes as f64, "bytes", &extra);
    Ok(())
}

/// Many nodes in one process, three of them global, started together: until each knows of all.
async fn crowd(dir: &Path) -> Res {
    let began = Instant::now();
    let g1 = start(dir, "g7", true, &[]).await?;
    let addr = g1.listen_addrs()[0].clone();
    let mut nodes = vec![g1];
    for name in ["g8", "g9"] {
        nodes.push(start(dir, name, true, &[&addr]).await?);
    }
    let seeds: Vec<String> = nodes.iter().map(|g| g.listen_addrs()[0].clone()).collect();
    for n in 0..NODES - nodes.len() {
        let seed = &seeds[n % seeds.len()];
        nodes.push(start(dir, &format!("n{n}"), false, &[seed]).await?);
    }
    let started = began.elapsed().as_secs_f64();
    let mut all = JoinSet::new();
    for node in nodes.clone() {
        all.spawn(async move {
            let mut watch = node.db().watch("'nodes").unwrap();
            let mut seen = 0;
            while seen < NODES {
                match watch.next_within(PATIENCE).await {
                    Some(DbEvent::Added { .. }) => seen += 1,
                    Some(DbEvent::Deleted { .. }) => seen -= 1,
                    Some(_) => {}
                    None => panic!("{} knows only {seen}", node.id()),
                }
            }
        });
    }
    while let Some(done) = all.join_next().await {
        done?;
    }
    let took = began.elapsed().as_secs_f64();
    let extra = [("nodes", NODES as f64), ("all_started_s", started)];
    emit("db_all_know_all", MODE, took, "s", &extra);
    Ok(())
}

/// The same figures of another system, printed by its own program.
fn erlang(program: &str) -> Res {
    let status = std::process::Command::new(program)
        .args(["tls", "pg", "global", "mnesia"])
        .status()
        .map_err(|error| format!("{program} does not start: {error}"))?;
    if !status.success() {
        return Err(format!("{program} ends with {status}").into());
    }
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Res {
    let mut args = Vec::new();
    let mut given = std::env::args().skip(1);
    while let Some(arg) = given.next() {
        match arg.as_str() {
            "--erlang" => erlang(&given.next().ok_or("--erlang needs the path of a program")?)?,
            "--bench" => {}
            _ => args.push(arg),
        }
    }
    if let [first, dir, name, seeds @ ..] = &args[..]
        && first == "serve"
    {
        let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
        return serve(Path::new(dir), name, &seeds).await;
    }
    let wanted = support::chosen(&args, &NAMES);
    let dir = tempfile::tempdir()?;
    let ca = CertificateAuthority::create("bench")?;
    let names = (1..10).map(|n| format!("g{n}"));
    let names = names.chain((0..NODES).map(|n| format!("n{n}")));
    for name in names.chain(["a", "b", "c"].map(str::to_owned)) {
        let issued = ca.issue(&format!("bench/{name}").parse()?)?;
        issued.save(dir.path().join(format!("{name}.pem")), false)?;
    }
    let bench = Bench::start(dir.path()).await?;
    if wanted("visible") {
        bench.visible().await?;
        bench.bulk().await?;
    }
    if wanted("reads") {
        bench.reads().await?;
    }
    if wanted("join") {
        bench.join(10_000).await?;
        bench.join(1_000_000).await?;
    }
    drop(bench);
    if wanted("meet") {
        meet(dir.path()).await?;
    }
    if wanted("crowd") {
        crowd(dir.path()).await?;
    }
    Ok(())
}
