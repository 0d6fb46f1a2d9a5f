//! JSON as a serde deserializer: a message that was scanned, or that is checked while it is read. Whatever it is, nothing here
//! panics.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Deserializer,
    de::{Error as _, Unexpected, Visitor, value::SeqDeserializer},
    forward_to_deserialize_any,
};

use super::{
    Arena,
    items::{Items, Variant},
    lex::{Number, Parser, utf8},
    scan::{not_a_list, not_base64, scan_value, stands_for_nothing, take_bytes},
};
use crate::proto::{
    codec::Budget,
    limits::Limits,
    value::{
        DecodeError,
        text::{BYTES_KEY, ESCAPE},
        too_many,
    },
};

/// Reads one value after the other, as the reader of CBOR does: a plain value is checked when it is read, a list or a map as a
/// whole before anything of it is.
pub(crate) struct Reader<'de> {
    pub(super) parser: Parser<'de>,
    /// Where texts with escapes are put.
    arena: &'de Arena,
    /// What is before that place was checked.
    checked: usize,
    /// What is no value was met. A type may have passed over the error.
    broken: bool,
}

/// What stands in curly brackets.
enum Curly<'de> {
    /// A map, of which nothing is read but the bracket.
    Map,
    /// The map of one key, this one. What is read is all in front of its value.
    Escaped(&'de str),
    /// Bytes, in base64. All is read.
    Bytes(Cow<'de, str>),
}

impl<'de> Reader<'de> {
    /// Reads the bytes of a message that nobody has checked. [`Self::end`] has the last word. `is_scanned`: all is checked now.
    pub(crate) fn checking(
        bytes: &'de [u8],
        limits: &Limits,
        arena: &'de Arena,
        is_scanned: bool,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader {
            parser: Parser::new(utf8(bytes)?, limits),
            arena,
            checked: 0,
            broken: false,
        };
        reader.parser.space();
        if reader.parser.peek() != Some(b'[') {
            return Err(not_a_list());
        }
        if is_scanned {
            reader.check_ahead()?;
        }
        Ok(reader)
    }
    /// Begins to read a message.
    pub(crate) fn begin_list(&mut self) -> Result<(), DecodeError> {
        if self.is_unchecked() {
            self.parser.budget.count()?;
            self.parser.budget.enter()?;
        }
        self.parser.expect(b'[')
    }
    /// Whether another value of the list that is read follows, which is the next thing to read then.
    #[inline]
    pub(crate) fn more(&mut self, first: bool) -> Result<bool, DecodeError> {
        let more = self.parser.more(first, b']');
        self.noted(more)
    }
    /// All of the message has been read.
    pub(crate) fn end(mut self) -> Result<(), DecodeError> {
        if self.broken {
            return Err(DecodeError::new("the text of a value is malformed"));
        }
        self.parser.end()
    }
    #[inline]
    fn is_unchecked(&self) -> bool {
        self.parser.at >= self.checked
    }
    /// Checks what has to be known of the next value before it is read.
    #[inline]
    fn look_ahead(&mut self) -> Result<(), DecodeError> {
        if !self.is_unchecked() {
            return Ok(());
        }
        let checked = match self.parser.peek() {
            Some(b'[' | b'{') => self.check_ahead(),
            _ => self.parser.budget.count().map_err(DecodeError::from),
        };
        self.noted(checked)
    }
    /// Checks the whole of the next value.
    #[inline(never)]
    fn check_ahead(&mut self) -> Result<(), DecodeError> {
        let start = self.parser.at;
        scan_value(&mut self.parser)?;
        self.checked = std::mem::replace(&mut self.parser.at, start);
        Ok(())
    }
    #[inline]
    pub(super) fn noted<T>(&mut self, result: Result<T, DecodeError>) -> Result<T, DecodeError> {
        self.broken |= result.is_err();
        result
    }
    #[inline]
    pub(super) fn text(&mut self) -> Result<&'de str, DecodeError> {
        let text = self.parser.text();
        match self.noted(text)? {
            Cow::Borrowed(text) => Ok(text),
            Cow::Owned(text) => Ok(Arena::keep(&mut self.arena, text)),
        }
    }
    pub(super) fn key(&mut self) -> Result<&'de str, DecodeError> {
        let key = self.text()?;
        let colon = self.parser.colon();
        self.noted(colon)?;
        Ok(key)
    }
    /// Passes over one value.
    pub(crate) fn skip(&mut self) -> Result<(), DecodeError> {
        if self.parser.peek() == Some(b'"') {
            // as tags are
            self.look_ahead()?;
            let text = self.parser.text();
            return self.noted(text).map(|_| ());
        }
        if self.is_unchecked() {
            let checked = self.check_ahead();
            self.noted(checked)?;
            self.parser.at = self.checked;
            return Ok(());
        }
        // it was counted, and is not to be counted again
        let budget = std::mem::replace(&mut self.parser.budget, Budget::unlimited());
        let passed = scan_value(&mut self.parser);
        self.parser.budget = budget;
        self.noted(passed)
    }
    fn value<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.parser.peek() {
            Some(b'"') => visitor.visit_borrowed_str(self.text()?),
            Some(b'[') => self.list(visitor),
            Some(b'{') => match self.curly()? {
                Curly::Bytes(text) => visitor.visit_byte_buf(self.base64(&text)?),
                Curly::Map => self.map(None, visitor),
                Curly::Escaped(key) => self.map(Some(key), visitor),
            },
            Some(b'n') => {
                self.word("null")?;
                visitor.visit_unit()
            }
            Some(b't') => {
                self.word("true")?;
                visitor.visit_bool(true)
            }
            Some(b'f') => {
                self.word("false")?;
                visitor.visit_bool(false)
            }
            Some(b'-' | b'0'..=b'9') => {
                let number = self.parser.number();
                match self.noted(number)? {
                    Number::Unsigned(n) => visitor.visit_u64(n),
                    Number::Negative(n) => visitor.visit_i64(n),
                    Number::Float(it) => visitor.visit_f64(it),
                }
            }
            _ => {
                let wrong = Err(self.parser.wrong("a value"));
                self.noted(wrong)
            }
        }
    }
    fn word(&mut self, word: &str) -> Result<(), DecodeError> {
        let word = self.parser.word(word);
        self.noted(word)
    }
    fn base64(&mut self, text: &str) -> Result<Vec<u8>, DecodeError> {
        let bytes = STANDARD.decode(text).map_err(|_| not_base64());
        self.noted(bytes)
    }
    fn curly(&mut self) -> Result<Curly<'de>, DecodeError> {
        let curly = self.curly_unnoted();
        self.noted(curly)
    }
    fn curly_unnoted(&mut self) -> Result<Curly<'de>, DecodeError> {
        if let Some(text) = take_bytes(&mut self.parser)? {
            return Ok(Curly::Bytes(text));
        }
        self.parser.at += 1;
        let start = self.parser.at;
        self.parser.space();
        if self.parser.peek() != Some(b'"') {
            return Ok(Curly::Map);
        }
        let key = self.parser.text()?;
        let Some(name) = key.strip_prefix(ESCAPE) else {
            self.parser.at = start;
            return Ok(Curly::Map);
        };
        self.parser.colon()?;
        let value = self.parser.at;
        self.skip()?;
        if self.parser.more(false, b'}')? {
            // one of several keys stands for itself
            self.parser.at = start;
            return Ok(Curly::Map);
        }
        let end = std::mem::replace(&mut self.parser.at, value);
        if name.starts_with(ESCAPE) {
            let name = name.to_owned();
            return Ok(Curly::Escaped(Arena::keep(&mut self.arena, name)));
        }
        if key != BYTES_KEY {
            return Err(stands_for_nothing(&key));
        }
        let text = self.parser.text()?;
        self.parser.at = end;
        Ok(Curly::Bytes(text))
    }
    fn list<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        self.parser.at += 1;
        let mut list = Items::new(self, None);
        let made = visitor.visit_seq(&mut list)?;
        if !list.is_more(b']')? {
            return Ok(made);
        }
        let done = list.done;
        let mut more = 1;
        self.skip()?;
        while self.more(false)? {
            self.skip()?;
            more += 1;
        }
        Err(too_many(done + more, more))
    }
    fn map<V: Visitor<'de>>(
        &mut self,
        key: Option<&'de str>,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let mut map = Items::new(self, key);
        let made = visitor.visit_map(&mut map)?;
        match map.is_more(b'}')? {
            false => Ok(made),
            true => Err(DecodeError::new("a map with more keys than expected")),
        }
    }
}

