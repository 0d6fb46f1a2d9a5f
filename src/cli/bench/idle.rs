//! Memory of what waits and does nothing, measured in a process of its own: what was used and freed before would be used again.

use std::{collections::BTreeMap, time::Duration};

use clap::ValueEnum;

use super::{
    super::{
        exit::{Exit, OrExit, Outcome},
        throwaway::Credentials,
    },
    figures::Line,
    load::resident_bytes,
    pair::{OTHERS, PATIENCE, check, linked, other_id},
};
use crate::{Context, Node, PortId};

const PORTS: usize = 100_000;
/// Nodes that are linked before the measurement begins, so that what is made once is made.
const WARM: usize = 8;

/// Until a link has nothing more to say of what went over it.
const REST: Duration = Duration::from_secs(1);

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Idle {
    Ports,
    Links,
}

/// What was measured, by name.
pub(super) type Figures = BTreeMap<String, f64>;

impl Idle {
    pub(super) fn name(self) -> &'static str {
        match self {
            Idle::Ports => "ports",
            Idle::Links => "links",
        }
    }

    /// The figures as results; NaN for what was not told.
    pub(super) fn lines(self, figures: &Figures) -> Vec<Line> {
        let figure = |name: &'static str| figures.get(name).copied().unwrap_or(f64::NAN);
        let line = |bench, value, more: &[&'static str]| {
            let more = more.iter().map(|&name| (name, figure(name)));
            Line::new(bench, figure(value), "bytes").with_all(more)
        };
        match self {
            Idle::Ports => vec![line("idle_port", "bytes", &["fresh", "ports"])],
            Idle::Links => vec![
                line("idle_node", "node", &["nodes"]),
                line(
                    "idle_link",
                    "bytes",
                    &["fresh", "just_used", "links", "nodes"],
                ),
            ],
        }
    }

    pub(super) async fn measure(self, credentials: &Credentials, format: &str) -> Outcome<Figures> {
        let figures = match self {
            Idle::Ports => ports().await?,
            Idle::Links => links(credentials, format).await?,
        };
        let named = figures.into_iter();
        Ok(named
            .map(|(name, value)| (name.to_owned(), value))
            .collect())
    }
}

/// Ports that wait for messages, and nothing else.
async fn ports() -> Outcome<Vec<(&'static str, f64)>> {
    let node = Node::builder("bench/idle").start().await;
    let node = node.or_exit(Exit::Failed)?;
    let mut ports = Vec::with_capacity(PORTS);
    let before = resident_bytes();
    for n in 0..PORTS {
        ports.push(node.port().state(n).on("ping", ping).open());
    }
    let fresh = (resident_bytes() - before) / PORTS as f64;
    // and after each has done something
    for port in &ports {
        let call = node.call::<usize>(port.id(), ("ping",));
        call.await.or_exit(Exit::Failed)?;
    }
    let used = (resident_bytes() - before) / PORTS as f64;
    node.shutdown(Duration::ZERO).await;
    Ok(vec![
        ("bytes", used),
        ("fresh", fresh),
        ("ports", PORTS as f64),
    ])
}

async fn ping(n: &mut usize, cx: &Context, (reply,): (PortId,)) {
    let _ = cx.send(&reply, *n);
}

/// Nodes of this process, each linked with each over TLS on loopback: what a node takes, and what one end of a link takes
/// when it is new, when messages of 64 KiB have just gone both ways, and when nothing goes any more. Both ends are here, so
/// that a link takes twice that.
async fn links(credentials: &Credentials, format: &str) -> Outcome<Vec<(&'static str, f64)>> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut ports = Vec::new();
    let mut before = f64::NAN;
    for n in 0..OTHERS {
        if n == WARM {
            link_all(&nodes, 0..WARM).await?;
            use_all(&nodes, &ports, 1..WARM).await?;
            before = resident_bytes();
        }
        let builder = credentials.builder(&other_id(n), format)?;
        let mut builder = builder.global(false).listen("127.0.0.1:*");
        for node in &nodes {
            for addr in node.listen_addrs() {
                builder = builder.address(node.id().clone(), addr);
            }
        }
        let node = builder.start().await.or_exit(Exit::Failed)?;
        ports.push(node.port().on("take", take).open().id().clone());
        nodes.push(node);
    }
    let node = (resident_bytes() - before) / (OTHERS - WARM) as f64;
    let before = resident_bytes();
    let links = link_all(&nodes, WARM..OTHERS).await? as f64;
    let an_end = || (resident_bytes() - before) / links / 2.0;
    let fresh = an_end();
    use_all(&nodes, &ports, WARM..OTHERS).await?;
    let just_used = an_end();
    tokio::time::sleep(REST).await;
    let figures = vec![
        ("bytes", an_end()),
        ("fresh", fresh),
        ("just_used", just_used),
        ("node", node),
        ("links", links),
        ("nodes", OTHERS as f64),
    ];
    for node in nodes {
        node.shutdown(Duration::ZERO).await;
    }
    Ok(figures)
}

async fn take(_: &mut (), cx: &Context, (data, reply): (String, PortId)) {
    let _ = cx.send(&reply, (data,));
}

/// Sends to all before these nodes what comes back.
async fn use_all(nodes: &[Node], ports: &[PortId], which: std::ops::Range<usize>) -> Outcome {
    let data = "x".repeat(64 << 10);
    for (n, node) in nodes.iter().enumerate().skip(which.start).take(which.len()) {
        for port in ports.iter().take(n) {
            for _ in 0..4 {
                let call = node
                    .call::<(String,)>(port, ("take", &data))
                    .within(PATIENCE);
                let (back,) = call.await.or_exit(Exit::Failed)?;
                check(back == data, "another text came back")?;
            }
        }
    }
    Ok(())
}

/// Links these nodes with all before them; says how many links that were.
async fn link_all(nodes: &[Node], which: std::ops::Range<usize>) -> Outcome<usize> {
    let mut links = 0;
    for (n, node) in nodes.iter().enumerate().skip(which.start).take(which.len()) {
        for other in nodes.iter().take(n) {
            linked(node, other.id()).await?;
            links += 1;
        }
    }
    Ok(links)
}
