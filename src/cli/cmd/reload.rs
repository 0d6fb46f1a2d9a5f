//! `portmesh reload`: lets a running node reread its files.

use std::time::Duration;

use serde_json::json;

use crate::{
    Context, EncodeError, Init, Node, NodeBuilder, NodeId, PortId, SendError,
    cli::{
        args::RemoteArgs,
        exit::{Exit, Failure, OrExit, Outcome},
        orders,
        output::Output,
        remote::Remote,
    },
};

/// The function that makes the port which does it. Its name says that spawning it takes `admin` in the policy.
const FUNCTION: &str = "portmesh.reload";
/// A port that nobody asks anything ends.
const IDLE: Duration = Duration::from_secs(60);

/// Let a running node reread its certificate, CRLs, secrets and policy
///
/// It does so by itself within a few seconds after a file changes, and at SIGHUP. The policy of the node has to permit this
/// node to administer it, or the node has to run with --db-admin.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node
    node: NodeId,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Lets those who may administer the node have its files reread.
pub(crate) fn open(builder: NodeBuilder) -> NodeBuilder {
    builder.spawnable(FUNCTION, init)
}

async fn init(cx: &Init, (): ()) -> Result<(), EncodeError> {
    cx.after(IDLE).kill(cx.id(), ())?;
    cx.port().on("reload", answer).open();
    Ok(())
}

async fn answer((): &mut (), cx: &Context, (reply,): (PortId,)) -> Result<(), SendError> {
    if !orders::is_permitted(cx) {
        return cx.send(&reply, ("refused", orders::NOT_YOURS));
    }
    cx.stop();
    match reread(cx.node()).await {
        Ok(files) => cx.send(&reply, ("reread", files)),
        Err(text) => cx.send(&reply, ("failed", text)),
    }
}

/// Rereads the files of a node: which, or what is wrong.
pub(crate) async fn reread(node: &Node) -> Result<Vec<String>, String> {
    let node = node.clone();
    // files may be on a slow disk
    let reloaded = tokio::task::spawn_blocking(move || node.reload()).await;
    match reloaded.map_err(|error| error.to_string())? {
        Ok(files) => Ok(files
            .iter()
            .map(|file| file.display().to_string())
            .collect()),
        Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
    }
}

/// In words.
pub(crate) fn files_text(files: &[String]) -> String {
    match files.is_empty() {
        true => "the node has no files to reread".to_owned(),
        false => format!("reread: {}", files.join(", ")),
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Reread(Vec<String>),
    Failed(String),
    Refused(String),
}

pub(crate) async fn run(args: Args, out: Output) -> Outcome {
    let remote = Remote::connect(&args.remote, &args.node, out).await?;
    let files = remote.finish(async |remote| ask(remote, &args.node, out).await);
    files.await
}

async fn ask(remote: &Remote, on: &NodeId, out: Output) -> Outcome {
    let port = remote.node.spawn(on, FUNCTION, ()).or_exit(Exit::Failed)?;
    let answer = remote.node.call::<Answer>(&port, ("reload",));
    match answer.within(remote.left()).await {
        Ok(Answer::Reread(files)) => {
            out.data(files_text(&files), &json!({"node": on, "files": files}));
            Ok(())
        }
        Ok(Answer::Failed(text)) => Err(Failure::new(Exit::Config, format!("{on}: {text}"))),
        Ok(Answer::Refused(text)) => Err(Failure::new(Exit::Refused, format!("{on}: {text}"))),
        Err(error) => Err(orders::failure(remote, on, &port, error)),
    }
}
