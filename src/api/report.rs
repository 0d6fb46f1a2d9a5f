//! What nodes tell of themselves over their node ports: their links, and what they hold of the database.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{error::CallError, events::LinkInfo, node::Node};
use crate::proto::{
    handshake::Mode,
    id::{Incarnation, NodeId, PortId},
};

/// Links in one answer, so that its size has a bound.
const LINKS_MAX: usize = 128;
/// Links that are taken of one node: no node has more, whatever it says.
const TOLD_MAX: usize = 100_000;
/// The messages of the node port.
pub(super) const LINKS: &str = "links";
pub(super) const DB_DIGEST: &str = "db_digest";

/// What a node says of itself and its links: [`Node::report`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeReport {
    /// The node.
    pub node: NodeId,
    /// This life of it.
    pub incarnation: Incarnation,
    /// The version of its program.
    pub version: String,
    /// Whether it is a global node, by its own word.
    pub global: bool,
    /// The global node that it is attached to; itself if it is one.
    pub home: Option<NodeId>,
    /// Where it can be reached.
    pub advertised: Vec<String>,
    /// Ports that live there.
    pub ports: u64,
    /// Things that its policy has refused to other nodes.
    pub denied: u64,
    /// Bytes that it has read from links.
    pub bytes_in: u64,
    /// Bytes that it has written to links.
    pub bytes_out: u64,
    /// Its links, by node.
    pub links: Vec<LinkInfo>,
}

/// What a node says that it holds of the database: [`Node::db_digest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DbDigest {
    /// The node.
    pub node: NodeId,
    /// Whether it is a global node, by its own word: others hold what they own alone.
    pub global: bool,
    /// Nodes whose entries show there.
    pub owners: u64,
    /// Entries that show there.
    pub entries: u64,
    /// SHA-256 over all that shows there, 64 hexadecimal digits: the same on two global nodes that hold the same.
    pub digest: String,
    /// What it holds in memory, removed and hidden entries included.
    pub held_entries: u64,
    /// Bytes of keys and values that it holds in memory.
    pub held_bytes: u64,
}

/// One answer to [`LINKS`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Page {
    node: NodeId,
    incarnation: Incarnation,
    version: String,
    global: bool,
    home: Option<NodeId>,
    advertised: Vec<String>,
    ports: u64,
    denied: u64,
    bytes_in: u64,
    bytes_out: u64,
    links: Vec<PageLink>,
    /// There are links behind the last of these.
    more: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct PageLink {
    node: NodeId,
    incarnation: Incarnation,
    addr: String,
    initiator: bool,
    certificate: bool,
    security: String,
    proof: String,
    format: String,
    /// Seconds since 1970. Older versions do not tell it.
    #[serde(default)]
    expires_s: Option<u64>,
    rtt_us: Option<u64>,
    age_ms: u64,
}

impl PageLink {
    fn of(link: LinkInfo) -> Self {
        let number = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
        PageLink {
            node: link.node,
            incarnation: link.incarnation,
            addr: link.addr,
            initiator: link.initiator,
            certificate: link.mode == Mode::Certificate,
            security: link.security,
            proof: link.proof,
            format: link.format,
            expires_s: link.expires.and_then(|at| {
                let since = at.duration_since(UNIX_EPOCH);
                since.ok().map(|since| since.as_secs())
            }),
            rtt_us: link.rtt.map(|rtt| number(rtt.as_micros())),
            age_ms: number(link.age.as_millis()),
        }
    }

    fn info(self) -> LinkInfo {
        LinkInfo {
            node: self.node,
            incarnation: self.incarnation,
            addr: self.addr,
            initiator: self.initiator,
            mode: match self.certificate {
                true => Mode::Certificate,
                false => Mode::Secret,
            },
            security: self.security,
            proof: self.proof,
            expires: self
                .expires_s
                .and_then(|s| UNIX_EPOCH.checked_add(Duration::from_secs(s))),
            format: self.format,
            rtt: self.rtt_us.map(Duration::from_micros),
            age: Duration::from_millis(self.age_ms),
        }
    }
}

