//! `portmesh-cert verify`: whether nodes would take a file, and every reason why not.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    TrustBundle,
    ca::utc_text,
    cli::{
        exit::{Exit, Failure, OrExit, Outcome},
        output::{Output, counted, plain},
    },
    inspect,
};

/// Check a file as nodes would, and name everything that is wrong with it
///
/// Private key, dates, names, usage, signatures, CAs, revocations. Exit code 0 if a node would take it, 8 if not. A file
/// with CAs and lists of revocations alone is checked for whether nodes could trust these.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file, with a private key or without
    file: PathBuf,
    /// The CAs and revocations to check it against, a file or a CA's directory [default: those in the file]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let trust = args.ca.as_deref().map(TrustBundle::from_path).transpose();
    let trust = trust.or_exit(Exit::Config)?;
    let verdict = inspect::verify_file(&args.file, trust.as_ref()).or_exit(Exit::Config)?;
    let file = args.file.display().to_string();
    let what = match &verdict.certificate {
        Some(cert) => {
            let node = cert
                .node
                .as_ref()
                .map_or("no node".to_owned(), ToString::to_string);
            let mesh = cert.cluster.as_deref().unwrap_or("no mesh");
            let until = utc_text(cert.not_after);
            format!("{node} of {mesh}, serial {}, until {until}", cert.serial)
        }
        None => "CAs and revocations".to_owned(),
    };
    let mut human = vec![format!(
        "{file}: {}: {what}",
        if verdict.is_good() {
            "good"
        } else {
            "NOT good"
        }
    )];
    human.extend(
        verdict
            .faults
            .iter()
            .map(|fault| format!("  fault: {}", plain(fault))),
    );
    human.extend(
        verdict
            .warnings
            .iter()
            .map(|w| format!("  warning: {}", plain(w))),
    );
    let certificate = verdict.certificate.as_deref();
    out.data(
        human.join("\n"),
        &json!({
            "file": file, "good": verdict.is_good(), "faults": verdict.faults, "warnings": verdict.warnings,
            "node": certificate.and_then(|c| c.node.as_ref()), "cluster": certificate.and_then(|c| c.cluster.as_deref()),
            "serial": certificate.map(|c| c.serial.to_string()), "expires": certificate.map(|c| utc_text(c.not_after)),
        }),
    );
    if verdict.is_good() {
        return Ok(());
    }
    let count = counted(verdict.faults.len() as u64, "fault", "faults");
    Err(Failure::new(
        Exit::Config,
        format!("{file} has {count}: nodes would not take it"),
    ))
}
