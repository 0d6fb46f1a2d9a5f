//! `portmesh-cert assemble`: a signed certificate and its key become the file that a node runs from.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::{
    NodeFile,
    ca::read_private_key,
    cli::{
        ca,
        exit::{Exit, Failure, OrExit, Outcome},
        output::{Output, plain},
    },
};

/// Put a signed certificate and its key together, into the file that a node runs from
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What sign wrote
    signed: PathBuf,
    /// The file with the private key, as csr wrote it
    #[arg(long, value_name = "FILE", required_unless_present = "into")]
    key: Option<PathBuf>,
    /// The file to write, that only you can read [default: the last part of the node's ID, with .pem]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the certificate in this node's file, which has the key. The CAs that it trusts stay, with the newest list
    /// of revocations of each
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "out", "force"])]
    into: Option<PathBuf>,
    /// Overwrite the file if there is one
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let mut signed = NodeFile::read(&args.signed).or_exit(Exit::Config)?;
    let (file, whole) = match (&args.into, &args.key) {
        (Some(file), _) => {
            let mut whole = NodeFile::read(file).or_exit(Exit::Config)?;
            if (whole.node(), whole.cluster()) != (signed.node(), signed.cluster()) {
                let text = format!(
                    "{} is for {} of the mesh {}, and {} for {} of {}: nothing was changed",
                    args.signed.display(),
                    signed.node(),
                    signed.cluster(),
                    file.display(),
                    whole.node(),
                    whole.cluster()
                );
                return Err(Failure::new(Exit::Config, text));
            }
            whole.replace(signed).or_exit(Exit::Config)?;
            whole
                .save_in_place(file)
                .or_exit_in(Exit::Config, file.display())?;
            (file.clone(), whole)
        }
        (None, key) => {
            let key = key.as_deref().unwrap_or(Path::new(""));
            let file = match args.out {
                Some(file) => file,
                None => ca::file_for(signed.node(), "pem", "--out")?,
            };
            ca::check_free(&file, args.force)?;
            let key = read_private_key(key).or_exit(Exit::Config)?;
            signed.set_key(&key).or_exit(Exit::Config)?;
            signed
                .save(&file, args.force)
                .or_exit_in(Exit::Config, args.signed.display())?;
            (file, signed)
        }
    };
    let (human, json) = told(&file, &whole);
    out.data(human, &json);
    out.chat(format!(
        "A node runs from it: portmesh run --identity {}",
        file.display()
    ));
    Ok(())
}

/// What is said of a whole node's file.
pub(crate) fn told(file: &Path, whole: &NodeFile) -> (String, Json) {
    let file = file.display().to_string();
    let cas = whole.trust().names();
    let lists = whole.trust().crls();
    let numbers = lists.iter().map(|crl| crl.number.to_string());
    let numbers = Vec::from_iter(numbers).join(" and ");
    let human = format!(
        "{file}: {} of the mesh {}, serial {}, valid until {}, to be renewed from {} on; trusts {}, list of revocations {}",
        whole.node(),
        whole.cluster(),
        whole.serial(),
        whole.expires(),
        whole.renewal_advised(),
        plain(cas.join(" and ")),
        if numbers.is_empty() { "none" } else { &numbers }
    );
    let json = json!({
        "file": file, "node": whole.node(), "cluster": whole.cluster(), "serial": whole.serial().to_string(),
        "expires": whole.expires(), "renew_from": whole.renewal_advised(), "trusts": cas, "crl_numbers": Vec::from_iter(lists.iter().map(|crl| crl.number)),
    });
    (human, json)
}
