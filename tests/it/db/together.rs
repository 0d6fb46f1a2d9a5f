//! Nodes that all start together, with one another as seeds, over slow links: each pair ends with one link, and what was
//! sent and monitored before there was any is not lost.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use portmesh::{
    Context, Events, Limits, Node, NodeBuilder, NodeEvent, PortId, Secret,
    transport::memory::MemoryNetwork,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
};

use super::{
    proxy::Proxy,
    whole::{LONG, builder, happened, within},
};
use crate::links::rig::eventually;

const DELAY: Duration = Duration::from_millis(20);
/// Messages from each node to each other one.
const COUNT: u64 = 20;

struct Member {
    node: Node,
    port: PortId,
    inbox: UnboundedReceiver<(String, u64)>,
    events: Events,
}

type Inbox = UnboundedSender<(String, u64)>;

async fn note(to: &mut Inbox, _: &Context, got: (String, u64)) {
    let _ = to.send(got);
}

async fn begin(builder: NodeBuilder) -> Member {
    let node = builder.start().await.unwrap();
    let events = node.events();
    let (to, inbox) = unbounded_channel();
    let port = node.port().state(to).on("n", note).open();
    let id = port.id().clone();
    Member {
        node,
        port: id,
        inbox,
        events,
    }
}

/// Everybody monitors and writes to everybody at once; all arrives, in order, nothing fires, one link a pair.
async fn meet(mut members: Vec<Member>) -> Vec<Member> {
    let ports: Vec<PortId> = members.iter().map(|m| m.port.clone()).collect();
    let (fired, mut fires) = unbounded_channel();
    let mut monitors = Vec::new();
    for member in &members {
        for port in ports.iter().filter(|port| **port != member.port) {
            let fired = fired.clone();
            let what = format!("{} of {port}", member.node.id());
            let monitor = member.node.monitor(port).call(move |reason| {
                let _ = fired.send(format!("{what}: {reason}"));
            });
            monitors.push(monitor);
            for n in 0..COUNT {
                let from = member.node.id().as_str();
                member.node.send(port, ("n", from, n)).unwrap();
            }
        }
    }
    let others = members.len() - 1;
    for member in &mut members {
        let mut next = std::collections::BTreeMap::new();
        for _ in 0..others as u64 * COUNT {
            let (from, n) = within(member.inbox.recv()).await.unwrap();
            let wanted = next.entry(from).or_insert(0);
            assert_eq!(n, *wanted);
            *wanted += 1;
        }
        assert_eq!(next.len(), others);
    }
    for member in &members {
        let linked = || {
            let links = member.node.links();
            let nodes: BTreeSet<_> = links.iter().map(|link| link.node.clone()).collect();
            assert_eq!(nodes.len(), links.len(), "two links with one node");
            links.len() == others
        };
        eventually("all are linked", linked).await;
    }
    // answers over all links: nothing is on its way any more
    let mut calls = JoinSet::new();
    for member in &members {
        for port in ports.iter().filter(|port| **port != member.port) {
            let port = PortId::of_node(port.node().clone());
            calls.spawn(member.node.call::<String>(&port, ("ping",)).into_future());
        }
    }
    while let Some(pong) = within(calls.join_next()).await {
        assert_eq!(pong.unwrap().unwrap(), "pong");
    }
    assert_eq!(fires.try_recv().ok(), None);
    for member in &mut members {
        let events = happened(&mut member.events).await;
        let ups = events.iter().filter(|e| matches!(e, NodeEvent::Up { .. }));
        assert!(ups.count() <= others);
        for event in &events {
            let fine = matches!(event, NodeEvent::Up { .. } | NodeEvent::Home(_));
            assert!(fine, "{}: {event:?}", member.node.id());
        }
        assert_eq!(member.node.stats().undelivered, 0);
    }
    drop(monitors);
    members
}

async fn over_memory(count: usize, name: &str) {
    let network = MemoryNetwork::new();
    let names: Vec<String> = (0..count).map(|n| format!("{name}{n:02}")).collect();
    for (from, to) in names.iter().flat_map(|a| names.iter().map(move |b| (a, b))) {
        network.delay(from, to, DELAY);
    }
    let seeds: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut starts = Vec::new();
    for name in &names {
        starts.push(tokio::spawn(begin(builder(&network, name, &seeds))));
    }
    let mut members = Vec::new();
    for start in starts {
        members.push(start.await.unwrap());
    }
    let members = meet(members).await;
    for (a, b) in names.iter().flat_map(|a| names.iter().map(move |b| (a, b))) {
        if a < b {
            eventually("one connection", || network.connections(a, b) == 1).await;
        }
    }
    if name == "g" {
        same_views(&members).await;
    }
}

/// All global nodes come to show the same.
async fn same_views(members: &[Member]) {
    for member in members {
        let name = member.node.id().as_str();
        member.node.db().set("all", name, &1).unwrap().detach();
    }
    let same = || {
        let sums: Vec<_> = members
            .iter()
            .map(|member| member.node.db().summary().unwrap())
            .collect();
        sums[0].owners == members.len() as u64
            && sums.iter().all(|sum| sum.digest == sums[0].digest)
    };
    eventually("the same views", same).await;
    for member in members {
        let keys = within(member.node.db().keys("all")).await.unwrap();
        assert_eq!(keys.len(), members.len());
    }
}

// L1 L5 P1 P2 M2
#[tokio::test(start_paused = true)]
async fn two_nodes_that_connect_at_once_keep_one_link_and_all_messages() {
    over_memory(2, "n").await;
    over_memory(2, "g").await;
}

// L1 L5 P1 P2 M2 R3
#[tokio::test(start_paused = true)]
async fn twenty_nodes_that_connect_at_once_keep_one_link_a_pair_and_all_messages() {
    over_memory(20, "n").await;
    // these do much more: all tell each other all links
    over_memory(8, "g").await;
}

// L1 L5 P1 P2 M2 R3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_connect_at_once_over_tcp_keep_one_link_a_pair_and_all_messages() {
    const NODES: usize = 6;
    let secret = Secret::generate().unwrap();
    let proxies: Vec<Arc<Proxy>> = (0..NODES).map(|_| Proxy::start(DELAY)).collect();
    let mut starts = Vec::new();
    for n in 0..NODES {
        let mut builder = Node::builder(format!("g{n}"))
            .secret(secret.clone())
            .unpinned()
            .limits(Limits {
                // all come from one address here
                unauthenticated_per_address_max: 64,
                ..Limits::default()
            })
            .listen("127.0.0.1:0")
            .advertise(proxies[n].addr())
            .trust_global("g*".parse().unwrap())
            .global(true);
        for proxy in &proxies {
            builder = builder.seed(proxy.addr());
        }
        let proxy = proxies[n].clone();
        starts.push(tokio::spawn(async move {
            let member = begin(builder).await;
            proxy.set_target(&member.node.listen_addrs()[0]);
            member
        }));
    }
    let mut members = Vec::new();
    for start in starts {
        members.push(start.await.unwrap());
    }
    let members = tokio::time::timeout(LONG, meet(members)).await.unwrap();
    same_views(&members).await;
}
