//! What rows are measured on: a directory with credentials, and pairs of nodes in two processes.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use super::{
    super::{
        children::{Process, TempDir, told},
        exit::{Exit, Failure, OrExit, Outcome},
        output::Output,
        throwaway::Credentials,
    },
    Args, NODE_COMMAND,
    figures::{Line, heading},
    idle::Idle,
    load::Load,
    ports::{SINK, Taken},
};
use crate::{CallError, Node, NodeId, PortId};

pub(super) const CLUSTER: &str = "bench";
pub(super) const SERVER: &str = "bench/server";
pub(super) const CLIENT: &str = "bench/client";
/// How many further nodes there may be in this process.
pub(super) const OTHERS: usize = 40;
/// No answer takes longer, or it has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What all rows of a run share.
pub(super) struct Stage {
    credentials: Credentials,
    secret: bool,
    threads: u16,
    /// The threads of a process that does not share the machine.
    alone: u16,
    /// How often each rate is measured.
    pub(super) rounds: u32,
    /// How long each row measures.
    pub(super) time: Duration,
    out: Output,
    dir: TempDir,
}

impl Stage {
    pub(super) fn set(args: &Args, [threads, alone]: [u16; 2], out: Output) -> Outcome<Stage> {
        let dir = TempDir::new("bench")?;
        let others: Vec<String> = (0..OTHERS).map(other_id).collect();
        let mut nodes = vec![SERVER, CLIENT];
        nodes.extend(others.iter().map(String::as_str));
        let (credentials, _) = Credentials::create(dir.path(), args.secret, CLUSTER, &nodes)?;
        if !out.is_json() {
            out.data(heading(threads), &serde_json::Value::Null);
        }
        Ok(Stage {
            credentials,
            secret: args.secret,
            threads,
            alone,
            rounds: args.rounds,
            time: args.time,
            out,
            dir,
        })
    }

    pub(super) fn tell(&self, line: &Line) {
        self.out.data(line.text(), &line.json(self.threads));
    }

    /// Likewise, where one process was measured alone.
    pub(super) fn tell_of_one(&self, line: &Line) {
        self.out.data(line.text(), &line.json(self.alone));
    }

    /// How long one round of a rate takes.
    pub(super) fn round_time(&self) -> Duration {
        self.time / self.rounds
    }

    /// What another process of this run is started with.
    fn node_args(&self, format: &str, threads: u16) -> Vec<String> {
        let mut args: Vec<String> = ["--log", "error", NODE_COMMAND].map(Into::into).to_vec();
        args.extend(["--node".into(), SERVER.into()]);
        args.extend(["--dir".into(), self.dir.path().display().to_string()]);
        args.extend(["--format".into(), format.into()]);
        args.extend(self.secret.then(|| "--secret".into()));
        args.extend(["--threads".into(), threads.to_string()]);
        args
    }

    /// The other process.
    pub(super) async fn other(&self, format: &str) -> Outcome<Process> {
        Process::start(&self.node_args(format, self.threads)).await
    }

    /// The memory of what waits, in a process that has done nothing else.
    pub(super) async fn idle(&self, format: &str, idle: Idle) -> Outcome<Vec<Line>> {
        let mut args = self.node_args(format, self.alone);
        args.extend(["--idle".into(), idle.name().into()]);
        let figures = told(&args).await?;
        let figures = serde_json::from_str(&figures).or_exit(Exit::Failed)?;
        Ok(idle.lines(&figures))
    }

    /// A node of this process that is attached to the other one, for the database.
    pub(super) async fn attached(&self, id: &str, format: &str, other: &Process) -> Outcome<Node> {
        let builder = self.credentials.builder(id, format)?.seed(&other.addr);
        let node = builder.start().await.or_exit(Exit::Failed)?;
        node.db().ready().await.or_exit(Exit::Failed)?;
        Ok(node)
    }

    /// What makes nodes of this process that know where the other one is.
    pub(super) fn dialler(&self, format: &'static str, other: &Process) -> Dialler {
        Dialler {
            credentials: self.credentials.clone(),
            format,
            other: other.node.clone(),
            addr: other.addr.clone(),
        }
    }

