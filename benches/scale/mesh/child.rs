//! Such a process from within: its nodes, and what it does when it is told to.

use std::{
    collections::VecDeque,
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use portmesh::{Node, NodeBuilder, PortId, transport::memory::MemoryNetwork};
use tokio::sync::mpsc;

use super::{
    super::builder,
    GLOBALS, PATIENCE, Res, Told, name,
    process::{PART, Way},
};

/// Why a node was lost is said so many times.
const LOSSES_SAID: u64 = 10;

/// Its nodes that are there, and those that are still to start.
struct Part {
    builders: VecDeque<(usize, NodeBuilder)>,
    nodes: Vec<Node>,
    lost: Arc<AtomicU64>,
}

/// Is that process where the arguments say so.
pub(crate) async fn child(args: &[String]) -> Res<bool> {
    let [first, mode, dir, numbers @ ..] = args else {
        return Ok(false);
    };
    if first != PART {
        return Ok(false);
    }
    let way = Way::ALL.into_iter().find(|way| way.mode() == mode);
    let numbers: Result<Vec<usize>, _> = numbers.iter().map(|text| text.parse()).collect();
    let numbers = <[usize; 3]>::try_from(numbers?);
    let (Some(way), Ok(numbers)) = (way, numbers) else {
        return Err(format!("what is {args:?}?").into());
    };
    let mut part = Part::new(way, Path::new(dir), numbers)?;
    let mut orders = orders();
    answer("ready")?;
    while let Some(order) = orders.recv().await {
        let (what, rest) = order.split_once(' ').unwrap_or((&order, ""));
        let done = match what {
            "join" => part.join(rest).await?,
            "linked" => part.linked(rest.parse()?).await?,
            "told" => part.told(),
            _ => return Err(format!("what is {order:?}?").into()),
        };
        answer(&done)?;
    }
    Ok(true)
}

/// The lines of standard input. The process ends with it, whatever it is at.
fn orders() -> mpsc::UnboundedReceiver<String> {
    let (to, orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    orders
}

fn answer(text: &str) -> Res {
    println!("{text}");
    Ok(std::io::stdout().flush()?)
}

/// Monitors another node for ever, as a program does that works with it. On a machine that is busy a dial may come to
/// nothing in its time: the monitor fires, and the next one dials again.
async fn watch(node: Node, port: PortId, lost: Arc<AtomicU64>) {
    loop {
        let reason = node.monitor(&port).death().await;
        if lost.fetch_add(1, Ordering::Relaxed) < LOSSES_SAID {
            eprintln!("{} lost {port}: {reason}", node.id());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Part {
    fn new(way: Way, dir: &Path, [nodes, part, parts]: [usize; 3]) -> Res<Part> {
        let network = MemoryNetwork::new();
        let mut builders = VecDeque::new();
        for n in (part..nodes).step_by(parts) {
            let name = name(n);
            let builder = match way {
                Way::Tls => builder(dir, &name)?,
                Way::Memory => Node::builder(&name)
                    .transport(network.host(&name))
                    .listen("memory:0"),
            };
            let builder = builder.global(n < GLOBALS);
            builders.push_back((n, builder.trust_global("scale/g*".parse()?)));
        }
        Ok(Part {
            builders,
            nodes: Vec::new(),
            lost: Arc::default(),
        })
    }

    async fn join(&mut self, seeds: &str) -> Res<String> {
        let (n, mut builder) = self.builders.pop_front().ok_or("all nodes are there")?;
        for seed in seeds.split_whitespace() {
            builder = builder.seed(seed);
        }
        let node = builder.start().await?;
        let addr = node.listen_addrs().first().cloned();
        for other in 0..n {
            let port = PortId::of_node(name(other).parse()?);
            tokio::spawn(watch(node.clone(), port, self.lost.clone()));
        }
        self.nodes.push(node);
        Ok(addr.ok_or("it does not listen")?)
    }

    async fn linked(&self, links: usize) -> Res<String> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(1);
        while let Some(node) = self.nodes.iter().find(|n| n.stats().mesh.links < links) {
            if began.elapsed() > PATIENCE {
                let has = node.stats().mesh.links;
                return Err(format!("{} has {has} links of {links}", node.id()).into());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        Ok("linked".to_owned())
    }

    fn told(&self) -> String {
        let mut sum = Told {
            lost: self.lost.load(Ordering::Relaxed),
            ..Told::default()
        };
        for node in &self.nodes {
            let mesh = node.stats().mesh;
            sum.ends += mesh.links as u64;
            sum.bytes_out += mesh.bytes_out;
            sum.refused += mesh.refused_by_limit;
        }
        format!(
            "{} {} {} {}",
            sum.ends, sum.bytes_out, sum.refused, sum.lost
        )
    }
}
