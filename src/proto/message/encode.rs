//! How a Rust type becomes the list of a message: the outermost level only, the rest is the writer's.

use std::any::type_name;

use serde::{Serialize, Serializer, ser};

use super::{EncodeError, raw::RAW};
use crate::proto::{
    codec::{Form, MapWriter, SeqWriter, Writer},
    value::blob::BLOB,
};

/// What `()` is as a whole.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    /// A list of null.
    Null,
    /// The empty list.
    Empty,
}

/// Writes `what` as a list.
pub(super) fn list<T: Serialize + ?Sized, F: Form>(
    writer: &mut Writer<F>,
    what: &T,
    unit: Unit,
) -> Result<(), EncodeError> {
    what.serialize(Top {
        writer,
        unit,
        raw: false,
    })
}

struct Top<'a, F> {
    writer: &'a mut Writer<F>,
    unit: Unit,
    /// Whether a list that comes now is the message.
    raw: bool,
}

impl<'a, F: Form> Top<'a, F> {
    /// Writes the one value of a message.
    fn one(
        self,
        write: impl FnOnce(&mut Writer<F>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let open = self.writer.begin_one()?;
        write(self.writer)?;
        self.writer.close(&open)
    }
    fn elements(self, len: usize) -> Result<Elements<'a, F>, EncodeError> {
        Ok(Elements {
            list: self.writer.list(Some(len))?,
            tags: 0,
        })
    }
    fn variant(self, variant: &str, len: usize) -> Result<Elements<'a, F>, EncodeError> {
        let mut list = self.writer.list(Some(len.saturating_add(1)))?;
        list.element(variant)?;
        Ok(Elements { list, tags: 1 })
    }
}

/// The list of the message while it is written.
struct Elements<'a, F> {
    list: SeqWriter<'a, F>,
    /// How many of its values are a tag, for errors.
    tags: u64,
}

macro_rules! elements {
    ($($trait:ident $method:ident)*) => {$(
        impl<F: Form> ser::$trait for Elements<'_, F> {
            type Ok = ();
            type Error = EncodeError;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                let index = self.list.count().saturating_sub(self.tags);
                self.list
                    .element(value)
                    .map_err(|e| e.at(format_args!("value {index}")))
            }
            fn end(self) -> Result<(), EncodeError> {
                self.list.finish()
            }
        }
    )*};
}
elements! {
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

impl<F: Form> ser::SerializeStructVariant for Elements<'_, F> {
    type Ok = ();
    type Error = EncodeError;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.list
            .element(value)
            .map_err(|e| e.at(format_args!("field {key}")))
    }
    fn skip_field(&mut self, key: &'static str) -> Result<(), EncodeError> {
        Err(EncodeError::NotEncodable(format!(
            "field {key}: skipped, but the fields of a variant go by their positions; send it always, or put the \
             fields into a struct of their own"
        )))
    }
    fn end(self) -> Result<(), EncodeError> {
        self.list.finish()
    }
}

/// A map as the one value of a message.
struct OneMap<'a, F> {
    map: MapWriter<'a, F>,
    /// Whether the first entry is still to come.
    first: bool,
}

impl<F: Form> OneMap<'_, F> {
    /// serde writes the tag of an enum that is tagged internally as the first entry, its name and its value of the
    /// type `str`, which no field of a struct and no key of a usual map can have.
    fn refuse_tag<T: ?Sized>(&mut self) -> Result<(), EncodeError> {
        if std::mem::take(&mut self.first) && type_name::<T>() == type_name::<str>() {
            return Err(EncodeError::NotEncodable(
                "an enum that is tagged internally (#[serde(tag)]) has no positional form; use serde's default \
                 tagging, or send it within a tuple"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

impl<F: Form> ser::SerializeStruct for OneMap<'_, F> {
    type Ok = ();
    type Error = EncodeError;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.refuse_tag::<T>()?;
        ser::SerializeStruct::serialize_field(&mut self.map, key, value)
            .map_err(|e| e.at(format_args!("field {key}")))
    }
    fn end(self) -> Result<(), EncodeError> {
        ser::SerializeStruct::end(self.map)
    }
}

impl<F: Form> ser::SerializeMap for OneMap<'_, F> {
    type Ok = ();
    type Error = EncodeError;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.first = self.first && type_name::<T>() == type_name::<str>();
        ser::SerializeMap::serialize_key(&mut self.map, key)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.refuse_tag::<T>()?;
        ser::SerializeMap::serialize_value(&mut self.map, value)
    }
    fn end(self) -> Result<(), EncodeError> {
        ser::SerializeMap::end(self.map)
    }
}

