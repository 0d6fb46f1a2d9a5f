//! The built-in formats against the suite, against references, and against hostile bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use super::*;

// P7
#[test]
fn the_built_in_formats_conform() {
    conformance::check(&Format::cbor()).unwrap();
    conformance::check(&Format::json()).unwrap();
}
