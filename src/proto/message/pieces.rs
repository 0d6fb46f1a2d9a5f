//! The bytes of a message that are not all in one place: long ones stay where the program has them.

use std::{ops::Range, sync::OnceLock};

use bytes::Bytes;

use crate::proto::codec::cbor::Kept;

/// See the module.
#[derive(Debug)]
pub(super) struct Pieces {
    /// All but what is kept.
    short: Bytes,
    kept: Vec<Kept>,
    len: usize,
    /// All of it, for who needs it so.
    joined: OnceLock<Bytes>,
}

impl Pieces {
    pub(super) fn new(short: Bytes, kept: Vec<Kept>) -> Self {
        let long = kept.iter().map(|kept| kept.bytes.len()).sum::<usize>();
        Pieces {
            len: short.len() + long,
            short,
            kept,
            joined: OnceLock::new(),
        }
    }
    pub(super) fn len(&self) -> usize {
        self.len
    }
    pub(super) fn short(&self) -> &Bytes {
        &self.short
    }
    pub(super) fn kept(&self) -> &[Kept] {
        &self.kept
    }
    /// What it consists of, in order: parts of `Bytes`.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&Bytes, Range<usize>)> {
        let mut from = 0;
        let front = self.kept.iter().flat_map(move |Kept { at, bytes }| {
            let before = std::mem::replace(&mut from, *at)..*at;
            [(&self.short, before), (bytes, 0..bytes.len())]
        });
        let last = self.kept.last().map_or(0, |kept| kept.at);
        front.chain([(&self.short, last..self.short.len())])
    }
    /// All of it in one place: a copy, made once.
    pub(super) fn joined(&self) -> &Bytes {
        self.joined.get_or_init(|| {
            let mut all = Vec::with_capacity(self.len);
            for (bytes, part) in self.parts() {
                all.extend_from_slice(bytes.get(part).unwrap_or_default());
            }
            all.into()
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize, Serializer};

    use super::super::{DecodeError, EncodeError, IntoMessage, Message};
    use crate::proto::{
        codec::Format,
        limits::Limits,
        link::sink::{FrameSink, Spliced, put_message},
        value::{Blob, Value},
    };
    use bytes::Bytes;

    const LONG: usize = 4 << 10;

    /// The same type over blobs and over bytes that are copied.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Shape<B> {
        Plain(u64, B, String, B),
        Named { first: B, number: i32, rest: Vec<B> },
        Inner(Inner<B>),
    }
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Inner<B> {
        text: String,
        maybe: Option<B>,
        #[serde(serialize_with = "of_unknown_length")]
        many: Vec<B>,
        #[serde(flatten)]
        more: BTreeMap<String, B>,
    }

    fn of_unknown_length<B: Serialize, S: Serializer>(all: &[B], to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut list = to.serialize_seq(None)?;
        for one in all {
            list.serialize_element(one)?;
        }
        list.end()
    }

    impl<B> Shape<B> {
        fn map<C>(self, f: impl Fn(B) -> C) -> Shape<C> {
            match self {
                Shape::Plain(n, a, text, b) => Shape::Plain(n, f(a), text, f(b)),
                Shape::Named {
                    first,
                    number,
                    rest,
                } => Shape::Named {
                    first: f(first),
                    number,
                    rest: rest.into_iter().map(f).collect(),
                },
                Shape::Inner(it) => Shape::Inner(Inner {
                    text: it.text,
                    maybe: it.maybe.map(&f),
                    many: it.many.into_iter().map(&f).collect(),
                    more: it.more.into_iter().map(|(k, v)| (k, f(v))).collect(),
                }),
            }
        }
    }

    fn blob() -> impl Strategy<Value = Blob> {
        let len = prop_oneof![0..100usize, LONG - 3..LONG + 3, LONG..4 * LONG];
        (len, any::<u8>()).prop_map(|(len, from)| {
            let bytes = (0..len).map(|at| (at as u8).wrapping_mul(7).wrapping_add(from));
            Blob::from(bytes.collect::<Vec<u8>>())
        })
    }

    fn shape() -> impl Strategy<Value = Shape<Blob>> {
        let some = || proptest::collection::vec(blob(), 0..30);
        let text = || prop_oneof!["[a-z]{0,10}", Just("x".repeat(2 * LONG))];
        prop_oneof![
            (any::<u64>(), blob(), text(), blob())
                .prop_map(|(n, a, text, b)| Shape::Plain(n, a, text, b)),
            (blob(), any::<i32>(), some()).prop_map(|(first, number, rest)| Shape::Named {
                first,
                number,
                rest
            }),
            (
                text(),
                proptest::option::of(blob()),
                some(),
                proptest::collection::btree_map("[a-e]{1,3}", blob(), 0..3)
            )
                .prop_map(|(text, maybe, many, more)| Shape::Inner(Inner {
                    text,
                    maybe,
                    many,
                    more
                })),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

        // P4, P7
        #[test]
        fn a_message_with_blobs_is_the_same_as_one_whose_bytes_are_copied(
            shape in shape(), cuts in proptest::collection::vec(0..40_000usize, 0..6)
        ) {
            let limits = Limits::default();
            let sent = Message::encode(&shape, &limits).unwrap();
            let plain = Message::encode(&shape.clone().map(|blob| blob.0), &limits).unwrap();
            prop_assert_eq!(sent.checked, plain.checked);
            prop_assert_eq!(sent.encoded_len(), plain.encoded_len());
            prop_assert_eq!(sent.tag(&limits).unwrap(), plain.tag(&limits).unwrap());
            // before anything joins the pieces: as fragments take them
            let mut ends: Vec<usize> = cuts.into_iter().map(|cut| cut.min(sent.encoded_len())).collect();
            ends.sort_unstable();
            ends.push(sent.encoded_len());
            let (mut sink, mut from) = (Spliced::default(), 0);
            for end in ends {
                put_message(&mut sink, &sent, from..end);
                from = end;
                prop_assert_eq!(sink.size(), end);
            }
            prop_assert_eq!(sink.pieces().collect::<Vec<_>>().concat(), &plain.bytes()[..]);
            let more = [Value::from("reply"), Value::from(7)];
            let (longer, other) = (sent.with_appended(&more, &limits).unwrap(), plain.with_appended(&more, &limits).unwrap());
            prop_assert_eq!(longer.encoded_len(), other.encoded_len());
            prop_assert_eq!(longer.bytes(), other.bytes());
            prop_assert_eq!(sent.in_format(&Format::json(), &limits).unwrap(), plain.in_format(&Format::json(), &limits).unwrap());
            // what came
            let came = Message::from_wire(plain.bytes().clone(), Format::cbor());
            prop_assert_eq!(&came.decode::<Shape<Blob>>(&limits).unwrap(), &shape);
            prop_assert_eq!(&sent.decode::<Shape<Blob>>(&limits).unwrap(), &shape);
            let json = Message::from_wire(sent.in_format(&Format::json(), &limits).unwrap(), Format::json());
            prop_assert_eq!(&json.decode::<Shape<Blob>>(&limits).unwrap(), &shape);
            prop_assert_eq!(&sent.decode::<Shape<Bytes>>(&limits).unwrap().map(Blob), &shape);
            let direct = (&shape).lend(&Format::json(), &limits, |it| it.into_message()).unwrap();
            prop_assert_eq!(direct.format(), &Format::json());
            prop_assert_eq!(direct.checked, plain.checked);
            prop_assert_eq!(&direct.decode::<Shape<Blob>>(&limits).unwrap(), &shape);
            prop_assert_eq!(direct.values(&limits).unwrap(), plain.values(&limits).unwrap());
            prop_assert_eq!(sent, plain);
        }
    }

    fn is_within(part: &[u8], whole: &[u8]) -> bool {
        whole.as_ptr_range().contains(&part.as_ptr())
    }

    #[test]
    fn a_long_blob_is_copied_neither_on_its_way_out_nor_in() {
        let limits = Limits::default();
        let blob = Blob::from(vec![7; 1 << 20]);
        for message in [
            Message::encode(&("image", 1, &blob), &limits).unwrap(),
            Message::encode(&blob, &limits).unwrap(),
            Message::encode(&("image", 1, &blob), &limits)
                .unwrap()
                .with_appended(&["reply".into()], &limits)
                .unwrap(),
        ] {
            let shared = message
                .parts()
                .any(|(bytes, _)| bytes.as_ptr() == blob.as_ptr());
            assert!(shared, "{} bytes", message.encoded_len());
        }
        let whole = Message::encode(&("image", 1, &blob), &limits).unwrap();
        let came = Message::from_wire(whole.bytes().clone(), Format::cbor());
        let (_, got): (u8, Blob) = came.decode_args(&limits).unwrap();
        assert_eq!(got, blob);
        assert!(is_within(&got, came.bytes()));
        let alone = Message::encode(&blob, &limits).unwrap();
        let got: Blob = alone.decode(&limits).unwrap();
        assert!(is_within(&got, alone.bytes()));
    }

    // P8
    #[test]
    fn a_blob_keeps_no_message_in_memory_that_is_much_larger() {
        let limits = Limits::default();
        let (short, long) = (Blob::from(vec![1; LONG]), Blob::from(vec![2; 4 * LONG]));
        let message = Message::encode(&(&short, &long), &limits).unwrap();
        let (a, b): (Blob, Blob) = message.decode(&limits).unwrap();
        assert_eq!((&a, &b), (&short, &long));
        assert!(!is_within(&a, message.bytes()));
        assert!(is_within(&b, message.bytes()));
    }

    // P3, P7
    #[test]
    fn blobs_count_for_the_limits() {
        let limits = Limits {
            message_bytes_max: 10 * LONG,
            values_max: 4,
            ..Limits::default()
        };
        let blob = Blob::from(vec![1; LONG]);
        let too_large = |error: EncodeError| matches!(error, EncodeError::TooLarge { bytes, .. } if bytes > 10 * LONG);
        let nine = Blob::from(vec![1; 9 * LONG]);
        assert!(Message::encode(&(&nine, 1, 2), &limits).is_ok());
        assert!(too_large(
            Message::encode(&(&nine, &blob), &limits).unwrap_err()
        ));
        assert!(too_large(
            Message::encode(&Blob::from(vec![1; 10 * LONG]), &limits).unwrap_err()
        ));
        assert!(Message::encode(&(&blob, 1, 2, 3), &limits).is_err());
        let message = Message::encode(&(&nine, 1, 2), &limits).unwrap();
        assert!(message.with_appended(&[Value::from(1)], &limits).is_err());
    }

    struct Twice(Blob);
    impl Serialize for Twice {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.collect_map([("key", &self.0), ("key", &self.0)])
        }
    }

    // P7
    #[test]
    fn a_key_that_is_there_twice_is_found_beside_blobs() {
        let twice = Twice(Blob::from(vec![1; LONG]));
        let refused = Message::encode(&("a", twice), &Limits::default()).unwrap_err();
        assert!(refused.to_string().contains("twice"), "{refused}");
    }

    #[test]
    fn other_formats_of_serde_see_bytes() {
        let blob = Blob::from(vec![9; LONG]);
        let text = serde_json::to_string(&blob).unwrap();
        assert_eq!(text, serde_json::to_string(&blob.0).unwrap());
        assert_eq!(serde_json::from_str::<Blob>(&text).unwrap(), blob);
        let mut cbor = Vec::new();
        ciborium::into_writer(&blob, &mut cbor).unwrap();
        assert_eq!(ciborium::from_reader::<Blob, _>(&cbor[..]).unwrap(), blob);
        let value = crate::to_value(&blob).unwrap();
        assert_eq!(value, Value::Bytes(blob.to_vec()));
        assert_eq!(crate::from_value::<Blob>(&value).unwrap(), blob);
        let wrong = Message::encode(&7, &Limits::default()).unwrap();
        let wrong: Result<Blob, DecodeError> = wrong.decode(&Limits::default());
        assert!(wrong.unwrap_err().to_string().contains("byte"));
    }
}
