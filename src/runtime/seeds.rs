//! The seeds of a mesh (L4): one task that tries them when their schedule says so, and makes links of their answers.

use std::{
    collections::{BTreeSet, HashMap},
    pin::pin,
    sync::Arc,
};

use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use super::{
    NodePorts,
    auth::Established,
    connection,
    dial::{Chain, DialError, attempt, is_own_node, until_ending},
    entropy,
    links::Origin,
    places::Places,
    shared::{Shared, Stage},
    transport::ConnectError,
};
use crate::proto::{
    id::NodeId,
    seeds::{SeedOutput, SeedPauses, SeedResult, Seeds},
};

/// What others hear of the seeds, and say to them.
pub(super) struct SeedsHandle {
    /// How many there are.
    pub(super) count: usize,
    /// How many have not been tried once.
    pub(super) untried: watch::Receiver<usize>,
    /// Who answered last at their addresses.
    pub(super) nodes: watch::Receiver<BTreeSet<NodeId>>,
    /// Whether this node has all it wants of them.
    pub(super) attached: watch::Sender<bool>,
}

/// Tries them all, for ever.
pub(super) fn start<P: NodePorts>(
    shared: &Arc<Shared<P>>,
    addrs: Vec<String>,
    places: Places,
) -> SeedsHandle {
    let untried = watch::Sender::new(addrs.len());
    let nodes = watch::Sender::new(BTreeSet::new());
    let attached = watch::Sender::new(false);
    let handle = SeedsHandle {
        count: addrs.len(),
        untried: untried.subscribe(),
        nodes: nodes.subscribe(),
        attached: attached.clone(),
    };
    if addrs.is_empty() {
        return handle;
    }
    let mut task = Task {
        shared: shared.clone(),
        seeds: Seeds::new(addrs, entropy::jitter(), SeedPauses::default()),
        places: Arc::new(places),
        untried,
        nodes,
        attached,
        work: JoinSet::new(),
        working: HashMap::new(),
    };
    // each is tried once, also where a shutdown follows at once: what was accepted may wait for it (L6)
    task.drain();
    let stage = shared.stage.subscribe();
    tokio::spawn(async move {
        let work = pin!(task.run());
        until_ending(stage, work).await
    });
    handle
}

struct Task<P> {
    shared: Arc<Shared<P>>,
    seeds: Seeds,
    places: Arc<Places>,
    untried: watch::Sender<usize>,
    nodes: watch::Sender<BTreeSet<NodeId>>,
    attached: watch::Sender<bool>,
    /// Attempts, and waits for the links that follow from them.
    work: JoinSet<Step>,
    working: HashMap<Id, usize>,
}

enum Step {
    /// A node has proved itself there.
    Answered(Box<Established>),
    Ended(SeedResult),
}

