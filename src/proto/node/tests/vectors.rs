//! The golden vectors of all frames, made by an implementation of their own (`tests/vectors/make_frames.py`).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::proto::link::frame::{Frame, peek};

const VECTORS: &str = include_str!("../../../../tests/vectors/frames.json");

fn hex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn check(kind: &str, fields: &Value, bytes: &[u8]) {
    let text = |name: &str| fields[name].as_str().unwrap();
    let long = |name: &str| text(name).parse::<u64>().unwrap();
    let number = |name: &str| fields[name].as_u64().unwrap();
    let data = |name: &str| hex(&fields[name]);
    let (payload, args, reason, rest) = match kind {
        "SEND" => (data("payload"), vec![], vec![], vec![]),
        "SPAWN" => (vec![], data("args"), vec![], vec![]),
        "KILL" | "DOWN" => (vec![], vec![], data("reason"), vec![]),
        "DB" => (data("payload"), vec![], vec![], vec![]),
        "RENEW" => (vec![], vec![], vec![], data("body")),
        "FRAGMENT_FIRST" | "FRAGMENT_MORE" => (vec![], vec![], vec![], data("data")),
        _ => Default::default(),
    };
    let frame = match kind {
        "PING" => Frame::Ping(long("number")),
        "PONG" => Frame::Pong(long("number")),
        "ACTIVATE" => Frame::Activate,
        "CLOSE" => Frame::Close {
            code: number("code") as u16,
            text: text("text"),
        },
        "RENEW" => Frame::Renew(&rest),
        "PROGRESS" => Frame::Progress(long("done")),
        "HOLD" => Frame::Hold {
            port: text("port"),
            bytes: long("bytes"),
        },
        "RESUME" => Frame::Resume {
            port: text("port"),
            bytes: long("bytes"),
        },
        "LOSS" => Frame::Loss {
            port: text("port"),
            count: long("count"),
            text: text("text"),
        },
        "RETIRE" => Frame::Retire,
        "STAY" => Frame::Stay,
        "LOSS_ACK" => Frame::LossAck { port: text("port") },
        "SEND" => Frame::Send {
            watch: number("flags") == 1,
            port: text("port"),
            payload: &payload,
        },
        "SPAWN" => Frame::Spawn {
            name: text("name"),
            function: text("function"),
            args: &args,
        },
        "KILL" => Frame::Kill {
            port: text("port"),
            wait_ms: number("wait_ms") as u32,
            reason: &reason,
        },
        "MONITOR" => Frame::Monitor { port: text("port") },
        "UNMONITOR" => Frame::Unmonitor { port: text("port") },
        "DOWN" => Frame::Down {
            port: text("port"),
            reason: &reason,
        },
        "FRAGMENT_FIRST" => Frame::FragmentFirst {
            lane: number("lane") as u32,
            total: long("total"),
            data: &rest,
        },
        "FRAGMENT_MORE" => Frame::FragmentMore {
            lane: number("lane") as u32,
            data: &rest,
        },
        "DB" => Frame::Db { payload: &payload },
        other => panic!("{other}"),
    };
    let mut written = Vec::new();
    frame.encode(&mut written);
    assert_eq!(written, bytes, "{kind}");
    let inner = peek(bytes, 1 << 20).unwrap().unwrap();
    assert_eq!(inner.len() + 4, bytes.len());
    assert_eq!(Frame::decode(inner).unwrap(), frame);
}

#[test]
fn every_kind_of_frame_is_on_the_wire_what_the_vectors_say() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let mut kinds = BTreeSet::new();
    for vector in vectors["frames"].as_array().unwrap() {
        let bytes = hex(&vector["bytes"]);
        kinds.insert(bytes[4]);
        check(vector["kind"].as_str().unwrap(), &vector["fields"], &bytes);
    }
    assert_eq!(kinds.len(), 21);
}

#[test]
fn what_the_vectors_say_is_no_frame_is_none() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for vector in vectors["refused"].as_array().unwrap() {
        let bytes = hex(&vector["bytes"]);
        let read = peek(&bytes, 1 << 20).and_then(|inner| Frame::decode(inner.unwrap()));
        assert!(read.is_err(), "{}: {read:?}", vector["why"]);
    }
}
