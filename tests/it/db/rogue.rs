//! A member that proves itself as any other, and says of the database what the test wants.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, Weak},
};

use portmesh::{
    Incarnation, Limits, NodeId,
    proto::{
        close::CloseReason,
        db::{
            clock::Stamp,
            item::{Item, Packed},
            wire::{Chunk, Stage, Wire},
        },
        link::LinkId,
        message::Message,
        policy::PeerPolicy,
    },
    runtime::{DbLinks, mesh::Mesh},
    transport::memory::MemoryNetwork,
};

use crate::links::rig::{Rig, TestNode, TestPorts, eventually};

#[derive(Default)]
struct RogueDb {
    state: Mutex<State>,
    mesh: OnceLock<Weak<Mesh<TestPorts>>>,
}

#[derive(Default)]
struct State {
    links: BTreeMap<NodeId, LinkId>,
    got: Vec<Wire>,
    downs: Vec<String>,
}

impl DbLinks for RogueDb {
    fn begin(&self, _: bool) {}
    fn link_up(
        &self,
        link: LinkId,
        node: &NodeId,
        _: Incarnation,
        _: &[String],
        _: bool,
        _: Arc<PeerPolicy>,
    ) {
        let mut state = self.state.lock().unwrap();
        state.links.insert(node.clone(), link);
    }
    fn link_down(&self, _: LinkId, node: &NodeId, reason: &CloseReason) {
        let mut state = self.state.lock().unwrap();
        state.links.remove(node);
        state.downs.push(reason.to_string());
    }
    fn handle(&self, _: LinkId, message: Message) -> Result<(), CloseReason> {
        let wire = Wire::decode(&message, &Limits::default())?;
        self.state.lock().unwrap().got.push(wire);
        Ok(())
    }
    fn room(&self, _: LinkId) {}
}

/// See the module.
pub(crate) struct Rogue {
    pub(crate) node: TestNode,
    pub(crate) life: Incarnation,
    db: Arc<RogueDb>,
    to: NodeId,
}

impl Rogue {
    /// Links itself with that node of the network.
    pub(crate) async fn new(network: &MemoryNetwork, name: &str, to: &str, global: bool) -> Rogue {
        let rig = Rig {
            network: network.clone(),
            limits: Limits::default(),
        };
        let db = Arc::new(RogueDb::default());
        let mut config = rig.config(name);
        config.cluster = "portmesh".to_owned();
        config.db = Some(db.clone());
        config.global = Some(global);
        let to: NodeId = to.parse().unwrap();
        config
            .addresses
            .insert(to.clone(), vec![to.as_str().to_owned()]);
        let life = config.incarnation;
        let node = TestNode::start(config).await;
        let _ = db.mesh.set(Arc::downgrade(&node.mesh));
        let rogue = Rogue { node, life, db, to };
        rogue.link().await;
        rogue
    }

    /// Links itself again.
    pub(crate) async fn link(&self) {
        let is_up = || self.db.state.lock().unwrap().links.contains_key(&self.to);
        if !is_up() {
            self.node.mesh.want(&self.to);
            eventually("the rogue is linked", is_up).await;
        }
    }

    /// Links itself again and asks for a home.
    pub(crate) async fn attach(&self, counter: u64, version: u64) {
        self.link().await;
        self.db.state.lock().unwrap().got.clear();
        self.say(&Wire::Attach { counter, version });
        self.until(|wire| matches!(wire, Wire::Attached { .. }))
            .await;
    }

    pub(crate) fn say(&self, wire: &Wire) {
        self.say_raw(wire.encode(&Limits::default()).unwrap());
    }

    pub(crate) fn say_raw(&self, message: Message) {
        let link = self.db.state.lock().unwrap().links.get(&self.to).copied();
        self.node.mesh.send_db(link.expect("a link"), message);
    }

    /// Waits until it was told such a thing since it asked for a home.
    #[track_caller]
    pub(crate) fn until(&self, is: impl Fn(&Wire) -> bool) -> impl Future<Output = ()> {
        eventually("it is told", move || {
            self.db.state.lock().unwrap().got.iter().any(&is)
        })
    }

    pub(crate) fn got(&self) -> Vec<Wire> {
        self.db.state.lock().unwrap().got.clone()
    }

    /// Waits until it is thrown out; with which words.
    pub(crate) async fn thrown_out(&self) -> String {
        let is_down = || !self.db.state.lock().unwrap().links.contains_key(&self.to);
        eventually("the rogue is thrown out", is_down).await;
        self.db.state.lock().unwrap().downs.last().unwrap().clone()
    }

    pub(crate) fn is_linked(&self) -> bool {
        self.db.state.lock().unwrap().links.contains_key(&self.to)
    }

    /// A chunk of its own shard.
    pub(crate) fn chunk(&self, from: u64, to: u64, items: Vec<(&str, Vec<Item>)>) -> Chunk {
        Chunk {
            sub: 0,
            owner: self.node.name.clone(),
            life: self.life,
            from,
            to,
            stage: Stage::Whole,
            items: items
                .into_iter()
                .map(|(family, items)| (family.parse().unwrap(), items))
                .collect(),
            alive: Vec::new(),
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_millis() as u64
}

/// An entry that is written now.
pub(crate) fn item(key: &str, seq: u64, value: u64) -> Item {
    stamped(key, seq, value, Stamp::of_ms(wall_ms()))
}

pub(crate) fn stamped(key: &str, seq: u64, value: u64, stamp: Stamp) -> Item {
    Item::Set {
        key: key.into(),
        seq,
        stamp,
        value: Packed::encode(&value, &Limits::default()).unwrap(),
    }
}
