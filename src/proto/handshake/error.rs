//! Why a handshake ends: every refusal with its reason.

use super::{GREETING_BYTES_MAX, Mode};
use crate::proto::id::NodeId;

/// Why a peer was refused, or why this side cannot take part. The connection is closed without a word: a stranger
/// learns nothing, and the reason is for this side's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The declared length of a greeting is not allowed, or the frame is not of its declared length.
    #[error("a greeting of {0} bytes; allowed are 1 to {GREETING_BYTES_MAX}")]
    Length(usize),
    /// The tag does not fit the bytes.
    #[error("{}", bad_tag(*.0))]
    BadTag(Mode),
    /// The greeting, proven to be the peer's, is not of this protocol.
    #[error("the peer's greeting is malformed: {0}")]
    Greeting(String),
    /// The greeting names another mode than the connection has.
    #[error("the peer's greeting is for {} mode on a {} connection", .theirs.name(), .ours.name())]
    WrongMode {
        /// The connection's.
        ours: Mode,
        /// The greeting's.
        theirs: Mode,
    },
    /// The peer is of another cluster.
    #[error("the peer is of cluster {theirs:?}, this node of {ours:?}")]
    WrongCluster {
        /// This node's.
        ours: String,
        /// The peer's.
        theirs: String,
    },
    /// The peer claims this node's own ID.
    #[error(
        "the peer claims this node's own ID, {0}: a second node of that name, or a connection to itself"
    )]
    OwnId(NodeId),
    /// The peer has this node's own key: a connection to itself, a copied key file, or a reflection.
    #[error("the peer shows this node's own key: a connection to itself, or a copied key file")]
    OwnKey,
    /// The greeting claims another ID than the peer's certificate.
    #[error("the peer claims to be {claimed}, its certificate is for {certified}")]
    CertificateNamesAnother {
        /// What it claims.
        claimed: NodeId,
        /// What the CA says.
        certified: NodeId,
    },
    /// Certificate mode without a verified name: the transport's fault.
    #[error("the connection is in certificate mode but carries no verified name")]
    NoCertifiedName,
    /// The dial was for another node.
    #[error("expected {wanted} there and found {found}")]
    Unexpected {
        /// Whom the dial was for.
        wanted: NodeId,
        /// Who answered.
        found: NodeId,
    },
    /// No protocol version that both speak.
    #[error(
        "no common protocol version: the peer speaks {theirs:?}, this node {ours:?}; upgrade the older one"
    )]
    NoCommonVersion {
        /// This node's.
        ours: Vec<u16>,
        /// The peer's.
        theirs: Vec<u16>,
    },
    /// No format that both have.
    #[error("no common format: the peer has {theirs:?}, this node {ours:?}")]
    NoCommonFormat {
        /// This node's.
        ours: Vec<String>,
        /// The peer's.
        theirs: Vec<String>,
    },
    /// The responder did not pick what the rules say.
    #[error("the peer picked {theirs}, by the rules it is {ours}")]
    PickDiffers {
        /// What this node computed.
        ours: String,
        /// What the peer sent.
        theirs: String,
    },
    /// Secret mode for an ID that has proved itself by certificate before.
    #[error(
        "{0} is known by its certificate and is not accepted by secret alone; it has to connect with its certificate"
    )]
    KnownByCertificate(NodeId),
    /// The peer's key is not the one that its ID contains.
    #[error("the ID {0} contains the digest of a key, and the peer shows another key")]
    NotItsKey(NodeId),
    /// The peer's key is not the one remembered for its ID.
    #[error("{0}")]
    OtherKey(String),
    /// A connection in secret mode, and this node has no secret.
    #[error("the connection is in secret mode and this node has no secret")]
    NoSecret,
    /// What this node itself would say does not fit.
    #[error("this node's configuration cannot be announced: {0}")]
    Config(String),
}

fn bad_tag(mode: Mode) -> &'static str {
    match mode {
        Mode::Secret => {
            "the peer's proof is wrong: it has another secret or another cluster name, or somebody sits between"
        }
        Mode::Certificate => {
            "the peer's proof is wrong: it has another cluster name, or the connection was tampered with"
        }
    }
}
