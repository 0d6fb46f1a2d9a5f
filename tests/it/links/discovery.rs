//! How nodes find each other: names that change, lookups, what is advertised, and seeds that may rest.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use portmesh::{
    NodeId,
    runtime::{
        Directory,
        mesh::{Mesh, MeshConfig, MeshStartError},
        transport::{BoxFuture, ConnectError, Connection, Listener, Transport},
    },
    transport::memory::MemoryTransport,
};
use tokio::time::{Instant, sleep};

use super::rig::{Rig, TestNode, TestPorts, eventually, soon};

/// The memory network with names in front of its addresses.
#[derive(Clone)]
struct Named {
    names: Arc<Mutex<BTreeMap<String, String>>>,
    inner: Arc<MemoryTransport>,
}

impl Named {
    fn new(rig: &Rig, host: &str) -> Self {
        Named {
            names: Arc::default(),
            inner: rig.network.host(host),
        }
    }

    fn set(&self, name: &str, addr: &str) {
        let mut names = self.names.lock().unwrap();
        names.insert(name.to_owned(), addr.to_owned());
    }

    fn remove(&self, name: &str) {
        self.names.lock().unwrap().remove(name);
    }
}

impl Transport for Named {
    fn dial<'a>(
        &'a self,
        addr: &'a str,
        expect: Option<&'a NodeId>,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        let found = self.names.lock().unwrap().get(addr).cloned();
        Box::pin(async move {
            let found = found.ok_or_else(|| ConnectError::Resolve {
                addr: addr.to_owned(),
                source: io::Error::other("no such name"),
            })?;
            self.inner.dial(&found, expect).await
        })
    }

    fn listen<'a>(
        &'a self,
        addr: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, ConnectError>> {
        self.inner.listen(addr)
    }
}

/// What is said of any node, one answer after the other, the last one for ever.
#[derive(Default)]
struct Answers {
    answers: Vec<Vec<&'static str>>,
    asked: AtomicUsize,
    hangs: bool,
}

