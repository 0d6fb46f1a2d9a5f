//! The CPU time that a measurement takes, here and in the other process; and resident memory.

use std::time::Instant;

/// Nanoseconds of CPU that the threads of a process have used, as the scheduler counts them.
fn cpu_ns(pid: u32) -> f64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return f64::NAN; // not Linux: no figure rather than a wrong one
    };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .sum()
}

/// Wall and CPU time of this process and of the other one, from some moment on.
#[derive(Debug)]
pub struct Load {
    start: Instant,
    own: f64,
    other: f64,
    pid: u32,
}

impl Load {
    /// From now on.
    pub fn start(pid: u32) -> Self {
        Load {
            start: Instant::now(),
            own: cpu_ns(std::process::id()),
            other: cpu_ns(pid),
            pid,
        }
    }

    /// CPU for each of `units`, and cores used, on both sides. Empty where the system does not say.
    pub fn stop(&self, units: f64) -> Vec<(&'static str, f64)> {
        let wall = self.start.elapsed().as_secs_f64() * 1e9;
        let own = cpu_ns(std::process::id()) - self.own;
        let other = cpu_ns(self.pid) - self.other;
        let all = [
            ("tx_cpu_ns", own / units),
            ("rx_cpu_ns", other / units),
            ("tx_cores", own / wall),
            ("rx_cores", other / wall),
        ];
        all.into_iter()
            .filter(|(_, value)| value.is_finite())
            .collect()
    }
}

/// Resident memory of this process in bytes; NaN where the system does not say.
pub(super) fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok())
        .map_or(f64::NAN, |kib| kib * 1024.0)
}
