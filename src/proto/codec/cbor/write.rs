//! Any serde type as CBOR, checked against the data model and the limits while it is written.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Serialize, Serializer, ser};

use super::{super::budget::Budget, head, key::KeyWriter};
use crate::proto::{
    limits::Limits,
    value::{
        EncodeError, Int,
        blob::{BLOB, take_handed},
    },
};

/// Writes values one after the other.
pub(crate) struct Writer {
    pub(crate) out: Vec<u8>,
    pub(crate) budget: Budget,
    bytes_max: usize,
    /// Whether there is a map among what was written: keys may be there twice.
    pub(crate) has_map: bool,
    /// Bytes that were not copied into `out`. `None`: all are.
    pub(crate) kept: Option<Vec<Kept>>,
    kept_bytes: usize,
}

/// Bytes that stand before that place of what was written, behind their head.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) at: usize,
    pub(crate) bytes: Bytes,
}

fn refuse<T>(why: &str) -> Result<T, EncodeError> {
    Err(EncodeError::NotEncodable(why.to_owned()))
}

impl Writer {
    /// Appends to `out`, at most the limit's bytes in all.
    pub(crate) fn new(out: Vec<u8>, limits: &Limits) -> Self {
        Writer {
            out,
            budget: Budget::new(limits),
            bytes_max: limits.message_bytes_max,
            has_map: false,
            kept: None,
            kept_bytes: 0,
        }
    }
    /// Likewise; long bytes that are handed over are kept, not copied.
    pub(crate) fn keeping(out: Vec<u8>, limits: &Limits) -> Self {
        Writer {
            kept: Some(Vec::new()),
            ..Self::new(out, limits)
        }
    }
    /// What was written with no bytes where some were kept: as good for checking all else.
    pub(crate) fn without_kept(&self) -> Cow<'_, [u8]> {
        let kept = self.kept.as_deref().unwrap_or_default();
        if kept.is_empty() {
            return Cow::Borrowed(&self.out);
        }
        let mut out = Vec::with_capacity(self.out.len());
        let mut from = 0;
        for Kept { at, bytes } in kept {
            let head = at.saturating_sub(head::len(bytes.len() as u64));
            out.extend_from_slice(self.out.get(from..head).unwrap_or_default());
            head::put(&mut out, head::BYTES, 0);
            from = *at;
        }
        out.extend_from_slice(self.out.get(from..).unwrap_or_default());
        Cow::Owned(out)
    }
    /// Whether what was written is within the limit with so many bytes more.
    pub(crate) fn check_size(&self, more: usize) -> Result<(), EncodeError> {
        let bytes = (self.out.len() + self.kept_bytes).saturating_add(more);
        if bytes > self.bytes_max {
            return Err(EncodeError::TooLarge {
                bytes,
                max: self.bytes_max,
            });
        }
        Ok(())
    }
    fn int(&mut self, n: impl TryInto<Int>) -> Result<(), EncodeError> {
        let Ok(n) = n.try_into() else {
            return refuse("an integer outside the range of i64 and u64");
        };
        self.budget.count()?;
        head::put_int(&mut self.out, n);
        Ok(())
    }
    fn simple(&mut self, byte: u8) -> Result<(), EncodeError> {
        self.budget.count()?;
        self.out.push(byte);
        Ok(())
    }
    pub(crate) fn text(&mut self, text: &str) -> Result<(), EncodeError> {
        self.string(head::TEXT, text.as_bytes())
    }
    /// Appends a text to the list that is all that was written; the text is in parts. `false`: the head of the list has no
    /// room for one more, and nothing was done.
    pub(crate) fn append_text(&mut self, parts: [&str; 3]) -> Result<bool, EncodeError> {
        let Some(head) = self
            .out
            .first_mut()
            .filter(|head| head::is_short_list(**head))
        else {
            return Ok(false);
        };
        *head += 1;
        self.budget.count()?;
        let len = parts.iter().map(|part| part.len()).sum();
        self.check_size(len)?;
        head::put(&mut self.out, head::TEXT, len as u64);
        for part in parts {
            self.out.extend_from_slice(part.as_bytes());
        }
        Ok(true)
    }
    fn string(&mut self, kind: u8, bytes: &[u8]) -> Result<(), EncodeError> {
        self.budget.count()?;
        // Before the copy: nobody should wait for a gigabyte to be copied that is then refused.
        self.check_size(bytes.len())?;
        head::put(&mut self.out, kind, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
        Ok(())
    }
    /// Bytes that are not copied.
    fn keep(&mut self, bytes: Bytes) -> Result<(), EncodeError> {
        self.budget.count()?;
        self.check_size(bytes.len())?;
        head::put(&mut self.out, head::BYTES, bytes.len() as u64);
        self.keep_at(self.out.len(), bytes);
        Ok(())
    }
    fn keep_at(&mut self, at: usize, bytes: Bytes) {
        self.kept_bytes += bytes.len();
        self.kept.get_or_insert_default().push(Kept { at, bytes });
    }
    /// Begins a list, of so many values by what its owner says. It may be wrong: the end counts.
    pub(crate) fn list(&mut self, len: Option<usize>) -> Result<SeqWriter<'_>, EncodeError> {
        let open = self.open(head::LIST, len)?;
        Ok(SeqWriter { writer: self, open })
    }
    /// Begins a list of one value that lasts to the end.
    pub(crate) fn begin_one(&mut self) -> Result<(), EncodeError> {
        self.open(head::LIST, Some(1)).map(|_| ())
    }
    fn map(&mut self, len: Option<usize>) -> Result<MapWriter<'_>, EncodeError> {
        self.has_map = true;
        let open = self.open(head::MAP, len)?;
        Ok(MapWriter {
            writer: self,
            open,
            variant: false,
        })
    }
    /// The map of one key that a variant with content is.
    fn variant(&mut self, name: &str) -> Result<(), EncodeError> {
        self.open(head::MAP, Some(1))?;
        self.text(name)
    }
    fn open(&mut self, kind: u8, len: Option<usize>) -> Result<Open, EncodeError> {
        self.budget.count()?;
        self.budget.enter()?;
        let declared = len.unwrap_or(0) as u64;
        let at = self.out.len();
        head::put(&mut self.out, kind, declared);
        Ok(Open {
            at,
            kind,
            declared,
            count: 0,
        })
    }
    fn close(&mut self, open: &Open) -> Result<(), EncodeError> {
        self.budget.leave();
        if open.count != open.declared {
            let mut right = Vec::with_capacity(9);
            head::put(&mut right, open.kind, open.count);
            let wrong = open.at..open.at + head::len(open.declared);
            let behind = self.kept.iter_mut().flatten();
            for kept in behind.filter(|kept| kept.at >= wrong.end) {
                kept.at = kept.at - wrong.len() + right.len();
            }
            self.out.splice(wrong, right);
        }
        self.check_size(0)
    }
}

