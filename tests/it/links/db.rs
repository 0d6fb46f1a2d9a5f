//! What a mesh tells the node's database, and does for it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, Weak},
    time::Duration,
};

use portmesh::{
    Incarnation, Limits, NodeId,
    proto::{close::CloseReason, link::LinkId, message::Message, policy::PeerPolicy},
    runtime::{
        DbLinks,
        mesh::{Mesh, MeshConfig},
    },
};

use super::rig::{Rig, TestNode, TestPorts, eventually};

/// Notes what it is told, sends one message when a link comes up, and refuses messages that say so.
#[derive(Default)]
struct TestDb {
    state: Mutex<State>,
    mesh: OnceLock<Weak<Mesh<TestPorts>>>,
}

#[derive(Default)]
struct State {
    links: BTreeMap<NodeId, LinkId>,
    ups: Vec<(NodeId, Vec<String>, bool)>,
    downs: Vec<(NodeId, CloseReason)>,
    got: Vec<(String, u64)>,
    rooms: usize,
}

fn encode(tag: &str, number: u64, padding: usize) -> Message {
    let padding = "x".repeat(padding);
    Message::encode(&(tag, number, padding), &Limits::default()).unwrap()
}

impl TestDb {
    fn mesh(&self) -> Option<Arc<Mesh<TestPorts>>> {
        self.mesh.get()?.upgrade()
    }

    fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap())
    }

    fn link(&self, node: &str) -> LinkId {
        self.with(|state| state.links[&node.parse::<NodeId>().unwrap()])
    }

    fn got(&self) -> usize {
        self.with(|state| state.got.len())
    }
}

impl DbLinks for TestDb {
    fn begin(&self, _global: bool) {}
    fn link_up(
        &self,
        link: LinkId,
        node: &NodeId,
        _: Incarnation,
        features: &[String],
        dialled_seed: bool,
        _: Arc<PeerPolicy>,
    ) {
        let mut state = self.state.lock().unwrap();
        let up = (node.clone(), features.to_vec(), dialled_seed);
        state.ups.push(up);
        let other = state.links.insert(node.clone(), link);
        assert_eq!(other, None, "a second link");
        drop(state);
        if let Some(mesh) = self.mesh() {
            mesh.send_db(link, encode("hello", 0, 0));
        }
    }

    fn link_down(&self, link: LinkId, node: &NodeId, reason: &CloseReason) {
        let mut state = self.state.lock().unwrap();
        assert_eq!(state.links.remove(node), Some(link));
        state.downs.push((node.clone(), reason.clone()));
    }

    fn handle(&self, link: LinkId, message: Message) -> Result<(), CloseReason> {
        let mut state = self.state.lock().unwrap();
        assert!(state.links.values().any(|up| *up == link));
        let (tag, number, _): (String, u64, String) = message.decode(&Limits::default()).unwrap();
        if tag == "bad" {
            return Err(CloseReason::Protocol("a bad word for the database".into()));
        }
        state.got.push((tag, number));
        Ok(())
    }

    fn room(&self, _: LinkId) {
        self.state.lock().unwrap().rooms += 1;
    }
}

async fn start(mut config: MeshConfig) -> (TestNode, Arc<TestDb>) {
    let db = Arc::new(TestDb::default());
    config.db = Some(db.clone());
    let node = TestNode::start(config).await;
    let _ = db.mesh.set(Arc::downgrade(&node.mesh));
    (node, db)
}

