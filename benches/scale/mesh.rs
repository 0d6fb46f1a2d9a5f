//! Many nodes, three of them global, each with a link to each other one: what a join costs as the mesh grows, and what it
//! costs to be there.
//!
//! The nodes are in processes of their own, so that nothing else is measured: in one where the limit on open files allows
//! it, else in one over the memory transport, which opens none, and over TLS in as few as the limit allows.

use std::time::{Duration, Instant};

pub(crate) use self::child::child;
use self::process::{Process, Way};
use super::{Authority, PATIENCE, Res, cpu_seconds, number, support};

mod child;
mod process;

const NODES: u64 = 200;
const GLOBALS: usize = 3;
/// After how many nodes the cost of one more is told.
const TOLD: [usize; 7] = [2, 10, 25, 50, 100, 150, 200];
/// More processes than this are no mesh of a process each any more.
const PROCESSES_MAX: usize = 4;
/// What the other parts of a process have open.
const OTHER_FILES: usize = 200;

fn name(n: usize) -> String {
    format!("scale/{}{n:03}", if n < GLOBALS { 'g' } else { 'n' })
}

/// How many files a process may have open; `None` where it is not told.
fn files_max() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Into how many processes so many nodes have to go: a node takes a file for its end of each link, and one to listen.
fn processes(nodes: usize, files: Option<usize>) -> Option<usize> {
    let fits = |parts: &usize| {
        let each = nodes.div_ceil(*parts);
        files.is_none_or(|files| each * nodes + OTHER_FILES <= files)
    };
    (1..=PROCESSES_MAX).find(fits)
}

pub(crate) async fn run(authority: &Authority) -> Res {
    let wanted = number("PORTMESH_SCALE_NODES", NODES).max(2) as usize;
    let files = files_max();
    let told = files.map_or("?".to_owned(), |files| files.to_string());
    if processes(wanted, files) != Some(1) {
        eprintln!(
            "{wanted} nodes in one process over TLS need more open files than the {told} that are allowed here \
             (ulimit -n): over the memory transport in one process"
        );
        measure(Way::Memory, authority, wanted, 1).await?;
    }
    let fits = |nodes: usize| processes(nodes, files).map(|parts| (nodes, parts));
    let Some((nodes, parts)) = (2..=wanted).rev().find_map(fits) else {
        return Err(format!("{told} open files (ulimit -n) are not enough for two nodes").into());
    };
    if nodes < wanted {
        eprintln!(
            "{wanted} nodes in {PROCESSES_MAX} processes over TLS need more open files too: {nodes} nodes"
        );
    }
    measure(Way::Tls, authority, nodes, parts).await
}

/// The processes of a mesh; node `n` is in that of number `n` modulo how many there are.
struct Mesh {
    way: Way,
    nodes: usize,
    processes: Vec<Process>,
}

/// What nodes say of themselves, summed.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    /// Ends of links.
    ends: u64,
    bytes_out: u64,
    refused: u64,
    /// How often a node lost another one, or did not find it in time.
    lost: u64,
}

async fn measure(way: Way, authority: &Authority, nodes: usize, parts: usize) -> Res {
    if way == Way::Tls {
        for n in 0..nodes {
            authority.issue(&name(n))?;
        }
    }
    let mut processes = Vec::new();
    for part in 0..parts {
        processes.push(Process::start(way, authority.dir(), [nodes, part, parts]).await?);
    }
    let mut mesh = Mesh {
        way,
        nodes,
        processes,
    };
    let before = mesh.resident_bytes();
    mesh.join().await?;
    mesh.idle(before).await
}

impl Mesh {
    fn emit(&self, bench: &str, value: f64, unit: &str, figures: &[(&str, f64)]) {
        let places = [
            ("nodes", self.nodes as f64),
            ("processes", self.processes.len() as f64),
        ];
        // a figure that is told with its own number of nodes
        let own = figures.iter().any(|(name, _)| *name == "nodes");
        let all = [figures, &places[usize::from(own)..]].concat();
        support::emit(bench, self.way.mode(), value, unit, &all);
    }

