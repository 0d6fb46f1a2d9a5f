//! How JSON is written: without spaces, and with no more escapes than there must be.

use std::io::Write;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::lex::plain_len;
use crate::proto::{
    codec::{cbor::head, form::Form, write::Open},
    value::{Int, text::ESCAPE},
};

/// JSON, and how long the same is in CBOR.
#[derive(Default)]
pub(crate) struct Json {
    size: usize,
}

impl Form for Json {
    #[inline]
    fn size(&self, _out: &[u8]) -> usize {
        self.size
    }
    fn null(&mut self, out: &mut Vec<u8>) {
        self.size += 1;
        out.extend_from_slice(b"null");
    }
    fn bool(&mut self, out: &mut Vec<u8>, it: bool) {
        self.size += 1;
        out.extend_from_slice(if it { b"true" } else { b"false" });
    }
    #[inline]
    fn int(&mut self, out: &mut Vec<u8>, n: Int) {
        let mut buffer = itoa::Buffer::new();
        let (size, text) = match u64::try_from(n) {
            Ok(n) => (head::len(n), buffer.format(n)),
            // -1 - n, for an n below 0: its bits inverted
            Err(_) => {
                let n = i64::try_from(n).unwrap_or(-1);
                (head::len(!n as u64), buffer.format(n))
            }
        };
        self.size += size;
        out.extend_from_slice(text.as_bytes());
    }
    fn float(&mut self, out: &mut Vec<u8>, it: f64) {
        self.size += head::float_len(it);
        // The shortest text that reads back as the same number, always with a point or an exponent. Into memory it cannot fail.
        let _ = write!(out, "{it:?}");
    }
    #[inline]
    fn text(&mut self, out: &mut Vec<u8>, text: &str) {
        self.size += head::len(text.len() as u64) + text.len();
        let bytes = text.as_bytes();
        // for the quotes too
        out.reserve(bytes.len() + 2);
        out.push(b'"');
        if plain_len(bytes) == bytes.len() {
            out.extend_from_slice(bytes);
        } else {
            put_escaped(out, bytes);
        }
        out.push(b'"');
    }
    fn bytes(&mut self, out: &mut Vec<u8>, bytes: &[u8]) {
        self.size += head::len(bytes.len() as u64) + bytes.len();
        put_bytes(out, bytes);
    }
    #[inline]
    fn open_list(&mut self, out: &mut Vec<u8>, _declared: u64) {
        self.size += 1;
        out.push(b'[');
    }
    #[inline]
    fn open_map(&mut self, out: &mut Vec<u8>, _declared: u64) {
        self.size += 1;
        out.push(b'{');
    }
    #[inline]
    fn separate(&mut self, out: &mut Vec<u8>, behind: u64) {
        if behind > 0 {
            out.push(b',');
        }
    }
    #[inline]
    fn after_key(&mut self, out: &mut Vec<u8>) {
        out.push(b':');
    }
    #[inline]
    fn close(&mut self, out: &mut Vec<u8>, open: &Open) -> Option<(usize, isize)> {
        // one byte was counted when it began
        self.size += head::len(open.count) - 1;
        if !open.is_map {
            out.push(b']');
            return None;
        }
        // behind the bracket and the quote
        let key = open.at + 2;
        if open.count == 1 && out.get(key) == Some(&(ESCAPE as u8)) {
            out.insert(key, ESCAPE as u8);
        }
        out.push(b'}');
        None
    }
}

/// Appends bytes as the map that stands for them.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    const BEGIN: &[u8] = b"{\"$bytes\":\"";
    const END: &[u8] = b"\"}";
    let len = bytes.len().div_ceil(3).saturating_mul(4);
    out.reserve(len.saturating_add(BEGIN.len() + END.len()));
    out.extend_from_slice(BEGIN);
    let start = out.len();
    out.resize(start + len, 0);
    if let Some(room) = out.get_mut(start..) {
        // there is as much room as it takes
        let done = STANDARD.encode_slice(bytes, room);
        debug_assert_eq!(done.ok(), Some(len));
    }
    out.extend_from_slice(END);
}

/// Appends what stands between the quotes.
#[inline(never)]
fn put_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at_checked(plain_len(rest)).unwrap_or_default();
        out.extend_from_slice(plain);
        let Some((byte, behind)) = special.split_first() else {
            return;
        };
        rest = behind;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
    }
}
