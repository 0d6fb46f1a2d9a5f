//! The log on the standard error.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// What is logged, and how.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    /// What to log: error, warn, info, debug, trace, or a filter such as portmesh=debug [default: warn, but for what the
    /// command itself tells]
    #[arg(long, value_name = "FILTER", global = true, env = "PORTMESH_LOG")]
    log: Option<String>,
    /// Form of the log
    #[arg(
        long,
        value_name = "FORM",
        global = true,
        env = "PORTMESH_LOG_FORMAT",
        default_value = "text"
    )]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// What a node that runs logs.
const RUNNING: &str = "warn";
/// What a command logs that asks the mesh something: refusals and losses are in what it says itself.
const ASKING: &str = "warn,portmesh::runtime::shared=error";

impl LogArgs {
    /// Logs from now on. With `quiet` only errors. `asks`: the command says itself what its node was refused and has lost.
    pub(crate) fn start(&self, quiet: bool, asks: bool) {
        let default = if asks { ASKING } else { RUNNING };
        let filter = match &self.log {
            _ if quiet => "error",
            Some(filter) => filter,
            None => default,
        };
        let filter = EnvFilter::try_new(filter).unwrap_or_else(|error| {
            eprintln!("portmesh: --log {filter}: {error}; logging warnings");
            EnvFilter::new("warn")
        });
        let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::io::stderr().is_terminal();
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(color);
        // a second one is only started by tests in this process
        let _ = match self.log_format {
            LogFormat::Text => log.try_init(),
            LogFormat::Json => log.json().try_init(),
        };
    }
}
