//! Bytes of others as a message in CBOR.
#![no_main]

#[path = "../decoders.rs"]
#[allow(dead_code)] // the other target uses the rest
mod decoders;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| decoders::cbor(bytes));
