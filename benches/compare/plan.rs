//! Which figure of which program stands for which row of Portmesh, and what the ratio of the two is to be.

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

/// Likewise for large messages, with CPU a message: Portmesh's is that of a kB.
const fn rated_64k(bench: &'static str) -> Theirs {
    Theirs {
        cpu_scale: 1.0 / 65.536,
        ..line(bench, &[], "value", 1.0)
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
const CONNECT: Ours = ours("connect", "cbor", "connect");
const SET: Ours = ours("db", "cbor", "set_visible");
const SETS: Ours = ours("db", "cbor", "sets_10000_visible");
const HANDSHAKE: Ours = ours("handshake", "cbor", "handshakes_1_at_once");

/// Programs that are known, by the beginning of their names.
pub(crate) const KINDS: [&str; 6] = ["ceiling", "zenoh", "nats", "ractor", "erlang", "portmesh"];

pub(crate) const BOUTS: &[Bout] = &[
    Bout {
        kind: "ceiling",
        args: &["--only", "msgs", "--secs", "0.15"],
        once: false,
        pairs: &[
            pair(
                SMALL,
                rated(
                    "msgs",
                    &[("mode", "tls-ring-aes128+ahead64k+batch/cbor4ii_owned")],
                ),
                Aim::AtLeast(0.8),
            ),
            pair(
                SMALL,
                rated(
                    "msgs",
                    &[("mode", "tls-ring-aes128+ahead64k/cbor4ii_owned")],
                ),
                Aim::None,
            ),
            pair(
                SMALL,
                rated(
                    "msgs",
                    &[("mode", "tls-ring-aes256+ahead64k/minicbor_owned")],
                ),
                Aim::None,
            ),
            pair(
                SMALL_JSON,
                rated(
                    "msgs",
                    &[("mode", "tls-ring-aes128+ahead64k/serde_json_owned")],
                ),
                Aim::AtLeast(0.8),
            ),
        ],
    },
    Bout {
        kind: "ceiling",
        args: &["--only", "bulk", "--secs", "0.2"],
        once: false,
        pairs: &[
            pair(
                BULK_64K,
                rated("bulk", &[("mode", "tls-ring-aes128/64k")]),
                Aim::AtLeast(0.8),
            ),
            pair(
                BULK_64K,
                rated("bulk", &[("mode", "tls-ring-aes256/64k")]),
                Aim::AtLeast(0.8),
            ),
            pair(
                BULK_1M,
                rated("bulk", &[("mode", "tls-ring-aes128/1024k")]),
                Aim::AtLeast(0.8),
            ),
            pair(
                BULK_1M,
                rated("bulk", &[("mode", "tls-ring-aes256/1024k")]),
                Aim::AtLeast(0.8),
            ),
        ],
    },
    Bout {
        kind: "ceiling",
        args: &["--only", "rtt", "--secs", "0.3"],
        once: false,
        pairs: &[
            pair(
                RTT,
                line("rtt", &[("mode", "tls-ring-aes128")], "value", 1.0),
                Aim::AtMost(1.25),
            ),
            pair(
                RTT,
                line("rtt", &[("mode", "tls-ring-aes128/mt")], "value", 1.0),
                Aim::None,
            ),
        ],
    },
    Bout {
        kind: "ceiling",
        args: &["--only", "hs", "--secs", "0.4"],
        once: false,
        pairs: &[
            // the key that the CA makes by default, and the other one
            pair(
                HANDSHAKE,
                line(
                    "handshake",
                    &[("mode", "ring-ed25519-x25519-full")],
                    "value",
                    1.0,
                ),
                Aim::AtLeast(0.8),
            ),
            pair(
                HANDSHAKE,
                line(
                    "handshake",
                    &[("mode", "ring-p256-x25519-full")],
                    "value",
                    1.0,
                ),
                Aim::None,
            ),
        ],
    },
    Bout {
        kind: "zenoh",
        args: &["--secs", "0.3"],
        once: false,
        pairs: &[
            pair(SMALL, rated("pub_small", &[]), Aim::AtLeast(2.0)),
            pair(BULK_64K, rated_64k("pub_64k"), Aim::AtLeast(1.5)),
            pair(RTT, line("ping_rtt", &[], "value", 1.0), Aim::AtMost(0.7)),
            pair(FIRE, line("liveliness_stop", &[], "value", 1.0), Aim::None),
        ],
    },
    Bout {
        kind: "nats",
        args: &["--secs", "0.3"],
        once: false,
        pairs: &[
            pair(SMALL, line("pub_small", &[], "value", 1.0), Aim::None),
            pair(BULK_64K, line("pub_64k", &[], "value", 1.0), Aim::None),
            pair(RTT, line("request_rtt", &[], "value", 1.0), Aim::None),
        ],
    },
    Bout {
        kind: "ractor",
        args: &["--secs", "0.3"],
        once: false,
        pairs: &[
            pair(SMALL, rated("cast_small", &[]), Aim::None),
            pair(BULK_64K, rated_64k("cast_64k"), Aim::None),
            pair(RTT, line("call_rtt", &[], "value", 1.0), Aim::None),
            pair(FIRE, line("monitor_stop", &[], "value", 1.0), Aim::None),
        ],
    },
    Bout {
        kind: "erlang",
        args: &["oneway_small"],
        once: false,
        pairs: &[
            pair(
                SMALL,
                line("oneway_small", &[("senders", "1")], "msgs_per_s", 1.0),
                Aim::AtLeast(10.0),
            ),
            pair(
                SMALL_8X8,
                line("oneway_small", &[("senders", "8")], "msgs_per_s", 1.0),
                Aim::None,
            ),
        ],
    },
    Bout {
        kind: "erlang",
        args: &["rtt"],
        once: false,
        pairs: &[pair(RTT, line("rtt", &[], "p50_us", 1.0), Aim::AtMost(0.7))],
    },
    Bout {
        kind: "erlang",
        args: &["rtt_pipelined"],
        once: false,
        pairs: &[
            pair(
                WINDOW,
                line(
                    "rtt_pipelined",
                    &[("variant", "one_process_window")],
                    "calls_per_s",
                    1.0,
                ),
                Aim::AtLeast(3.0),
            ),
            pair(
                FLIGHT,
                line(
                    "rtt_pipelined",
                    &[("variant", "one_process_window")],
                    "calls_per_s",
                    1.0,
                ),
                Aim::AtLeast(3.0),
            ),
            pair(
                FLIGHT,
                line(
                    "rtt_pipelined",
                    &[("variant", "gen_server_call_64_processes")],
                    "calls_per_s",
                    1.0,
                ),
                Aim::AtLeast(3.0),
            ),
        ],
    },
    Bout {
        kind: "erlang",
        args: &["spawn"],
        once: false,
        pairs: &[
            pair(
                figure(SPAWN_64, "per_second"),
                line(
                    "spawn",
                    &[("variant", "spawn_request_monitor")],
                    "ops_per_s",
                    1.0,
                ),
                Aim::AtLeast(3.0),
            ),
            pair(
                figure(SPAWN_1, "per_second"),
                line(
                    "spawn",
                    &[("variant", "spawn_monitor_sequential")],
                    "ops_per_s",
                    1.0,
                ),
                Aim::None,
            ),
        ],
    },
    Bout {
        kind: "erlang",
        args: &["monitor_fire"],
        once: false,
        pairs: &[pair(
            FIRE,
            line("monitor_fire", &[], "p50_us", 1.0),
            Aim::AtMost(1.0),
        )],
    },
    Bout {
        kind: "erlang",
        args: &["pg"],
        once: false,
        pairs: &[
            pair(
                SET,
                line("pg_join_visible", &[], "p50_us", 1.0),
                Aim::AtMost(2.0),
            ),
            pair(
                SETS,
                line("pg_bulk_visible", &[], "all_visible_p50_ms", 1000.0),
                Aim::AtMost(2.0),
            ),
        ],
    },
    Bout {
        kind: "erlang",
        args: &["bulk"],
        once: true,
        pairs: &[
            pair(
                BULK_64K,
                line("bulk", &[("bytes", "65536")], "mb_per_s", 1.0),
                Aim::None,
            ),
            pair(
                BULK_1M,
                line("bulk", &[("bytes", "1048576")], "mb_per_s", 1.0),
                Aim::None,
            ),
        ],
    },
    Bout {
        kind: "erlang",
        args: &["hol"],
        once: true,
        pairs: &[
            pair(
                figure(UNDER_64K, "p99_us"),
                line("hol", &[("load_bytes", "65536")], "p99_us", 1.0),
                Aim::None,
            ),
            pair(
                figure(UNDER_1M, "p99_us"),
                line("hol", &[("load_bytes", "1048576")], "p99_us", 1.0),
                Aim::None,
            ),
        ],
    },
    Bout {
        kind: "erlang",
        args: &["nodekill"],
        once: true,
        pairs: &[
            pair(
                KILL_1,
                line("nodekill", &[("monitors", "1")], "last_DOWN_p50_ms", 1000.0),
                Aim::None,
            ),
            pair(
                KILL_10K,
                line(
                    "nodekill",
                    &[("monitors", "10000")],
                    "last_DOWN_p50_ms",
                    1000.0,
                ),
                Aim::None,
            ),
        ],
    },
    Bout {
        kind: "erlang",
        args: &["connect"],
        once: true,
        pairs: &[pair(
            CONNECT,
            line("connect", &[], "first_reply_p50_ms", 1000.0),
            Aim::None,
        )],
    },
];

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
    let pairs = BOUTS.iter().flat_map(|bout| bout.pairs);
    let pairs = pairs.map(|pair| pair.ours);
    for ours in pairs.chain(OWN.iter().map(|(ours, _)| *ours)) {
        if !all.contains(&ours) {
            all.push(ours);
        }
    }
    all
}
