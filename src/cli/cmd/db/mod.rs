//! `portmesh db`: the replicated database from the command line.

pub(crate) mod admin;
mod digest;
mod read;
mod watch;
mod write;

use serde_json::{Value as Json, json};

use crate::{
    DbValue, Family, Limits,
    cli::{
        args::RemoteArgs,
        exit::Outcome,
        output::{Output, plain},
        values::{self, json_of},
    },
};

/// Read, write, follow and compare the database of the mesh
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print what shows under a key; ends with 3 where there is nothing
    Get(ReadKey),
    /// Print the keys of a family
    Keys(ReadFamily),
    /// Print all entries of a family
    Family(ReadFamily),
    /// Set an entry, for as long as this command runs; with --on, let another node set it
    ///
    /// An entry belongs to the node that sets it, and goes with it. So this command waits until its home has taken the
    /// entry, says so, and goes on running until SIGINT, SIGTERM or the end of --for; then the entry is removed. With --on
    /// the other node sets and owns it, and the command ends: that node has to let this one administer it, by its policy
    /// or by --db-admin.
    #[command(after_help = values::VALUE_HELP)]
    Set(write::Set),
    /// Let the owners of entries remove them: nodes that this one may administer
    ///
    /// Only its owner can remove an entry. The owner is asked to, which it does if its policy lets this node administer
    /// it, or if it runs with --db-admin. Where another node owns an entry under the same key, that one shows afterwards.
    Remove(write::Remove),
    /// Print what is in a family, then every change, until SIGINT or SIGTERM
    Watch(watch::Args),
    /// Compare what the global nodes hold; ends with 1 when they differ
    ///
    /// Prints the sums of each global node, and asks again until all are the same or the timeout is over. With a node
    /// its sums alone are printed.
    Digest(digest::Args),
}

/// A family to read.
#[derive(Debug, clap::Args)]
struct ReadFamily {
    /// The family: a letter, then letters, digits, _ and :; behind a ' the families of the system: "'nodes"
    family: Family,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// A key to read.
#[derive(Debug, clap::Args)]
struct ReadKey {
    /// The family
    family: Family,
    /// The key
    #[arg(value_parser = key)]
    key: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(crate) async fn run(args: Args, out: Output) -> Outcome {
    match args.command {
        Command::Get(args) => read::get(args, out).await,
        Command::Keys(args) => read::keys(args, out).await,
        Command::Family(args) => read::family(args, out).await,
        Command::Set(args) => write::set(args, out).await,
        Command::Remove(args) => write::remove(args, out).await,
        Command::Watch(args) => watch::run(args, out).await,
        Command::Digest(args) => digest::run(args, out).await,
    }
}

/// A key, as R9 has them.
fn key(text: &str) -> Result<String, String> {
    let max = Limits::default().db_key_bytes_max;
    if (1..=max).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        let bytes = text.len();
        Err(format!(
            "a key is 1 to {max} bytes long, this one is {bytes}"
        ))
    }
}

/// An entry for programs.
fn entry_json(family: &Family, key: &str, value: &DbValue) -> Json {
    json!({
        "family": family.as_str(), "key": key, "value": json_of(&value.value()), "owner": value.owner(),
        "written_ms": value.written_ms(),
    })
}

/// An entry for people.
fn entry_text(key: &str, value: &DbValue) -> String {
    format!(
        "{} = {} ({})",
        plain(key),
        json_of(&value.value()),
        value.owner()
    )
}
