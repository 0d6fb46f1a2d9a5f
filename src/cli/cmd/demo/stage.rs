//! The demo's mesh and what happens on it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{sync::mpsc, time::timeout};

use super::{
    Args, CLUSTER,
    plan::Plan,
    story::Story,
    words::{self, Counts},
    worker::{self, COUNT, FarLink, LINKS},
};
use crate::{
    Context, DbEvent, Monitor, Node, NodeId, PortId, Reason, Watch,
    cli::{
        children::{Process, TempDir},
        exit::{Exit, Failure, OrExit, Outcome},
        node::{link_json, mode_text},
        output::millis,
        throwaway::Credentials,
    },
};

const SEED: &str = "demo/seed";
const WORKERS: [&str; 3] = ["demo/worker-1", "demo/worker-2", "demo/worker-3"];
const BOSS: &str = "demo/boss";
/// Which worker is killed: the one that gets work first, so that it has some.
const VICTIM: usize = 0;
/// Batches that a worker has at a time.
const WINDOW: usize = 4;
/// How long a worker takes for a batch at least until the kill, so that there is something to lose.
const PACE: Duration = Duration::from_millis(40);
/// Nothing takes longer than this, or it has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Reports that wait to be read here; more push back on the workers.
const REPORTS_MAX: usize = 256;
const FLUSH: Duration = Duration::from_secs(2);

/// What the boss hears.
enum Report {
    Links(Vec<FarLink>),
    Begun(usize, u64),
    Counted(usize, u64, Counts),
}

/// A monitor that fired: which one, when, and why.
struct Fired {
    worker: Option<usize>,
    what: PortId,
    at: Instant,
    reason: Reason,
}

/// The processes, this process' node, and what it hears.
pub(super) struct Stage {
    format: &'static str,
    mode: &'static str,
    boss: Node,
    port: PortId,
    seed: Process,
    workers: Vec<Process>,
    reports: mpsc::Receiver<Report>,
    fired: mpsc::Receiver<Fired>,
    fire: mpsc::Sender<Fired>,
    monitors: Vec<Monitor>,
    /// Who registers as a worker, and who is gone.
    directory: Watch,
    _dir: TempDir,
}

async fn hear_links(to: &mut mpsc::Sender<Report>, _: &Context, (links,): (Vec<FarLink>,)) {
    let _ = to.send(Report::Links(links)).await;
}

async fn hear_begun(to: &mut mpsc::Sender<Report>, _: &Context, (worker, batch): (usize, u64)) {
    let _ = to.send(Report::Begun(worker, batch)).await;
}

async fn hear_counted(
    to: &mut mpsc::Sender<Report>,
    _: &Context,
    (worker, batch, counts): (usize, u64, Counts),
) {
    let _ = to.send(Report::Counted(worker, batch, counts)).await;
}

impl Stage {
    /// Starts everything and checks who is who.
    pub(super) async fn set(args: &Args, story: &mut Story) -> Outcome<Stage> {
        let dir = TempDir::new("demo")?;
        let all: Vec<&str> = [BOSS, SEED].into_iter().chain(WORKERS).collect();
        let (credentials, made) = Credentials::create(dir.path(), args.secret, CLUSTER, &all)?;
        story.tell("keys", format!("made {made}"), json!({"made": made}));

        let proxy = args.proxy.as_deref();
        let flags = |node: &str, seed: Option<&str>| {
            // what they warn of when the boss goes is no news here
            let mut flags: Vec<String> = vec!["--log".into(), "error".into(), "demo-node".into()];
            flags.extend(["--node".into(), node.into()]);
            flags.extend(["--dir".into(), dir.path().display().to_string()]);
            flags.extend(["--format".into(), args.format.as_str().into()]);
            flags.extend(args.secret.then(|| "--secret".into()));
            flags.extend(seed.into_iter().flat_map(|s| ["--seed".into(), s.into()]));
            flags.extend(proxy.into_iter().flat_map(|p| ["--proxy".into(), p.into()]));
            flags
        };
        let tell = |process: &Process| {
            let Process {
                node, addr, pid, ..
            } = process;
            story.tell(
                "process",
                format!("{node} is process {pid}, at {addr}"),
                json!({"node": node, "pid": pid, "addr": addr}),
            );
        };
        let seed = Process::start(&flags(SEED, None)).await?;
        tell(&seed);
        let mut workers = Vec::new();
        for worker in WORKERS {
            let process = Process::start(&flags(worker, Some(&seed.addr))).await?;
            tell(&process);
            workers.push(process);
        }

        // the seed is all that it is told; the workers it finds
        let builder = credentials
            .builder(BOSS, args.format.as_str())?
            .seed(&seed.addr);
        let boss = builder.start().await.or_exit(Exit::Failed)?;
        let directory = boss.db().watch(worker::WORKERS).or_exit(Exit::Failed)?;
        let (report, reports) = mpsc::channel(REPORTS_MAX);
        // two monitors a worker and one for the seed, each of which fires once
        let (fire, fired) = mpsc::channel(2 * WORKERS.len() + 1);
        let port = boss
            .port()
            .state(report)
            .on("links", hear_links)
            .on("begun", hear_begun)
            .on("counted", hear_counted)
            .open();
        let mut stage = Stage {
            format: args.format.as_str(),
            mode: if args.secret { "secret" } else { "certificate" },
            port: port.id().clone(),
            boss,
            seed,
            workers,
            reports,
            fired,
            fire,
            monitors: Vec::new(),
            directory,
            _dir: dir,
        };
        stage.find(story).await?;
        stage.link(story).await?;
        Ok(stage)
    }

