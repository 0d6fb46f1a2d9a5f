//! `portmesh forget`: a node that lost its key can come again with a new one.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    KnownNodesFile, NodeId,
    cli::{
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
    /// The state directory of the node that remembers
    #[arg(long, value_name = "DIR", env = "PORTMESH_STATE")]
    state: PathBuf,
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let known = KnownNodesFile::open(&args.state).or_exit(Exit::Config)?;
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
        let text = format!("{node} is not remembered in {}", args.state.display());
        Err(Failure::new(Exit::NotFound, text))
    }
}
