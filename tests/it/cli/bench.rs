//! `portmesh bench`: every row prints what can be true, and nothing is left behind, however it ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::Value as Json;

use crate::process::{Ended, portmesh};

/// What each row prints, and in how many formats.
pub(crate) const ROWS: &[(&str, &[&str], usize)] = &[
    ("idle", &["idle_port", "idle_node", "idle_link"], 1),
    (
        "small",
        &["one_way_small", "one_way_small_async_handler"],
        2,
    ),
    ("small_8x8", &["small_8x8"], 2),
    ("rtt", &["round_trip"], 2),
    ("flight", &["calls_64_in_flight", "window_64_in_flight"], 2),
    ("bulk", &["bulk_64k", "bulk_1024k"], 2),
    (
        "under_bulk",
        &["round_trip_under_bulk_64k", "round_trip_under_bulk_1024k"],
        2,
    ),
    (
        "spawn",
        &[
            "spawn_monitor_exit_1_in_flight",
            "spawn_monitor_exit_64_in_flight",
            "spawn_monitor_stop_1_in_flight",
            "spawn_monitor_stop_64_in_flight",
        ],
        2,
    ),
    ("monitor", &["monitor_fire", "kill_to_monitor_fire"], 2),
    (
        "nodekill",
        &["node_kill_1_monitors", "node_kill_10000_monitors"],
        1,
    ),
    ("hung", &["hung_peer", "hung_peer_under_traffic"], 1),
    ("connect", &["connect"], 1),
    ("db", &["set_visible", "sets_10000_visible"], 2),
    (
        "handshake",
        &[
            "handshakes_1_at_once",
            "handshakes_4_at_once",
            "nodes_1_at_once",
            "nodes_4_at_once",
        ],
        1,
    ),
];

/// Runs it in a directory of its own, with the shortest rounds.
pub(crate) fn bench(dir: &Path, args: &[&str]) -> Ended {
    let mut command = portmesh(dir);
    command.env("TMPDIR", dir).args(["--json", "bench"]);
    command.args(["--rounds", "1", "--time", "0.05"]).args(args);
    Ended::of(&mut command)
}

/// Whether that can have been measured.
fn check(line: &Json) {
    let positive = |name: &str| {
        let value = line[name].as_f64();
        assert!(value.is_some_and(|value| value > 0.0), "{name} in {line}");
    };
    positive("value");
    let unit = line["unit"].as_str().unwrap();
    if ["msg/s", "call/s", "MB/s", "link/s"].contains(&unit) {
        let (low, median, high) = (&line["lowest"], &line["value"], &line["best"]);
        let number = |figure: &Json| figure.as_f64().unwrap();
        assert!(number(low) <= number(median) && number(median) <= number(high));
        assert_eq!(line["rounds"], 1, "{line}");
    } else if unit == "us_p50" {
        positive("p99_us");
        positive("rounds");
        assert!(line["p99_us"].as_f64() >= line["value"].as_f64(), "{line}");
    } else {
        assert_eq!(unit, "bytes", "{line}");
    }
    #[cfg(target_os = "linux")]
    if line.get("tx_cpu_ns").is_some() {
        positive("tx_cpu_ns");
        positive("rx_cpu_ns");
    }
    assert_eq!(line["peer"], "portmesh");
}

/// That nothing of it is left: no file in its directory, no process that names it.
fn nothing_is_left(dir: &Path) {
    let files: Vec<_> = std::fs::read_dir(dir).unwrap().collect();
    assert!(files.is_empty(), "{files:?}");
    #[cfg(target_os = "linux")]
    assert_eq!(signals::processes(dir), Vec::<String>::new());
}

#[test]
fn every_row_of_the_benchmarks_prints_sane_figures_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let rows = bench(dir.path(), &["--list"]).code(0).json();
    let rows: Vec<_> = rows
        .iter()
        .map(|row| row["row"].as_str().unwrap())
        .collect();
    assert_eq!(rows, Vec::from_iter(ROWS.iter().map(|(row, ..)| *row)));

    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in bench(dir.path(), &[]).code(0).json() {
        check(&line);
        let format = line.get("format").map_or("", |f| f.as_str().unwrap());
        let mode = line["mode"].as_str().unwrap();
        match format {
            "" => assert_eq!(mode, "local"),
            _ => assert!(
                mode.starts_with("TLS1.3 ") && mode.ends_with(format),
                "{mode}"
            ),
        }
        let formats = seen.entry(line["bench"].as_str().unwrap().to_owned());
        assert!(
            formats.or_default().insert(format.to_owned()),
            "{line} twice"
        );
    }
    for (row, lines, formats) in ROWS {
        for line in *lines {
            let count = seen.remove(*line).map_or(0, |formats| formats.len());
            assert_eq!(count, *formats, "row {row} and its {line}");
        }
    }
    assert!(seen.is_empty(), "{seen:?}");
    nothing_is_left(dir.path());
}

