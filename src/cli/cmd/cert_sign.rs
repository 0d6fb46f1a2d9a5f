//! `portmesh-cert sign`: a certificate for a key that lives elsewhere.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    CertificateRequest, NodeId,
    cli::{
        ca::{self, CaArgs, LifeArgs},
        exit::{Exit, OrExit, Outcome},
        output::Output,
    },
};

/// Make a certificate for the key of a request
///
/// From the request only the public key is taken, when its signature proves that who made it has the private one. The
/// name is yours to say: make sure that the request came from that node. What is written has no secret in it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node's ID
    node: NodeId,
    /// The request, as csr made it
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
    /// The file for certificate, CA and revocations [default: the last part of the node's ID, with .crt]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    life: LifeArgs,
    /// Overwrite the file if there is one
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    ca: CaArgs,
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let file = match args.out {
        Some(file) => file,
        None => ca::file_for(&args.node, "crt", "--out")?,
    };
    ca::check_free(&file, args.force)?;
    let request = CertificateRequest::read(&args.csr).or_exit(Exit::Config)?;
    if let Some(asked) = request
        .asks_for()
        .filter(|name| *name != args.node.as_str())
    {
        out.chat(format!(
            "The request asks for the name {asked:?}; the certificate is for {}, as you said.",
            args.node
        ));
    }
    let authority = args.ca.open()?;
    let issued = authority
        .sign(&args.node, &request, args.life.life())
        .or_exit(Exit::Config)?;
    let others = ca::record(&args.ca.directory(), &issued, out)?;
    issued.save(&file, args.force).or_exit(Exit::Config)?;
    let (human, mut json) = ca::told(&file, authority.cluster(), &issued, others);
    if let Some(fields) = json.as_object_mut() {
        fields.insert("asked_for".into(), json!(request.asks_for()));
        fields.insert("key".into(), json!(request.fingerprint()));
        fields.insert("key_kind".into(), json!(request.key_kind()));
    }
    out.data(
        format!(
            "{human}; for the key {}, {}",
            request.key_kind(),
            request.fingerprint()
        ),
        &json,
    );
    out.chat(format!(
        "Where the key is: portmesh-cert assemble {} --key FILE (or --into the node's file, to renew it)",
        file.display()
    ));
    Ok(())
}
