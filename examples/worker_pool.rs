//! A pool of workers that come and go: they register in a family of the database, and a client spreads work over them.
//!
//! ```sh
//! cargo run --example worker_pool                     # all in one process: a worker joins, one leaves, one dies
//!
//! export PORTMESH_SECRET=$(portmesh secret gen)       # or as processes of their own, on one host or on several
//! cargo run --example worker_pool -- seed 127.0.0.1:4040
//! cargo run --example worker_pool -- worker --seed 127.0.0.1:4040   # as many as you like; kill some
//! cargo run --example worker_pool -- client --seed 127.0.0.1:4040
//! ```

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use portmesh::{Context, DbEvent, Node, NodeBuilder, PortId, Secret, SendError};
use tokio::{sync::Notify, time::sleep};

type Res<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Where workers register.
const FAMILY: &str = "pool:workers";
/// How long a worker takes for one job.
const WORK: Duration = Duration::from_millis(50);
/// How long the client waits for one job.
const PATIENCE: Duration = Duration::from_secs(10);

// --- a worker ---

async fn square((): &mut (), cx: &Context, (n, reply): (u64, PortId)) -> Result<(), SendError> {
    sleep(WORK).await;
    cx.send(&reply, n * n)
}

/// Opens a port that takes jobs, and registers it: the entry goes when the port dies, or the node.
fn work_on(node: &Node) -> Res {
    let worker = node.port().on("square", square).open();
    node.db().register(FAMILY, worker.id())?.detach();
    Ok(())
}

// --- a client ---

/// What is to be done, and what has been. A job is in `todo`, or with one worker, or done.
struct Jobs {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    todo: VecDeque<u64>,
    done: Vec<(u64, u64)>,
    given_again: usize,
    total: usize,
}

impl Jobs {
    fn new(count: u64) -> Arc<Self> {
        let todo: VecDeque<u64> = (1..=count).collect();
        let state = State {
            total: todo.len(),
            todo,
            ..State::default()
        };
        let jobs = Jobs {
            state: Mutex::new(state),
            changed: Notify::new(),
        };
        Arc::new(jobs)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn are_done(&self) -> bool {
        let state = self.state();
        state.done.len() == state.total
    }

    /// Waits until that much is done.
    async fn until_done(&self, count: usize) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.state().done.len() >= count {
                return;
            }
            changed.await;
        }
    }

    /// The next job; `None` when all are done. A job that is out may come back: then it is the next one.
    async fn next(&self) -> Option<u64> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.are_done() {
                return None;
            }
            if let Some(job) = self.state().todo.pop_front() {
                return Some(job);
            }
            changed.await;
        }
    }

    fn finish(&self, job: u64, result: u64) {
        self.state().done.push((job, result));
        self.changed.notify_waiters();
    }

    fn give_again(&self, job: u64) {
        let mut state = self.state();
        state.todo.push_front(job);
        state.given_again += 1;
        drop(state);
        self.changed.notify_waiters();
    }
}

/// Gives one worker one job after the other, until all are done or the worker is gone.
async fn keep_busy(node: Node, worker: PortId, jobs: Arc<Jobs>) {
    while let Some(job) = jobs.next().await {
        let asked = node.call::<u64>(&worker, ("square", job)).within(PATIENCE);
        match asked.await {
            Ok(result) => jobs.finish(job, result),
            Err(error) => {
                // it may have done it, and the answer is lost: so a job must bear to be done twice
                println!(
                    "job {job} goes to another worker: {}: {error}",
                    worker.node()
                );
                jobs.give_again(job);
                return;
            }
        }
    }
}