#[test]
fn benchmarks_run_with_a_secret_in_one_format_and_one_thread_as_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let chosen = [
        "rtt",
        "small",
        "--secret",
        "--format",
        "json",
        "--threads",
        "1",
    ];
    let lines = bench(dir.path(), &chosen).code(0).json();
    let names: Vec<_> = lines
        .iter()
        .map(|line| line["bench"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["round_trip", "one_way_small", "one_way_small_async_handler"]
    );
    assert!(lines.iter().all(|line| line["format"] == "json"));

    let mut command = portmesh(dir.path());
    command
        .env("TMPDIR", dir.path())
        .args(["bench", "rtt", "--time", "0.05"]);
    let text = Ended::of(&mut command).code(0).stdout;
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("what ") && lines.len() == 3, "{text}");
    assert!(lines[1].contains("round_trip ") && lines[1].contains("cbor"));
    assert!(lines[2].contains("us_p50") && lines[2].contains("p99_us "));
    nothing_is_left(dir.path());
}

#[test]
fn bad_wishes_for_benchmarks_are_wrong_usage() {
    let dir = tempfile::tempdir().unwrap();
    for (args, needle) in [
        (&["fast"][..], "fast"),
        (&["--rounds", "0"], "--rounds"),
        (&["--time", "0"], "--time"),
        (&["--threads", "0"], "--threads"),
        (&["--format", "xml"], "--format"),
    ] {
        let ended = bench(dir.path(), args).code(2);
        assert!(ended.stderr.contains(needle), "{}", ended.stderr);
    }
}

#[cfg(target_os = "linux")]
mod signals {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::process::Running;

    /// The processes that name this directory in their arguments: those that a benchmark has started.
    pub(super) fn processes(dir: &Path) -> Vec<String> {
        let dir = dir.to_str().unwrap();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let named = processes.filter_map(|process| {
            let line = std::fs::read(process.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(dir).then_some(line)
        });
        named.collect()
    }

    /// Waits until that many run.
    fn until_processes(dir: &Path, count: usize) {
        let began = Instant::now();
        while processes(dir).len() != count {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "{:?}",
                processes(dir)
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn started(dir: &Path, args: &[&str]) -> Running {
        let mut command = portmesh(dir);
        command.env("TMPDIR", dir).arg("bench").args(args);
        let running = Running::start(&mut command);
        until_processes(dir, 1);
        running
    }

    fn endless(dir: &Path) -> Running {
        started(dir, &["bulk", "--time", "600"])
    }

    /// Whether a process that names this directory stands still.
    fn is_one_suspended(dir: &Path) -> bool {
        let dir = dir.to_str().unwrap();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut named = processes.filter(|process| {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(dir)
        });
        named.any(|process| {
            let status = std::fs::read_to_string(process.path().join("status"));
            status.unwrap_or_default().contains("State:\tT")
        })
    }

    #[test]
    fn an_interrupted_benchmark_says_so_and_leaves_nothing() {
        for signal in ["INT", "TERM"] {
            let dir = tempfile::tempdir().unwrap();
            let mut running = endless(dir.path());
            assert_eq!(running.signal(signal), Some(1));
            running.error_line(&["interrupted"]);
            until_processes(dir.path(), 0);
            nothing_is_left(dir.path());
        }
    }

    #[test]
    fn a_killed_benchmark_leaves_no_other_process() {
        let dir = tempfile::tempdir().unwrap();
        let mut running = endless(dir.path());
        assert_eq!(running.signal("KILL"), None);
        until_processes(dir.path(), 0);
    }

    #[test]
    fn a_process_that_was_suspended_ends_with_the_benchmark_however_that_ends() {
        for signal in ["INT", "KILL"] {
            let dir = tempfile::tempdir().unwrap();
            let mut running = started(dir.path(), &["hung"]);
            let began = Instant::now();
            while !is_one_suspended(dir.path()) {
                assert!(began.elapsed() < Duration::from_secs(30));
                std::thread::sleep(Duration::from_millis(10));
            }
            running.signal(signal);
            until_processes(dir.path(), 0);
        }
    }
}
