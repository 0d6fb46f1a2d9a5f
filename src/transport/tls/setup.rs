//! From what a user gives, to a transport and the credentials of the mesh handshake, with the rules of pinning.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Identity, KnownNodesError, KnownNodesFile, NodeKey, NodeKeyError, TlsTransport,
    files::{self, FileError},
};
use crate::proto::{
    handshake::{Credentials, DEFAULT_CLUSTER, Secrets, check_cluster},
    id::NodeId,
    limits::Limits,
    naming,
};

/// Where a node keeps its key and what it remembers of others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum State {
    /// Nowhere: fine with certificates, and in secret mode for IDs with a random part.
    #[default]
    None,
    /// In this directory, of this node alone; made if there is none.
    Directory(PathBuf),
    /// Nowhere, and a fixed ID in secret mode all the same: anybody who has the secret can take its ID while it is away.
    Unpinned,
}

/// What a node proves itself with.
#[derive(Debug, Clone)]
pub struct Membership {
    /// Its ID.
    pub node: NodeId,
    /// Its cluster; `None`: that of the certificate, or the default one.
    pub cluster: Option<String>,
    /// Certificate mode.
    pub identity: Option<Identity>,
    /// Secret mode. With an identity too the node dials with the identity and accepts both.
    pub secrets: Option<Secrets>,
    /// Where the node key and `known_nodes` are.
    pub state: State,
}

/// What [`Membership::prepare`] makes.
#[derive(Debug)]
#[non_exhaustive]
pub struct Prepared {
    /// Dials and listens.
    pub transport: TlsTransport,
    /// For the handshake inside.
    pub credentials: Credentials,
    /// The cluster that the node is of.
    pub cluster: String,
}

/// Why a node cannot take part in a mesh. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Neither certificate nor secret.
    #[error(
        "a node of a mesh needs an identity (see `portmesh-cert`) or a secret (see `portmesh secret gen`)"
    )]
    Nothing,
    /// The certificate is for another node.
    #[error(
        "the node is called {node}, its certificate is for {certified}; use that name, or issue a certificate for this one"
    )]
    OtherNode {
        /// What was asked for.
        node: NodeId,
        /// What the certificate says.
        certified: NodeId,
    },
    /// The certificate is of another cluster.
    #[error("the cluster is to be {cluster:?}, the certificate is of {certified:?}")]
    OtherCluster {
        /// What was asked for.
        cluster: String,
        /// What the certificate says.
        certified: String,
    },
    /// The name of the cluster is not allowed.
    #[error("{0}")]
    ClusterName(String),
    /// A fixed ID in secret mode, and nowhere to keep its key.
    #[error(
        "{node} is a fixed name, and in secret mode others remember the key of a fixed name, so it must be kept: give a state directory, or a name with %u in it, or a certificate, or allow unpinned names explicitly"
    )]
    NoState {
        /// The ID.
        node: NodeId,
    },
    /// The ID contains the digest of another key than the node's.
    #[error("the name {node} contains the digest of another key; this node's is {own}")]
    NotItsKey {
        /// The ID.
        node: NodeId,
        /// What it could be called.
        own: NodeId,
    },
    /// The state directory cannot be made.
    #[error(transparent)]
    State(#[from] FileError),
    /// The node key cannot be used.
    #[error(transparent)]
    NodeKey(#[from] NodeKeyError),
    /// What is remembered cannot be read.
    #[error(transparent)]
    KnownNodes(#[from] KnownNodesError),
    /// TLS cannot be configured so.
    #[error("TLS cannot be configured: {0}")]
    Tls(String),
}

impl Membership {
    /// Checks that the parts belong together, makes or reads the node key where one is needed, reads `known_nodes`.
    ///
    /// # Errors
    /// [`SetupError`], with the remedy.
    pub fn prepare(self, limits: &Limits) -> Result<Prepared, SetupError> {
        let Membership {
            node,
            cluster,
            identity,
            secrets,
            state,
        } = self;
        let cluster = cluster_of(cluster, identity.as_ref())?;
        if let Some(identity) = &identity
            && *identity.node() != node
        {
            return Err(SetupError::OtherNode {
                node,
                certified: identity.node().clone(),
            });
        }
        let directory = match &state {
            State::Directory(path) => {
                files::create_directory(path)?;
                Some(path.as_path())
            }
            State::None | State::Unpinned => None,
        };
        let key = match secrets {
            Some(_) => Some(node_key(&node, directory, &state)?),
            None => None,
        };
        let mut credentials = match secrets {
            Some(secrets) => Credentials::secret(secrets),
            None => Credentials::certificate(),
        };
        if let Some(directory) = directory {
            credentials.known = Arc::new(KnownNodesFile::open(directory)?);
        }
        Ok(Prepared {
            transport: TlsTransport::new(identity, key, limits)?,
            credentials,
            cluster,
        })
    }
}

fn cluster_of(cluster: Option<String>, identity: Option<&Identity>) -> Result<String, SetupError> {
    let cluster = match (cluster, identity) {
        (Some(cluster), Some(identity)) if cluster != identity.cluster() => {
            return Err(SetupError::OtherCluster {
                cluster,
                certified: identity.cluster().to_owned(),
            });
        }
        (Some(cluster), _) => cluster,
        (None, Some(identity)) => identity.cluster().to_owned(),
        (None, None) => DEFAULT_CLUSTER.to_owned(),
    };
    check_cluster(&cluster).map_err(SetupError::ClusterName)?;
    Ok(cluster)
}

fn node_key(node: &NodeId, directory: Option<&Path>, state: &State) -> Result<NodeKey, SetupError> {
    let one_life = naming::has_random_part(node);
    let key = match directory {
        Some(directory) if !one_life => NodeKey::load_or_create(directory.join("node.key"))?,
        _ if one_life || *state == State::Unpinned => NodeKey::ephemeral()?,
        _ => return Err(SetupError::NoState { node: node.clone() }),
    };
    if let Some(wanted) = naming::certified_key(node)
        && wanted != key.digest()
    {
        let name = node.as_str().rsplit_once("::").map_or("", |(name, _)| name);
        return Err(SetupError::NotItsKey {
            node: node.clone(),
            own: naming::self_certifying(name, &key.digest()).unwrap_or_else(|_| node.clone()),
        });
    }
    Ok(key)
}
