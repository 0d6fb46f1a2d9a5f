//! Messages: encoded lists of values, made from and turned into any serde type.
//!
//! # What becomes what
//! | Rust type, as a whole message | the list |
//! | --- | --- |
//! | tuple, tuple struct, array | its elements: `("ping", 1)` is `["ping", 1]` |
//! | enum | the variant's name, then its content in order: `Ping { n: 1 }` and `Ping(1)` are `["Ping", 1]`, `Ping` is `["Ping"]` |
//! | [`Raw`], [`Reason`] | the list that they hold |
//! | [`Message`] | itself, without being encoded anew |
//! | newtype struct | what it holds, by this table |
//! | any other type: struct, `Vec`, `Option`, map, text, number, `()`, [`Value`] | a list of that one value |
//!
//! serde's renames are honoured. The type decides, never the value: `vec![1, 2]` is `[[1, 2]]`, and so is the value
//! `Value::List` of the same; wrap a list of values in [`Raw`] to send it as the message. Decoding goes by the same
//! table, so that what was sent as a `T` can be received as a `T`.
//!
//! An enum's variants are positional, which needs that all fields are always there: variants with
//! `#[serde(flatten)]`, a `skip_serializing_if` that skips, and enums tagged internally are refused when they are sent
//! or received, untagged enums when they are received. Fields at the end that have `#[serde(default)]` may be missing
//! in what is received.
//!
//! Inside a message, at any depth, serde's own conventions hold: struct ↔ map, unit variant ↔ its name, other
//! variants ↔ a map of the name to the content, `None` and `()` ↔ null. A `Vec<u8>` is a list of integers (bytes
//! are accepted for it), `serde_bytes`, `bytes::Bytes` and [`Blob`](crate::Blob) are bytes. serde's `is_human_readable` is false on every
//! format.

use std::{
    borrow::Cow,
    fmt,
    num::NonZeroU32,
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{
    codec::{Budget, Format, cbor, json},
    limits::Limits,
    value::Value,
};

mod batch;
mod decode;
mod encode;
mod lend;
mod pieces;
mod raw;
mod reason;
#[cfg(test)]
mod tests;

pub use super::value::{DecodeError, EncodeError};
pub use batch::Batch;
pub use lend::{Encoded, Lent};
use lend::{SCRATCH_MAX, empty, with_scratch};
use pieces::Pieces;
pub use raw::{IntoMessage, Raw};
pub use reason::Reason;

/// An encoded message: a non-empty list of values (for a [`Reason`]'s carrier and spawn arguments: possibly empty).
///
/// Cheap to clone. Decoded at most once, by whoever takes it. [The module](self) says how types and lists correspond.
///
/// ```
/// use portmesh::{Limits, Message};
///
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// enum Order {
///     Ping { n: u64 },
///     Stop,
/// }
///
/// let limits = Limits::default();
/// let message = Message::encode(&Order::Ping { n: 1 }, &limits)?;
/// assert_eq!(message.to_string(), r#"["Ping",1]"#);
/// assert_eq!(message.decode::<Order>(&limits)?, Order::Ping { n: 1 });
/// assert_eq!(message.decode::<(String, u64)>(&limits)?, ("Ping".to_owned(), 1));
/// assert_eq!(message.tag(&limits)?.as_deref(), Some("Ping"));
/// assert_eq!(message.decode_args::<u64>(&limits)?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Message {
    /// All of them, where there are no `pieces`.
    bytes: Bytes,
    /// Where some were not copied.
    pieces: Option<Arc<Pieces>>,
    format: Format,
    /// What was found when it was checked or made; `None`: it came over a link, and nobody has checked it.
    checked: Option<Checked>,
    /// What it was decoded into, for the formats that cannot be read in part.
    values: OnceLock<Arc<[Value]>>,
}

/// What is known of a message that is one, within the limits. Small, since there is one in every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Checked {
    /// How many values it holds, those inside of others too.
    count: NonZeroU32,
    /// How long it is in CBOR.
    size: u32,
}

impl Checked {
    /// `None`: these are no numbers of a message that we can make; it is as good as unchecked.
    fn new(count: usize, size: usize) -> Option<Checked> {
        let count = u32::try_from(count).ok().and_then(NonZeroU32::new)?;
        let size = size.try_into().ok()?;
        Some(Checked { count, size })
    }
}

/// Up to so many bytes a message is checked in the pass that reads it. What is longer is checked before anything is made
/// of it: else what it is refused for might come behind much that was made.
const ONE_PASS_MAX: usize = 4 << 10;

