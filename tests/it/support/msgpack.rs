//! MessagePack as a user adds it: by the public API alone.

use std::collections::BTreeMap;

use portmesh::{
    Limits,
    proto::{
        codec::{Budget, FormatCodec},
        value::{DecodeError, EncodeError, Int, Value},
    },
};

/// MessagePack, without extension types.
pub(crate) struct MessagePack;

impl FormatCodec for MessagePack {
    fn name(&self) -> &str {
        "msgpack"
    }
    fn encode(&self, values: &[Value], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_list(values, out)
    }
    fn decode(&self, bytes: &[u8], limits: &Limits) -> Result<Vec<Value>, DecodeError> {
        let mut reader = Reader {
            rest: bytes,
            budget: Budget::new(limits),
        };
        match reader.value()? {
            Value::List(list) if reader.rest.is_empty() => Ok(list),
            Value::List(_) => Err(DecodeError::new("more after the end")),
            _ => Err(DecodeError::new("not a list")),
        }
    }
}

fn put(value: &Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(false) => out.push(0xc2),
        Value::Bool(true) => out.push(0xc3),
        Value::Int(n) => put_int(*n, out),
        Value::Float(it) => {
            out.push(0xcb);
            out.extend(it.to_be_bytes());
        }
        Value::Text(it) => put_text(it, out)?,
        Value::Bytes(it) => {
            put_len(it.len(), None, [Some(0xc4), Some(0xc5), Some(0xc6)], out)?;
            out.extend(it);
        }
        Value::List(list) => put_list(list, out)?,
        Value::Map(map) => {
            put_len(
                map.len(),
                Some((0x80, 15)),
                [None, Some(0xde), Some(0xdf)],
                out,
            )?;
            for (key, value) in map {
                put_text(key, out)?;
                put(value, out)?;
            }
        }
    }
    Ok(())
}

fn put_list(list: &[Value], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    put_len(
        list.len(),
        Some((0x90, 15)),
        [None, Some(0xdc), Some(0xdd)],
        out,
    )?;
    list.iter().try_for_each(|value| put(value, out))
}

fn put_text(text: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    put_len(
        text.len(),
        Some((0xa0, 31)),
        [Some(0xd9), Some(0xda), Some(0xdb)],
        out,
    )?;
    out.extend(text.as_bytes());
    Ok(())
}

/// A length in the first byte up to some maximum, or in one, two or four bytes behind these first bytes.
fn put_len(
    len: usize,
    short: Option<(u8, usize)>,
    firsts: [Option<u8>; 3],
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let [one, two, four] = firsts;
    match (short, one, two, four) {
        (Some((first, max)), ..) if len <= max => out.push(first | len as u8),
        (_, Some(first), ..) if len <= 0xff => out.extend([first, len as u8]),
        (_, _, Some(first), _) if len <= 0xffff => {
            out.push(first);
            out.extend((len as u16).to_be_bytes());
        }
        (_, _, _, Some(first)) if u32::try_from(len).is_ok() => {
            out.push(first);
            out.extend((len as u32).to_be_bytes());
        }
        _ => {
            return Err(EncodeError::not_encodable(
                "longer than MessagePack can say",
            ));
        }
    }
    Ok(())
}

fn put_int(n: Int, out: &mut Vec<u8>) {
    if let Ok(n) = u64::try_from(n) {
        match n {
            0..=0x7f => out.push(n as u8),
            _ => {
                out.push(0xcf);
                out.extend(n.to_be_bytes());
            }
        }
    } else if let Ok(n) = i64::try_from(n) {
        match n {
            -32..0 => out.push(n as u8),
            _ => {
                out.push(0xd3);
                out.extend(n.to_be_bytes());
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    budget: Budget,
}

impl Reader<'_> {
    fn take(&mut self, len: usize) -> Result<&[u8], DecodeError> {
        let (front, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or_else(|| DecodeError::new("cut"))?;
        self.rest = rest;
        Ok(front)
    }
    /// A big endian number of up to eight bytes.
    fn number(&mut self, len: usize) -> Result<u64, DecodeError> {
        let bytes = self.take(len)?;
        Ok(bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }
    fn signed(&mut self, len: usize) -> Result<Value, DecodeError> {
        let unused = 64 - 8 * len;
        let n = (self.number(len)? << unused) as i64 >> unused;
        Ok(n.into())
    }
    fn text(&mut self, len: u64) -> Result<String, DecodeError> {
        let bytes = self.take(len as usize)?;
        let text = std::str::from_utf8(bytes).map_err(DecodeError::new)?;
        Ok(text.to_owned())
    }
    fn float(&mut self, it: f64) -> Result<Value, DecodeError> {
        match it.is_finite() {
            true => Ok(it.into()),
            false => Err(DecodeError::new("not finite")),
        }
    }
    fn value(&mut self) -> Result<Value, DecodeError> {
        self.budget.count()?;
        let first = self.number(1)? as u8;
        match first {
            0x00..=0x7f => Ok(first.into()),
            0xe0..=0xff => Ok((first as i8).into()),
            0x80..=0x8f => self.map(u64::from(first & 15)),
            0x90..=0x9f => self.list(u64::from(first & 15)),
            0xa0..=0xbf => self.text(u64::from(first & 31)).map(Value::Text),
            0xc0 => Ok(Value::Null),
            0xc2 | 0xc3 => Ok((first == 0xc3).into()),
            0xc4..=0xc6 => {
                let len = self.number(1 << (first - 0xc4))?;
                Ok(self.take(len as usize)?.into())
            }
            0xca => {
                let bits = self.number(4)? as u32;
                self.float(f32::from_bits(bits).into())
            }
            0xcb => {
                let bits = self.number(8)?;
                self.float(f64::from_bits(bits))
            }
            0xcc..=0xcf => Ok(self.number(1 << (first - 0xcc))?.into()),
            0xd0..=0xd3 => self.signed(1 << (first - 0xd0)),
            0xd9..=0xdb => {
                let len = self.number(1 << (first - 0xd9))?;
                self.text(len).map(Value::Text)
            }
            0xdc | 0xdd => {
                let len = self.number(2 << (first - 0xdc))?;
                self.list(len)
            }
            0xde | 0xdf => {
                let len = self.number(2 << (first - 0xde))?;
                self.map(len)
            }
            _ => Err(DecodeError::new("an extension type")),
        }
    }
    fn list(&mut self, len: u64) -> Result<Value, DecodeError> {
        self.budget.enter()?;
        let mut list = Vec::new(); // not with_capacity: the length is only a claim
        for _ in 0..len {
            list.push(self.value()?);
        }
        self.budget.leave();
        Ok(Value::List(list))
    }
    fn map(&mut self, len: u64) -> Result<Value, DecodeError> {
        self.budget.enter()?;
        let mut map = BTreeMap::new();
        for _ in 0..len {
            let Value::Text(key) = self.value()? else {
                return Err(DecodeError::new("a key that is not a text"));
            };
            let value = self.value()?;
            if map.insert(key, value).is_some() {
                return Err(DecodeError::new("the same key twice"));
            }
        }
        self.budget.leave();
        Ok(Value::Map(map))
    }
}
