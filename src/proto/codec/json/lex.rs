//! The pieces of JSON: texts, numbers, words, and what stands between them.

use std::borrow::Cow;

use super::super::budget::{Budget, not_finite};
use crate::proto::{limits::Limits, value::DecodeError};

pub(super) fn utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::new("the text is not UTF-8"))
}

#[cold]
pub(super) fn cut() -> DecodeError {
    DecodeError::new("the text ends within a value")
}

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// The upper bit of each byte that is a quote, a backslash or a control character. Bits above the lowest one that is set may be
/// wrong.
fn special(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = is_zero(word ^ (ONES * b'"' as u64));
    let backslash = is_zero(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & (ONES * 0x80)
}

fn is_special(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// How many bytes at the front stand for themselves within a text.
#[inline]
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    /// From here on it is a long text, which is worth a wider look.
    const LONG: usize = 64;
    let mut at = 0;
    let (words, _) = bytes.as_chunks();
    for word in words.iter().take(LONG / 8) {
        let special = special(u64::from_le_bytes(*word));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    if at == LONG {
        at += plain_blocks(bytes.get(at..).unwrap_or_default());
    } else if let Some(last) = bytes.last_chunk() {
        // its first bytes were looked at, and stand for themselves
        return match special(u64::from_le_bytes(*last)) {
            0 => bytes.len(),
            special => bytes.len() - size_of_val(last) + special.trailing_zeros() as usize / 8,
        };
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let more = rest.iter().position(|byte| is_special(*byte));
    at + more.unwrap_or(rest.len())
}

/// How many bytes at the front, in whole blocks, stand for themselves. There is no branch within a block, so that it is looked at
/// with the widest instructions that there are.
#[inline(never)]
fn plain_blocks(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<64>();
    let is_plain = |block: &&[u8; 64]| {
        !block
            .iter()
            .fold(false, |any, byte| any | is_special(*byte))
    };
    blocks.iter().take_while(is_plain).count() * 64
}

/// A number as it is written: with a point or an exponent it is a float.
pub(super) enum Number {
    Unsigned(u64),
    /// Below 0.
    Negative(i64),
    Float(f64),
}

/// Where in a text one is.
pub(super) struct Parser<'a> {
    text: &'a str,
    pub(super) at: usize,
    pub(super) budget: Budget,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, limits: &Limits) -> Self {
        Self::within(text, Budget::new(limits))
    }
    pub(super) fn within(text: &'a str, budget: Budget) -> Self {
        Parser {
            text,
            at: 0,
            budget,
        }
    }
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
    /// What was not read yet.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }
    #[inline]
    pub(super) fn space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }
    #[cold]
    pub(super) fn wrong(&self, expected: &str) -> DecodeError {
        match self.peek() {
            None => cut(),
            Some(_) => DecodeError(format!("expected {expected} at byte {}", self.at)),
        }
    }
    #[inline]
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), DecodeError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.wrong(&format!("'{}'", char::from(byte))))
        }
    }
    pub(super) fn end(&mut self) -> Result<(), DecodeError> {
        self.space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(DecodeError(format!(
                "more after the end, at byte {}",
                self.at
            ))),
        }
    }
    pub(super) fn word(&mut self, word: &str) -> Result<(), DecodeError> {
        if self.rest().starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        // to say where it went wrong
        word.bytes().try_for_each(|byte| self.expect(byte))
    }

    /// Whether another element follows in a list or map that `close` ends.
    #[inline]
    pub(super) fn more(&mut self, first: bool, close: u8) -> Result<bool, DecodeError> {
        match self.rest() {
            // as it is written without spaces
            [b',', next, ..] if !first && *next > b' ' => {
                self.at += 1;
                Ok(true)
            }
            [next, ..] if *next == close => {
                self.at += 1;
                Ok(false)
            }
            [next, ..] if first && *next > b' ' => Ok(true),
            _ => self.more_behind_spaces(first, close),
        }
    }

    #[inline(never)]
    fn more_behind_spaces(&mut self, first: bool, close: u8) -> Result<bool, DecodeError> {
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

    /// What stands between a key and its value.
    pub(super) fn colon(&mut self) -> Result<(), DecodeError> {
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(())
    }

    /// An integer of a few digits, as most are. `None`: it is another number, or none, and nothing was read.
    #[inline]
    pub(super) fn few_digits(&mut self) -> Option<u64> {
        /// So many always fit.
        const FEW: usize = 18;
        let mut n = 0_u64;
        let mut len = 0;
        let rest = self.rest();
        let mut next = rest.iter();
        let behind = loop {
            match next.next() {
                Some(digit @ b'0'..=b'9') if len < FEW => {
                    n = n.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
                    len += 1;
                }
                behind => break behind,
            }
        };
        let is_other = matches!(behind, Some(b'0'..=b'9' | b'.' | b'e' | b'E'));
        if len == 0 || is_other || (len > 1 && rest.first() == Some(&b'0')) {
            return None;
        }
        self.at += len;
        Some(n)
    }

    pub(super) fn number(&mut self) -> Result<Number, DecodeError> {
        if let Some(n) = self.few_digits() {
            return Ok(Number::Unsigned(n));
        }
        let (text, is_float) = self.number_text()?;
        if is_float {
            return match text.parse::<f64>() {
                Ok(it) if it.is_finite() => Ok(Number::Float(it)),
                _ => Err(not_finite()),
            };
        }
        match text.parse::<u64>() {
            Ok(n) => return Ok(Number::Unsigned(n)),
            Err(_) if text == "-0" => return Ok(Number::Unsigned(0)),
            Err(_) => {}
        }
        let n = text.parse().map(Number::Negative);
        n.map_err(|_| DecodeError::new("an integer outside the range of i64 and u64"))
    }

    /// As [`Self::number`], without making a number of it.
    pub(super) fn check_number(&mut self) -> Result<(), DecodeError> {
        match self.few_digits() {
            Some(_) => Ok(()),
            None => self.number().map(|_| ()),
        }
    }

    /// A number by the grammar, and whether it is a float.
    fn number_text(&mut self) -> Result<(&'a str, bool), DecodeError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut is_float = false;
        if self.peek() == Some(b'.') {
            is_float = true;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            is_float = true;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = self.text.get(start..self.at).ok_or_else(cut)?;
        Ok((text, is_float))
    }

    fn digits(&mut self) -> Result<(), DecodeError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.wrong("a digit"));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    /// A text in quotes: borrowed where nothing in it is escaped.
    #[inline]
    pub(super) fn text(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        self.expect(b'"')?;
        self.text_after_quote()
    }

    #[inline]
    pub(super) fn text_after_quote(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let rest = self.rest();
        let len = plain_len(rest);
        if rest.get(len) == Some(&b'"')
            && let Some(text) = self.text.get(self.at..self.at + len)
        {
            self.at += len + 1;
            return Ok(Cow::Borrowed(text));
        }
        self.text_with_escapes().map(Cow::Owned)
    }

    #[inline(never)]
    fn text_with_escapes(&mut self) -> Result<String, DecodeError> {
        let mut made = String::new();
        loop {
            let len = plain_len(self.rest());
            let plain = self.text.get(self.at..self.at + len).ok_or_else(cut)?;
            self.at += len;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    made.push_str(plain);
                    return Ok(made);
                }
                Some(b'\\') => {
                    self.at += 1;
                    made.push_str(plain);
                    made.push(self.escape()?);
                }
                Some(_) => {
                    return Err(DecodeError(format!(
                        "a control character at byte {}",
                        self.at
                    )));
                }
                None => return Err(cut()),
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
            _ => return Err(self.wrong("an escape of JSON")),
        };
        self.at += 1;
        Ok(made)
    }

    fn unicode(&mut self) -> Result<char, DecodeError> {
        let first = self.hex()?;
        let mut second = None;
        if matches!(first, 0xd800..=0xdbff) {
            self.expect(b'\\')?;
            self.expect(b'u')?;
            second = Some(self.hex()?);
        }
        let mut made = char::decode_utf16([first].into_iter().chain(second));
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
                return Err(self.wrong("a hexadecimal digit"));
            };
            unit = unit << 4 | digit as u16;
            self.at += 1;
        }
        Ok(unit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn what_ends_a_plain_text_is_found_wherever_it_stands() {
        const PLAIN: [u8; 10] = [b' ', b'!', b'#', b'[', b']', b'a', 0x7f, 0x80, 0xa2, 0xff];
        let text: Vec<u8> = PLAIN.iter().copied().cycle().take(300).collect();
        for len in (0..80).chain([127, 128, 129, 191, 192, 193, 300]) {
            let mut text = text[..len].to_vec();
            assert_eq!(plain_len(&text), len);
            for at in 0..len {
                for special in [b'"', b'\\', 0, b'\n', 0x1f] {
                    let old = std::mem::replace(&mut text[at], special);
                    assert_eq!(plain_len(&text), at, "{special} at {at} of {len}");
                    text[at] = old;
                }
            }
        }
    }
}
