//! The other process: a node that offers the ports, until the first process is gone.

use std::path::PathBuf;

use super::{
    super::{
        children::Ready,
        exit::{Exit, OrExit, Outcome},
        throwaway::Credentials,
    },
    idle::Idle,
    pair::CLUSTER,
    ports,
};

/// What it is started with.
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
    pub(super) threads: u16,
    /// Measure the memory of what waits, and end
    #[arg(long)]
    idle: Option<Idle>,
}

/// The process ends with its standard input, at once.
pub(super) async fn run(args: NodeArgs) -> Outcome {
    // a thread of its own hears it even when the runtime is busy
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let credentials = Credentials::open(&args.dir, args.secret, CLUSTER);
    if let Some(idle) = args.idle {
        let figures = idle.measure(&credentials, &args.format).await?;
        println!("{}", serde_json::to_string(&figures).or_exit(Exit::Failed)?);
        return Ok(());
    }
    let builder = credentials
        .builder(&args.node, &args.format)?
        .listen("127.0.0.1:*");
    let node = ports::functions(builder).start().await;
    let node = node.or_exit(Exit::Failed)?;
    let ready = Ready {
        node: node.id().clone(),
        addrs: node.listen_addrs(),
    };
    println!("{}", serde_json::to_string(&ready).or_exit(Exit::Failed)?);
    std::future::pending().await
}
