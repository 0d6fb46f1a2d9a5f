//! The CPU time that a measurement takes, here and in the other process.

use std::time::Instant;

use super::support::Peer;

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

/// Wall and CPU time of this process and of the other one.
pub(crate) struct Load {
    start: Instant,
    own: f64,
    other: f64,
    pid: u32,
}

impl Load {
    pub(crate) fn start(other: &Peer) -> Self {
        let pid = other.child.id();
        Load {
            start: Instant::now(),
            own: cpu_ns(std::process::id()),
            other: cpu_ns(pid),
            pid,
        }
    }

    /// CPU for each of `units`, and cores used, on both sides.
    pub(crate) fn stop(&self, units: f64) -> [(&'static str, f64); 4] {
        let wall = self.start.elapsed().as_secs_f64() * 1e9;
        let own = cpu_ns(std::process::id()) - self.own;
        let other = cpu_ns(self.pid) - self.other;
        [
            ("tx_cpu_ns", own / units),
            ("rx_cpu_ns", other / units),
            ("tx_cores", own / wall),
            ("rx_cores", other / wall),
        ]
    }
}
