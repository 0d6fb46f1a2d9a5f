//! Who is in the mesh, as its database tells.

use std::collections::BTreeMap;

use super::{
    db::{Db, DbValue},
    error::DbError,
};
use crate::proto::{
    db::{
        engine::Advert,
        name::system::{HOMES, NODES},
    },
    id::NodeId,
};

/// A node of the mesh: [`Db::nodes`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeshNode {
    /// The node.
    pub node: NodeId,
    /// Where it can be dialled, as it says itself. None: only itself can open links.
    pub addrs: Vec<String>,
    /// Whether it is a global node: it says so, and is attached to none.
    pub global: bool,
    /// The global node that it is attached to; itself for a global node; none while it changes homes.
    pub home: Option<NodeId>,
    /// The version of its program, as it says itself.
    pub version: String,
}

impl MeshNode {
    fn from_entry(key: &str, value: &DbValue) -> Option<Self> {
        let node: NodeId = key.parse().ok()?;
        // nobody else's word counts
        if *value.owner() != node {
            return None;
        }
        let advert: Advert = value.decode().ok()?;
        Some(MeshNode {
            node,
            addrs: advert.addr,
            global: advert.global,
            home: None,
            version: advert.version,
        })
    }

    fn with_home(mut self, homes: &BTreeMap<String, NodeId>) -> Self {
        self.home = homes.get(self.node.as_str()).cloned();
        self.global &= self.home.is_none();
        if self.global {
            self.home = Some(self.node.clone());
        }
        self
    }
}

impl Db<'_> {
    /// Every node that is in the mesh now, by ID: this one, all global nodes, and all that are attached to one. What is
    /// said of addresses and versions is said by the nodes; who they are is proved by a link and by nothing else.
    ///
    /// ```
    /// # async fn example(node: &portmesh::Node) -> Result<(), portmesh::DbError> {
    /// for node in node.db().nodes().await? {
    ///     println!("{} at {}", node.node, node.addrs.join(", "));
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub async fn nodes(&self) -> Result<Vec<MeshNode>, DbError> {
        let nodes = self.family(NODES).await?;
        let homes = self.family(HOMES).await?.into_iter();
        let homes = homes
            .map(|(node, home)| (node, home.owner().clone()))
            .collect();
        let mut nodes: Vec<MeshNode> = nodes
            .iter()
            .filter_map(|(key, value)| MeshNode::from_entry(key, value))
            .map(|node| node.with_home(&homes))
            .collect();
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        Ok(nodes)
    }

    /// What one node says of itself, with its home; `None`: it is not in the mesh.
    ///
    /// ```
    /// # async fn example(node: &portmesh::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// if let Some(worker) = node.db().node(&"worker/a".parse()?).await? {
    ///     println!("{:?} is its home", worker.home);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub async fn node(&self, node: &NodeId) -> Result<Option<MeshNode>, DbError> {
        let key = node.as_str();
        let Some(value) = self.entry(NODES, key).await? else {
            return Ok(None);
        };
        let home = self.entry(HOMES, key).await?;
        let homes = home.map(|home| (key.to_owned(), home.owner().clone()));
        let homes = homes.into_iter().collect();
        Ok(MeshNode::from_entry(key, &value).map(|node| node.with_home(&homes)))
    }
}
