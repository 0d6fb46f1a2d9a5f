//! The node of a command that does one thing in the mesh and ends: how it finds the mesh, and a node in it.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use crate::{
    ConfigOrigin, Events, MeshNode, Node, NodeEvent, NodeId, PortId,
    api::config::{layers::Settings, value::address},
    cli::{
        args::RemoteArgs,
        exit::{Exit, Failure, OrExit, Outcome},
        node::{builder, db_failure, death, tell_home},
        output::{Output, whole_millis},
    },
};

/// How long a command may take when nothing is said.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a command waits at its end for what is still to be transmitted.
const FLUSH: Duration = Duration::from_secs(2);
/// How long the database is asked again for a node that it does not list: one that has just started.
const FIND: Duration = Duration::from_secs(1);
/// The pause between two questions.
pub(crate) const AGAIN: Duration = Duration::from_millis(50);

/// See the module.
pub(crate) struct Remote {
    pub(crate) node: Node,
    deadline: Instant,
    timeout: Duration,
    seeds: usize,
    addressed: BTreeSet<NodeId>,
}

/// Why there is no link so far, as far as that is known.
#[derive(Default)]
struct Refusals(Option<String>);

impl Refusals {
    fn note(&mut self, event: &NodeEvent) {
        if let NodeEvent::Refused { addr, reason, .. } = event {
            self.0 = Some(format!("refused by or at {addr}: {reason}"));
        }
    }

    /// The failure that a refusal is; that one where there was none.
    fn or(self, exit: Exit, text: impl FnOnce() -> String) -> Failure {
        match self.0 {
            Some(why) => Failure::new(Exit::Refused, why),
            None => Failure::new(exit, text()),
        }
    }
}

impl Remote {
    /// With its events from the beginning: a seed may refuse it at once.
    async fn start(timeout: Option<Duration>, settings: &Settings) -> Outcome<(Remote, Events)> {
        let addressed = addressed(settings);
        let timeout = timeout.unwrap_or(TIMEOUT);
        let deadline = Instant::now() + timeout;
        let mut builder = builder(&client(settings.clone()), "cli/%n/%u")?
            // gone again in a moment
            .global(false);
        for node in &addressed {
            // who runs the command says where it is, as of a seed
            builder = builder.trust_global(node.as_str().parse().or_exit(Exit::Usage)?);
        }
        let started = builder.start_with_events().await;
        let (node, events) = started.or_exit(Exit::Config)?;
        let remote = Remote {
            node,
            deadline,
            timeout,
            seeds: settings.list("seed").len(),
            addressed,
        };
        Ok((remote, events))
    }

    /// Starts a node and attaches it to the mesh, so that its database answers.
    pub(crate) async fn join(args: &RemoteArgs, out: Output) -> Outcome<Remote> {
        let settings = args.settings()?;
        if settings.list("seed").is_empty() && settings.list("address").is_empty() {
            return Err(Failure::new(
                Exit::Usage,
                "where is the mesh? Give --seed HOST:PORT, or --address NODE=HOST:PORT of a global node",
            ));
        }
        let (remote, mut events) = Remote::start(args.timeout, &settings).await?;
        // opens the links (M5)
        let _asked: Vec<_> = remote
            .addressed
            .iter()
            .map(|node| {
                remote
                    .node
                    .monitor(&PortId::of_node(node.clone()))
                    .call(|_| {})
            })
            .collect();
        let attached = async {
            remote.attach(&mut events, None).await?;
            out.chat(format!("attached to {}", remote.home()?));
            Ok(())
        };
        let attached = attached.await;
        remote.or_end(attached).await
    }

