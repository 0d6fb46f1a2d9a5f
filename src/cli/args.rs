//! The flags that subcommands share: who this node is, how it proves it, and where the mesh is.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::{NodeId, PortId};

/// How the node of this command proves that it belongs to the mesh.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Identity")]
pub(crate) struct IdentityArgs {
    /// Name of this node; %n is the host name, %u a random text
    #[arg(long, value_name = "NODE", env = "PORTMESH_ID")]
    pub(crate) id: Option<String>,
    /// Certificate mode: a PEM file with this node's certificate and key and the CA's certificate
    #[arg(
        long,
        value_name = "FILE",
        env = "PORTMESH_IDENTITY",
        conflicts_with = "secret_file"
    )]
    pub(crate) identity: Option<PathBuf>,
    /// Secret mode: a file with the secrets of the mesh (see portmesh secret), - for the standard input. Without it and
    /// without --identity the variable PORTMESH_SECRET is read. Secrets are never flags: every user of a host sees the
    /// flags of a process
    #[arg(long, value_name = "FILE", env = "PORTMESH_SECRET_FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrases: PassphraseArgs,
    /// Name of the mesh: nodes of another one are refused [default: what the certificate says, or portmesh]
    #[arg(long, value_name = "NAME", env = "PORTMESH_CLUSTER")]
    pub(crate) cluster: Option<String>,
    /// Secret mode: where this node keeps its key and the keys it has seen of others. Needed for an ID without %u
    #[arg(long, value_name = "DIR", env = "PORTMESH_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Formats of messages, the preferred one first
    #[arg(
        long,
        value_name = "FORMAT,…",
        value_delimiter = ',',
        default_value = "cbor,json"
    )]
    pub(crate) format: Vec<String>,
}

/// Whether passphrases count as secrets.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct PassphraseArgs {
    /// Take what is no generated secret for a passphrase, of 20 characters or more. A generated secret is better: whoever
    /// answers in place of a node that is dialled can test guesses of a passphrase
    #[arg(long, env = "PORTMESH_ALLOW_PASSPHRASE")]
    pub(crate) allow_passphrase: bool,
}

impl PassphraseArgs {
    /// What passphrases are stretched with, where they are allowed.
    pub(crate) fn of(self, cluster: &str) -> Option<&str> {
        self.allow_passphrase.then_some(cluster)
    }
}

/// Where other nodes are.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Mesh")]
pub(crate) struct MeshArgs {
    /// An address of the mesh, port 4040 if it has none; may be given several times
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) seed: Vec<String>,
    /// Where a node is, port 4040 if it has none; may be given several times
    #[arg(long, value_name = "NODE=HOST[:PORT]", value_parser = address)]
    pub(crate) address: Vec<(NodeId, String)>,
}

/// For the commands that do one thing to a node and end.
#[derive(Debug, Clone, Args)]
pub(crate) struct RemoteArgs {
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    pub(crate) mesh: MeshArgs,
    /// How long the command may take: 5, 1.5, 300ms, 2m [default: 5 s; a wait for a death has no end]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

/// For every command.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Print JSON, one object a line, with all that the text says
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing on the standard error but errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// A port ID, or a node ID for the node's own port.
pub(crate) fn port_id(text: &str) -> Result<PortId, String> {
    text.parse()
        .map_err(|e| format!("{e} (expected NODE or NODE#PORT)"))
}

/// What the address itself may be is the transport's to say, when the node starts.
fn address(text: &str) -> Result<(NodeId, String), String> {
    let (node, addr) = text
        .split_once('=')
        .filter(|(_, addr)| !addr.is_empty())
        .ok_or("expected NODE=HOST:PORT, as worker/a=10.0.0.7:4040")?;
    Ok((node.parse().map_err(|e| format!("{e}"))?, addr.to_string()))
}

/// `5`, `1.5`, `1.5s`, `300ms`, `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let at = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit {unit:?}; use ms, s, m or h")),
    };
    let seconds = number
        .parse::<f64>()
        .map_err(|_| format!("{text:?} is not a time; try 5, 1.5s or 300ms"))?;
    match Duration::try_from_secs_f64(seconds * factor) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("{text:?} is not a usable time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_units() {
        for (text, ms) in [("5", 5000), ("1.5", 1500), ("300ms", 300), ("2m", 120_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "x", "5y", "0", "-1", "1e9s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_name_a_node_and_a_place() {
        assert!(address("a/b=host:4040").is_ok());
        assert!(address("a/b=host").is_ok());
        for text in ["a", "a=", "=host:1", "a b=host:1"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
