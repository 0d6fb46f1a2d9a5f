//! CBOR (RFC 8949), the part of it that carries the data model.
//!
//! What we write is its preferred serialisation: definite lengths, the shortest head for every integer and length,
//! the shortest float that is exactly the same number. What we read may have longer heads and floats, but no
//! indefinite lengths, no tags, no `undefined` or other simple values, no keys that are not text, no key twice.

mod form;
pub(crate) mod head;
mod read;
mod scan;

pub(crate) use super::write::{Kept, Writer};
pub(crate) use form::Cbor;
pub(crate) use read::{Reader, is_tagged, peek_tag};
pub(crate) use scan::scan;
