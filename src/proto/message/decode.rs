//! How the list of a message becomes a Rust type: the outermost level only, the rest is the reader's.

use std::{any::type_name, slice};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, EnumAccess, IgnoredAny, SeqAccess, VariantAccess,
        Visitor,
    },
};

use super::{DecodeError, raw::RAW};
use crate::proto::{
    codec::{cbor::Reader, json},
    value::{Key, Value, blob::BLOB, too_many},
};

/// Reads a `T` from the CBOR of a message, without its first `skip` values.
pub(super) fn cbor<T: DeserializeOwned>(
    mut reader: Reader<'_>,
    skip: usize,
) -> Result<T, DecodeError> {
    let mut len = reader.begin_list()?;
    for _ in 0..skip.min(len) {
        reader.skip()?;
        len -= 1;
    }
    let mut rest = Cbor { reader, len };
    let made = list(&mut rest, skip)?;
    rest.reader.end()?;
    Ok(made)
}

/// Reads a `T` from the JSON of a message, without its first `skip` values.
pub(super) fn json<T: DeserializeOwned>(
    mut reader: json::Reader<'_>,
    skip: usize,
) -> Result<T, DecodeError> {
    reader.begin_list()?;
    let mut rest = Json {
        reader,
        taken: 0,
        skipped: 0,
        more: None,
    };
    while rest.skipped < skip
        && let Some(value) = rest.take()?
    {
        value.skip()?;
        rest.skipped += 1;
    }
    let made = list(&mut rest, skip)?;
    rest.reader.end()?;
    Ok(made)
}

/// Reads a `T` from the values of a message, without its first `skip`.
pub(super) fn values<T: DeserializeOwned>(values: &[Value], skip: usize) -> Result<T, DecodeError> {
    list(&mut values.get(skip..).unwrap_or_default().iter(), skip)
}

fn list<'de, L: List<'de>, T: DeserializeOwned>(
    list: &mut L,
    skip: usize,
) -> Result<T, DecodeError> {
    let len = list.len();
    let made = T::deserialize(Top {
        list: &mut *list,
        args: skip > 0,
        raw: false,
    })?;
    list.end(len)?;
    Ok(made)
}

/// The values of a message that are still to be read.
trait List<'de> {
    type Value<'a>: Deserializer<'de, Error = DecodeError>
    where
        Self: 'a;
    /// How many they are, where that is known before.
    fn len(&self) -> Option<usize>;
    fn is_over(&mut self) -> Result<bool, DecodeError>;
    /// The next one; `None` is behind the last.
    fn take(&mut self) -> Result<Option<Self::Value<'_>>, DecodeError>;
    fn next(&mut self) -> Result<Self::Value<'_>, DecodeError> {
        self.take()?.ok_or_else(past_the_end)
    }
    /// None is left of those that were so many.
    fn end(&mut self, len: Option<usize>) -> Result<(), DecodeError>;
}

fn nothing_more(len: Option<usize>, more: usize) -> Result<(), DecodeError> {
    match more {
        0 => Ok(()),
        more => Err(too_many(len.unwrap_or(more), more)),
    }
}

fn past_the_end() -> DecodeError {
    DecodeError::new("a value was asked for after the last")
}

struct Cbor<'de> {
    reader: Reader<'de>,
    len: usize,
}

impl<'de> List<'de> for Cbor<'de> {
    type Value<'a>
        = &'a mut Reader<'de>
    where
        Self: 'a;
    fn len(&self) -> Option<usize> {
        Some(self.len)
    }
    fn is_over(&mut self) -> Result<bool, DecodeError> {
        Ok(self.len == 0)
    }
    fn take(&mut self) -> Result<Option<&mut Reader<'de>>, DecodeError> {
        let Some(len) = self.len.checked_sub(1) else {
            return Ok(None);
        };
        self.len = len;
        Ok(Some(&mut self.reader))
    }
    fn end(&mut self, len: Option<usize>) -> Result<(), DecodeError> {
        nothing_more(len, self.len)
    }
}

struct Json<'de> {
    reader: json::Reader<'de>,
    /// How many were read.
    taken: usize,
    /// How many of them were passed over at the beginning.
    skipped: usize,
    /// Whether a next one is there, where that was looked up.
    more: Option<bool>,
}

impl<'de> List<'de> for Json<'de> {
    type Value<'a>
        = &'a mut json::Reader<'de>
    where
        Self: 'a;
    fn len(&self) -> Option<usize> {
        None
    }
    #[inline]
    fn is_over(&mut self) -> Result<bool, DecodeError> {
        let more = match self.more {
            Some(more) => more,
            None => self.reader.more(self.taken == 0)?,
        };
        self.more = Some(more);
        Ok(!more)
    }
    #[inline]
    fn take(&mut self) -> Result<Option<&mut json::Reader<'de>>, DecodeError> {
        if self.is_over()? {
            return Ok(None);
        }
        self.more = None;
        self.taken += 1;
        Ok(Some(&mut self.reader))
    }
    fn end(&mut self, _len: Option<usize>) -> Result<(), DecodeError> {
        let mut more = 0;
        while let Some(value) = self.take()? {
            value.skip()?;
            more += 1;
        }
        nothing_more(Some(self.taken - self.skipped), more)
    }
}