impl Message {
    /// What a link brought. Nothing is checked yet: that is done when it is decoded.
    pub fn from_wire(bytes: Bytes, format: Format) -> Message {
        Message {
            bytes,
            pieces: None,
            format,
            checked: None,
            values: OnceLock::new(),
        }
    }
    /// Its encoded bytes, in its own format. Those of a [`Blob`](crate::Blob) that was put into it are copied for that,
    /// once.
    pub fn bytes(&self) -> &Bytes {
        match &self.pieces {
            None => &self.bytes,
            Some(pieces) => pieces.joined(),
        }
    }
    /// Their number.
    pub fn encoded_len(&self) -> usize {
        match &self.pieces {
            None => self.bytes.len(),
            Some(pieces) => pieces.len(),
        }
    }
    /// How long it is in CBOR, where that is known.
    pub(crate) fn size(&self) -> Option<usize> {
        self.checked.map(|checked| checked.size as usize)
    }
    /// The same bytes as they are: parts of `Bytes`, in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&Bytes, Range<usize>)> {
        let whole = self.pieces.is_none();
        let pieces = self.pieces.iter().flat_map(|pieces| pieces.parts());
        let whole = whole.then_some((&self.bytes, 0..self.bytes.len()));
        whole.into_iter().chain(pieces)
    }
    /// What it begins with, as far as nothing has to be copied for it.
    fn front(&self) -> &Bytes {
        match &self.pieces {
            None => &self.bytes,
            Some(pieces) => pieces.short(),
        }
    }
    /// The format of its bytes.
    pub fn format(&self) -> &Format {
        &self.format
    }
    /// Whether it is a list of the data model, within the limits, whole and nothing more.
    ///
    /// # Errors
    /// It is not, and why.
    pub fn check(&self, limits: &Limits) -> Result<(), DecodeError> {
        if self.checked.is_some() {
            return Ok(());
        }
        if self.format.is_cbor() {
            self.check_len(limits)?;
            cbor::scan(self.bytes(), limits).map(|_| ())
        } else if self.format.is_json() {
            self.check_len(limits)?;
            json::scan(self.bytes(), Budget::new(limits))
        } else {
            self.list(limits).map(|_| ())
        }
    }
    fn check_len(&self, limits: &Limits) -> Result<(), DecodeError> {
        let max = limits
            .message_bytes_max
            .saturating_mul(self.format.expansion_max());
        let len = self.encoded_len();
        if len > max {
            return Err(DecodeError(format!(
                "the message is {len} bytes long, the limit is {max}"
            )));
        }
        Ok(())
    }
    /// The values of a message that is not CBOR. Where reading the tag already decodes all, they are kept, so that
    /// the message is decoded once.
    fn list(&self, limits: &Limits) -> Result<Cow<'_, [Value]>, DecodeError> {
        if let Some(values) = self.values.get() {
            return Ok(Cow::Borrowed(values));
        }
        self.check_len(limits)?;
        let values = self.format.decode(self.bytes(), limits)?;
        if self.format.has_peek() {
            return Ok(Cow::Owned(values));
        }
        let values = self.values.get_or_init(|| values.into());
        Ok(Cow::Borrowed(values))
    }
    /// The same message as checked CBOR.
    pub(crate) fn to_cbor(&self, limits: &Limits) -> Result<Message, EncodeError> {
        if self.format.is_cbor() {
            if self.checked.is_some() {
                return Ok(self.clone());
            }
            self.check_len(limits)?;
            let (count, size) = (cbor::scan(self.bytes(), limits)?, self.encoded_len());
            return Ok(Message {
                checked: Checked::new(count, size),
                ..self.clone()
            });
        }
        let values = self.list(limits)?;
        Self::encode_args(&raw::RawRef(&values), limits)
    }
    /// The same message as CBOR, with more values at the end (the reply port of a call, a reason's values).
    ///
    /// # Errors
    /// It becomes too large, or it came over a link and is not a message.
    pub fn with_appended(&self, values: &[Value], limits: &Limits) -> Result<Message, EncodeError> {
        let message = self.to_cbor(limits)?;
        let front = message.front();
        let kept = message.pieces.as_ref().map_or(&[][..], |it| it.kept());
        let mut reader = cbor::Reader::new(front);
        let old = reader.begin_list()?;
        let before = front.len() - reader.rest().len();
        Self::encode_list(limits, |writer| {
            let mut list = writer.list(Some(old + values.len()))?;
            // One is counted already: the list.
            let counted = message.checked.map_or(0, |it| it.count.get() as usize - 1);
            list.encoded(reader.rest(), old as u64, counted, kept, before)?;
            for value in values {
                list.element(value)?;
            }
            list.finish()
        })
    }
    /// Its bytes in that format: its own where the formats are equal, else encoded anew.
    ///
    /// # Errors
    /// It is not encodable in that format, or it came over a link and is not a message.
    pub fn in_format(&self, format: &Format, limits: &Limits) -> Result<Bytes, EncodeError> {
        if *format == self.format {
            return Ok(self.bytes().clone());
        }
        if format.is_cbor() {
            return Ok(self.to_cbor(limits)?.bytes().clone());
        }
        with_scratch(|out| {
            let len = self.encoded_len();
            if len > SCRATCH_MAX / 2 {
                // as much as bytes become in JSON, and not doubled up to it
                out.reserve(len / 3 * 4 + SCRATCH_MAX / 16);
            }
            let checked = self.checked.is_some() && self.format.is_cbor();
            if !checked || !format.transcode(self.bytes(), out) {
                format.encode(&self.values(limits)?, out)?;
            }
            Ok(if out.capacity() > SCRATCH_MAX {
                std::mem::take(out).into()
            } else {
                Bytes::copy_from_slice(out)
            })
        })
    }
    /// Makes it a message of that format.
    ///
    /// # Errors
    /// As for [`Self::in_format`].
    pub(crate) fn transcode(&mut self, to: &Format, limits: &Limits) -> Result<(), EncodeError> {
        if *to != self.format {
            *self = Message {
                checked: self.checked,
                ..Message::from_wire(self.in_format(to, limits)?, to.clone())
            };
        }
        Ok(())
    }
    /// Its first value, where that is a text. Reads no further, and copies nothing where the format allows it.
    ///
    /// # Errors
    /// There is no list, or its first text is malformed. That the rest is a message is not checked.
    pub fn tag(&self, limits: &Limits) -> Result<Option<Cow<'_, str>>, DecodeError> {
        if self.format.has_peek() {
            return self.format.peek_tag(self.front());
        }
        Ok(match self.list(limits)? {
            Cow::Borrowed([Value::Text(tag), ..]) => Some(Cow::Borrowed(tag)),
            _ => None,
        })
    }
    /// The whole message as a `T`, by [the table](self). `()` takes the empty list too.
    ///
    /// # Errors
    /// It is not a message within the limits, or not of that type.
    pub fn decode<T: DeserializeOwned>(&self, limits: &Limits) -> Result<T, DecodeError> {
        self.decode_from(limits, 0)
    }
    /// What follows the tag as a `T`: a tuple from the remaining list, `()` from nothing, anything else, enums too,
    /// from one value.
    ///
    /// # Errors
    /// It is not a message within the limits, or what follows the tag is not of that type.
    pub fn decode_args<T: DeserializeOwned>(&self, limits: &Limits) -> Result<T, DecodeError> {
        self.decode_from(limits, 1)
    }
    fn decode_from<T: DeserializeOwned>(
        &self,
        limits: &Limits,
        skip: usize,
    ) -> Result<T, DecodeError> {
        if self.format.is_cbor() {
            let is_whole = self.pieces.is_none();
            let reader = if self.checked.is_none() && is_whole && self.bytes.len() <= ONE_PASS_MAX {
                self.check_len(limits)?;
                cbor::Reader::checking(&self.bytes, limits)
            } else {
                self.check(limits)?;
                cbor::Reader::of(self.bytes())
            };
            decode::cbor(reader, skip)
        } else if self.format.is_json() {
            self.check_len(limits)?;
            let (bytes, arena) = (self.bytes(), json::Arena::default());
            let is_scanned = bytes.len() > ONE_PASS_MAX;
            let reader = json::Reader::checking(bytes, limits, &arena, is_scanned)?;
            decode::json(reader, skip)
        } else {
            decode::values(&self.list(limits)?, skip)
        }
    }
    /// The list of values itself.
    ///
    /// # Errors
    /// It is not a message within the limits.
    pub fn values(&self, limits: &Limits) -> Result<Vec<Value>, DecodeError> {
        if self.format.is_cbor() {
            self.decode::<Raw>(limits).map(|raw| raw.0)
        } else {
            self.list(limits).map(Cow::into_owned)
        }
    }
}

impl PartialEq for Message {
    /// Whether the bytes and their format are the same.
    fn eq(&self, other: &Self) -> bool {
        self.format == other.format && self.bytes() == other.bytes()
    }
}

/// As JSON, within the default limits; for logs and for people.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.values(&Limits::default()) {
            Ok(values) => fmt::Display::fmt(&Value::List(values), f),
            Err(error) => write!(f, "{} malformed bytes: {error}", self.encoded_len()),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({self})")
    }
}
