//! `portmesh send`: a message to a port.

use serde_json::json;

use crate::{
    PortId, Raw,
    cli::{
        args::{RemoteArgs, port_id},
        exit::{Exit, OrExit, Outcome},
        node::unless_dead,
        output::Output,
        remote::Remote,
        values::{self, json as to_json, typed},
    },
};

/// Send a message to a port
///
/// Ends with 0 when the message was transmitted to a node that has the port.
#[derive(Debug, clap::Args)]
#[command(after_help = values::HELP)]
pub(crate) struct Args {
    /// The port, or a node for its own port
    #[arg(value_parser = port_id)]
    port: PortId,
    /// The message: its tag, then its values
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
            let death_of_port = std::pin::pin!(remote.node.monitor(&args.port).death());
            let delivered = async {
                // whether there is such a port at all, then whether it took the message
                remote.round_trip(args.port.node()).await?;
                let message = Raw(message.clone());
                let sent = remote.within(remote.node.send_wait(&args.port, message));
                sent.await?.or_exit(Exit::Failed)?;
                remote.round_trip(args.port.node()).await
            };
            unless_dead(&args.port, death_of_port, delivered).await?;
            out.data(
                format!("sent to {}", args.port),
                &json!({"sent": to_json(&message), "to": args.port}),
            );
            Ok(())
        })
        .await
}
