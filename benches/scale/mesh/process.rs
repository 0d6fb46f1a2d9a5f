//! A process with some nodes of a mesh, as the one sees it that has started it: an order a line, and an answer to each.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{PATIENCE, Res, Told};

/// The first argument of such a process.
pub(crate) const PART: &str = "--part-of-mesh";

/// What the links go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Tls,
    Memory,
}

impl Way {
    pub(super) const ALL: [Way; 2] = [Way::Tls, Way::Memory];

    pub(super) fn mode(self) -> &'static str {
        match self {
            Way::Tls => "tls1.3",
            Way::Memory => "memory without tls",
        }
    }
}

/// See the module. Killed when dropped; ends by itself when its standard input ends, so that it outlives nobody.
pub(super) struct Process {
    pub(super) pid: String,
    /// It is killed with this.
    _child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    /// The part of that number, of so many, of a mesh of so many nodes.
    pub(super) async fn start(
        way: Way,
        dir: &Path,
        [nodes, part, parts]: [usize; 3],
    ) -> Res<Process> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([PART, way.mode()])
            .arg(dir)
            .args([nodes, part, parts].map(|number| number.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or("the new process ended at once")?;
        let orders = child.stdin.take().ok_or("it has no standard input")?;
        let answers = child.stdout.take().ok_or("it has no standard output")?;
        let mut process = Process {
            pid: pid.to_string(),
            _child: child,
            orders,
            answers: BufReader::new(answers),
        };
        process.answer().await?;
        Ok(process)
    }

    /// Its next node starts; where that can be dialled.
    pub(super) async fn join(&mut self, seeds: &[String]) -> Res<String> {
        self.order(&format!("join {}", seeds.join(" "))).await
    }

    /// Waits until each of its nodes has so many links.
    pub(super) async fn linked(&mut self, links: usize) -> Res {
        self.order(&format!("linked {links}")).await?;
        Ok(())
    }

    pub(super) async fn told(&mut self) -> Res<Told> {
        let answer = self.order("told").await?;
        let numbers: Result<Vec<u64>, _> = answer.split(' ').map(str::parse).collect();
        let [ends, bytes_out, refused, lost] = numbers?[..] else {
            return Err(format!("what is {answer:?}?").into());
        };
        Ok(Told {
            ends,
            bytes_out,
            refused,
            lost,
        })
    }

    async fn order(&mut self, order: &str) -> Res<String> {
        self.orders
            .write_all(format!("{order}\n").as_bytes())
            .await?;
        self.answer().await
    }

    async fn answer(&mut self) -> Res<String> {
        let mut line = String::new();
        // it gives up before, and says why
        let patience = PATIENCE + Duration::from_secs(10);
        let length = timeout(patience, self.answers.read_line(&mut line)).await;
        if length.map_err(|_| "a process of the mesh does not answer")?? == 0 {
            return Err("a process of the mesh ended".into());
        }
        Ok(line.trim_end().to_owned())
    }
}
