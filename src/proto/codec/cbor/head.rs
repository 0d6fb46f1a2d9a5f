//! The head of a CBOR item: what kind it is and how long.

use super::super::budget::not_finite;
use crate::proto::value::{DecodeError, Int};

/// Kinds of item, the upper three bits of its first byte.
pub(crate) const UNSIGNED: u8 = 0;
pub(crate) const NEGATIVE: u8 = 1;
pub(crate) const BYTES: u8 = 2;
pub(crate) const TEXT: u8 = 3;
pub(crate) const LIST: u8 = 4;
pub(crate) const MAP: u8 = 5;
const TAG: u8 = 6;

/// What an item begins with. Lengths are as declared: nothing says yet that so much follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Head {
    Null,
    Bool(bool),
    Unsigned(u64),
    /// Below 0.
    Negative(i64),
    Float(f64),
    Bytes(usize),
    Text(usize),
    List(usize),
    Map(usize),
}

/// The bytes end within an item.
pub(crate) fn cut() -> DecodeError {
    DecodeError::new("the bytes end within a value")
}

/// Takes so many bytes from the front.
pub(crate) fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], DecodeError> {
    let (front, rest) = bytes.split_at_checked(len).ok_or_else(cut)?;
    *bytes = rest;
    Ok(front)
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (front, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
    *bytes = rest;
    Ok(*front)
}

/// Takes the text of that length from the front.
pub(crate) fn take_text<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(take(bytes, len)?).map_err(|_| DecodeError::new("a text is not UTF-8"))
}

impl Head {
    /// Takes the head of the next item from the front.
    #[inline]
    pub(crate) fn take(bytes: &mut &[u8]) -> Result<Head, DecodeError> {
        // as nearly all heads are: a kind and a small number
        let (head, rest) = match **bytes {
            [first, ref rest @ ..] if first & 0x1f < 24 => {
                (Head::small(first >> 5, first & 0x1f), rest)
            }
            [first, number, ref rest @ ..] if first & 0x1f == 24 => {
                (Head::small(first >> 5, number), rest)
            }
            _ => (None, *bytes),
        };
        match head {
            Some(head) => {
                *bytes = rest;
                Ok(head)
            }
            None => Head::take_any(bytes),
        }
    }

    #[inline]
    fn small(kind: u8, number: u8) -> Option<Head> {
        let len = usize::from(number);
        Some(match kind {
            UNSIGNED => Head::Unsigned(number.into()),
            NEGATIVE => Head::Negative(!i64::from(number)),
            BYTES => Head::Bytes(len),
            TEXT => Head::Text(len),
            LIST => Head::List(len),
            MAP => Head::Map(len),
            _ => return None,
        })
    }

    #[inline(never)]
    fn take_any(bytes: &mut &[u8]) -> Result<Head, DecodeError> {
        let (&first, rest) = bytes.split_first().ok_or_else(cut)?;
        *bytes = rest;
        let (kind, info) = (first >> 5, first & 0x1f);
        let number = match info {
            0..=23 => info.into(),
            24 => u8::from_be_bytes(take_array(bytes)?).into(),
            25 => u16::from_be_bytes(take_array(bytes)?).into(),
            26 => u32::from_be_bytes(take_array(bytes)?).into(),
            27 => u64::from_be_bytes(take_array(bytes)?),
            31 => return Err(DecodeError::new("an indefinite length")),
            _ => return Err(DecodeError::new("a reserved CBOR head")),
        };
        // More than the address space holds is more than follows.
        let len = || usize::try_from(number).map_err(|_| cut());
        Ok(match kind {
            UNSIGNED => Head::Unsigned(number),
            // -1 - number: its bits inverted
            NEGATIVE => match i64::try_from(number) {
                Ok(number) => Head::Negative(!number),
                Err(_) => return Err(DecodeError::new("an integer below the range of i64")),
            },
            BYTES => Head::Bytes(len()?),
            TEXT => Head::Text(len()?),
            LIST => Head::List(len()?),
            MAP => Head::Map(len()?),
            TAG => return Err(DecodeError::new("a CBOR tag")),
            _ => return simple(info, number),
        })
    }
}

