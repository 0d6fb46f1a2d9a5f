//! What the mesh does between two processes over real TLS: `cargo bench --bench mesh`, or some of it:
//! `cargo bench --bench mesh -- rtt bulk --format cbor`. `-- --help` says the rest.
//!
//! The same as `portmesh --json bench`: one JSON object a line.

use std::process::ExitCode;

fn main() -> ExitCode {
    portmesh::cli::bench_main(std::env::args_os().skip(1))
}