impl Answers {
    fn new(answers: &[&[&'static str]]) -> Arc<Self> {
        Arc::new(Answers {
            answers: answers.iter().map(|a| a.to_vec()).collect(),
            ..Answers::default()
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Directory for Answers {
    fn lookup<'a>(&'a self, _: &'a NodeId) -> BoxFuture<'a, Vec<String>> {
        Box::pin(async {
            let at = self.asked.fetch_add(1, Ordering::Relaxed);
            if self.hangs {
                std::future::pending::<()>().await;
            }
            let answer = self.answers.get(at).or(self.answers.last());
            let answer = answer.into_iter().flatten();
            answer.map(|addr| (*addr).to_owned()).collect()
        })
    }
}

/// A node that listens nowhere.
fn leaf(rig: &Rig) -> MeshConfig {
    let mut config = rig.config("leaf");
    config.listen.clear();
    config
}

// L4
#[tokio::test(start_paused = true)]
async fn a_name_whose_address_changes_is_found_at_the_new_one() {
    let rig = Rig::new();
    let named = Named::new(&rig, "leaf");
    named.set("seed", "old");
    let old = rig.config_of("hub", rig.network.host("old"), "old");
    let old = TestNode::start(old).await;
    let mut config = rig.config_of("leaf", Arc::new(named.clone()), "leaf");
    config.seeds = vec!["seed".to_owned()];
    let leaf = TestNode::start(config).await;
    leaf.until_linked("hub").await;
    assert_eq!(leaf.mesh.seed_nodes().borrow().len(), 1);

    old.mesh.shutdown(Duration::ZERO).await;
    leaf.until_not_linked("hub").await;
    let new = rig.config_of("other", rig.network.host("new"), "new");
    let _new = TestNode::start(new).await;
    sleep(Duration::from_secs(60)).await;
    assert!(!leaf.linked("other"));
    named.set("seed", "new");
    leaf.until_linked("other").await;
    let nodes = leaf.mesh.seed_nodes().borrow().clone();
    assert!(nodes.iter().map(NodeId::as_str).eq(["other"]), "{nodes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_cannot_be_resolved_evicts_nobody_and_is_tried_again() {
    let rig = Rig::new();
    let named = Named::new(&rig, "leaf");
    named.set("seed", "hub");
    let hub = rig.node("hub", &[]).await;
    let mut config = rig.config_of("leaf", Arc::new(named.clone()), "leaf");
    config.seeds = vec!["seed".to_owned(), "other".to_owned()];
    let leaf = TestNode::start(config).await;
    leaf.until_linked("hub").await;

    named.remove("seed");
    sleep(Duration::from_secs(600)).await;
    assert_eq!(leaf.ups_and_downs("hub"), ["up"]);
    let failed = leaf.mesh.stats().dials_failed;
    assert!((15..60).contains(&failed), "only the other one: {failed}");

    // the link is lost while the name is, too
    rig.network.cut("leaf", "hub");
    leaf.until_not_linked("hub").await;
    rig.network.heal("leaf", "hub");
    sleep(Duration::from_secs(600)).await;
    assert!(!leaf.linked("hub"));
    assert_eq!(leaf.mesh.seed_nodes().borrow().len(), 1);
    named.set("seed", "hub");
    leaf.until_linked("hub").await;
    hub.until_linked("leaf").await;
}

// L3
#[tokio::test(start_paused = true)]
async fn a_lookup_finds_a_node_that_is_known_nowhere_or_at_a_stale_address() {
    for known in [Vec::new(), vec!["stale".to_owned()]] {
        let rig = Rig::new();
        let hub = rig.config_of("hub", rig.network.host("hub"), "moved");
        let hub = TestNode::start(hub).await;
        let inbox = hub.ports.open("in");
        let directory = Answers::new(&[&["stale", "moved"], &[]]);
        let mut config = leaf(&rig);
        if !known.is_empty() {
            config.addresses.insert(hub.name.clone(), known);
        }
        config.directory = Some(directory.clone());
        let leaf = TestNode::start(config).await;
        leaf.send("hub#in", ("found",)).unwrap();
        assert_eq!(inbox.next::<(String,)>().await.0, "found");
        let stats = leaf.mesh.stats();
        assert_eq!((stats.dialled, stats.dials_failed), (2, 1), "each once");

        // it answered there: that is remembered, though the directory has forgotten it
        rig.network.cut("leaf", "hub");
        leaf.until_not_linked("hub").await;
        rig.network.heal("leaf", "hub");
        leaf.send("hub#in", ("again",)).unwrap();
        assert_eq!(inbox.next::<(String,)>().await.0, "again");
        assert_eq!(leaf.mesh.stats().dialled, 3);
        assert_eq!(directory.asked(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_from_a_lookup_that_leads_to_another_node_is_not_believed() {
    let rig = Rig::new();
    let _other = rig.node("other", &[]).await;
    let directory = Answers::new(&[&["other"]]);
    let mut config = leaf(&rig);
    config.directory = Some(directory.clone());
    let leaf = TestNode::start(config).await;
    for asked in 1..=2 {
        let reason = leaf.monitor("hub").until_fired().await;
        assert_eq!(reason.tag(), Some("transport_error"));
        assert_eq!(directory.asked(), asked, "it is not in the book");
    }
    assert!(!leaf.linked("hub") && !leaf.linked("other"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_no_one_knows_is_unreachable_with_what_was_tried() {
    let rig = Rig::new();
    let mut nowhere = leaf(&rig);
    nowhere.directory = Some(Answers::new(&[]));
    let mut stale = leaf(&rig);
    let addrs = vec!["stale".to_owned()];
    stale.addresses.insert("hub".parse().unwrap(), addrs);
    stale.directory = Some(Answers::new(&[&["gone", "stale"]]));
    let mut silent = leaf(&rig);
    silent.directory = Some(Arc::new(Answers {
        hangs: true,
        ..Answers::default()
    }));
    let cases = [
        (leaf(&rig), "none was given, and no seed is that node"),
        (nowhere, "and the database has none"),
        (stale, "cannot connect to stale"),
        (silent, "did not say within 5s"),
    ];
    for (config, said) in cases {
        let leaf = TestNode::start(config).await;
        let began = Instant::now();
        let reason = leaf.monitor("hub").until_fired().await;
        let reason = format!("{reason:?}");
        assert!(reason.contains(said), "{reason}");
        assert!(began.elapsed() < Duration::from_secs(6));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_waits_for_the_seeds_where_it_found_nothing_before() {
    let rig = Rig::new();
    let hub = rig.node("hub", &[]).await;
    let inbox = hub.ports.open("in");
    rig.network.delay("leaf", "slow", Duration::from_secs(1));
    let _slow = rig.node("slow", &[]).await;
    let directory = Answers::new(&[&[], &["hub"]]);
    let mut config = leaf(&rig);
    config.seeds = vec!["slow".to_owned()];
    config.directory = Some(directory.clone());
    let leaf = TestNode::start(config).await;
    let mut untried = leaf.mesh.seeds_untried();
    assert_eq!(*untried.borrow(), 1);
    leaf.send("hub#in", ("late",)).unwrap();
    assert_eq!(inbox.next::<(String,)>().await.0, "late");
    assert_eq!(directory.asked(), 2);
    assert!(leaf.linked("slow"));
    let _ = soon("all are tried", untried.wait_for(|n| *n == 0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_link_that_comes_up_ends_a_lookup() {
    let rig = Rig::new();
    let directory = Arc::new(Answers {
        hangs: true,
        ..Answers::default()
    });
    let mut config = rig.config("a");
    config.limits.connect_timeout = Duration::from_secs(3600);
    config.directory = Some(directory.clone());
    let a = TestNode::start(config).await;
    let monitor = a.monitor("b#in");
    a.send("b#in", ("waits",)).unwrap();
    eventually("it is looked up", || directory.asked() == 1).await;
    let b = rig.node("b", &["a"]).await;
    let inbox = b.ports.open("in");
    let began = Instant::now();
    b.monitor("a");
    assert_eq!(inbox.next::<(String,)>().await.0, "waits");
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(monitor.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn seeds_of_a_node_that_is_attached_rest_until_it_no_longer_is() {
    let rig = Rig::new();
    let hub = rig.node("hub", &[]).await;
    let mut config = leaf(&rig);
    config.seeds = vec!["hub".to_owned(), "late".to_owned()];
    let leaf = TestNode::start(config).await;
    leaf.until_linked("hub").await;
    leaf.mesh.set_attached(true);
    hub.mesh.shutdown(Duration::ZERO).await;
    leaf.until_not_linked("hub").await;
    let again = rig.config_of("again", rig.network.host("hub"), "hub");
    let _again = TestNode::start(again).await;
    sleep(Duration::from_secs(600)).await;
    assert!(!leaf.linked("again"));
    // one that never answered is tried all the while
    let _late = rig.node("late", &[]).await;
    leaf.until_linked("late").await;
    leaf.mesh.set_attached(false);
    let began = Instant::now();
    leaf.until_linked("again").await;
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_node_is_global_as_it_is_told_or_when_it_has_no_seed_but_itself() {
    let rig = Rig::new();
    let cases: &[(&[&str], Option<bool>, bool)] = &[
        (&[], None, true),
        (&["a"], None, true),
        (&["a", "nat"], None, true),
        (&["b"], None, false),
        (&["a", "b"], None, false),
        (&["b"], Some(true), true),
        (&[], Some(false), false),
    ];
    for (seeds, told, global) in cases {
        let mut config = rig.config("a");
        config.seeds = seeds.iter().map(|s| (*s).to_owned()).collect();
        config.advertise = vec!["nat".to_owned()];
        config.global = *told;
        let a = TestNode::start(config).await;
        assert_eq!(a.mesh.is_global(), *global, "{seeds:?} {told:?}");
        a.mesh.shutdown(Duration::ZERO).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_advertises_what_it_is_told_or_where_it_listens() {
    let rig = Rig::new();
    let mut config = rig.config("a");
    let a = TestNode::start(config.clone()).await;
    assert_eq!(a.mesh.advertised(), ["a"]);
    a.mesh.shutdown(Duration::ZERO).await;
    config.advertise = vec!["out".to_owned(), "side".to_owned(), "out".to_owned()];
    let a = TestNode::start(config.clone()).await;
    assert_eq!(a.mesh.advertised(), ["out", "side"]);
    assert_eq!(a.mesh.listen_addrs(), ["a"]);
    a.mesh.shutdown(Duration::ZERO).await;

    config.listen.clear();
    let ports = TestPorts::new(&config.node, &config.limits);
    let error = Mesh::start(config, ports).await.unwrap_err();
    assert!(
        matches!(&error, MeshStartError::NothingToAdvertise { addr } if addr == "out"),
        "{error}"
    );
    let private = TestNode::start(leaf(&rig)).await;
    assert!(private.mesh.advertised().is_empty());
}

/// Behind a translation of addresses a node may not reach itself where others do.
#[tokio::test(start_paused = true)]
async fn a_seed_that_is_this_node_by_what_it_advertises_is_left_alone() {
    let rig = Rig::new();
    let mut config = rig.config("a");
    config.advertise = vec!["nat".to_owned()];
    config.seeds = vec!["nat".to_owned()];
    let a = TestNode::start(config).await;
    sleep(Duration::from_secs(1000)).await;
    let dialled = a.mesh.stats().dialled;
    assert!((2..6).contains(&dialled), "{dialled}");
}
