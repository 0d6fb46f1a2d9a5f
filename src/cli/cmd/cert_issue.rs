//! `portmesh-cert issue`: a certificate for one node.

use std::{path::PathBuf, time::Duration};

use serde_json::json;

use super::cert_ca::Key;
use crate::{
    CertificateAuthority, IssueOptions, NodeId,
    cli::{
        exit::{Exit, Failure, OrExit, Outcome},
        output::Output,
    },
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Make a key and a certificate for a node, in one file with all that the node needs
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node's ID
    node: NodeId,
    /// Where the CA is
    #[arg(long, value_name = "DIR", default_value = "ca")]
    dir: PathBuf,
    /// The file, that only you can read [default: the last part of the node's ID, with .pem]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long it is valid; never longer than its CA
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Kind of its key
    #[arg(long, value_name = "KIND", default_value = "ed25519")]
    key: Key,
    /// Overwrite the file if there is one
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let ca = CertificateAuthority::load(&args.dir).or_exit(Exit::Config)?;
    let file = match args.out {
        Some(file) => file,
        None => {
            let last = args.node.as_str().rsplit('/').next().unwrap_or_default();
            if last.is_empty() || last.starts_with('.') {
                return Err(Failure::new(
                    Exit::Usage,
                    "say where to write it: --out FILE",
                ));
            }
            PathBuf::from(format!("{last}.pem"))
        }
    };
    let options = IssueOptions {
        key: args.key.into(),
        life: DAY * args.days,
    };
    let issued = ca.issue_with(&args.node, options).or_exit(Exit::Config)?;
    issued.save(&file, args.force).or_exit(Exit::Config)?;
    let file = file.display().to_string();
    out.data(
        format!(
            "{file}: {} of the mesh {}, valid until {}",
            args.node,
            ca.cluster(),
            issued.expires()
        ),
        &json!({"file": file, "node": args.node, "cluster": ca.cluster(), "expires": issued.expires()}),
    );
    Ok(())
}
