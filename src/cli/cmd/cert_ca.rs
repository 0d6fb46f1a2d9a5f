//! `portmesh-cert ca init`: a new certificate authority.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;

use crate::{
    CertificateAuthority, KeyKind,
    cli::{
        exit::{Exit, OrExit, Outcome},
        output::Output,
    },
};

/// The certificate authority of a mesh
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a new CA: a private key to be kept, a certificate and a list of revocations for every node
    Init {
        /// Name of the mesh
        #[arg(long, value_name = "NAME", default_value = "portmesh")]
        cluster: String,
        /// Where to write it
        #[arg(long, value_name = "DIR", default_value = "ca")]
        dir: PathBuf,
        /// Kind of its key
        #[arg(long, value_name = "KIND", default_value = "ed25519")]
        key: Key,
        /// Overwrite a CA that is there: all its certificates are worth nothing afterwards
        #[arg(long)]
        force: bool,
    },
}

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Key {
    /// Small and quick
    Ed25519,
    /// ECDSA on P-256, for hardware and tools without Ed25519
    P256,
}

impl From<Key> for KeyKind {
    fn from(key: Key) -> KeyKind {
        match key {
            Key::Ed25519 => KeyKind::Ed25519,
            Key::P256 => KeyKind::P256,
        }
    }
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let Command::Init {
        cluster,
        dir,
        key,
        force,
    } = args.command;
    let ca = CertificateAuthority::create_with_key(&cluster, key.into()).or_exit(Exit::Config)?;
    ca.save(&dir, force).or_exit(Exit::Config)?;
    let dir = dir.display().to_string();
    out.data(
        format!(
            "CA of the mesh {cluster} in {dir}, valid until {}",
            ca.expires()
        ),
        &json!({"cluster": cluster, "dir": dir, "expires": ca.expires()}),
    );
    out.chat(
        "Keep the private key in it where no node can read it; nodes need none of these files.",
    );
    Ok(())
}
