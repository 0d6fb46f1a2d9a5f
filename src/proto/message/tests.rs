//! What becomes what (P7), and what is refused where.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::{collections::BTreeMap, fmt::Debug};

use serde::{Deserialize, Serialize};

use super::*;

fn limits() -> Limits {
    Limits::default()
}

fn encode<T: Serialize>(what: &T) -> Message {
    Message::encode(what, &limits()).unwrap()
}

/// The same message, as it comes over a link of each format.
fn received(message: &Message) -> Vec<Message> {
    [Format::cbor(), Format::json()]
        .map(|format| Message::from_wire(message.in_format(&format, &limits()).unwrap(), format))
        .into()
}

/// `what` is that JSON as a message, and comes back as it was over every format.
fn maps<T: Serialize + for<'de> Deserialize<'de> + PartialEq + Debug>(what: T, json: &str) {
    let message = encode(&what);
    assert_eq!(message.to_string(), json);
    assert_eq!(message.decode::<T>(&limits()).unwrap(), what);
    for message in received(&message) {
        assert_eq!(message.to_string(), json);
        assert_eq!(message.decode::<T>(&limits()).unwrap(), what);
    }
    let direct = directly(&what).unwrap();
    assert_eq!(direct.format(), &Format::json());
    assert_eq!(direct.checked, message.checked, "{json}");
    assert_eq!(direct.to_string(), json);
    assert_eq!(direct.decode::<T>(&limits()).unwrap(), what);
    let again = direct.to_cbor(&limits()).unwrap();
    assert_eq!(again.decode::<T>(&limits()).unwrap(), what);
    // as who receives it finds it
    let came = Message::from_wire(direct.bytes().clone(), Format::json());
    came.check(&limits()).unwrap();
    assert_eq!(came.decode::<T>(&limits()).unwrap(), what);
}

/// Written as JSON with no other form in between, where that can be.
fn directly<T: Serialize>(what: &T) -> Result<Message, EncodeError> {
    what.lend(&Format::json(), &limits(), |it| it.into_message())
}

fn refused<T: Serialize>(what: T, why: &str) {
    let error = Message::encode(&what, &limits()).unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
    assert_eq!(directly(&what).unwrap_err(), error);
}

