//! `portmesh-cert renew`: a new certificate in the place of the old one.

use std::path::PathBuf;

use serde_json::json;

use super::cert_assemble::told;
use crate::{
    IssueOptions, NodeFile, NodeId,
    cli::{
        ca::{CaArgs, Kind, LifeArgs},
        exit::{Exit, Failure, OrExit, Outcome},
        output::Output,
    },
};

/// Put a new certificate into a node's file, in place of the old one
///
/// The key stays the same unless you say --new-key. The CAs that the node trusts stay, each with its newest list of
/// revocations. The file is replaced in one step. Where the key lives elsewhere: csr --key, sign, assemble --into.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node's file, as issue or assemble wrote it
    file: PathBuf,
    /// Make a new key too
    #[arg(long)]
    new_key: bool,
    /// Kind of the new key
    #[arg(
        long,
        value_name = "KIND",
        default_value = "ed25519",
        requires = "new_key"
    )]
    kind: Kind,
    /// The node that the file is for: needed when the old certificate is of another CA, whose word this one does not take
    #[arg(long)]
    node: Option<NodeId>,
    #[command(flatten)]
    life: LifeArgs,
    #[command(flatten)]
    ca: CaArgs,
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let refused = |text: String| Failure::new(Exit::Config, text);
    let show = args.file.display();
    let mut file = NodeFile::read(&args.file).or_exit(Exit::Config)?;
    if let Some(node) = args.node.as_ref().filter(|node| *node != file.node()) {
        return Err(refused(format!(
            "{show} is for {}, not for {node}",
            file.node()
        )));
    }
    // so that nobody is asked for a passphrase in vain
    if !file.has_key() {
        return Err(refused(format!(
            "there is no private key in {show}: where it is, make a request with `portmesh-cert csr {} --key FILE`",
            file.node()
        )));
    }
    let authority = args.ca.open()?;
    if file.cluster() != authority.cluster() {
        return Err(refused(format!(
            "{show} is of the mesh {}, and the CA of {}",
            file.cluster(),
            authority.cluster()
        )));
    }
    if !file.is_of(&authority) && args.node.is_none() {
        return Err(refused(format!(
            "the certificate in {show} is of another CA, whose word this one does not take: if it is to be for {} again, \
             say --node {0}",
            file.node()
        )));
    }
    let crl = authority.crl().or_exit(Exit::Config)?;
    if file.is_of(&authority) && crl.revoked.iter().any(|r| r.serial == *file.serial()) {
        return Err(refused(format!(
            "the certificate in {show} was revoked; if {} is to come back, make a new one: portmesh-cert issue {0}",
            file.node()
        )));
    }
    let (node, old) = (file.node().clone(), file.serial().clone());
    let issued = if args.new_key {
        let options = IssueOptions {
            key: args.kind.into(),
            life: args.life.life(),
        };
        let issued = authority.issue_with(&node, options).or_exit(Exit::Config)?;
        file.set_key(issued.key_pem()).or_exit(Exit::Config)?;
        issued.certificate().clone()
    } else {
        authority
            .renew(&file, args.life.life())
            .or_exit(Exit::Config)?
    };
    file.take(&issued).or_exit(Exit::Config)?;
    file.check().or_exit_in(Exit::Config, show.to_string())?;
    args.ca.directory().record(&issued).or_exit(Exit::Config)?;
    file.save_in_place(&args.file).or_exit(Exit::Config)?;
    let (human, mut json) = told(&args.file, &file);
    if let Some(fields) = json.as_object_mut() {
        fields.insert("replaced".into(), json!(old.to_string()));
        fields.insert("new_key".into(), json!(args.new_key));
    }
    let key = if args.new_key {
        "a new key"
    } else {
        "the same key"
    };
    out.data(format!("{human}; {key}, in place of serial {old}"), &json);
    if args.new_key {
        out.chat(format!(
            "The old certificate is valid until it expires; if somebody else may have its key, revoke it: portmesh-cert \
             revoke --serial {old}"
        ));
    }
    Ok(())
}
