//! `portmesh bench`: what this machine and this build of Portmesh do, between two processes over real TLS.

mod figures;
mod idle;
mod load;
mod other;
mod pair;
mod ports;
mod rows;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::ValueEnum;
use serde_json::json;

pub(crate) use self::other::NodeArgs;
pub use self::{
    figures::{Line, spread},
    load::Load,
    ports::{BODY, SMALL},
};
use self::{pair::Stage, rows::Row};
use super::{
    args::duration,
    exit::{Exit, Failure, OrExit, Outcome},
    output::Output,
    signals::stop_signal,
};

/// No row takes longer than this and some times its time: rows of several parts take that for each.
const PATIENCE: Duration = Duration::from_secs(120);
const PARTS_MAX: u32 = 10;

/// Measure messages, round trips, deaths, links and memory between two processes on this machine
///
/// Starts this program again as the other process, with certificates of a throw-away CA (or a throw-away secret), and runs
/// each row with a fresh pair of nodes over mutual TLS on loopback, with the default limits and the public API. Rates of
/// messages are those of the receiver, from the first message to the last, all others those of who asks; their value is the
/// median of the rounds. Times are p50, with p99 beside it. CPU is that of all threads of a process for each message (for
/// bulk: each kB), here (tx) and in the other process (rx): where a machine is shared it says more than a rate.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// What to measure: --list says what there is [default: all]
    #[arg(value_name = "ROW", hide_possible_values = true)]
    rows: Vec<Row>,
    /// Say which rows there are, and end
    #[arg(long)]
    list: bool,
    /// Format of messages
    #[arg(long, default_value = "both")]
    format: Formats,
    /// Use a shared secret instead of certificates
    #[arg(long)]
    secret: bool,
    /// How often each rate is measured; the value is the median
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long each line of a row measures, all of its rounds together: 5, 1.5, 300ms. Fixed amounts of work take what they
    /// take
    #[arg(long, value_name = "TIME", default_value = "2", value_parser = duration)]
    time: Duration,
    /// Threads of the runtime in each process: with 1 tokio's current-thread runtime [default: half as many as there are
    /// cores, since two processes share this machine; as many for the row idle, which is one process]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    threads: Option<u16>,
}

const AFTER_HELP: &str = "\
Examples:
  portmesh bench                          all rows, two to three minutes
  portmesh bench small rtt --format cbor  two of them
  portmesh --json bench small             one JSON object a line, for programs";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Formats {
    Cbor,
    Json,
    /// One after the other
    Both,
}

impl Formats {
    fn names(self) -> &'static [&'static str] {
        match self {
            Formats::Cbor => &["cbor"],
            Formats::Json => &["json"],
            Formats::Both => &["cbor", "json"],
        }
    }
}

/// The command `portmesh bench`.
pub(crate) fn run(args: Args, out: Output) -> Outcome {
    if args.list {
        for row in Row::value_variants() {
            let (name, about) = (row.name(), row.about());
            out.data(
                format!("{name:<11} {about}"),
                &json!({"row": name, "about": about}),
            );
        }
        return Ok(());
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = u16::try_from(cores).unwrap_or(u16::MAX);
    // two hosts would have all of their cores each; more threads than a share of one machine's cores measure how the
    // system puts them in turns
    let [threads, alone] = [(cores / 2).max(1), cores].map(|all| args.threads.unwrap_or(all));
    runtime(threads)?.block_on(measure(args, [threads, alone], out))
}

/// The other process of a row.
pub(crate) fn run_node(args: NodeArgs) -> Outcome {
    runtime(args.threads)?.block_on(other::run(args))
}

fn runtime(threads: u16) -> Outcome<tokio::runtime::Runtime> {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads.into());
    }
    builder
        .enable_all()
        .build()
        .or_exit_in(Exit::Failed, "starting the runtime")
}

async fn measure(args: Args, threads: [u16; 2], out: Output) -> Outcome {
    let stop = stop_signal()?;
    let stage = Stage::set(&args, threads, out)?;
    // as a program does: on the runtime's own threads. Dropped, it ends them all and the other process too
    let mut work = tokio::task::JoinSet::new();
    work.spawn(all(stage, args));
    tokio::select! {
        done = work.join_next() => match done {
            Some(done) => done.or_exit(Exit::Failed)?,
            None => Ok(()),
        },
        () = stop => {
            work.shutdown().await;
            Err(Failure::new(Exit::Failed, "interrupted"))
        }
    }
}

async fn all(stage: Stage, args: Args) -> Outcome {
    let rows = match args.rows.is_empty() {
        true => Row::value_variants(),
        false => &args.rows,
    };
    let limit = args.time.saturating_mul(PARTS_MAX) + PATIENCE;
    for row in rows {
        for format in args.format.names().iter().take(row.formats()) {
            let work = tokio::time::timeout(limit, row.run(&stage, format));
            let doing = || format!("row {} in {format}", row.name());
            work.await
                .or_exit_in(Exit::Timeout, doing())?
                .map_err(|failure| Failure {
                    exit: failure.exit,
                    error: failure.error.context(doing()),
                })?;
        }
    }
    Ok(())
}

/// `cargo bench --bench mesh`: the rows with JSON lines. The arguments are those of the process.
///
/// Names that are no rows are for other programs of benchmarks, which `cargo bench` hands them to as well.
#[doc(hidden)]
pub fn bench_main(given: impl IntoIterator<Item = OsString>) -> ExitCode {
    let given: Vec<OsString> = given.into_iter().collect();
    let again = given.iter().any(|arg| arg == NODE_COMMAND);
    let mut args: Vec<OsString> = vec!["portmesh".into()];
    if again {
        args.extend(given);
        return super::main_with(args);
    }
    args.extend(["--json".into(), "bench".into()]);
    let mut rows = 0;
    let mut unknown = 0;
    for arg in given.into_iter().filter(|arg| arg != "--bench") {
        let name = arg.to_string_lossy();
        let plain = name.starts_with(|c: char| c.is_ascii_alphabetic());
        // the value of a flag is no row
        let value = args.last().is_some_and(|last| {
            let last = last.to_string_lossy();
            last.starts_with("--") && !last.contains('=') && last != "--secret" && last != "--list"
        });
        if plain && !value && Row::from_str(&name, false).is_err() {
            eprintln!("no row of this benchmark is named {name}: see --list");
            unknown += 1;
            continue;
        }
        rows += u32::from(plain && !value);
        args.push(arg);
    }
    if rows == 0 && unknown > 0 {
        return ExitCode::SUCCESS;
    }
    super::main_with(args)
}

/// The hidden subcommand of the other process.
#[doc(hidden)]
pub const NODE_COMMAND: &str = "bench-node";
