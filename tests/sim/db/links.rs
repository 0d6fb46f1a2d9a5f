//! How links come up, carry messages, and go down.

use std::{collections::BTreeSet, num::NonZeroU64, time::Duration};

use portmesh::{
    NodeId,
    proto::{
        db::engine::GLOBAL, db::wire::Wire, link::LinkId, message::Message, policy::PeerIdentity,
    },
};

use super::{
    model::Life,
    mutants,
    net::{Conn, ConnId, End, Packet, Way},
    plan::LINK_TIMEOUT,
    races,
    world::{Event, START, World, trusting},
};

const SEED_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// How long a life is remembered when its link is gone.
const MEMORY: Duration = Duration::from_secs(3 * 8);

fn link(conn: ConnId) -> LinkId {
    LinkId(NonZeroU64::new(conn).unwrap())
}

impl World {
    pub fn conn_of(&self, a: usize, b: usize) -> Option<ConnId> {
        let mut all = self.conns.iter();
        all.find(|(_, conn)| conn.is_between(a, b))
            .map(|(id, _)| *id)
    }

    fn is_linked(&self, host: usize, to: usize) -> bool {
        self.conn_of(host, to).is_some_and(|id| {
            let conn = &self.conns[&id];
            conn.state[conn.side(host)] == End::Up
        })
    }

    pub fn dial(&mut self, from: usize, to: usize) {
        let pause = self.ms(20, 200);
        let life = self.hosts[from].life_no;
        self.after(
            pause,
            Event::Dial {
                from,
                to,
                life,
                probed: false,
            },
        );
    }

    /// A node is wanted whose addresses have to be known.
    pub fn want(&mut self, from: usize, node: &NodeId) {
        let to = self.names[node];
        let Some(db) = &self.hosts[from].db else {
            return;
        };
        let known = !db.addresses(node).is_empty() || !db.global_addresses(node).is_empty();
        if known || self.setup.seeds[from].contains(&to) {
            self.dial(from, to);
        } else {
            self.history.count("wanted without an address");
        }
    }

    pub fn try_seeds(&mut self, host: usize, life: u64) {
        if self.hosts[host].life_no != life || self.hosts[host].db.is_none() {
            return;
        }
        let db = self.hosts[host].db.as_ref().unwrap();
        let idle = db.is_global() || db.home().is_none();
        if idle && !self.mutant.gives_up(&self.hosts[host]) {
            for seed in self.setup.seeds[host].clone() {
                if !self.is_linked(host, seed) {
                    self.dial(host, seed);
                } else if !self.hosts[host].seeds_tried.contains(&seed) {
                    self.seed_tried(host, seed, true);
                }
            }
        }
        let pause = self.hosts[host].seed_pause;
        let next = (pause * 2).min(SEED_PAUSES.1);
        self.hosts[host].seed_pause = if idle { next } else { SEED_PAUSES.0 };
        let more = self.ms(0, 300);
        self.after(pause + more, Event::Seeds { host, life });
    }

    fn seed_tried(&mut self, host: usize, seed: usize, answers: bool) {
        let own = &self.setup.seeds[host];
        let count = own.len();
        let now = self.clock(host);
        let name = self.hosts[seed].name.clone();
        let state = &mut self.hosts[host];
        if !self.setup.seeds[host].contains(&seed) || state.db.is_none() || state.hung.is_some() {
            return;
        }
        let db = state.db.as_mut().unwrap();
        if answers && state.seeds_answered.insert(seed) {
            let mut all: BTreeSet<NodeId> = BTreeSet::from([name]);
            for other in &state.seeds_answered {
                all.insert(
                    self.names
                        .iter()
                        .find(|(_, at)| *at == other)
                        .unwrap()
                        .0
                        .clone(),
                );
            }
            db.set_seeds(all, now);
        }
        if state.seeds_tried.insert(seed) && state.seeds_tried.len() == count {
            db.set_seeds_tried(now);
        }
        self.pump(host);
    }

