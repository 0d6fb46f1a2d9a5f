//! Portmesh and what TLS alone allows, measured alternately in one run, and other programs that are given:
//! `cargo bench --bench compare -- --peer zenoh=PROGRAM`.
//!
//! In each round every program is run once for each of its benchmarks, and the rows of Portmesh that it is compared with
//! directly before or after it. A ratio is of two neighbours; its median over the rounds, and its spread, are what counts.
#![allow(clippy::print_stderr)]

mod judge;
mod plan;
mod raw;
mod run;
#[path = "../support/mod.rs"]
#[allow(dead_code, clippy::expect_used, clippy::indexing_slicing)]
mod support;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use judge::{Found, Rounds, Verdict};
use plan::{Aim, KINDS, OWN, Ours, Pair, RAW, Theirs};
use serde_json::Value as Json;

/// By which this program knows that it is to be `portmesh bench`.
const AS_PORTMESH: &str = "as-portmesh";

/// Compare Portmesh with what TLS allows and with other programs, run alternately
///
/// The peer `raw` is part of this program: tokio, rustls and a codec with no mesh on top, in two processes with one thread
/// each. Beside it Portmesh has one thread in each process too.
///
/// NAME says what kind of program another one is: ceiling, zenoh, nats, ractor, erlang, or portmesh for another build of it,
/// and may go on after a dash: erlang-tuned. COMMAND is split at spaces, and is given the arguments of its kind after its own:
/// `--peer "erlang-tuned=./run.sh tls-tuned"`.
///
/// Some versions of glibc copy 16 KiB at half the speed or not, by the luck of addresses, on some processors of AMD; bulk
/// shows it in every program. GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=1000000000 takes the luck out.
#[derive(Debug, Parser)]
struct Args {
    /// Only what these rows of `portmesh bench` are compared by [default: all]
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
    /// A program that prints its figures as JSON lines
    #[arg(long = "peer", value_name = "NAME=COMMAND", value_parser = peer)]
    peers: Vec<Peer>,
    /// Without the peer that is part of this program
    #[arg(long)]
    no_raw: bool,
    /// Another build of Portmesh in place of this one, as a command
    #[arg(long, value_name = "COMMAND")]
    portmesh: Option<String>,
    /// How often
    #[arg(long, value_name = "N", default_value = "5")]
    rounds: usize,
    /// Seconds for each row of Portmesh
    #[arg(long, value_name = "SECONDS", default_value = "0.6")]
    time: f64,
    /// Begin no further round after so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "600")]
    budget: u64,
    /// Print a table in place of JSON lines
    #[arg(long)]
    markdown: bool,
    /// What `cargo bench` gives
    #[arg(long, hide = true)]
    bench: bool,
}

/// Another program.
#[derive(Debug, Clone)]
struct Peer {
    name: String,
    kind: &'static str,
    command: Vec<String>,
}

fn peer(text: &str) -> Result<Peer, String> {
    let (name, command) = text.split_once('=').ok_or("expected NAME=COMMAND")?;
    let kind = KINDS.iter().find(|kind| {
        let rest = name.strip_prefix(**kind);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    });
    let kind = kind.ok_or_else(|| format!("{name}: there are {}", KINDS.join(", ")))?;
    let command: Vec<String> = command.split_whitespace().map(Into::into).collect();
    if command.is_empty() {
        return Err("there is no command".to_owned());
    }
    Ok(Peer {
        name: name.to_owned(),
        kind,
        command,
    })
}

/// One run of a peer, and what it is compared by.
struct Bout<'a> {
    peer: Option<&'a Peer>,
    args: Vec<String>,
    once: bool,
    pairs: Vec<Pair>,
    rounds: Vec<Rounds>,
    failed: Vec<String>,
}

