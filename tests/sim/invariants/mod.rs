//! The contract, line by line, checked on the history of a run. One file an invariant, named after its line.

use std::{collections::BTreeMap, time::Duration};

use portmesh::{NodeId, PortId, proto::message::Reason};

use crate::{
    cluster::Run,
    history::{Entry, No, What},
    net::ConnId,
    plan::HOSTS,
};

mod l1;
mod l2;
mod l5;
mod m2;
mod m4;
mod m6;
mod m7;
mod p1;
mod p2;
mod p6;
mod p8;
mod p9;
mod quiescence;
mod s1;

type Check = fn(&View<'_>) -> Result<(), String>;

/// All of them, by the line they check.
pub const ALL: &[(&str, Check)] = &[
    ("P1", p1::check),
    ("P2", p2::check),
    ("P6", p6::check),
    ("P8", p8::check),
    ("P9", p9::check),
    ("M2", m2::check),
    ("M4", m4::check),
    ("M6", m6::check),
    ("M7", m7::check),
    ("S1", s1::check),
    ("L1", l1::check),
    ("L2", l2::check),
    ("L5", l5::check),
    ("quiescence", quiescence::check),
];

/// The first line that does not hold, and why.
pub fn broken(run: &Run) -> Option<(&'static str, String)> {
    let view = View::new(run);
    ALL.iter()
        .find_map(|(line, check)| Some((*line, check(&view).err()?)))
}

/// Whether that line holds.
pub fn holds(run: &Run, line: &str) -> bool {
    let view = View::new(run);
    let check = ALL.iter().find(|(name, _)| *name == line).unwrap().1;
    check(&view).is_ok()
}

/// Where a port died, and of what.
pub type Death<'a> = (usize, &'a Reason);

/// A node in one of its lives.
pub type Life = (usize, u32);

/// A message, and where in the history what became of it stands.
#[derive(Debug)]
pub struct Sent<'a> {
    pub no: No,
    pub by: Life,
    pub to: &'a PortId,
    pub bytes: usize,
    pub at: Duration,
    pub sent: usize,
    pub handled: Vec<usize>,
}

/// A monitor likewise.
#[derive(Debug)]
pub struct Watched<'a> {
    pub no: No,
    pub by: Life,
    pub to: &'a PortId,
    pub set: usize,
    pub fired: Vec<(usize, &'a Reason)>,
    pub taken: Option<(usize, bool)>,
}

impl Watched<'_> {
    /// Where it ended: fired, or was taken back.
    pub fn ended(&self) -> Option<usize> {
        let fired = self.fired.first().map(|(at, _)| *at);
        let taken = self.taken.map(|(at, _)| at);
        [fired, taken].into_iter().flatten().min()
    }

    /// Whether it was held at that place of the history.
    pub fn held_at(&self, place: usize) -> bool {
        self.set < place && self.ended().is_none_or(|ended| ended > place)
    }
}

/// The history with indexes.
#[derive(Debug)]
pub struct View<'a> {
    pub run: &'a Run,
    pub entries: &'a [Entry],
    /// In the order of sending.
    pub sent: Vec<Sent<'a>>,
    pub watched: BTreeMap<No, Watched<'a>>,
    /// Where a life ended, for those that crashed.
    pub crashed: BTreeMap<Life, usize>,
    /// Where a port was opened and where it died.
    pub ports: BTreeMap<PortId, (usize, Option<Death<'a>>)>,
    /// The lives that had that connection as their link.
    pub ends: BTreeMap<ConnId, Vec<Life>>,
}

impl<'a> View<'a> {
    pub fn new(run: &'a Run) -> Self {
        let entries = &run.history.entries[..];
        let mut view = View {
            run,
            entries,
            sent: Vec::new(),
            watched: BTreeMap::new(),
            crashed: BTreeMap::new(),
            ports: BTreeMap::new(),
            ends: BTreeMap::new(),
        };
        let mut by_no = BTreeMap::new();
        let mut running: BTreeMap<usize, &NodeId> = BTreeMap::new();
        for (place, entry) in entries.iter().enumerate() {
            let by = (entry.host, entry.life);
            match &entry.what {
                What::Up { conn, .. } => view.ends.entry(*conn).or_default().push(by),
                What::Started { node } => {
                    running.insert(entry.host, node);
                }
                What::Crashed => {
                    view.crashed.insert(by, place);
                }
                What::Sent { to, message, bytes } => {
                    by_no.insert(*message, view.sent.len());
                    view.sent.push(Sent {
                        no: *message,
                        by,
                        to,
                        bytes: *bytes,
                        at: entry.at,
                        sent: place,
                        handled: Vec::new(),
                    });
                }
                What::Handled { message, .. } => {
                    if let Some(at) = by_no.get(message) {
                        view.sent[*at].handled.push(place);
                    }
                }
                What::Monitored { to, watch } => {
                    view.watched.insert(
                        *watch,
                        Watched {
                            no: *watch,
                            by,
                            to,
                            set: place,
                            fired: Vec::new(),
                            taken: None,
                        },
                    );
                }
                What::Unmonitored { watch, taken } => {
                    if let Some(watched) = view.watched.get_mut(watch) {
                        watched.taken = Some((place, *taken));
                    }
                }
                What::Fired { watch, reason } => {
                    if let Some(watched) = view.watched.get_mut(watch) {
                        watched.fired.push((place, reason));
                    }
                }
                What::Opened { port } if !port.is_node_port() => {
                    let id = PortId::new(running[&entry.host].clone(), port.clone());
                    view.ports.insert(id, (place, None));
                }
                What::Died { port, reason } => {
                    let id = PortId::new(running[&entry.host].clone(), port.clone());
                    if let Some((_, died)) = view.ports.get_mut(&id) {
                        *died = Some((place, reason));
                    }
                }
                _ => {}
            }
        }
        view
    }

