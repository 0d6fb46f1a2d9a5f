//! One process of the demo: a node with the functions that the demo spawns.

use std::{path::PathBuf, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{CLUSTER, words};
use crate::{
    Context, Init, PortId, SendError,
    cli::{
        children::Ready,
        exit::{Exit, OrExit, Outcome},
        node::mode_text,
        throwaway::Credentials,
    },
};

/// The function that makes a counting port.
pub(super) const COUNT: &str = "demo.count";
/// The family that workers register in.
pub(super) const WORKERS: &str = "demo:workers";
/// The function that tells which links a node has.
pub(super) const LINKS: &str = "demo.links";

const FLUSH: Duration = Duration::from_secs(2);

/// What the demo starts its processes with.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    #[arg(long)]
    node: String,
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    secret: bool,
    #[arg(long)]
    format: String,
    #[arg(long)]
    seed: Option<String>,
    #[arg(long)]
    proxy: Option<String>,
}

/// Whose results a counting port has to send, and where to.
struct Counter {
    boss: PortId,
    worker: usize,
}

/// A batch: its number, how long to take at least, its lines.
type Lines = (u64, u64, Vec<String>);

async fn count_lines(
    counter: &mut Counter,
    cx: &Context,
    (batch, pace_ms, lines): Lines,
) -> Result<(), SendError> {
    cx.send_wait(&counter.boss, ("begun", counter.worker, batch))
        .await?;
    tokio::time::sleep(Duration::from_millis(pace_ms)).await;
    let counts = words::count(lines.iter().map(String::as_str));
    cx.send_wait(&counter.boss, ("counted", counter.worker, batch, counts))
        .await
}

async fn init_counter(cx: &Init, (boss, worker): (PortId, usize)) {
    // nobody to count for, nothing to count
    cx.monitor(&boss).kill_self();
    cx.port()
        .state(Counter { boss, worker })
        .on("lines", count_lines)
        .open();
}

/// A link as the far end of it sees it.
pub(super) type FarLink = (String, String, String, String);

async fn init_links(cx: &Init, (boss,): (PortId,)) -> Result<(), SendError> {
    let links = cx.node().links().into_iter();
    let links: Vec<FarLink> = links
        .map(|link| {
            let mode = mode_text(link.mode).to_string();
            (link.node.to_string(), mode, link.security, link.format)
        })
        .collect();
    cx.stop();
    cx.send(&boss, ("links", links))
}

/// Runs until its standard input ends.
pub(crate) async fn run_node(args: NodeArgs) -> Outcome {
    let credentials = Credentials::open(&args.dir, args.secret, CLUSTER);
    let mut builder = credentials
        .builder(&args.node, &args.format)?
        .spawnable(COUNT, init_counter)
        .spawnable(LINKS, init_links);
    if let Some(seed) = &args.seed {
        builder = builder.seed(seed);
    }
    builder = match &args.proxy {
        None => builder.listen("127.0.0.1:*"),
        Some(proxy) => {
            // the proxy has to know the port before the node listens there
            let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let free = free.to_string();
            builder.advertise(through(proxy, &free).await?).listen(free)
        }
    };
    let node = builder.start().await.or_exit(Exit::Failed)?;
    if args.seed.is_some() {
        // goes with this process, however that ends
        let desk = node.port().open();
        let entry = node.db().register(WORKERS, desk.id());
        entry.or_exit(Exit::Failed)?.detach();
    }
    let ready = Ready {
        node: node.id().clone(),
        addrs: node.advertised(),
    };
    println!("{}", serde_json::to_string(&ready).or_exit(Exit::Failed)?);
    let mut nothing = [0; 64];
    while tokio::io::stdin().read(&mut nothing).await? > 0 {}
    node.shutdown(FLUSH).await;
    Ok(())
}

/// Asks a recording proxy for an address that leads to `target`.
async fn through(proxy: &str, target: &str) -> Outcome<String> {
    let mut stream = TcpStream::connect(proxy)
        .await
        .or_exit_in(Exit::Failed, "asking the proxy")?;
    stream.write_all(format!("{target}\n").as_bytes()).await?;
    let mut addr = String::new();
    BufReader::new(stream).read_line(&mut addr).await?;
    Ok(addr.trim().to_string())
}