    /// Finds the workers in the database.
    async fn find(&mut self, story: &mut Story) -> Outcome {
        let mut found = BTreeSet::new();
        while found.len() < self.workers.len() {
            let event = timeout(PATIENCE, self.directory.next()).await;
            let event = event.or_exit_in(Exit::Failed, "waiting for the workers to register")?;
            let Some(DbEvent::Added { key, .. }) = event else {
                continue;
            };
            let desk: PortId = key.parse().or_exit(Exit::Failed)?;
            story.tell(
                "find",
                format!("{} is registered in {}", desk.node(), worker::WORKERS),
                json!({"family": worker::WORKERS, "node": desk.node(), "port": desk}),
            );
            found.insert(desk.node().clone());
        }
        let started: BTreeSet<NodeId> = self.workers.iter().map(|w| w.node.clone()).collect();
        story.check(
            found == started,
            format!("the workers were found through {SEED}, which is all that {BOSS} was told"),
        );
        Ok(())
    }

    /// Links with all nodes, and checks what the links say on both sides.
    async fn link(&mut self, story: &mut Story) -> Outcome {
        let mut events = self.boss.events();
        let seed = self.seed.node.clone();
        self.watch(None, &PortId::of_node(seed));
        for worker in 0..self.workers.len() {
            // opens the link (M5)
            let node = self.node_of(worker)?;
            self.watch(Some(worker), &PortId::of_node(node));
        }
        let wanted = self.workers.len() + 1;
        let all_up = async {
            while self.boss.links().len() < wanted {
                let _ = events.next().await;
            }
        };
        timeout(PATIENCE, all_up)
            .await
            .or_exit_in(Exit::Failed, "waiting for the links")?;
        for link in self.boss.links() {
            story.tell(
                "link",
                format!(
                    "{} proved itself by {} ({} mode); {}; messages in {}",
                    link.node,
                    link.proof,
                    mode_text(link.mode),
                    link.security,
                    link.format
                ),
                link_json(&link),
            );
            let fine = link.security.starts_with("TLS1.3")
                && mode_text(link.mode) == self.mode
                && link.format == self.format;
            story.check(
                fine,
                format!(
                    "the link with {} is TLS 1.3, {}, {}",
                    link.node, self.mode, self.format
                ),
            );
        }

        // what the seed says of its own links
        let mut expected: BTreeSet<&str> = WORKERS.into_iter().collect();
        expected.insert(BOSS);
        let far = loop {
            self.boss
                .spawn(&self.seed.node, LINKS, (&self.port,))
                .or_exit(Exit::Failed)?;
            let Report::Links(links) = next_report(&mut self.reports).await? else {
                return Err(Failure::new(Exit::Failed, "a report that nobody asked for"));
            };
            // the workers' links with the seed may still be made; each asking takes a round trip
            if links.len() >= expected.len() || story.elapsed() > PATIENCE {
                break links;
            }
        };
        for (node, mode, security, format) in &far {
            story.tell(
                "far link",
                format!("{SEED} says: {node} by {mode}, {security}, {format}"),
                json!({"at": SEED, "node": node, "mode": mode, "security": security, "format": format}),
            );
        }
        let fine = far.iter().all(|(_, mode, security, format)| {
            security.starts_with("TLS1.3") && mode == self.mode && format == self.format
        });
        let nodes: BTreeSet<&str> = far.iter().map(|(node, ..)| node.as_str()).collect();
        story.check(
            fine && nodes == expected,
            format!("{SEED} is linked with {}", join(&expected)),
        );
        Ok(())
    }

