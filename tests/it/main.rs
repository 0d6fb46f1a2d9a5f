//! Tests of the whole from outside: the rules of the house, the runtime, TLS, the command, the demo, the examples.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod api_shape;
mod cli;
mod compare;
mod contract;
mod db;
mod demo;
mod examples;
mod formats;
mod fuzz;
mod links;
mod policy;
mod process;
mod recorder;
mod support;
mod tidy;
mod tls;
mod user_format;
mod vectors;
