//! `portmesh-cert revoke`: certificates that nodes are to refuse from now on.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;

use crate::{
    CaDirectory, CertificateAuthority, NodeFile, NodeId,
    ca::{CRL_FILE, RevocationReason, Serial},
    cli::{
        ca::CaArgs,
        exit::{Exit, Failure, OrExit, Outcome},
        output::Output,
    },
};

/// Revoke certificates: of a node, of a file, or by serial number
///
/// The CA's list of revocations (CRL) is signed anew with a higher number. Nodes refuse the certificates as soon as they have
/// it: put it into their files with bundle, or copy it to where their --crl is. Nodes that run reread both.
#[derive(Debug, clap::Args)]
#[group(id = "which", required = true, multiple = false, args = ["node", "serial", "file"])]
pub(crate) struct Args {
    /// The node whose valid certificates are to be revoked, all of them
    node: Option<NodeId>,
    /// The serial number of one certificate
    #[arg(long, value_name = "HEX")]
    serial: Option<Serial>,
    /// A file with the certificate
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Why
    #[arg(long, value_name = "REASON", default_value = "unspecified")]
    reason: Reason,
    /// Revoke a serial number of which this CA has no record
    #[arg(long, requires = "serial")]
    force: bool,
    #[command(flatten)]
    ca: CaArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reason {
    /// None is given
    Unspecified,
    /// Somebody else may have the node's private key
    KeyCompromise,
    /// Another certificate has taken its place
    Superseded,
    /// The node is no more
    Cessation,
    /// The node may not take part any more
    Withdrawn,
}

impl From<Reason> for RevocationReason {
    fn from(reason: Reason) -> RevocationReason {
        match reason {
            Reason::Unspecified => RevocationReason::Unspecified,
            Reason::KeyCompromise => RevocationReason::KeyCompromise,
            Reason::Superseded => RevocationReason::Superseded,
            Reason::Cessation => RevocationReason::CessationOfOperation,
            Reason::Withdrawn => RevocationReason::PrivilegeWithdrawn,
        }
    }
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let directory = args.ca.existing()?;
    let passphrase = args.ca.passphrase()?;
    let lock = directory.lock().or_exit(Exit::Config)?;
    let mut authority = directory.open(passphrase.as_ref()).or_exit(Exit::Config)?;
    let serials = which(&args, &directory, &authority)?;
    let reason: RevocationReason = args.reason.into();
    let new = authority.revoke(&serials, reason).or_exit(Exit::Config)?;
    directory
        .save_crl(&authority, &lock)
        .or_exit(Exit::Config)?;
    let number = authority.crl().or_exit(Exit::Config)?.number;
    let issued = directory.issued().or_exit(Exit::Config)?;
    for serial in &serials {
        let node = issued.iter().find(|i| i.serial == *serial).map(|i| &i.node);
        let of = node.map(|node| format!(" of {node}")).unwrap_or_default();
        let done = if new.contains(serial) {
            format!("revoked, {}", reason.as_str())
        } else {
            "revoked before".to_owned()
        };
        out.data(
            format!("serial {serial}{of}: {done}; list number {number}"),
            &json!({
                "serial": serial.to_string(), "node": node, "reason": reason.as_str(), "new": new.contains(serial),
                "crl_number": number,
            }),
        );
    }
    out.chat(format!(
        "Nodes refuse it as soon as they have {}: portmesh-cert bundle {0} --into NODE.pem, or a copy where their --crl is. \
         Those that run reread it.",
        args.ca.dir.join(CRL_FILE).display()
    ));
    Ok(())
}

/// What is to be revoked, which must be of this CA.
fn which(
    args: &Args,
    directory: &CaDirectory,
    authority: &CertificateAuthority,
) -> Outcome<Vec<Serial>> {
    let missing = |text: String| Failure::new(Exit::NotFound, text);
    if let Some(file) = &args.file {
        let node_file = NodeFile::read(file).or_exit(Exit::Config)?;
        if !node_file.is_of(authority) {
            let text = format!("the certificate in {} is of another CA", file.display());
            return Err(Failure::new(Exit::Config, text));
        }
        directory.record_file(&node_file).or_exit(Exit::Config)?;
        return Ok(vec![node_file.serial().clone()]);
    }
    let issued = directory.issued().or_exit(Exit::Config)?;
    if let Some(serial) = &args.serial {
        if !args.force && issued.iter().all(|i| i.serial != *serial) {
            return Err(missing(format!(
                "this CA has no record of a certificate {serial}: `portmesh-cert list` shows those that it has; with the \
                 certificate at hand say --file FILE, or --force if you are sure of the number"
            )));
        }
        return Ok(vec![serial.clone()]);
    }
    let node = args.node.as_ref();
    let of_node = Vec::from_iter(issued.iter().filter(|i| Some(&i.node) == node));
    let valid = of_node.iter().filter(|i| i.is_valid());
    let serials = Vec::from_iter(valid.map(|i| i.serial.clone()));
    let node = node.map(ToString::to_string).unwrap_or_default();
    match (serials.is_empty(), of_node.len()) {
        (false, _) => Ok(serials),
        (true, 0) => Err(missing(format!(
            "this CA has no record of a certificate for {node}: `portmesh-cert list` shows those that it has; with the \
             certificate at hand say --file FILE"
        ))),
        (true, n) => Err(missing(format!(
            "{node} has no valid certificate: all {n} are expired or revoked"
        ))),
    }
}