macro_rules! unsigned {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.look_ahead()?;
            match self.parser.few_digits() {
                Some(n) => visitor.visit_u64(n),
                None => self.value(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.look_ahead()?;
        self.value(visitor)
    }
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.look_ahead()?;
        match self.parser.peek() {
            Some(b'"') => visitor.visit_borrowed_str(self.text()?),
            _ => self.value(visitor),
        }
    }
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.look_ahead()?;
        if self.parser.peek() != Some(b'"') {
            return self.value(visitor);
        }
        let text = self.parser.text();
        match self.noted(text)? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }
    /// Who asks for bytes so may want to borrow them.
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.look_ahead()?;
        if self.parser.peek() != Some(b'{') {
            return self.value(visitor);
        }
        match self.curly()? {
            Curly::Bytes(text) => {
                let bytes = self.base64(&text)?;
                visitor.visit_borrowed_bytes(Arena::keep_bytes(&mut self.arena, bytes))
            }
            Curly::Map => self.map(None, visitor),
            Curly::Escaped(key) => self.map(Some(key), visitor),
        }
    }
    // what is nearly always of one kind is looked at as that first
    unsigned! { deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.parser.peek() {
            Some(b'n') => {
                self.look_ahead()?;
                self.word("null")?;
                visitor.visit_none()
            }
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
        self.look_ahead()?;
        if self.parser.peek() != Some(b'{') {
            return self.value(visitor);
        }
        match self.curly()? {
            // A `Vec<u8>` takes bytes too.
            Curly::Bytes(text) => {
                SeqDeserializer::new(self.base64(&text)?.into_iter()).deserialize_seq(visitor)
            }
            Curly::Map => self.map(None, visitor),
            Curly::Escaped(key) => self.map(Some(key), visitor),
        }
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.parser.peek() {
            // Inside a message a struct is a map, and only that.
            Some(b'[') => Err(DecodeError::invalid_type(Unexpected::Seq, &visitor)),
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
        let key = match self.parser.peek() {
            Some(b'"') => {
                return visitor.visit_enum(Variant {
                    key: None,
                    content: false,
                    reader: self,
                });
            }
            Some(b'{') => match self.curly()? {
                Curly::Map => None,
                Curly::Escaped(key) => Some(key),
                Curly::Bytes(_) => return Err(no_variant()),
            },
            _ => return Err(no_variant()),
        };
        self.parser.space();
        if key.is_none() && self.parser.peek() != Some(b'"') {
            return Err(no_variant());
        }
        let made = visitor.visit_enum(Variant {
            key,
            content: true,
            reader: &mut *self,
        })?;
        let more = self.parser.more(false, b'}');
        match self.noted(more)? {
            false => Ok(made),
            true => Err(no_variant()),
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
        bool i8 i16 i32 i64 i128 u128 f32 f64 char byte_buf unit unit_struct
        tuple tuple_struct map identifier
    }
}

fn no_variant() -> DecodeError {
    DecodeError::new("expected a variant: its name, or a map of its name to its content")
}
