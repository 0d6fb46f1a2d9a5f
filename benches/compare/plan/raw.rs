//! The peer of our own: mutual TLS and a codec, without a mesh.

use super::{
    Aim, BULK_1M, BULK_64K, Bout, HANDSHAKE, Ours, Pair, RAW, RTT, SMALL, SMALL_JSON, Theirs, pair,
    rated,
};

/// A line of small messages in that format, all of them owned or what a handler gets, in place or handed to a task.
const fn small(ours: Ours, says: &'static [(&'static str, &'static str)], aim: Aim) -> Pair {
    pair(ours, rated("small", says), aim)
}

/// The line of the same name.
const fn same(ours: Ours, aim: Aim) -> Pair {
    let theirs = Theirs {
        figure: ours.figure,
        ..rated(ours.bench, &[])
    };
    pair(ours, theirs, aim)
}

/// Of mutual handshakes with keys of that kind.
const fn handshake(says: &'static [(&'static str, &'static str)], aim: Aim) -> Pair {
    pair(HANDSHAKE, rated(HANDSHAKE.bench, says), aim)
}

pub(super) const BOUTS: &[Bout] = &[
    Bout {
        kind: RAW,
        args: &["small", "--secs", "0.3"],
        once: false,
        pairs: &[
            small(
                SMALL,
                &[("format", "cbor"), ("owned", "all"), ("handed", "batched")],
                Aim::AtLeast(0.8),
            ),
            small(
                SMALL,
                &[("format", "cbor"), ("owned", "all"), ("handed", "in place")],
                Aim::None,
            ),
            small(
                SMALL,
                &[
                    ("format", "cbor"),
                    ("owned", "arguments"),
                    ("handed", "batched"),
                ],
                Aim::None,
            ),
            small(
                SMALL,
                &[
                    ("format", "cbor"),
                    ("owned", "arguments"),
                    ("handed", "in place"),
                ],
                Aim::None,
            ),
            small(
                SMALL_JSON,
                &[("format", "json"), ("owned", "all"), ("handed", "batched")],
                Aim::AtLeast(0.8),
            ),
            small(
                SMALL_JSON,
                &[("format", "json"), ("owned", "all"), ("handed", "in place")],
                Aim::None,
            ),
            small(
                SMALL_JSON,
                &[
                    ("format", "json"),
                    ("owned", "arguments"),
                    ("handed", "batched"),
                ],
                Aim::None,
            ),
            small(
                SMALL_JSON,
                &[
                    ("format", "json"),
                    ("owned", "arguments"),
                    ("handed", "in place"),
                ],
                Aim::None,
            ),
        ],
    },
    Bout {
        kind: RAW,
        args: &["bulk", "--secs", "0.4"],
        once: false,
        pairs: &[
            same(BULK_64K, Aim::AtLeast(0.8)),
            same(BULK_1M, Aim::AtLeast(0.8)),
        ],
    },
    Bout {
        kind: RAW,
        args: &["rtt", "--secs", "0.4"],
        once: false,
        pairs: &[same(RTT, Aim::AtMost(1.25))],
    },
    Bout {
        kind: RAW,
        args: &["handshake", "--secs", "0.4"],
        once: false,
        pairs: &[
            // the key that the CA makes by default, and the other one
            handshake(&[("key", "ed25519")], Aim::AtLeast(0.8)),
            handshake(&[("key", "p256")], Aim::None),
        ],
    },
];
