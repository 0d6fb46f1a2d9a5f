//! Between JSON and CBOR in one pass, without values in between: what every message of a JSON link goes through.
//!
//! Messages with maps are left to the way over values, which sorts their keys and knows their escapes.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Parser, utf8};
use crate::proto::{
    codec::{
        Utf8,
        cbor::head::{self, Head, take, take_text},
    },
    limits::Limits,
    value::{DecodeError, Value, text},
};

/// Appends the JSON form of a checked CBOR message. `false`: there is a map in it, and nothing was appended.
pub(crate) fn from_cbor(message: &[u8], out: &mut Vec<u8>) -> Result<bool, DecodeError> {
    let before = out.len();
    let mut rest = message;
    let done = write(&mut rest, out);
    if !matches!(done, Ok(true)) {
        out.truncate(before);
    }
    done
}

fn write(rest: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, DecodeError> {
    match Head::take(rest)? {
        Head::Null => out.extend_from_slice(b"null"),
        Head::Bool(true) => out.extend_from_slice(b"true"),
        Head::Bool(false) => out.extend_from_slice(b"false"),
        // quicker than fmt, and it cannot fail into memory
        Head::Unsigned(n) => serde_json::to_writer(&mut *out, &n).map_err(DecodeError::new)?,
        Head::Negative(n) => serde_json::to_writer(&mut *out, &n).map_err(DecodeError::new)?,
        Head::Float(it) => {
            text::write(&Value::Float(it), &mut Utf8(out)).map_err(DecodeError::new)?;
        }
        Head::Text(len) => {
            let it = take_text(rest, len)?;
            text::write_text(it, &mut Utf8(out)).map_err(DecodeError::new)?;
        }
        Head::Bytes(len) => {
            let it = take(rest, len)?;
            text::write_bytes(it, &mut Utf8(out)).map_err(DecodeError::new)?;
        }
        Head::List(len) => {
            out.push(b'[');
            for n in 0..len {
                if n > 0 {
                    out.push(b',');
                }
                if !write(rest, out)? {
                    return Ok(false);
                }
            }
            out.push(b']');
        }
        Head::Map(_) => return Ok(false),
    }
    Ok(true)
}

/// Checks a JSON message and appends its CBOR form. `false`: there is a map in it, and what was appended is of no use.
pub(crate) fn to_cbor(
    message: &[u8],
    limits: &Limits,
    out: &mut Vec<u8>,
) -> Result<bool, DecodeError> {
    let mut parser = Parser::new(utf8(message)?, limits);
    parser.space();
    if parser.peek() != Some(b'[') {
        return Err(DecodeError::new("a message is a list"));
    }
    Ok(parser.transcode(out)? && parser.end().map(|()| true)?)
}

impl Parser<'_> {
    /// As [`Parser::value`].
    fn transcode(&mut self, out: &mut Vec<u8>) -> Result<bool, DecodeError> {
        match self.peek() {
            Some(b'"') => {
                self.budget.count()?;
                let it = self.text()?;
                head::put(out, head::TEXT, it.len() as u64);
                out.extend_from_slice(it.as_bytes());
            }
            Some(b'[') => {
                self.budget.count()?;
                self.budget.enter()?;
                let at = out.len();
                head::put(out, head::LIST, 0);
                let mut count = 0u64;
                self.at += 1;
                while self.more(count == 0, b']')? {
                    count += 1;
                    if !self.transcode(out)? {
                        return Ok(false);
                    }
                }
                self.budget.leave();
                close_list(out, at, count);
            }
            Some(b'{') => return self.transcode_bytes(out),
            // plain values: the way over a value costs nothing
            _ => match self.value()? {
                Value::Null => out.push(0xf6),
                Value::Bool(it) => out.push(if it { 0xf5 } else { 0xf4 }),
                Value::Int(n) => head::put_int(out, n),
                Value::Float(it) => head::put_float(out, it),
                _ => return Ok(false),
            },
        }
        Ok(true)
    }

    /// Bytes, which are a map of one key, and usually written without a space. `false`: it is another map.
    fn transcode_bytes(&mut self, out: &mut Vec<u8>) -> Result<bool, DecodeError> {
        const BEGIN: &str = "{\"$bytes\":\"";
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(BEGIN) {
            return Ok(false);
        }
        self.budget.enter()?;
        // as a map, its key and what it holds
        self.budget.count_many(3)?;
        self.at += BEGIN.len();
        let text = self.text_after_quote()?;
        if self.more(false, b'}')? {
            return Ok(false);
        }
        self.budget.leave();
        let bytes = STANDARD
            .decode(text.as_bytes())
            .map_err(|_| DecodeError::new("bytes that are not standard base64"))?;
        head::put(out, head::BYTES, bytes.len() as u64);
        out.extend_from_slice(&bytes);
        Ok(true)
    }
}

/// Writes the length of a list, now that it is known, into the byte that was left for it.
fn close_list(out: &mut Vec<u8>, at: usize, count: u64) {
    let mut right = Vec::with_capacity(head::len(count));
    if count < 24 {
        if let Some(first) = out.get_mut(at) {
            *first |= count as u8;
        }
        return;
    }
    head::put(&mut right, head::LIST, count);
    out.splice(at..=at, right);
}
