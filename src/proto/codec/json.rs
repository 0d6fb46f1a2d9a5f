//! JSON (RFC 8259) that carries the whole data model.
//!
//! A number with a point or an exponent is a float, any other an integer, exact over the whole range. Bytes are the
//! map `{"$bytes":"…"}` with standard, padded base64. A map that has one key only, and that beginning with `$`, is
//! written with one `$` more before it: `{"$bytes":1}` is `{"$$bytes":1}`.

use std::{borrow::Cow, collections::BTreeMap, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::budget::{Budget, not_finite};
use crate::proto::{
    limits::Limits,
    value::{
        DecodeError, Int, Value,
        text::{BYTES_KEY, ESCAPE},
    },
};

mod transcode;

pub(crate) use transcode::{from_cbor, to_cbor};

/// How many times longer than its CBOR form a message can be: empty bytes are one byte there and 14 here.
pub(super) const EXPANSION_MAX: usize = 14;

/// Reads a message.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Vec<Value>, DecodeError> {
    let text = utf8(bytes)?;
    let mut parser = Parser::new(text, limits);
    parser.space();
    if parser.peek() != Some(b'[') {
        return Err(DecodeError::new("a message is a list"));
    }
    match parser.value()? {
        Value::List(list) => parser.end().map(|()| list),
        _ => Err(DecodeError::new("a message is a list")),
    }
}

/// The first value of a message where it is a text, and nothing else of it.
pub(super) fn peek_tag(bytes: &[u8]) -> Result<Option<Cow<'_, str>>, DecodeError> {
    let space = |bytes: &'_ [u8]| bytes.iter().take_while(|b| is_space(**b)).count();
    let list = space(bytes);
    let Some([b'[', rest @ ..]) = bytes.get(list..) else {
        return Err(DecodeError::new("a message is a list"));
    };
    let Some([b'"', rest @ ..]) = rest.get(space(rest)..) else {
        return Ok(None);
    };
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

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
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

fn utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::new("the text is not UTF-8"))
}

fn cut() -> DecodeError {
    DecodeError::new("the text ends within a value")
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    budget: Budget,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, limits: &Limits) -> Self {
        Parser {
            text,
            at: 0,
            budget: Budget::new(limits),
        }
    }
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
    fn space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }
    fn wrong<T>(&self, expected: &str) -> Result<T, DecodeError> {
        match self.peek() {
            None => Err(cut()),
            Some(_) => Err(DecodeError(format!(
                "expected {expected} at byte {}",
                self.at
            ))),
        }
    }
    fn expect(&mut self, byte: u8) -> Result<(), DecodeError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.wrong(&format!("'{}'", char::from(byte)))
        }
    }
    fn end(&mut self) -> Result<(), DecodeError> {
        self.space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(DecodeError(format!(
                "more after the end, at byte {}",
                self.at
            ))),
        }
    }
    fn word(&mut self, word: &str, value: Value) -> Result<Value, DecodeError> {
        for byte in word.bytes() {
            self.expect(byte)?;
        }
        Ok(value)
    }

    /// One value, with no space before it. Depth of recursion is bounded by the budget.
    fn value(&mut self) -> Result<Value, DecodeError> {
        self.budget.count()?;
        match self.peek() {
            Some(b'n') => self.word("null", Value::Null),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'"') => Ok(Value::Text(self.text()?.into_owned())),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'[') => {
                self.budget.enter()?;
                let list = self.list()?;
                self.budget.leave();
                Ok(Value::List(list))
            }
            Some(b'{') => {
                self.budget.enter()?;
                let map = self.map()?;
                self.budget.leave();
                unescape(map)
            }
            _ => self.wrong("a value"),
        }
    }

    /// Whether another element follows in a list or map that `close` ends.
    fn more(&mut self, first: bool, close: u8) -> Result<bool, DecodeError> {
        self.space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(false);
        }
        if !first {
            self.expect(b',')?;
            self.space();
        }
        Ok(true)
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
            self.space();
            self.expect(b':')?;
            self.space();
            let value = self.value()?;
            if map.insert(key, value).is_some() {
                return Err(DecodeError::new("a map with the same key twice"));
            }
        }
        Ok(map)
    }

    fn number(&mut self) -> Result<Value, DecodeError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut float = false;
        if self.peek() == Some(b'.') {
            float = true;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            float = true;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = self.text.get(start..self.at).ok_or_else(cut)?;
        if float {
            match text.parse::<f64>() {
                Ok(it) if it.is_finite() => Ok(Value::Float(it)),
                _ => Err(not_finite()),
            }
        } else {
            // nearly all fit the first, and it is the quickest
            let n = match text.parse::<i64>() {
                Ok(n) => Some(n.into()),
                Err(_) => text.parse::<u64>().ok().map(Int::from),
            };
            match n {
                Some(n) => Ok(Value::Int(n)),
                None => Err(DecodeError::new(
                    "an integer outside the range of i64 and u64",
                )),
            }
        }
    }

    fn digits(&mut self) -> Result<(), DecodeError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.wrong("a digit");
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    /// A text in quotes: borrowed where nothing in it is escaped.
    fn text(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        self.expect(b'"')?;
        self.text_after_quote()
    }

    fn text_after_quote(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let mut made = String::new();
        loop {
            let rest = self.text.get(self.at..).ok_or_else(cut)?;
            let plain = rest
                .bytes()
                .position(|b| matches!(b, b'"' | b'\\' | ..=0x1f));
            let (plain, special) = rest.split_at(plain.ok_or_else(cut)?);
            self.at += plain.len();
            match special.as_bytes().first() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(if made.is_empty() {
                        Cow::Borrowed(plain)
                    } else {
                        Cow::Owned(made + plain)
                    });
                }
                Some(b'\\') => {
                    self.at += 1;
                    made.push_str(plain);
                    made.push(self.escape()?);
                }
                _ => {
                    return Err(DecodeError(format!(
                        "a control character at byte {}",
                        self.at
                    )));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, DecodeError> {
        let Some(byte) = self.peek() else {
            return Err(cut());
        };
        let made = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode();
            }
            _ => return self.wrong("an escape of JSON"),
        };
        self.at += 1;
        Ok(made)
    }

    fn unicode(&mut self) -> Result<char, DecodeError> {
        let mut units = vec![self.hex()?];
        if matches!(units.first(), Some(0xd800..=0xdbff)) {
            self.expect(b'\\')?;
            self.expect(b'u')?;
            units.push(self.hex()?);
        }
        let mut made = char::decode_utf16(units);
        match (made.next(), made.next()) {
            (Some(Ok(c)), None) => Ok(c),
            _ => Err(DecodeError(format!(
                "half a surrogate pair at byte {}",
                self.at
            ))),
        }
    }

    fn hex(&mut self) -> Result<u16, DecodeError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            let Some(digit) = digit else {
                return self.wrong("a hexadecimal digit");
            };
            unit = unit << 4 | digit as u16;
            self.at += 1;
        }
        Ok(unit)
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
                Err(_) => Err(DecodeError::new("bytes that are not standard base64")),
            },
            _ => Err(DecodeError(format!(
                "a map that has only the key {:?}, which stands for nothing",
                entry.key()
            ))),
        };
    }
    Ok(Value::Map(map))
}