/// A list or map that is being written.
pub(crate) struct Open {
    at: usize,
    kind: u8,
    declared: u64,
    count: u64,
}

/// A list that is being written.
pub(crate) struct SeqWriter<'a> {
    writer: &'a mut Writer,
    open: Open,
}

impl SeqWriter<'_> {
    /// One value more.
    pub(crate) fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.open.count += 1;
        value.serialize(&mut *self.writer)
    }
    /// Values that are encoded and checked already: how many, and how many they hold with what is inside them. `kept`:
    /// what is kept of them, at places that are `before` too far.
    pub(crate) fn encoded(
        &mut self,
        bytes: &[u8],
        len: u64,
        counted: usize,
        kept: &[Kept],
        before: usize,
    ) -> Result<(), EncodeError> {
        self.open.count += len;
        self.writer.budget.count_many(counted)?;
        let more = kept.iter().map(|kept| kept.bytes.len()).sum::<usize>();
        self.writer.check_size(bytes.len().saturating_add(more))?;
        let start = self.writer.out.len();
        self.writer.out.extend_from_slice(bytes);
        for kept in kept {
            let at = start + kept.at.saturating_sub(before);
            self.writer.keep_at(at, kept.bytes.clone());
        }
        Ok(())
    }
    /// How many values there are so far.
    pub(crate) fn count(&self) -> u64 {
        self.open.count
    }
    /// The list is complete.
    pub(crate) fn finish(self) -> Result<(), EncodeError> {
        self.writer.close(&self.open)
    }
}

/// A map, or the content of a variant, that is being written.
pub(crate) struct MapWriter<'a> {
    writer: &'a mut Writer,
    open: Open,
    /// Whether it stands in a variant's map, which ends with it.
    variant: bool,
}

impl MapWriter<'_> {
    fn finish(self) -> Result<(), EncodeError> {
        self.writer.close(&self.open)?;
        if self.variant {
            self.writer.budget.leave();
        }
        Ok(())
    }
}

macro_rules! compound {
    ($trait:ident $method:ident) => {
        impl ser::$trait for SeqWriter<'_> {
            type Ok = ();
            type Error = EncodeError;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                self.element(value)
            }
            fn end(self) -> Result<(), EncodeError> {
                self.finish()
            }
        }
    };
}
compound!(SerializeSeq serialize_element);
compound!(SerializeTuple serialize_element);
compound!(SerializeTupleStruct serialize_field);

/// The content of a tuple variant inside a message.
pub(crate) struct VariantWriter<'a>(SeqWriter<'a>);

