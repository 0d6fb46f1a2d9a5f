//! What every format must do, as a suite that the author of a format runs in a test of their own.

use std::{collections::BTreeMap, fmt};

use super::{DEPTH_CEILING, Format};
use crate::proto::{
    limits::Limits,
    value::{DecodeError, Value},
};

/// Runs the suite: a table of values there and back, sizes, limits, and hostile input.
///
/// It cannot see memory: that nothing is allocated from a declared length shows here only as an abort. A codec that
/// panics makes this panic.
///
/// # Errors
/// The first promise of [`FormatCodec`](super::FormatCodec) that the format breaks, with the input that showed it.
///
/// ```
/// use portmesh::proto::codec::{Format, conformance};
/// conformance::check(&Format::cbor())?;
/// conformance::check(&Format::json())?;
/// # Ok::<(), String>(())
/// ```
pub fn check(format: &Format) -> Result<(), String> {
    let suite = Suite {
        format,
        limits: Limits::default(),
    };
    suite.name()?;
    let mut samples = Vec::new();
    for message in messages() {
        samples.push(suite.there_and_back(message)?);
    }
    suite.not_finite()?;
    suite.depth()?;
    suite.count()?;
    suite.forged()?;
    for bytes in samples.iter().filter(|bytes| bytes.len() <= 1_200) {
        suite.cut(bytes)?;
        if bytes.len() <= 100 {
            suite.damaged(bytes)?;
        }
    }
    suite.noise()
}

struct Suite<'a> {
    format: &'a Format,
    limits: Limits,
}

/// Bytes as a person can read them in a failure, not more than a line.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.iter().take(64) {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(if self.0.len() > 64 { "…" } else { "" })
    }
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

