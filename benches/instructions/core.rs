//! What the core does for each message: no runtime, no TLS, no system calls.

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use portmesh::{Blob, Format, Limits, Message, PortName, Reason, proto::id::PortNames};

use serde::{Serialize, de::DeserializeOwned};

use super::rig::{Pair, WRITE_BYTES, next};

/// What a small message carries: the message of the benchmarks of other systems, 64 bytes in all.
pub(crate) const BODY: &str = "the quick brown fox jumps over";
const MANY: u64 = 500;

type Args = (u64, String, String);

fn small(n: u64, limits: &Limits) -> Message {
    Message::encode(&("put", n, "bench", BODY), limits).expect("it is encodable")
}

fn port(n: u64) -> PortName {
    format!("port-{n:05}").parse().expect("a port's name")
}

pub(crate) fn encode_cbor(count: u64) {
    let limits = Limits::default();
    for n in 0..count {
        black_box(small(black_box(n), &limits));
    }
}

pub(crate) fn encode_json(count: u64) {
    let limits = Limits::default();
    for n in 0..count {
        let message = small(black_box(n), &limits);
        black_box(message.in_format(&Format::json(), &limits)).expect("it is encodable");
    }
}

fn decode(count: u64, format: &Format) {
    let limits = Limits::default();
    let bytes: Vec<Bytes> = (0..256)
        .map(|n| small(n, &limits).in_format(format, &limits))
        .collect::<Result<_, _>>()
        .expect("it is encodable");
    for bytes in bytes.iter().cycle().take(count as usize) {
        let message = Message::from_wire(bytes.clone(), format.clone());
        let tag = message.tag(&limits).expect("it has a tag");
        assert_eq!(tag.as_deref(), Some("put"));
        black_box(message.decode_args::<Args>(&limits)).expect("it is of that type");
    }
}

pub(crate) fn decode_cbor(count: u64) {
    decode(count, &Format::cbor());
}

pub(crate) fn decode_json(count: u64) {
    decode(count, &Format::json());
}

/// Messages encoded before, sent to so many ports by turns, and taken by the writer when enough is there for a write.
fn send(count: u64, ports: u64, format: &Format) {
    let mut pair = Pair::new(format);
    let ports: Vec<PortName> = (0..ports).map(port).collect();
    let message = small(7, &pair.a.limits);
    let each = (WRITE_BYTES / (message.encoded_len() + 20)) as u64;
    let (mut wire, now) = (Vec::new(), pair.a.now());
    for (n, port) in (1..=count).zip(ports.iter().cycle()) {
        let wake = pair.a.peer.send(port, message.clone());
        black_box(wake).expect("there is room");
        if n % each == 0 {
            wire.clear();
            pair.a.peer.transmit(&mut wire, WRITE_BYTES, now);
            black_box(&wire);
        }
    }
}

pub(crate) fn send_one_port(count: u64) {
    send(count, 1, &Format::cbor());
}

pub(crate) fn send_many_ports(count: u64) {
    send(count, MANY, &Format::cbor());
}

/// What a write of small messages to so many ports by turns brings, read again and again, each message taken out of its
/// mailbox undecoded.
fn receive(count: u64, ports: u64) {
    let mut pair = Pair::new(&Format::cbor());
    let ports: Vec<PortName> = (0..ports).map(port).collect();
    let boxes: Vec<_> = ports.iter().map(|port| pair.b.ports.open(port)).collect();
    let message = small(7, &pair.a.limits);
    let now = pair.a.now();
    for port in ports.iter().cycle().take(MANY as usize) {
        let sent = pair.a.peer.send(port, message.clone());
        sent.expect("there is room");
    }
    let mut wire = Vec::new();
    pair.a.peer.transmit(&mut wire, WRITE_BYTES, now);
    let mut came = 0;
    let mut back = Vec::new();
    while came < count {
        pair.b.read(&wire);
        for port in &boxes {
            while let Some(message) = next(port) {
                came += 1;
                black_box(message);
            }
        }
        pair.b.touched();
        back.clear();
        pair.b.peer.transmit(&mut back, WRITE_BYTES, now);
    }
    assert_eq!(came, count, "a count is a multiple of {MANY}");
}