    /// Counts the batches; one worker is killed on the way.
    pub(super) async fn play(
        &mut self,
        batches: &[Vec<&str>],
        story: &mut Story,
    ) -> Outcome<Counts> {
        let mut plan = Plan::new(batches.len() as u64, WINDOW);
        let mut ports = Vec::new();
        for worker in 0..self.workers.len() {
            let node = self.node_of(worker)?;
            let port = self
                .boss
                .spawn(&node, COUNT, (&self.port, worker))
                .or_exit(Exit::Failed)?;
            self.watch(Some(worker), &port);
            story.tell(
                "spawn",
                format!("{COUNT} on {node}: {port}"),
                json!({"function": COUNT, "node": node, "port": port}),
            );
            ports.push(port);
            plan.join(worker);
        }

        let mut counts = Counts::new();
        let mut killed_at = None;
        let mut fired = 0;
        let mut left = false;
        let mut double = 0;
        let mut late = Vec::new();
        let kill_after = batches.len() as u64 / 4;
        while !(plan.is_finished() && fired == 2 && left) {
            while let Some((worker, batch)) = plan.hand_out() {
                let (Some(port), Some(lines)) = (ports.get(worker), batches.get(batch as usize))
                else {
                    return Err(Failure::new(Exit::Failed, "no such worker or batch"));
                };
                let pace = if killed_at.is_none() {
                    PACE
                } else {
                    Duration::ZERO
                };
                let message = ("lines", batch, pace.as_millis() as u64, lines);
                self.boss
                    .send_wait(port, message)
                    .await
                    .or_exit(Exit::Failed)?;
            }
            tokio::select! {
                // what fired comes before what came later (M6)
                biased;
                Some(hit) = self.fired.recv() => {
                    fired += 1;
                    self.hear_of_death(&hit, killed_at, &mut plan, story)?;
                }
                Some(event) = self.directory.next() => {
                    if let DbEvent::Deleted { key } = event {
                        left = true;
                        self.hear_of_leaving(&key, killed_at, story)?;
                    }
                }
                report = next_report(&mut self.reports) => match report? {
                    Report::Begun(worker, batch) => {
                        plan.begun(worker, batch);
                        let (held, begun) = plan.held_by(VICTIM);
                        let enough = plan.done() >= kill_after;
                        if worker == VICTIM && killed_at.is_none() && enough && begun > 0 {
                            killed_at = Some(self.kill(held, begun, story)?);
                        }
                    }
                    Report::Counted(worker, batch, part) => {
                        if plan.counted(worker, batch) {
                            words::add(&mut counts, part);
                        } else if plan.is_lost(worker) {
                            // it got here before the link was lost, and was read after: that batch is counted anew
                            late.push(batch);
                        } else {
                            double += 1;
                        }
                    }
                    Report::Links(_) => {}
                },
            }
        }
        if !late.is_empty() {
            story.tell(
                "late",
                format!("what the killed worker had still said of batches {late:?} does not count"),
                json!({"batches": late}),
            );
        }
        story.check(
            double == 0 && plan.is_finished(),
            format!("{} batches were counted, each once", plan.done()),
        );
        if let Some(victim) = self.workers.get_mut(VICTIM) {
            let killed = victim.was_killed().await?;
            story.check(killed, format!("process {} ended by the kill", victim.pid));
        }
        Ok(counts)
    }

