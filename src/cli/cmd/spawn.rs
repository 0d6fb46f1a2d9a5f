//! `portmesh spawn`: a new port on a node.

use serde_json::json;

use crate::{
    NodeId, Raw,
    cli::{
        args::RemoteArgs,
        exit::{Exit, OrExit, Outcome},
        node::{death, unless_dead},
        output::Output,
        remote::Remote,
        values::{self, json as to_json, typed},
    },
};

/// Make a new port on a node, and print its ID
///
/// The node must know the function by that name. With --wait the command stays until the port dies, and ends as monitor
/// does.
#[derive(Debug, clap::Args)]
#[command(after_help = values::HELP)]
pub(crate) struct Args {
    /// The node
    node: NodeId,
    /// The name of the function that makes the port
    function: String,
    /// Its arguments
    #[arg(allow_negative_numbers = true)]
    args: Vec<String>,
    /// Wait for the port's death
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(crate) async fn run(args: Args, out: Output) -> Outcome {
    let values = typed(&args.args)?;
    let remote = Remote::connect(&args.remote, &args.node, out).await?;
    remote
        .finish(async |remote| {
            let port = remote
                .node
                .spawn(&args.node, &args.function, Raw(values.clone()))
                .or_exit(Exit::Failed)?;
            let mut dead = std::pin::pin!(remote.node.monitor(&port).death());
            unless_dead(&port, dead.as_mut(), remote.round_trip(&args.node)).await?;
            out.data(
                &port,
                &json!({"port": port, "function": args.function, "args": to_json(&values)}),
            );
            if args.wait {
                let reason = match args.remote.timeout {
                    Some(_) => remote.within(dead).await?,
                    None => dead.await,
                };
                out.data(
            &reason,
            &json!({"port": port, "reason": to_json(&reason.0), "normal": reason.is_normal()}),
        );
                if !reason.is_normal() {
                    return Err(death(&port, &reason));
                }
            }
            Ok(())
        })
        .await
}
