//! Messages and reasons: encoded lists of values, made from and turned into any serde type.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{codec::Format, limits::Limits, value::Value};

/// Why something cannot be a message.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The type or a value in it has no place in the data model.
    #[error("not encodable: {0}")]
    NotEncodable(String),
    /// Its CBOR form is over [`Limits::message_bytes_max`].
    #[error("the message is {bytes} bytes long, the limit is {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// An encoded message: a non-empty list of values (for a [`Reason`]'s carrier and spawn arguments: possibly empty).
///
/// Cheap to clone. Decoded at most once, by whoever takes it.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
    format: Format,
}

impl Message {
    /// Encodes any serde type as CBOR and checks it against every limit of the data model (P3, P7).
    ///
    /// A tuple becomes the list, an enum variant its tag and its fields in order, `Vec<Value>` the list itself,
    /// anything else a list of one.
    pub fn encode<T: Serialize + ?Sized>(
        _what: &T,
        _limits: &Limits,
    ) -> Result<Message, EncodeError> {
        todo!()
    }
    /// Likewise, where an empty list is allowed: reasons and spawn arguments. `()` is the empty list.
    pub fn encode_args<T: Serialize + ?Sized>(
        _what: &T,
        _limits: &Limits,
    ) -> Result<Message, EncodeError> {
        todo!()
    }
    /// What a link brought. Nothing is checked yet: that is done when it is decoded.
    pub fn from_wire(bytes: Bytes, format: Format) -> Message {
        Message { bytes, format }
    }
    /// Its encoded bytes, in its own format.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
    /// Their number.
    pub fn encoded_len(&self) -> usize {
        self.bytes.len()
    }
    /// The format of its bytes.
    pub fn format(&self) -> &Format {
        &self.format
    }
    /// The same message with one value more at the end (the reply port of a call, a reason's values).
    pub fn with_appended(
        &self,
        _values: &[Value],
        _limits: &Limits,
    ) -> Result<Message, EncodeError> {
        todo!()
    }
    /// Its bytes in that format: its own where the formats are equal, else encoded anew.
    pub fn in_format(&self, _format: &Format, _limits: &Limits) -> Result<Bytes, EncodeError> {
        todo!()
    }
    /// Its first value, where that is a text. Reads no further, and copies nothing where the format allows it.
    pub fn tag(&self, _limits: &Limits) -> Result<Option<std::borrow::Cow<'_, str>>, DecodeError> {
        todo!()
    }
    /// The whole message as a `T`: tuple from list, enum from tag and fields, anything else from a list of one.
    pub fn decode<T: DeserializeOwned>(&self, _limits: &Limits) -> Result<T, DecodeError> {
        todo!()
    }
    /// What follows the tag as a `T`: a tuple from the remaining list, `()` from nothing, anything else from one value.
    pub fn decode_args<T: DeserializeOwned>(&self, _limits: &Limits) -> Result<T, DecodeError> {
        todo!()
    }
    /// The list of values itself.
    pub fn values(&self, _limits: &Limits) -> Result<Vec<Value>, DecodeError> {
        todo!()
    }
}

/// Why a port died: a list of values; empty for a normal death.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Reason(pub Vec<Value>);

impl Reason {
    /// A normal death.
    pub fn normal() -> Self {
        Reason(Vec::new())
    }
    /// Whether the port died normally.
    pub fn is_normal(&self) -> bool {
        self.0.is_empty()
    }
    /// The first value where it is a text: `"die"`, `"no_such_port"`, `"transport_error"`, ….
    pub fn tag(&self) -> Option<&str> {
        match self.0.first() {
            Some(Value::Text(tag)) => Some(tag),
            _ => None,
        }
    }
}