/// Spreads the jobs over all workers that there are, while they come and go.
async fn spread(node: &Node, jobs: &Arc<Jobs>) -> Res {
    let count = jobs.state().total;
    let mut workers = node.db().watch(FAMILY)?;
    loop {
        let event = tokio::select! {
            event = workers.next() => event.ok_or("the node has stopped")?,
            () = jobs.until_done(count) => break,
        };
        match event {
            DbEvent::Added { key, .. } => {
                let worker: PortId = key.parse()?;
                println!("{} joins", worker.node());
                tokio::spawn(keep_busy(node.clone(), worker, jobs.clone()));
            }
            // its unfinished job comes back by the failing of the call
            DbEvent::Deleted { key } => println!("{} is gone", key.parse::<PortId>()?.node()),
            _ => {}
        }
    }
    let state = jobs.state();
    let right = state.done.iter().all(|(job, result)| job * job == *result);
    let sum: u64 = state.done.iter().map(|(_, result)| result).sum();
    println!(
        "{} jobs are done, {} of them were given again; the sum is {sum}",
        state.done.len(),
        state.given_again
    );
    let expected = (1..=state.total as u64).map(|n| n * n).sum::<u64>();
    if right && sum == expected {
        Ok(())
    } else {
        Err("a result is wrong, or was counted twice".into())
    }
}

// --- all in one process ---

/// Three workers; when a part is done a fourth one joins, one stops in order, and one ends without a word.
async fn everything() -> Res {
    let secret = Secret::generate()?;
    // names of one life: nothing to remember, so no state directory
    let builder = |name: &str| Node::builder(format!("pool/{name}/%u")).secret(secret.clone());
    let seed = builder("seed").listen("127.0.0.1:*").start().await?;
    let addr = seed.listen_addrs().swap_remove(0);
    let start = async |name: &str| -> Res<Node> {
        let node = builder(name)
            .listen("127.0.0.1:*")
            .seed(&addr)
            .start()
            .await?;
        work_on(&node)?;
        Ok(node)
    };
    let first = start("worker-1").await?;
    let second = start("worker-2").await?;
    let third = start("worker-3").await?;
    let client = builder("client").seed(&addr).start().await?;

    let jobs = Jobs::new(60);
    let changes = async {
        jobs.until_done(15).await;
        let fourth = start("worker-4").await?;
        jobs.until_done(25).await;
        println!("{} stops", first.id());
        first.shutdown(Duration::from_secs(1)).await;
        jobs.until_done(35).await;
        // the last handle of a node: it ends at once, as if its process were killed
        println!("{} dies", second.id());
        drop(second);
        Ok((third, fourth))
    };
    let (_, (third, fourth)) = tokio::try_join!(spread(&client, &jobs), changes)?;
    for node in [client, third, fourth, seed] {
        node.shutdown(Duration::from_secs(1)).await;
    }
    Ok(())
}

// --- as processes of their own ---

fn builder(name: &str) -> Res<NodeBuilder> {
    let secret = Secret::from_env("PORTMESH_SECRET")?;
    Ok(Node::builder(format!("pool/{name}/%n/%u")).secret(secret))
}

async fn until_interrupted(node: Node) -> Res {
    tokio::signal::ctrl_c().await?;
    node.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

#[tokio::main]
async fn main() -> Res {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => everything().await,
        ["seed", addr] => {
            let node = builder("seed")?.listen(addr).start().await?;
            println!(
                "{} listens on {}",
                node.id(),
                node.listen_addrs().join(", ")
            );
            until_interrupted(node).await
        }
        ["worker", "--seed", addr] => {
            let node = builder("worker")?.listen("*:*").seed(addr).start().await?;
            work_on(&node)?;
            node.db().ready().await?;
            if let Some(home) = node.db().home() {
                println!("{} is attached to {home}", node.id());
            }
            until_interrupted(node).await
        }
        ["client", "--seed", addr] => {
            let node = builder("client")?.seed(addr).start().await?;
            spread(&node, &Jobs::new(100)).await?;
            node.shutdown(Duration::from_secs(5)).await;
            Ok(())
        }
        _ => Err("usage: worker_pool [seed ADDR | worker --seed ADDR | client --seed ADDR]".into()),
    }
}
