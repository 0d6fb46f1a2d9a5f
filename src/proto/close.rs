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
    /// Nobody used the link, and both sides agreed to end it: nothing is lost with it.
    #[error("the link was idle")]
    Idle,
    /// What proved who the peer is does so no longer: expired, revoked, removed. Says what.
    #[error("no longer a proven member: {0}")]
    Unproven(String),
    /// The peer closed with this code and text.
    #[error("closed by the peer: {1} (code {0})")]
    ByPeer(u16, String),
    /// The peer was taken for a global node, and by another policy is none.
    #[error("no longer a global node: {0}")]
    NotGlobal(String),
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
            CloseReason::Idle => code::IDLE,
            CloseReason::Unproven(_) => code::UNPROVEN,
            CloseReason::NotGlobal(_) => code::NOT_GLOBAL,
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
    /// The link was idle, and the other side had asked.
    pub const IDLE: u16 = 9;
    /// The certificate or secret that the peer has proved itself with is not accepted any more.
    pub const UNPROVEN: u16 = 10;
    /// The peer is taken for a global node no longer.
    pub const NOT_GLOBAL: u16 = 11;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{collections::BTreeSet, time::Duration};

    use super::*;
    use crate::proto::link::frame::{EarlyFrame, FrameError, close_frame, take_early};

    fn read(bytes: &[u8]) -> Result<Option<EarlyFrame>, FrameError> {
        take_early(&mut bytes::BytesMut::from(bytes))
    }

    #[test]
    fn each_reason_has_a_code_of_its_own_and_its_text_arrives() {
        let reasons = [
            CloseReason::Shutdown,
            CloseReason::Duplicate,
            CloseReason::NodeIdInUse,
            CloseReason::OldIncarnation,
            CloseReason::Replaced,
            CloseReason::Timeout(Duration::from_secs(1)),
            CloseReason::Protocol("x".repeat(2000)),
            CloseReason::NotActivated,
            CloseReason::Overrun,
            CloseReason::Idle,
            CloseReason::Unproven("its certificate has expired".into()),
            CloseReason::NotGlobal("by the policy".into()),
        ];
        let codes: BTreeSet<u16> = reasons.iter().filter_map(CloseReason::code).collect();
        assert_eq!(codes.len(), reasons.len());
        for reason in reasons {
            let frame = close_frame(&reason).unwrap();
            match read(&frame) {
                Ok(Some(EarlyFrame::Close(CloseReason::PeerShutdown))) => {
                    assert_eq!(reason, CloseReason::Shutdown);
                }
                Ok(Some(EarlyFrame::Close(CloseReason::ByPeer(code, text)))) => {
                    assert_eq!(Some(code), reason.code());
                    assert!(!text.is_empty() && text.len() <= 512);
                }
                other => panic!("{reason:?}: {other:?}"),
            }
            // byte by byte
            for end in 0..frame.len() {
                assert_eq!(read(frame.get(..end).unwrap()), Ok(None));
            }
        }
        assert_eq!(close_frame(&CloseReason::Transport("x".into())), None);
    }

    #[test]
    fn before_the_activation_nothing_else_is_legal_and_nothing_long() {
        for (kind, body) in [
            (0x06, &[0; 8][..]),
            (0x10, b"\x00\x01p\x80"),
            (0x13, b"\x01p"),
        ] {
            let mut frame = (body.len() as u32 + 1).to_be_bytes().to_vec();
            frame.push(kind);
            frame.extend(body);
            assert_eq!(read(&frame), Err(FrameError::TooEarly(kind)));
        }
        assert!(matches!(
            read(&1021_u32.to_be_bytes()),
            Err(FrameError::TooLong { .. })
        ));
        assert_eq!(read(&1020_u32.to_be_bytes()), Ok(None));
    }
}
