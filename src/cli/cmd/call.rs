//! `portmesh call`: a message to a port, and its answer.

use serde_json::json;
use tokio::time::Instant;

use crate::{
    PortId, Raw,
    cli::{
        args::{RemoteArgs, port_id},
        exit::Outcome,
        node::call_failure,
        output::{Output, millis},
        remote::Remote,
        values::{self, json as to_json, typed},
    },
};

/// Send a message with a reply port to a port, and print the answer
#[derive(Debug, clap::Args)]
#[command(after_help = values::HELP)]
pub(crate) struct Args {
    /// The port, or a node for its own port
    #[arg(value_parser = port_id)]
    port: PortId,
    /// The message: its tag, then its values; the reply port is added
    #[arg(required = true, allow_negative_numbers = true)]
    message: Vec<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(crate) async fn run(args: Args, out: Output) -> Outcome {
    let message = typed(&args.message)?;
    let remote = Remote::connect(&args.remote, args.port.node(), out).await?;
    remote
        .finish(async |remote| {
            let began = Instant::now();
            let answer = remote
                .node
                .call::<Raw>(&args.port, Raw(message))
                .within(remote.left())
                .await;
            let took = began.elapsed();
            let answer = answer.map_err(|error| call_failure(&args.port, error))?;
            let answer = to_json(&answer.0);
            out.data(
                &answer,
                &json!({"answer": answer, "from": args.port, "ms": millis(took)}),
            );
            Ok(())
        })
        .await
}