impl ser::SerializeTupleVariant for VariantWriter<'_> {
    type Ok = ();
    type Error = EncodeError;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.0.element(value)
    }
    fn end(self) -> Result<(), EncodeError> {
        self.0.writer.close(&self.0.open)?;
        self.0.writer.budget.leave();
        Ok(())
    }
}

impl ser::SerializeMap for MapWriter<'_> {
    type Ok = ();
    type Error = EncodeError;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.open.count += 1;
        key.serialize(KeyWriter(self.writer))
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        value.serialize(&mut *self.writer)
    }
    fn end(self) -> Result<(), EncodeError> {
        self.finish()
    }
}

macro_rules! fields {
    ($trait:ident) => {
        impl ser::$trait for MapWriter<'_> {
            type Ok = ();
            type Error = EncodeError;
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), EncodeError> {
                self.open.count += 1;
                self.writer.text(key)?;
                value.serialize(&mut *self.writer)
            }
            fn end(self) -> Result<(), EncodeError> {
                self.finish()
            }
        }
    };
}
fields!(SerializeStruct);
fields!(SerializeStructVariant);

impl<'a> Serializer for &'a mut Writer {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = SeqWriter<'a>;
    type SerializeTuple = SeqWriter<'a>;
    type SerializeTupleStruct = SeqWriter<'a>;
    type SerializeTupleVariant = VariantWriter<'a>;
    type SerializeMap = MapWriter<'a>;
    type SerializeStruct = MapWriter<'a>;
    type SerializeStructVariant = MapWriter<'a>;

    fn serialize_bool(self, it: bool) -> Result<(), EncodeError> {
        self.simple(if it { 0xf5 } else { 0xf4 })
    }
    fn serialize_i8(self, n: i8) -> Result<(), EncodeError> {
        self.int(n)
    }
    fn serialize_i16(self, n: i16) -> Result<(), EncodeError> {
        self.int(n)
    }
    fn serialize_i32(self, n: i32) -> Result<(), EncodeError> {
        self.int(n)
    }
    fn serialize_i64(self, n: i64) -> Result<(), EncodeError> {
        self.int(n)
    }
    fn serialize_i128(self, n: i128) -> Result<(), EncodeError> {
        self.int(n)
    }
    fn serialize_u8(self, n: u8) -> Result<(), EncodeError> {
        self.int(n)
    }
    fn serialize_u16(self, n: u16) -> Result<(), EncodeError> {
        self.int(n)
    }
    fn serialize_u32(self, n: u32) -> Result<(), EncodeError> {
        self.int(n)
    }
    fn serialize_u64(self, n: u64) -> Result<(), EncodeError> {
        self.int(n)
    }
    fn serialize_u128(self, n: u128) -> Result<(), EncodeError> {
        self.int(n)
    }
    fn serialize_f32(self, it: f32) -> Result<(), EncodeError> {
        self.serialize_f64(it.into())
    }
    fn serialize_f64(self, it: f64) -> Result<(), EncodeError> {
        if !it.is_finite() {
            return refuse("NaN and infinities are not values");
        }
        self.budget.count()?;
        head::put_float(&mut self.out, it);
        Ok(())
    }
    fn serialize_char(self, it: char) -> Result<(), EncodeError> {
        self.text(it.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, text: &str) -> Result<(), EncodeError> {
        self.text(text)
    }
    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.string(head::BYTES, bytes)
    }
    fn serialize_none(self) -> Result<(), EncodeError> {
        self.simple(0xf6)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), EncodeError> {
        self.simple(0xf6)
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), EncodeError> {
        self.simple(0xf6)
    }
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), EncodeError> {
        self.text(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        if name == BLOB
            && self.kept.is_some()
            && let Some(bytes) = take_handed()
        {
            return self.keep(bytes);
        }
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.variant(variant)?;
        value.serialize(&mut *self)?;
        self.budget.leave();
        Ok(())
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<SeqWriter<'a>, EncodeError> {
        self.list(len)
    }
    fn serialize_tuple(self, len: usize) -> Result<SeqWriter<'a>, EncodeError> {
        self.list(Some(len))
    }
    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        len: usize,
    ) -> Result<SeqWriter<'a>, EncodeError> {
        self.list(Some(len))
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<VariantWriter<'a>, EncodeError> {
        self.variant(variant)?;
        Ok(VariantWriter(self.list(Some(len))?))
    }
    fn serialize_map(self, len: Option<usize>) -> Result<MapWriter<'a>, EncodeError> {
        self.map(len)
    }
    fn serialize_struct(
        self,
        _name: &'static str,
        len: usize,
    ) -> Result<MapWriter<'a>, EncodeError> {
        self.map(Some(len))
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<MapWriter<'a>, EncodeError> {
        self.variant(variant)?;
        let mut map = self.map(Some(len))?;
        map.variant = true;
        Ok(map)
    }
    fn is_human_readable(&self) -> bool {
        false
    }
}