pub(crate) fn receive_one_port(count: u64) {
    receive(count, 1);
}

pub(crate) fn receive_many_ports(count: u64) {
    receive(count, MANY);
}

/// A request with a monitor and a reply port, and its answer, one at a time.
pub(crate) fn call(count: u64) {
    let mut pair = Pair::new(&Format::cbor());
    let names = PortNames::new(pair.a.me);
    let server = port(0);
    pair.b.ports.open(&server);
    for n in 0..count {
        let reply = names.next_name();
        let replies = pair.a.ports.open(&reply);
        let request = Message::encode(&("ping", n, reply.as_str()), &pair.a.limits);
        let request = request.expect("it is encodable");
        let called = pair.a.peer.call(&server, request, n);
        let (watch, _) = called.expect("there is room");
        pair.forward();
        for (_, port) in pair.b.touched() {
            while let Some(message) = next(&port) {
                let args = message.decode_args::<(u64, String)>(&pair.b.limits);
                let (n, reply) = args.expect("a request");
                let answer = Message::encode(&(n,), &pair.b.limits).expect("it is encodable");
                let reply = reply.parse().expect("a port's name");
                let sent = pair.b.peer.send(&reply, answer);
                sent.expect("there is room");
            }
        }
        pair.back();
        pair.a.touched();
        let answer = next(&replies).expect("there is an answer");
        let answer: (u64,) = answer.decode(&pair.a.limits).expect("a number");
        assert_eq!(answer.0, n);
        let (taken, _) = pair.a.peer.unmonitor(&server, watch);
        assert_eq!(taken, Some(n));
        pair.a.ports.close(&reply);
    }
}

/// A port is spawned, monitored and killed, and the monitor fires, 50 at a time.
pub(crate) fn spawn_monitor_kill(count: u64) {
    const AT_ONCE: u64 = 50;
    let mut pair = Pair::new(&Format::cbor());
    let names = PortNames::new(pair.a.me);
    let mut fired = 0;
    while fired < count {
        let now = pair.a.now();
        for n in 0..AT_ONCE {
            let port = names.next_name();
            let args = Message::encode_args(&(n,), &pair.a.limits).expect("it is encodable");
            let spawned = pair.a.peer.spawn(&port, "victim", args);
            spawned.expect("there is room");
            pair.a.peer.monitor(&port, n);
            pair.a.peer.kill(&port, &Reason::default(), now);
        }
        fired += AT_ONCE;
        while pair.a.fired < fired {
            pair.forward();
            pair.b.touched();
            pair.back();
            pair.pass(Duration::from_millis(1));
        }
    }
    assert_eq!(pair.a.fired, count, "a count is a multiple of {AT_ONCE}");
}

/// 64 KiB, in fragments, from one core into a mailbox of the other and out of it.
pub(crate) fn large(count: u64) {
    large_of(count, &Bytes::from(vec![0x5a; 64 << 10]));
}

/// The same without copies in the program's own types.
pub(crate) fn large_blob(count: u64) {
    large_of(count, &Blob::from(vec![0x5a; 64 << 10]));
}

fn large_of<B: Serialize + DeserializeOwned>(count: u64, body: &B) {
    let mut pair = Pair::new(&Format::cbor());
    let sink = port(0);
    let mailbox = pair.b.ports.open(&sink);
    for n in 0..count {
        let message = Message::encode(&("blob", n, body), &pair.a.limits);
        let sent = pair.a.peer.send(&sink, message.expect("encodable"));
        sent.expect("there is room");
        pair.forward();
        let message = next(&mailbox).expect("it came");
        let args: Result<(u64, B), _> = message.decode_args(&pair.b.limits);
        black_box(args.expect("as it was sent"));
        pair.b.touched();
        pair.back();
        pair.pass(Duration::from_millis(1));
    }
}
