//! The mesh of one node: what is sent to other nodes, their links, and who may connect.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::broadcast;

use super::{
    LinkSink, NodePorts, Watch,
    events::{LinkInfo, MeshStats, NodeEvent},
    transport::{ConnectError, SharedTransport},
};
use crate::proto::{
    codec::Format,
    id::{Incarnation, NodeId, PortId, PortName},
    limits::Limits,
    link::LinkId,
    message::{Message, Reason},
    monitor::WatchId,
    node::peer::Reply,
    policy::Policy,
};

/// What a mesh is made from.
#[derive(Clone)]
pub struct MeshConfig {
    /// The name of this node.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Every bound.
    pub limits: Limits,
    /// Formats that links may use, the preferred one first.
    pub formats: Vec<Format>,
    /// Who may do what here.
    pub policy: Policy,
    /// Makes and takes connections.
    pub transport: SharedTransport,
    /// Where to listen.
    pub listen: Vec<String>,
    /// Addresses that are tried until they answer, and again when their node goes (L4).
    pub seeds: Vec<String>,
    /// Where nodes can be dialled.
    pub addresses: BTreeMap<NodeId, Vec<String>>,
}

/// Why a mesh does not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeshStartError {
    /// One of the listeners cannot listen.
    #[error("cannot listen on {addr}")]
    Listen {
        /// Its address.
        addr: String,
        /// Why.
        #[source]
        source: ConnectError,
    },
}

/// Why a message was not sent. Nothing was queued; the message comes back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeshSendError {
    /// What waits for that node is at its limit (P3, P8).
    #[error("the outbound queue to the node is full")]
    Full(Message),
    /// This node has shut down (L6).
    #[error("this node is shut down")]
    ShutDown(Message),
}

/// See the module. `P` is the ports of the node.
pub struct Mesh<P: NodePorts> {
    _ports: Arc<P>,
}

#[allow(unused_variables)]
impl<P: NodePorts> Mesh<P> {
    /// Listens, starts the driver and begins to dial the seeds.
    pub async fn start(config: MeshConfig, ports: Arc<P>) -> Result<Arc<Self>, MeshStartError> {
        todo!()
    }
    /// Queues a message to a port of another node. Never blocks, and needs no link (P3).
    pub fn send(&self, to: &PortId, message: Message) -> Result<(), MeshSendError> {
        todo!()
    }
    /// Likewise, and waits for room where there is none.
    pub async fn send_wait(&self, to: &PortId, message: Message) -> Result<(), MeshSendError> {
        todo!()
    }
    /// A message and a monitor on its port in one frame (S4). On `Err` the watch is dropped uncalled.
    pub fn call(
        &self,
        to: &PortId,
        message: Message,
        watch: Watch,
    ) -> Result<WatchId, MeshSendError> {
        todo!()
    }
    /// Monitors a port of another node. After a shutdown it fires at once, before this returns.
    pub fn monitor(&self, to: &PortId, watch: Watch) -> WatchId {
        todo!()
    }
    /// Takes a monitor back: when this returns it has fired, is firing, or never will.
    pub fn unmonitor(&self, to: &PortId, id: WatchId) {
        todo!()
    }
    /// Kills a port of another node, behind what was sent to it before (M4).
    pub fn kill(&self, to: &PortId, reason: &Reason) {
        todo!()
    }
    /// Asks for a new port of that name on another node (S1).
    pub fn spawn(&self, port: &PortId, function: &str, args: Message) -> Result<(), MeshSendError> {
        todo!()
    }
    /// Where this node listens, with the ports that the system chose.
    pub fn listen_addrs(&self) -> Vec<String> {
        todo!()
    }
    /// The links that are up, by node ID.
    pub fn links(&self) -> Vec<LinkInfo> {
        todo!()
    }
    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<NodeEvent> {
        todo!()
    }
    /// Counters.
    pub fn stats(&self) -> MeshStats {
        todo!()
    }
    /// Stops in order (L6): accepts and sends no more, transmits what is queued within `flush` at most, tells the peers,
    /// closes. All monitors that are left fire. Returns when everything has ended; again at once.
    pub async fn shutdown(&self, flush: Duration) {
        todo!()
    }
}

impl<P: NodePorts> LinkSink for Mesh<P> {
    fn reply(&self, _link: LinkId, _reply: Reply) {
        todo!()
    }
    fn room(&self, _link: LinkId, _port: &PortName) {
        todo!()
    }
}
