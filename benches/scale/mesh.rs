//! Many nodes in one process, three of them global, each with a link to each other one.

use std::time::{Duration, Instant};

use portmesh::{Node, PortId};

use super::{Authority, PATIENCE, Res, cpu_seconds, number, support};

const NODES: u64 = 200;
const GLOBALS: usize = 3;
/// After how many nodes the cost of one more is told.
const TOLD: [usize; 7] = [2, 10, 25, 50, 100, 150, 200];
const MODE: &str = "tls1.3";
/// What the other parts of the process have open.
const OTHER_FILES: u64 = 200;

/// How many nodes there can be: a link takes two files, one for each end.
fn nodes() -> u64 {
    let wanted = number("PORTMESH_SCALE_NODES", NODES);
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max open files"));
    let files = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let fits = |n: &u64| files.is_none_or(|files| n * (n - 1) + n + OTHER_FILES <= files);
    let nodes = (2..=wanted).rev().find(fits).unwrap_or(2);
    if nodes < wanted {
        eprintln!(
            "{wanted} nodes need more open files than the {files:?} that are allowed here (ulimit -n): {nodes} nodes"
        );
    }
    nodes
}

pub(crate) async fn run(authority: &Authority) -> Res {
    let count = nodes() as usize;
    let mut builders = Vec::new();
    for n in 0..count {
        let global = n < GLOBALS;
        let name = format!("scale/{}{n:03}", if global { 'g' } else { 'n' });
        let builder = authority.builder(&name)?.global(global);
        builders.push(builder.trust_global("scale/g*".parse()?));
    }
    let before = support::resident_bytes();
    let began = Instant::now();
    let mut nodes: Vec<Node> = Vec::new();
    let mut monitors = Vec::new();
    for (n, mut builder) in builders.into_iter().enumerate() {
        for seed in nodes.iter().take(GLOBALS) {
            builder = builder.seed(&seed.listen_addrs()[0]);
        }
        let (cpu, joined) = (cpu_seconds(), Instant::now());
        let node = builder.start().await?;
        // as a program does that works with all of them
        for other in &nodes {
            let port = PortId::of_node(other.id().clone());
            monitors.push(
                node.monitor(&port)
                    .call(|reason| eprintln!("lost: {reason}")),
            );
        }
        nodes.push(node);
        let mut pause = Duration::from_millis(1);
        while nodes.iter().any(|node| node.stats().mesh.links < n) {
            assert!(
                joined.elapsed() < PATIENCE,
                "node {n} is not linked with all"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        if TOLD.contains(&(n + 1)) || n + 1 == count {
            let took = joined.elapsed().as_secs_f64() * 1e3;
            let cpu = (cpu_seconds() - cpu) * 1e3;
            let extra = [
                ("nodes", n as f64 + 1.0),
                ("cpu_ms", cpu),
                ("cpu_ms_a_link", cpu / n as f64),
            ];
            support::emit("scale_join", MODE, took, "ms", &extra);
        }
    }
    let linked = began.elapsed().as_secs_f64();
    let links = nodes.iter().map(|node| node.links().len()).sum::<usize>() / 2;
    assert_eq!(links, count * (count - 1) / 2);
    let refused: u64 = nodes.iter().map(|n| n.stats().mesh.refused_by_limit).sum();
    let extra = [
        ("nodes", count as f64),
        ("links", links as f64),
        ("refused_by_limit", refused as f64),
    ];
    support::emit("scale_all_linked", MODE, linked, "s", &extra);
    idle(&nodes, links, before).await;
    drop(monitors);
    for node in nodes {
        node.shutdown(Duration::ZERO).await;
    }
    Ok(())
}

/// What the links cost while nothing happens, over more than one round of what global nodes tell each other.
async fn idle(nodes: &[Node], links: usize, before: f64) {
    let rest = Duration::from_secs(number("PORTMESH_SCALE_IDLE", 80));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let bytes = || -> u64 { nodes.iter().map(|node| node.stats().mesh.bytes_out).sum() };
    let (sent, cpu, began) = (bytes(), cpu_seconds(), Instant::now());
    // the busiest tenth of a second says whether they do it in step
    let (mut last, mut busiest) = (cpu, 0.0_f64);
    while began.elapsed() < rest {
        let tick = Instant::now();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = cpu_seconds();
        busiest = busiest.max((now - last) / tick.elapsed().as_secs_f64());
        last = now;
    }
    let wall = began.elapsed().as_secs_f64();
    let cpu = (cpu_seconds() - cpu) / wall;
    let ends = 2.0 * links as f64;
    let extra = [
        ("links", links as f64),
        ("cpu_us_a_second_a_link", cpu * 1e6 / links as f64),
        ("cores_busiest_100ms", busiest),
        (
            "bytes_a_second_a_link",
            (bytes() - sent) as f64 / wall / links as f64,
        ),
    ];
    support::emit("scale_idle_mesh", MODE, cpu, "cores", &extra);
    let memory = (support::resident_bytes() - before) / ends;
    let extra = [("links", links as f64), ("nodes", nodes.len() as f64)];
    support::emit(
        "scale_idle_link",
        MODE,
        memory,
        "bytes an end of a link",
        &extra,
    );
    assert!(
        nodes
            .iter()
            .all(|node| node.links().len() + 1 == nodes.len()),
        "none was lost"
    );
}
