//! `portmesh nodes`: who is in the mesh, and who of them answers.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::json;
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use crate::{
    LinkInfo, MeshNode, Node, NodeId, PortId,
    cli::{
        args::RemoteArgs,
        exit::Outcome,
        node::{call_failure, db_failure, mode_text, proof_text, unix_seconds},
        output::{Output, aligned, millis, whole_millis},
        remote::Remote,
    },
};

/// Nodes that are asked at the same time.
const AT_ONCE: usize = 32;
/// How long one of them may take.
const ANSWER: Duration = Duration::from_secs(2);

/// List the nodes of the mesh: home, address, version, proven identity, round trip
///
/// The database says who is in the mesh, and this command links with each of them to see whether it answers, what proves
/// its identity, and how long a round trip takes. A node that listens nowhere cannot be linked with: what its home says of
/// it is printed then, and the round trip is the home's.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Ask the database alone: no node is linked with
    #[arg(long)]
    no_ping: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// How it stands with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has answered.
    Up,
    /// It has not.
    Unreachable,
    /// It listens nowhere, so that nobody can ask; its home says that it is attached.
    Private,
    /// It was not asked.
    Listed,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            State::Up => "up",
            State::Unreachable => "unreachable",
            State::Private => "private",
            State::Listed => "listed",
        }
    }
}

struct Seen {
    node: MeshNode,
    state: State,
    /// The link that proves who it is, and the node at its other end.
    link: Option<(LinkInfo, NodeId)>,
    rtt: Option<Duration>,
    error: Option<String>,
}

impl Seen {
    fn cells(&self) -> Vec<String> {
        let node = &self.node;
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let home = match (&node.home, node.global) {
            (_, true) => "global".to_owned(),
            (Some(home), _) => format!("at {home}"),
            (None, _) => "no home".to_owned(),
        };
        let addrs = Some(node.addrs.join(" ")).filter(|addrs| !addrs.is_empty());
        let proof = self.link.as_ref().map(|(link, to)| {
            let soon = link.expires.and_then(expires_soon);
            let proof = format!("{}{}", proof_text(link), soon.unwrap_or_default());
            match self.state {
                State::Private => format!("{proof} (says {to})"),
                _ => proof,
            }
        });
        vec![
            node.node.to_string(),
            self.state.text().to_owned(),
            home,
            or_none(addrs),
            node.version.clone(),
            or_none(self.rtt.map(|rtt| format!("{:.3} ms", millis(rtt)))),
            or_none(proof.or(self.error.clone())),
        ]
    }

    fn json(&self) -> serde_json::Value {
        let node = &self.node;
        let identity = self.link.as_ref().map(|(link, to)| {
            json!({"mode": mode_text(link.mode), "proof": link.proof, "security": link.security, "proved_to": to,
                "expires_s": link.expires.map(unix_seconds)})
        });
        json!({
            "node": node.node, "state": self.state.text(), "global": node.global, "home": node.home,
            "addrs": node.addrs, "version": node.version, "identity": identity, "ms": self.rtt.map(millis),
            "error": self.error,
        })
    }
}

/// A warning where a certificate has to be renewed: from 30 days before it expires.
fn expires_soon(expires: SystemTime) -> Option<String> {
    let left = expires
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    let days = left.as_secs_f64() / 86_400.0;
    (days < 30.0).then(|| format!("; EXPIRES IN {days:.1} DAYS, renew it"))
}

pub(crate) async fn run(args: Args, out: Output) -> Outcome {
    let remote = Remote::join(&args.remote, out).await?;
    remote
        .leave(async |remote| {
            let nodes = remote.within(async { remote.node.db().nodes().await });
            let mut nodes = nodes.await?.map_err(db_failure)?;
            // this command's own node is gone in a moment
            nodes.retain(|node| node.node != *remote.node.id());
            let mut seen = if args.no_ping {
                nodes.into_iter().map(listed).collect()
            } else {
                ask_all(remote, nodes).await
            };
            seen.sort_by(|a, b| a.node.node.cmp(&b.node.node));
            let rows: Vec<_> = seen.iter().map(Seen::cells).collect();
            for (line, seen) in aligned(&rows).iter().zip(&seen) {
                out.data(line, &seen.json());
            }
            Ok(())
        })
        .await
}

fn listed(node: MeshNode) -> Seen {
    Seen {
        node,
        state: State::Listed,
        link: None,
        rtt: None,
        error: None,
    }
}

async fn ask_all(remote: &Remote, nodes: Vec<MeshNode>) -> Vec<Seen> {
    let limit = Arc::new(Semaphore::new(AT_ONCE));
    // the other half is for the homes of private ones
    let deadline = Instant::now() + remote.half();
    let mut asked = JoinSet::new();
    let mut seen = Vec::new();
    for node in nodes {
        if node.addrs.is_empty() {
            seen.push(Seen {
                state: State::Private,
                ..listed(node)
            });
            continue;
        }
        let (limit, me) = (limit.clone(), remote.node.clone());
        asked.spawn(async move {
            let _permit = limit.acquire().await;
            let left = deadline.saturating_duration_since(Instant::now());
            ask(&me, node, whole_millis(left).min(ANSWER)).await
        });
    }
    while let Some(answer) = asked.join_next().await {
        seen.extend(answer);
    }
    ask_homes(remote, &mut seen).await;
    seen
}

/// Links with a node, and measures a round trip.
async fn ask(me: &Node, node: MeshNode, within: Duration) -> Seen {
    let port = PortId::of_node(node.node.clone());
    let ping = || me.call::<String>(&port, ("ping",)).within(within);
    let measured = async {
        // the first one makes the link
        ping().await?;
        let began = Instant::now();
        ping().await.map(|_| began.elapsed())
    };
    match measured.await {
        Ok(rtt) => {
            let link = me.links().into_iter().find(|link| link.node == node.node);
            Seen {
                state: State::Up,
                link: link.map(|link| (link, me.id().clone())),
                rtt: Some(rtt),
                ..listed(node)
            }
        }
        Err(error) => Seen {
            state: State::Unreachable,
            error: Some(format!("{:#}", anyhow::Error::from(error))),
            ..listed(node)
        },
    }
}

/// What the homes of private nodes say of them.
async fn ask_homes(remote: &Remote, seen: &mut [Seen]) {
    let mut homes: BTreeMap<NodeId, Vec<&mut Seen>> = BTreeMap::new();
    for seen in seen.iter_mut().filter(|seen| seen.state == State::Private) {
        match seen.node.home.clone() {
            Some(home) => homes.entry(home).or_default().push(seen),
            None => seen.error = Some("it has no home now".to_owned()),
        }
    }
    let mut asked = JoinSet::new();
    for home in homes.keys().cloned() {
        let (me, time) = (remote.node.clone(), remote.left().min(ANSWER));
        asked.spawn(async move {
            let report = me.report(&home, time).await.map_err(|error| {
                let failure = call_failure(&PortId::of_node(home.clone()), error);
                format!("its home: {:#}", failure.error)
            });
            (home, report)
        });
    }
    while let Some(answer) = asked.join_next().await {
        let Ok((home, report)) = answer else { continue };
        for seen in homes.remove(&home).unwrap_or_default() {
            match &report {
                Ok(report) => {
                    let mut links = report.links.iter();
                    let link = links.find(|link| link.node == seen.node.node).cloned();
                    seen.rtt = link.as_ref().and_then(|link| link.rtt);
                    seen.link = link.map(|link| (link, home.clone()));
                }
                Err(error) => seen.error = Some(error.clone()),
            }
        }
    }
}
