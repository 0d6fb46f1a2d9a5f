//! A borrowed value as a serde deserializer: `T::deserialize(&value)`.

use std::{collections::btree_map, slice};

use serde::{
    Deserializer,
    de::{
        self, DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
        Unexpected, VariantAccess, Visitor, value::StrDeserializer,
    },
    forward_to_deserialize_any,
};

use super::{DecodeError, Int, Value};

impl<'de> IntoDeserializer<'de, DecodeError> for &'de Value {
    type Deserializer = &'de Value;
    fn into_deserializer(self) -> &'de Value {
        self
    }
}

fn visit_int<'de, V: Visitor<'de>>(n: Int, visitor: V) -> Result<V::Value, DecodeError> {
    match u64::try_from(n) {
        Ok(n) => visitor.visit_u64(n),
        Err(_) => match i64::try_from(n) {
            Ok(n) => visitor.visit_i64(n),
            Err(e) => Err(DecodeError::new(e)),
        },
    }
}

fn visit_list<'de, V: Visitor<'de>>(
    list: &'de [Value],
    visitor: V,
) -> Result<V::Value, DecodeError> {
    let mut access = ListAccess(list.iter());
    let made = visitor.visit_seq(&mut access)?;
    match access.0.len() {
        0 => Ok(made),
        more => Err(too_many(list.len(), more)),
    }
}

/// A list has elements that nobody asked for.
pub(crate) fn too_many(found: usize, more: usize) -> DecodeError {
    let expected = found.saturating_sub(more);
    DecodeError(format!("a list of {found} values, expected {expected}"))
}

impl<'de> Deserializer<'de> for &'de Value {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self {
            Value::Null => visitor.visit_unit(),
            Value::Bool(it) => visitor.visit_bool(*it),
            Value::Int(it) => visit_int(*it, visitor),
            Value::Float(it) => visitor.visit_f64(*it),
            Value::Text(it) => visitor.visit_borrowed_str(it),
            Value::Bytes(it) => visitor.visit_borrowed_bytes(it),
            Value::List(list) => visit_list(list, visitor),
            Value::Map(map) => {
                let mut access = EntryAccess {
                    entries: map.iter(),
                    value: None,
                };
                let made = visitor.visit_map(&mut access)?;
                match access.entries.len() {
                    0 => Ok(made),
                    _ => Err(DecodeError::new("a map with more keys than expected")),
                }
            }
        }
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self {
            // A `Vec<u8>` takes bytes too.
            Value::Bytes(it) => {
                de::value::SeqDeserializer::new(it.iter().copied()).deserialize_seq(visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self {
            // Inside a message a struct is a map, and only that.
            Value::List(_) => Err(DecodeError::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self {
            Value::Text(name) => visitor.visit_enum(Variant {
                name,
                content: None,
            }),
            Value::Map(map) if map.len() == 1 => match map.first_key_value() {
                Some((name, content)) => visitor.visit_enum(Variant {
                    name,
                    content: Some(content),
                }),
                None => Err(DecodeError::new("an empty map")),
            },
            other => Err(DecodeError(format!(
                "invalid type: {}, expected a variant: its name, or a map of its name to its content",
                other.kind()
            ))),
        }
    }
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }
    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct map identifier
    }
}

struct ListAccess<'de>(slice::Iter<'de, Value>);

impl<'de> SeqAccess<'de> for ListAccess<'de> {
    type Error = DecodeError;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        self.0.next().map(|it| seed.deserialize(it)).transpose()
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct EntryAccess<'de> {
    entries: btree_map::Iter<'de, String, Value>,
    value: Option<&'de Value>,
}

impl<'de> MapAccess<'de> for EntryAccess<'de> {
    type Error = DecodeError;
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        let Some((key, value)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        seed.deserialize(Key(key)).map(Some)
    }
    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        match self.value.take() {
            Some(value) => seed.deserialize(value),
            None => Err(DecodeError::new("a value was asked for before its key")),
        }
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// A key of a map: a text, which is also the name of a unit variant.
pub(crate) struct Key<'de>(pub(crate) &'de str);

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = DecodeError;
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_borrowed_str(self.0)
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_some(self)
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_enum(StrDeserializer::new(self.0))
    }
    fn is_human_readable(&self) -> bool {
        false
    }
    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Variant<'de> {
    name: &'de str,
    content: Option<&'de Value>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = DecodeError;
    type Variant = Content<&'de Value>;
    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), DecodeError> {
        let variant = seed.deserialize(Key(self.name))?;
        Ok((variant, Content(self.content)))
    }
}

/// Where the content of a variant is read, of one that has any; in whichever format.
pub(crate) struct Content<D>(pub(crate) Option<D>);

impl<D> Content<D> {
    fn there(self) -> Result<D, DecodeError> {
        self.0
            .ok_or_else(|| DecodeError::new("a variant without its content"))
    }
}

impl<'de, D: Deserializer<'de, Error = DecodeError>> VariantAccess<'de> for Content<D> {
    type Error = DecodeError;
    fn unit_variant(self) -> Result<(), DecodeError> {
        match self.0 {
            None => Ok(()),
            Some(_) => Err(DecodeError::new(
                "content for a variant that is its name alone",
            )),
        }
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        seed.deserialize(self.there()?)
    }
    fn tuple_variant<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.there()?.deserialize_tuple(len, visitor)
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.there()?.deserialize_struct("", fields, visitor)
    }
}
