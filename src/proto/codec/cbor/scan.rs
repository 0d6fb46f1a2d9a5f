//! One pass over CBOR bytes that says whether they are a message, before anything is made of them.

use super::{
    super::budget::Budget,
    head::{Head, take, take_text},
};
use crate::proto::{limits::Limits, value::DecodeError};

/// Checks that `bytes` are one list and nothing more, well-formed, of the accepted part of CBOR, within the limits of
/// depth and count, without a key twice. Returns how many values it counted.
///
/// Allocates nothing but, where there are maps, room for the keys of those that are open: at most
/// 16 bytes a key, and there are at most half as many keys as [`Limits::values_max`].
pub(crate) fn scan(bytes: &[u8], limits: &Limits) -> Result<usize, DecodeError> {
    let mut scanner = Scanner {
        rest: bytes,
        budget: Budget::new(limits),
        keys: Vec::new(),
    };
    if !matches!(Head::take(&mut &*bytes)?, Head::List(_)) {
        return Err(DecodeError::new("a message is a list"));
    }
    scanner.value()?;
    if !scanner.rest.is_empty() {
        return Err(DecodeError(format!(
            "{} bytes after the end of the message",
            scanner.rest.len()
        )));
    }
    Ok(limits.values_max - scanner.budget.values_left())
}

/// Checks the value that `bytes` begin with, within what is left of the budget. Returns what follows it.
pub(super) fn scan_value<'a>(
    bytes: &'a [u8],
    budget: &mut Budget,
) -> Result<&'a [u8], DecodeError> {
    let mut scanner = Scanner {
        rest: bytes,
        budget: std::mem::take(budget),
        keys: Vec::new(),
    };
    let done = scanner.value();
    *budget = scanner.budget;
    done.map(|()| scanner.rest)
}

struct Scanner<'a> {
    rest: &'a [u8],
    budget: Budget,
    /// The keys of the maps that are open, the innermost last.
    keys: Vec<&'a [u8]>,
}

impl<'a> Scanner<'a> {
    /// Depth of recursion is bounded by the budget.
    fn value(&mut self) -> Result<(), DecodeError> {
        self.budget.count()?;
        match Head::take(&mut self.rest)? {
            Head::Bytes(len) => take(&mut self.rest, len).map(|_| ()),
            Head::Text(len) => take_text(&mut self.rest, len).map(|_| ()),
            Head::List(len) => {
                self.budget.enter()?;
                for _ in 0..len {
                    self.value()?;
                }
                self.budget.leave();
                Ok(())
            }
            Head::Map(len) => {
                self.budget.enter()?;
                self.map(len)?;
                self.budget.leave();
                Ok(())
            }
            Head::Null | Head::Bool(_) | Head::Unsigned(_) | Head::Negative(_) | Head::Float(_) => {
                Ok(())
            }
        }
    }

    fn map(&mut self, len: usize) -> Result<(), DecodeError> {
        let first = self.keys.len();
        let mut ascending = true;
        for _ in 0..len {
            self.budget.count()?;
            let key = self.key()?;
            let last = self.keys.get(first..).and_then(<[_]>::last);
            ascending = ascending && last.is_none_or(|last| *last < key);
            self.keys.push(key);
            self.value()?;
        }
        if let Some(keys) = self.keys.get_mut(first..) {
            // Most senders write keys in some order of their own, the same for every map; few maps are large.
            if !ascending && has_twice(keys) {
                return Err(DecodeError::new("a map with the same key twice"));
            }
        }
        self.keys.truncate(first);
        Ok(())
    }

    fn key(&mut self) -> Result<&'a [u8], DecodeError> {
        match Head::take(&mut self.rest)? {
            Head::Text(len) => Ok(take_text(&mut self.rest, len)?.as_bytes()),
            _ => Err(DecodeError::new("the key of a map is not a text")),
        }
    }
}

fn has_twice(keys: &mut [&[u8]]) -> bool {
    keys.sort_unstable();
    keys.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
}
