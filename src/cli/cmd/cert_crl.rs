//! `portmesh-cert crl`: what a CA has revoked.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    TrustBundle,
    ca::{Serial, utc_text},
    cli::{
        ca::CaArgs,
        exit::{Exit, OrExit, Outcome},
        output::{Output, aligned, plain},
    },
};

/// Show the CA's list of revocations (CRL)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Sign it anew first, with the next number and today's date
    #[arg(long)]
    refresh: bool,
    /// Take the list from this file, a node's or a bundle, if it is newer than the CA's own: after the CA's directory was
    /// restored from a backup, so that no revocation is forgotten and no number is used twice
    #[arg(long, value_name = "FILE")]
    restore: Option<PathBuf>,
    #[command(flatten)]
    ca: CaArgs,
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let directory = args.ca.existing()?;
    if let Some(path) = &args.restore {
        let from = TrustBundle::from_path(path).or_exit(Exit::Config)?;
        let lock = directory.lock().or_exit(Exit::Config)?;
        let taken = directory
            .restore_crl(&from, &lock)
            .or_exit_in(Exit::Config, path.display())?;
        out.chat(if taken {
            "The list was taken from the file."
        } else {
            "The CA's own list is as new as that of the file, and stays."
        });
    }
    if args.refresh {
        let passphrase = args.ca.passphrase()?;
        let lock = directory.lock().or_exit(Exit::Config)?;
        let mut authority = directory.open(passphrase.as_ref()).or_exit(Exit::Config)?;
        authority.refresh_crl().or_exit(Exit::Config)?;
        directory
            .save_crl(&authority, &lock)
            .or_exit(Exit::Config)?;
    }
    let crl = directory.crl().or_exit(Exit::Config)?;
    let issued = directory.issued().or_exit(Exit::Config)?;
    let next = crl.next_update.map(utc_text);
    let node = |serial: &Serial| issued.iter().find(|i| i.serial == *serial).map(|i| &i.node);
    let rows = crl.revoked.iter().map(|r| {
        vec![
            r.serial.to_string(),
            node(&r.serial).map_or("not recorded".into(), ToString::to_string),
            utc_text(r.at),
            r.reason.as_str().to_owned(),
        ]
    });
    let mut human = vec![format!(
        "{}: list number {} of {}, good until {}, {} revoked",
        plain(&crl.issuer),
        crl.number,
        utc_text(crl.this_update),
        next.as_deref().unwrap_or("the next one"),
        crl.revoked.len()
    )];
    human.extend(aligned(&Vec::from_iter(rows)));
    let revoked = crl.revoked.iter().map(|r| {
        json!({
            "serial": r.serial.to_string(), "node": node(&r.serial), "at": utc_text(r.at),
            "reason": r.reason.as_str(),
        })
    });
    out.data(
        human.join("\n"),
        &json!({
            "issuer": crl.issuer, "number": crl.number, "this_update": utc_text(crl.this_update),
            "next_update": next, "revoked": Vec::from_iter(revoked),
        }),
    );
    Ok(())
}