#[tokio::test(start_paused = true)]
async fn the_database_hears_of_links_and_sends_over_them() {
    let rig = Rig::new();
    let mut config = rig.config("a");
    config.seeds = vec!["b".to_owned()];
    // while it starts nobody answers: its database has its mesh before the first link
    let (a, db_a) = start(config).await;
    // it has no seed: it is a global node
    let (b, db_b) = start(rig.config("b")).await;
    eventually("both greet", || db_a.got() == 1 && db_b.got() == 1).await;
    let features = |names: &[&str]| names.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>();
    db_a.with(|state| {
        let up = (
            b.name.clone(),
            features(&["retire", "renew", "db", "global"]),
            true,
        );
        assert_eq!(state.ups, [up]);
        assert_eq!(state.got, [("hello".to_owned(), 0)]);
    });
    db_b.with(|state| {
        let up = (a.name.clone(), features(&["retire", "renew", "db"]), false);
        assert_eq!(state.ups, [up]);
    });
    // more than the window: in order, and the engine is told to wait
    let link = db_a.link("b");
    let mut sent = 0;
    while sent < 2000 {
        while sent < 2000 && a.mesh.db_room(link) {
            sent += 1;
            let padding = if sent % 100 == 0 { 100_000 } else { 6_000 };
            a.mesh.send_db(link, encode("n", sent, padding));
        }
        let rooms = db_a.with(|state| state.rooms);
        if sent < 2000 {
            eventually("room", || db_a.with(|state| state.rooms) > rooms).await;
        }
    }
    eventually("all", || db_b.got() as u64 == 1 + sent).await;
    assert!(db_b.with(|state| (1..=sent).zip(&state.got[1..]).all(|(n, got)| got.1 == n)));
    assert!(db_a.with(|state| state.rooms) > 10);
    // messages are as before
    let inbox = b.ports.open("in");
    a.send("b#in", ("n", 1)).unwrap();
    assert_eq!(inbox.next::<(String, i32)>().await.1, 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_database_ends_the_link_and_so_does_its_wish() {
    let rig = Rig::new();
    let (b, db_b) = start(rig.config("b")).await;
    let mut config = rig.config("a");
    config.addresses.insert(b.name.clone(), vec!["b".into()]);
    let (a, db_a) = start(config).await;
    // nothing is sent: it is wanted
    a.mesh.want(&b.name);
    eventually("both", || db_a.got() == 1 && db_b.got() == 1).await;
    let first = db_a.link("b");
    a.mesh.send_db(first, encode("bad", 0, 0));
    a.mesh.send_db(first, encode("n", 0, 0));
    eventually("down", || db_a.with(|state| state.downs.len()) == 1).await;
    db_b.with(|state| {
        let text = "a bad word for the database".to_owned();
        assert_eq!(state.downs, [(a.name.clone(), CloseReason::Protocol(text))]);
        assert_eq!(state.got.len(), 1, "nothing behind it");
    });
    db_a.with(|state| assert!(state.downs[0].1.to_string().contains("a bad word")));
    // what is for the link that is gone is ignored
    a.mesh.send_db(first, encode("n", 1, 0));
    assert!(!a.mesh.db_room(first));

    a.mesh.want(&b.name);
    eventually("again", || db_b.got() == 2).await;
    let second = db_b.link("a");
    for _ in 0..20 {
        let reason = CloseReason::Protocol("it tells lies".into());
        b.mesh.close_link(second, reason);
    }
    eventually("down", || db_a.with(|state| state.downs.len()) == 2).await;
    db_a.with(|state| assert!(state.downs[1].1.to_string().contains("it tells lies")));
    a.until_not_linked("b").await;
    assert_eq!(a.ups_and_downs("b"), ["up", "down", "up", "down"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_without_a_database_is_none_of_its_links() {
    let rig = Rig::new();
    let (a, db_a) = {
        let mut config = rig.config("a");
        let addr = vec!["b".to_owned()];
        config.addresses.insert("b".parse().unwrap(), addr);
        start(config).await
    };
    let b = rig.node("b", &[]).await;
    let inbox = b.ports.open("in");
    a.send("b#in", ("n", 1)).unwrap();
    assert_eq!(inbox.next::<(String, i32)>().await.1, 1);
    a.mesh.shutdown(Duration::from_secs(1)).await;
    assert!(db_a.with(|state| state.ups.is_empty() && state.downs.is_empty()));
}
