//! `portmesh-cert list`: what a CA has issued.

use serde_json::json;

use crate::{
    ca::utc_text,
    cli::{
        ca::CaArgs,
        exit::{Exit, OrExit, Outcome},
        output::{Output, aligned},
    },
};

/// List the certificates that the CA has issued, the oldest first
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only those that are neither expired nor revoked
    #[arg(long)]
    valid: bool,
    #[command(flatten)]
    ca: CaArgs,
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let mut all = args.ca.existing()?.issued().or_exit(Exit::Config)?;
    all.retain(|issued| !args.valid || issued.is_valid());
    let rows = all.iter().map(|issued| {
        let state = match (&issued.revoked, issued.is_valid()) {
            (Some(revoked), _) => {
                format!(
                    "revoked {}: {}",
                    utc_text(revoked.at),
                    revoked.reason.as_str()
                )
            }
            (None, true) => format!("valid until {}", issued.expires()),
            (None, false) => format!("expired {}", issued.expires()),
        };
        vec![issued.node.to_string(), issued.serial.to_string(), state]
    });
    let rows = aligned(&Vec::from_iter(rows));
    for (issued, row) in all.iter().zip(rows) {
        let revoked = issued
            .revoked
            .as_ref()
            .map(|r| json!({"at": utc_text(r.at), "reason": r.reason.as_str()}));
        out.data(
            row,
            &json!({
                "node": issued.node, "serial": issued.serial.to_string(), "key": issued.key,
                "valid_from": utc_text(issued.not_before), "expires": issued.expires(), "valid": issued.is_valid(),
                "revoked": revoked,
            }),
        );
    }
    Ok(())
}
