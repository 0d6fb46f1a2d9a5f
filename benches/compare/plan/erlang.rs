//! Erlang's distribution over TLS.

use super::{
    Aim, BULK_1M, BULK_64K, Bout, CONNECT, FIRE, FLIGHT, HUNG, HUNG_BUSY, KILL_1, KILL_10K, RTT,
    SET, SETS, SMALL, SMALL_8X8, SPAWN_1, SPAWN_64, UNDER_1M, UNDER_64K, WINDOW, figure, line,
    pair,
};

pub(super) const BOUTS: &[Bout] = &[
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
        // with the time that it has by default, and under traffic with the shorter one that was measured
        args: &["hung"],
        once: true,
        pairs: &[
            pair(
                HUNG,
                line(
                    "hung",
                    &[("net_ticktime", "60"), ("sender", "no")],
                    "nodedown_s",
                    1e6,
                ),
                Aim::None,
            ),
            pair(
                HUNG_BUSY,
                line(
                    "hung",
                    &[("net_ticktime", "8"), ("sender", "yes")],
                    "nodedown_s",
                    1e6,
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