macro_rules! one {
    ($($method:ident $type:ty)*) => {$(
        fn $method(self, it: $type) -> Result<(), EncodeError> {
            self.one(|writer| writer.$method(it))
        }
    )*};
}

impl<'a, F: Form> Serializer for Top<'a, F> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = SeqWriter<'a, F>;
    type SerializeTuple = Elements<'a, F>;
    type SerializeTupleStruct = Elements<'a, F>;
    type SerializeTupleVariant = Elements<'a, F>;
    type SerializeMap = OneMap<'a, F>;
    type SerializeStruct = OneMap<'a, F>;
    type SerializeStructVariant = Elements<'a, F>;

    one! {
        serialize_bool bool
        serialize_i8 i8
        serialize_i16 i16
        serialize_i32 i32
        serialize_i64 i64
        serialize_i128 i128
        serialize_u8 u8
        serialize_u16 u16
        serialize_u32 u32
        serialize_u64 u64
        serialize_u128 u128
        serialize_f32 f32
        serialize_f64 f64
        serialize_char char
        serialize_str &str
        serialize_bytes &[u8]
        serialize_unit_struct &'static str
    }
    fn serialize_none(self) -> Result<(), EncodeError> {
        self.one(|writer| writer.serialize_none())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        self.one(|writer| value.serialize(writer))
    }
    fn serialize_unit(self) -> Result<(), EncodeError> {
        match self.unit {
            Unit::Null => self.one(|writer| writer.serialize_unit()),
            Unit::Empty => self.writer.list(Some(0))?.finish(),
        }
    }
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), EncodeError> {
        self.variant(variant, 0)?.list.finish()
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        if name == BLOB {
            return self.one(|writer| writer.serialize_newtype_struct(name, value));
        }
        let raw = name == RAW;
        value.serialize(Top { raw, ..self })
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        // What serde's derive wraps the fields of a flattened variant in. There is no other sign of it.
        if type_name::<T>().contains("__EnumFlatten") {
            return Err(EncodeError::NotEncodable(format!(
                "{name}::{variant} has flattened fields, which have no positions; put them into a struct of their own"
            )));
        }
        let mut elements = self.variant(variant, 1)?;
        ser::SerializeTuple::serialize_element(&mut elements, value)?;
        elements.list.finish()
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<SeqWriter<'a, F>, EncodeError> {
        if self.raw {
            self.writer.list(len)
        } else {
            let around = Some(self.writer.begin_one()?);
            let mut list = self.writer.list(len)?;
            list.around = around;
            Ok(list)
        }
    }
    fn serialize_tuple(self, len: usize) -> Result<Elements<'a, F>, EncodeError> {
        self.elements(len)
    }
    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        len: usize,
    ) -> Result<Elements<'a, F>, EncodeError> {
        self.elements(len)
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Elements<'a, F>, EncodeError> {
        self.variant(variant, len)
    }
    fn serialize_map(self, len: Option<usize>) -> Result<OneMap<'a, F>, EncodeError> {
        let around = Some(self.writer.begin_one()?);
        let mut map = self.writer.serialize_map(len)?;
        map.around = around;
        Ok(OneMap { map, first: true })
    }
    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<OneMap<'a, F>, EncodeError> {
        let around = Some(self.writer.begin_one()?);
        let mut map = self.writer.serialize_struct(name, len)?;
        map.around = around;
        Ok(OneMap { map, first: true })
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Elements<'a, F>, EncodeError> {
        self.variant(variant, len)
    }
    fn is_human_readable(&self) -> bool {
        false
    }
}
