//! The data model: what a message can be made of, the same on every format (P7).

use std::{collections::BTreeMap, fmt};

pub(crate) mod blob;
mod convert;
mod de;
mod error;
mod int;
mod serde;
pub(crate) mod text;

pub use blob::Blob;
pub(crate) use de::{Content, Key, too_many};
pub use error::{DecodeError, EncodeError};
pub use int::{Int, IntOutOfRange};

/// A value of the data model: the escape hatch for those who have no type for what they send or receive.
///
/// Any value can be made from a serde type with [`to_value`](super::codec::to_value) and turned into one with
/// [`from_value`](super::codec::from_value); the common types have a `From`. `Display` writes the JSON form of the
/// value (bytes as `{"$bytes":"…"}`), and `FromStr` reads it.
///
/// ```
/// use portmesh::Value;
///
/// let value: Value = r#"{"name":"disk","free":[1,2.5,null]}"#.parse()?;
/// assert_eq!(value.get("name").and_then(Value::as_str), Some("disk"));
/// assert_eq!(value.to_string(), r#"{"free":[1,2.5,null],"name":"disk"}"#);
/// assert_eq!(Value::from([Value::from(1), "two".into()]).to_string(), r#"[1,"two"]"#);
/// # Ok::<(), portmesh::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Default)]
pub enum Value {
    /// No value: serde's unit and `None`.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// An integer, in the range of `i64` or of `u64`.
    Int(Int),
    /// A 64-bit floating point number. NaN and the infinities can be held here, but every format refuses them.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// A map with text keys.
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// Whether this is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }
    /// True or false, where it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(it) => Some(*it),
            _ => None,
        }
    }
    /// The integer, where it is one.
    pub fn as_int(&self) -> Option<Int> {
        match self {
            Value::Int(it) => Some(*it),
            _ => None,
        }
    }
    /// The integer, where it is one in the range of `i64`.
    pub fn as_i64(&self) -> Option<i64> {
        self.as_int()?.try_into().ok()
    }
    /// The integer, where it is one in the range of `u64`.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_int()?.try_into().ok()
    }
    /// The number as a float: a float as it is, an integer rounded to the nearest float.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Float(it) => Some(*it),
            Value::Int(it) => Some(i128::from(*it) as f64),
            _ => None,
        }
    }
    /// The text, where it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(it) => Some(it),
            _ => None,
        }
    }
    /// The bytes, where they are that.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(it) => Some(it),
            _ => None,
        }
    }
    /// The list, where it is one.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(it) => Some(it),
            _ => None,
        }
    }
    /// The map, where it is one.
    pub fn as_map(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Value::Map(it) => Some(it),
            _ => None,
        }
    }
    /// What a map holds under that key; `None` also where this is no map.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_map()?.get(key)
    }
    /// What a list holds at that place, from 0; `None` also where this is no list.
    pub fn at(&self, index: usize) -> Option<&Value> {
        self.as_list()?.get(index)
    }
    /// What kind of value this is, in a word: for messages to people.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Text(_) => "a text",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write(self, f)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write(self, f)
    }
}
