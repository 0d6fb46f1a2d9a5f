//! The data model: what a message can be made of, the same on every format (P7).

use std::collections::BTreeMap;

/// An integer in the range of `i64` or of `u64`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Int(i128);

impl From<i64> for Int {
    fn from(n: i64) -> Self {
        Int(n.into())
    }
}
impl From<u64> for Int {
    fn from(n: u64) -> Self {
        Int(n.into())
    }
}

/// A value of the data model.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(Int),
    /// A finite 64-bit floating point number.
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
