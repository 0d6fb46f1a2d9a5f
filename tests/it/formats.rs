//! Formats from outside: one that a user adds by the public API alone, the suite, and what the suite must catch.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use portmesh::{
    Limits, PortId,
    proto::{
        codec::{Format, FormatCodec, conformance},
        message::{Message, Raw},
        value::{DecodeError, EncodeError, Value},
    },
};

use crate::support::msgpack::MessagePack;

// P7
#[test]
fn every_format_conforms() {
    for format in [Format::cbor(), Format::json(), Format::new(MessagePack)] {
        conformance::check(&format).unwrap();
    }
}

// P7
#[test]
fn messages_survive_every_format_and_every_change_between_them() {
    let limits = Limits::default();
    let port: PortId = "worker/1#a".parse().unwrap();
    let sent = (
        "ping".to_owned(),
        u64::MAX,
        i64::MIN,
        0.1,
        Some(port),
        Value::Bytes(vec![0, 255]),
        [(); 2],
    );
    let formats = [Format::cbor(), Format::json(), Format::new(MessagePack)];
    let message = Message::encode(&sent, &limits).unwrap();
    for first in &formats {
        for second in &formats {
            let bytes = message.in_format(first, &limits).unwrap();
            let once = Message::from_wire(bytes, first.clone());
            let bytes = once.in_format(second, &limits).unwrap();
            let twice = Message::from_wire(bytes, second.clone());
            assert_eq!(twice.tag(&limits).unwrap().as_deref(), Some("ping"));
            type Sent = (String, u64, i64, f64, Option<PortId>, Value, [(); 2]);
            assert_eq!(twice.decode::<Sent>(&limits).unwrap(), sent);
            assert_eq!(
                twice.in_format(&formats[0], &limits).unwrap(),
                message.bytes()
            );
        }
    }
}

/// Counts how often it decodes.
struct Counting(Arc<AtomicUsize>);

impl FormatCodec for Counting {
    fn name(&self) -> &str {
        "counting"
    }
    fn encode(&self, values: &[Value], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        MessagePack.encode(values, out)
    }
    fn decode(&self, bytes: &[u8], limits: &Limits) -> Result<Vec<Value>, DecodeError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        MessagePack.decode(bytes, limits)
    }
}

// P4
#[test]
fn a_message_is_decoded_once_however_it_is_looked_at() {
    let limits = Limits::default();
    let count = Arc::new(AtomicUsize::new(0));
    let format = Format::new(Counting(count.clone()));
    let message = Message::encode(&("add", 1, 2), &limits).unwrap();
    let bytes = message.in_format(&format, &limits).unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 0, "sending decodes nothing");

    let received = Message::from_wire(bytes, format);
    let kept = received.clone();
    assert_eq!(
        count.load(Ordering::Relaxed),
        0,
        "receiving decodes nothing"
    );
    assert_eq!(received.tag(&limits).unwrap().as_deref(), Some("add"));
    assert_eq!(received.decode_args::<(u8, u8)>(&limits), Ok((1, 2)));
    received.decode_args::<String>(&limits).unwrap_err();
    assert_eq!(received.values(&limits).unwrap().len(), 3);
    received.with_appended(&[Value::Null], &limits).unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 1);
    drop(kept);
}

/// Breaks one promise of a format.
#[derive(Clone, Copy)]
enum Mutant {
    IntegersAsFloats,
    WholeFloatsAsIntegers,
    BytesAsLists,
    NoDepth,
    NoCount,
    TakesWhatFollows,
    TakesCutMessages,
    Overwrites,
    LosesZerosSign,
    LastKeyWins,
    LossyText,
    Bloated,
    Name,
    Impostor,
}

fn every(value: &Value, change: &impl Fn(&Value) -> Option<Value>) -> Value {
    if let Some(changed) = change(value) {
        return changed;
    }
    match value {
        Value::List(list) => Value::List(list.iter().map(|v| every(v, change)).collect()),
        Value::Map(map) => map
            .iter()
            .map(|(k, v)| (k.clone(), every(v, change)))
            .collect(),
        other => other.clone(),
    }
}

