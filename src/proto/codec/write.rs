//! Any serde type in a format, checked against the data model and the limits while it is written.

use bytes::Bytes;
use serde::{Serialize, Serializer, ser};

use super::{
    budget::Budget,
    cbor::{Cbor, head},
    form::Form,
    key::KeyWriter,
};
use crate::proto::{
    limits::Limits,
    value::{
        EncodeError, Int,
        blob::{BLOB, take_handed},
    },
};

/// Writes values one after the other.
pub(crate) struct Writer<F = Cbor> {
    pub(crate) out: Vec<u8>,
    pub(crate) budget: Budget,
    form: F,
    bytes_max: usize,
    /// Whether there is a map among what was written: keys may be there twice.
    pub(crate) has_map: bool,
    /// Bytes that were not copied into `out`. `None`: all are, as always but in CBOR.
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

impl<F: Form> Writer<F> {
    /// Appends to `out`, at most the limit's bytes in all.
    pub(crate) fn new(out: Vec<u8>, limits: &Limits) -> Self {
        Writer {
            out,
            budget: Budget::new(limits),
            form: F::default(),
            bytes_max: limits.message_bytes_max,
            has_map: false,
            kept: None,
            kept_bytes: 0,
        }
    }
    /// How long the CBOR form of what was written is, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.form.size(&self.out) + self.kept_bytes
    }
    /// Whether what was written is within the limit with so many bytes more.
    pub(crate) fn check_size(&self, more: usize) -> Result<(), EncodeError> {
        let bytes = self.size().saturating_add(more);
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
        self.form.int(&mut self.out, n);
        Ok(())
    }
    fn null(&mut self) -> Result<(), EncodeError> {
        self.budget.count()?;
        self.form.null(&mut self.out);
        Ok(())
    }
    pub(crate) fn text(&mut self, text: &str) -> Result<(), EncodeError> {
        self.budget.count()?;
        // Before the copy: nobody should wait for a gigabyte to be copied that is then refused.
        self.check_size(text.len())?;
        self.form.text(&mut self.out, text);
        Ok(())
    }
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.budget.count()?;
        self.check_size(bytes.len())?;
        self.form.bytes(&mut self.out, bytes);
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
    pub(super) fn keep_at(&mut self, at: usize, bytes: Bytes) {
        self.kept_bytes += bytes.len();
        self.kept.get_or_insert_default().push(Kept { at, bytes });
    }
    /// Begins a list, of so many values by what its owner says. It may be wrong: the end counts.
    pub(crate) fn list(&mut self, len: Option<usize>) -> Result<SeqWriter<'_, F>, EncodeError> {
        let open = self.open(false, len)?;
        Ok(SeqWriter {
            writer: self,
            open,
            around: None,
        })
    }
    /// Begins a list of the one value that comes.
    pub(crate) fn begin_one(&mut self) -> Result<Open, EncodeError> {
        let mut open = self.open(false, Some(1))?;
        open.count = 1;
        Ok(open)
    }
    fn map(&mut self, len: Option<usize>) -> Result<MapWriter<'_, F>, EncodeError> {
        self.has_map = true;
        let open = self.open(true, len)?;
        Ok(MapWriter {
            writer: self,
            open,
            around: None,
        })
    }
    /// The map of one key that a variant with content is.
    fn variant(&mut self, name: &str) -> Result<Open, EncodeError> {
        let mut open = self.open(true, Some(1))?;
        self.begin_key(&mut open);
        self.text(name)?;
        self.form.after_key(&mut self.out);
        Ok(open)
    }
    fn begin_key(&mut self, open: &mut Open) {
        self.form.separate(&mut self.out, open.count);
        open.count += 1;
    }
    fn open(&mut self, is_map: bool, len: Option<usize>) -> Result<Open, EncodeError> {
        self.budget.count()?;
        self.budget.enter()?;
        let declared = len.unwrap_or(0) as u64;
        let at = self.out.len();
        match is_map {
            true => self.form.open_map(&mut self.out, declared),
            false => self.form.open_list(&mut self.out, declared),
        }
        Ok(Open {
            at,
            is_map,
            declared,
            count: 0,
        })
    }
    pub(crate) fn close(&mut self, open: &Open) -> Result<(), EncodeError> {
        self.budget.leave();
        if let Some((end, more)) = self.form.close(&mut self.out, open) {
            let behind = self.kept.iter_mut().flatten();
            for kept in behind.filter(|kept| kept.at >= end) {
                kept.at = kept.at.saturating_add_signed(more);
            }
        }
        self.check_size(0)
    }
}

/// A list or map that is being written.
pub(crate) struct Open {
    /// Where it begins.
    pub(super) at: usize,
    pub(super) is_map: bool,
    pub(super) declared: u64,
    pub(super) count: u64,
}

