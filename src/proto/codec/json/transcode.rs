//! From CBOR to JSON in one pass, without values in between.
//!
//! Messages with maps are left to the way over values, which sorts their keys and knows their escapes.

use crate::proto::{
    codec::{
        Utf8,
        cbor::head::{Head, take, take_text},
    },
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
