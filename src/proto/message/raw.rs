//! What is a message without a mapping of types: lists of values, and messages themselves.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

use super::{EncodeError, Encoded, Message, empty, encode};
use crate::proto::{
    codec::{Format, cbor},
    id::PortId,
    limits::Limits,
    value::Value,
};

/// The name by which the encoder and the decoder know a list that is the message itself.
pub(super) const RAW: &str = "$portmesh::Raw";

/// A list of values that is the message, not the one value of a message.
///
/// ```
/// use portmesh::{Limits, Message, Raw, Value};
/// let limits = Limits::default();
/// let list = vec![Value::from("ping"), Value::from(1)];
/// assert_eq!(Message::encode(&list, &limits)?.to_string(), r#"[["ping",1]]"#);
/// let message = Message::encode(&Raw(list), &limits)?;
/// assert_eq!(message.to_string(), r#"["ping",1]"#);
/// assert_eq!(message.decode::<Raw>(&limits)?.0.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Raw(pub Vec<Value>);

/// The same, borrowed.
pub(super) struct RawRef<'a>(pub(super) &'a [Value]);

impl Serialize for RawRef<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_newtype_struct(RAW, self.0)
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        RawRef(&self.0).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of values")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Raw, D::Error> {
                Vec::deserialize(from).map(Raw)
            }
        }
        from.deserialize_newtype_struct(RAW, List)
    }
}

impl From<Vec<Value>> for Raw {
    fn from(list: Vec<Value>) -> Self {
        Raw(list)
    }
}

/// What can be sent: any serde type, and a [`Message`] as it is.
///
/// ```
/// use portmesh::{IntoMessage, Limits, Message};
/// let limits = Limits::default();
/// let message = ("ping", 1).into_message(&limits)?;
/// assert_eq!((&message).into_message(&limits)?, message);
/// # Ok::<(), portmesh::EncodeError>(())
/// ```
pub trait IntoMessage {
    /// The message: CBOR, checked, not empty.
    ///
    /// # Errors
    /// See [`EncodeError`].
    fn into_message(self, limits: &Limits) -> Result<Message, EncodeError>;
    /// Likewise, where an empty list is allowed: reasons and spawn arguments.
    ///
    /// # Errors
    /// See [`EncodeError`].
    fn into_args(self, limits: &Limits) -> Result<Message, EncodeError>;
    /// The message of a call: with the ID of the reply port as one more value, the last.
    ///
    /// # Errors
    /// See [`EncodeError`].
    fn into_request(self, reply: &PortId, limits: &Limits) -> Result<Message, EncodeError>
    where
        Self: Sized,
    {
        let message = self.into_message(limits)?;
        message.with_appended(&[Value::Text(reply.text())], limits)
    }
    /// [`Self::into_message`], for who may have no need of a message of its own: what is written out at once is lent. In
    /// `format`, where it can be written in that directly; else in CBOR.
    ///
    /// # Errors
    /// See [`EncodeError`]; then `take` was not called.
    fn lend<R>(
        self,
        format: &Format,
        limits: &Limits,
        take: impl FnOnce(Encoded<'_>) -> R,
    ) -> Result<R, EncodeError>
    where
        Self: Sized,
    {
        let _ = format;
        Ok(take(Encoded::Whole(self.into_message(limits)?)))
    }
}

impl<T: Serialize> IntoMessage for T {
    fn into_message(self, limits: &Limits) -> Result<Message, EncodeError> {
        Message::encode(&self, limits)
    }
    fn into_args(self, limits: &Limits) -> Result<Message, EncodeError> {
        Message::encode_args(&self, limits)
    }
    fn into_request(self, reply: &PortId, limits: &Limits) -> Result<Message, EncodeError> {
        Message::encode_request(&self, reply, limits)
    }
    fn lend<R>(
        self,
        format: &Format,
        limits: &Limits,
        take: impl FnOnce(Encoded<'_>) -> R,
    ) -> Result<R, EncodeError> {
        Message::lend(&self, format, limits, take)
    }
}

impl Message {
    /// [`Self::encode`], with the ID of the reply port as one more value at the end: what [`Self::with_appended`] makes of it, in
    /// one pass.
    ///
    /// # Errors
    /// See [`EncodeError`]; also for what would be an empty list.
    pub fn encode_request<T: Serialize + ?Sized>(
        what: &T,
        reply: &PortId,
        limits: &Limits,
    ) -> Result<Message, EncodeError> {
        let mut is_whole = false;
        let message = Self::encode_list(limits, |writer| {
            encode::list(writer, what, encode::Unit::Null)?;
            if cbor::Reader::new(&writer.out).begin_list()? == 0 {
                return Err(empty());
            }
            is_whole = writer.append_text(reply.parts())?;
            Ok(())
        })?;
        match is_whole {
            true => Ok(message),
            false => message.with_appended(&[Value::Text(reply.text())], limits),
        }
    }
}

impl IntoMessage for &Message {
    fn into_message(self, limits: &Limits) -> Result<Message, EncodeError> {
        let message = self.into_args(limits)?;
        match cbor::Reader::new(message.front()).begin_list()? {
            0 => Err(empty()),
            _ => Ok(message),
        }
    }
    fn into_args(self, limits: &Limits) -> Result<Message, EncodeError> {
        let message = self.to_cbor(limits)?;
        match message.encoded_len() {
            bytes if bytes > limits.message_bytes_max => Err(EncodeError::TooLarge {
                bytes,
                max: limits.message_bytes_max,
            }),
            _ => Ok(message),
        }
    }
}

impl IntoMessage for Message {
    fn into_message(self, limits: &Limits) -> Result<Message, EncodeError> {
        (&self).into_message(limits)
    }
    fn into_args(self, limits: &Limits) -> Result<Message, EncodeError> {
        (&self).into_args(limits)
    }
}
