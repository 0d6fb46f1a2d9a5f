//! The corpora of the fuzz targets, and all their cuts, replayed without a fuzzer.

use std::{fs, path::Path};

#[path = "../fuzz/decoders.rs"]
mod decoders;

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut count = 0;
    for file in fs::read_dir(corpus.join(target)).unwrap() {
        let path = file.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        // Named in what a failing test prints.
        println!("{}", path.display());
        for cut in 0..=bytes.len().min(64) {
            check(&bytes[..cut]);
        }
        check(&bytes);
        count += 1;
    }
    assert!(count >= 10, "the corpus of {target} has {count} files");
}

// P7
#[test]
fn hostile_cbor_that_was_found_does_no_harm() {
    replay("cbor", decoders::cbor);
}

// P7
#[test]
fn hostile_json_that_was_found_does_no_harm() {
    replay("json", decoders::json);
}
