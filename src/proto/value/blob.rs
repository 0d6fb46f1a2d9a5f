//! Bytes that are sent and received without being copied.

use std::{cell::Cell, fmt, ops::Deref};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The name by which our encoder and our decoder know it.
pub(crate) const BLOB: &str = "$portmesh::Blob";
/// From this length on bytes are handed over rather than copied: below it the bookkeeping costs more than the copy.
pub(crate) const HANDED_BYTES_MIN: usize = 4 << 10;

/// Bytes of a message that are not copied: what is sent is written to the link from where it is, and what is received is
/// a part of the message as it came in. Encoded it is bytes, the same as of any other type that is bytes.
///
/// Less than 4 KiB are copied all the same, which is cheaper. Where the link's format is not CBOR, and where the receiver
/// is a port of the same node, they are copied once.
///
/// One that was received keeps the whole message in memory that it came with, as long as it or a clone of it lives; the
/// message is four times its size at most, else it is a copy. What is kept for long and is a small part of what came is
/// better copied: `Blob::from(blob.to_vec())`.
///
/// ```
/// use portmesh::{Blob, Limits, Message};
///
/// let limits = Limits::default();
/// let image = Blob::from(vec![7; 1 << 20]);
/// let message = Message::encode(&("image", 1, image.clone()), &limits)?;
/// let (number, got): (u64, Blob) = message.decode_args(&limits)?;
/// assert_eq!((number, got), (1, image));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob(
    /// The bytes.
    pub Bytes,
);

thread_local! {
    /// What a blob and our codec hand each other: serde has no way for it. It is there only while one of them calls the
    /// other, and who takes it checks that it is what it is told of.
    static HANDED: Cell<Option<Bytes>> = const { Cell::new(None) };
}

/// Takes what was handed over.
pub(crate) fn take_handed() -> Option<Bytes> {
    HANDED.take()
}

/// Hands bytes over to what `work` calls.
pub(crate) fn hand<T>(bytes: Bytes, work: impl FnOnce() -> T) -> T {
    /// Also where `work` panics.
    struct Unwanted;
    impl Drop for Unwanted {
        fn drop(&mut self) {
            HANDED.set(None);
        }
    }
    HANDED.set(Some(bytes));
    let _unwanted = Unwanted;
    work()
}

struct Plain<'a>(&'a [u8]);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.0)
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0.len() < HANDED_BYTES_MIN {
            return to.serialize_bytes(&self.0);
        }
        hand(self.0.clone(), || {
            to.serialize_newtype_struct(BLOB, &Plain(&self.0))
        })
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_newtype_struct(BLOB, Visitor)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Blob, D::Error> {
        Bytes::deserialize(from).map(Blob)
    }
    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        let handed = take_handed()
            .filter(|handed| handed.as_ptr() == bytes.as_ptr() && handed.len() == bytes.len());
        Ok(Blob(
            handed.unwrap_or_else(|| Bytes::copy_from_slice(bytes)),
        ))
    }
    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(Blob(bytes.into()))
    }
}

impl Deref for Blob {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Self {
        Blob(bytes)
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Blob(bytes.into())
    }
}

impl From<Blob> for Bytes {
    fn from(blob: Blob) -> Self {
        blob.0
    }
}

/// How many they are: nobody wants a megabyte in a log.
impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}
