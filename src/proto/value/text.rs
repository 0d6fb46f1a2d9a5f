//! The JSON text of values: what `Display` shows and the JSON format sends.

use std::fmt::{self, Write};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::Value;

/// The only key of the map that stands for bytes.
pub(crate) const BYTES_KEY: &str = "$bytes";
/// What the only key of a map begins with when the map is not what it seems.
pub(crate) const ESCAPE: char = '$';

/// Writes a value as JSON without spaces.
pub(crate) fn write(value: &Value, out: &mut impl Write) -> fmt::Result {
    match value {
        Value::Null => out.write_str("null"),
        Value::Bool(it) => out.write_str(if *it { "true" } else { "false" }),
        Value::Int(it) => write!(out, "{it}"),
        // The shortest text that reads back as the same number, always with a point or an exponent.
        Value::Float(it) => write!(out, "{it:?}"),
        Value::Text(it) => write_text(it, out),
        Value::Bytes(it) => write_bytes(it, out),
        Value::List(list) => write_list(list, out),
        Value::Map(map) => {
            out.write_char('{')?;
            for (n, (key, value)) in map.iter().enumerate() {
                if n > 0 {
                    out.write_char(',')?;
                }
                if map.len() == 1 && key.starts_with(ESCAPE) {
                    write_text(&format!("{ESCAPE}{key}"), out)?;
                } else {
                    write_text(key, out)?;
                }
                out.write_char(':')?;
                write(value, out)?;
            }
            out.write_char('}')
        }
    }
}

/// Writes a list as JSON without spaces.
pub(crate) fn write_list(list: &[Value], out: &mut impl Write) -> fmt::Result {
    out.write_char('[')?;
    for (n, value) in list.iter().enumerate() {
        if n > 0 {
            out.write_char(',')?;
        }
        write(value, out)?;
    }
    out.write_char(']')
}

pub(crate) fn write_bytes(bytes: &[u8], out: &mut impl Write) -> fmt::Result {
    write!(out, "{{\"{BYTES_KEY}\":\"")?;
    write_base64(bytes, out)?;
    out.write_str("\"}")
}

fn write_base64(bytes: &[u8], out: &mut impl Write) -> fmt::Result {
    // In pieces of whole groups of three, so that no second copy of long bytes is made.
    for piece in bytes.chunks(3 * 1024) {
        out.write_str(&STANDARD.encode(piece))?;
    }
    Ok(())
}

pub(crate) fn write_text(text: &str, out: &mut impl Write) -> fmt::Result {
    out.write_char('"')?;
    let mut plain = text;
    if is_plain(text) {
        out.write_str(text)?;
        return out.write_char('"');
    }
    while let Some(at) = plain.find(|c: char| matches!(c, '"' | '\\') || c.is_control()) {
        let (before, rest) = plain.split_at(at);
        out.write_str(before)?;
        let mut chars = rest.chars();
        match chars.next() {
            Some('"') => out.write_str("\\\"")?,
            Some('\\') => out.write_str("\\\\")?,
            Some('\n') => out.write_str("\\n")?,
            Some('\r') => out.write_str("\\r")?,
            Some('\t') => out.write_str("\\t")?,
            Some(c) => write!(out, "\\u{:04x}", u32::from(c))?,
            None => {}
        }
        plain = chars.as_str();
    }
    out.write_str(plain)?;
    out.write_char('"')
}

/// Whether nothing in it needs a second look, as in most texts: only printable ASCII, without quotes and backslashes.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\')
}
