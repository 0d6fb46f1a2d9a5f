//! `portmesh-cert ca`: a new certificate authority, and its passphrase.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    CertificateAuthority,
    ca::KEY_FILE,
    cli::{
        ca::{CaArgs, Kind, check_free, new_passphrase},
        exit::{Exit, Failure, OrExit, Outcome},
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
    ///
    /// The private key is encrypted with a passphrase: from --passphrase-file, else from PORTMESH_CA_PASSPHRASE, else you
    /// are asked for it, twice. Every command that needs the key wants it again.
    Init {
        /// Name of the mesh
        #[arg(long, value_name = "NAME", default_value = "portmesh")]
        cluster: String,
        /// Kind of its key
        #[arg(long, alias = "key", value_name = "KIND", default_value = "ed25519")]
        kind: Kind,
        /// Do not encrypt the private key: whoever gets the file can make certificates for every node
        #[arg(long, conflicts_with = "passphrase_file")]
        no_encryption: bool,
        /// Overwrite a CA that is there: all its certificates are worth nothing afterwards
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        ca: CaArgs,
    },
    /// Change the passphrase of the CA's key, or encrypt a key that is not
    Passphrase {
        /// A file with the new passphrase, that only you can read; without it you are asked
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
        #[command(flatten)]
        ca: CaArgs,
    },
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    match args.command {
        Command::Init {
            cluster,
            kind,
            no_encryption,
            force,
            ca,
        } => init(&cluster, kind, no_encryption, force, &ca, out),
        Command::Passphrase {
            new_passphrase_file,
            ca,
        } => {
            let old = ca.passphrase()?;
            let new = new_passphrase(new_passphrase_file.as_deref(), false)?;
            ca.directory()
                .change_passphrase(old.as_ref(), &new)
                .or_exit(Exit::Config)?;
            let dir = ca.dir.display().to_string();
            out.data(
                format!("the CA's key in {dir} is encrypted with the new passphrase"),
                &json!({"dir": dir, "encrypted": true}),
            );
            Ok(())
        }
    }
}

fn init(
    cluster: &str,
    kind: Kind,
    no_encryption: bool,
    force: bool,
    args: &CaArgs,
    out: Output,
) -> Outcome {
    let directory = args.directory();
    if !force && directory.exists() {
        let text = format!(
            "there is a CA in {} already, and it is not overwritten; choose another --dir, or say --force",
            args.dir.display()
        );
        return Err(Failure::new(Exit::Config, text));
    }
    check_free(&args.dir.join(KEY_FILE), force)?;
    let ca = CertificateAuthority::create_with_key(cluster, kind.into()).or_exit(Exit::Config)?;
    if no_encryption {
        out.chat(format!(
            "Warning: the private key in {} is not encrypted. Whoever gets that file, a backup of it too, can make \
             certificates for every node of the mesh. `portmesh-cert ca passphrase` encrypts it later.",
            args.dir.display()
        ));
        directory
            .create_unencrypted(&ca, force)
            .or_exit(Exit::Config)?;
    } else {
        let passphrase = new_passphrase(args.passphrase_file.as_deref(), true)?;
        directory
            .create(&ca, &passphrase, force)
            .or_exit(Exit::Config)?;
    }
    let dir = args.dir.display().to_string();
    let encrypted = !no_encryption;
    out.data(
        format!(
            "CA of the mesh {cluster} in {dir}, valid until {}, its key {}",
            ca.expires(),
            if encrypted {
                "encrypted"
            } else {
                "NOT encrypted"
            }
        ),
        &json!({"cluster": cluster, "dir": dir, "expires": ca.expires(), "encrypted": encrypted}),
    );
    out.chat(
        "Keep the directory where no node can read it, and a copy of it and of the passphrase; nodes need none of these \
         files.",
    );
    Ok(())
}
