//! How much memory hostile messages take: measured by an allocator that counts, so one test alone in its process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use peak_alloc::PeakAlloc;
use portmesh::{
    Limits,
    proto::{codec::Format, message::Message, value::Value},
};
use serde::de::IgnoredAny;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// What `work` needs at most, in bytes, while it runs.
fn peak<T>(work: impl FnOnce() -> T) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let made = work();
    let peak = ALLOCATOR.peak_usage();
    drop(made);
    peak.saturating_sub(before)
}

fn cbor_head(major: u8, len: u64) -> Vec<u8> {
    let mut head = vec![major << 5 | 27];
    head.extend(len.to_be_bytes());
    head
}

fn cbor_list(item: &[u8], count: usize) -> Vec<u8> {
    [cbor_head(4, count as u64), item.repeat(count)].concat()
}

fn json_list(item: &str, count: usize) -> Vec<u8> {
    format!("[{}{item}]", format!("{item},").repeat(count - 1)).into_bytes()
}

/// A name, the bytes, and what they may take in all, in bytes.
fn hostile_cbor() -> Vec<(&'static str, Vec<u8>, usize)> {
    let lying = |major: u8| [cbor_head(4, 2), vec![0x61, b'a'], cbor_head(major, 1 << 40)].concat();
    let key = |n: u32| format!("\x67{:07}", 9_999_999 - n).into_bytes();
    let mut unsorted = [vec![0x81], cbor_head(5, 49_000)].concat();
    (0..49_000).for_each(|n| unsorted.extend([key(n), vec![0]].concat()));
    let mut twice = unsorted.clone();
    let end = twice.len();
    twice[end - 9..end - 1].copy_from_slice(&key(0));
    vec![
        ("a million integers", cbor_list(&[1], 1_000_000), KIB),
        ("a million empty maps", cbor_list(&[0xa0], 1_000_000), KIB),
        (
            "tiny maps over the budget",
            cbor_list(b"\xa1\x61a\x01", 210_000),
            64 * KIB,
        ),
        (
            "tiny maps within the budget",
            cbor_list(b"\xa1\x61a\x01", 33_000),
            24 * MIB,
        ),
        (
            "short texts within the budget",
            cbor_list(b"\x61a", 99_000),
            9 * MIB,
        ),
        (
            "empty lists within the budget",
            cbor_list(&[0x80], 99_000),
            8 * MIB,
        ),
        ("keys in descending order", unsorted, 16 * MIB),
        ("the last key twice", twice, 2 * MIB),
        ("a text of 2^40 bytes", lying(3), KIB),
        ("2^40 bytes", lying(2), KIB),
        ("a list of 2^40 values", lying(4), KIB),
        ("a map of 2^40 entries", lying(5), KIB),
        ("deep lists", b"\x81".repeat(MIB), KIB),
        ("deep maps", b"\xa1\x61k".repeat(MIB), 64 * KIB),
        (
            "bytes over the limit",
            [vec![0x81], cbor_head(2, 65 << 20), vec![0; 65 << 20]].concat(),
            KIB,
        ),
    ]
}

fn hostile_json() -> Vec<(&'static str, Vec<u8>, usize)> {
    let text = |unit: &str| [b"[\"", unit.repeat(MIB / unit.len()).as_bytes(), b"\"]"].concat();
    let keys: String = (0..49_000)
        .rev()
        .map(|n| format!("\"{n:07}\":0,"))
        .collect();
    vec![
        ("a million integers", json_list("1", 1_000_000), 6 * MIB),
        (
            "tiny maps over the budget",
            json_list("{\"a\":1}", 105_000),
            24 * MIB,
        ),
        (
            "tiny maps within the budget",
            json_list("{\"a\":1}", 33_000),
            24 * MIB,
        ),
        ("empty lists", json_list("[]", 400_000), 6 * MIB),
        ("short texts", json_list("\"a\"", 99_000), 9 * MIB),
        (
            "bytes",
            json_list("{\"$bytes\":\"AA==\"}", 33_000),
            24 * MIB,
        ),
        (
            "descending keys",
            format!("[{{{keys}\"x\":0}}]").into_bytes(),
            16 * MIB,
        ),
        ("a text of escapes", text("\\u0001"), 3 * MIB),
        ("a text of single characters", text("\\n"), 3 * MIB),
        ("a plain text", text("x"), 3 * MIB),
        (
            "a long number",
            [b"[", "1".repeat(MIB).as_bytes(), b"]"].concat(),
            KIB,
        ),
        (
            "a long float",
            [b"[0.", "1".repeat(MIB).as_bytes(), b"]"].concat(),
            KIB,
        ),
        ("deep lists", b"[".repeat(MIB), 64 * KIB),
        ("deep maps", b"{\"k\":".repeat(MIB), 64 * KIB),
    ]
}

// P7
#[test]
fn no_message_takes_more_memory_than_its_budget() {
    let limits = Limits::default();
    let mut faults = Vec::new();
    for (format, messages) in [
        (Format::cbor(), hostile_cbor()),
        (Format::json(), hostile_json()),
    ] {
        for (name, bytes, bound) in messages {
            let len = bytes.len();
            let message = Message::from_wire(bytes.into(), format.clone());
            for (kind, took) in [
                ("values", peak(|| message.clone().values(&limits))),
                (
                    "texts",
                    peak(|| message.clone().decode::<Vec<String>>(&limits)),
                ),
                (
                    "a map",
                    peak(|| {
                        message
                            .clone()
                            .decode::<(BTreeMap<String, Value>,)>(&limits)
                    }),
                ),
                (
                    "numbers",
                    peak(|| message.clone().decode::<[Vec<u128>; 1]>(&limits)),
                ),
                (
                    "nothing",
                    peak(|| message.clone().decode::<IgnoredAny>(&limits)),
                ),
                ("other format", peak(|| message.in_format(&format, &limits))),
                ("tag", peak(|| message.tag(&limits).map(|_| ()))),
            ] {
                if took > bound {
                    faults.push(format!(
                        "{format:?}, {name}: {len} bytes as {kind} took {took}, over {bound}"
                    ));
                }
            }
        }
    }

    assert!(faults.is_empty(), "{}", faults.join("\n"));

    // What this protects from, and that the measuring works.
    let tiny = json_list("{\"a\":1}", 105_000);
    let took = peak(|| serde_json::from_slice::<serde_json::Value>(&tiny).unwrap());
    assert!(took > 40 * MIB, "{took}");

    // Messages of the ordinary kind: the tag costs nothing, the rest one copy of what it is.
    let message = Message::encode(&("ping", "x".repeat(MIB)), &limits).unwrap();
    let message = Message::from_wire(message.bytes().clone(), Format::cbor());
    assert_eq!(peak(|| message.tag(&limits).unwrap().is_some()), 0);
    assert_eq!(peak(|| message.check(&limits)), 0);
    let took = peak(|| message.decode::<(String, String)>(&limits).unwrap());
    assert!(took < MIB + KIB, "{took}");
    let sent = (1, vec![Some("a"); 100], Value::Null);
    Message::encode(&sent, &limits).unwrap(); // makes the thread's buffer
    let took = peak(|| Message::encode(&sent, &limits).unwrap());
    assert!(took < 300, "{took}");
}
