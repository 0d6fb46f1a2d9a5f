//! One pass over JSON that says whether it is a message, before anything is made of it.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::lex::{Parser, utf8};
use crate::proto::{
    codec::Budget,
    value::{
        DecodeError,
        text::{BYTES_KEY, ESCAPE},
    },
};

/// Checks that `bytes` are one list and nothing more, within the budget, without a key twice.
pub(crate) fn scan(bytes: &[u8], budget: Budget) -> Result<(), DecodeError> {
    let mut parser = Parser::within(utf8(bytes)?, budget);
    parser.space();
    if parser.peek() != Some(b'[') {
        return Err(not_a_list());
    }
    scan_value(&mut parser)?;
    parser.end()
}

pub(super) fn not_a_list() -> DecodeError {
    DecodeError::new("a message is a list")
}

/// Passes over one value, with no space before it, and checks it within what is left of the budget.
pub(super) fn scan_value(parser: &mut Parser<'_>) -> Result<(), DecodeError> {
    let mut keys = Vec::new();
    Scanner {
        parser,
        keys: &mut keys,
    }
    .value()
}

struct Scanner<'s, 'a> {
    parser: &'s mut Parser<'a>,
    /// The keys of the maps that are open, the innermost last.
    keys: &'s mut Vec<Cow<'a, str>>,
}

impl Scanner<'_, '_> {
    /// Depth of recursion is bounded by the budget.
    fn value(&mut self) -> Result<(), DecodeError> {
        self.parser.budget.count()?;
        match self.parser.peek() {
            Some(b'"') => self.parser.text().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.parser.check_number(),
            Some(b'n') => self.parser.word("null"),
            Some(b't') => self.parser.word("true"),
            Some(b'f') => self.parser.word("false"),
            Some(b'[') => {
                self.parser.budget.enter()?;
                self.parser.at += 1;
                let mut first = true;
                while self.parser.more(first, b']')? {
                    first = false;
                    self.value()?;
                }
                self.parser.budget.leave();
                Ok(())
            }
            Some(b'{') => {
                self.parser.budget.enter()?;
                self.map()?;
                self.parser.budget.leave();
                Ok(())
            }
            _ => Err(self.parser.wrong("a value")),
        }
    }

    fn map(&mut self) -> Result<(), DecodeError> {
        if let Some(text) = take_bytes(self.parser)? {
            // its key and what it holds
            self.parser.budget.count_many(2)?;
            return check_base64(text.as_bytes());
        }
        self.parser.at += 1;
        let first = self.keys.len();
        let mut ascending = true;
        let mut value = 0;
        while self.parser.more(self.keys.len() == first, b'}')? {
            self.parser.budget.count()?;
            let key = self.parser.text()?;
            self.parser.colon()?;
            value = self.parser.at;
            let last = self.keys.get(first..).and_then(<[_]>::last);
            ascending = ascending && last.is_none_or(|last| *last < key);
            self.keys.push(key);
            self.value()?;
        }
        if let Some([key]) = self.keys.get(first..) {
            if key.starts_with(ESCAPE) {
                let end = std::mem::replace(&mut self.parser.at, value);
                check_single(key, self.parser)?;
                self.parser.at = end;
            }
        } else if !ascending && has_twice(self.keys.get_mut(first..).unwrap_or_default()) {
            return Err(DecodeError::new("a map with the same key twice"));
        }
        self.keys.truncate(first);
        Ok(())
    }
}

/// Takes bytes that are written as usual: their base64. `None`: it is not that, and nothing was taken.
pub(super) fn take_bytes<'a>(parser: &mut Parser<'a>) -> Result<Option<Cow<'a, str>>, DecodeError> {
    const BEGIN: &[u8] = b"{\"$bytes\":\"";
    if !parser.rest().starts_with(BEGIN) {
        return Ok(None);
    }
    let start = parser.at;
    parser.at += BEGIN.len();
    let text = parser.text_after_quote()?;
    if parser.more(false, b'}')? {
        parser.at = start;
        return Ok(None);
    }
    Ok(Some(text))
}

fn has_twice(keys: &mut [Cow<'_, str>]) -> bool {
    keys.sort_unstable();
    keys.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
}

/// Checks the map of that key alone, which begins with `$`, whose value is the next one.
fn check_single(key: &str, parser: &mut Parser<'_>) -> Result<(), DecodeError> {
    if key
        .strip_prefix(ESCAPE)
        .is_some_and(|key| key.starts_with(ESCAPE))
    {
        return Ok(());
    }
    if key != BYTES_KEY || parser.peek() != Some(b'"') {
        return Err(stands_for_nothing(key));
    }
    check_base64(parser.text()?.as_bytes())
}

#[cold]
pub(super) fn stands_for_nothing(key: &str) -> DecodeError {
    DecodeError(format!(
        "a map that has only the key {key:?}, which stands for nothing"
    ))
}

#[cold]
pub(super) fn not_base64() -> DecodeError {
    DecodeError::new("bytes that are not standard base64")
}

/// Whether it can be decoded.
fn check_base64(text: &[u8]) -> Result<(), DecodeError> {
    // only the last four may be padded
    let front = text.len().saturating_sub(4);
    let (front, last) = text.split_at_checked(front).unwrap_or_default();
    let is_symbol = |byte: u8| byte.is_ascii_alphanumeric() | (byte == b'+') | (byte == b'/');
    // no branch within a block, so that it is looked at with the widest instructions that there are
    let is_good = |block: &[u8]| block.iter().fold(true, |all, byte| all & is_symbol(*byte));
    let (blocks, rest) = front.as_chunks::<64>();
    if front.len() % 4 == 0
        && blocks.iter().all(|block| is_good(block))
        && is_good(rest)
        && STANDARD.decode_slice(last, &mut [0; 3]).is_ok()
    {
        return Ok(());
    }
    Err(not_base64())
}
