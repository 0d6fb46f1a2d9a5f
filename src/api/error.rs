//! One enum of errors an operation.

use std::time::Duration;

use crate::{
    proto::{
        db::name::WriteRefused,
        id::{NodeId, ParseIdError},
        message::{DecodeError, EncodeError, Message, Reason},
        value::Value,
    },
    runtime::{db::Ended, entropy::NoEntropy, mesh::MeshSendError, mesh::MeshStartError},
};

/// Why a node does not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// What the name of the node expands to is not a node ID.
    #[error("{name:?} is not a node ID")]
    Name {
        /// The name, expanded.
        name: String,
        /// Why not.
        #[source]
        source: ParseIdError,
    },
    /// Identity, secret or the files of the node's state are missing or not usable; the text says what to do.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Setup(#[from] crate::transport::tls::SetupError),
    /// A CRL cannot be used.
    #[cfg(feature = "tls")]
    #[error("a CRL cannot be used")]
    Crl(#[from] crate::transport::tls::ReplaceError),
    /// Listeners, seeds or addresses were given, but no transport, and this build has no TLS.
    #[error(
        "the node is to have links but has no transport: give one, or build with the feature `tls`"
    )]
    NoTransport,
    /// The operating system gives no random bytes.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// A service is a function that nobody registered.
    #[error("there is no service {name}: {known}")]
    NoService {
        /// Its name.
        name: String,
        /// Those that there are, in words.
        known: String,
    },
    /// A service did not start.
    #[error("the service {name} did not start: {text}")]
    Service {
        /// Its name.
        name: String,
        /// What its port died of, or what else went wrong.
        text: String,
    },
    /// The configuration that the node is to be started from is wrong.
    #[cfg(feature = "config")]
    #[error(transparent)]
    Config(#[from] super::config::ConfigError),
    /// The mesh does not start: an address to listen on is taken or not this host's, or one to dial can never be dialled.
    #[error(transparent)]
    Mesh(#[from] MeshStartError),
}

/// Why a message was not sent. Nothing was queued, and nobody will ever see it (P2, P3).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The type or a value in it has no place in the data model (P7): a NaN, a map with other keys than texts, ….
    #[error("not encodable: {0}")]
    NotEncodable(String),
    /// Its CBOR form is over the limit of this node, or of the peer where that is known.
    #[error("the message is {bytes} bytes long, the limit is {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The mailbox of a local port is full; or as much waits for that node, or there for that port, as may. The message can
    /// be sent again as it is.
    #[error("the queue is full")]
    Full(Message),
    /// This node is shut down.
    #[error("the node is shut down")]
    ShutDown(Message),
}

impl SendError {
    /// The message that was not sent, to be sent again without being encoded again.
    pub fn into_message(self) -> Option<Message> {
        match self {
            SendError::Full(message) | SendError::ShutDown(message) => Some(message),
            _ => None,
        }
    }

    /// Whether waiting may help.
    pub fn is_full(&self) -> bool {
        matches!(self, SendError::Full(_))
    }
}

impl From<EncodeError> for SendError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::TooLarge { bytes, max } => SendError::TooLarge { bytes, max },
            EncodeError::NotEncodable(text) => SendError::NotEncodable(text),
        }
    }
}

/// Why a call ended without a usable reply. In every case its reply port and its monitor are gone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The request cannot be encoded. Nothing was sent.
    #[error("not encodable: {0}")]
    NotEncodable(String),
    /// The request is over the size limit. Nothing was sent.
    #[error("the message is {bytes} bytes long, the limit is {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The mailbox or the outbound queue is full. Nothing was sent; here is the request, with the reply port of this call.
    #[error("the queue is full")]
    Full(Message),
    /// This node is shut down. Nothing was sent.
    #[error("the node is shut down")]
    ShutDown,
    /// The port's node cannot be reached, or the link was lost: the request may have been handled or not.
    #[error("{node} cannot be reached: {text}")]
    Unreachable {
        /// The node.
        node: NodeId,
        /// What was wrong with the link.
        text: String,
    },
    /// There is no such port; there was none, or it died before the request came.
    #[error("no such port")]
    NoSuchPort,
    /// The port died before it replied; the request may have been handled or not. The reason is empty where it ended
    /// normally without a reply.
    #[error("the port died: {0}")]
    Died(Reason),
    /// The peer's policy does not permit it, or the port has no handler for such a message: it was not handled.
    #[error("refused: {text}")]
    Refused {
        /// Why.
        text: String,
    },
    /// No reply in time. The request may have been handled or not, and may still be.
    #[error("no reply within {0:?}")]
    Deadline(Duration),
    /// There is a reply, but it is not what was asked for.
    #[error("the reply is not what was asked for: {source}")]
    BadReply {
        /// The reply.
        reply: Message,
        /// Why not.
        source: DecodeError,
    },
}