    fn kill(&mut self, held: usize, begun: usize, story: &Story) -> Outcome<Instant> {
        let Some(victim) = self.workers.get_mut(VICTIM) else {
            return Err(Failure::new(Exit::Failed, "no worker to kill"));
        };
        let at = Instant::now();
        victim.kill()?;
        let (node, pid) = (&victim.node, victim.pid);
        story.tell(
            "SIGKILL",
            format!("{node}, process {pid}: it holds {held} unfinished batches, has begun {begun}"),
            json!({"node": node, "pid": pid, "held": held, "begun": begun}),
        );
        Ok(at)
    }

    fn hear_of_leaving(&self, key: &str, killed_at: Option<Instant>, story: &mut Story) -> Outcome {
        let desk: PortId = key.parse().or_exit(Exit::Failed)?;
        let (Some(killed_at), true) = (killed_at, *desk.node() == self.node_of(VICTIM)?) else {
            let text = format!("{} has left {} unasked", desk.node(), worker::WORKERS);
            return Err(Failure::new(Exit::Failed, text));
        };
        let after = killed_at.elapsed();
        story.tell(
            "left",
            format!(
                "{} is no longer in {}, {:.3} ms after the kill",
                desk.node(),
                worker::WORKERS,
                millis(after)
            ),
            json!({"family": worker::WORKERS, "node": desk.node(), "ms": millis(after)}),
        );
        Ok(())
    }

    fn hear_of_death(
        &self,
        hit: &Fired,
        killed_at: Option<Instant>,
        plan: &mut Plan,
        story: &mut Story,
    ) -> Outcome {
        let (Some(VICTIM), Some(killed_at)) = (hit.worker, killed_at) else {
            let text = format!("{} is gone and nobody killed it: {}", hit.what, hit.reason);
            return Err(Failure::new(Exit::Failed, text));
        };
        let after = hit.at.duration_since(killed_at);
        story.tell(
            "monitor",
            format!(
                "{} is gone, {:.3} ms after the kill: {}",
                hit.what,
                millis(after),
                hit.reason
            ),
            json!({"port": hit.what, "ms": millis(after), "reason": hit.reason.to_string()}),
        );
        story.check(
            hit.reason.tag() == Some("transport_error"),
            format!("the monitor on {} says that the link was lost", hit.what),
        );
        if hit.what.name().is_node_port() {
            return Ok(());
        }
        let lost = plan.lose(VICTIM);
        story.check(
            !lost.begun.is_empty(),
            format!(
                "the killed worker held {} unfinished batches, of which it had begun {}",
                lost.unfinished.len(),
                lost.begun.len()
            ),
        );
        story.tell(
            "hand on",
            format!("batches {:?} go to the other workers", lost.unfinished),
            json!({"batches": lost.unfinished, "begun": lost.begun}),
        );
        Ok(())
    }

    /// Stops everything in order.
    pub(super) async fn clear(mut self, story: &mut Story) -> Outcome {
        // their firing is expected from here on
        self.monitors.clear();
        self.boss.shutdown(FLUSH).await;
        let victim = self.workers.remove(VICTIM);
        let mut in_order = true;
        for mut process in self.workers.into_iter().chain([self.seed]) {
            in_order &= process.stop().await?;
        }
        drop(victim);
        story.check(in_order, "all other processes stopped in order");
        Ok(())
    }

    /// Puts a monitor on a port.
    fn watch(&mut self, worker: Option<usize>, port: &PortId) {
        let (fire, what) = (self.fire.clone(), port.clone());
        let monitor = self.boss.monitor(port).call(move |reason| {
            // there is a place for each
            let _ = fire.try_send(Fired {
                worker,
                what,
                at: Instant::now(),
                reason: reason.clone(),
            });
        });
        self.monitors.push(monitor);
    }

    fn node_of(&self, worker: usize) -> Outcome<NodeId> {
        let process = self.workers.get(worker);
        let node = process.map(|process| process.node.clone());
        node.ok_or_else(|| Failure::new(Exit::Failed, "no such worker"))
    }
}

async fn next_report(reports: &mut mpsc::Receiver<Report>) -> Outcome<Report> {
    let report = timeout(PATIENCE, reports.recv())
        .await
        .or_exit_in(Exit::Failed, "waiting for the workers")?;
    report.ok_or_else(|| Failure::new(Exit::Failed, "the node has stopped"))
}

fn join(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}