    /// Starts a node and links it with `target`: at its address, at a seed, or where the database says that it is. `Err`
    /// says why that is not possible.
    pub(crate) async fn connect(
        args: &RemoteArgs,
        target: &NodeId,
        out: Output,
    ) -> Outcome<Remote> {
        let settings = args.settings()?;
        let has_address = addressed(&settings).contains(target);
        if settings.list("seed").is_empty() && !has_address {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "where is {target}? Give --seed HOST:PORT of the mesh, or --address {target}=HOST:PORT"
                ),
            ));
        }
        let (remote, mut events) = Remote::start(args.timeout, &settings).await?;
        if remote.node.id() == target {
            return Err(Failure::new(
                Exit::Usage,
                format!("{target} is the name of this command's own node"),
            ));
        }
        let linked = async {
            if !has_address {
                remote.attach(&mut events, Some(target)).await?;
                if !remote.is_linked(target) {
                    remote.find_to_dial(target).await?;
                }
            }
            remote.dial(&mut events, target).await?;
            out.chat(format!("linked with {target}"));
            Ok(())
        };
        let linked = linked.await;
        remote.or_end(linked).await
    }

    /// Links with a further node of the mesh, found by the database.
    pub(crate) async fn reach(&self, target: &NodeId) -> Outcome {
        let mut events = self.node.events();
        if !self.is_linked(target) && *target != *self.node.id() {
            self.find_to_dial(target).await?;
        }
        self.dial(&mut events, target).await
    }

    fn is_linked(&self, node: &NodeId) -> bool {
        self.node.links().iter().any(|link| link.node == *node)
    }

    /// The global node that this one is attached to.
    pub(crate) fn home(&self) -> Outcome<NodeId> {
        let home = self.node.db().home();
        home.ok_or_else(|| Failure::new(Exit::Unreachable, "the home of this command was lost"))
    }

    /// Waits until this node has a home, or a link with `target`.
    async fn attach(&self, events: &mut Events, target: Option<&NodeId>) -> Outcome {
        let mut refusals = Refusals::default();
        let mut why_not = None;
        loop {
            if self.node.db().home().is_some() || target.is_some_and(|node| self.is_linked(node)) {
                return Ok(());
            }
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                () = tokio::time::sleep_until(self.deadline) => {
                    return Err(refusals.or(Exit::Unreachable, || self.no_home(why_not)));
                }
            };
            let Some(event) = event else {
                return Err(Failure::new(Exit::Failed, "the node has stopped"));
            };
            refusals.note(&event);
            match event {
                // a seed that refuses us will not change its mind within seconds
                NodeEvent::Refused { .. } if self.seeds + self.addressed.len() <= 1 => {
                    return Err(refusals.or(Exit::Refused, String::new));
                }
                NodeEvent::NotGlobal { text, .. } => why_not = Some(text),
                _ => {}
            }
        }
    }

    fn no_home(&self, why_not: Option<String>) -> String {
        let links = self.node.links();
        let linked: Vec<&str> = links.iter().map(|link| link.node.as_str()).collect();
        let within = format!(
            "no global node took this command in within {:?}",
            self.timeout
        );
        match (linked.is_empty(), why_not) {
            (_, Some(why)) => format!("{within}: {why}"),
            (true, None) => format!("{within}: nobody answers at the seeds and addresses given"),
            (false, None) => format!(
                "{within}: it is linked with {}; give a --seed where a global node is",
                linked.join(", ")
            ),
        }
    }

    /// What the database says of a node; for a moment it is asked again, since one that has just started may be on its way.
    pub(crate) async fn find(&self, node: &NodeId) -> Outcome<MeshNode> {
        let until = self.deadline.min(Instant::now() + FIND);
        loop {
            let found = self.within(async { self.node.db().node(node).await });
            if let Some(found) = found.await?.map_err(db_failure)? {
                return Ok(found);
            }
            if Instant::now() >= until {
                return Err(Failure::new(
                    Exit::NotFound,
                    format!(
                        "there is no node {node} in the mesh that {} is in; if it is, give --address {node}=HOST:PORT",
                        self.home()?
                    ),
                ));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn find_to_dial(&self, target: &NodeId) -> Outcome {
        let found = self.find(target).await?;
        if found.addrs.is_empty() && !self.is_linked(target) {
            return Err(Failure::new(
                Exit::Unreachable,
                format!(
                    "{target} is in the mesh, but listens nowhere, so that no other node can open a link with it: run it \
                     with --listen"
                ),
            ));
        }
        Ok(())
    }

    /// Waits until there is a link, or until it is clear that there will be none.
    async fn dial(&self, events: &mut Events, target: &NodeId) -> Outcome {
        let mut refusals = Refusals::default();
        // a monitor on its node port asks for a link (M5)
        let asked = async { self.node.monitor(&PortId::of_node(target.clone())).await };
        let mut asked = std::pin::pin!(asked);
        loop {
            if self.is_linked(target) || target == self.node.id() {
                return Ok(());
            }
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                reason = &mut asked => {
                    // a refusal is told before the monitor fires, perhaps between the two looks
                    while let Some(event) = next_now(events).await {
                        refusals.note(&event);
                    }
                    return Err(refusals.or(Exit::Unreachable, || death(&PortId::of_node(target.clone()), &reason).error.to_string()));
                }
                () = tokio::time::sleep_until(self.deadline) => {
                    return Err(refusals.or(Exit::Unreachable, || {
                        format!("no link with {target} within {:?}", self.timeout)
                    }));
                }
            };
            match event {
                Some(event) => refusals.note(&event),
                None => return Err(Failure::new(Exit::Failed, "the node has stopped")),
            }
        }
    }

    /// What is left of the timeout, or its end.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = T>) -> Outcome<T> {
        tokio::time::timeout_at(self.deadline, work)
            .await
            .map_err(|_| {
                Failure::new(
                    Exit::Timeout,
                    format!("no answer within {:?}", self.timeout),
                )
            })
    }

    /// What is left of the timeout.
    pub(crate) fn left(&self) -> Duration {
        whole_millis(self.deadline.saturating_duration_since(Instant::now()))
    }

    /// Half of that, for a question after which there is another.
    pub(crate) fn half(&self) -> Duration {
        whole_millis(self.left() / 2)
    }

    /// A round trip through the mesh to that node: a port that never was is reported as such by the node itself. What
    /// was sent before to ports whose lanes are empty has arrived before.
    pub(crate) async fn round_trip(&self, node: &NodeId) -> Outcome<Duration> {
        let nobody = PortId::new(node.clone(), "round-trip".parse().or_exit(Exit::Failed)?);
        let began = Instant::now();
        let reason = self.within(self.node.monitor(&nobody).death()).await?;
        match reason.tag() {
            Some("no_such_port") => Ok(began.elapsed()),
            _ => Err(death(&nobody, &reason)),
        }
    }

    /// Does the work, then stops in order, whatever came of it: what is queued is transmitted first, and nobody takes
    /// this command for lost.
    pub(crate) async fn finish<T>(
        self,
        work: impl AsyncFnOnce(&Remote) -> Outcome<T>,
    ) -> Outcome<T> {
        let done = work(&self).await;
        let flush = if done.is_ok() { FLUSH } else { Duration::ZERO };
        self.node.shutdown(flush).await;
        done
    }

    /// Likewise, where the work was to ask: what nobody has answered until then need not arrive any more.
    pub(crate) async fn leave<T>(
        self,
        work: impl AsyncFnOnce(&Remote) -> Outcome<T>,
    ) -> Outcome<T> {
        let done = work(&self).await;
        self.node.shutdown(Duration::ZERO).await;
        done
    }

    /// This one, or where that failed its end.
    async fn or_end(self, done: Outcome) -> Outcome<Remote> {
        if done.is_err() {
            self.node.shutdown(Duration::ZERO).await;
        }
        done.map(|()| self)
    }
}

