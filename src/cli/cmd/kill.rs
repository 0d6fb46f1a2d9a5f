//! `portmesh kill`: ends a port.

use std::time::Duration;

use serde_json::json;

use crate::{
    Events, NodeEvent, PortId, Raw,
    cli::{
        args::{RemoteArgs, port_id},
        exit::{Exit, Failure, OrExit, Outcome},
        node::death,
        output::Output,
        remote::Remote,
        values::{self, json as to_json, typed},
    },
};

/// A kill waits up to 5 s for earlier messages (M4).
const TIMEOUT: Duration = Duration::from_secs(8);

/// Kill a port, and wait until it is dead
///
/// Without a reason the death is normal. A node allows this by its policy, which by default is: only for ports that the
/// killer's node has spawned. A kill that is refused ends the command with 6.
#[derive(Debug, clap::Args)]
#[command(after_help = values::HELP)]
pub(crate) struct Args {
    /// The port
    #[arg(value_parser = port_id)]
    port: PortId,
    /// The values of the reason
    #[arg(allow_negative_numbers = true)]
    reason: Vec<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(crate) async fn run(mut args: Args, out: Output) -> Outcome {
    if args.port.name().is_node_port() {
        return Err(Failure::new(
            Exit::Refused,
            "a node's own port cannot be killed",
        ));
    }
    let reason = typed(&args.reason)?;
    args.remote.timeout.get_or_insert(TIMEOUT);
    let remote = Remote::connect(&args.remote, args.port.node(), out).await?;
    remote
        .finish(async |remote| {
            let mut events = remote.node.events();
            let dead = remote.node.monitor(&args.port).death();
            remote
                .node
                .kill(&args.port, Raw(reason.clone()))
                .or_exit(Exit::Usage)?;
            let ended = async {
                tokio::select! {
                    biased;
                    reason = dead => Ok(reason),
                    why = refused(&mut events, &args.port) => Err(why),
                }
            };
            let ended = remote
                .within(ended)
                .await
                .map_err(|Failure { exit, error }| Failure {
                    exit,
                    error: error.context(format!(
                        "{} is not dead yet: it is still at work",
                        args.port
                    )),
                })?;
            let died_of = ended.map_err(|why| {
                let node = args.port.node();
                Failure::new(
                    Exit::Refused,
                    format!("{node} does not take kills of this port from this node: {why}"),
                )
            })?;
            if died_of.0 != reason {
                return Err(death(&args.port, &died_of));
            }
            out.data(
                format!("killed {}", args.port),
                &json!({"killed": args.port, "reason": to_json(&reason)}),
            );
            Ok(())
        })
        .await
}

/// Why the kill was refused, when that is told.
async fn refused(events: &mut Events, port: &PortId) -> String {
    loop {
        match events.next().await {
            Some(NodeEvent::KillRefused { port: of, reason }) if of == *port => return reason,
            Some(_) => {}
            // the death is told all the same
            None => std::future::pending().await,
        }
    }
}
