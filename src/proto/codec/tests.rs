//! The built-in formats against the suite, against references, and against hostile bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::proto::message::{IntoMessage, Message, Raw};

const FORMATS: [Format; 2] = [Format::cbor(), Format::json()];

fn encode(format: &Format, message: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    format.encode(message, &mut bytes).unwrap();
    bytes
}

fn decode(format: &Format, bytes: &[u8]) -> Result<Vec<Value>, DecodeError> {
    format.decode(bytes, &Limits::default())
}

/// Text that tells `-0.0` from `0.0` and floats from integers.
fn exact(message: &[Value]) -> String {
    format!("{message:?}")
}

fn int() -> impl Strategy<Value = i128> {
    let small = any::<i16>().prop_map(i128::from);
    let near = (0..65u32, -2..=2i128, any::<bool>()).prop_map(|(power, off, minus)| {
        let n = (1i128 << power) + off;
        (if minus { -n } else { n }).clamp(i64::MIN.into(), u64::MAX.into())
    });
    prop_oneof![small, near, any::<i64>().prop_map(i128::from)]
}

fn float() -> impl Strategy<Value = f64> {
    let half = any::<u16>().prop_map(|n| f64::from(n) / 1024.0);
    let whole = any::<i32>().prop_map(f64::from);
    let bits = any::<u64>().prop_map(f64::from_bits);
    let single = any::<u32>().prop_map(|n| f64::from(f32::from_bits(n)));
    prop_oneof![half, whole, bits, single].prop_filter("finite", |f| f.is_finite())
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c$\"\\\\]{0,3}",
        any::<String>(),
        "\\PC{20,40}",
        Just("$bytes".to_owned())
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        int().prop_map(|n| Value::Int(n.try_into().unwrap())),
        float().prop_map(Value::from),
        text().prop_map(Value::from),
        vec(any::<u8>(), 0..40).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(text(), inner, 0..5).prop_map(Value::from),
        ]
    })
}

fn message() -> impl Strategy<Value = Vec<Value>> {
    vec(value(), 0..5)
}