    pub fn has_way(&self, a: usize, b: usize) -> bool {
        let groups = self.groups.as_ref();
        groups.is_none_or(|(_, groups)| groups[a] == groups[b])
    }

    /// A dial has come to something, or to nothing.
    pub fn dialled(&mut self, from: usize, to: usize, life: u64, probed: bool) {
        let caller = &self.hosts[from];
        if caller.life_no != life || caller.db.is_none() || caller.hung.is_some() {
            return;
        }
        let called = &self.hosts[to];
        if called.db.is_none() || called.hung.is_some() || !self.has_way(from, to) {
            return self.seed_tried(from, to, false);
        }
        for (one, other) in [(from, to), (to, from)] {
            if let Some((known, until)) = self.hosts[one].met.get(&other)
                && *known > self.hosts[other].life
                && *until > self.now
            {
                self.history.count("refused: an older life");
                return self.seed_tried(from, to, false);
            }
        }
        if let Some(id) = self.conn_of(from, to) {
            let conn = &self.conns[&id];
            let ends = [from, to].map(|host| conn.state[conn.side(host)]);
            let is_same = conn
                .ends
                .iter()
                .zip(conn.lives)
                .all(|(h, l)| self.hosts[*h].life_no == l);
            let silent = conn
                .ways
                .iter()
                .any(|way| way.silent_since(self.now).is_some());
            if ends[0] == End::Up || conn.is_up() && is_same && !silent {
                return self.seed_tried(from, to, ends[0] == End::Up);
            }
            if !probed {
                let pause = self.ms(100, 1_000);
                self.history.count("a link that is half gone is probed");
                return self.after(
                    pause,
                    Event::Dial {
                        from,
                        to,
                        life,
                        probed: true,
                    },
                );
            }
            for host in [from, to] {
                if let Some(conn) = self.conns.get(&id) {
                    let side = conn.side(host);
                    self.down(id, side, false);
                }
            }
            self.conns.remove(&id);
        }
        self.connect(from, to);
        self.seed_tried(from, to, true);
    }

    pub fn connect(&mut self, a: usize, b: usize) {
        self.next += 1;
        let id = self.next;
        let ends = if self.hosts[a].name < self.hosts[b].name {
            [a, b]
        } else {
            [b, a]
        };
        let lives = ends.map(|host| self.hosts[host].life_no);
        let most = if self.rng.one_in(8) { 400 } else { 50 };
        let ways = [self.ms(1, most), self.ms(1, most)].map(Way::new);
        let state = [End::Pending; 2];
        self.conns.insert(
            id,
            Conn {
                ends,
                lives,
                state,
                ways,
            },
        );
        self.bytes.insert(id, 0);
        self.send(id, 0, Packet::Activate);
        self.up(id, 0);
    }

    fn up(&mut self, id: ConnId, side: usize) {
        let conn = self.conns.get_mut(&id).unwrap();
        let (host, peer) = (conn.ends[side], conn.ends[1 - side]);
        conn.state[side] = End::Up;
        let (life_no, life) = (conn.lives[1 - side], self.hosts[peer].life);
        // it may have died meanwhile, and another life of it begun
        let life = match self.hosts[peer].life_no == life_no {
            true => life,
            false => {
                let mut all = self.lives.iter();
                all.find(|((at, _), no)| (*at, **no) == (peer, life_no))
                    .unwrap()
                    .0
                    .1
            }
        };
        let node = self.hosts[peer].name.clone();
        let features = match self.hosts[peer].is_global {
            true => vec!["db".to_owned(), GLOBAL.to_owned()],
            false => vec!["db".to_owned()],
        };
        self.say(format!(
            "{} link {id} up with {node}.{life_no}",
            self.name(host)
        ));
        let now = self.clock(host);
        let state = &mut self.hosts[host];
        state.met.insert(peer, (life, Duration::MAX));
        state.seed_pause = SEED_PAUSES.0;
        if let Some(db) = &mut state.db {
            let peer = PeerIdentity::of_node(node.clone());
            let policy = trusting("g*").for_peer(&peer).into();
            db.handle_link_up(link(id), &node, life, &features, policy, now);
        }
        self.pump(host);
    }

