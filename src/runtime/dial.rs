//! Dials: to nodes that are wanted, and to seeds, for ever.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    NodePorts,
    auth::{AuthError, AuthFailure, Established, HandshakeError, Role, authenticate},
    connection,
    driver::Event,
    entropy::Backoff,
    links::Origin,
    shared::{Shared, Stage},
    transport::ConnectError,
};
use crate::proto::{close::CloseReason, id::NodeId};

/// The pauses between attempts at a seed.
const SEED_PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// A seed that is this node itself is looked at this often: its address may come to mean another.
const OWN_SEED_PAUSE: Duration = Duration::from_secs(300);

/// Why a dial gave no authenticated connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Auth(#[from] AuthError),
}

/// One attempt at one address.
async fn attempt<P: NodePorts>(
    shared: &Shared<P>,
    addr: &str,
    expect: Option<&NodeId>,
) -> Result<Established, DialError> {
    let pass = shared.gate.dial().await;
    shared.counters.dialled.add(1);
    let work = async {
        let connection = shared.transport.dial(addr, expect).await?;
        let proved = authenticate(connection, Role::Initiator, &shared.auth, expect).await?;
        Ok::<_, DialError>(proved)
    };
    let done = shared.gate.computing(work).await;
    drop(pass);
    if let Err(error) = &done {
        shared.counters.dials_failed.add(1);
        let refused = match error {
            DialError::Auth(error) if is_own_node(error) => None,
            DialError::Auth(error) => Some((error.node.as_ref().or(expect), error.to_string())),
            DialError::Connect(error @ ConnectError::Tls { .. }) => {
                Some((expect, error.to_string()))
            }
            DialError::Connect(_) => None,
        };
        if let Some((node, reason)) = refused {
            shared.counters.refused_by_auth.add(1);
            shared.refused(addr, addr, node, reason);
        }
    }
    done
}

/// Whether it is this node that is at the other end, by its key. (A node with a copy of the key file looks the same.)
pub(super) fn is_own_node(error: &AuthError) -> bool {
    matches!(error.reason, AuthFailure::Refused(HandshakeError::OwnKey))
}

/// Starts the dials that the driver asks for.
pub(super) struct Dials<P> {
    shared: Arc<Shared<P>>,
    untried: watch::Sender<usize>,
}

impl<P: NodePorts> Dials<P> {
    /// Begins with the seeds.
    pub(super) fn new(shared: Arc<Shared<P>>, seeds: &[String]) -> Self {
        let untried = watch::Sender::new(seeds.len());
        for addr in seeds {
            let seed = Seed {
                shared: shared.clone(),
                addr: addr.clone(),
                state: SeedState::Untried,
                node: None,
            };
            let stage = shared.stage.subscribe();
            let tried = Tried(Some(untried.clone()));
            tokio::spawn(async move {
                until_ending(stage, seed.run(tried)).await;
            });
        }
        Dials { shared, untried }
    }

    /// A wanted node. Answered by a candidate or by a failure.
    pub(super) fn dial(&self, node: NodeId) {
        let shared = self.shared.clone();
        let untried = self.untried.subscribe();
        let stage = shared.stage.subscribe();
        tokio::spawn(until_ending(stage, async move {
            if let Err(reason) = dial(&shared, &node, untried).await {
                shared.tell_driver(Event::DialFailed(node, reason));
            }
        }));
    }
}

/// Runs until it is done or no link may be made any more. A shutdown waits for links that are being made where something
/// waits for them.
async fn until_ending(mut stage: watch::Receiver<Stage>, work: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        _ = stage.wait_for(|stage| *stage >= Stage::Ending) => {}
        () = work => {}
    }
}