fn simple(info: u8, number: u64) -> Result<Head, DecodeError> {
    let float = match info {
        20 => return Ok(Head::Bool(false)),
        21 => return Ok(Head::Bool(true)),
        22 => return Ok(Head::Null),
        25 => from_half(number as u16),
        26 => f32::from_bits(number as u32).into(),
        27 => f64::from_bits(number),
        _ => return Err(DecodeError::new("undefined, or another CBOR simple value")),
    };
    if float.is_finite() {
        Ok(Head::Float(float))
    } else {
        Err(not_finite())
    }
}

/// An IEEE 754 half as a double, as in RFC 8949, appendix D.
fn from_half(half: u16) -> f64 {
    let exponent = i32::from((half >> 10) & 0x1f);
    let mantissa = f64::from(half & 0x3ff);
    let size = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2f64.powi(exponent - 25),
    };
    if half & 0x8000 == 0 { size } else { -size }
}

/// The half that is exactly this number, where there is one.
fn to_half(float: f32) -> Option<u16> {
    let bits = float.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let exponent = ((bits >> 23) & 0xff) as i32 - 127;
    let mantissa = bits & 0x7f_ffff;
    let half = match exponent {
        -127 if mantissa == 0 => 0,
        // Normal: ten bits of mantissa.
        -14..=15 if mantissa.trailing_zeros() >= 13 => {
            (((exponent + 15) as u16) << 10) | (mantissa >> 13) as u16
        }
        // Subnormal: a multiple of 2^-24.
        -24..=-15 => {
            let shift = (-exponent - 1) as u32;
            let full = mantissa | 0x80_0000;
            if full.trailing_zeros() < shift {
                return None;
            }
            (full >> shift) as u16
        }
        _ => return None,
    };
    Some(sign | half)
}

/// Whether that is the first byte of a list whose length stands in it, and can be one more.
#[inline]
pub(crate) fn is_short_list(byte: u8) -> bool {
    byte >> 5 == LIST && byte & 0x1f < 23
}

/// Appends a head with the shortest form of its number.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, kind: u8, number: u64) {
    let kind = kind << 5;
    match number {
        0..=23 => out.push(kind | number as u8),
        24..=0xff => out.extend_from_slice(&[kind | 24, number as u8]),
        0x100..=0xffff => {
            out.push(kind | 25);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(kind | 26);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        _ => {
            out.push(kind | 27);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// Appends an integer.
pub(crate) fn put_int(out: &mut Vec<u8>, n: Int) {
    match u64::try_from(n) {
        Ok(n) => put(out, UNSIGNED, n),
        // -1 - n, for an n below 0: its bits inverted.
        Err(_) => put(out, NEGATIVE, !i64::try_from(n).unwrap_or(-1) as u64),
    }
}

/// Appends a float in the shortest form that is exactly the same number.
pub(crate) fn put_float(out: &mut Vec<u8>, float: f64) {
    let single = float as f32;
    if f64::from(single).to_bits() != float.to_bits() {
        out.push(0xfb);
        out.extend_from_slice(&float.to_be_bytes());
    } else if let Some(half) = to_half(single) {
        out.push(0xf9);
        out.extend_from_slice(&half.to_be_bytes());
    } else {
        out.push(0xfa);
        out.extend_from_slice(&single.to_be_bytes());
    }
}

/// How many bytes that float takes.
pub(crate) fn float_len(float: f64) -> usize {
    let single = float as f32;
    if f64::from(single).to_bits() != float.to_bits() {
        9
    } else if to_half(single).is_some() {
        3
    } else {
        5
    }
}

/// How many bytes the head with this number takes.
pub(crate) fn len(number: u64) -> usize {
    match number {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}
