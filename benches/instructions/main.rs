//! How many instructions the message path executes for each message, counted by valgrind's callgrind, and compared with
//! what `benches/instructions.json` says: a count does not depend on how busy the machine is. `-- --help` says more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod baseline;
mod core;
mod nodes;
mod rig;
mod valgrind;

use std::{process::ExitCode, sync::Mutex};

use baseline::{Baseline, Toolchain};

const HELP: &str = "\
Counts the instructions that the message path executes for each message, and compares them with benches/instructions.json.

cargo bench --bench instructions                       all cases; fails where one takes more than the file allows
cargo bench --bench instructions -- CASE...            some of them, by the beginning of their names
cargo bench --bench instructions -- --update [CASE...] writes what is counted now into the file
cargo bench --bench instructions -- --profile CASE     also writes a profile for callgrind_annotate, and says where
cargo bench --bench instructions -- --list             the names

Each case runs twice under `valgrind --tool=callgrind`, with few messages and with many; the difference, divided by the
difference of their numbers, is the count: what starts and ends a case cancels out. Nothing is compared where valgrind
is not installed, nor (but still printed) with another rustc or C library than the file was written with.
core_*  the protocol alone (portmesh::proto); node_*  whole nodes and the public API, over memory, on one thread.";

struct Case {
    name: &'static str,
    run: fn(u64),
    few: u64,
    many: u64,
}

const fn case(name: &'static str, run: fn(u64), few: u64, many: u64) -> Case {
    Case {
        name,
        run,
        few,
        many,
    }
}

const CASES: &[Case] = &[
    case("core_encode_cbor", core::encode_cbor, 1_000, 6_000),
    case("core_encode_json", core::encode_json, 1_000, 6_000),
    case("core_decode_cbor", core::decode_cbor, 1_000, 6_000),
    case("core_decode_json", core::decode_json, 1_000, 6_000),
    case("core_send_one_port", core::send_one_port, 4_000, 20_000),
    case("core_send_many_ports", core::send_many_ports, 4_000, 20_000),
    case(
        "core_receive_one_port",
        core::receive_one_port,
        4_000,
        20_000,
    ),
    case(
        "core_receive_many_ports",
        core::receive_many_ports,
        4_000,
        20_000,
    ),
    case("core_call", core::call, 500, 2_500),
    case(
        "core_spawn_monitor_kill",
        core::spawn_monitor_kill,
        500,
        2_500,
    ),
    case("core_large_64k", core::large, 20, 100),
    case("core_blob_64k", core::large_blob, 20, 100),
    case("node_local", nodes::local, 2_048, 8_192),
    case("node_small_cbor", nodes::small_cbor, 2_048, 8_192),
    case("node_small_json", nodes::small_json, 2_048, 8_192),
    case("node_round_trip", nodes::round_trip, 200, 800),
    case("node_calls_64", nodes::calls_in_flight, 1_024, 4_096),
    case(
        "node_spawn_monitor_exit",
        nodes::spawn_monitor_exit,
        100,
        400,
    ),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [run, name, count] = &args[..]
        && run == "run"
    {
        let case = CASES.iter().find(|case| case.name == name);
        (case.expect("a case").run)(count.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    let asked = |flag: &str| args.iter().any(|arg| arg == flag);
    // `cargo bench` adds one of its own
    let known = ["--help", "-h", "--list", "--update", "--profile", "--bench"];
    if let Some(unknown) = args
        .iter()
        .find(|arg| arg.starts_with('-') && !known.contains(&arg.as_str()))
    {
        eprintln!("there is no option {unknown}\n\n{HELP}");
        return ExitCode::from(2);
    }
    if asked("--help") || asked("-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let named: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted =
        |case: &&Case| named.is_empty() || named.iter().any(|name| case.name.starts_with(*name));
    let wanted: Vec<&Case> = CASES.iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        eprintln!("no case here is named {named:?}: there are");
    }
    if asked("--list") || wanted.is_empty() {
        for case in CASES {
            println!("{}", case.name);
        }
        return ExitCode::SUCCESS;
    }
    if !valgrind::is_here() {
        println!("valgrind is not installed: no instructions are counted, and nothing is compared");
        return ExitCode::SUCCESS;
    }
    let counts = count(&wanted, asked("--profile"));
    let here = Toolchain::here();
    let result = if asked("--update") {
        Baseline::load().update(&here, &counts, named.is_empty())
    } else {
        Baseline::load().compare(&here, &counts)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// Instructions for each message, of each case, as many at once as there are processors: they do not disturb each other.
fn count(cases: &[&'static Case], profile: bool) -> Vec<(&'static str, f64)> {
    let jobs: Vec<(usize, bool)> = (0..cases.len())
        .flat_map(|at| [(at, true), (at, false)])
        .collect();
    let jobs = Mutex::new(jobs.into_iter());
    let counted = Mutex::new(vec![[0_u64; 2]; cases.len()]);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some((at, many)) = jobs.lock().unwrap().next() else {
                        return;
                    };
                    let case = cases[at];
                    let messages = if many { case.many } else { case.few };
                    let instructions = valgrind::count(case.name, messages, profile && many);
                    counted.lock().unwrap()[at][usize::from(many)] = instructions;
                }
            });
        }
    });
    let counted = counted.into_inner().unwrap();
    let each = |(case, [few, many]): (&&'static Case, [u64; 2])| {
        let difference = many as f64 - few as f64;
        (case.name, difference / (case.many - case.few) as f64)
    };
    cases.iter().zip(counted).map(each).collect()
}
