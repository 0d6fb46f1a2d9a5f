//! Formats: how a list of values becomes bytes, and the place where further formats are registered.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    limits::Limits,
    value::{DecodeError, EncodeError, Value, text},
};

mod budget;
pub(crate) mod cbor;
pub mod conformance;
mod form;
pub(crate) mod json;
mod key;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use form::Form;
pub(crate) use write::{MapWriter, SeqWriter, Writer};

pub use budget::{Budget, DEPTH_CEILING, OverBudget};

/// A serialisation that a link can negotiate. Implement it to add one; [`cbor`](Format::cbor) and
/// [`json`](Format::json) are built in.
///
/// It must carry the whole data model: every integer of the ranges of `i64` and `u64` exactly, floats as floats (`1.0`
/// is not `1`), bytes as bytes, any text, any key. What it reads is hostile: it must not panic, must not allocate
/// from a declared length, must refuse what is not the whole of one list, keys that are there twice, floats that are
/// not finite, and what is over the limits ([`Budget`] counts). [`conformance::check`] checks all that.
///
/// ```
/// use portmesh::{DecodeError, EncodeError, Format, FormatCodec, Limits, Value, proto::codec::conformance};
///
/// /// JSON that ends with a line feed.
/// struct Line;
///
/// impl FormatCodec for Line {
///     fn name(&self) -> &str {
///         "json-line"
///     }
///     fn encode(&self, values: &[Value], out: &mut Vec<u8>) -> Result<(), EncodeError> {
///         Format::json().encode(values, out)?;
///         out.push(b'\n');
///         Ok(())
///     }
///     fn decode(&self, bytes: &[u8], limits: &Limits) -> Result<Vec<Value>, DecodeError> {
///         match bytes.strip_suffix(b"\n") {
///             Some(line) => Format::json().decode(line, limits),
///             None => Err(DecodeError::new("no end of the line")),
///         }
///     }
///     fn expansion_max(&self) -> usize {
///         Format::json().expansion_max() + 1
///     }
/// }
///
/// let format = Format::new(Line);
/// conformance::check(&format)?;
/// # Ok::<(), String>(())
/// ```
pub trait FormatCodec: Send + Sync + 'static {
    /// Its name in the greeting: at most 64 bytes of `[a-z0-9._-]`, and not that of another format.
    fn name(&self) -> &str;
    /// Appends the list to `out`. All floats in it are finite: that is checked before.
    fn encode(&self, values: &[Value], out: &mut Vec<u8>) -> Result<(), EncodeError>;
    /// Reads the list, the whole of `bytes`, within the limits of depth and count.
    fn decode(&self, bytes: &[u8], limits: &Limits) -> Result<Vec<Value>, DecodeError>;
    /// How many times longer than the CBOR form a message can become in this format.
    fn expansion_max(&self) -> usize {
        8
    }
}

/// A handle on a format, cheap to clone. Equal when the names are.
#[derive(Clone)]
pub struct Format(Kind);

#[derive(Clone)]
enum Kind {
    // No counter is touched when a handle on a built-in format is cloned: there is one in every message.
    Cbor,
    Json,
    Custom(Arc<dyn FormatCodec>),
}

/// To be lent.
pub(crate) static CBOR: Format = Format::cbor();
/// To be lent.
pub(crate) static JSON: Format = Format::json();

