//! Dials: one attempt at one address, and the search for a node that is wanted.

use std::{fmt, pin::pin, sync::Arc};

use tokio::{sync::watch, time::timeout};

use super::{
    Directory, NodePorts,
    auth::{AuthError, AuthFailure, Established, HandshakeError, Role, prove},
    connection,
    driver::Event,
    links::Origin,
    shared::{Shared, Stage},
    transport::{BoxFuture, ConnectError},
};
use crate::proto::{close::CloseReason, id::NodeId};

/// Of what the directory says of one node no more addresses than these are tried.
const DIRECTORY_MAX: usize = 16;

/// Why a dial gave no authenticated connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Auth(#[from] AuthError),
}

/// One attempt at one address. What comes of it has its READY still to say, as a connection does.
pub(super) async fn attempt<P: NodePorts>(
    shared: &Shared<P>,
    addr: &str,
    expect: Option<&NodeId>,
) -> Result<Established, DialError> {
    let pass = shared.gate.dial().await;
    shared.counters.dialled.add(1);
    let work = async {
        let connection = shared.transport.dial(addr, expect).await?;
        let proved = prove(connection, Role::Initiator, &shared.auth, expect, false).await?;
        Ok::<_, DialError>(proved)
    };
    let done = shared.gate.computing(pin!(work)).await;
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
    /// Seeds that were not tried once: any of them may be the wanted node.
    untried: watch::Receiver<usize>,
    directory: Option<Arc<dyn Directory>>,
}

impl<P: NodePorts> Dials<P> {
    pub(super) fn new(
        shared: Arc<Shared<P>>,
        untried: watch::Receiver<usize>,
        directory: Option<Arc<dyn Directory>>,
    ) -> Self {
        Dials {
            shared,
            untried,
            directory,
        }
    }

    /// A wanted node. Answered by a candidate or by a failure.
    pub(super) fn dial(&self, node: NodeId) {
        let shared = self.shared.clone();
        // in a box, so that the task of a link is not as large as a handshake
        let found = self.search(node.clone());
        // its life is what a shutdown waits for
        let stage = shared.stage.subscribe();
        tokio::spawn(async move {
            match found.await {
                Some(Ok((established, addr))) => {
                    let (_, life) = connection::begin(&shared, established, addr, Origin::Dialled);
                    life.await;
                }
                Some(Err(reason)) => shared.tell_driver(Event::DialFailed(node, reason)),
                None => {}
            }
            drop(stage);
        });
    }

    /// A connection to that node, or why there is none; nothing where no link may be made any more.
    fn search(&self, node: NodeId) -> BoxFuture<'static, Option<Result<Found, CloseReason>>> {
        let shared = self.shared.clone();
        let untried = self.untried.clone();
        let directory = self.directory.clone();
        Box::pin(async move {
            let mut links = shared.links.watch();
            let search = Search {
                shared: &shared,
                node: &node,
                directory,
                tried: Vec::new(),
                failures: Vec::new(),
            };
            let work = pin!(async {
                tokio::select! {
                    biased;
                    // it has come to us, or by a seed
                    _ = links.wait_for(|links| links.contains_key(&node)) => Err(CloseReason::Duplicate),
                    found = search.run(untried) => found,
                }
            });
            until_ending(shared.stage.subscribe(), work).await
        })
    }
}

/// Runs until it is done or no link may be made any more. A shutdown waits for links that are being made where something
/// waits for them.
pub(super) async fn until_ending<T>(
    mut stage: watch::Receiver<Stage>,
    work: impl Future<Output = T> + Unpin,
) -> Option<T> {
    tokio::select! {
        biased;
        _ = stage.wait_for(|stage| *stage >= Stage::Ending) => None,
        done = work => Some(done),
    }
}

/// A connection to the node that was searched for, and its address.
type Found = (Established, String);

/// The search for one node: at the addresses it is known by, then at those that the directory has.
struct Search<'a, P> {
    shared: &'a Arc<Shared<P>>,
    node: &'a NodeId,
    directory: Option<Arc<dyn Directory>>,
    tried: Vec<String>,
    failures: Vec<String>,
}

impl<P: NodePorts> Search<'_, P> {
    async fn run(mut self, mut untried: watch::Receiver<usize>) -> Result<Found, CloseReason> {
        let just_started = *untried.borrow() > 0;
        if let Some(found) = self.round().await {
            return Ok(found);
        }
        if just_started && self.tried.is_empty() {
            // it may be one of the seeds, or one of these may know it; an error says that the mesh is gone
            let _ = untried.wait_for(|untried| *untried == 0).await;
            if let Some(found) = self.round().await {
                return Ok(found);
            }
        }
        Err(CloseReason::Transport(self.text()))
    }

    async fn round(&mut self) -> Option<Found> {
        let known = self.shared.addresses(self.node);
        if let Some(found) = self.at(known, false).await {
            return Some(found);
        }
        let directory = self.directory.clone()?;
        let limit = self.shared.limits.connect_timeout;
        match timeout(limit, directory.lookup(self.node)).await {
            Ok(mut found) => {
                found.truncate(DIRECTORY_MAX);
                self.at(found, true).await
            }
            Err(_) => {
                let text = format!("the db did not say within {limit:?} where it is");
                self.failures.push(text);
                None
            }
        }
    }

    /// Tries those that were not tried before. What was looked up is remembered only when it proved right.
    async fn at(&mut self, addrs: Vec<String>, looked_up: bool) -> Option<Found> {
        for addr in addrs {
            if self.tried.contains(&addr) {
                continue;
            }
            let attempt = attempt(self.shared, &addr, Some(self.node)).await;
            self.tried.push(addr.clone());
            match attempt {
                Ok(established) => {
                    if looked_up {
                        self.shared.learn(self.node, &addr);
                    }
                    return Some((established, addr));
                }
                Err(error) => self.failures.push(Chain(&error).to_string()),
            }
        }
        None
    }

    fn text(&self) -> String {
        let node = self.node;
        if !self.failures.is_empty() {
            return self.failures.join("; ");
        }
        match self.directory {
            Some(_) => format!(
                "no address of {node} is known: none was given, no seed is that node, and the database has none"
            ),
            None => {
                format!("no address of {node} is known: none was given, and no seed is that node")
            }
        }
    }
}

/// An error with its causes.
pub(super) struct Chain<'a>(pub(super) &'a dyn std::error::Error);

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
