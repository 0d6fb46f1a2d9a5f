//! `portmesh forget`: a node that lost its key can come again with a new one.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    KnownNodesFile, NodeId,
    api::config::value::Setting,
    cli::{
        args::{ConfigArgs, Flags},
        exit::{Exit, Failure, OrExit, Outcome},
        output::Output,
    },
};

/// Forget the key of a node, or list those that are remembered
///
/// In secret mode a node remembers the first key of every other one, and refuses whoever comes with another. When a node
/// has rightly got a new key, this makes room for it; a running node notices.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node whose key is to be forgotten; without it all remembered ones are listed
    node: Option<NodeId>,
    /// The state directory of the node that remembers [default: what is configured for it] [env: PORTMESH_STATE]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let settings = args
        .config
        .settings(Flags::default().state(args.state), true)?;
    let Some((Setting::Path(state), _)) = settings.get("state") else {
        let text = "which node is to forget? Give --state DIR, or --profile NAME of one that has a state directory";
        return Err(Failure::new(Exit::Usage, text));
    };
    let known = KnownNodesFile::open(state).or_exit(Exit::Config)?;
    let Some(node) = args.node else {
        for (node, proof) in known.list() {
            let value = json!({"node": node, "proof": proof});
            out.data(format!("{node} {proof}"), &value);
        }
        return Ok(());
    };
    if known.forget(&node).or_exit(Exit::Config)? {
        out.data(format!("forgot {node}"), &json!({"forgot": node}));
        Ok(())
    } else {
        let text = format!("{node} is not remembered in {}", state.display());
        Err(Failure::new(Exit::NotFound, text))
    }
}
