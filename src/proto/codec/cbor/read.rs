//! CBOR bytes as a serde deserializer: bytes that were scanned, or that are checked while they are read. Whatever they are,
//! nothing here panics.

use bytes::Bytes;
use serde::{
    Deserializer,
    de::{DeserializeSeed, EnumAccess, Error as _, MapAccess, SeqAccess, Unexpected, Visitor},
    forward_to_deserialize_any,
};

use super::{
    super::budget::Budget,
    head::{self, Head, take, take_text},
    scan::scan_value,
};
use crate::proto::{
    limits::Limits,
    value::{
        Content, DecodeError, Key,
        blob::{BLOB, HANDED_BYTES_MIN, hand},
        too_many,
    },
};

/// Reads one value after the other.
///
/// Bytes that nobody has checked are checked here, in the one pass that reads them: a plain value when it is read, a list or a map
/// as a whole before anything of it is, so that no type allocates by a length that lies or sees a key twice.
pub(crate) struct Reader<'de> {
    rest: &'de [u8],
    /// What is read is a part of.
    whole: Option<&'de Bytes>,
    /// How many bytes at the end are still to be checked.
    unchecked: usize,
    /// What they may hold.
    budget: Budget,
    /// Bytes that are no value were met. A type may have passed over the error.
    broken: bool,
}

/// Whether the first value of a message is that text.
pub(crate) fn is_tagged(bytes: &[u8], tag: &str) -> bool {
    let mut rest = bytes;
    match (Head::take(&mut rest), Head::take(&mut rest)) {
        (Ok(Head::List(1..)), Ok(Head::Text(len))) => {
            len == tag.len() && rest.starts_with(tag.as_bytes())
        }
        _ => false,
    }
}

/// The first value of a message where it is a text, and nothing else of it.
pub(crate) fn peek_tag(bytes: &[u8]) -> Result<Option<&str>, DecodeError> {
    let mut reader = Reader::new(bytes);
    if reader.begin_list()? == 0 {
        return Ok(None);
    }
    match Head::take(&mut reader.rest)? {
        Head::Text(len) => take_text(&mut reader.rest, len).map(Some),
        _ => Ok(None),
    }
}

impl<'de> Reader<'de> {
    /// Reads bytes that were checked.
    pub(crate) fn new(bytes: &'de [u8]) -> Self {
        Reader {
            rest: bytes,
            whole: None,
            unchecked: 0,
            budget: Budget::default(),
            broken: false,
        }
    }
    /// Reads a message that was checked. Long bytes are handed over as parts of it.
    pub(crate) fn of(whole: &'de Bytes) -> Self {
        Reader {
            whole: Some(whole),
            ..Self::new(whole)
        }
    }
    /// Reads the bytes of a message that were not. [`Self::end`] has the last word.
    pub(crate) fn checking(bytes: &'de [u8], limits: &Limits) -> Self {
        Reader {
            unchecked: bytes.len(),
            budget: Budget::new(limits),
            ..Self::new(bytes)
        }
    }
    /// Begins to read a message: how many values follow.
    pub(crate) fn begin_list(&mut self) -> Result<usize, DecodeError> {
        let unchecked = self.is_unchecked();
        if unchecked {
            self.budget.count()?;
            self.budget.enter()?;
        }
        match self.head()? {
            // each takes a byte at least
            Head::List(len) if unchecked && len > self.rest.len() => Err(head::cut()),
            Head::List(len) => Ok(len),
            _ => Err(DecodeError::new("a message is a list")),
        }
    }
    /// All of the message has been read.
    pub(crate) fn end(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            _ if self.broken => Err(DecodeError::new("the bytes of a value are malformed")),
            0 => Ok(()),
            more => Err(DecodeError(format!(
                "{more} bytes after the end of the message"
            ))),
        }
    }
    fn is_unchecked(&self) -> bool {
        self.unchecked > 0 && self.rest.len() <= self.unchecked
    }
    /// Checks what has to be known of the next value before it is read.
    #[inline]
    fn look_ahead(&mut self) -> Result<(), DecodeError> {
        if !self.is_unchecked() {
            return Ok(());
        }
        let checked = match self.rest.first().map(|first| first >> 5) {
            Some(head::LIST | head::MAP) => self.check_ahead(),
            _ => self.budget.count().map_err(DecodeError::from),
        };
        self.noted(checked)
    }
    /// Checks the whole of the next value.
    fn check_ahead(&mut self) -> Result<(), DecodeError> {
        self.unchecked = scan_value(self.rest, &mut self.budget)?.len();
        Ok(())
    }
    fn noted<T>(&mut self, result: Result<T, DecodeError>) -> Result<T, DecodeError> {
        self.broken |= result.is_err();
        result
    }
    #[inline]
    fn head(&mut self) -> Result<Head, DecodeError> {
        let head = Head::take(&mut self.rest);
        self.noted(head)
    }
    #[inline]
    fn text(&mut self, len: usize) -> Result<&'de str, DecodeError> {
        let text = take_text(&mut self.rest, len);
        self.noted(text)
    }
    #[inline]
    fn bytes(&mut self, len: usize) -> Result<&'de [u8], DecodeError> {
        let bytes = take(&mut self.rest, len);
        self.noted(bytes)
    }
    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'de [u8] {
        self.rest
    }
    /// Passes over one value.
    pub(crate) fn skip(&mut self) -> Result<(), DecodeError> {
        if self
            .rest
            .first()
            .is_some_and(|first| first >> 5 == head::TEXT)
        {
            // as tags are
            return self.skip_text();
        }
        if self.is_unchecked() {
            let checked = self.check_ahead();
            self.noted(checked)?;
        }
        let mut pending: usize = 1;
        while pending > 0 {
            pending -= 1;
            match self.head()? {
                Head::Bytes(len) | Head::Text(len) => {
                    self.bytes(len)?;
                }
                Head::List(len) => pending = pending.saturating_add(len),
                Head::Map(len) => pending = pending.saturating_add(len.saturating_mul(2)),
                Head::Null
                | Head::Bool(_)
                | Head::Unsigned(_)
                | Head::Negative(_)
                | Head::Float(_) => {}
            }
        }
        Ok(())
    }
    #[inline]
    fn skip_text(&mut self) -> Result<(), DecodeError> {
        let unchecked = self.is_unchecked();
        self.look_ahead()?;
        match self.head()? {
            Head::Text(len) if unchecked => self.text(len).map(|_| ()),
            Head::Text(len) => self.bytes(len).map(|_| ()),
            _ => Err(DecodeError::new("a text was expected")),
        }
    }
    /// The value of that head.
    fn value<V: Visitor<'de>>(&mut self, head: Head, visitor: V) -> Result<V::Value, DecodeError> {
        match head {
            Head::Null => visitor.visit_unit(),
            Head::Bool(it) => visitor.visit_bool(it),
            Head::Unsigned(n) => visitor.visit_u64(n),
            Head::Negative(n) => visitor.visit_i64(n),
            Head::Float(it) => visitor.visit_f64(it),
            Head::Bytes(len) => visitor.visit_borrowed_bytes(self.bytes(len)?),
            Head::Text(len) => visitor.visit_borrowed_str(self.text(len)?),
            Head::List(len) => self.list(len, visitor),
            Head::Map(len) => {
                let mut map = Items {
                    reader: self,
                    left: len,
                };
                let made = visitor.visit_map(&mut map)?;
                match map.left {
                    0 => Ok(made),
                    _ => Err(DecodeError::new("a map with more keys than expected")),
                }
            }
        }
    }
    fn peek(&self) -> Result<Head, DecodeError> {
        Head::take(&mut &*self.rest)
    }
    fn list<V: Visitor<'de>>(&mut self, len: usize, visitor: V) -> Result<V::Value, DecodeError> {
        let mut list = Items {
            reader: self,
            left: len,
        };
        let made = visitor.visit_seq(&mut list)?;
        match list.left {
            0 => Ok(made),
            more => Err(too_many(len, more)),
        }
    }
    fn key(&mut self) -> Result<&'de str, DecodeError> {
        match self.head()? {
            Head::Text(len) => self.text(len),
            _ => Err(DecodeError::new("the key of a map is not a text")),
        }
    }
}