/// A valid message, damaged in some places.
fn damaged(format: Format) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6);
    (message(), changes).prop_map(move |(message, changes)| {
        let mut bytes = encode(&format, &message);
        for (at, byte, how) in changes {
            let at = at.index(bytes.len().max(1));
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => {
                    bytes.remove(at);
                }
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

fn ciborium_of(value: &Value) -> ciborium::Value {
    match value {
        Value::Null => ciborium::Value::Null,
        Value::Bool(it) => (*it).into(),
        Value::Int(n) => ciborium::Value::Integer(i128::from(*n).try_into().unwrap()),
        Value::Float(it) => (*it).into(),
        Value::Text(it) => it.as_str().into(),
        Value::Bytes(it) => it.as_slice().into(),
        Value::List(list) => ciborium::Value::Array(list.iter().map(ciborium_of).collect()),
        Value::Map(map) => ciborium::Value::Map(
            map.iter()
                .map(|(k, v)| (k.as_str().into(), ciborium_of(v)))
                .collect(),
        ),
    }
}

/// As `ciborium_of`, from what ciborium read; `None` where it is not of the data model.
fn from_ciborium(value: &ciborium::Value) -> Option<Value> {
    Some(match value {
        ciborium::Value::Null => Value::Null,
        ciborium::Value::Bool(it) => (*it).into(),
        ciborium::Value::Integer(n) => Value::Int(i128::from(*n).try_into().ok()?),
        ciborium::Value::Float(it) => it.is_finite().then_some(*it)?.into(),
        ciborium::Value::Text(it) => it.as_str().into(),
        ciborium::Value::Bytes(it) => it.as_slice().into(),
        ciborium::Value::Array(list) => {
            Value::List(list.iter().map(from_ciborium).collect::<Option<_>>()?)
        }
        ciborium::Value::Map(map) => {
            let pairs = map
                .iter()
                .map(|(k, v)| Some((k.as_text()?.to_owned(), from_ciborium(v)?)));
            let made: std::collections::BTreeMap<_, _> = pairs.collect::<Option<_>>()?;
            (made.len() == map.len()).then_some(Value::Map(made))?
        }
        _ => return None,
    })
}

fn by_ciborium(bytes: &[u8]) -> Option<Vec<Value>> {
    let mut rest = bytes;
    let read: ciborium::Value = ciborium::from_reader(&mut rest).ok()?;
    match from_ciborium(&read)? {
        Value::List(list) if rest.is_empty() => Some(list),
        _ => None,
    }
}

/// What serde_json reads, in our terms, where it has no escapes of ours.
fn from_serde_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(it) => (*it).into(),
        serde_json::Value::Number(n) => match (n.as_u64(), n.as_i64()) {
            (Some(n), _) => n.into(),
            (_, Some(n)) => n.into(),
            _ => n.as_f64().unwrap().into(),
        },
        serde_json::Value::String(it) => it.as_str().into(),
        serde_json::Value::Array(list) => list.iter().map(from_serde_json).collect(),
        serde_json::Value::Object(map) => map
            .iter()
            .map(|(k, v)| (k.clone(), from_serde_json(v)))
            .collect(),
    }
}

// P7
#[test]
fn the_built_in_formats_conform() {
    conformance::check(&Format::cbor()).unwrap();
    conformance::check(&Format::json()).unwrap();
}

proptest! {
    // P7
    #[test]
    fn any_message_survives_every_format(message in message()) {
        for format in FORMATS {
            let bytes = encode(&format, &message);
            prop_assert_eq!(exact(&decode(&format, &bytes).unwrap()), exact(&message));
            let as_sent = Message::encode_args(&Raw(message.clone()), &Limits::default()).unwrap();
            let bytes = as_sent.in_format(&format, &Limits::default()).unwrap();
            for other in FORMATS {
                let received = Message::from_wire(bytes.clone(), format.clone());
                let passed_on = received.in_format(&other, &Limits::default()).unwrap();
                prop_assert_eq!(&passed_on[..], &encode(&other, &message)[..]);
            }
        }
    }

    // P7
    #[test]
    fn a_value_is_what_it_prints_and_what_serde_makes_of_it(value in value()) {
        let printed = value.to_string();
        prop_assert_eq!(printed.parse::<Value>().unwrap().to_string(), printed.clone());
        prop_assert_eq!(to_value(&value).unwrap().to_string(), printed.clone());
        prop_assert_eq!(from_value::<Value>(&value).unwrap().to_string(), printed);
    }

    // P7
    #[test]
    fn no_cut_of_a_message_is_a_message(message in message()) {
        for format in FORMATS {
            let bytes = encode(&format, &message);
            for cut in 0..bytes.len() {
                let cut = &bytes[..cut];
                decode(&format, cut).unwrap_err();
                let cut = Message::from_wire(cut.to_vec().into(), format.clone());
                cut.decode::<serde::de::IgnoredAny>(&Limits::default()).unwrap_err();
            }
        }
    }

    // P7
    #[test]
    fn ciborium_reads_and_writes_the_same(message in message()) {
        let ours = encode(&Format::cbor(), &message);
        prop_assert_eq!(exact(&by_ciborium(&ours).unwrap()), exact(&message));
        let theirs = ciborium::Value::Array(message.iter().map(ciborium_of).collect());
        let mut bytes = Vec::new();
        ciborium::into_writer(&theirs, &mut bytes).unwrap();
        prop_assert_eq!(bytes, ours);
    }

    // P7
    #[test]
    fn what_cbor_accepts_of_hostile_bytes_ciborium_reads_alike(bytes in damaged(Format::cbor())) {
        if let Ok(message) = decode(&Format::cbor(), &bytes) {
            prop_assert_eq!(exact(&by_ciborium(&bytes).unwrap()), exact(&message));
            let again = encode(&Format::cbor(), &message);
            prop_assert_eq!(exact(&decode(&Format::cbor(), &again).unwrap()), exact(&message));
        }
        // Whatever the bytes are, the typed path and the path over values agree.
        let message = Message::from_wire(bytes.clone().into(), Format::cbor());
        let limits = Limits::default();
        prop_assert_eq!(message.check(&limits).is_ok(), decode(&Format::cbor(), &bytes).is_ok());
        prop_assert_eq!(message.values(&limits).ok(), decode(&Format::cbor(), &bytes).ok());
        let _ = (message.tag(&limits), message.decode::<(String, Option<u8>)>(&limits));
        let _ = message.with_appended(&[Value::Null], &limits);
    }

    // P7
    #[test]
    fn what_json_accepts_of_hostile_text_serde_json_accepts(bytes in damaged(Format::json())) {
        if let Ok(message) = decode(&Format::json(), &bytes) {
            serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
            let again = encode(&Format::json(), &message);
            prop_assert_eq!(exact(&decode(&Format::json(), &again).unwrap()), exact(&message));
        }
        let message = Message::from_wire(bytes.into(), Format::json());
        let limits = Limits::default();
        if let Ok(values) = message.values(&limits) {
            let tag = message.tag(&limits).unwrap();
            prop_assert_eq!(tag.as_deref(), values.first().and_then(Value::as_str));
        }
    }

    // P7
    #[test]
    fn json_reads_what_serde_json_writes(message in message()) {
        let json = message.iter().map(plain).collect::<serde_json::Value>();
        for text in [json.to_string(), serde_json::to_string_pretty(&json).unwrap()] {
            let ours = decode(&Format::json(), text.as_bytes()).unwrap();
            let typed: Raw = Message::from_wire(text.clone().into(), Format::json()).decode(&Limits {
                message_bytes_max: 100_000_000, ..Limits::default()
            }).unwrap();
            prop_assert_eq!(exact(&typed.0), exact(&ours));
            let theirs = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(exact(&[Value::List(ours)]), exact(&[from_serde_json(&theirs)]));
        }
    }

    // P7
    #[test]
    fn bytes_of_no_meaning_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        for format in FORMATS {
            if let Ok(message) = decode(&format, &bytes) {
                prop_assert_eq!(decode(&format, &encode(&format, &message)).unwrap(), message);
            }
            let _ = Message::from_wire(bytes.clone().into(), format).tag(&Limits::default());
        }
    }

    // P7
    #[test]
    fn floats_keep_every_bit_in_every_width(bits in any::<u64>(), short in any::<u16>()) {
        for float in [f64::from_bits(bits), f64::from(f32::from_bits(bits as u32)), short.into()] {
            if float.is_finite() {
                for format in FORMATS {
                    let read = decode(&format, &encode(&format, &[float.into()])).unwrap();
                    let Value::Float(read) = read[0] else { panic!("no float") };
                    prop_assert_eq!(read.to_bits(), float.to_bits());
                }
            }
        }
    }
}

