//! The keys of maps: text, or what serde writes as text.

use serde::{
    Serialize, Serializer,
    ser::{Error, Impossible},
};

use super::{form::Form, write::Writer};
use crate::proto::value::EncodeError;

/// Writes one key.
pub(crate) struct KeyWriter<'a, F>(pub(super) &'a mut Writer<F>);

type Never = Impossible<(), EncodeError>;

fn refuse<T>(what: &str) -> Result<T, EncodeError> {
    Err(EncodeError::custom(format_args!(
        "the keys of a map are texts, and this one is {what}"
    )))
}

macro_rules! refuse {
    ($what:literal: $($method:ident $type:ty),*) => {$(
        fn $method(self, _: $type) -> Result<(), EncodeError> {
            refuse($what)
        }
    )*};
}

impl<F: Form> Serializer for KeyWriter<'_, F> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    fn serialize_str(self, text: &str) -> Result<(), EncodeError> {
        self.0.text(text)
    }
    fn serialize_char(self, it: char) -> Result<(), EncodeError> {
        self.0.serialize_char(it)
    }
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), EncodeError> {
        self.0.text(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        value.serialize(self)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    refuse!("a boolean": serialize_bool bool);
    refuse!("an integer (make it a text, or send a list of pairs)":
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128);
    refuse!("a float": serialize_f32 f32, serialize_f64 f64);
    refuse!("bytes": serialize_bytes &[u8]);
    refuse!("null": serialize_unit_struct &'static str);

    fn serialize_none(self) -> Result<(), EncodeError> {
        refuse("null")
    }
    fn serialize_unit(self) -> Result<(), EncodeError> {
        refuse("null")
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), EncodeError> {
        refuse("an enum variant with content")
    }
    fn serialize_seq(self, _len: Option<usize>) -> Result<Never, EncodeError> {
        refuse("a list")
    }
    fn serialize_tuple(self, _len: usize) -> Result<Never, EncodeError> {
        refuse("a list")
    }
    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Never, EncodeError> {
        refuse("a list")
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Never, EncodeError> {
        refuse("an enum variant with content")
    }
    fn serialize_map(self, _len: Option<usize>) -> Result<Never, EncodeError> {
        refuse("a map")
    }
    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Never, EncodeError> {
        refuse("a map")
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Never, EncodeError> {
        refuse("an enum variant with content")
    }
    fn is_human_readable(&self) -> bool {
        false
    }
}