    /// That end hears that the link is gone.
    pub fn down(&mut self, id: ConnId, side: usize, orderly: bool) {
        let now = self.clock(self.conns.get(&id).map_or(0, |conn| conn.ends[side]));
        let at = self.now;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let (host, peer) = (conn.ends[side], conn.ends[1 - side]);
        let was = std::mem::replace(&mut conn.state[side], End::Down);
        conn.ways[side].silence(at, false);
        conn.ways[1 - side].queue.clear();
        conn.ways[1 - side].is_deaf = true;
        let is_alive = self.hosts[host].life_no == conn.lives[side];
        if conn.state[1 - side] == End::Pending {
            conn.state[1 - side] = End::Down;
        }
        if conn.is_over() {
            self.conns.remove(&id);
        }
        if was != End::Up || !is_alive {
            return;
        }
        self.say(format!(
            "{} link {id} down with {}",
            self.name(host),
            self.name(peer)
        ));
        if let Some((_, until)) = self.hosts[host].met.get_mut(&peer) {
            *until = at + MEMORY;
        }
        self.hosts[host].kept.remove(&peer);
        if let Some(db) = &mut self.hosts[host].db {
            db.handle_link_down(link(id), orderly, now);
        }
        self.pump(host);
    }

    pub fn send(&mut self, id: ConnId, side: usize, packet: Packet) {
        let more = match self.rng.one_in(50) {
            true => self.ms(0, 200),
            false => self.ms(0, 3),
        };
        let now = self.now;
        if let Some(conn) = self.conns.get_mut(&id)
            && let Some(at) = conn.ways[side].send(packet, now, more)
        {
            self.at(
                at,
                Event::Deliver {
                    conn: id,
                    side: 1 - side,
                },
            );
        }
    }

    /// Sends what there is while there is room. Whether there was anything.
    pub fn transmit(&mut self, host: usize, id: ConnId) -> bool {
        let mut any = false;
        let now = self.clock(host);
        loop {
            let Some(conn) = self.conns.get_mut(&id) else {
                return any;
            };
            let side = conn.side(host);
            if conn.state[side] != End::Up || conn.lives[side] != self.hosts[host].life_no {
                return any;
            }
            if conn.ways[side].queue.len() >= self.setup.room {
                conn.ways[side].is_full = true;
                return any;
            }
            conn.ways[side].is_full = false;
            let peer = conn.ends[1 - side];
            let Some(db) = &mut self.hosts[host].db else {
                return any;
            };
            let Some(message) = db.transmit(link(id), now) else {
                return any;
            };
            any = true;
            self.messages += 1;
            *self.bytes.entry(id).or_default() += message.encoded_len();
            let sent = self.look(host, peer, id, &message);
            for message in sent.unwrap_or(vec![message]) {
                self.send(id, side, Packet::Db(message));
            }
        }
    }

    /// Notes what a message says; what is sent in its place, if the run is to go wrong.
    fn look(
        &mut self,
        from: usize,
        to: usize,
        id: ConnId,
        message: &Message,
    ) -> Option<Vec<Message>> {
        let wire = match Wire::decode(message, &self.setup.limits) {
            Ok(wire) => wire,
            Err(why) => {
                self.broken("R9", format!("it sends what is no message: {why:?}"));
                return None;
            }
        };
        let at = self.now - START;
        let (me, peer) = (self.name(from), self.name(to));
        self.history.whisper(at, message.bytes(), || {
            format!("{me} -> {peer} on {id}: {wire:?}")
        });
        if !matches!(wire, Wire::Known { .. }) {
            self.last_news = (self.now, format!("{me} -> {peer}: {wire:?}"));
        }
        races::count_wire(self, from, &wire);
        if let Wire::Refused { seq, .. } = &wire {
            self.refused.insert((self.life(to), *seq));
        }
        if let Wire::Chunk(chunk) = &wire
            && let Some(&no) = self.lives.get(&(from, chunk.life))
            && chunk.owner == self.hosts[from].name
        {
            self.note_stamps((from, no), chunk);
        }
        mutants::tamper(self, from, to, wire)
    }