macro_rules! unsigned {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.look_ahead()?;
            match self.head()? {
                Head::Unsigned(n) => visitor.visit_u64(n),
                head => self.value(head, visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.look_ahead()?;
        let head = self.head()?;
        self.value(head, visitor)
    }
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.look_ahead()?;
        match self.head()? {
            Head::Text(len) => visitor.visit_borrowed_str(self.text(len)?),
            head => self.value(head, visitor),
        }
    }
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }
    // what is nearly always of one kind is looked at as that first
    unsigned! { deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.peek()? {
            Head::Null => {
                self.skip()?;
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == BLOB
            && let Some(whole) = self.whole
            && let Head::Bytes(len) = self.peek()?
            // what is kept of it must not keep much more in memory
            && len >= HANDED_BYTES_MIN.max(whole.len() / 4)
        {
            self.head()?;
            let bytes = self.bytes(len)?;
            return hand(whole.slice_ref(bytes), || {
                visitor.visit_borrowed_bytes(bytes)
            });
        }
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.peek()? {
            // A `Vec<u8>` takes bytes too.
            Head::Bytes(len) => {
                self.look_ahead()?;
                self.head()?;
                let bytes = self.bytes(len)?;
                serde::de::value::SeqDeserializer::new(bytes.iter().copied())
                    .deserialize_seq(visitor)
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
        match self.peek()? {
            // Inside a message a struct is a map, and only that.
            Head::List(_) => Err(DecodeError::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.look_ahead()?;
        match self.peek()? {
            Head::Text(_) => visitor.visit_enum(Variant {
                content: false,
                reader: self,
            }),
            Head::Map(1) => {
                self.head()?;
                visitor.visit_enum(Variant {
                    content: true,
                    reader: self,
                })
            }
            _ => Err(DecodeError::new(
                "expected a variant: its name, or a map of its name to its content",
            )),
        }
    }
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.skip()?;
        visitor.visit_unit()
    }
    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u128 f32 f64 char bytes byte_buf unit unit_struct
        tuple tuple_struct map identifier
    }
}

/// What is left of a list or a map.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = DecodeError;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }
    fn size_hint(&self) -> Option<usize> {
        // Each takes a byte at least, so that a length that lies reserves no more than what came.
        Some(self.left.min(self.reader.rest.len()))
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = DecodeError;
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(Key(self.reader.key()?)).map(Some)
    }
    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        seed.deserialize(&mut *self.reader)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.left.min(self.reader.rest.len()))
    }
}

struct Variant<'a, 'de> {
    reader: &'a mut Reader<'de>,
    content: bool,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a, 'de> {
    type Error = DecodeError;
    type Variant = Content<&'a mut Reader<'de>>;
    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), DecodeError> {
        let name = self.reader.key()?;
        let content = Content(self.content.then_some(self.reader));
        Ok((seed.deserialize(Key(name))?, content))
    }
}