/// What a configuration says of a node that only asks: it listens nowhere, starts nothing, and does not take the name of the
/// node that is configured on this host, unless its profile was asked for.
fn client(settings: Settings) -> Settings {
    let is_named = match settings.get("id") {
        Some((_, ConfigOrigin::File { .. })) => settings.profile.is_some(),
        _ => true,
    };
    let settings = settings.without(&[
        "listen",
        "advertise",
        "services",
        "global",
        "trust_global",
        "policy",
    ]);
    if is_named {
        settings
    } else {
        settings.without(&["id"])
    }
}

/// The nodes whose addresses are known beforehand.
fn addressed(settings: &Settings) -> BTreeSet<NodeId> {
    let list = settings.list("address").iter();
    list.filter_map(|text| Some(address(text).ok()?.0))
        .collect()
}

/// The home of a command that goes on, as it was told last.
pub(crate) struct Home(Option<NodeId>);

impl Home {
    pub(crate) fn of(remote: &Remote) -> Self {
        Home(remote.node.db().home())
    }

    /// Says it where it is another one.
    pub(crate) fn tell(&mut self, now: Option<NodeId>, out: Output) {
        if self.0 != now {
            tell_home(now.as_ref(), out);
            self.0 = now;
        }
    }
}

/// The next event, if there is one already.
async fn next_now(events: &mut Events) -> Option<NodeEvent> {
    tokio::select! {
        biased;
        event = events.next() => event,
        () = std::future::ready(()) => None,
    }
}