    fn note_stamps(&mut self, life: Life, chunk: &portmesh::proto::db::wire::Chunk) {
        use portmesh::proto::db::item::Item;
        for item in chunk.items.iter().flat_map(|(_, items)| items) {
            if let Item::Set { seq, stamp, .. } = item {
                let noted = *self.model.stamps.entry((life, *seq)).or_insert(*stamp);
                if noted != *stamp {
                    self.broken("R2", format!("change {seq} of {life:?} has two stamps"));
                }
            }
        }
    }

    /// Something has arrived at that end.
    pub fn deliver(&mut self, id: ConnId, side: usize) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let (host, peer) = (conn.ends[side], conn.ends[1 - side]);
        let Some(packet) = conn.ways[1 - side].receive(now) else {
            return;
        };
        let is_alive =
            self.hosts[host].db.is_some() && self.hosts[host].life_no == conn.lives[side];
        let was_full = conn.ways[1 - side].is_full;
        let state = conn.state[side];
        if is_alive {
            match packet {
                Packet::Activate => {
                    if state == End::Pending {
                        self.up(id, side);
                    }
                }
                Packet::Leave => self.down(id, side, true),
                Packet::Db(message) if state == End::Up => {
                    let clock = self.clock(host);
                    self.arrived = match Wire::decode(&message, &self.setup.limits) {
                        Ok(Wire::Chunk(chunk)) => Some((host, chunk.owner, chunk.from)),
                        _ => None,
                    };
                    let db = self.hosts[host].db.as_mut().unwrap();
                    if let Err(why) = db.handle_message(link(id), &message, clock) {
                        let why = format!(
                            "{} closes over {}: {why:?}",
                            self.name(host),
                            self.name(peer)
                        );
                        self.broken("R9", why);
                        self.down(id, side, false);
                        let other = self.ms(1, 50);
                        self.after(
                            other,
                            Event::Down {
                                conn: id,
                                side: 1 - side,
                            },
                        );
                    }
                    self.pump(host);
                    self.arrived = None;
                }
                Packet::Db(_) => {}
            }
        }
        if was_full && self.hosts[peer].hung.is_none() {
            self.transmit(peer, id);
        }
    }

    /// Looks again when nothing can have been heard at that end for the link timeout.
    pub fn expect_silence(&mut self, id: ConnId, side: usize) {
        let more = self.ms(0, 300);
        self.after(LINK_TIMEOUT + more, Event::Silent { conn: id, side });
    }

    pub fn look_at_silence(&mut self, id: ConnId, side: usize) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let peer = conn.ends[1 - side];
        let way = conn.ways[1 - side].silent_since(self.now);
        let hung = self.hosts[peer].hung;
        let Some(since) = [way, hung].into_iter().flatten().min() else {
            return;
        };
        if since + LINK_TIMEOUT > self.now {
            let left = since + LINK_TIMEOUT - self.now;
            return self.after(left, Event::Silent { conn: id, side });
        }
        let closes = !conn.ways[side].is_deaf;
        if conn.state[side] != End::Down {
            self.history.count("link timed out");
        }
        self.down(id, side, false);
        if self.conns.contains_key(&id) {
            if closes {
                let soon = self.ms(1, 50);
                self.after(
                    soon,
                    Event::Down {
                        conn: id,
                        side: 1 - side,
                    },
                );
            } else {
                self.expect_silence(id, 1 - side);
            }
        }
    }
}