impl Format {
    /// A format of the user's.
    pub fn new(codec: impl FormatCodec) -> Self {
        Format(Kind::Custom(Arc::new(codec)))
    }
    /// CBOR (RFC 8949).
    pub const fn cbor() -> Self {
        Format(Kind::Cbor)
    }
    /// JSON (RFC 8259), bytes escaped.
    pub const fn json() -> Self {
        Format(Kind::Json)
    }
    /// Its name.
    pub fn name(&self) -> &str {
        match &self.0 {
            Kind::Cbor => "cbor",
            Kind::Json => "json",
            Kind::Custom(codec) => codec.name(),
        }
    }
    /// Appends the list to `out`, or nothing.
    ///
    /// # Errors
    /// [`EncodeError::NotEncodable`] for floats that are not finite, nesting over [`DEPTH_CEILING`], and whatever a format of the user's refuses.
    pub fn encode(&self, values: &[Value], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let before = out.len();
        let done = self.append(values, out);
        if done.is_err() {
            out.truncate(before);
        }
        done
    }
    fn append(&self, values: &[Value], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if let Kind::Cbor = self.0 {
            let mut writer: cbor::Writer = Writer::new(std::mem::take(out), &unlimited());
            let done = values.serialize(&mut writer);
            *out = writer.out;
            return done;
        }
        Budget::new(&unlimited()).count_list(values)?;
        match &self.0 {
            Kind::Custom(codec) => codec.encode(values, out),
            _ => text::write_list(values, &mut Utf8(out)).map_err(EncodeError::not_encodable),
        }
    }
    /// Reads the list, the whole of `bytes`, within the limits of depth and count.
    ///
    /// # Errors
    /// Whatever is not one list of the data model within the limits.
    pub fn decode(&self, bytes: &[u8], limits: &Limits) -> Result<Vec<Value>, DecodeError> {
        match &self.0 {
            Kind::Cbor => {
                cbor::scan(bytes, limits)?;
                Vec::deserialize(&mut cbor::Reader::new(bytes))
            }
            Kind::Json => json::decode(bytes, limits),
            Kind::Custom(_) => {
                let values = self.decode_unchecked(bytes, limits)?;
                // The rest of the program relies on it, whoever wrote the format.
                let mut budget = Budget::new(limits);
                budget.count()?;
                budget.count_list(&values)?;
                Ok(values)
            }
        }
    }
    /// Without the check of what a codec of the user's made.
    fn decode_unchecked(&self, bytes: &[u8], limits: &Limits) -> Result<Vec<Value>, DecodeError> {
        match &self.0 {
            Kind::Custom(codec) => codec.decode(bytes, limits),
            _ => self.decode(bytes, limits),
        }
    }
    /// How many times longer than the CBOR form a message can become in this format.
    pub fn expansion_max(&self) -> usize {
        match &self.0 {
            Kind::Cbor => 1,
            Kind::Json => json::EXPANSION_MAX,
            Kind::Custom(codec) => codec.expansion_max(),
        }
    }
    /// Appends a checked CBOR message in this format, without making values of it, where there is a way. `false`: nothing was
    /// appended.
    pub(crate) fn transcode(&self, cbor: &[u8], out: &mut Vec<u8>) -> bool {
        matches!(self.0, Kind::Json) && matches!(json::from_cbor(cbor, out), Ok(true))
    }
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.0, Kind::Json)
    }
    pub(crate) fn is_cbor(&self) -> bool {
        matches!(self.0, Kind::Cbor)
    }
    fn is_custom(&self) -> bool {
        matches!(self.0, Kind::Custom(_))
    }
    /// Whether the tag can be read without the rest.
    pub(crate) fn has_peek(&self) -> bool {
        !self.is_custom()
    }
    /// Whether the first value is that text, as far as the format can tell without reading the rest.
    pub(crate) fn is_tagged(&self, bytes: &[u8], tag: &str) -> bool {
        match &self.0 {
            Kind::Cbor => cbor::is_tagged(bytes, tag),
            Kind::Json => json::is_tagged(bytes, tag),
            Kind::Custom(_) => matches!(self.peek_tag(bytes), Ok(Some(found)) if found == tag),
        }
    }
    /// The first value where it is a text, without reading the rest, where the format can do that.
    pub(crate) fn peek_tag<'a>(
        &self,
        bytes: &'a [u8],
    ) -> Result<Option<Cow<'a, str>>, DecodeError> {
        match &self.0 {
            Kind::Cbor => cbor::peek_tag(bytes).map(|tag| tag.map(Cow::Borrowed)),
            Kind::Json => json::peek_tag(bytes),
            Kind::Custom(_) => Ok(None),
        }
    }
}

/// Text written into bytes.
struct Utf8<'a>(&'a mut Vec<u8>);

impl fmt::Write for Utf8<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Kind::Cbor, Kind::Cbor) | (Kind::Json, Kind::Json) => true,
            _ => self.name() == other.name(),
        }
    }
}
impl Eq for Format {}
impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Format({})", self.name())
    }
}

/// No bound but that of depth.
fn unlimited() -> Limits {
    Limits {
        depth_max: DEPTH_CEILING,
        values_max: usize::MAX,
        message_bytes_max: usize::MAX,
        ..Limits::default()
    }
}

/// Any serde type as a value, as it would be inside a message: structs are maps, enum variants their name or a map
/// of their name to their content, `()` and `None` are null.
///
/// # Errors
/// What the data model has no place for: floats that are not finite, integers outside the ranges of `i64` and `u64`,
/// keys that are not text or there twice, nesting over [`DEPTH_CEILING`].
///
/// ```
/// use portmesh::{from_value, to_value};
/// let value = to_value(&(1, "two", [3.0]))?;
/// assert_eq!(value.to_string(), r#"[1,"two",[3.0]]"#);
/// assert_eq!(from_value::<(u8, String, [f32; 1])>(&value)?, (1, "two".to_owned(), [3.0]));
/// assert!(to_value(&f64::NAN).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn to_value<T: Serialize + ?Sized>(what: &T) -> Result<Value, EncodeError> {
    let limits = unlimited();
    let mut writer: cbor::Writer = Writer::new(Vec::new(), &limits);
    let mut list = writer.list(Some(1))?;
    list.element(what)?;
    list.finish()?;
    let values = Format::cbor().decode(&writer.out, &limits)?;
    Ok(values.into_iter().next().unwrap_or_default())
}

/// A value as a serde type: the inverse of [`to_value`].
///
/// # Errors
/// The value is not what the type asks for.
pub fn from_value<'de, T: Deserialize<'de>>(value: &'de Value) -> Result<T, DecodeError> {
    T::deserialize(value)
}