async fn dial<P: NodePorts>(
    shared: &Arc<Shared<P>>,
    node: &NodeId,
    mut untried: watch::Receiver<usize>,
) -> Result<(), CloseReason> {
    let mut addresses = shared.addresses(node);
    if addresses.is_empty() {
        // right after the start it may be one of the seeds
        let _ = untried.wait_for(|untried| *untried == 0).await;
        if shared.links.watch().borrow().contains_key(node) {
            return Err(CloseReason::Duplicate);
        }
        addresses = shared.addresses(node);
    }
    if addresses.is_empty() {
        return Err(CloseReason::Transport(format!(
            "no address of {node} is known: none was given, and no seed is that node"
        )));
    }
    let mut links = shared.links.watch();
    let mut failures = Vec::new();
    for addr in &addresses {
        let established = tokio::select! {
            biased;
            _ = links.wait_for(|links| links.contains_key(node)) => {
                return Err(CloseReason::Duplicate);
            }
            established = attempt(shared, addr, Some(node)) => established,
        };
        match established {
            Ok(established) => {
                connection::start(shared, established, addr.clone(), Origin::Dialled);
                return Ok(());
            }
            Err(error) => failures.push(Chain(&error).to_string()),
        }
    }
    Err(CloseReason::Transport(failures.join("; ")))
}

/// An error with its causes.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut said = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // some errors repeat their cause in their own text
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

/// Counts a seed as tried, once, also when its task is dropped.
struct Tried(Option<watch::Sender<usize>>);

impl Tried {
    fn now(&mut self) {
        if let Some(untried) = self.0.take() {
            untried.send_modify(|count| *count = count.saturating_sub(1));
        }
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        self.now();
    }
}

#[derive(Debug, PartialEq, Eq)]
enum SeedState {
    Untried,
    Linked(NodeId),
    Own,
    Failing(String),
}

/// An address that is tried for ever (L4).
struct Seed<P> {
    shared: Arc<Shared<P>>,
    addr: String,
    state: SeedState,
    /// Who answered there last.
    node: Option<NodeId>,
}

impl<P: NodePorts> Seed<P> {
    async fn run(mut self, mut tried: Tried) {
        let mut backoff = Backoff::new(SEED_PAUSES.0, SEED_PAUSES.1);
        while *self.shared.stage.borrow() == Stage::Running || tried.0.is_some() {
            // it may have come to us, or by another address
            if let Some(node) = self.node.clone() {
                self.while_linked(&node).await;
            }
            let started = Instant::now();
            match attempt(&self.shared, &self.addr, None).await {
                Ok(established) => {
                    if self.linked(established, &mut tried).await {
                        backoff.reset();
                    }
                }
                Err(DialError::Auth(error)) if is_own_node(&error) => {
                    self.turn(SeedState::Own);
                    tried.now();
                    sleep(OWN_SEED_PAUSE).await;
                    continue;
                }
                Err(error) => self.turn(SeedState::Failing(Chain(&error).to_string())),
            }
            tried.now();
            let pause = backoff.pause();
            tracing::trace!(seed = self.addr, ?pause, took = ?started.elapsed(), "seed is tried again");
            sleep(pause).await;
        }
    }

    /// Waits as long as the node that answered is linked; whether it was at all.
    async fn linked(&mut self, established: Established, tried: &mut Tried) -> bool {
        let node = established.node.clone();
        if self.node.as_ref() != Some(&node) {
            self.shared.unlearn(&self.addr);
            self.node = Some(node.clone());
        }
        self.shared.learn(&node, &self.addr);
        let addr = self.addr.clone();
        let (_, mut ended) = connection::start(&self.shared, established, addr, Origin::Seed);
        let mut links = self.shared.links.watch();
        let linked = tokio::select! {
            biased;
            _ = links.wait_for(|links| links.contains_key(&node)) => true,
            _ = &mut ended => false,
        };
        if !linked && !links.borrow().contains_key(&node) {
            let text = format!("{node} answers but there is no link to it");
            self.turn(SeedState::Failing(text));
            return false;
        }
        self.turn(SeedState::Linked(node.clone()));
        tried.now();
        self.while_linked(&node).await;
        true
    }

    async fn while_linked(&self, node: &NodeId) {
        let mut links = self.shared.links.watch();
        // an error says that the mesh is gone
        let _ = links.wait_for(|links| !links.contains_key(node)).await;
    }

    /// One line a change.
    fn turn(&mut self, state: SeedState) {
        if state == self.state {
            return;
        }
        let seed = &self.addr;
        match &state {
            SeedState::Untried => {}
            SeedState::Linked(node) => tracing::info!(seed, peer_node = %node, "seed linked"),
            SeedState::Own => {
                tracing::info!(seed, "seed is this node itself (or has a copy of its key)");
            }
            SeedState::Failing(reason) => {
                tracing::warn!(seed, %reason, "seed fails, it is tried again and again");
            }
        }
        self.state = state;
    }
}
