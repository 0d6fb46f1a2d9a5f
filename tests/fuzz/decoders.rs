//! What must hold for any bytes that a decoder is given: shared by the fuzz targets and the test that replays their
//! corpora.

use std::collections::BTreeMap;

use portmesh::{
    Limits,
    proto::{
        codec::Format,
        message::{IntoMessage, Message, Raw, Reason},
        value::Value,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Every way in which a type can ask for its parts.
#[derive(Serialize, Deserialize)]
enum Typed {
    Unit,
    Newtype(Option<Box<Typed>>),
    Tuple(u8, i64, f32),
    Struct {
        text: String,
        #[serde(default)]
        list: Vec<Typed>,
    },
    #[serde(rename = "map")]
    Map(BTreeMap<String, Typed>),
    Char(char, (), [bool; 2]),
}

#[derive(Serialize, Deserialize)]
struct Record {
    id: u64,
    name: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Bytes as a message in CBOR.
pub(crate) fn cbor(bytes: &[u8]) {
    message(bytes, &Format::cbor());
}

/// Bytes as a message in JSON.
pub(crate) fn json(bytes: &[u8]) {
    message(bytes, &Format::json());
}

fn message(bytes: &[u8], format: &Format) {
    let limits = Limits::default();
    let message = Message::from_wire(bytes.to_vec().into(), format.clone());
    let tag = message.tag(&limits);
    let values = format.decode(bytes, &limits);
    assert_eq!(message.check(&limits).is_ok(), values.is_ok());
    typed::<Typed>(&message, values.is_ok());
    typed::<Record>(&message, values.is_ok());
    typed::<(String, Vec<u8>, Reason)>(&message, values.is_ok());
    typed::<Raw>(&message, values.is_ok());
    let Ok(values) = values else {
        return;
    };
    assert_eq!(
        tag.unwrap().as_deref(),
        values.first().and_then(Value::as_str)
    );
    // Printed, so that -0.0 is not 0.0.
    let exact = format!("{values:?}");
    for other in [Format::cbor(), Format::json()] {
        let mut bytes = Vec::new();
        other.encode(&values, &mut bytes).unwrap();
        assert_eq!(
            format!("{:?}", other.decode(&bytes, &limits).unwrap()),
            exact
        );
        let passed_on = message.in_format(&other, &limits).unwrap();
        assert!(other == *format || passed_on == bytes);
    }
    let more = message.with_appended(&[Value::Null], &limits);
    if let Ok(more) = more {
        assert_eq!(more.values(&limits).unwrap().len(), values.len() + 1);
    }
}

/// What was read as that type can be sent again, and is then read as the same.
fn typed<T: Serialize + DeserializeOwned>(message: &Message, valid: bool) {
    let limits = Limits::default();
    let _ = message.decode_args::<T>(&limits);
    if let Ok(read) = message.decode::<T>(&limits) {
        assert!(valid);
        // Not always within the limits: an empty struct of a map can become one with null fields.
        if let Ok(sent) = Message::encode_args(&read, &limits) {
            let again = sent.decode::<T>(&limits).unwrap();
            assert_eq!(Message::encode_args(&again, &limits).unwrap(), sent);
        }
        if let Ok(sent) = (&read).lend(&Format::json(), &limits, |it| it.into_message()) {
            let again = sent.decode::<T>(&limits).unwrap();
            let (read, again) = (
                Message::encode(&read, &limits),
                Message::encode(&again, &limits),
            );
            assert_eq!(again, read);
        }
    }
}
