//! `portmesh monitor`: waits for the death of a port.

use serde_json::json;

use crate::{
    PortId,
    cli::{
        args::{RemoteArgs, port_id},
        exit::Outcome,
        node::death,
        output::Output,
        remote::Remote,
        values::json as to_json,
    },
};

/// Wait until a port dies, and print why
///
/// Ends with 0 when the death was normal, with 7 when it was not, with 3 when the port is not there, with 4 when the link
/// was lost.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The port, or a node for its own port
    #[arg(value_parser = port_id)]
    port: PortId,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(crate) async fn run(args: Args, out: Output) -> Outcome {
    let remote = Remote::connect(&args.remote, args.port.node(), out).await?;
    remote
        .finish(async |remote| {
            let monitor = remote.node.monitor(&args.port).death();
            let reason = match args.remote.timeout {
                Some(_) => remote.within(monitor).await?,
                None => monitor.await,
            };
            out.data(
        &reason,
        &json!({"port": args.port, "reason": to_json(&reason.0), "normal": reason.is_normal()}),
    );
            if !reason.is_normal() {
                return Err(death(&args.port, &reason));
            }
            Ok(())
        })
        .await
}
