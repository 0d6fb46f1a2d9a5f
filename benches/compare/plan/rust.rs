//! Programs in Rust that others have written, and a ceiling of the same shape.

use super::{
    Aim, BULK_1M, BULK_64K, Bout, FIRE, HANDSHAKE, RTT, SMALL, SMALL_JSON, Theirs, line, pair,
    rated,
};

/// For large messages, with CPU a message: Portmesh's is that of a kB.
const fn rated_64k(bench: &'static str) -> Theirs {
    Theirs {
        cpu_scale: 1.0 / 65.536,
        ..line(bench, &[], "value", 1.0)
    }
}

pub(super) const BOUTS: &[Bout] = &[
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
];
