//! JSON (RFC 8259) that carries the whole data model.
//!
//! A number with a point or an exponent is a float, any other an integer, exact over the whole range. Bytes are the
//! map `{"$bytes":"…"}` with standard, padded base64. A map that has one key only, and that beginning with `$`, is
//! written with one `$` more before it: `{"$bytes":1}` is `{"$$bytes":1}`.

use std::{borrow::Cow, collections::BTreeMap, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::proto::{
    limits::Limits,
    value::{
        DecodeError, Value,
        text::{BYTES_KEY, ESCAPE},
    },
};
use lex::{Number, Parser, cut, is_space, plain_len, utf8};
use scan::{not_a_list, not_base64, stands_for_nothing};

mod arena;
mod form;
mod items;
mod lex;
mod read;
mod scan;
mod transcode;

pub(crate) use arena::Arena;
pub(crate) use form::Json;
pub(crate) use read::Reader;
pub(crate) use scan::scan;
pub(crate) use transcode::from_cbor;

/// How many times longer than its CBOR form a message can be: empty bytes are one byte there and 14 here.
pub(super) const EXPANSION_MAX: usize = 14;

/// Reads a message.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Vec<Value>, DecodeError> {
    let mut parser = Parser::new(utf8(bytes)?, limits);
    parser.space();
    if parser.peek() != Some(b'[') {
        return Err(not_a_list());
    }
    match parser.value()? {
        Value::List(list) => parser.end().map(|()| list),
        _ => Err(not_a_list()),
    }
}

/// Whether the first value of a message is that text, as far as that is seen at once: in its usual form.
pub(super) fn is_tagged(bytes: &[u8], tag: &str) -> bool {
    let Some(rest) = bytes.strip_prefix(b"[\"") else {
        return matches!(peek_tag(bytes), Ok(Some(found)) if found == tag);
    };
    match rest.split_at_checked(tag.len()) {
        Some((front, [b'"', ..])) if front == tag.as_bytes() => plain_len(front) == front.len(),
        _ => matches!(peek_tag(bytes), Ok(Some(found)) if found == tag),
    }
}

/// The first value of a message where it is a text, and nothing else of it.
pub(super) fn peek_tag(bytes: &[u8]) -> Result<Option<Cow<'_, str>>, DecodeError> {
    let space = |bytes: &'_ [u8]| bytes.iter().take_while(|b| is_space(**b)).count();
    let list = space(bytes);
    let Some([b'[', rest @ ..]) = bytes.get(list..) else {
        return Err(not_a_list());
    };
    let Some([b'"', rest @ ..]) = rest.get(space(rest)..) else {
        return Ok(None);
    };
    // as nearly all are
    let plain = rest.split_at_checked(plain_len(rest));
    if let Some((text, [b'"', ..])) = plain {
        return utf8(text).map(|text| Some(Cow::Borrowed(text)));
    }
    // The text ends at the first quote that is not escaped; only so much must be UTF-8 here.
    let mut escaped = false;
    let end = rest.iter().position(|b| {
        let ends = *b == b'"' && !escaped;
        escaped = *b == b'\\' && !escaped;
        ends
    });
    let text = end.and_then(|end| rest.get(..=end)).ok_or_else(cut)?;
    Parser::new(utf8(text)?, &Limits::default())
        .text_after_quote()
        .map(Some)
}

impl FromStr for Value {
    type Err = DecodeError;
    /// Reads the JSON form of a value, within the default limits of depth and count.
    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let mut parser = Parser::new(text, &Limits::default());
        parser.space();
        let value = parser.value()?;
        parser.end()?;
        Ok(value)
    }
}

impl Parser<'_> {
    /// One value, with no space before it. Depth of recursion is bounded by the budget.
    fn value(&mut self) -> Result<Value, DecodeError> {
        self.budget.count()?;
        Ok(match self.peek() {
            Some(b'n') => self.word("null").map(|()| Value::Null)?,
            Some(b't') => self.word("true").map(|()| Value::Bool(true))?,
            Some(b'f') => self.word("false").map(|()| Value::Bool(false))?,
            Some(b'"') => Value::Text(self.text()?.into_owned()),
            Some(b'-' | b'0'..=b'9') => match self.number()? {
                Number::Unsigned(n) => n.into(),
                Number::Negative(n) => n.into(),
                Number::Float(it) => it.into(),
            },
            Some(b'[') => {
                self.budget.enter()?;
                let list = self.list()?;
                self.budget.leave();
                Value::List(list)
            }
            Some(b'{') => {
                self.budget.enter()?;
                let map = self.map()?;
                self.budget.leave();
                unescape(map)?
            }
            _ => return Err(self.wrong("a value")),
        })
    }

    fn list(&mut self) -> Result<Vec<Value>, DecodeError> {
        self.expect(b'[')?;
        let mut list = Vec::new();
        while self.more(list.is_empty(), b']')? {
            list.push(self.value()?);
        }
        Ok(list)
    }

    fn map(&mut self) -> Result<BTreeMap<String, Value>, DecodeError> {
        self.expect(b'{')?;
        let mut map = BTreeMap::new();
        while self.more(map.is_empty(), b'}')? {
            self.budget.count()?;
            let key = self.text()?.into_owned();
            self.colon()?;
            let value = self.value()?;
            if map.insert(key, value).is_some() {
                return Err(DecodeError::new("a map with the same key twice"));
            }
        }
        Ok(map)
    }
}

/// Undoes what the writer does to maps of one key.
fn unescape(mut map: BTreeMap<String, Value>) -> Result<Value, DecodeError> {
    if map.len() == 1
        && let Some(mut entry) = map.first_entry()
        && let Some(name) = entry.key().strip_prefix(ESCAPE)
    {
        if name.starts_with(ESCAPE) {
            let name = name.to_owned();
            let value = std::mem::take(entry.get_mut());
            return Ok(Value::Map(BTreeMap::from([(name, value)])));
        }
        return match (entry.key().as_str(), entry.get()) {
            (BYTES_KEY, Value::Text(text)) => match STANDARD.decode(text) {
                Ok(bytes) => Ok(Value::Bytes(bytes)),
                Err(_) => Err(not_base64()),
            },
            _ => Err(stands_for_nothing(entry.key())),
        };
    }
    Ok(Value::Map(map))
}
