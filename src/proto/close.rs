//! Why a link or a connection ends: the codes on the wire, and the causes that only one side knows.

/// Why a link or a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer stops in order (L6).
    #[error("the peer is shutting down")]
    PeerShutdown,
    /// We stop in order (L6).
    #[error("this node is shutting down")]
    Shutdown,
    /// Another connection of the same two nodes is the link (L1).
    #[error("another connection is the link")]
    Duplicate,
    /// The node ID is linked and answers (L2).
    #[error(
        "a node of this ID is linked already and answers: stop that one, or give this one another ID"
    )]
    NodeIdInUse,
    /// A later life of that node is known (L2).
    #[error("a later incarnation of that node is known")]
    OldIncarnation,
    /// A later life of that node took the link over (L2).
    #[error("replaced by another connection after the old one did not answer a probe")]
    Replaced,
    /// No byte within the link timeout (M7).
    #[error("no byte for {0:?}")]
    Timeout(std::time::Duration),
    /// The stream ended or failed.
    #[error("{0}")]
    Transport(String),
    /// What the peer sent is not of the protocol: at fault and what it was.
    #[error("protocol violation: {0}")]
    Protocol(String),
    /// The peer does not read: more waits for it than it may leave unread.
    #[error("the peer does not read what it asked for")]
    Overrun,
    /// The peer closed with this code and text.
    #[error("closed by the peer: {1} (code {0})")]
    ByPeer(u16, String),
    /// Nobody said which connection is the link in time.
    #[error("the connection was not made the link in time")]
    NotActivated,
}
