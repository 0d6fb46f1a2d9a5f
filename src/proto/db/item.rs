//! What a shard is made of as it is kept and as it travels: values, and changes with their numbers.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error as _, SeqAccess, Visitor},
    ser::SerializeTuple,
};

use super::{
    clock::Stamp,
    name::{Key, WriteRefused},
};
use crate::proto::{
    codec::Format,
    limits::Limits,
    message::{DecodeError, EncodeError, Message, Raw},
    value::Value,
};

/// What the message around a value may hold besides it (16 KiB of other entries and 4,000 numbers, see `feed`), and how
/// deep the value lies in it.
const VALUES_AROUND: usize = 25_000;
const DEPTH_AROUND: usize = 8;

/// A value as it is kept: encoded, checked, cheap to clone.
///
/// The bytes are the CBOR of a list of one.
#[derive(Clone, PartialEq, Eq)]
pub struct Packed(Arc<[u8]>);

impl Packed {
    /// Encodes any serde type.
    ///
    /// # Errors
    /// [`WriteRefused::NotEncodable`] and [`WriteRefused::ValueTooLarge`].
    pub fn encode<T: Serialize + ?Sized>(what: &T, limits: &Limits) -> Result<Self, WriteRefused> {
        let max = limits.db_value_bytes_max;
        let too_large = |bytes: usize| WriteRefused::ValueTooLarge {
            bytes: bytes as u64,
            max: max as u64,
        };
        // a value has to fit into the messages that it travels in
        let bounds = Limits {
            depth_max: limits.depth_max.saturating_sub(DEPTH_AROUND),
            values_max: limits.values_max.saturating_sub(VALUES_AROUND),
            message_bytes_max: max + 1,
            ..limits.clone()
        };
        let refused = |error| match error {
            EncodeError::TooLarge { bytes, .. } => too_large(bytes.saturating_sub(1)),
            EncodeError::NotEncodable(text) => WriteRefused::NotEncodable(text),
        };
        let mut message = Message::encode(&[what], &bounds).map_err(refused)?;
        // numbers, bytes and texts have one form; the fields of a type are in the type's order, and others have a value as it
        // is written when its type is not known
        if message.bytes().get(1).is_none_or(|head| head >> 5 >= 4) {
            let untyped: Raw = message
                .decode(&bounds)
                .map_err(|error| WriteRefused::NotEncodable(error.to_string()))?;
            message = Message::encode(&untyped, &bounds).map_err(refused)?;
        }
        Ok(Packed(message.bytes().as_ref().into()))
    }

    /// The length of the value in CBOR, in bytes.
    pub fn len(&self) -> usize {
        self.0.len().saturating_sub(1)
    }

    /// Never: a value has at least one byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn message(&self) -> Message {
        Message::from_wire(bytes::Bytes::copy_from_slice(&self.0), Format::cbor())
    }

    /// The value as a serde type.
    ///
    /// # Errors
    /// It is not of that type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        self.message()
            .decode::<(T,)>(&unbounded())
            .map(|(value,)| value)
    }

    /// The value.
    pub fn value(&self) -> Value {
        // it was checked when it was made
        self.decode().unwrap_or_default()
    }
}

fn unbounded() -> Limits {
    Limits {
        values_max: usize::MAX,
        message_bytes_max: usize::MAX,
        ..Limits::default()
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.value())
    }
}

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        let message = Message::encode(&Raw(vec![value]), &unbounded()).map_err(D::Error::custom)?;
        Ok(Packed(message.bytes().as_ref().into()))
    }
}

/// One change of a shard, in one family.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// An entry: `[key, seq, stamp, value]`.
    Set {
        /// Its key.
        key: Key,
        /// The number of the change.
        seq: u64,
        /// When it was written.
        stamp: Stamp,
        /// Its value.
        value: Packed,
    },
    /// The entry is gone: `[key, seq]`.
    Removed {
        /// Its key.
        key: Key,
        /// The number of the change.
        seq: u64,
    },
    /// Removals up to `floor` are forgotten: `[seq, floor]`. Who knows the shard only up to less than that has to be told
    /// what is still there.
    Floor {
        /// The number of the change.
        seq: u64,
        /// The last removal that is forgotten.
        floor: u64,
    },
}

impl Item {
    /// The number of the change.
    pub fn seq(&self) -> u64 {
        match self {
            Item::Set { seq, .. } | Item::Removed { seq, .. } | Item::Floor { seq, .. } => *seq,
        }
    }

    /// About what it takes on the wire, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Item::Set { key, value, .. } => key.len() + value.len() + 24,
            Item::Removed { key, .. } => key.len() + 12,
            Item::Floor { .. } => 16,
        }
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Item::Set {
                key,
                seq,
                stamp,
                value,
            } => {
                let mut list = to.serialize_tuple(4)?;
                list.serialize_element(&**key)?;
                list.serialize_element(seq)?;
                list.serialize_element(stamp)?;
                list.serialize_element(value)?;
                list.end()
            }
            Item::Removed { key, seq } => (&**key, seq).serialize(to),
            Item::Floor { seq, floor } => (seq, floor).serialize(to),
        }
    }
}

/// The first element of an item.
enum First {
    Key(Key),
    Seq(u64),
}

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = First;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key or a number")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<First, E> {
                if text.is_empty() {
                    return Err(E::custom("an empty key"));
                }
                Ok(First::Key(text.into()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<First, E> {
                Ok(First::Seq(number))
            }
        }
        from.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Item;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[key, seq, stamp, value], [key, seq] or [seq, floor]")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Item, A::Error> {
                fn short<E: serde::de::Error>() -> E {
                    E::custom("an item that ends too early")
                }
                let first = list.next_element::<First>()?.ok_or_else(short)?;
                let second: u64 = list.next_element()?.ok_or_else(short)?;
                match first {
                    First::Seq(seq) => Ok(Item::Floor { seq, floor: second }),
                    First::Key(key) => match list.next_element::<Stamp>()? {
                        None => Ok(Item::Removed { key, seq: second }),
                        Some(stamp) => Ok(Item::Set {
                            key,
                            seq: second,
                            stamp,
                            value: list.next_element()?.ok_or_else(short)?,
                        }),
                    },
                }
            }
        }
        from.deserialize_any(List)
    }
}

/// What a peer wrote is measured by the same rule as what is written here.
pub(crate) fn refuse_if_large(value: &Packed, limits: &Limits) -> Result<(), WriteRefused> {
    if value.len() > limits.db_value_bytes_max {
        return Err(WriteRefused::ValueTooLarge {
            bytes: value.len() as u64,
            max: limits.db_value_bytes_max as u64,
        });
    }
    Ok(())
}