/// A list that is being written.
pub(crate) struct SeqWriter<'a, F = Cbor> {
    pub(super) writer: &'a mut Writer<F>,
    pub(super) open: Open,
    /// What it stands in, which ends with it: the map of a variant, or the message.
    pub(crate) around: Option<Open>,
}

impl<F: Form> SeqWriter<'_, F> {
    /// One value more.
    pub(crate) fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let writer = &mut *self.writer;
        writer.form.separate(&mut writer.out, self.open.count);
        self.open.count += 1;
        value.serialize(writer)
    }
    /// How many values there are so far.
    pub(crate) fn count(&self) -> u64 {
        self.open.count
    }
    /// The list is complete.
    pub(crate) fn finish(self) -> Result<(), EncodeError> {
        self.writer.close(&self.open)?;
        match self.around {
            Some(around) => self.writer.close(&around),
            None => Ok(()),
        }
    }
}

/// A map, or the content of a variant, that is being written.
pub(crate) struct MapWriter<'a, F = Cbor> {
    writer: &'a mut Writer<F>,
    open: Open,
    /// What it stands in, which ends with it: the map of a variant, or the message.
    pub(crate) around: Option<Open>,
}

impl<F: Form> MapWriter<'_, F> {
    fn finish(self) -> Result<(), EncodeError> {
        self.writer.close(&self.open)?;
        match self.around {
            Some(around) => self.writer.close(&around),
            None => Ok(()),
        }
    }
}

macro_rules! compound {
    ($trait:ident $method:ident) => {
        impl<F: Form> ser::$trait for SeqWriter<'_, F> {
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
compound!(SerializeTupleVariant serialize_field);

impl<F: Form> ser::SerializeMap for MapWriter<'_, F> {
    type Ok = ();
    type Error = EncodeError;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.writer.begin_key(&mut self.open);
        key.serialize(KeyWriter(&mut *self.writer))?;
        self.writer.form.after_key(&mut self.writer.out);
        Ok(())
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
        impl<F: Form> ser::$trait for MapWriter<'_, F> {
            type Ok = ();
            type Error = EncodeError;
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), EncodeError> {
                self.writer.begin_key(&mut self.open);
                self.writer.text(key)?;
                self.writer.form.after_key(&mut self.writer.out);
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

impl<'a, F: Form> Serializer for &'a mut Writer<F> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = SeqWriter<'a, F>;
    type SerializeTuple = SeqWriter<'a, F>;
    type SerializeTupleStruct = SeqWriter<'a, F>;
    type SerializeTupleVariant = SeqWriter<'a, F>;
    type SerializeMap = MapWriter<'a, F>;
    type SerializeStruct = MapWriter<'a, F>;
    type SerializeStructVariant = MapWriter<'a, F>;

    fn serialize_bool(self, it: bool) -> Result<(), EncodeError> {
        self.budget.count()?;
        self.form.bool(&mut self.out, it);
        Ok(())
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
        self.form.float(&mut self.out, it);
        Ok(())
    }
    fn serialize_char(self, it: char) -> Result<(), EncodeError> {
        self.text(it.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, text: &str) -> Result<(), EncodeError> {
        self.text(text)
    }
    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.bytes(bytes)
    }
    fn serialize_none(self) -> Result<(), EncodeError> {
        self.null()
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), EncodeError> {
        self.null()
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), EncodeError> {
        self.null()
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
        let open = self.variant(variant)?;
        value.serialize(&mut *self)?;
        self.close(&open)
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<SeqWriter<'a, F>, EncodeError> {
        self.list(len)
    }
    fn serialize_tuple(self, len: usize) -> Result<SeqWriter<'a, F>, EncodeError> {
        self.list(Some(len))
    }
    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        len: usize,
    ) -> Result<SeqWriter<'a, F>, EncodeError> {
        self.list(Some(len))
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<SeqWriter<'a, F>, EncodeError> {
        let open = self.variant(variant)?;
        let mut list = self.list(Some(len))?;
        list.around = Some(open);
        Ok(list)
    }
    fn serialize_map(self, len: Option<usize>) -> Result<MapWriter<'a, F>, EncodeError> {
        self.map(len)
    }
    fn serialize_struct(
        self,
        _name: &'static str,
        len: usize,
    ) -> Result<MapWriter<'a, F>, EncodeError> {
        self.map(Some(len))
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<MapWriter<'a, F>, EncodeError> {
        let open = self.variant(variant)?;
        let mut map = self.map(Some(len))?;
        map.around = Some(open);
        Ok(map)
    }
    fn is_human_readable(&self) -> bool {
        false
    }
}
