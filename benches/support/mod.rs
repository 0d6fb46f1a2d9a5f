//! What a benchmark between processes needs: the other process, memory, percentiles, JSON lines.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

/// Whether a benchmark is to run: those that are named, or all. Says which of the names are none: `cargo bench` hands
/// the same names to every program of benchmarks.
pub(crate) fn chosen<'a>(args: &'a [String], known: &[&str]) -> impl Fn(&str) -> bool + 'a {
    let names: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    for name in names.iter().filter(|name| !known.contains(&name.as_str())) {
        eprintln!(
            "no benchmark here is named {name}: there are {}",
            known.join(", ")
        );
    }
    move |name| names.is_empty() || names.iter().any(|n| *n == name)
}

/// Prints one result. `extra` holds further figures.
pub(crate) fn emit(bench: &str, mode: &str, value: f64, unit: &str, extra: &[(&str, f64)]) {
    let mut line = serde_json::Map::new();
    line.insert("peer".into(), "portmesh".into());
    line.insert("bench".into(), bench.into());
    line.insert("mode".into(), mode.into());
    line.insert("value".into(), rounded(value));
    line.insert("unit".into(), unit.into());
    for (name, value) in extra {
        line.insert((*name).into(), rounded(*value));
    }
    println!("{}", serde_json::Value::Object(line));
}

fn rounded(value: f64) -> serde_json::Value {
    let value = if value.abs() >= 1000.0 {
        value.round()
    } else {
        (value * 1000.0).round() / 1000.0
    };
    if value.fract() == 0.0 && value.abs() < 9e15 {
        (value as i64).into()
    } else {
        value.into()
    }
}

/// Prints the median round as the value.
pub(crate) fn emit_rounds(
    bench: &str,
    mode: &str,
    mut rounds: Vec<f64>,
    unit: &str,
    extra: &[(&str, f64)],
) {
    rounds.sort_by(f64::total_cmp);
    let mut all = vec![
        ("best", rounds[rounds.len() - 1]),
        ("rounds", rounds.len() as f64),
    ];
    all.extend_from_slice(extra);
    emit(bench, mode, rounds[rounds.len() / 2], unit, &all);
}

/// Prints p50 as the value and p99 beside it.
pub(crate) fn emit_times(bench: &str, mode: &str, mut times: Vec<Duration>, extra: &[(&str, f64)]) {
    times.sort_unstable();
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e6;
    let mut all = vec![("p99_us", at(0.99)), ("rounds", times.len() as f64)];
    all.extend_from_slice(extra);
    emit(bench, mode, at(0.50), "us_p50", &all);
}

/// Resident memory of this process in bytes.
pub(crate) fn resident_bytes() -> f64 {
    resident_bytes_of("self")
}

/// That of another process.
pub(crate) fn resident_bytes_of(pid: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok())
        .map_or(f64::NAN, |kib| kib * 1024.0)
}

/// The other process: this program again.
pub(crate) struct Peer {
    pub(crate) child: Child,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Peer { child, lines }
    }

    /// What follows `READY` in its first line.
    pub(crate) fn ready(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        let rest = line.strip_prefix("READY ");
        rest.expect("the other process is ready").trim().to_string()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says that this process is ready, and ends it when its parent goes.
pub(crate) fn ready(text: &str) {
    println!("READY {text}");
    let _ = std::io::stdout().flush();
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
}