/// JSON of a value, without bytes and without keys that are escaped.
fn plain(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(it) => (*it).into(),
        Value::Int(n) => match u64::try_from(*n) {
            Ok(n) => n.into(),
            Err(_) => i64::try_from(*n).unwrap().into(),
        },
        Value::Float(it) => (*it).into(),
        Value::Text(it) => it.as_str().into(),
        Value::Bytes(it) => it.len().into(),
        Value::List(list) => list.iter().map(plain).collect(),
        Value::Map(map) => map
            .iter()
            .map(|(k, v)| (k.replace('$', "S"), plain(v)))
            .collect(),
    }
}

// P7
#[test]
fn every_half_is_read_and_written_as_ciborium_does() {
    for half in 0..=u16::MAX {
        let mut bytes = vec![0x81, 0xf9];
        bytes.extend(half.to_be_bytes());
        let read = decode(&Format::cbor(), &bytes).ok();
        assert_eq!(
            read.as_deref().map(exact),
            by_ciborium(&bytes).as_deref().map(exact)
        );
        if let Some(read) = read {
            assert_eq!(encode(&Format::cbor(), &read), bytes, "the half {half:04x}");
        }
    }
}

/// What is taken of bytes that nobody has checked, by the pass that reads them.
fn read_unchecked<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    Message::from_wire(bytes.to_vec().into(), Format::cbor()).decode(&Limits::default())
}