impl From<SendError> for CallError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NotEncodable(text) => CallError::NotEncodable(text),
            SendError::TooLarge { bytes, max } => CallError::TooLarge { bytes, max },
            SendError::Full(message) => CallError::Full(message),
            SendError::ShutDown(_) => CallError::ShutDown,
        }
    }
}

/// What a peer begins the text of a loss with when it is not the link that failed but the message that was refused.
const REFUSALS: [&str; 3] = ["not_permitted", "bad_message", "unhandled_message"];

impl CallError {
    /// What the death of the called port is to the caller.
    pub(crate) fn from_reason(reason: Reason) -> Self {
        let text = |at: usize| reason.values().get(at).and_then(Value::as_str);
        match reason.tag() {
            Some("no_such_port") => CallError::NoSuchPort,
            Some("transport_error") => {
                let said = text(2).unwrap_or_default();
                // the loss of the request overtook the answer to its monitor
                if said.starts_with("no_such_port") {
                    return CallError::NoSuchPort;
                }
                if REFUSALS.iter().any(|tag| said.starts_with(tag)) {
                    return CallError::Refused { text: said.into() };
                }
                match text(1).and_then(|node| node.parse().ok()) {
                    Some(node) => CallError::Unreachable {
                        node,
                        text: said.into(),
                    },
                    None => CallError::Died(reason),
                }
            }
            Some("not_permitted") => CallError::Refused {
                text: reason.to_string(),
            },
            _ => CallError::Died(reason),
        }
    }
}

/// Why nothing was spawned. What goes wrong later, the port dies of: see its monitors (S2).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The place to spawn is not the name of a node or a port.
    #[error("not a node or a port: {0}")]
    BadTarget(#[from] ParseIdError),
    /// The function's name is longer than 255 bytes.
    #[error("the function's name is {0} bytes long, the limit is 255")]
    FunctionName(usize),
    /// The arguments have no place in the data model.
    #[error("not encodable: {0}")]
    NotEncodable(String),
    /// The arguments are over the size limit.
    #[error("the arguments are {bytes} bytes long, the limit is {max}")]
    TooLarge {
        /// Their size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// What waits for that node is full. Here are the arguments.
    #[error("the queue is full")]
    Full(Message),
    /// This node is shut down.
    #[error("the node is shut down")]
    ShutDown,
}

impl From<EncodeError> for SpawnError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::TooLarge { bytes, max } => SpawnError::TooLarge { bytes, max },
            EncodeError::NotEncodable(text) => SpawnError::NotEncodable(text),
        }
    }
}

impl From<MeshSendError> for SpawnError {
    fn from(error: MeshSendError) -> Self {
        match error {
            MeshSendError::Full(message) => SpawnError::Full(message),
            MeshSendError::ShutDown(_) => SpawnError::ShutDown,
            MeshSendError::TooLarge { message, max } => SpawnError::TooLarge {
                bytes: message.encoded_len(),
                max,
            },
        }
    }
}

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// By this node, where nothing has happened; or by its home, where the entry has been there for a moment and is gone.
    #[error(transparent)]
    Refused(#[from] WriteRefused),
    /// The policy of this node's home does not let it read there.
    #[error("not permitted: {0}")]
    NotPermitted(String),
    /// No answer in time: this node has no home, or its home does not answer. A global node has not heard yet what others
    /// have.
    #[error(
        "the database did not answer within {0:?}: is there a global node among the seeds of this node?"
    )]
    NoAnswer(Duration),
    /// The value is not of the type that was asked for.
    #[error("the value is not of that type: {0}")]
    BadValue(#[from] DecodeError),
    /// The node is shut down.
    #[error("the node is shut down")]
    ShutDown,
}

impl From<Ended> for DbError {
    fn from(_: Ended) -> Self {
        DbError::ShutDown
    }
}

/// Why work does not run in a port's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Its mailbox is full. The work was dropped.
    #[error("the mailbox is full")]
    Full,
    /// The port is dead. The work was dropped.
    #[error("the port is dead")]
    Dead,
}

/// The port has no handlers, or its state is of another type. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state of the port is not a {expected}")]
pub struct WrongState {
    /// The type that was asked for.
    pub expected: &'static str,
}
