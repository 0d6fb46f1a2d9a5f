//! The command `portmesh`.
fn main() {}