/// What this node says of itself, with its links behind that node.
pub(super) fn page(node: &Node, after: Option<&NodeId>) -> Page {
    let stats = node.stats();
    let mut links: Vec<LinkInfo> = node.links();
    links.retain(|link| after.is_none_or(|after| link.node > *after));
    let more = links.len() > LINKS_MAX;
    links.truncate(LINKS_MAX);
    Page {
        node: node.id().clone(),
        incarnation: node.incarnation(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        global: node.is_global(),
        home: node.db().home(),
        advertised: node.advertised(),
        ports: stats.ports as u64,
        denied: stats.mesh.denied,
        bytes_in: stats.mesh.bytes_in,
        bytes_out: stats.mesh.bytes_out,
        links: links.into_iter().map(PageLink::of).collect(),
        more,
    }
}

/// The digest that was made last, and until when it serves: who asks often does not make the node add up more often.
#[derive(Debug, Default)]
pub(super) struct LastDigest(Option<(DbDigest, Instant)>);

/// Of the time, at most one part in this many goes into digests.
const DIGEST_SHARE: u32 = 10;

impl LastDigest {
    /// `None`: the node is shut down.
    pub(super) async fn get(&mut self, node: &Node) -> Option<DbDigest> {
        let began = Instant::now();
        if let Some((digest, until)) = &self.0
            && began < *until
        {
            return Some(digest.clone());
        }
        let of = node.clone();
        let summary = tokio::task::spawn_blocking(move || of.db().summary()).await;
        let summary = summary.ok()?.ok()?;
        let digest = DbDigest {
            node: node.id().clone(),
            global: node.is_global(),
            owners: summary.owners,
            entries: summary.entries,
            digest: summary.digest,
            held_entries: summary.held_entries,
            held_bytes: summary.held_bytes,
        };
        let until = Instant::now() + began.elapsed() * DIGEST_SHARE;
        self.0 = Some((digest.clone(), until));
        Some(digest)
    }
}

impl Node {
    /// Asks a node, or this one, for its links and what else it says of itself. Any member of the mesh may ask.
    ///
    /// ```
    /// use portmesh::Node;
    /// use std::time::Duration;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let node = Node::builder("me").start().await?;
    /// let report = node.report(node.id(), Duration::from_secs(2)).await?;
    /// assert_eq!(&report.node, node.id());
    /// assert!(report.links.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for any [call](Self::call): the time is over, the node is not reached, or it does not know the question.
    pub async fn report(&self, of: &NodeId, within: Duration) -> Result<NodeReport, CallError> {
        let deadline = Instant::now() + within;
        let port = PortId::of_node(of.clone());
        let mut links: Vec<LinkInfo> = Vec::new();
        loop {
            let after = links.last().map(|link| link.node.clone());
            let left = deadline.saturating_duration_since(Instant::now());
            let asked = self.call::<(Page,)>(&port, (LINKS, &after)).within(left);
            let (page,) = asked.await.map_err(|error| match error {
                // what was left is not what was given
                CallError::Deadline(_) => CallError::Deadline(within),
                other => other,
            })?;
            let told = page.links.into_iter().map(PageLink::info);
            // in order, whatever it says, so that it comes to an end
            links.extend(told.filter(|link| after.as_ref().is_none_or(|after| link.node > *after)));
            let grew = links.last().map(|link| &link.node) > after.as_ref();
            if page.more && grew && links.len() < TOLD_MAX {
                continue;
            }
            return Ok(NodeReport {
                incarnation: page.incarnation,
                // who it is was proved by its link
                node: of.clone(),
                version: page.version,
                global: page.global,
                home: page.home,
                advertised: page.advertised,
                ports: page.ports,
                denied: page.denied,
                bytes_in: page.bytes_in,
                bytes_out: page.bytes_out,
                links,
            });
        }
    }

    /// Asks a node, or this one, for the sums over what it holds of the database. Global nodes that hold the same say the
    /// same; while entries change they may differ for a moment. A node that holds much and is asked often repeats itself.
    ///
    /// ```
    /// # use portmesh::{CallError, Node, NodeId};
    /// # use std::time::Duration;
    /// # async fn example(node: &Node, a: &NodeId, b: &NodeId) -> Result<(), CallError> {
    /// let time = Duration::from_secs(2);
    /// let same = node.db_digest(a, time).await?.digest == node.db_digest(b, time).await?.digest;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`Self::report`].
    pub async fn db_digest(&self, of: &NodeId, within: Duration) -> Result<DbDigest, CallError> {
        let port = PortId::of_node(of.clone());
        let asked = self.call::<(DbDigest,)>(&port, (DB_DIGEST,)).within(within);
        let (mut digest,) = asked.await?;
        digest.node = of.clone();
        Ok(digest)
    }
}
