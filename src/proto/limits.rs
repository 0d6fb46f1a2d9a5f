//! Every bound of the protocol in one place, with its default.

use std::time::Duration;

/// Bounds of one node. All are limits on what others, or the program itself, can make this node hold.
///
/// ```
/// use portmesh::Limits;
/// let limits = Limits { message_bytes_max: 1 << 20, ..Limits::default() };
/// assert!(limits.frame_bytes_max <= 1 << 20);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest frame on the wire, header included, in bytes. Larger messages travel in fragments.
    pub frame_bytes_max: usize,
    /// Largest fragment of a message in bytes: what one message may put before the next of another lane.
    pub fragment_bytes_max: usize,
    /// Largest message in bytes of its CBOR form.
    pub message_bytes_max: usize,
    /// Deepest nesting of lists and maps in a message.
    pub depth_max: usize,
    /// Most values in a message, counting every list, map, key and element.
    pub values_max: usize,
    /// What one link may have under way to this node in bytes: fragments, and messages held for full mailboxes.
    pub window_bytes: usize,
    /// What may wait here to be sent over one link in bytes; for one port no more than is free besides.
    pub outbound_bytes_max: usize,
    /// How many messages may wait here to be sent over one link; for one port no more than is free besides.
    pub outbound_count_max: usize,
    /// Default bound of a mailbox in bytes.
    pub mailbox_bytes_max: usize,
    /// Default bound of a mailbox in messages.
    pub mailbox_count_max: usize,
    /// Ports of this node that one peer may monitor, and losses it may leave unacknowledged.
    pub monitors_per_link_max: usize,
    /// A link on which no byte arrives for this long is lost (M7). From 1 s.
    pub link_timeout: Duration,
    /// A link on which nothing was sent either way for this long, and that nothing needs, is closed where both nodes agree.
    /// Zero: this node closes none.
    pub idle_timeout: Duration,
    /// A link that is asked whether it lives must answer within this time (L2).
    pub probe_timeout: Duration,
    /// A kill waits this long for earlier messages at most (M4).
    pub kill_wait: Duration,
    /// A connection attempt to one address, TCP only, ends after this time.
    pub connect_timeout: Duration,
    /// The TLS handshake ends after this time.
    pub tls_timeout: Duration,
    /// The mesh handshake inside TLS ends after this time.
    pub auth_timeout: Duration,
    /// Connections that have not authenticated yet.
    pub unauthenticated_max: usize,
    /// The same for one IPv4 address or IPv6 /64.
    pub unauthenticated_per_address_max: usize,
    /// Handshakes that compute at the same time.
    pub handshakes_max: usize,
    /// Accepted connections a second, on average.
    pub accepts_per_second: u32,
    /// Accepted connections in one burst.
    pub accepts_burst: u32,
    /// Largest value of the database in bytes of its CBOR form.
    pub db_value_bytes_max: usize,
    /// Longest key of the database in bytes.
    pub db_key_bytes_max: usize,
    /// Families that one node may use in one life.
    pub db_node_families_max: usize,
    /// Entries of the database that one node may own, lately removed ones included.
    pub db_node_entries_max: usize,
    /// Keys and values of the database that one node may own, in bytes.
    pub db_node_bytes_max: usize,
    /// Entries that a global node takes from all nodes attached to it while it holds so many in all.
    pub db_entries_max: usize,
    /// The same for keys and values, in bytes.
    pub db_bytes_max: usize,
    /// Removed entries of one family that a node remembers at least, so that others learn of them one by one.
    pub db_tombstones_max: usize,
    /// What came through a lost home shows for this long without one (R5).
    pub db_grace: Duration,
    /// What a dead node owned is kept out of sight for this long, in case it was only cut off (R8).
    pub db_retention: Duration,
    /// How long a query of the database waits for a home and its answer.
    pub db_query_timeout: Duration,
    /// Families and queries that one attached node may have open at its home.
    pub db_subscriptions_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            frame_bytes_max: 1 << 20,
            fragment_bytes_max: 32 << 10,
            message_bytes_max: 64 << 20,
            depth_max: 64,
            values_max: 100_000,
            window_bytes: 8 << 20,
            outbound_bytes_max: 16 << 20,
            outbound_count_max: 100_000,
            mailbox_bytes_max: 4 << 20,
            mailbox_count_max: 10_000,
            monitors_per_link_max: 1 << 18,
            link_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            probe_timeout: Duration::from_secs(1),
            kill_wait: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            tls_timeout: Duration::from_secs(5),
            auth_timeout: Duration::from_secs(5),
            unauthenticated_max: 256,
            unauthenticated_per_address_max: 8,
            handshakes_max: 16,
            accepts_per_second: 1_000,
            accepts_burst: 1_000,
            db_value_bytes_max: 256 << 10,
            db_key_bytes_max: 1_024,
            db_node_families_max: 1_000,
            db_node_entries_max: 200_000,
            db_node_bytes_max: 64 << 20,
            db_entries_max: 4_000_000,
            db_bytes_max: 1 << 30,
            db_tombstones_max: 1_000,
            db_grace: Duration::from_secs(5),
            db_retention: Duration::from_secs(3_600),
            db_query_timeout: Duration::from_secs(10),
            db_subscriptions_max: 1_024,
        }
    }
}

/// The time as the core is told it: `mono` never goes back, `wall` is what the clock on the wall says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since some moment before the node started.
    pub mono: Duration,
    /// Milliseconds since 1970; may jump either way.
    pub wall_ms: u64,
}
