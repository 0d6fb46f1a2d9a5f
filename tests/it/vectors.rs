//! The vectors of `tests/vectors`, which another implementation wrote.

use std::{collections::BTreeMap, fs};

use portmesh::{
    Limits,
    proto::{
        codec::Format,
        message::{Message, Raw},
        value::{Int, Value},
    },
};
use serde_json::Value as Json;

fn rows(file: &str) -> Vec<Json> {
    let path = format!("{}/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap()
}

fn hex(json: &Json) -> Vec<u8> {
    let digits = text(json).as_bytes().chunks(2);
    digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

fn value(json: &Json) -> Value {
    let content = json.get(1).unwrap_or(&Json::Null);
    match text(&json[0]) {
        "null" => Value::Null,
        "bool" => content.as_bool().unwrap().into(),
        "int" => Int::try_from(text(content).parse::<i128>().unwrap())
            .unwrap()
            .into(),
        "float" => f64::from_bits(u64::from_str_radix(text(content), 16).unwrap()).into(),
        "text" => text(content).into(),
        "bytes" => hex(content).into(),
        "list" => values(content).into(),
        "map" => Value::Map(
            content
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| (text(&pair[0]).to_owned(), value(&pair[1])))
                .collect::<BTreeMap<_, _>>(),
        ),
        kind => panic!("no value is of the kind {kind}"),
    }
}

fn values(json: &Json) -> Vec<Value> {
    json.as_array().unwrap().iter().map(value).collect()
}

fn also<'a>(row: &'a Json, key: &str) -> &'a [Json] {
    row.get(key).map_or(&[], |list| list.as_array().unwrap())
}

/// `-0.0` and `0.0` are equal, and not the same.
fn exact(values: &[Value]) -> String {
    format!("{values:?}")
}

// P7
#[test]
fn messages_are_written_and_read_as_in_the_vectors() {
    let limits = Limits::default();
    let rows = rows("messages.json");
    assert!(rows.len() > 70);
    for row in &rows {
        let name = &row["name"];
        let message = values(&row["message"]);
        let typed = Message::encode_args(&Raw(message.clone()), &limits).unwrap();
        assert_eq!(typed.bytes(), &hex(&row["cbor"]), "{name}");

        let cbor = also(row, "cbor_also").iter().map(hex);
        let json = also(row, "json_also").iter().map(|j| text(j).into());
        for (format, written, further) in [
            (Format::cbor(), hex(&row["cbor"]), cbor.collect::<Vec<_>>()),
            (Format::json(), text(&row["json"]).into(), json.collect()),
        ] {
            let mut bytes = Vec::new();
            format.encode(&message, &mut bytes).unwrap();
            assert_eq!(bytes, written, "{name} in {format:?}");
            for bytes in further.into_iter().chain([written]) {
                let read = format.decode(&bytes, &limits).unwrap();
                assert_eq!(exact(&read), exact(&message), "{name} in {format:?}");
            }
        }
    }
}

// P7
#[test]
fn what_the_vectors_say_is_refused_is_refused() {
    let limits = Limits::default();
    let rows = rows("refused.json");
    assert!(rows.len() > 80);
    for row in &rows {
        let (format, bytes) = match row.get("cbor") {
            Some(cbor) => (Format::cbor(), hex(cbor)),
            None => (Format::json(), text(&row["json"]).as_bytes().to_vec()),
        };
        let read = format.decode(&bytes, &limits);
        assert!(read.is_err(), "{} is read as {read:?}", row["name"]);
        let message = Message::from_wire(bytes.into(), format);
        message.decode::<Raw>(&limits).unwrap_err();
        message.check(&limits).unwrap_err();
    }
}
