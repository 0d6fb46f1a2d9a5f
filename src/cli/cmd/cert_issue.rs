//! `portmesh-cert issue`: key and certificate for one node.

use std::path::PathBuf;

use crate::{
    IssueOptions, NodeId,
    cli::{
        ca::{self, CaArgs, Kind, LifeArgs},
        exit::{Exit, OrExit, Outcome},
        output::Output,
    },
};

/// Make a key and a certificate for a node, in one file with all that the node needs
///
/// A key that is never to leave its node is made there, with csr; see there.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node's ID
    node: NodeId,
    /// The file, that only you can read [default: the last part of the node's ID, with .pem]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    life: LifeArgs,
    /// Kind of its key
    #[arg(long, alias = "key", value_name = "KIND", default_value = "ed25519")]
    kind: Kind,
    /// Overwrite the file if there is one
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    ca: CaArgs,
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let file = match args.out {
        Some(file) => file,
        None => ca::file_for(&args.node, "pem", "--out")?,
    };
    ca::check_free(&file, args.force)?;
    let authority = args.ca.open()?;
    let options = IssueOptions {
        key: args.kind.into(),
        life: args.life.life(),
    };
    let issued = authority
        .issue_with(&args.node, options)
        .or_exit(Exit::Config)?;
    let others = ca::record(&args.ca.directory(), issued.certificate(), out)?;
    issued.save(&file, args.force).or_exit(Exit::Config)?;
    let (human, json) = ca::told(&file, authority.cluster(), issued.certificate(), others);
    out.data(human, &json);
    Ok(())
}
