//! Monitors that this node holds on the ports of one peer: the watching side.
//!
//! `W` is what is to happen when the monitor fires: the runtime's action, a number in the simulation.

use std::collections::{BTreeMap, VecDeque};

use super::id::{PortName, map::NameMap};

/// Names one monitor among those of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub u64);

/// How many ports stay asked for though nothing monitors them any more.
const IDLE_MAX: usize = 1024;

/// Monitors on the ports of one peer, the watching side. A monitor leaves the table exactly once: by [`Self::remove`], or
/// by one of the methods that give it to be fired (M2).
///
/// A port is asked for over the link once ("on the wire"), however many monitors there are on it. What was asked for
/// stays asked for when the last monitor goes, within a bound, so that calls to the same port do not ask each time.
#[derive(Debug)]
pub struct Watches<W> {
    ports: NameMap<Watched<W>>,
    /// Ports that are on the wire for nobody, by when they became so.
    idle: BTreeMap<u64, PortName>,
    next: u64,
    monitors: usize,
}

#[derive(Debug)]
struct Watched<W> {
    is_on_wire: bool,
    /// In order of their IDs. Those of calls go about as they came, the first of them first.
    entries: VecDeque<(WatchId, W)>,
    /// Its place among the idle ones.
    idle: Option<u64>,
}

impl<W> Default for Watches<W> {
    fn default() -> Self {
        Watches {
            ports: NameMap::default(),
            idle: BTreeMap::new(),
            next: 1,
            monitors: 0,
        }
    }
}

impl<W> Watches<W> {
    /// Adds a monitor. `true`: the peer has to be asked, and counts as asked from now on. The node port is never asked
    /// for: it lives as long as the link.
    pub fn add(&mut self, port: &PortName, watch: W) -> (WatchId, bool) {
        let id = WatchId(self.next);
        self.next += 1;
        self.monitors += 1;
        if let Some(watched) = self.ports.get_mut(port) {
            watched.entries.push_back((id, watch));
            if let Some(place) = watched.idle.take() {
                self.idle.remove(&place);
            }
            let ask = !watched.is_on_wire && !port.is_node_port();
            watched.is_on_wire |= ask;
            return (id, ask);
        }
        let ask = !port.is_node_port();
        let watched = Watched {
            is_on_wire: ask,
            entries: VecDeque::from([(id, watch)]),
            idle: None,
        };
        self.ports.insert(port, watched);
        (id, ask)
    }

    /// Takes a monitor out. `None`: it is not there any more.
    pub fn remove(&mut self, port: &PortName, id: WatchId) -> Option<W> {
        let watched = self.ports.get_mut(port)?;
        let at = watched.entries.binary_search_by_key(&id, |entry| entry.0);
        let (_, watch) = watched.entries.remove(at.ok()?)?;
        self.monitors -= 1;
        if watched.entries.is_empty() {
            self.rest(port);
        }
        Some(watch)
    }

    /// The port has lost monitors: where the last one went it is idle, or forgotten.
    fn rest(&mut self, port: &PortName) {
        let Some(watched) = self.ports.get_mut(port) else {
            return;
        };
        if !watched.entries.is_empty() {
            return;
        }
        if !watched.is_on_wire {
            if let Some(place) = watched.idle {
                self.idle.remove(&place);
            }
            self.ports.remove(port);
        } else if watched.idle.is_none() {
            let place = self.next;
            self.next += 1;
            watched.idle = Some(place);
            self.idle.insert(place, port.clone());
        }
    }

    /// The port that has been idle longest, where there are more than may be: it is not asked for any more, and the peer
    /// has to be told.
    pub fn evict(&mut self) -> Option<PortName> {
        if self.idle.len() <= IDLE_MAX {
            return None;
        }
        let (_, port) = self.idle.pop_first()?;
        self.ports.remove(&port);
        Some(port)
    }

    /// The port is dead: all its monitors, to be fired.
    pub fn down(&mut self, port: &PortName) -> Vec<W> {
        if port.is_node_port() {
            return Vec::new();
        }
        let Some(watched) = self.ports.remove(port) else {
            return Vec::new();
        };
        if let Some(place) = watched.idle {
            self.idle.remove(&place);
        }
        self.monitors -= watched.entries.len();
        watched
            .entries
            .into_iter()
            .map(|(_, watch)| watch)
            .collect()
    }

    /// Messages to the port may have been lost: all its monitors, to be fired. It stays asked for.
    pub fn loss(&mut self, port: &PortName) -> Vec<W> {
        let Some(watched) = self.ports.get_mut(port) else {
            return Vec::new();
        };
        let entries = std::mem::take(&mut watched.entries);
        self.monitors -= entries.len();
        self.rest(port);
        entries.into_iter().map(|(_, watch)| watch).collect()
    }

    /// The peer is not asked for that port, whatever was believed: the question never went out, or was answered.
    pub fn forget_ask(&mut self, port: &PortName) {
        if let Some(watched) = self.ports.get_mut(port) {
            watched.is_on_wire = false;
            self.rest(port);
        }
    }

    /// The link is lost: all monitors, to be fired, and nothing is asked for any more.
    pub fn close(&mut self) -> Vec<(PortName, Vec<W>)> {
        self.idle.clear();
        self.monitors = 0;
        self.ports
            .take()
            .map(|(port, watched)| {
                let watches = watched.entries.into_iter().map(|(_, watch)| watch);
                (port, watches.collect())
            })
            .collect()
    }

    /// Nothing is asked for any more that nothing monitors: the ports that were.
    pub fn forget_idle(&mut self) -> Vec<PortName> {
        let ports: Vec<PortName> = std::mem::take(&mut self.idle).into_values().collect();
        for port in &ports {
            self.ports.remove(port);
        }
        ports
    }

    /// Whether there is no monitor.
    pub fn is_empty(&self) -> bool {
        self.monitors == 0
    }
}
