//! Addresses on a real network: `*`, names, IPv6, the node's own, and names that lead nowhere.

use std::{error::Error, net::TcpListener, sync::Arc, time::Duration};

use portmesh::{
    NodeId, Secret,
    runtime::mesh::{Mesh, MeshConfig, MeshStartError},
    transport::tls::{Membership, State},
};

use super::rig::{Rig, TestNode, TestPorts, eventually, soon};

struct Tcp {
    rig: Rig,
    secret: Secret,
}

impl Tcp {
    fn new() -> Self {
        Tcp {
            rig: Rig::new(),
            secret: Secret::generate().unwrap(),
        }
    }

    fn config(&self, name: &str, listen: &[&str], seeds: &[&str]) -> MeshConfig {
        let membership = Membership {
            node: name.parse().unwrap(),
            cluster: Some("test".to_owned()),
            identity: None,
            secrets: Some(self.secret.clone().into()),
            state: State::Unpinned,
        };
        let prepared = membership.prepare(&self.rig.limits).unwrap();
        let mut config = self.rig.config_of(name, Arc::new(prepared.transport), "");
        config.credentials = prepared.credentials;
        config.listen = listen.iter().map(|a| (*a).to_owned()).collect();
        config.seeds = seeds.iter().map(|a| (*a).to_owned()).collect();
        config
    }

    async fn node(&self, name: &str, listen: &[&str], seeds: &[&str]) -> TestNode {
        TestNode::start(self.config(name, listen, seeds)).await
    }

    async fn fails(&self, config: MeshConfig) -> (MeshStartError, String) {
        let ports = TestPorts::new(&config.node, &config.limits);
        let error = Mesh::start(config, ports).await.unwrap_err();
        let text = match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        (error, text)
    }
}

