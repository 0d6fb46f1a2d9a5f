//! `portmesh-cert bundle`: which CAs a node trusts, and what these have revoked.

use std::path::PathBuf;

use serde_json::json;

use super::cert_assemble::told;
use crate::{
    NodeFile, TrustBundle,
    cli::{
        ca::check_free,
        exit::{Exit, Failure, OrExit, Outcome},
        output::{Output, plain},
    },
};

/// Set which CAs nodes trust, with what each has revoked; two of them while one takes the place of the other
///
/// Each SOURCE is a CA's directory, or a file with CA certificates, lists of revocations (CRL), or both. Afterwards the
/// files trust the CAs named, and no others. If the sources have lists alone the CAs stay, and get these lists where they
/// are newer. A file that a node could not run from any more is not changed, and neither are the others then.
///
/// A new CA for a running mesh: (1) `bundle OLD NEW --into` every node's file, so that all trust both; (2) when all nodes
/// have read theirs, `renew FILE --dir NEW --node NODE` for each; (3) when all have, `bundle NEW --into` every file.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directories of CAs, files with CA certificates or CRLs
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<PathBuf>,
    /// A node's file to be changed; may be given several times
    #[arg(long, value_name = "FILE", num_args = 1..)]
    into: Vec<PathBuf>,
    /// A file to write the CAs and lists to, without any node's certificate; without this and --into they are printed
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Overwrite the file if there is one
    #[arg(long, requires = "out")]
    force: bool,
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let mut bundle = TrustBundle::default();
    for source in &args.sources {
        let more = TrustBundle::from_path(source).or_exit(Exit::Config)?;
        bundle
            .merge(&more)
            .or_exit_in(Exit::Config, source.display())?;
    }
    if !bundle.has_ca() && (args.out.is_some() || args.into.is_empty()) {
        return Err(Failure::new(
            Exit::Config,
            "there is no CA certificate in what was given, only lists of revocations, which --into takes",
        ));
    }
    let mut changed = Vec::new();
    for path in &args.into {
        let mut file = NodeFile::read(path).or_exit(Exit::Config)?;
        let trust = if bundle.has_ca() {
            let mut trust = bundle.clone();
            // never back to an older list
            trust
                .update_crls(file.trust())
                .or_exit_in(Exit::Config, path.display())?;
            trust
        } else {
            let mut trust = file.trust().clone();
            trust
                .update_crls(&bundle)
                .or_exit_in(Exit::Config, path.display())?;
            trust
        };
        tell_older(&bundle, &trust, &path.display().to_string(), out);
        file.set_trust(trust);
        file.check().or_exit_in(
            Exit::Config,
            format!(
                "{} would be of no use any more, nothing was changed",
                path.display()
            ),
        )?;
        changed.push((path, file));
    }
    if let Some(path) = &args.out {
        check_free(path, args.force)?;
        bundle.save(path, args.force).or_exit(Exit::Config)?;
        let (path, cas) = (path.display().to_string(), bundle.names());
        out.data(
            format!("{path}: {}", plain(cas.join(" and "))),
            &json!({"file": path, "trusts": cas}),
        );
    }
    for (path, file) in &changed {
        file.save_in_place(path).or_exit(Exit::Config)?;
        let (human, json) = told(path, file);
        out.data(human, &json);
    }
    if args.out.is_none() && args.into.is_empty() {
        let pem = bundle.to_pem();
        out.data(
            pem.trim_end(),
            &json!({"pem": pem, "trusts": bundle.names()}),
        );
    }
    Ok(())
}

/// Says so where a file keeps a newer list than the one that was given for it.
fn tell_older(given: &TrustBundle, kept: &TrustBundle, path: &str, out: Output) {
    let kept = kept.crls();
    for old in given.crls() {
        let newer = kept
            .iter()
            .find(|k| k.issuer == old.issuer && k.number > old.number);
        if let Some(newer) = newer {
            out.chat(format!(
                "{path} keeps list number {} of {}, which is newer than number {}, which you gave. If the CA was restored from \
                 a backup: portmesh-cert crl --restore {path}",
                newer.number,
                plain(&old.issuer),
                old.number
            ));
        }
    }
}
