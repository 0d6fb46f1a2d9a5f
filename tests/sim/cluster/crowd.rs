//! Many nodes: each with a link to a few that all know, and to some others that it works with, as in a mesh of that size.
//! Nodes die without a word, and every monitor on them fires, once, and no other one.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Nodes that all others are linked with.
const HUBS: usize = 3;
/// Others that each node is linked with besides.
const OTHERS: usize = 4;
/// Until all are linked.
const JOINED: Duration = Duration::from_secs(8);
/// From a death until nobody may be without the news: the link timeout, and what is on its way then.
const NEWS: Duration = Duration::from_secs(6);

/// What became of it.
#[derive(Debug)]
pub struct Crowd {
    pub links: usize,
    pub steps: u64,
    /// Monitors on the nodes that died, and all others.
    pub on_dead: usize,
    pub on_living: usize,
}

/// Plays that many nodes; panics where something does not hold.
pub fn run(nodes: usize, seed: u64) -> Crowd {
    let mut rng = Rng::new(seed);
    let net = Net::new(nodes, Rng::new(rng.next()));
    let names: Vec<NodeId> = (0..nodes)
        .map(|n| format!("node{n:04}").parse().unwrap())
        .collect();
    let addresses = names.iter().cloned().zip(0..).collect();
    let w = World::new(limits(), net, addresses, rng, Mutant::None);
    let mut cluster = Cluster {
        w,
        hosts: (0..nodes).map(|_| Host::default()).collect(),
        names,
        calm: false,
        start: start(),
    };
    for host in 0..nodes {
        cluster.start(host, None);
    }
    let pairs = cluster.pairs();
    for &(host, of) in &pairs {
        // the node itself, and one of its ports
        let node = cluster.names[of].clone();
        let port = cluster.w.directory.iter().find(|id| *id.node() == node);
        let ports = [PortId::of_node(node.clone()), port.unwrap().clone()];
        for to in ports {
            cluster.with(host, |at, w| at.monitor(w, &to, OnFire::Nothing));
        }
    }
    let bound = 400 * pairs.len() as u64 + 1000 * nodes as u64;
    let mut steps = cluster.play_until(start() + JOINED, bound);
    for &(host, of) in &pairs {
        let ends = [(host, of), (of, host)];
        for (one, other) in ends {
            let node = cluster.hosts[one].node.as_ref().unwrap();
            assert!(node.has_link(&cluster.names[other]), "{one} with {other}");
        }
    }
    // one that all are linked with, and some that few are
    let dead = BTreeSet::from([0, nodes / 2, nodes - 1]);
    for &host in &dead {
        cluster.crash(host, true);
    }
    let died = cluster.w.now;
    let before = cluster.fired();
    assert!(before.is_empty(), "nobody died: {before:?}");
    steps += cluster.play_until(died + NEWS, bound);
    cluster.check(&dead);
    let on_dead = |(host, of): &&(usize, usize)| dead.contains(of) && !dead.contains(host);
    Crowd {
        links: pairs.len(),
        steps,
        on_dead: 2 * pairs.iter().filter(on_dead).count(),
        on_living: 2 * pairs.iter().filter(|pair| !on_dead(pair)).count(),
    }
}

impl Cluster {
    /// Who monitors whom.
    fn pairs(&mut self) -> BTreeSet<(usize, usize)> {
        let nodes = self.hosts.len();
        let mut pairs = BTreeSet::new();
        for host in 0..nodes {
            let hubs = (0..HUBS).filter(|hub| *hub < host || host < HUBS);
            pairs.extend(hubs.filter(|hub| *hub != host).map(|hub| (host, hub)));
            for _ in 0..OTHERS {
                let of = self.w.rng.below(nodes as u64) as usize;
                if of != host {
                    pairs.insert((host, of));
                }
            }
        }
        pairs
    }

    /// How often each monitor has fired.
    fn fired(&self) -> BTreeMap<u64, u32> {
        let mut fired = BTreeMap::new();
        for entry in &self.w.history.entries {
            if let What::Fired { watch, .. } = entry.what {
                *fired.entry(watch).or_default() += 1;
            }
        }
        fired
    }

    fn check(&self, dead: &BTreeSet<usize>) {
        let fired = self.fired();
        let mut ups = BTreeMap::new();
        for entry in &self.w.history.entries {
            match &entry.what {
                What::Monitored { to, watch } if !dead.contains(&entry.host) => {
                    let of = self.w.addresses[to.node()];
                    let times = fired.get(watch).copied().unwrap_or(0);
                    let expected = u32::from(dead.contains(&of));
                    assert_eq!(times, expected, "{} of {to}", entry.host);
                }
                What::Up { peer, .. } => {
                    *ups.entry((entry.host, peer.clone())).or_insert(0) += 1;
                }
                _ => {}
            }
        }
        // nobody was lost and found again
        assert!(ups.values().all(|times| *times == 1));
    }
}
