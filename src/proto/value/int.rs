//! Integers that are an `i64` or a `u64`, whichever they fit.

use std::fmt;

/// An integer in the range of `i64` or of `u64`: -2^63 to 2^64 - 1.
///
/// ```
/// use portmesh::Int;
/// let n = Int::from(u64::MAX);
/// assert_eq!(u64::try_from(n), Ok(u64::MAX));
/// assert!(i64::try_from(n).is_err());
/// assert!(Int::try_from(1i128 << 64).is_err());
/// assert!(Int::from(-1) < n);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Int(i128);

/// The integer is outside the range of the type it should become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the integer is out of range")]
pub struct IntOutOfRange;

impl Int {
    /// -2^63.
    pub const MIN: Int = Int(i64::MIN as i128);
    /// 2^64 - 1.
    pub const MAX: Int = Int(u64::MAX as i128);
}

macro_rules! from {
    ($($from:ty)*) => {$(
        impl From<$from> for Int {
            fn from(n: $from) -> Self {
                Int(n.into())
            }
        }
    )*};
}
from!(i8 i16 i32 i64 u8 u16 u32 u64);

macro_rules! into {
    ($($into:ty)*) => {$(
        impl TryFrom<Int> for $into {
            type Error = IntOutOfRange;
            fn try_from(n: Int) -> Result<Self, IntOutOfRange> {
                n.0.try_into().map_err(|_| IntOutOfRange)
            }
        }
    )*};
}
into!(i8 i16 i32 i64 isize u8 u16 u32 u64 usize u128);

// `usize` and `isize` fit wherever Rust runs today, but the standard library does not promise it.
macro_rules! try_from {
    ($($from:ty)*) => {$(
        impl TryFrom<$from> for Int {
            type Error = IntOutOfRange;
            fn try_from(n: $from) -> Result<Self, IntOutOfRange> {
                let n = i128::try_from(n).map_err(|_| IntOutOfRange)?;
                if (Int::MIN.0..=Int::MAX.0).contains(&n) {
                    Ok(Int(n))
                } else {
                    Err(IntOutOfRange)
                }
            }
        }
    )*};
}
try_from!(i128 u128 isize usize);

impl From<Int> for i128 {
    fn from(n: Int) -> i128 {
        n.0
    }
}

impl fmt::Display for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