fn not_decoded<T: for<'de> Deserialize<'de> + Debug>(json: &str, why: &str) {
    let bytes = Bytes::copy_from_slice(json.as_bytes());
    let message = Message::from_wire(bytes, Format::json());
    for message in received(&message) {
        let error = message.decode::<T>(&limits()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

fn decoded<T: for<'de> Deserialize<'de> + PartialEq + Debug>(json: &str, what: T) {
    let bytes = Bytes::copy_from_slice(json.as_bytes());
    let message = Message::from_wire(bytes, Format::json());
    for message in received(&message) {
        assert_eq!(message.decode::<T>(&limits()).unwrap(), what);
    }
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Order {
    Stop,
    Rename(String),
    Move(i32, f64),
    Ping {
        n: u64,
        #[serde(default)]
        note: Option<String>,
    },
    #[serde(rename = "set-colour")]
    Set(Colour),
    List(Vec<u8>),
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Colour {
    Red,
    Grey(u8),
    Mixed { r: u8, g: u8 },
    Pair(u8, u8),
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Point {
    x: f64,
    y: i8,
}
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Pair(u8, String);
#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Wrapped<T>(T);
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Unit;

// P7
#[test]
fn tuples_are_the_list_and_other_types_a_list_of_one() {
    maps(("ping".to_owned(), 1u8), r#"["ping",1]"#);
    maps((1,), "[1]");
    maps([1, 2, 3], "[1,2,3]");
    maps(Pair(1, "a".into()), r#"[1,"a"]"#);
    maps(((1, 2),), "[[1,2]]");
    maps(5u64, "[5]");
    maps(2.0, "[2.0]");
    maps("text".to_owned(), r#"["text"]"#);
    maps('c', r#"["c"]"#);
    maps(true, "[true]");
    maps((), "[null]");
    maps(Unit, "[null]");
    maps(None::<u8>, "[null]");
    maps(Some((1, 2)), "[[1,2]]");
    maps(vec![1, 2], "[[1,2]]");
    maps(Point { x: 1.0, y: -2 }, r#"[{"x":1.0,"y":-2}]"#);
    maps(BTreeMap::from([("k".to_owned(), 1)]), r#"[{"k":1}]"#);
    maps(Value::from([Value::from(1)]), "[[1]]");
    maps(Bytes::from_static(b"\x00\xff"), r#"[{"$bytes":"AP8="}]"#);
    maps(Wrapped(5), "[5]");
    maps(Wrapped((1, 2)), "[1,2]");
    maps(Wrapped(Wrapped(Order::Stop)), r#"["Stop"]"#);
    maps(Raw(vec![1.into(), "b".into()]), r#"[1,"b"]"#);
    maps(Ok::<u8, String>(3), r#"["Ok",3]"#);
}

// P7
#[test]
fn enum_variants_are_their_tag_and_their_fields_in_order() {
    maps(Order::Stop, r#"["Stop"]"#);
    maps(Order::Rename("a".into()), r#"["Rename","a"]"#);
    maps(Order::Move(1, 2.5), r#"["Move",1,2.5]"#);
    maps(Order::List(vec![1, 2]), r#"["List",[1,2]]"#);
    let note = Some("x".to_owned());
    maps(Order::Ping { n: 1, note }, r#"["Ping",1,"x"]"#);
    maps(Order::Ping { n: 1, note: None }, r#"["Ping",1,null]"#);
    decoded(r#"["Ping",7]"#, Order::Ping { n: 7, note: None });
    not_decoded::<Order>(r#"["Ping"]"#, "invalid length 0");
    not_decoded::<Order>(r#"["Ping",1,"a",2]"#, "a list of 4 values, expected 3");
    not_decoded::<Order>(r#"["Ping","a"]"#, "value 0: invalid type: string");
    not_decoded::<Order>(r#"["Stop",1]"#, "a list of 2 values, expected 1");
    not_decoded::<Order>(r#"["Rename"]"#, "a tag without the value");
    not_decoded::<Order>(r#"["Move",1]"#, "invalid length 1");
    not_decoded::<Order>(r#"["Jump"]"#, "unknown variant `Jump`");
    not_decoded::<Order>("[1]", "invalid type: integer `1`");
    not_decoded::<Order>("[]", "an empty list");
}

// P7
#[test]
fn inside_a_message_enums_are_a_name_or_a_map() {
    maps(Order::Set(Colour::Red), r#"["set-colour","Red"]"#);
    maps(("c".to_owned(), Colour::Grey(1)), r#"["c",{"Grey":1}]"#);
    maps((Colour::Pair(1, 2),), r#"[{"Pair":[1,2]}]"#);
    maps(
        (Colour::Mixed { r: 1, g: 2 },),
        r#"[{"Mixed":{"g":2,"r":1}}]"#,
    );
    maps(
        BTreeMap::from([(Wrapped("k".to_owned()), Point { x: 0.5, y: 0 })]).len(),
        "[1]",
    );
    not_decoded::<(Colour,)>(r#"["Grey"]"#, "a variant without its content");
    not_decoded::<(Colour,)>(r#"[{"Red":null}]"#, "content for a variant");
    not_decoded::<(Colour,)>(r#"[{"Grey":1,"Red":2}]"#, "expected a variant");
    not_decoded::<(Point,)>("[[1.0,2]]", "invalid type: sequence");
}

// P4
#[test]
fn lists_that_do_not_fit_the_type_are_refused() {
    not_decoded::<(u8, u8)>("[1]", "invalid length 1");
    not_decoded::<(u8, u8)>("[1,2,3]", "a list of 3 values, expected 2");
    not_decoded::<u8>("[1,2]", "a list of 2 values, expected 1");
    not_decoded::<u8>("[256]", "invalid value: integer `256`");
    not_decoded::<u64>("[1.0]", "invalid type: floating point");
    not_decoded::<(String, Vec<u8>)>(r#"["a",["b"]]"#, "value 1: invalid type");
    not_decoded::<()>("[1]", "invalid type: integer");
    not_decoded::<((u8, u8),)>("[[1,2,3]]", "a list of 3 values, expected 2");
    decoded("[]", ());
    decoded("[1]", 1.0);
}

// P7
#[test]
fn arguments_are_what_follows_the_tag() {
    let message = encode(&("set", Colour::Grey(1)));
    for message in received(&message) {
        assert_eq!(
            message.decode_args::<Colour>(&limits()),
            Ok(Colour::Grey(1))
        );
        assert_eq!(
            message.decode_args::<(Colour,)>(&limits()),
            Ok((Colour::Grey(1),))
        );
        assert!(message.decode_args::<()>(&limits()).is_err());
        assert_eq!(message.decode_args::<Raw>(&limits()).unwrap().0.len(), 1);
    }
    for message in received(&encode(&("stop",))) {
        assert_eq!(message.decode_args::<()>(&limits()), Ok(()));
        assert!(message.decode_args::<u8>(&limits()).is_err());
    }
    for message in received(&encode(&("move", 1, 2.0))) {
        assert_eq!(message.decode_args::<(u8, f32)>(&limits()), Ok((1, 2.0)));
    }
    let none = Message::encode_args(&(), &limits()).unwrap();
    assert_eq!(none.to_string(), "[]");
    assert_eq!(none.decode::<()>(&limits()), Ok(()));
    assert_eq!(none.decode_args::<()>(&limits()), Ok(()));
}

#[derive(Serialize, Deserialize, Debug)]
enum Flat {
    A {
        x: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, u8>,
    },
}
#[derive(Serialize, Deserialize, Debug)]
enum Skips {
    A {
        #[serde(skip_serializing_if = "Option::is_none")]
        x: Option<u8>,
        y: u8,
    },
}
#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum SkipsAlways {
    A {
        #[serde(skip)]
        x: u8,
        y: u8,
    },
}
#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(tag = "type")]
enum Internal {
    Unit,
    Fields { x: u8 },
    Struct(Point),
    Map(BTreeMap<String, u8>),
}
#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
    Text(String),
}
#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Unit,
    Fields { x: u8 },
}
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct FlatStruct {
    x: String,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}
#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum HoldsFlatStruct {
    A(FlatStruct),
}

// P7
#[test]
fn enums_without_positions_are_refused_with_the_reason() {
    let rest = BTreeMap::from([("y".to_owned(), 1)]);
    refused(
        Flat::A {
            x: 1,
            rest: rest.clone(),
        },
        "Flat::A has flattened fields",
    );
    not_decoded::<Flat>(r#"["A",{"x":1,"y":2}]"#, "flattened fields");
    refused(Skips::A { x: None, y: 1 }, "field x: skipped");
    refused(Internal::Unit, "tagged internally");
    refused(Internal::Fields { x: 1 }, "tagged internally");
    refused(
        Internal::Struct(Point { x: 0.0, y: 0 }),
        "tagged internally",
    );
    refused(Internal::Map(rest.clone()), "tagged internally");
    not_decoded::<Internal>(r#"[{"type":"Unit"}]"#, "tagged internally");
    not_decoded::<Untagged>("[1]", "untagged");

    // What only looks like them goes.
    maps(SkipsAlways::A { x: 0, y: 1 }, r#"["A",1]"#);
    maps(Adjacent::Unit, r#"[{"t":"Unit"}]"#);
    maps(Adjacent::Fields { x: 1 }, r#"[{"c":{"x":1},"t":"Fields"}]"#);
    let flat = || FlatStruct {
        x: "a".into(),
        rest: rest.clone(),
    };
    maps(flat(), r#"[{"x":"a","y":1}]"#);
    maps(HoldsFlatStruct::A(flat()), r#"["A",{"x":"a","y":1}]"#);
    maps(
        ("a".to_owned(), Internal::Fields { x: 1 }),
        r#"["a",{"type":"Fields","x":1}]"#,
    );
    maps(("a".to_owned(), Untagged::Text("b".into())), r#"["a","b"]"#);
    let message = encode(&("a", Untagged::Number(1)));
    assert_eq!(
        message.decode_args::<Untagged>(&limits()),
        Ok(Untagged::Number(1))
    );
}

// P3 P7
#[test]
fn what_has_no_place_in_the_data_model_is_refused_by_encode() {
    refused(f64::NAN, "NaN");
    refused(("a", f32::INFINITY), "value 1: NaN and infinities");
    refused(i128::from(u64::MAX) + 1, "outside the range");
    refused(i128::from(i64::MIN) - 1, "outside the range");
    refused(BTreeMap::from([(1, 2)]), "the keys of a map are texts");
    refused(BTreeMap::from([(true, 2)]), "the keys of a map are texts");
    refused(
        BTreeMap::from([(Some([1]), 2)]),
        "the keys of a map are texts",
    );
    refused([0u8; 0], "an empty list");
    refused(Raw(vec![]), "an empty list");
    refused(Reason::normal(), "an empty list");
    refused(Value::Float(f64::NEG_INFINITY), "NaN");
    maps(
        (i64::MIN, u64::MAX, i128::from(u64::MAX)),
        "[-9223372036854775808,18446744073709551615,18446744073709551615]",
    );

    struct Twice;
    impl Serialize for Twice {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.collect_map([("a", 1), ("b", 2), ("a", 3)])
        }
    }
    refused(Twice, "the same key twice");
}

// P7
#[test]
fn lengths_that_a_type_announces_wrongly_do_no_harm() {
    struct Liar(Option<usize>, usize);
    impl Serialize for Liar {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut list = to.serialize_seq(self.0)?;
            for n in 0..self.1 {
                list.serialize_element(&n)?;
            }
            list.end()
        }
    }
    for announced in [
        None,
        Some(0),
        Some(3),
        Some(23),
        Some(24),
        Some(300),
        Some(70_000),
    ] {
        for real in [0, 1, 23, 24, 255, 256, 300] {
            let message = encode(&("a", Liar(announced, real), "b"));
            let (_, list, _) = message
                .decode::<(String, Vec<usize>, String)>(&limits())
                .unwrap();
            assert_eq!(list, (0..real).collect::<Vec<_>>());
            for message in received(&message) {
                message.check(&limits()).unwrap();
            }
        }
    }
}

// P7
#[test]
fn serde_sees_one_is_human_readable() {
    #[derive(PartialEq, Debug)]
    struct Sees(bool);
    impl Serialize for Sees {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            assert!(!to.is_human_readable());
            to.serialize_bool(false)
        }
    }
    impl<'de> Deserialize<'de> for Sees {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            assert!(!from.is_human_readable());
            bool::deserialize(from).map(Sees)
        }
    }
    maps(Sees(false), "[false]");
    maps((1, vec![Some(Sees(false))]), "[1,[false]]");
    maps(
        (1, BTreeMap::from([("k".to_owned(), Sees(false))])),
        r#"[1,{"k":false}]"#,
    );
    maps(Ok::<Sees, ()>(Sees(false)), r#"["Ok",false]"#);
    // Types that look at it: compact on every format.
    maps(std::net::Ipv4Addr::LOCALHOST, "[127,0,0,1]");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 80));
    maps((1, address), r#"[1,{"V4":[[127,0,0,1],80]}]"#);
    assert_eq!(
        crate::proto::codec::from_value::<Sees>(&Value::Bool(true)),
        Ok(Sees(true))
    );
}

// P7
#[test]
fn with_appended_adds_to_the_list() {
    for message in received(&encode(&("ping", 1))) {
        let more = message
            .with_appended(&["node#port".into(), Value::Null], &limits())
            .unwrap();
        assert_eq!(more.to_string(), r#"["ping",1,"node#port",null]"#);
        assert_eq!(more.format(), &Format::cbor());
    }
    let message = encode(&Raw(vec![7.into(); 23]));
    let more = message.with_appended(&[1.into()], &limits()).unwrap();
    assert_eq!(more.values(&limits()).unwrap().len(), 24);
}

// S4
#[test]
fn a_request_is_its_message_with_the_reply_port_appended() {
    let reply: crate::proto::id::PortId = "node#port".parse().unwrap();
    let check = |message: Message, request: Message| {
        let more = message.with_appended(&["node#port".into()], &limits());
        assert_eq!(more.unwrap(), request);
        assert_eq!(request.check(&limits()), Ok(()));
    };
    macro_rules! all {
        ($($what:expr),*) => {$(
            check(encode(&$what), $what.into_request(&reply, &limits()).unwrap());
            let message = encode(&$what);
            check(message.clone(), message.into_request(&reply, &limits()).unwrap());
        )*};
    }
    all!(
        ("ping", 1),
        5,
        "text",
        (),
        vec![7; 300],
        Raw(vec![1.into()])
    );
    // lists whose heads have room for one more, and whose have not
    for len in [1, 22, 23, 24, 255, 256] {
        all!(Raw(vec![7.into(); len]));
    }
    let none = Raw(Vec::new()).into_request(&reply, &limits());
    assert!(
        matches!(none, Err(EncodeError::NotEncodable(_))),
        "{none:?}"
    );
    let tight = Limits {
        message_bytes_max: 12,
        ..limits()
    };
    assert!(5.into_request(&reply, &tight).is_ok());
    let large = ("ping", 1).into_request(&reply, &tight);
    assert!(
        matches!(large, Err(EncodeError::TooLarge { .. })),
        "{large:?}"
    );
    let few = Limits {
        values_max: 3,
        ..limits()
    };
    assert!(1.into_request(&reply, &few).is_ok());
    assert!((1, 2).into_request(&reply, &few).is_err());
}

#[test]
fn tags_are_read_without_the_rest() {
    for (json, tag) in [
        (r#"["ping",1]"#, Some("ping")),
        (r#" [ "p\u0069n\"g" , "#, Some("pin\"g")),
        ("[1,\"a\"]", None),
        ("[]", None),
        ("[[\"a\"]]", None),
        (r#"["ping""#, Some("ping")),
    ] {
        let message = Message::from_wire(Bytes::from_static(json.as_bytes()), Format::json());
        assert_eq!(message.tag(&limits()).unwrap().as_deref(), tag, "{json}");
    }
    for json in ["", "{}", "[\"ping", "\"ping\"", "[\"a\n\"]"] {
        let message = Message::from_wire(Bytes::from_static(json.as_bytes()), Format::json());
        message.tag(&limits()).unwrap_err();
    }
    let message = Message::from_wire(Bytes::from_static(b"\x82\x61a\xff"), Format::cbor());
    assert_eq!(message.tag(&limits()).unwrap().as_deref(), Some("a"));
    message.check(&limits()).unwrap_err();
    for bytes in [
        &b""[..],
        b"\x01",
        b"\x82\x62a",
        b"\x81\x61\xff",
        b"\x9f\x61a\xff",
    ] {
        let message = Message::from_wire(Bytes::from_static(bytes), Format::cbor());
        message.tag(&limits()).unwrap_err();
    }
}

#[test]
fn reasons_are_messages_that_may_be_empty() {
    let node: crate::NodeId = "worker/1".parse().unwrap();
    let reason = Reason::transport_error(&node, "gone\nforged line");
    assert_eq!(
        reason.to_string(),
        "transport_error: worker/1, gone\\nforged line"
    );
    for reason in [reason, Reason::normal(), Reason::mailbox_overflow(7)] {
        let message = Message::encode_args(&reason, &limits()).unwrap();
        for message in received(&message) {
            assert_eq!(message.decode::<Reason>(&limits()).unwrap(), reason);
        }
    }
    let long = Reason::die("ä".repeat(5000));
    assert!(long.0[1].as_str().unwrap().len() < 4200);
}

// P7
#[test]
fn keys_that_begin_with_a_dollar_are_told_from_bytes_whatever_is_said_of_their_number() {
    struct Entries(Option<usize>, Vec<(&'static str, u8)>);
    impl Serialize for Entries {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeMap;
            let mut map = to.serialize_map(self.0)?;
            for (key, value) in &self.1 {
                map.serialize_entry(key, value)?;
            }
            map.end()
        }
    }
    for len in [None, Some(0), Some(1), Some(2)] {
        for keys in [
            vec![],
            vec!["a"],
            vec!["$bytes"],
            vec!["$"],
            vec!["$$x"],
            vec!["$bytes", "b"],
            vec!["\"$"],
        ] {
            let entries = Entries(len, keys.iter().map(|key| (*key, 1)).collect());
            let message = encode(&("t", &entries, 2));
            let direct = directly(&("t", &entries, 2)).unwrap();
            assert_eq!(direct.checked, message.checked);
            assert_eq!(direct.to_string(), message.to_string());
            let values = direct.values(&limits()).unwrap();
            assert_eq!(values, message.values(&limits()).unwrap());
        }
        let twice = Entries(len, vec![("$k", 1), ("$k", 2)]);
        refused(("t", twice), "twice");
    }
}

// P7
#[test]
fn texts_with_escapes_are_lent_to_types_that_borrow_them() {
    #[derive(Debug, PartialEq)]
    struct Owned(String, Vec<u8>);
    impl<'de> Deserialize<'de> for Owned {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let (text, bytes) = <(&str, &[u8])>::deserialize(from)?;
            Ok(Owned(text.to_owned(), bytes.to_owned()))
        }
    }
    let json = r#"["a\tb",{"$bytes":"AP8="}]"#;
    decoded(json, Owned("a\tb".to_owned(), vec![0, 255]));
    let json = r#" [ "\u0053top" ] "#;
    decoded(json, Order::Stop);
    let json = r#"[{"\u0061":{"\u0024\u0062ytes":"\/\u002f//AP8\u003d"}}]"#;
    let map = BTreeMap::from([("a".to_owned(), Bytes::from_static(&[255, 255, 255, 0, 255]))]);
    decoded(json, map);
}

// P7
#[test]
fn a_type_that_passes_over_an_error_gets_no_message_that_is_none() {
    #[derive(Debug)]
    struct Anything;
    impl<'de> Deserialize<'de> for Anything {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let _ = u8::deserialize(from);
            Ok(Anything)
        }
    }
    for json in [
        r#"[tru,1]"#,
        r#"["a]"#,
        r#"[[1,],1]"#,
        r#"[{"a":1,"a":2},1]"#,
        r#"[1e999,1]"#,
        r#"[{"$bytes":"AA"},1]"#,
        r#"["\ud800",1]"#,
        "[1 2]",
        "[1,2",
        "[1,2]]",
    ] {
        let message = Message::from_wire(json.as_bytes().into(), Format::json());
        let read = message.decode::<(Anything, Anything)>(&limits());
        assert!(read.is_err(), "{json}");
        let read = message.decode::<Vec<Anything>>(&limits());
        assert!(read.is_err(), "{json}");
    }
    let good = Message::from_wire(r#"["text",null]"#.into(), Format::json());
    good.decode::<(Anything, Anything)>(&limits()).unwrap();
}
