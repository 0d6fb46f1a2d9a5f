//! `portmesh kill`: ends a port.

use std::time::Duration;

use serde_json::json;

use crate::{
    PortId, Raw,
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
/// killer's node has spawned. A kill that is not taken is not answered: the command ends with 5 then.
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
            let dead = remote.node.monitor(&args.port).death();
            remote
                .node
                .kill(&args.port, Raw(reason.clone()))
                .or_exit(Exit::Usage)?;
            let died_of = remote
                .within(dead)
                .await
                .map_err(|Failure { exit, error }| {
                    Failure {
        exit,
        error: error.context(format!(
            "{} is not dead: it is still at work, or its node does not take kills from this one",
            args.port
        )),
    }
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