fn port_of(addr: &str) -> u16 {
    addr.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn a_node_that_listens_everywhere_advertises_what_others_can_use() {
    let tcp = Tcp::new();
    let hub = tcp.node("hub", &["*:*"], &[]).await;
    let [listens] = &hub.mesh.listen_addrs()[..] else {
        panic!("{:?}", hub.mesh.listen_addrs());
    };
    let port = port_of(listens);
    assert_ne!(port, 0);
    let advertised = hub.mesh.advertised();
    assert!(!advertised.is_empty());
    let loopback = format!("127.0.0.1:{port}");
    for (number, addr) in advertised.iter().chain([&loopback]).enumerate() {
        assert_eq!(port_of(addr), port);
        assert!(!addr.contains('*') && !addr.starts_with("0.0.0.0") && !addr.starts_with("[::]"));
        let leaf = format!("leaf{number}");
        let leaf = tcp.node(&leaf, &[], &[addr]).await;
        leaf.until_linked("hub").await;
        assert!(leaf.mesh.advertised().is_empty(), "it is private");
    }
}

#[tokio::test]
async fn the_port_is_filled_in_and_names_are_used_with_all_their_addresses() {
    let tcp = Tcp::new();
    for listen in ["127.0.0.1:*", "127.0.0.1:0", "localhost:*"] {
        let hub = tcp.node("hub", &[listen], &[]).await;
        let addr = hub.mesh.listen_addrs().remove(0);
        assert_ne!(port_of(&addr), 0);
        assert_eq!(hub.mesh.advertised(), [addr.as_str()]);
        let seed = format!("localhost:{}", port_of(&addr));
        let leaf = tcp.node("leaf", &[], &[&seed]).await;
        leaf.until_linked("hub").await;
        leaf.mesh.shutdown(Duration::from_secs(1)).await;
        hub.mesh.shutdown(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn a_taken_port_is_not_had_by_listening_on_less() {
    let tcp = Tcp::new();
    let hub = tcp.node("hub", &["*:*"], &[]).await;
    let again = format!("*:{}", port_of(&hub.mesh.listen_addrs()[0]));
    let (error, text) = tcp.fails(tcp.config("twin", &[&again], &[])).await;
    assert!(matches!(error, MeshStartError::Listen { .. }), "{text}");
    assert!(text.contains(&again), "{text}");
}

#[tokio::test]
async fn a_seed_that_is_the_node_itself_is_known_before_it_is_dialled() {
    let tcp = Tcp::new();
    for (listen, seed) in [
        ("*", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
    ] {
        let node = loop {
            // the port must be known before; another process may take it meanwhile
            let taken = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = taken.local_addr().unwrap().port();
            drop(taken);
            let (listen, seed) = (format!("{listen}:{port}"), format!("{seed}:{port}"));
            let config = tcp.config("self", &[&listen], &[&seed]);
            let ports = TestPorts::new(&config.node, &config.limits);
            match Mesh::start(config, ports).await {
                Ok(mesh) => break mesh,
                Err(MeshStartError::Listen { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        };
        assert!(node.is_global(), "{listen} {seed}");
        let mut untried = node.seeds_untried();
        let _ = soon("it is tried", untried.wait_for(|n| *n == 0)).await;
        assert!(node.seed_nodes().borrow().is_empty());
        assert!(node.links().is_empty());
        node.shutdown(Duration::ZERO).await;
    }
    let leaf = tcp.node("leaf", &["127.0.0.1:*"], &["192.0.2.1"]).await;
    assert!(!leaf.mesh.is_global());
}

// L4
#[tokio::test]
async fn a_seed_whose_name_does_not_exist_is_tried_again_and_evicts_nobody() {
    let tcp = Tcp::new();
    let hub = tcp.node("hub", &["127.0.0.1:*"], &[]).await;
    let seed = hub.mesh.listen_addrs().remove(0);
    let leaf = tcp
        .node("leaf", &["127.0.0.1:*"], &["name.invalid", &seed])
        .await;
    leaf.until_linked("hub").await;
    eventually("three failures", || leaf.mesh.stats().dials_failed >= 3).await;
    assert_eq!(leaf.ups_and_downs("hub"), ["up"]);
    assert!(!leaf.mesh.is_global());
}

#[tokio::test]
async fn addresses_that_can_never_be_used_are_refused_at_the_start() {
    let tcp = Tcp::new();
    for (listen, reason) in [
        (":4040", "the host is missing"),
        ("::1:4040", "in brackets"),
        ("host:http", "is no port"),
    ] {
        let (error, text) = tcp.fails(tcp.config("a", &[listen], &[])).await;
        assert!(matches!(error, MeshStartError::Listen { .. }), "{text}");
        assert!(text.contains(reason) && text.contains(listen), "{text}");
    }
    let refused = [
        ("*:4040", "every address of a host"),
        ("[::]:4040", "every address of a host"),
        ("host:*", "not known beforehand"),
        (":4040", "the host is missing"),
    ];
    for (addr, reason) in refused {
        let seed = tcp.config("a", &["127.0.0.1:*"], &[addr]);
        let mut advertise = tcp.config("a", &["127.0.0.1:*"], &[]);
        advertise.advertise = vec![addr.to_owned()];
        let mut address = tcp.config("a", &["127.0.0.1:*"], &[]);
        let other: NodeId = "b".parse().unwrap();
        address.addresses.insert(other, vec![addr.to_owned()]);
        for (config, what) in [
            (seed, "a seed"),
            (advertise, "an address to advertise"),
            (address, "the address of a node"),
        ] {
            let (error, text) = tcp.fails(config).await;
            assert!(matches!(error, MeshStartError::Address { .. }), "{text}");
            for part in [what, reason, addr] {
                assert!(text.contains(part), "{part:?} is not in {text}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_advertised_is_told_in_full() {
    let tcp = Tcp::new();
    let mut config = tcp.config("a", &["127.0.0.1:*"], &[]);
    config.advertise = vec!["Node.Example.NET".to_owned(), "[::1]".to_owned()];
    let a = TestNode::start(config).await;
    assert_eq!(a.mesh.advertised(), ["node.example.net:4040", "[::1]:4040"]);
}
