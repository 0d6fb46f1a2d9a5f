//! Monitors that this node holds on the ports of one peer, and those that watch one local port.
//!
//! `W` is what is to happen when the monitor fires: the runtime's action, a number in the simulation.

use std::collections::BTreeMap;

use super::id::PortName;

/// Names one monitor among those of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub u64);

/// Monitors on the ports of one peer, the watching side.
///
/// A port is asked for over the link once ("on the wire"), however many monitors there are on it. What was asked for
/// stays asked for when the last monitor goes, within a bound, so that calls to the same port do not ask each time.
#[derive(Debug)]
pub struct Watches<W> {
    ports: BTreeMap<PortName, Watched<W>>,
    next: u64,
}

#[derive(Debug)]
struct Watched<W> {
    on_wire: bool,
    entries: Vec<(WatchId, W)>,
}
