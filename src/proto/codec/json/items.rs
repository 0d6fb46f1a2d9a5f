//! What stands in a list, a map or a variant of JSON, one after the other.

use serde::de::{DeserializeSeed, EnumAccess, MapAccess, SeqAccess};

use super::read::Reader;
use crate::proto::value::{Content, DecodeError, Key};

/// What is left of a list or a map.
pub(super) struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    /// How many were read.
    pub(super) done: usize,
    /// It has one key alone, this one, and it is read.
    key: Option<&'de str>,
    /// The next one is known to follow; or that there is none.
    next: Option<bool>,
}

impl<'a, 'de> Items<'a, 'de> {
    pub(super) fn new(reader: &'a mut Reader<'de>, key: Option<&'de str>) -> Self {
        Items {
            next: key.map(|_| true),
            reader,
            done: 0,
            key,
        }
    }
    #[inline]
    pub(super) fn is_more(&mut self, close: u8) -> Result<bool, DecodeError> {
        if let Some(next) = self.next {
            return Ok(next);
        }
        let more = self.reader.parser.more(self.done == 0, close);
        let more = self.reader.noted(more)?;
        self.next = Some(more);
        Ok(more)
    }
    /// Takes the next one, if there is one.
    #[inline]
    fn take(&mut self, close: u8) -> Result<bool, DecodeError> {
        let more = self.is_more(close)?;
        if more {
            self.next = None;
            self.done += 1;
        }
        Ok(more)
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = DecodeError;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        if !self.take(b']')? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = DecodeError;
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        if !self.take(b'}')? {
            return Ok(None);
        }
        let key = match self.key.take() {
            Some(key) => key,
            None => self.reader.key()?,
        };
        seed.deserialize(Key(key)).map(Some)
    }
    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        seed.deserialize(&mut *self.reader)
    }
}

pub(super) struct Variant<'a, 'de> {
    pub(super) reader: &'a mut Reader<'de>,
    /// Its name, where it is read.
    pub(super) key: Option<&'de str>,
    pub(super) content: bool,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a, 'de> {
    type Error = DecodeError;
    type Variant = Content<&'a mut Reader<'de>>;
    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), DecodeError> {
        let name = match self.key {
            Some(key) => key,
            None if self.content => self.reader.key()?,
            None => self.reader.text()?,
        };
        let content = Content(self.content.then_some(self.reader));
        Ok((seed.deserialize(Key(name))?, content))
    }
}