impl<P: NodePorts> Task<P> {
    async fn run(mut self) {
        let mut links = self.shared.links.watch();
        let mut attached = self.attached.subscribe();
        loop {
            let due = self.seeds.poll_timeout();
            let due = due.map(|mono| self.shared.clock.instant(mono));
            tokio::select! {
                biased;
                // neither sender ends before this task
                _ = links.changed() => self.look_at_links(),
                _ = attached.changed() => {
                    let attached = *attached.borrow_and_update();
                    self.seeds.set_attached(attached, self.shared.clock.now());
                }
                Some(done) = self.work.join_next_with_id() => self.handle(done),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            if *self.shared.stage.borrow() == Stage::Running {
                self.seeds.handle_timeout(self.shared.clock.now());
                self.drain();
            } else if self.work.is_empty() {
                // nothing is tried again
                return;
            }
        }
    }

    fn drain(&mut self) {
        while let Some(SeedOutput::Try(index)) = self.seeds.poll_output() {
            let Some(addr) = self.seeds.addr(index).map(str::to_owned) else {
                continue;
            };
            let work = try_once(self.shared.clone(), addr, self.places.clone());
            self.begin(index, work);
        }
    }

    fn begin(&mut self, index: usize, work: impl Future<Output = Step> + Send + 'static) {
        let stage = self.shared.stage.subscribe();
        let work = self.work.spawn(async move {
            // its life is what a shutdown waits for
            let _stage = stage;
            work.await
        });
        self.working.insert(work.id(), index);
    }

    /// Of the links only those matter whose nodes answered at a seed.
    fn look_at_links(&mut self) {
        let now = self.shared.clock.now();
        let links = self.shared.links.watch();
        let links = links.borrow();
        for node in self.seeds.nodes() {
            self.seeds
                .handle_link(&node, links.contains_key(&node), now);
        }
    }

    fn handle(&mut self, done: Result<(Id, Step), JoinError>) {
        let (id, step) = match done {
            Ok(done) => done,
            Err(error) => {
                let text = format!("the attempt ended badly: {error}");
                (error.id(), Step::Ended(SeedResult::Failed(text)))
            }
        };
        let Some(index) = self.working.remove(&id) else {
            return;
        };
        let Some(addr) = self.seeds.addr(index).map(str::to_owned) else {
            return;
        };
        match step {
            Step::Answered(established) => self.answered(index, addr, *established),
            Step::Ended(result) => {
                self.look_at_links();
                let now = self.shared.clock.now();
                if self.seeds.handle_result(index, result.clone(), now) {
                    tell(&addr, &result);
                }
                self.publish();
            }
        }
    }

    fn answered(&mut self, index: usize, addr: String, established: Established) {
        let node = established.node.clone();
        if self.seeds.handle_answer(index, &node) {
            self.shared.unlearn(&addr);
        }
        self.shared.learn(&node, &addr);
        // before the link is up it is known as a seed's
        self.publish();
        let (_, mut ended) = connection::start(&self.shared, established, addr, Origin::Seed);
        let mut links = self.shared.links.watch();
        self.begin(index, async move {
            let linked = tokio::select! {
                biased;
                linked = links.wait_for(|links| links.contains_key(&node)) => linked.is_ok(),
                _ = &mut ended => false,
            };
            let linked = linked || links.borrow().contains_key(&node);
            Step::Ended(if linked {
                SeedResult::Linked(node)
            } else {
                SeedResult::Failed(format!("{node} answers but there is no link to it"))
            })
        });
    }

    fn publish(&self) {
        fn change<T: PartialEq>(to: &watch::Sender<T>, value: T) {
            to.send_if_modified(|old| {
                let other = *old != value;
                *old = value;
                other
            });
        }
        change(&self.nodes, self.seeds.nodes());
        change(&self.untried, self.seeds.untried());
    }
}

async fn try_once<P: NodePorts>(shared: Arc<Shared<P>>, addr: String, places: Arc<Places>) -> Step {
    let error = match attempt(&shared, &addr, None).await {
        Ok(established) => return Step::Answered(Box::new(established)),
        Err(error) => error,
    };
    let own = match &error {
        DialError::Auth(error) => is_own_node(error),
        // behind a translation of addresses it cannot reach itself where others do
        DialError::Connect(ConnectError::Connect { .. } | ConnectError::Timeout { .. }) => {
            places.has(&shared.transport, &addr).await
        }
        DialError::Connect(_) => false,
    };
    Step::Ended(if own {
        SeedResult::Own
    } else {
        SeedResult::Failed(Chain(&error).to_string())
    })
}

/// One line a change.
fn tell(seed: &str, result: &SeedResult) {
    match result {
        SeedResult::Linked(node) => tracing::info!(seed, peer_node = %node, "seed linked"),
        SeedResult::Own => {
            tracing::info!(seed, "seed is this node itself (or has a copy of its key)");
        }
        SeedResult::Failed(reason) => {
            tracing::warn!(seed, %reason, "seed fails, it is tried again and again");
        }
    }
}
