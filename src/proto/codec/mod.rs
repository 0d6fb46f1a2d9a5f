//! Formats: how a list of values becomes bytes, and the place where further formats are registered.

use std::{fmt, sync::Arc};

use super::{
    limits::Limits,
    message::{DecodeError, EncodeError},
    value::Value,
};

/// A serialisation that a link can negotiate. Implement it to add one; [`cbor`](Format::cbor) and
/// [`json`](Format::json) are built in.
pub trait FormatCodec: Send + Sync + 'static {
    /// Its name in the greeting.
    fn name(&self) -> &str;
    /// Appends the list to `out`.
    fn encode(&self, values: &[Value], out: &mut Vec<u8>) -> Result<(), EncodeError>;
    /// Reads the list, the whole of `bytes`, within the limits of depth and count.
    fn decode(&self, bytes: &[u8], limits: &Limits) -> Result<Vec<Value>, DecodeError>;
    /// How many times longer than the CBOR form a message can become in this format.
    fn expansion_max(&self) -> usize {
        8
    }
}

/// A handle on a format. Equal when the names are.
#[derive(Clone)]
pub struct Format(Arc<dyn FormatCodec>);

impl Format {
    /// A format of the user's.
    pub fn new(codec: impl FormatCodec) -> Self {
        Format(Arc::new(codec))
    }
    /// CBOR (RFC 8949).
    pub fn cbor() -> Self {
        todo!()
    }
    /// JSON (RFC 8259), bytes escaped.
    pub fn json() -> Self {
        todo!()
    }
    /// Its name.
    pub fn name(&self) -> &str {
        self.0.name()
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}
impl Eq for Format {}
impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Format({})", self.name())
    }
}
