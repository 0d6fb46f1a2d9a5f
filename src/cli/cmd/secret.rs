//! `portmesh secret`: makes secrets, and changes the file that holds those which a node accepts.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{
    DEFAULT_CLUSTER, Secret, SecretFile, SecretId,
    cli::{
        args::PassphraseArgs,
        exit::{Exit, OrExit, Outcome},
        output::Output,
    },
};

/// The shared secrets of a mesh
///
/// A file has one secret a line. The first is the current one, which this node proves itself with; all are accepted, four
/// at most. Rotation without a gap: add a new one to the file of every node, then use it in every file, then remove the
/// old one from every file. A node that runs rereads its file by itself.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a new secret from 32 random bytes
    Gen {
        /// Write it to this file, that only you can read; without it the secret is printed
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Overwrite the file if there is one
        #[arg(long, requires = "out")]
        force: bool,
    },
    /// Show the secrets of a file by their short names, the current one first
    List(FileArgs),
    /// Accept one secret more: a new one, or that of another file
    Add {
        #[command(flatten)]
        file: FileArgs,
        /// Take the current secret of this file instead of a new one
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
    },
    /// Make a secret of the file the current one
    Use {
        #[command(flatten)]
        file: FileArgs,
        /// Its name, as list shows it
        id: SecretId,
    },
    /// Accept a secret no longer: links of nodes that have proved themselves with nothing else are closed
    Remove {
        #[command(flatten)]
        file: FileArgs,
        /// Its name, as list shows it
        id: SecretId,
    },
}

#[derive(Debug, clap::Args)]
struct FileArgs {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    passphrases: PassphraseArgs,
    /// Name of the mesh, which passphrases are stretched with
    #[arg(
        long,
        value_name = "NAME",
        env = "PORTMESH_CLUSTER",
        default_value = DEFAULT_CLUSTER
    )]
    cluster: String,
}

impl FileArgs {
    fn read(&self) -> Outcome<SecretFile> {
        SecretFile::read(&self.file, self.passphrases.of(&self.cluster)).or_exit(Exit::Config)
    }
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    match args.command {
        Command::Gen { out: file, force } => generate(file, force, out)?,
        Command::List(file) => tell(&file.read()?, out),
        Command::Add { file, from } => change(&file, out, |changed| {
            let secret = match from {
                Some(from) => {
                    let from = SecretFile::read(&from, file.passphrases.of(&file.cluster));
                    from.or_exit(Exit::Config)?.secrets().current().clone()
                }
                None => Secret::generate().or_exit(Exit::Failed)?,
            };
            changed.add(secret).or_exit(Exit::Config)
        })?,
        Command::Use { file, id } => change(&file, out, |changed| {
            changed.make_current(id).or_exit(Exit::Config)
        })?,
        Command::Remove { file, id } => change(&file, out, |changed| {
            changed.remove(id).or_exit(Exit::Config)
        })?,
    }
    Ok(())
}

fn generate(file: Option<PathBuf>, force: bool, out: Output) -> Outcome {
    let secret = Secret::generate().or_exit(Exit::Failed)?;
    match file {
        Some(file) => {
            secret.to_file(&file, force).or_exit(Exit::Config)?;
            let (file, id) = (file.display().to_string(), secret.id().to_string());
            out.data(
                format!("wrote {file}: secret {id}"),
                &json!({"file": file, "id": id}),
            );
        }
        None => {
            let text = secret.to_text();
            out.data(&*text, &json!({"secret": *text}));
        }
    }
    Ok(())
}

fn change(
    args: &FileArgs,
    out: Output,
    change: impl FnOnce(&mut SecretFile) -> Outcome,
) -> Outcome {
    let mut file = args.read()?;
    change(&mut file)?;
    file.write().or_exit(Exit::Config)?;
    tell(&file, out);
    Ok(())
}

fn tell(file: &SecretFile, out: Output) {
    for (at, secret) in file.secrets().iter().enumerate() {
        let id = secret.id().to_string();
        let (role, current): (_, Value) = match at {
            0 => ("current", true.into()),
            _ => ("accepted", false.into()),
        };
        out.data(
            format!("{id} {role}"),
            &json!({"id": id, "current": current}),
        );
    }
}