impl Suite<'_> {
    fn encode(&self, message: &[Value]) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        match self.format.encode(message, &mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) => Err(format!("refuses to encode {}: {error}", list(message))),
        }
    }
    fn decode(&self, bytes: &[u8]) -> Result<Vec<Value>, DecodeError> {
        self.format.decode_unchecked(bytes, &self.limits)
    }
    fn must_refuse(&self, bytes: &[u8], what: impl FnOnce() -> String) -> Result<(), String> {
        match self.decode(bytes) {
            Ok(message) => Err(format!(
                "accepts {} as {}: {}",
                what(),
                list(&message),
                Shown(bytes)
            )),
            Err(_) => Ok(()),
        }
    }

    fn name(&self) -> Result<(), String> {
        let name = self.format.name();
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        ensure(
            !name.is_empty() && name.len() <= 64 && name.bytes().all(good),
            || format!("the name {name:?} is not 1 to 64 bytes of [a-z0-9._-]"),
        )?;
        let other = [Format::cbor(), Format::json()].contains(self.format);
        ensure(!other || !self.format.is_custom(), || {
            format!("the name {name:?} is that of a format that is built in")
        })
    }

    fn there_and_back(&self, message: Vec<Value>) -> Result<Vec<u8>, String> {
        let bytes = self.encode(&message)?;
        match self.decode(&bytes) {
            Ok(back) if same_list(&back, &message) => {}
            Ok(back) => {
                return Err(format!("made {} of {}", list(&back), list(&message)));
            }
            Err(error) => {
                return Err(format!(
                    "does not read back its own {}: {error}",
                    list(&message)
                ));
            }
        }
        let mut appended = b"before".to_vec();
        let encoded = self.format.encode(&message, &mut appended);
        ensure(
            encoded.is_ok() && appended.strip_prefix(b"before") == Some(&bytes),
            || "does not append to what is in the buffer already".to_owned(),
        )?;
        let mut cbor = Vec::new();
        Format::cbor()
            .encode(&message, &mut cbor)
            .map_err(|e| e.to_string())?;
        let max = cbor.len().saturating_mul(self.format.expansion_max());
        ensure(bytes.len() <= max, || {
            format!(
                "needs {} bytes for {}, which is more than expansion_max allows for {} bytes of CBOR",
                bytes.len(),
                list(&message),
                cbor.len()
            )
        })?;
        Ok(bytes)
    }

    fn not_finite(&self) -> Result<(), String> {
        for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let inner = Value::Map(BTreeMap::from([("k".to_owned(), Value::Float(float))]));
            for message in [Value::Float(float), Value::List(vec![inner])] {
                let done = self.format.encode(&[message], &mut Vec::new());
                ensure(done.is_err(), || format!("encodes the float {float}"))?;
            }
        }
        Ok(())
    }

    /// One less than the limit, the limit, one more.
    fn depth(&self) -> Result<(), String> {
        for in_map in [false, true] {
            for max in [1, 2, 3, 64, DEPTH_CEILING] {
                for depth in max.saturating_sub(1).max(1)..=max + 1 {
                    if depth > DEPTH_CEILING {
                        continue;
                    }
                    let mut value = Value::Null;
                    for _ in 1..depth {
                        value = if in_map {
                            Value::Map(BTreeMap::from([("k".to_owned(), value)]))
                        } else {
                            Value::List(vec![value])
                        };
                    }
                    let limits = Limits {
                        depth_max: max,
                        ..Limits::default()
                    };
                    self.bounded(&[value], &limits, depth <= max, "depth", depth, max)?;
                }
            }
        }
        Ok(())
    }

    fn count(&self) -> Result<(), String> {
        for max in [2usize, 10, 1_000] {
            for count in max - 1..=max + 1 {
                // The message's list is a value too; each pair in a map is two.
                let left = count - 1;
                let flat = vec![Value::Null; left];
                let pairs = (1..left.div_ceil(2)).map(|n| (n.to_string(), Value::Null));
                let mut maps = vec![Value::Map(pairs.collect())];
                if left.is_multiple_of(2) {
                    maps.push(Value::Null);
                }
                let limits = Limits {
                    values_max: max,
                    ..Limits::default()
                };
                self.bounded(&flat, &limits, count <= max, "count", count, max)?;
                if left > 0 {
                    self.bounded(&maps, &limits, count <= max, "count", count, max)?;
                }
            }
        }
        Ok(())
    }

    fn bounded(
        &self,
        message: &[Value],
        limits: &Limits,
        accept: bool,
        what: &str,
        n: usize,
        max: usize,
    ) -> Result<(), String> {
        let bytes = self.encode(message)?;
        let accepted = self.format.decode_unchecked(&bytes, limits).is_ok();
        ensure(accepted == accept, || {
            let does = if accepted { "accepts" } else { "refuses" };
            format!("{does} a {what} of {n} where the limit is {max}")
        })
    }

    /// Text that a format writes as it is, replaced: the same key twice, text that is not UTF-8.
    fn forged(&self) -> Result<(), String> {
        for many in [2, 12, 300] {
            let keys: Vec<String> = (0..many).map(|n| format!("key-{n:04}")).collect();
            let pairs = keys.iter().map(|key| (key.clone(), Value::Null));
            let bytes = self.encode(&[Value::Map(pairs.collect())])?;
            for (n, key) in keys.iter().enumerate().skip(1).step_by(many / 2) {
                for other in [keys.first(), keys.get(n - 1)].into_iter().flatten() {
                    let forged = replaced(&bytes, key.as_bytes(), other.as_bytes());
                    if let Some(forged) = forged {
                        self.must_refuse(&forged, || "a map with the same key twice".into())?;
                    }
                }
            }
        }
        for message in [
            Value::from("text-0001"),
            Value::Map(BTreeMap::from([("text-0001".to_owned(), Value::Null)])),
        ] {
            let bytes = self.encode(&[message])?;
            for bad in [&b"text-\xff001"[..], b"text-\xc3001", b"text-00\xed\xa0"] {
                if let Some(forged) = replaced(&bytes, b"text-0001", bad) {
                    self.must_refuse(&forged, || "text that is not UTF-8".into())?;
                }
            }
        }
        Ok(())
    }

    /// Every cut, and something behind the end.
    fn cut(&self, bytes: &[u8]) -> Result<(), String> {
        for cut in 0..bytes.len() {
            let cut = bytes.get(..cut).unwrap_or_default();
            self.must_refuse(cut, || "a message that is cut".into())?;
        }
        for more in [bytes, &[0], &[0xff]] {
            let bytes = [bytes, more].concat();
            self.must_refuse(&bytes, || "more after the end of the message".into())?;
        }
        Ok(())
    }

    /// Every byte changed.
    fn damaged(&self, bytes: &[u8]) -> Result<(), String> {
        for at in 0..bytes.len() {
            let others = [0x00, 0x01, 0x7f, 0x80, 0x9f, 0xbf, 0xc0, 0xdf, 0xf9, 0xff];
            for change in others {
                let mut bytes = bytes.to_vec();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= change;
                    self.hostile(&bytes)?;
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = change;
                    }
                    self.hostile(&bytes)?;
                }
            }
        }
        Ok(())
    }

    fn noise(&self) -> Result<(), String> {
        // xorshift64: the same noise each time.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..round % 64 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.push(state as u8);
            }
            self.hostile(&bytes)?;
        }
        Ok(())
    }

    /// Whatever comes is refused, or is a message that goes there and back.
    fn hostile(&self, bytes: &[u8]) -> Result<(), String> {
        match self.decode(bytes) {
            Err(_) => Ok(()),
            Ok(message) => self
                .there_and_back(message)
                .map(|_| ())
                .map_err(|e| format!("having read {}: {e}", Shown(bytes))),
        }
    }
}

