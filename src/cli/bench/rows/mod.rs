//! The rows, one file a kind.

mod bulk;
mod calls;
mod handshake;
mod idle;
mod small;
mod spawn;
mod trips;

use clap::ValueEnum;

use super::{super::exit::Outcome, pair::Stage};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Row {
    Idle,
    Small,
    Rtt,
    Flight,
    Bulk,
    UnderBulk,
    Spawn,
    Handshake,
}

impl Row {
    /// As it is given.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// For people.
    pub(super) fn about(self) -> &'static str {
        match self {
            Row::Idle => "memory of a port that waits for messages",
            Row::Small => {
                "small messages from one task to one port, whose handler takes its own types"
            }
            Row::Rtt => "round trips of a call, one at a time",
            Row::Flight => "calls of 64 tasks to one port",
            Row::Bulk => "messages of 64 KiB and of 1 MiB",
            Row::UnderBulk => {
                "round trips to one port while another on the same link gets bulk, and the bulk's rate then and alone"
            }
            Row::Spawn => "spawn, monitor and the end of a port there: one at a time, and 64",
            Row::Handshake => {
                "whole links a second: TCP, TLS 1.3 with both certificates, the mesh's handshake, an orderly end"
            }
        }
    }

    /// In how many formats it is worth measuring.
    pub(super) fn formats(self) -> usize {
        match self {
            Row::Idle | Row::Handshake => 1,
            _ => 2,
        }
    }

    pub(super) async fn run(self, stage: &Stage, format: &'static str) -> Outcome {
        match self {
            Row::Idle => idle::ports(stage).await,
            Row::Small => small::run(stage, format).await,
            Row::Rtt => trips::run(stage, format).await,
            Row::Flight => calls::run(stage, format).await,
            Row::Bulk => bulk::run(stage, format).await,
            Row::UnderBulk => trips::run_under_bulk(stage, format).await,
            Row::Spawn => spawn::run(stage, format).await,
            Row::Handshake => handshake::run(stage, format).await,
        }
    }
}