/// Some of its bytes changed, left out or put in twice.
fn damage(bytes: &mut Vec<u8>, at: usize, what: u8, byte: u8) {
    let at = at % bytes.len().max(1);
    match what % 4 {
        0 if at < bytes.len() => bytes[at] = byte,
        1 => bytes.insert(at, byte),
        2 if at < bytes.len() => drop(bytes.remove(at)),
        _ => bytes.truncate(at),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // P3 P4 P7
    #[test]
    fn bytes_that_are_checked_while_they_are_read_are_refused_as_by_the_scan(
        message in vec(value(), 0..5), at in any::<usize>(), what in 0..5u8, byte in any::<u8>(),
    ) {
        let mut bytes = encode(&Format::cbor(), &message);
        if what < 4 {
            damage(&mut bytes, at, what, byte);
        }
        let scanned = cbor::scan(&bytes, &Limits::default());
        let read = read_unchecked::<Raw>(&bytes);
        prop_assert_eq!(read.is_ok(), scanned.is_ok(), "{:?} {:?}", read, scanned);
        if scanned.is_err() {
            // whatever type is asked for, and however little of the message it looks at
            prop_assert!(read_unchecked::<serde::de::IgnoredAny>(&bytes).is_err());
            prop_assert!(read_unchecked::<(Value, Value)>(&bytes).is_err());
            prop_assert!(read_unchecked::<(u64, String)>(&bytes).is_err());
            prop_assert!(read_unchecked::<(Option<i64>, serde::de::IgnoredAny)>(&bytes).is_err());
            prop_assert!(read_unchecked::<(String, bytes::Bytes, f64)>(&bytes).is_err());
        }
    }

    // P7
    #[test]
    fn json_is_the_same_with_and_without_values_in_between(message in vec(value(), 1..5)) {
        let limits = Limits::default();
        let cbor = Message::encode(&Raw(message.clone()), &limits).unwrap();
        let json = cbor.in_format(&Format::json(), &limits).unwrap();
        let expected = encode(&Format::json(), &message);
        prop_assert_eq!(&json[..], &expected[..]);
        let back = read_json::<Raw>(&json).unwrap();
        prop_assert_eq!(exact(&back.0), exact(&message));
    }

    // P3 P7
    #[test]
    fn json_that_is_written_directly_is_the_same_message_and_within_the_same_limits(
        message in vec(value(), 0..5),
        depth_max in 1..6usize, values_max in 1..60usize, message_bytes_max in 0..300usize,
    ) {
        let wide = Limits::default();
        for limits in [Limits { depth_max, values_max, message_bytes_max, ..wide.clone() }, wide] {
            let raw = Raw(message.clone());
            let cbor = Message::encode(&raw, &limits);
            let direct = (&raw).lend(&Format::json(), &limits, |it| it.into_message());
            let (cbor, direct) = match (cbor, direct) {
                (Ok(cbor), Ok(direct)) => (cbor, direct),
                (cbor, direct) => {
                    prop_assert_eq!(cbor.err(), direct.err());
                    continue;
                }
            };
            prop_assert_eq!(direct.format(), &Format::json());
            prop_assert_eq!(direct.size(), Some(cbor.encoded_len()));
            let read = decode(&Format::json(), direct.bytes()).unwrap();
            prop_assert_eq!(exact(&read), exact(&message));
            prop_assert_eq!(read_json::<Raw>(direct.bytes()).unwrap(), raw);
            let again = direct.to_cbor(&Limits::default()).unwrap();
            prop_assert_eq!(again.bytes(), cbor.bytes());
        }
    }

    // P3 P4 P7
    #[test]
    fn json_that_is_checked_while_it_is_read_is_refused_as_by_the_way_over_values(
        message in vec(value(), 0..5), at in any::<usize>(), what in 0..5u8, byte in any::<u8>(),
        depth_max in 1..6usize, values_max in 1..40usize,
    ) {
        let limits = Limits::default();
        let mut bytes = encode(&Format::json(), &message);
        if what < 4 {
            damage(&mut bytes, at, what, byte);
        }
        let values = decode(&Format::json(), &bytes);
        let read = read_json::<Raw>(&bytes);
        match (&read, &values) {
            (Ok(read), Ok(values)) => prop_assert_eq!(exact(&read.0), exact(values)),
            (Err(_), Err(_)) => {}
            _ => prop_assert!(false, "{read:?} {values:?}"),
        }
        let message = Message::from_wire(bytes.clone().into(), Format::json());
        prop_assert_eq!(message.check(&limits).is_ok(), values.is_ok());
        if let (Ok(values), Ok(Some(tag))) = (&values, message.tag(&limits)) {
            prop_assert_eq!(values.first().and_then(Value::as_str), Some(&*tag));
            prop_assert!(Format::json().is_tagged(&bytes, &tag));
            prop_assert!(!Format::json().is_tagged(&bytes, &(tag.into_owned() + "a")));
        }
        if values.is_err() {
            // whatever type is asked for, and however little of the message it looks at
            prop_assert!(read_json::<serde::de::IgnoredAny>(&bytes).is_err());
            prop_assert!(read_json::<(Value, Value)>(&bytes).is_err());
            prop_assert!(read_json::<(u64, String)>(&bytes).is_err());
            prop_assert!(read_json::<(Option<i64>, serde::de::IgnoredAny)>(&bytes).is_err());
            prop_assert!(read_json::<(String, bytes::Bytes, f64)>(&bytes).is_err());
        }
        // with less room
        let limits = Limits { depth_max, values_max, ..limits };
        let values = Format::json().decode(&bytes, &limits);
        for read in [message.decode::<Raw>(&limits).map(drop), message.decode::<serde::de::IgnoredAny>(&limits).map(drop), message.check(&limits)] {
            prop_assert_eq!(read.is_ok(), values.is_ok(), "{:?} {:?}", read, values);
        }
    }

    // P7
    #[test]
    fn long_json_is_read_as_short_json_is(
        message in vec(value(), 1..5), len in 0..9000usize, at in any::<usize>(), what in 0..5u8, byte in any::<u8>(),
    ) {
        let blob: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
        let message = [vec![Value::from("x".repeat(len)), Value::Bytes(blob)], message].concat();
        let mut bytes = encode(&Format::json(), &message);
        if what < 4 {
            damage(&mut bytes, at, what, byte);
        }
        let values = decode(&Format::json(), &bytes);
        let read = read_json::<Raw>(&bytes);
        prop_assert_eq!(read_json::<serde::de::IgnoredAny>(&bytes).is_ok(), values.is_ok());
        match (&read, &values) {
            (Ok(read), Ok(values)) => prop_assert_eq!(exact(&read.0), exact(values)),
            (Err(_), Err(_)) => {}
            _ => prop_assert!(false, "{read:?} {values:?}"),
        }
    }
}

/// What is taken of JSON that nobody has checked, without values in between.
fn read_json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    Message::from_wire(bytes.to_vec().into(), Format::json()).decode(&Limits::default())
}

