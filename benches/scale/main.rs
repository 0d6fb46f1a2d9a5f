//! What a process bears: a million ports, many nodes with links between all of them, and senders that outrun their ports.
//! `cargo bench --bench scale`, or some of it: `cargo bench --bench scale -- ports mesh slow`.
//!
//! Prints one JSON object a line. Everything is in one process, over mutual TLS on loopback, with the default limits and
//! the public API; `mesh` takes more processes where the limit on open files does not allow one. `PORTMESH_SCALE_NODES`,
//! `PORTMESH_SCALE_SECONDS` and `PORTMESH_SCALE_IDLE` change how many nodes, and for how many seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod load;
mod mesh;
mod ports;
#[path = "../support/mod.rs"]
#[allow(dead_code)]
mod support;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use portmesh::{CertificateAuthority, Identity, Node, NodeBuilder};

type Res<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const NAMES: [&str; 5] = ["ports", "mesh", "slow", "stuck", "senders"];
const PATIENCE: Duration = Duration::from_secs(120);

/// A number that the environment may give.
fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn seconds() -> Duration {
    Duration::from_secs(number("PORTMESH_SCALE_SECONDS", 60))
}

/// Seconds of CPU that the threads of that process have used.
fn cpu_seconds(pid: &str) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten();
    let used = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .sum::<f64>();
    used / 1e9
}

/// Certificates of a throw-away CA.
struct Authority {
    ca: CertificateAuthority,
    dir: tempfile::TempDir,
}

impl Authority {
    fn new() -> Res<Self> {
        Ok(Authority {
            ca: CertificateAuthority::create("scale")?,
            dir: tempfile::tempdir()?,
        })
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Makes the certificate of a node.
    fn issue(&self, name: &str) -> Res {
        let identity = self.ca.issue(&name.parse()?)?;
        Ok(identity.save(file(self.dir(), name), false)?)
    }

    /// A node of that name, with a certificate, that listens.
    fn builder(&self, name: &str) -> Res<NodeBuilder> {
        self.issue(name)?;
        builder(self.dir(), name)
    }
}

fn file(dir: &Path, name: &str) -> PathBuf {
    dir.join(name.replace('/', "-") + ".pem")
}

/// A node whose certificate is there, and that listens.
fn builder(dir: &Path, name: &str) -> Res<NodeBuilder> {
    let identity = Identity::from_pem_file(file(dir, name))?;
    let builder = Node::builder(name).identity(identity);
    Ok(builder.listen("127.0.0.1:0"))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Res {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if mesh::child(&args).await? {
        return Ok(());
    }
    let wanted = support::chosen(&args, &NAMES);
    let authority = Authority::new()?;
    // those whose memory is measured first
    if wanted("slow") {
        load::slow(&authority).await?;
    }
    if wanted("stuck") {
        load::stuck(&authority).await?;
    }
    if wanted("senders") {
        load::senders(&authority).await?;
    }
    if wanted("mesh") {
        mesh::run(&authority).await?;
    }
    if wanted("ports") {
        ports::run().await?;
    }
    Ok(())
}
