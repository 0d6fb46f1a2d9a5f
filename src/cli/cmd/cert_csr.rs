//! `portmesh-cert csr`: a key that never leaves its node, and the request for its certificate.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    CertificateRequest, NodeId,
    ca::save_private_key,
    cli::{
        ca::{self, Kind},
        exit::{Exit, OrExit, Outcome},
        output::Output,
    },
};

/// Make a key that never leaves this host, and a request for its certificate
///
/// The request goes to where the CA is: `portmesh-cert sign NODE --csr FILE`. What comes back is put together with the
/// key here: `portmesh-cert assemble SIGNED --key FILE`. The request itself is not secret.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node's ID
    node: NodeId,
    /// The file for the request [default: the last part of the node's ID, with .csr]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The file for the new key, that only you can read [default: the last part of the node's ID, with .key]
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    key_out: Option<PathBuf>,
    /// Take the private key in this file instead of a new one: of a key alone, or of a node's file that is to be renewed
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Kind of the new key
    #[arg(
        long,
        value_name = "KIND",
        default_value = "ed25519",
        conflicts_with = "key"
    )]
    kind: Kind,
    /// Overwrite files that are there
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let Args {
        node,
        out: file,
        key_out,
        key,
        kind,
        force,
    } = args;
    let file = match file {
        Some(file) => file,
        None => ca::file_for(&node, "csr", "--out")?,
    };
    ca::check_free(&file, force)?;
    let (request, key_file) = match key {
        Some(path) => {
            let request = CertificateRequest::for_key_file(&node, &path).or_exit(Exit::Config)?;
            (request, path)
        }
        None => {
            let path = match key_out {
                Some(path) => path,
                None => ca::file_for(&node, "key", "--key-out")?,
            };
            ca::check_free(&path, force)?;
            let (key, request) =
                CertificateRequest::generate(&node, kind.into()).or_exit(Exit::Failed)?;
            save_private_key(&path, &key, force).or_exit(Exit::Config)?;
            (request, path)
        }
    };
    request.save(&file, force).or_exit(Exit::Config)?;
    let (file, key_file) = (file.display().to_string(), key_file.display().to_string());
    out.data(
        format!(
            "{file}: a request for {node}; its key, {}, {}, stays here in {key_file}",
            request.key_kind(),
            request.fingerprint()
        ),
        &json!({
            "file": file, "node": node, "key_file": key_file, "key_kind": request.key_kind(),
            "key": request.fingerprint(),
        }),
    );
    out.chat(format!(
        "Where the CA is: portmesh-cert sign {node} --csr {file}. Compare the key that it shows with the one above."
    ));
    Ok(())
}
