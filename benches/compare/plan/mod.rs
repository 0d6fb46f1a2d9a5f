//! Which figure of which program stands for which row of Portmesh, and what the ratio of the two is to be.

mod erlang;
mod raw;
mod rust;

/// What a number is to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Aim {
    AtLeast(f64),
    AtMost(f64),
    /// It is only told.
    None,
}

/// A figure of Portmesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ours {
    /// Of `portmesh bench`.
    pub(crate) row: &'static str,
    pub(crate) format: &'static str,
    pub(crate) bench: &'static str,
    /// Its name in the line.
    pub(crate) figure: &'static str,
}

/// A figure of another program.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Theirs {
    pub(crate) bench: &'static str,
    /// What else the line must say.
    pub(crate) says: &'static [(&'static str, &'static str)],
    pub(crate) figure: &'static str,
    /// Makes it Portmesh's unit.
    pub(crate) scale: f64,
    /// Makes its CPU that of what Portmesh counts; zero where it tells of none.
    pub(crate) cpu_scale: f64,
}

/// Two figures, and what the first through the second is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pair {
    pub(crate) ours: Ours,
    pub(crate) theirs: Theirs,
    pub(crate) aim: Aim,
}

/// One run of another program, beside which the rows of Portmesh are run that it is compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bout {
    pub(crate) kind: &'static str,
    /// What the program is given besides.
    pub(crate) args: &'static [&'static str],
    /// Not in more rounds: it takes long, and nothing is to be reached.
    pub(crate) once: bool,
    pub(crate) pairs: &'static [Pair],
}

const fn ours(row: &'static str, format: &'static str, bench: &'static str) -> Ours {
    Ours {
        row,
        format,
        bench,
        figure: "value",
    }
}

const fn figure(ours: Ours, figure: &'static str) -> Ours {
    Ours { figure, ..ours }
}

const fn line(
    bench: &'static str,
    says: &'static [(&'static str, &'static str)],
    figure: &'static str,
    scale: f64,
) -> Theirs {
    Theirs {
        bench,
        says,
        figure,
        scale,
        cpu_scale: 0.0,
    }
}

/// A line of the peers in Rust whose value is in Portmesh's unit, and which tells of CPU.
const fn rated(bench: &'static str, mode: &'static [(&'static str, &'static str)]) -> Theirs {
    Theirs {
        cpu_scale: 1.0,
        ..line(bench, mode, "value", 1.0)
    }
}

const fn pair(ours: Ours, theirs: Theirs, aim: Aim) -> Pair {
    Pair { ours, theirs, aim }
}

const SMALL: Ours = ours("small", "cbor", "one_way_small");
const SMALL_JSON: Ours = ours("small", "json", "one_way_small");
const SMALL_8X8: Ours = ours("small_8x8", "cbor", "small_8x8");
const RTT: Ours = ours("rtt", "cbor", "round_trip");
const FLIGHT: Ours = ours("flight", "cbor", "calls_64_in_flight");
const WINDOW: Ours = ours("flight", "cbor", "window_64_in_flight");
const BULK_64K: Ours = ours("bulk", "cbor", "bulk_64k");
const BULK_1M: Ours = ours("bulk", "cbor", "bulk_1024k");
const UNDER_64K: Ours = ours("under_bulk", "cbor", "round_trip_under_bulk_64k");
const UNDER_1M: Ours = ours("under_bulk", "cbor", "round_trip_under_bulk_1024k");
const SPAWN_1: Ours = ours("spawn", "cbor", "spawn_monitor_exit_1_in_flight");
const SPAWN_64: Ours = ours("spawn", "cbor", "spawn_monitor_exit_64_in_flight");
const FIRE: Ours = ours("monitor", "cbor", "monitor_fire");
const KILL_1: Ours = ours("nodekill", "cbor", "node_kill_1_monitors");
const KILL_10K: Ours = ours("nodekill", "cbor", "node_kill_10000_monitors");
const HUNG: Ours = ours("hung", "cbor", "hung_peer");
const HUNG_BUSY: Ours = ours("hung", "cbor", "hung_peer_under_traffic");
const CONNECT: Ours = ours("connect", "cbor", "connect");
const SET: Ours = ours("db", "cbor", "set_visible");
const SETS: Ours = ours("db", "cbor", "sets_10000_visible");
const HANDSHAKE: Ours = ours("handshake", "cbor", "handshakes_1_at_once");

/// The peer that is part of this program: what TLS and the wire allow.
pub(crate) const RAW: &str = "raw";

/// Programs that are known, by the beginning of their names.
pub(crate) const KINDS: [&str; 6] = ["ceiling", "zenoh", "nats", "ractor", "erlang", "portmesh"];

/// All runs, the peer of our own first.
pub(crate) fn bouts() -> impl Iterator<Item = &'static Bout> {
    [raw::BOUTS, rust::BOUTS, erlang::BOUTS]
        .into_iter()
        .flatten()
}

/// What Portmesh is to reach by itself.
pub(crate) const OWN: &[(Ours, Aim)] = &[
    (figure(UNDER_64K, "p99_to_idle"), Aim::AtMost(20.0)),
    (figure(UNDER_64K, "bulk_kept"), Aim::AtLeast(0.7)),
    (figure(UNDER_1M, "p99_to_idle"), Aim::AtMost(20.0)),
    (figure(UNDER_1M, "bulk_kept"), Aim::AtLeast(0.7)),
    (ours("idle", "cbor", "idle_port"), Aim::AtMost(512.0)),
    (
        ours("idle", "cbor", "idle_link"),
        Aim::AtMost(40.0 * 1024.0),
    ),
];

/// All figures of Portmesh that are compared with anything, each once: what another build of it is compared by.
pub(crate) fn all_ours() -> Vec<Ours> {
    let mut all: Vec<Ours> = Vec::new();
    let pairs = bouts().flat_map(|bout| bout.pairs);
    let pairs = pairs.map(|pair| pair.ours);
    for ours in pairs.chain(OWN.iter().map(|(ours, _)| *ours)) {
        if !all.contains(&ours) {
            all.push(ours);
        }
    }
    all
}
