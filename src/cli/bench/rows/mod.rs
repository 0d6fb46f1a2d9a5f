//! The rows, one file a kind.

mod bulk;
mod calls;
mod connect;
mod db;
mod deaths;
mod handshake;
mod hung;
mod small;
mod spawn;
mod trips;
mod window;

use clap::ValueEnum;

use super::{super::exit::Outcome, idle::Idle, pair::Stage};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Row {
    Idle,
    Small,
    #[value(name = "small_8x8")]
    Small8x8,
    Rtt,
    Flight,
    Bulk,
    UnderBulk,
    Spawn,
    Monitor,
    Nodekill,
    Hung,
    Connect,
    Db,
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
            Row::Idle => {
                "memory of a port that waits for messages, of a node, and of one end of a link over TLS that was used"
            }
            Row::Small => {
                "small messages from one task to one port, whose handler takes its own types"
            }
            Row::Small8x8 => {
                "small messages from 8 tasks to 8 ports, from the first of all to the last of all"
            }
            Row::Rtt => "round trips of a call, one at a time",
            Row::Flight => {
                "calls of 64 tasks to one port; and 64 requests of one port to another, answered with messages"
            }
            Row::Bulk => "messages of 64 KiB and of 1 MiB",
            Row::UnderBulk => {
                "round trips to one port while another on the same link gets bulk, and the bulk's rate then and alone"
            }
            Row::Spawn => "spawn, monitor and the end of a port there: one at a time, and 64",
            Row::Monitor => {
                "from a kill there until the monitor here fires, and from a kill from here until then"
            }
            Row::Nodekill => {
                "from SIGKILL of the other process until the last of 1 and of 10,000 monitors here has fired"
            }
            Row::Hung => {
                "from SIGSTOP of the other process until a monitor here fires, on a link that is quiet and on one with traffic: twenty seconds, as the link timeout has it"
            }
            Row::Connect => "from dialling a node to its first answer to a call",
            Row::Db => {
                "from a set until a watcher on another node sees it, through one global node; and 10,000 sets until all are seen"
            }
            Row::Handshake => {
                "links a second between nodes that are there, each until its first answer: TCP, TLS 1.3 with both certificates, the mesh's handshake; and whole nodes: start, link, orderly end"
            }
        }
    }

    /// In how many formats it is worth measuring.
    pub(super) fn formats(self) -> usize {
        match self {
            Row::Idle | Row::Nodekill | Row::Hung | Row::Connect | Row::Handshake => 1,
            _ => 2,
        }
    }

    pub(super) async fn run(self, stage: &Stage, format: &'static str) -> Outcome {
        match self {
            Row::Idle => {
                for line in stage.idle(format, Idle::Ports).await? {
                    stage.tell_of_one(&line);
                }
                for line in stage.idle(format, Idle::Links).await? {
                    stage.tell_of_one(&line);
                }
                Ok(())
            }
            Row::Small => small::run(stage, format).await,
            Row::Small8x8 => small::run_8x8(stage, format).await,
            Row::Rtt => trips::run(stage, format).await,
            Row::Flight => {
                calls::run(stage, format).await?;
                window::run(stage, format).await
            }
            Row::Bulk => bulk::run(stage, format).await,
            Row::UnderBulk => trips::run_under_bulk(stage, format).await,
            Row::Spawn => spawn::run(stage, format).await,
            Row::Monitor => deaths::run(stage, format).await,
            Row::Nodekill => deaths::run_node_kill(stage, format).await,
            Row::Hung => hung::run(stage, format).await,
            Row::Connect => connect::run(stage, format).await,
            Row::Db => db::run(stage, format).await,
            Row::Handshake => handshake::run(stage, format).await,
        }
    }
}