fn list(message: &[Value]) -> String {
    let text = format!("{message:?}");
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// `bytes` with the only place where `from` stands changed to `to`, which is as long.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let mut places = bytes.windows(from.len()).enumerate();
    let (at, _) = places.find(|(_, window)| *window == from)?;
    let mut bytes = bytes.to_vec();
    bytes.get_mut(at..at + from.len())?.copy_from_slice(to);
    Some(bytes)
}

fn same_list(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

/// Equal, and floats to the bit: `-0.0` is not `0.0`.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::List(a), Value::List(b)) => same_list(a, b),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((a, x), (b, y))| a == b && same(x, y))
        }
        _ => a == b,
    }
}

/// The table: every kind of value, at the borders of what formats do.
fn messages() -> Vec<Vec<Value>> {
    let mut values: Vec<Value> = vec![Value::Null, true.into(), false.into()];
    for power in 0..64 {
        let n = 1u64 << power;
        values.extend([n - 1, n, n.wrapping_add(1)].map(Value::from));
        let n = (n as i64).wrapping_neg();
        values.extend([n.saturating_sub(1), n, n.saturating_add(1)].map(Value::from));
    }
    values.extend([u64::MAX - 1, u64::MAX].map(Value::from));
    values.extend([i64::MIN, i64::MIN + 1, i64::MAX].map(Value::from));
    let floats = [
        0.0,
        1.0,
        1.5,
        0.1,
        65_504.0,
        65_505.0,
        5.960_464_477_539_063e-8,
        6.103_515_625e-5,
        3.4028234663852886e38,
        f64::from(f32::MIN_POSITIVE),
        1.401_298_464_324_817e-45,
        16_777_217.0,
        9_007_199_254_740_993.0,
        1e15,
        1e16,
        1e21,
        1e22,
        1e300,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        f64::EPSILON,
        std::f64::consts::PI,
        18_446_744_073_709_551_616.0,
    ];
    values.extend(floats.into_iter().flat_map(|f| [f, -f]).map(Value::Float));
    let texts = [
        "",
        "a",
        "$",
        "$bytes",
        "\"",
        "\\",
        "/",
        "\u{0}",
        "\u{1f}",
        "\u{7f}",
        "\u{80}",
        "\n\r\t",
        "ü",
        "水",
        "𐅑",
        "\u{2028}\u{2029}",
        "\u{fffd}",
        "\u{feff}",
        "\u{10ffff}",
        "null",
        "1",
    ];
    values.extend(texts.map(Value::from));
    for len in [23, 24, 31, 32, 255, 256, 65_535, 65_536] {
        values.push("x".repeat(len).into());
        values.push("\u{1}".repeat(len).into());
        values.push(vec![0xffu8; len].into());
    }
    for len in 0..9u8 {
        values.push(
            (0..len)
                .map(|n| n.wrapping_mul(0x5d))
                .collect::<Vec<u8>>()
                .into(),
        );
    }
    for len in [0, 1, 15, 16, 23, 24, 255, 256, 1_000] {
        values.push(Value::List(vec![1.5.into(); len]));
        values.push((0..len).map(|n| (n.to_string(), Value::from(""))).collect());
    }
    for key in texts {
        for value in [Value::from("AA=="), 1.into(), Value::Map(BTreeMap::new())] {
            values.push(Value::Map(BTreeMap::from([(key.to_owned(), value)])));
        }
    }
    for key in ["$$", "$$bytes", "$$$bytes"] {
        let inner = Value::Map(BTreeMap::from([(key.to_owned(), Value::from(vec![1u8]))]));
        values.push(inner.clone());
        let both = [
            ("$bytes".to_owned(), "AA==".into()),
            (key.to_owned(), inner),
        ];
        values.push(Value::Map(BTreeMap::from(both)));
    }
    let mut messages: Vec<Vec<Value>> = values.iter().map(|v| vec![v.clone()]).collect();
    messages.push(vec!["tag".into(), Value::List(values)]);
    messages.push(Vec::new());
    messages
}