impl<'de> List<'de> for slice::Iter<'de, Value> {
    type Value<'a>
        = &'de Value
    where
        Self: 'a;
    fn len(&self) -> Option<usize> {
        Some(ExactSizeIterator::len(self))
    }
    fn is_over(&mut self) -> Result<bool, DecodeError> {
        Ok(self.as_slice().is_empty())
    }
    fn take(&mut self) -> Result<Option<&'de Value>, DecodeError> {
        Ok(Iterator::next(self))
    }
    fn end(&mut self, len: Option<usize>) -> Result<(), DecodeError> {
        nothing_more(len, self.as_slice().len())
    }
}

struct Top<'a, L> {
    list: &'a mut L,
    /// Whether these are the arguments behind a tag.
    args: bool,
    /// Whether a list that is asked for now is the message.
    raw: bool,
}

impl<'a, 'de, L: List<'de>> Top<'a, L> {
    /// The only value.
    fn one(self) -> Result<L::Value<'a>, DecodeError> {
        let len = match self.list.len() {
            None if self.list.is_over()? => 0,
            known => known.unwrap_or(1),
        };
        match len {
            1 => self.list.next(),
            n => Err(DecodeError(format!("a list of {n} values, expected 1"))),
        }
    }
    fn elements<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(Elements {
            list: self.list,
            done: 0,
        })
    }
}

macro_rules! one {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.one()?.$method(visitor)
        }
    )*};
}

impl<'de, L: List<'de>> Deserializer<'de> for Top<'_, L> {
    type Error = DecodeError;

    one! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_option deserialize_map deserialize_identifier
    }
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        // What serde's derive reads an enum with that has no tag, or an internal one. There is no other sign of it.
        if !self.args && type_name::<V>().contains("ContentVisitor") {
            return Err(DecodeError::new(
                "an enum that is untagged or tagged internally has no positional form; use serde's default tagging, \
                 or receive it within a tuple",
            ));
        }
        self.one()?.deserialize_any(visitor)
    }
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.list.is_over()? {
            return visitor.visit_unit();
        }
        self.one()?.deserialize_unit(visitor)
    }
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.one()?.deserialize_unit_struct(name, visitor)
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == BLOB {
            return self.one()?.deserialize_newtype_struct(name, visitor);
        }
        let raw = name == RAW;
        visitor.visit_newtype_struct(Top { raw, ..self })
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.raw {
            self.elements(visitor)
        } else {
            self.one()?.deserialize_seq(visitor)
        }
    }
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.elements(visitor)
    }
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.elements(visitor)
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.one()?.deserialize_struct(name, fields, visitor)
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if self.args {
            self.one()?.deserialize_enum(name, variants, visitor)
        } else {
            visitor.visit_enum(Variant(self.list))
        }
    }
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        while let Some(value) = self.list.take()? {
            IgnoredAny::deserialize(value)?;
        }
        visitor.visit_unit()
    }
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The values one by one.
struct Elements<'a, L> {
    list: &'a mut L,
    done: usize,
}

impl<'de, L: List<'de>> SeqAccess<'de> for Elements<'_, L> {
    type Error = DecodeError;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(value) = self.list.take()? else {
            return Ok(None);
        };
        let index = self.done;
        self.done += 1;
        seed.deserialize(value)
            .map(Some)
            .map_err(|e| e.at(format_args!("value {index}")))
    }
    fn size_hint(&self) -> Option<usize> {
        self.list.len()
    }
}

/// A tag and the fields behind it.
struct Variant<'a, L>(&'a mut L);

impl<'de, L: List<'de>> EnumAccess<'de> for Variant<'_, L> {
    type Error = DecodeError;
    type Variant = Self;
    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), DecodeError> {
        let Some(tag) = self.0.take()? else {
            return Err(DecodeError::new("an empty list, expected a tag"));
        };
        let tag = <&str>::deserialize(tag)?;
        Ok((seed.deserialize(Key(tag))?, self))
    }
}

impl<'de, L: List<'de>> VariantAccess<'de> for Variant<'_, L> {
    type Error = DecodeError;
    fn unit_variant(self) -> Result<(), DecodeError> {
        // What follows the tag is refused by whoever began to read the list.
        Ok(())
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        // serde's derive reads flattened fields with the visitor of the enum, and all else with a PhantomData.
        if type_name::<T>().contains("__Visitor") {
            return Err(DecodeError::new(
                "a variant with flattened fields, which have no positions; put them into a struct of their own",
            ));
        }
        let Some(value) = self.0.take()? else {
            return Err(DecodeError::new(
                "a tag without the value that belongs to it",
            ));
        };
        seed.deserialize(value)
            .map_err(|e| e.at(format_args!("value 0")))
    }
    fn tuple_variant<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(Elements {
            list: self.0,
            done: 0,
        })
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(Elements {
            list: self.0,
            done: 0,
        })
    }
}
