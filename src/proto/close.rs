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

impl CloseReason {
    /// What a CLOSE frame says to the peer of this reason. `None`: there is nothing to say, or nobody to say it to.
    pub fn code(&self) -> Option<u16> {
        Some(match self {
            CloseReason::Shutdown => code::SHUTDOWN,
            CloseReason::Duplicate => code::DUPLICATE,
            CloseReason::NodeIdInUse => code::NODE_ID_IN_USE,
            CloseReason::OldIncarnation => code::OLD_INCARNATION,
            CloseReason::Replaced => code::REPLACED,
            CloseReason::Timeout(_) => code::TIMEOUT,
            CloseReason::Protocol(_) => code::PROTOCOL,
            CloseReason::NotActivated => code::NOT_ACTIVATED,
            CloseReason::Overrun => code::OVERRUN,
            CloseReason::PeerShutdown | CloseReason::Transport(_) | CloseReason::ByPeer(..) => {
                return None;
            }
        })
    }

    /// What a CLOSE frame from the peer means.
    pub fn from_wire(code: u16, text: &str) -> CloseReason {
        match code {
            code::SHUTDOWN => CloseReason::PeerShutdown,
            _ => CloseReason::ByPeer(code, text.to_owned()),
        }
    }
}

/// The codes of CLOSE frames. Others may come; they mean no more than their text.
pub mod code {
    /// The node stops.
    pub const SHUTDOWN: u16 = 0;
    /// Another connection of the two nodes is the link.
    pub const DUPLICATE: u16 = 1;
    /// The node ID is linked and answers.
    pub const NODE_ID_IN_USE: u16 = 2;
    /// A later life of that node is known.
    pub const OLD_INCARNATION: u16 = 3;
    /// Another connection took the link over.
    pub const REPLACED: u16 = 4;
    /// No byte came in time.
    pub const TIMEOUT: u16 = 5;
    /// The text says what was not of the protocol.
    pub const PROTOCOL: u16 = 6;
    /// Nobody made the connection the link in time.
    pub const NOT_ACTIVATED: u16 = 7;
    /// The peer did not read.
    pub const OVERRUN: u16 = 8;
}