    /// A fresh pair of nodes, linked.
    pub(super) async fn pair(&self, format: &'static str) -> Outcome<Pair> {
        let process = self.other(format).await?;
        let dialler = self.dialler(format, &process);
        let node = dialler.node(CLIENT).await?;
        let server = process.node.clone();
        let sink = node.spawn(&server, SINK, ()).or_exit(Exit::Failed)?;
        let ping = node.call::<u64>(&sink, ("ping", 1)).within(PATIENCE);
        ping.await.or_exit(Exit::Failed)?;
        let link = node.links().into_iter().next();
        let link = link.ok_or_else(|| Failure::new(Exit::Unreachable, "the link is gone"))?;
        Ok(Pair {
            node,
            server,
            sink,
            security: link.security,
            format: link.format,
            dialler,
            process,
        })
    }
}

/// Two nodes in two processes, and a port that takes messages.
pub(super) struct Pair {
    /// That of this process.
    pub(super) node: Node,
    pub(super) server: NodeId,
    pub(super) sink: PortId,
    security: String,
    format: String,
    pub(super) dialler: Dialler,
    pub(super) process: Process,
}

/// Makes nodes of this process that know where the other one is, and are not linked with it yet.
#[derive(Clone)]
pub(super) struct Dialler {
    credentials: Credentials,
    format: &'static str,
    other: NodeId,
    addr: String,
}

impl Dialler {
    pub(super) async fn node(&self, id: &str) -> Outcome<Node> {
        let builder = self.credentials.builder(id, self.format)?;
        // without a part in the database, which would be measured too
        let builder = builder
            .global(false)
            .address(self.other.clone(), &self.addr);
        builder.start().await.or_exit(Exit::Failed)
    }

    /// The node of the other process.
    pub(super) fn other(&self) -> &NodeId {
        &self.other
    }
}

impl Pair {
    pub(super) fn load(&self) -> Load {
        Load::start(self.process.pid)
    }

    /// A further port that takes messages.
    pub(super) fn spawn_sink(&self) -> Outcome<PortId> {
        self.spawn(SINK)
    }

    pub(super) fn spawn(&self, function: &str) -> Outcome<PortId> {
        let port = self.node.spawn(&self.server, function, ());
        port.or_exit(Exit::Failed)
    }

    /// Waits until all that was sent to that port has been handled, and asks what it was.
    pub(super) async fn taken(&self, sink: &PortId) -> Outcome<Taken> {
        taken(&self.node, sink).await
    }

    /// A round trip.
    pub(super) async fn ping(&self, sink: &PortId, n: u64) -> Outcome<Duration> {
        let began = Instant::now();
        let call = self.node.call::<u64>(sink, ("ping", n)).within(PATIENCE);
        let answer = call.await.or_exit(Exit::Failed)?;
        check(answer == n, "an answer to another question")?;
        Ok(began.elapsed())
    }

    pub(super) fn line(&self, line: Line) -> Line {
        line.over(&self.security, &self.format)
    }

    /// Ends both nodes.
    pub(super) async fn end(self) {
        self.node.shutdown(Duration::from_secs(1)).await;
    }
}

/// The name of a further node.
pub(super) fn other_id(n: usize) -> String {
    format!("bench/other-{n}")
}

/// How long to wait before a call is made again that found no room.
const RETRY_TIME: Duration = Duration::from_millis(1);

pub(super) async fn taken(node: &Node, sink: &PortId) -> Outcome<Taken> {
    loop {
        let call = node.call::<(Taken,)>(sink, ("taken",)).within(PATIENCE);
        match call.await {
            // what was sent to that port fills its queue, and a call does not wait for room
            Err(CallError::Full(_)) => tokio::time::sleep(RETRY_TIME).await,
            answer => return Ok(answer.or_exit(Exit::Failed)?.0),
        }
    }
}

/// Waits until that node is linked with the other one.
pub(super) async fn linked(node: &Node, other: &NodeId) -> Outcome {
    let mut events = node.events();
    let mut death = pin!(node.monitor(&other.clone().into()).death());
    while !node.links().iter().any(|link| link.node == *other) {
        tokio::select! {
            _ = events.next() => {}
            reason = &mut death => {
                return Err(Failure::new(Exit::Unreachable, format!("no link: {reason}")));
            }
        }
    }
    Ok(())
}

/// What does not hold is a failure of the row.
pub(super) fn check(holds: bool, what: impl std::fmt::Display) -> Outcome {
    match holds {
        true => Ok(()),
        false => Err(Failure::new(Exit::Failed, what)),
    }
}