    fn resident_bytes(&self) -> f64 {
        let each = self.processes.iter();
        each.map(|process| support::resident_bytes_of(&process.pid))
            .sum()
    }

    fn cpu_seconds(&self) -> f64 {
        let each = self.processes.iter();
        each.map(|process| cpu_seconds(&process.pid)).sum()
    }

    async fn told(&mut self) -> Res<Told> {
        let mut sum = Told::default();
        for process in &mut self.processes {
            let told = process.told().await?;
            sum.ends += told.ends;
            sum.bytes_out += told.bytes_out;
            sum.refused += told.refused;
            sum.lost += told.lost;
        }
        Ok(sum)
    }

    /// One node after the other, each when all that are there are linked with all.
    async fn join(&mut self) -> Res {
        let began = Instant::now();
        let mut seeds = Vec::new();
        for n in 0..self.nodes {
            let (cpu, joined) = (self.cpu_seconds(), Instant::now());
            let at = n % self.processes.len();
            let addr = self.processes[at].join(&seeds).await?;
            if n < GLOBALS {
                seeds.push(addr);
            }
            for process in &mut self.processes {
                process.linked(n).await?;
            }
            if n > 0 && (TOLD.contains(&(n + 1)) || n + 1 == self.nodes) {
                let cpu = (self.cpu_seconds() - cpu) * 1e3;
                let figures = [
                    ("nodes", n as f64 + 1.0),
                    ("cpu_ms", cpu),
                    ("cpu_ms_a_link", cpu / n as f64),
                ];
                let took = joined.elapsed().as_secs_f64() * 1e3;
                self.emit("scale_join", took, "ms", &figures);
            }
        }
        let linked = began.elapsed().as_secs_f64();
        let told = self.told().await?;
        let ends = (self.nodes * (self.nodes - 1)) as u64;
        assert_eq!(told.ends, ends, "each is linked with each");
        let figures = [
            ("links", (ends / 2) as f64),
            ("cpu_s", self.cpu_seconds()),
            ("refused_by_limit", told.refused as f64),
            ("dialled_again", told.lost as f64),
        ];
        self.emit("scale_all_linked", linked, "s", &figures);
        Ok(())
    }

    /// What the links cost while nothing happens, over more than one round of what global nodes tell each other.
    async fn idle(&mut self, before: f64) -> Res {
        let rest = Duration::from_secs(number("PORTMESH_SCALE_IDLE", 80));
        tokio::time::sleep(Duration::from_secs(5)).await;
        let told = self.told().await?;
        let (sent, lost, links) = (told.bytes_out, told.lost, told.ends as f64 / 2.0);
        let (cpu, began) = (self.cpu_seconds(), Instant::now());
        // the busiest tenth of a second says whether they do it in step
        let (mut last, mut busiest) = (cpu, 0.0_f64);
        while began.elapsed() < rest {
            let tick = Instant::now();
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.cpu_seconds();
            busiest = busiest.max((now - last) / tick.elapsed().as_secs_f64());
            last = now;
        }
        let wall = began.elapsed().as_secs_f64();
        let cpu = (self.cpu_seconds() - cpu) / wall;
        let told = self.told().await?;
        let bytes = (told.bytes_out - sent) as f64 / wall / links;
        let figures = [
            ("links", links),
            ("cpu_us_a_second_a_link", cpu * 1e6 / links),
            ("cores_busiest_100ms", busiest),
            ("bytes_a_second_a_link", bytes),
        ];
        self.emit("scale_idle_mesh", cpu, "cores", &figures);
        let memory = (self.resident_bytes() - before) / (2.0 * links);
        let unit = "bytes an end of a link";
        self.emit("scale_idle_link", memory, unit, &[("links", links)]);
        assert_eq!(told.ends as f64, 2.0 * links, "no link was lost");
        assert_eq!(told.lost, lost, "no node was lost");
        Ok(())
    }
}
