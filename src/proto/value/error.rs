//! Why something cannot be encoded, or bytes not decoded.

use std::fmt;

/// Why something cannot be a message.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The type or a value in it has no place in the data model, or it is over the limits of depth or count.
    #[error("not encodable: {0}")]
    NotEncodable(String),
    /// Its CBOR form is over [`Limits::message_bytes_max`](crate::Limits::message_bytes_max).
    #[error("the message is at least {bytes} bytes long, the limit is {max}")]
    TooLarge {
        /// Its size as far as it was encoded, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        max: usize,
    },
}

impl EncodeError {
    /// Something that has no place in the data model.
    pub fn not_encodable(why: impl fmt::Display) -> Self {
        EncodeError::NotEncodable(why.to_string())
    }
    /// The same error, with where it happened.
    pub(crate) fn at(self, place: fmt::Arguments<'_>) -> Self {
        match self {
            EncodeError::NotEncodable(why) => EncodeError::NotEncodable(format!("{place}: {why}")),
            other => other,
        }
    }
}

impl serde::ser::Error for EncodeError {
    fn custom<T: fmt::Display>(why: T) -> Self {
        EncodeError::not_encodable(why)
    }
}

/// Why bytes are not what they should be, in words.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

impl DecodeError {
    /// Bytes or values that are not what they should be.
    pub fn new(why: impl fmt::Display) -> Self {
        DecodeError(why.to_string())
    }
    /// The same error, with where it happened.
    pub(crate) fn at(self, place: fmt::Arguments<'_>) -> Self {
        DecodeError(format!("{place}: {}", self.0))
    }
}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(why: T) -> Self {
        DecodeError::new(why)
    }
}

impl From<DecodeError> for EncodeError {
    /// What was already encoded is to be encoded anew, and cannot be decoded.
    fn from(error: DecodeError) -> Self {
        EncodeError::NotEncodable(error.0)
    }
}
