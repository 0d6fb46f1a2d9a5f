//! The head of a fragment whose end is still to come.

use super::{LENGTH_BYTES, kind};

/// What a fragment begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentHead {
    /// Bytes of the frame before what it holds of its message.
    pub len: usize,
    /// Which message.
    pub lane: u32,
    /// Of the first one: the bytes of the message, and its kind.
    pub first: Option<(u64, u8)>,
    /// What it holds of its message, in bytes.
    pub bytes: usize,
}

/// What has to be there at most for [`FragmentHead::peek`] to say something.
pub const FRAGMENT_HEAD_BYTES: usize = LENGTH_BYTES + 1 + 4 + 8 + 1;

impl FragmentHead {
    /// The head of the first frame in `data`, if that is a fragment and its head is there. The length of the frame has been
    /// checked with [`peek`](super::peek).
    pub fn peek(data: &[u8]) -> Option<Self> {
        let (length, rest) = data.split_first_chunk::<LENGTH_BYTES>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let (&[kind, a, b, c, d], rest) = rest.split_first_chunk::<5>()?;
        let lane = u32::from_be_bytes([a, b, c, d]);
        let (fields, first) = match kind {
            kind::FRAGMENT_FIRST => {
                let (total, data) = rest.split_first_chunk::<8>()?;
                (5 + 8, Some((u64::from_be_bytes(*total), *data.first()?)))
            }
            kind::FRAGMENT_MORE => (5, None),
            _ => return None,
        };
        Some(FragmentHead {
            len: LENGTH_BYTES + fields,
            lane,
            first,
            bytes: length.checked_sub(fields)?,
        })
    }
}
