//! What becomes a value without further ado.

use std::{borrow::Cow, collections::BTreeMap};

use super::{Int, Value};
use crate::proto::id::{NodeId, PortId};

macro_rules! int {
    ($($from:ty)*) => {$(
        impl From<$from> for Value {
            fn from(n: $from) -> Self {
                Value::Int(n.into())
            }
        }
    )*};
}
int!(i8 i16 i32 i64 u8 u16 u32 u64 Int);

macro_rules! from {
    ($($from:ty, $it:ident => $make:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($it: $from) -> Self {
                $make
            }
        }
    )*};
}
from! {
    (), _it => Value::Null;
    bool, it => Value::Bool(it);
    f32, it => Value::Float(it.into());
    f64, it => Value::Float(it);
    char, it => Value::Text(it.into());
    &str, it => Value::Text(it.into());
    String, it => Value::Text(it);
    &String, it => Value::Text(it.clone());
    Cow<'_, str>, it => Value::Text(it.into_owned());
    &[u8], it => Value::Bytes(it.into());
    Vec<u8>, it => Value::Bytes(it);
    bytes::Bytes, it => Value::Bytes(it.into());
    Vec<Value>, it => Value::List(it);
    &[Value], it => Value::List(it.into());
    BTreeMap<String, Value>, it => Value::Map(it);
    NodeId, it => Value::Text(it.to_string());
    &NodeId, it => Value::Text(it.to_string());
    PortId, it => Value::Text(it.to_string());
    &PortId, it => Value::Text(it.to_string());
}

impl<const N: usize> From<[Value; N]> for Value {
    fn from(list: [Value; N]) -> Self {
        Value::List(list.into())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(it: Option<T>) -> Self {
        it.map_or(Value::Null, Into::into)
    }
}

impl<T: Into<Value>> FromIterator<T> for Value {
    /// A list.
    fn from_iter<I: IntoIterator<Item = T>>(list: I) -> Self {
        Value::List(list.into_iter().map(Into::into).collect())
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Value {
    /// A map; of several entries with the same key the last stays.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let entries = entries.into_iter().map(|(k, v)| (k.into(), v.into()));
        Value::Map(entries.collect())
    }
}