    pub fn at(&self, place: usize) -> Duration {
        self.entries[place].at
    }

    /// The host that runs the node, its second process aside.
    pub fn host(&self, node: &NodeId) -> usize {
        let at = self.run.nodes.iter().position(|name| name == node);
        at.unwrap()
    }

    /// Whether that life went on to the end of the run.
    pub fn survived(&self, life: Life) -> bool {
        !self.crashed.contains_key(&life)
    }

    /// Whether the port lived then: opened before, not died, its node not crashed.
    pub fn lived(&self, id: &PortId, place: usize) -> bool {
        let Some((opened, died)) = self.ports.get(id) else {
            return false;
        };
        let life = (self.entries[*opened].host, self.entries[*opened].life);
        *opened <= place
            && died.is_none_or(|(died, _)| died > place)
            && self.crashed.get(&life).is_none_or(|end| *end > place)
    }

    /// The host at the other end of that life's link to the node.
    pub fn far(&self, by: Life, conn: ConnId, node: &NodeId) -> usize {
        let ends = self.ends.get(&conn).into_iter().flatten();
        let far = ends.filter(|end| **end != by).map(|end| end.0).next();
        far.unwrap_or_else(|| self.host(node))
    }

    /// Whether the port refused a message of that life before, and so dropped what came behind it.
    pub fn refused(&self, to: &PortId, by: Life, before: usize) -> bool {
        let refused = self.entries[..before]
            .iter()
            .filter_map(|entry| match &entry.what {
                What::Refused { port, message } if port == to.name() => Some(*message),
                _ => None,
            });
        let mut senders = refused.filter_map(|no| self.sent.iter().find(|sent| sent.no == no));
        senders.any(|sent| sent.by == by)
    }

    /// Who asked for that port.
    pub fn spawner(&self, id: &PortId) -> Option<Life> {
        self.entries.iter().find_map(|entry| match &entry.what {
            What::SpawnSent { port, .. } if port == id => Some((entry.host, entry.life)),
            _ => None,
        })
    }

    /// Whether that life has a link to the node when the run ends.
    pub fn linked(&self, by: Life, node: &NodeId) -> bool {
        let own = self.entries.iter().rev();
        let mut own = own.filter(|entry| (entry.host, entry.life) == by);
        let last = own.find_map(|entry| match &entry.what {
            What::Up { peer, .. } if peer == node => Some(true),
            What::Down { peer, .. } if peer == node => Some(false),
            _ => None,
        });
        last == Some(true)
    }

    /// Whether a second process had that node ID at some time between.
    pub fn doubled(&self, node: &NodeId, from: usize, to: usize) -> bool {
        self.entries[..to].iter().enumerate().any(|(place, entry)| {
            entry.host == HOSTS
                && matches!(&entry.what, What::Started { node: of } if of == node)
                && self
                    .crashed
                    .get(&(entry.host, entry.life))
                    .is_none_or(|end| *end > from && place < to)
        })
    }

    /// Messages of one life to one port, in the order of sending.
    pub fn lanes(&self) -> BTreeMap<(Life, &'a PortId), Vec<&Sent<'a>>> {
        let mut lanes: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for sent in &self.sent {
            lanes.entry((sent.by, sent.to)).or_default().push(sent);
        }
        lanes
    }

    /// The monitors that a life holds on a port, by the place where they were set.
    pub fn watches_on(&self, life: Life, port: &PortId) -> impl Iterator<Item = &Watched<'a>> {
        let watched = self.watched.values();
        watched.filter(move |watched| watched.by == life && watched.to == port)
    }

    /// The first entry from there on for which `f` gives something.
    pub fn after<T>(&self, place: usize, f: impl Fn(usize, &Entry) -> Option<T>) -> Option<T> {
        let rest = self.entries.iter().enumerate().skip(place);
        rest.into_iter().find_map(|(place, entry)| f(place, entry))
    }

    /// Whether anything within those places satisfies `f`.
    pub fn any(&self, from: usize, to: usize, f: impl Fn(&Entry) -> bool) -> bool {
        self.entries[from.min(to)..to].iter().any(f)
    }
}