fn main() -> ExitCode {
    let mut given: Vec<OsString> = std::env::args_os().skip(1).collect();
    let first = given.first().is_some_and(|arg| arg == AS_PORTMESH);
    // the other process of a row is this program again
    if first || given.iter().any(|arg| arg == portmesh::cli::BENCH_NODE) {
        given.drain(..usize::from(first));
        return portmesh::cli::bench_main(given);
    }
    if raw::is_meant(given.first().and_then(|arg| arg.to_str())) {
        return match raw::main(&given) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("the raw peer: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let mut args = Args::parse();
    if !args.no_raw {
        match raw_peer() {
            Ok(raw) => args.peers.insert(0, raw),
            Err(error) => {
                eprintln!("compare: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    if args.peers.is_empty() {
        eprintln!(
            "nothing to compare with: give --peer NAME=COMMAND, NAME one of {}",
            KINDS.join(", ")
        );
        return ExitCode::SUCCESS;
    }
    let portmesh = match own_command(&args) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("compare: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut bouts = bouts(&args);
    if bouts.is_empty() {
        eprintln!(
            "none of {} is compared with anything here",
            args.rows.join(", ")
        );
        return ExitCode::SUCCESS;
    }
    let began = Instant::now();
    for round in 0..args.rounds {
        if began.elapsed() > Duration::from_secs(args.budget) {
            eprintln!("the time is over after {round} rounds");
            break;
        }
        for bout in bouts.iter_mut().filter(|bout| round == 0 || !bout.once) {
            let peer = bout.peer.map_or("itself", |peer| &peer.name);
            eprintln!("round {}: {peer} {}", round + 1, bout.args.join(" "));
            bout.fight(&portmesh, args.time, round);
        }
    }
    print(&args, &bouts, began.elapsed());
    ExitCode::SUCCESS
}

/// What runs rows of Portmesh.
fn own_command(args: &Args) -> Result<Vec<String>, String> {
    match &args.portmesh {
        Some(command) => Ok(portmesh_command(command.split_whitespace())),
        None => itself(AS_PORTMESH),
    }
}

/// This program again, in another part.
fn itself(part: &str) -> Result<Vec<String>, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let own = own.to_str().ok_or("the path of this program is no text")?;
    Ok(vec![own.to_owned(), part.to_owned()])
}

fn raw_peer() -> Result<Peer, String> {
    Ok(Peer {
        name: RAW.to_owned(),
        kind: RAW,
        command: itself(raw::AS_RAW)?,
    })
}

fn portmesh_command<'a>(command: impl Iterator<Item = &'a str>) -> Vec<String> {
    let command = command.chain(["--json", "bench"]);
    command.map(Into::into).collect()
}

fn bouts(args: &Args) -> Vec<Bout<'_>> {
    let wanted = |ours: &Ours| {
        args.rows.is_empty()
            || args
                .rows
                .iter()
                .any(|row| row == ours.row || row == ours.bench)
    };
    let bout = |peer, args, once, pairs: Vec<Pair>| Bout {
        peer,
        args,
        once,
        rounds: pairs.iter().map(|_| Rounds::default()).collect(),
        pairs,
        failed: Vec::new(),
    };
    let mut bouts = Vec::new();
    for peer in &args.peers {
        if peer.kind == "portmesh" {
            let all = plan::all_ours();
            let pairs = all.into_iter().filter(|ours| wanted(ours)).map(again);
            bouts.push(bout(Some(peer), Vec::new(), false, pairs.collect()));
            continue;
        }
        for planned in plan::bouts().filter(|planned| planned.kind == peer.kind) {
            let pairs = planned.pairs.iter().filter(|pair| wanted(&pair.ours));
            let given = planned.args.iter().map(|arg| (*arg).to_owned()).collect();
            bouts.push(bout(
                Some(peer),
                given,
                planned.once,
                pairs.copied().collect(),
            ));
        }
    }
    let own = OWN.iter().filter(|(ours, _)| wanted(ours));
    let own = own.map(|&(ours, aim)| Pair { aim, ..again(ours) });
    bouts.push(bout(None, Vec::new(), false, own.collect()));
    bouts.retain(|bout| !bout.pairs.is_empty());
    bouts
}

/// The same figure of another build.
fn again(ours: Ours) -> Pair {
    let theirs = Theirs {
        bench: ours.bench,
        says: &[],
        figure: ours.figure,
        scale: 1.0,
        cpu_scale: 1.0,
    };
    let aim = Aim::None;
    Pair { ours, theirs, aim }
}

/// Runs the rows that these pairs need, format by format.
fn run_portmesh(
    command: &[String],
    pairs: &[Pair],
    time: f64,
    more: &[&str],
) -> Result<Vec<Json>, String> {
    let mut rows: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Pair { ours, .. } in pairs {
        let of_format = rows.entry(ours.format).or_default();
        if !of_format.contains(&ours.row) {
            of_format.push(ours.row);
        }
    }
    let mut lines = Vec::new();
    for (format, rows) in rows {
        let time = time.to_string();
        let flags = ["--format", format, "--rounds", "3", "--time", &time];
        let args = rows
            .into_iter()
            .chain(flags)
            .chain(more.iter().copied())
            .map(Into::into)
            .collect::<Vec<_>>();
        lines.extend(run::run(command, &args)?);
    }
    Ok(lines)
}

impl Bout<'_> {
    fn is_raw(&self) -> bool {
        self.peer.is_some_and(|peer| peer.kind == RAW)
    }

    /// One round: both, the one first and then the other.
    fn fight(&mut self, portmesh: &[String], time: f64, round: usize) {
        let result = self.lines(portmesh, time, round % 2 == 1);
        let (ours, theirs) = match result {
            Ok(both) => both,
            Err(error) => return self.failed.push(format!("round {}: {error}", round + 1)),
        };
        if let Some(theirs) = theirs.as_ref().filter(|_| self.is_raw())
            && let Err(error) = judge::alike(&ours, theirs)
        {
            return self.failed.push(format!("round {}: {error}", round + 1));
        }
        for (pair, rounds) in self.pairs.iter().zip(&mut self.rounds) {
            match found(pair, &ours, theirs.as_deref(), self.peer) {
                Ok(both) => rounds.both.push(both),
                Err(error) => self.failed.push(format!("round {}: {error}", round + 1)),
            }
        }
    }

    fn lines(
        &self,
        portmesh: &[String],
        time: f64,
        peer_first: bool,
    ) -> Result<(Vec<Json>, Option<Vec<Json>>), String> {
        // as the raw peer has it
        let threads: &[&str] = match self.is_raw() {
            true => &["--threads", "1"],
            false => &[],
        };
        let ours = || run_portmesh(portmesh, &self.pairs, time, threads);
        let theirs = || match self.peer {
            None => Ok(None),
            Some(peer) if peer.kind == "portmesh" => {
                let command = portmesh_command(peer.command.iter().map(String::as_str));
                run_portmesh(&command, &self.pairs, time, threads).map(Some)
            }
            Some(peer) => run::run(&peer.command, &self.args).map(Some),
        };
        Ok(if peer_first {
            let theirs = theirs()?;
            (ours()?, theirs)
        } else {
            (ours()?, theirs()?)
        })
    }

    fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        let all = self.pairs.iter().zip(&self.rounds);
        all.filter_map(|(pair, rounds)| match self.peer {
            Some(peer) => {
                let says = pair.theirs.says.iter().map(|(_, text)| *text);
                let detail = match peer.kind {
                    "portmesh" => String::new(),
                    _ => std::iter::once(pair.theirs.bench)
                        .chain(says)
                        .collect::<Vec<_>>()
                        .join(" "),
                };
                rounds.verdict(&pair.ours, &peer.name, detail, pair.aim)
            }
            None => {
                let values = rounds.both.iter().map(|(ours, _)| ours.value);
                judge::own(&pair.ours, &values.collect::<Vec<_>>(), pair.aim)
            }
        })
    }
}

fn found(
    pair: &Pair,
    ours: &[Json],
    theirs: Option<&[Json]>,
    peer: Option<&Peer>,
) -> Result<(Found, Found), String> {
    let own = judge::ours(ours, &pair.ours)?;
    let other = match theirs {
        None => own,
        Some(lines) if peer.is_some_and(|peer| peer.kind == "portmesh") => {
            judge::ours(lines, &pair.ours)?
        }
        Some(lines) => judge::theirs(lines, &pair.theirs)?,
    };
    Ok((own, other))
}

fn print(args: &Args, bouts: &[Bout<'_>], took: Duration) {
    if args.markdown {
        println!("{}", judge::HEAD);
    }
    for verdict in bouts.iter().flat_map(Bout::verdicts) {
        match args.markdown {
            true => println!("{}", verdict.markdown()),
            false => println!("{}", verdict.json()),
        }
    }
    let given = |kind: &&&str| args.peers.iter().any(|peer| peer.kind == **kind);
    let left: Vec<&str> = std::iter::once(&RAW)
        .chain(&KINDS)
        .filter(|kind| !given(kind) && **kind != "portmesh")
        .copied()
        .collect();
    let failed: Vec<String> = bouts
        .iter()
        .flat_map(|bout| {
            let peer = bout.peer.map_or("portmesh", |peer| &peer.name);
            bout.failed.iter().map(move |why| format!("{peer}: {why}"))
        })
        .collect();
    if args.markdown {
        println!(
            "\nTook {} s. Left out: {}.",
            took.as_secs(),
            match left.is_empty() {
                true => "nobody".to_owned(),
                false => left.join(", "),
            }
        );
        for why in failed {
            println!("- failed: {why}");
        }
    } else {
        let line =
            serde_json::json!({"left_out": left, "failed": failed, "seconds": took.as_secs()});
        println!("{line}");
    }
}
