//! How messages are made: in a buffer of the thread, which is lent to who writes them out at once.

use std::cell::Cell;

use bytes::Bytes;
use serde::Serialize;

use super::{Checked, EncodeError, Message, encode, pieces::Pieces};
use crate::proto::{
    codec::{Budget, CBOR, Format, JSON, Writer, cbor, json},
    limits::Limits,
};
use std::sync::Arc;

thread_local! {
    /// Messages are encoded here and copied out in one allocation of the right size.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}
/// What a thread keeps of its scratch buffer, in bytes.
pub(super) const SCRATCH_MAX: usize = 64 << 10;

/// Lends the thread's scratch buffer, empty. Who asks for it meanwhile gets another.
pub(super) fn with_scratch<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut out = SCRATCH.take();
    let made = work(&mut out);
    give_back(out);
    made
}

fn give_back(mut out: Vec<u8>) {
    if out.capacity() <= SCRATCH_MAX {
        out.clear();
        SCRATCH.set(out);
    }
}

pub(super) fn empty() -> EncodeError {
    EncodeError::not_encodable("an empty list; a message has one value at least")
}

impl Message {
    /// Encodes any serde type as CBOR and checks it against every limit of the data model (P3, P7).
    ///
    /// # Errors
    /// See [`EncodeError`]; also for what would be an empty list.
    pub fn encode<T: Serialize + ?Sized>(
        what: &T,
        limits: &Limits,
    ) -> Result<Message, EncodeError> {
        Self::lend(what, &CBOR, limits, |encoded| encoded.into_message())
    }
    /// Likewise in that format, if it can be written directly and all is well; lending what was encoded.
    pub(super) fn lend<T: Serialize + ?Sized, R>(
        what: &T,
        format: &Format,
        limits: &Limits,
        take: impl FnOnce(Encoded<'_>) -> R,
    ) -> Result<R, EncodeError> {
        if format.is_json()
            && let Some(made) = Json::write(what, limits)
        {
            return Ok(made.lend(take));
        }
        let write = |writer: &mut cbor::Writer| {
            encode::list(writer, what, encode::Unit::Null)?;
            match cbor::Reader::new(&writer.out).begin_list()? {
                0 => Err(empty()),
                _ => Ok(()),
            }
        };
        Self::lend_list(limits, write, take)
    }
    /// Likewise, where an empty list is allowed: reasons and spawn arguments. `()` is the empty list.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub fn encode_args<T: Serialize + ?Sized>(
        what: &T,
        limits: &Limits,
    ) -> Result<Message, EncodeError> {
        Self::encode_list(limits, |writer| {
            encode::list(writer, what, encode::Unit::Empty)
        })
    }
    pub(super) fn encode_list(
        limits: &Limits,
        write: impl FnOnce(&mut cbor::Writer) -> Result<(), EncodeError>,
    ) -> Result<Message, EncodeError> {
        Self::lend_list(limits, write, |encoded| encoded.into_message())
    }
    fn lend_list<R>(
        limits: &Limits,
        write: impl FnOnce(&mut cbor::Writer) -> Result<(), EncodeError>,
        take: impl FnOnce(Encoded<'_>) -> R,
    ) -> Result<R, EncodeError> {
        let mut writer = cbor::Writer::keeping(SCRATCH.take(), limits);
        let checked = write(&mut writer).and_then(|()| {
            writer.check_size(0)?;
            if writer.has_map {
                // A type that writes itself may write a key twice.
                cbor::scan(&writer.without_kept(), limits)?;
            }
            let count = limits.values_max - writer.budget.values_left();
            Ok(Checked::new(count, writer.size()))
        });
        let kept = writer.kept.unwrap_or_default();
        let mut out = writer.out;
        let taken = checked.map(|checked| {
            take(if kept.is_empty() && out.capacity() <= SCRATCH_MAX {
                Encoded::lent(&out, &CBOR, checked)
            } else if out.capacity() > SCRATCH_MAX {
                let bytes = Bytes::from(std::mem::take(&mut out));
                Encoded::Whole(Message::checked(bytes, kept, checked))
            } else {
                let bytes = Bytes::copy_from_slice(&out);
                Encoded::Whole(Message::checked(bytes, kept, checked))
            })
        });
        give_back(out);
        taken
    }
    /// CBOR that was checked.
    fn checked(bytes: Bytes, kept: Vec<cbor::Kept>, checked: Option<Checked>) -> Message {
        let (bytes, pieces) = if kept.is_empty() {
            (bytes, None)
        } else {
            (Bytes::new(), Some(Arc::new(Pieces::new(bytes, kept))))
        };
        Message {
            checked,
            pieces,
            ..Message::from_wire(bytes, Format::cbor())
        }
    }
}

/// A message that was written in JSON.
struct Json {
    out: Vec<u8>,
    checked: Checked,
}

impl Json {
    /// `None`: it is no message, or no JSON can be made of it so. CBOR says what is wrong, if anything is.
    fn write<T: Serialize + ?Sized>(what: &T, limits: &Limits) -> Option<Json> {
        let mut writer: Writer<json::Json> = Writer::new(SCRATCH.take(), limits);
        let is_good = encode::list(&mut writer, what, encode::Unit::Null).is_ok()
            && writer.out != b"[]"
            && writer.check_size(0).is_ok()
            // a type that writes itself may write a key twice
            && (!writer.has_map || json::scan(&writer.out, Budget::unlimited()).is_ok());
        let count = limits.values_max - writer.budget.values_left();
        let checked = Checked::new(count, writer.size());
        let out = writer.out;
        match checked {
            Some(checked) if is_good => Some(Json { out, checked }),
            _ => {
                give_back(out);
                None
            }
        }
    }
    fn lend<R>(self, take: impl FnOnce(Encoded<'_>) -> R) -> R {
        if self.out.capacity() > SCRATCH_MAX {
            let message = Message::from_wire(self.out.into(), Format::json());
            return take(Encoded::Whole(Message {
                checked: Some(self.checked),
                ..message
            }));
        }
        let taken = take(Encoded::lent(&self.out, &JSON, Some(self.checked)));
        give_back(self.out);
        taken
    }
}

/// A message that was just encoded: checked, not empty, in CBOR or in the format that was asked for.
#[derive(Debug)]
pub enum Encoded<'a> {
    /// Its bytes stand in a buffer that is used again: who does not write them out at once makes a message of them. Made by
    /// this crate alone, which checks them.
    Lent(Lent<'a>),
    /// The message.
    Whole(Message),
}

/// Bytes of a message that are lent.
#[derive(Debug)]
pub struct Lent<'a> {
    bytes: &'a [u8],
    format: &'a Format,
    checked: Option<Checked>,
}

impl From<Message> for Encoded<'_> {
    fn from(message: Message) -> Self {
        Encoded::Whole(message)
    }
}

impl<'a> Encoded<'a> {
    fn lent(bytes: &'a [u8], format: &'a Format, checked: Option<Checked>) -> Self {
        Encoded::Lent(Lent {
            bytes,
            format,
            checked,
        })
    }

    /// Its bytes, their format, and how long it is in CBOR. `None`: it was not checked, or its bytes are not in one place.
    pub(crate) fn checked(&self) -> Option<(&[u8], &Format, usize)> {
        match self {
            Encoded::Lent(lent) => Some((lent.bytes, lent.format, lent.checked?.size as usize)),
            Encoded::Whole(message) if message.pieces.is_none() => {
                Some((&message.bytes, &message.format, message.size()?))
            }
            Encoded::Whole(_) => None,
        }
    }

    /// The message, copied where its bytes are lent.
    pub fn into_message(self) -> Message {
        match self {
            Encoded::Lent(lent) => {
                let bytes = Bytes::copy_from_slice(lent.bytes);
                Message {
                    checked: lent.checked,
                    ..Message::from_wire(bytes, lent.format.clone())
                }
            }
            Encoded::Whole(message) => message,
        }
    }
}
