//! `portmesh ping`: who a node is, and how far away.

use serde_json::json;

use crate::{
    NodeId,
    cli::{
        args::RemoteArgs,
        exit::{Exit, Failure, Outcome},
        node::link_json,
        output::{Output, millis},
        remote::Remote,
    },
};

/// Link with a node, print what proved its identity, and measure round trips
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node
    node: NodeId,
    /// How many round trips
    #[arg(long, short, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(crate) async fn run(args: Args, out: Output) -> Outcome {
    let remote = Remote::connect(&args.remote, &args.node, out).await?;
    remote
        .finish(async |remote| {
            let Some(link) = remote
                .node
                .links()
                .into_iter()
                .find(|link| link.node == args.node)
            else {
                return Err(Failure::new(Exit::Unreachable, "the link was lost"));
            };
            out.data(
                format!(
                    "{} at {}: {}; {}; messages in {}; incarnation {}",
                    link.node, link.addr, link.security, link.proof, link.format, link.incarnation
                ),
                &link_json(&link),
            );
            for n in 1..=args.count {
                let took = remote.round_trip(&args.node).await?;
                out.data(
                    format!("{n}: {:.3} ms", millis(took)),
                    &json!({"node": args.node, "n": n, "ms": millis(took)}),
                );
            }
            Ok(())
        })
        .await
}
