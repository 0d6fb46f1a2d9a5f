//! `portmesh secret gen`: a new secret.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    Secret,
    cli::{
        exit::{Exit, OrExit, Outcome},
        output::Output,
    },
};

/// The shared secret of a mesh
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
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let Command::Gen { out: file, force } = args.command;
    let secret = Secret::generate().or_exit(Exit::Failed)?;
    match file {
        Some(file) => {
            secret.to_file(&file, force).or_exit(Exit::Config)?;
            let file = file.display().to_string();
            out.data(format!("wrote {file}"), &json!({"file": file}));
        }
        None => {
            let text = secret.to_text();
            out.data(&*text, &json!({"secret": *text}));
        }
    }
    Ok(())
}
