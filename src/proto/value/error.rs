//! Why something cannot be encoded, or bytes not decoded.

use std::fmt::{self, Write};

/// What a message to people is cut to, in bytes: serde's name the value at fault, which may be long.
const WHY_MAX: usize = 1 << 10;

/// Text that ends when it is long enough.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = WHY_MAX.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let end = (0..=room).rev().find(|end| text.is_char_boundary(*end));
        self.0
            .push_str(end.and_then(|end| text.get(..end)).unwrap_or_default());
        Err(fmt::Error)
    }
}

fn bounded(why: impl fmt::Display) -> String {
    let mut text = Bounded(String::new());
    if write!(text, "{why}").is_err() {
        text.0.push('…');
    }
    text.0
}

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
        EncodeError::NotEncodable(bounded(why))
    }
    /// The same error, with where it happened.
    pub(crate) fn at(self, place: fmt::Arguments<'_>) -> Self {
        match self {
            EncodeError::NotEncodable(why) => {
                EncodeError::not_encodable(format_args!("{place}: {why}"))
            }
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
        DecodeError(bounded(why))
    }
    /// The same error, with where it happened.
    pub(crate) fn at(self, place: fmt::Arguments<'_>) -> Self {
        DecodeError::new(format_args!("{place}: {}", self.0))
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
