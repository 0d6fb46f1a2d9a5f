//! The commands `portmesh` and `portmesh-cert`: flags, exit codes, output, one file a subcommand.

mod args;
mod bench;
mod ca;
mod cert;
mod children;
mod cmd;
mod exit;
mod log;
mod node;
mod orders;
mod output;
mod remote;
mod signals;
mod throwaway;
mod values;

pub use self::{
    bench::{NODE_COMMAND as BENCH_NODE, bench_main, spread},
    cert::main as cert_main,
};

/// What benches/compare measures others by, so that both sides are measured alike.
pub mod measure {
    pub use super::bench::{BODY, Line, Load, SMALL};
}

use std::{ffi::OsString, future::Future, process::ExitCode};

use clap::{Parser, Subcommand};

use self::{
    args::OutputArgs,
    exit::{Exit, OrExit, Outcome},
    log::LogArgs,
    output::Output,
};

/// A node of a Portmesh mesh, and what can be said to others
#[derive(Debug, Parser)]
#[command(name = "portmesh", version, after_help = exit::HELP, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(cmd::run::Args),
    #[command(visible_alias = "snd")]
    Send(cmd::send::Args),
    #[command(visible_alias = "cal")]
    Call(cmd::call::Args),
    #[command(visible_alias = "mon")]
    Monitor(cmd::monitor::Args),
    #[command(visible_alias = "kil")]
    Kill(cmd::kill::Args),
    Spawn(cmd::spawn::Args),
    Ping(cmd::ping::Args),
    Nodes(cmd::nodes::Args),
    Trace(cmd::trace::Args),
    Db(cmd::db::Args),
    Reload(cmd::reload::Args),
    Policy(cmd::policy::Args),
    Secret(cmd::secret::Args),
    Config(cmd::config::Args),
    Forget(cmd::forget::Args),
    Demo(cmd::demo::Args),
    /// One node of the demo
    #[command(hide = true)]
    DemoNode(cmd::demo::NodeArgs),
    Bench(bench::Args),
    /// The other process of the benchmarks
    #[command(hide = true)]
    BenchNode(bench::NodeArgs),
}

/// The command `portmesh`.
pub fn main() -> ExitCode {
    main_with(std::env::args_os())
}

fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = Cli::parse_from(args);
    let out = Output::new(cli.output.json, cli.output.quiet);
    match cli.command {
        // when its configuration is read
        Command::Run(_) => {}
        Command::Demo(_) | Command::DemoNode(_) => cli.log.start(cli.output.quiet, false),
        _ => cli.log.start(cli.output.quiet, true),
    }
    let outcome = match cli.command {
        Command::Run(args) => block_on(cmd::run::run(args, cli.log, cli.output.quiet, out)),
        Command::Send(args) => block_on(cmd::send::run(args, out)),
        Command::Call(args) => block_on(cmd::call::run(args, out)),
        Command::Monitor(args) => block_on(cmd::monitor::run(args, out)),
        Command::Kill(args) => block_on(cmd::kill::run(args, out)),
        Command::Spawn(args) => block_on(cmd::spawn::run(args, out)),
        Command::Ping(args) => block_on(cmd::ping::run(args, out)),
        Command::Nodes(args) => block_on(cmd::nodes::run(args, out)),
        Command::Trace(args) => block_on(cmd::trace::run(args, out)),
        Command::Db(args) => block_on(cmd::db::run(args, out)),
        Command::Reload(args) => block_on(cmd::reload::run(args, out)),
        Command::Policy(args) => cmd::policy::run(args, out),
        Command::Secret(args) => cmd::secret::run(args, out),
        Command::Config(args) => cmd::config::run(args, cli.log, out),
        Command::Forget(args) => cmd::forget::run(args, out),
        Command::Demo(args) => block_on(cmd::demo::run(args, out)),
        Command::DemoNode(args) => block_on(cmd::demo::run_node(args)),
        Command::Bench(args) => bench::run(args, out),
        Command::BenchNode(args) => bench::run_node(args),
    };
    end(outcome, out)
}

fn block_on(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_exit_in(Exit::Failed, "starting the runtime")?;
    runtime.block_on(work)
}

fn end(outcome: Outcome, out: Output) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out.error(failure.exit as u8, &failure);
            failure.exit.into()
        }
    }
}
