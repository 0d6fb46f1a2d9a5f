//! `portmesh-cert inspect`: what an identity file says.

use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::json;

use crate::{
    Identity,
    cli::{
        exit::{Exit, OrExit, Outcome},
        output::Output,
    },
};

/// Check a node's file as the node would, and print whose it is
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file that issue wrote
    file: PathBuf,
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let identity = Identity::from_pem_file(&args.file).or_exit(Exit::Config)?;
    let days = days_until(identity.not_after());
    let renew = days_until(identity.renew_after());
    out.data(
        format!(
            "{} of the mesh {}: serial {}, valid for {days:.1} days more, to be renewed in {renew:.1} days",
            identity.node(),
            identity.cluster(),
            identity.serial()
        ),
        &json!({
            "node": identity.node(), "cluster": identity.cluster(), "serial": identity.serial(),
            "valid_days": rounded(days), "renew_in_days": rounded(renew),
            "not_after_s": seconds(identity.not_after()),
        }),
    );
    Ok(())
}

/// Negative when it has passed.
fn days_until(time: SystemTime) -> f64 {
    let day = 24.0 * 60.0 * 60.0;
    match time.duration_since(SystemTime::now()) {
        Ok(left) => left.as_secs_f64() / day,
        Err(passed) => -passed.duration().as_secs_f64() / day,
    }
}

fn rounded(days: f64) -> f64 {
    (days * 10.0).round() / 10.0
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
