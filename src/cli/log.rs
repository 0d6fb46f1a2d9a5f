//! The log on the standard error.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::api::config::layers::Settings;

/// What is logged, and how.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    /// What to log: error, warn, info, debug, trace, or a filter such as portmesh=debug [default: warn, but for what the
    /// command itself tells] [env: PORTMESH_LOG]
    #[arg(long, value_name = "FILTER", global = true)]
    pub(crate) log: Option<String>,
    /// Form of the log [default: text] [env: PORTMESH_LOG_FORMAT]
    #[arg(long, value_name = "FORM", global = true)]
    pub(crate) log_format: Option<LogFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// What a node that runs logs.
const RUNNING: &str = "warn";
/// What a command logs that asks the mesh something: refusals and losses are in what it says itself.
const ASKING: &str = "warn,portmesh::runtime::shared=error";

impl LogFormat {
    /// As the flag has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

impl LogArgs {
    /// Logs from now on what the flags and the environment say. With `quiet` only errors. `asks`: the command says itself
    /// what its node was refused and has lost.
    pub(crate) fn start(&self, quiet: bool, asks: bool) {
        let of = |variable| std::env::var(variable).ok().filter(|text| !text.is_empty());
        let filter = self.log.clone().or_else(|| of("PORTMESH_LOG"));
        let json = match self.log_format {
            Some(form) => form == LogFormat::Json,
            None => of("PORTMESH_LOG_FORMAT").is_some_and(|form| form == "json"),
        };
        let default = if asks { ASKING } else { RUNNING };
        start(filter.as_deref().unwrap_or(default), json, quiet);
    }

    /// Likewise what a configuration says, with the flags in it.
    pub(crate) fn start_with(settings: &Settings, quiet: bool) {
        let json = settings.text("log_format") == Some("json");
        start(settings.text("log").unwrap_or(RUNNING), json, quiet);
    }
}

fn start(filter: &str, json: bool, quiet: bool) {
    let filter = if quiet { "error" } else { filter };
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
    let _ = match json {
        false => log.try_init(),
        true => log.json().try_init(),
    };
}
