//! Values as serde types: into and out of any serde format.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use super::{Int, Value};

impl Serialize for Int {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match u64::try_from(*self) {
            Ok(n) => to.serialize_u64(n),
            Err(_) => match i64::try_from(*self) {
                Ok(n) => to.serialize_i64(n),
                Err(_) => to.serialize_i128((*self).into()),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::Int(n) => Ok(n),
            other => Err(D::Error::custom(format_args!(
                "invalid type: {}, expected an integer",
                other.kind()
            ))),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => to.serialize_unit(),
            Value::Bool(it) => to.serialize_bool(*it),
            Value::Int(it) => it.serialize(to),
            Value::Float(it) => to.serialize_f64(*it),
            Value::Text(it) => to.serialize_str(it),
            Value::Bytes(it) => to.serialize_bytes(it),
            Value::List(it) => it.serialize(to),
            Value::Map(it) => it.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_bool<E: Error>(self, it: bool) -> Result<Value, E> {
        Ok(Value::Bool(it))
    }
    fn visit_i64<E: Error>(self, it: i64) -> Result<Value, E> {
        Ok(it.into())
    }
    fn visit_u64<E: Error>(self, it: u64) -> Result<Value, E> {
        Ok(it.into())
    }
    fn visit_i128<E: Error>(self, it: i128) -> Result<Value, E> {
        Int::try_from(it).map(Value::Int).map_err(E::custom)
    }
    fn visit_u128<E: Error>(self, it: u128) -> Result<Value, E> {
        Int::try_from(it).map(Value::Int).map_err(E::custom)
    }
    fn visit_f64<E: Error>(self, it: f64) -> Result<Value, E> {
        if it.is_finite() {
            Ok(Value::Float(it))
        } else {
            Err(E::custom("a float that is not finite"))
        }
    }
    fn visit_str<E: Error>(self, it: &str) -> Result<Value, E> {
        Ok(it.into())
    }
    fn visit_string<E: Error>(self, it: String) -> Result<Value, E> {
        Ok(it.into())
    }
    fn visit_bytes<E: Error>(self, it: &[u8]) -> Result<Value, E> {
        Ok(it.into())
    }
    fn visit_byte_buf<E: Error>(self, it: Vec<u8>) -> Result<Value, E> {
        Ok(it.into())
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        Value::deserialize(from)
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        Value::deserialize(from)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        // A declared length reserves at most what serde's own Vec would: 1 MiB.
        let room = from.size_hint().unwrap_or(0);
        let mut list = Vec::with_capacity(room.min((1 << 20) / size_of::<Value>()));
        while let Some(value) = from.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = from.next_entry::<String, Value>()? {
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a map with the same key twice"));
            }
        }
        Ok(Value::Map(map))
    }
}