impl FormatCodec for Mutant {
    fn name(&self) -> &str {
        match self {
            Mutant::Name => "A Format",
            Mutant::Impostor => "cbor",
            _ => "mutant",
        }
    }
    fn encode(&self, values: &[Value], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if let Mutant::Overwrites = self {
            out.clear();
        }
        if let Mutant::Bloated = self {
            out.extend([b' '; 300]);
        }
        Format::json().encode(values, out)
    }
    fn decode(&self, bytes: &[u8], limits: &Limits) -> Result<Vec<Value>, DecodeError> {
        let mut limits = limits.clone();
        let mut bytes = bytes.to_vec();
        match self {
            Mutant::NoDepth => limits.depth_max = usize::MAX,
            Mutant::NoCount => limits.values_max = usize::MAX,
            Mutant::LossyText => bytes = String::from_utf8_lossy(&bytes).into_owned().into(),
            Mutant::TakesWhatFollows => {
                while bytes.last().is_some_and(|b| *b != b']') {
                    bytes.pop();
                }
            }
            Mutant::TakesCutMessages if Format::json().decode(&bytes, &limits).is_err() => {
                bytes.push(b']');
            }
            Mutant::LastKeyWins => {
                let json: Result<serde_json::Value, _> = serde_json::from_slice(&bytes);
                if let Ok(json) = json {
                    bytes = json.to_string().into();
                }
            }
            _ => {}
        }
        let values = Format::json().decode(&bytes, &limits)?;
        let change = |value: &Value| match (self, value) {
            (Mutant::IntegersAsFloats, Value::Int(n)) => {
                Some(((i128::from(*n) as f64) as i64).into())
            }
            (Mutant::WholeFloatsAsIntegers, Value::Float(f)) if *f == 1.0 => Some(1.into()),
            (Mutant::LosesZerosSign, Value::Float(f)) if *f == 0.0 => Some(0.0.into()),
            (Mutant::BytesAsLists, Value::Bytes(b)) => Some(b.iter().copied().collect()),
            _ => None,
        };
        Ok(values.iter().map(|value| every(value, &change)).collect())
    }
    fn expansion_max(&self) -> usize {
        match self {
            Mutant::Bloated => 100,
            _ => Format::json().expansion_max(),
        }
    }
}

// P7
#[test]
fn the_suite_catches_formats_that_break_a_promise() {
    for (mutant, why) in [
        (Mutant::IntegersAsFloats, "made "),
        (Mutant::WholeFloatsAsIntegers, "made "),
        (Mutant::BytesAsLists, "made "),
        (Mutant::LosesZerosSign, "made "),
        (Mutant::NoDepth, "accepts a depth"),
        (Mutant::NoCount, "accepts a count"),
        (Mutant::TakesWhatFollows, "more after the end"),
        (Mutant::TakesCutMessages, "a message that is cut"),
        (Mutant::Overwrites, "does not append"),
        (Mutant::LastKeyWins, "the same key twice"),
        (Mutant::LossyText, "not UTF-8"),
        (Mutant::Bloated, "expansion_max"),
        (Mutant::Name, "is not 1 to 64 bytes"),
        (Mutant::Impostor, "built in"),
    ] {
        let caught = conformance::check(&Format::new(mutant)).unwrap_err();
        assert!(caught.contains(why), "{why}: {caught}");
    }
}

// P7
#[test]
fn a_list_that_a_format_made_outside_the_data_model_goes_no_further() {
    struct Nan;
    impl FormatCodec for Nan {
        fn name(&self) -> &str {
            "nan"
        }
        fn encode(&self, _: &[Value], _: &mut Vec<u8>) -> Result<(), EncodeError> {
            Ok(())
        }
        fn decode(&self, bytes: &[u8], _: &Limits) -> Result<Vec<Value>, DecodeError> {
            match bytes {
                b"nan" => Ok(vec![Value::List(vec![f64::NAN.into()])]),
                _ => Ok(vec![Value::Null; 200_000]),
            }
        }
    }
    let limits = Limits::default();
    for (bytes, why) in [("nan", "NaN"), ("many", "too many values")] {
        let message = Message::from_wire(bytes.into(), Format::new(Nan));
        let error = message.decode::<Raw>(&limits).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
enum Tree {
    Leaf,
    Node(Vec<Tree>),
    Named { name: Option<Box<Tree>> },
}

// P7
#[test]
fn the_deepest_message_fits_the_stack_of_a_small_thread() {
    let work = || {
        let limits = Limits {
            depth_max: usize::MAX,
            ..Limits::default()
        };
        let mut deepest = Tree::Leaf;
        let mut message = None;
        for n in 0.. {
            // Two levels each: the variant's map, and what is in it.
            deepest = match n % 2 {
                0 => Tree::Node(vec![deepest]),
                _ => Tree::Named {
                    name: Some(Box::new(deepest)),
                },
            };
            match Message::encode(&(&deepest,), &limits) {
                Ok(encoded) => message = Some(encoded),
                Err(error) => {
                    assert!(error.to_string().contains("nested too deep"), "{error}");
                    assert_eq!(n, 63);
                    break;
                }
            }
        }
        let message = message.unwrap();
        for format in [Format::cbor(), Format::json(), Format::new(MessagePack)] {
            let bytes = message.in_format(&format, &limits).unwrap();
            let received = Message::from_wire(bytes, format);
            let (tree,) = received.decode::<(Tree,)>(&limits).unwrap();
            assert_eq!(Message::encode(&(tree,), &limits).unwrap(), message);
            let values = received.values(&limits).unwrap();
            assert_eq!(values, values.clone());
            assert!(format!("{values:?}").len() > 500);
        }
    };
    let small = std::thread::Builder::new().stack_size(1 << 20);
    small.spawn(work).unwrap().join().unwrap();
}