// P4 P7
#[test]
fn bytes_in_json_end_as_a_map_does() {
    let limits = Limits::default();
    for (json, is_message) in [
        (r#"["a",{"$bytes":"AA=="}]"#, true),
        (r#"["a",{"$bytes":"AA==" } ]"#, true),
        (r#"["a",{"$bytes":"AA=="]"#, false),
        (r#"["a",{"$bytes":"AA==",]"#, false),
        (r#"["a",{"$bytes":"AA==":1}]"#, false),
        (r#"["a",{"$bytes":"AA=="#, false),
        (r#"["a",{"$bytes":"AA"}]"#, false),
        (r#"["a",{"$bytes":"AA==","b":1}]"#, true),
    ] {
        let message = Message::from_wire(json.as_bytes().into(), Format::json());
        let read = message.decode::<Raw>(&limits);
        assert_eq!(read.is_ok(), is_message, "{json}: {read:?}");
        assert_eq!(decode(&Format::json(), json.as_bytes()).is_ok(), is_message);
    }
}

/// What is wrong with a length is seen without waiting for, or reserving, what it claims.
// P7
#[test]
fn lengths_that_lie_are_refused() {
    for major in [2u8, 3, 4, 5] {
        for info in 24..=27u8 {
            let size = 1 << (info - 24);
            for lie in [u64::MAX, 1 << 62, 1 << 40, 1 << 31, 1 << 20, 200] {
                let lie = lie.to_be_bytes();
                let mut bytes = vec![0x82, 0x61, b'a', major << 5 | info];
                bytes.extend(&lie[8 - size..]);
                if lie[8 - size..].iter().all(|b| *b == 0) {
                    continue; // the lie does not fit into so few bytes
                }
                bytes.extend(b"\x61a\x61b");
                decode(&Format::cbor(), &bytes).unwrap_err();
                // The reader alone, which relies on the scan, does not break either.
                let mut reader = cbor::Reader::new(&bytes);
                Vec::<Value>::deserialize(&mut reader).unwrap_err();
                let mut reader = cbor::Reader::new(&bytes);
                while reader.skip().is_ok() {}
            }
        }
    }
}

fn nested(depth: usize) -> Value {
    let step = |value, n: usize| match n % 2 {
        0 => Value::from([value]),
        _ => Value::from_iter([("k", value)]),
    };
    (1..depth).fold(Value::Null, step)
}

// P3 P7
#[test]
fn depth_and_count_and_size_are_bounded_alike_when_sent_and_received() {
    let wide = Limits {
        depth_max: usize::MAX,
        values_max: usize::MAX,
        ..Limits::default()
    };
    let sent = |value: &Value, limits: &Limits| Message::encode(&(value,), limits);
    let check = |value: &Value, limits: &Limits, good: bool| {
        assert_eq!(sent(value, limits).is_ok(), good, "sent with {limits:?}");
        for format in FORMATS {
            let message = sent(value, &wide).unwrap();
            let bytes = message.in_format(&format, &wide).unwrap();
            let message = Message::from_wire(bytes, format);
            assert_eq!(message.check(limits).is_ok(), good);
            assert_eq!(message.values(limits).is_ok(), good);
            let passed_on = message.in_format(&Format::json(), limits);
            assert!(good == passed_on.is_ok() || *message.format() == Format::json());
        }
    };
    for max in [2, 3, 64, DEPTH_CEILING - 1, DEPTH_CEILING] {
        for depth in [max - 1, max, max + 1] {
            if depth <= DEPTH_CEILING {
                let limits = Limits {
                    depth_max: max,
                    ..Limits::default()
                };
                check(&nested(depth), &limits, depth <= max);
            }
        }
    }
    sent(&nested(DEPTH_CEILING + 1), &wide).unwrap_err();
    for format in [Format::cbor(), Format::json()] {
        format
            .encode(&[nested(DEPTH_CEILING + 1)], &mut Vec::new())
            .unwrap_err();
    }
    let (mut json, mut cbor) = (b"[".repeat(5_000_000), b"\x81".repeat(5_000_000));
    json.extend(b"]".repeat(5_000_000));
    cbor.push(0xf6);
    for (bytes, format) in [(json, Format::json()), (cbor, Format::cbor())] {
        let error = format.decode(&bytes, &wide).unwrap_err();
        assert_eq!(error.to_string(), "nested too deep");
    }

    for count in [9, 10, 11] {
        let limits = Limits {
            values_max: 10,
            ..Limits::default()
        };
        // The message and the list in it count as well.
        check(&vec![Value::Null; count - 2].into(), &limits, count <= 10);
        if count % 2 == 0 {
            let pairs = (0..count / 2 - 1).map(|n| (n.to_string(), Value::Null));
            check(&pairs.collect(), &limits, count <= 10);
        }
    }

    for (len, good) in [(95, true), (96, true), (97, false)] {
        let limits = Limits {
            message_bytes_max: 99, // one byte for the list, two for the head of the text
            ..Limits::default()
        };
        let value = Value::from("x".repeat(len));
        assert_eq!(sent(&value, &limits).is_ok(), good);
        assert_eq!(
            Message::encode(&[value.clone()].as_slice(), &limits).is_ok(),
            len < 96
        );
        let bytes = sent(&value, &wide).unwrap().bytes().clone();
        let message = Message::from_wire(bytes, Format::cbor());
        assert_eq!(message.check(&limits).is_ok(), good);
        let split = sent(&"x".repeat(len - 1).into(), &limits).unwrap();
        assert_eq!(split.with_appended(&[Value::Null], &limits).is_ok(), good);
    }
}

// P7
#[test]
fn no_message_is_longer_than_the_expansion_of_its_format() {
    let worst = [
        Value::Null,
        false.into(),
        Vec::<u8>::new().into(),
        "\u{1}".repeat(1000).into(),
        i64::MIN.into(),
        (-24).into(),
        5.960464477539063e-8.into(),
        (-3.1415927410125732).into(),
        f64::MIN_POSITIVE.into(),
        Value::from_iter([("\u{7f}", Value::Null)]),
        Value::from_iter([("$", Value::Null)]),
    ];
    for value in worst {
        for many in [1, 2, 23, 24, 1000] {
            let message = vec![value.clone(); many];
            let cbor = encode(&Format::cbor(), &message).len();
            let json = encode(&Format::json(), &message).len();
            assert!(json <= cbor * Format::json().expansion_max(), "{value}");
        }
    }
}
