//! What goes wrong, and how it is made good again.

use std::time::Duration;

use super::{
    net::{ConnId, End, Packet},
    plan::{Act, LINK_TIMEOUT},
    world::{Event, World},
};

impl World {
    fn pick(&mut self) -> Option<ConnId> {
        let all: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, c)| c.is_up())
            .map(|(id, _)| *id)
            .collect();
        let at = self.rng.below(all.len() as u64) as usize;
        all.get(at).copied()
    }

    pub fn fault(&mut self, act: Act) {
        if self.is_calm {
            return;
        }
        self.faulted = match &act {
            Act::Stall { time } => self.now + *time,
            _ => self.now,
        };
        match act {
            Act::Cut { late } => {
                if let Some(id) = self.pick() {
                    self.say(format!("link {id} is cut, late: {late}"));
                    self.cut(id, late);
                }
            }
            Act::HalfOpen { both } => {
                if let Some(id) = self.pick() {
                    let side = self.rng.below(2) as usize;
                    self.say(format!("link {id} is half open from {side}, both: {both}"));
                    self.history.count("half-open");
                    self.deafen(id, side);
                    if both {
                        self.deafen(id, 1 - side);
                    }
                }
            }
            Act::Stall { time } => {
                if let Some(id) = self.pick() {
                    self.say(format!("link {id} stalls for {time:?}"));
                    self.stall(id, time);
                }
            }
            Act::Partition { groups, time } => self.part(groups, time),
            Act::Hang { host, time } => self.hang(host, time),
            Act::Crash { host, told, back } => self.crash(host, told, back),
            Act::Stop { host, back } => self.stop(host, back),
            Act::Jump { host, ms } => {
                self.say(format!("the clock of {} jumps by {ms} ms", self.name(host)));
                self.history.count(if ms > 0 {
                    "clock jumps forwards"
                } else {
                    "clock jumps backwards"
                });
                self.hosts[host].offset_ms += ms;
            }
            Act::CloseIdle => self.close_idle(),
            _ => {}
        }
    }

    /// Both ends lose it, one of them later than the other if `late`.
    fn cut(&mut self, id: ConnId, late: bool) {
        self.history.count("cut");
        let (now, drop) = (self.now, self.rng.one_in(2));
        let first = self.rng.below(2) as usize;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if conn.ways.iter().any(|way| !way.queue.is_empty()) && drop {
            self.history.count("cut with messages under way");
        }
        for way in &mut conn.ways {
            way.silence(now, drop);
        }
        let soon = self.ms(0, 60);
        self.after(
            soon,
            Event::Down {
                conn: id,
                side: first,
            },
        );
        if late {
            self.history.count("cut that one side learns of late");
            self.expect_silence(id, 1 - first);
        } else {
            let soon = self.ms(0, 60);
            self.after(
                soon,
                Event::Down {
                    conn: id,
                    side: 1 - first,
                },
            );
        }
    }

    /// What is sent from that side vanishes.
    fn deafen(&mut self, id: ConnId, side: usize) {
        let (now, drop) = (self.now, self.rng.one_in(2));
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.ways[side].silence(now, drop);
            self.expect_silence(id, 1 - side);
        }
    }

    fn stall(&mut self, id: ConnId, time: Duration) {
        let side = self.rng.below(2) as usize;
        let (now, until) = (self.now, self.now + time);
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let held = conn.ways[side].stall(now, until);
        self.history.count("stall");
        for _ in 0..held {
            self.at(
                until,
                Event::Deliver {
                    conn: id,
                    side: 1 - side,
                },
            );
        }
        self.expect_silence(id, 1 - side);
    }

    fn part(&mut self, groups: Vec<bool>, time: Duration) {
        let ends = |side: bool| groups.iter().take(self.setup.globals).any(|g| *g == side);
        let both = ends(true) && ends(false);
        if both {
            self.history.count("partition of global nodes");
        }
        let sides: Vec<String> = (0..groups.len())
            .filter(|at| groups[*at])
            .map(|at| self.name(at))
            .collect();
        self.say(format!("{} are apart for {time:?}", sides.join(" ")));
        self.next += 1;
        let partition = self.next;
        let between: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| groups[conn.ends[0]] != groups[conn.ends[1]])
            .map(|(id, _)| *id)
            .collect();
        self.groups = Some((partition, groups));
        for id in between {
            match self.rng.below(3) {
                0 => self.cut(id, true),
                1 => self.cut(id, false),
                _ => {
                    self.deafen(id, 0);
                    self.deafen(id, 1);
                }
            }
        }
        self.after(time, Event::Heal { partition });
    }

    fn hang(&mut self, host: usize, time: Duration) {
        if self.hosts[host].db.is_none() || self.hosts[host].hung.is_some() {
            return;
        }
        self.say(format!("{} hangs for {time:?}", self.name(host)));
        self.history.count(if time > LINK_TIMEOUT {
            "long hang"
        } else {
            "short hang"
        });
        self.count_home_loss(host, "home hangs with attached nodes");
        self.hosts[host].hung = Some(self.now);
        self.hosts[host].faulted = Some(self.now);
        for id in self.links_of(host) {
            let side = self.conns[&id].side(host);
            self.expect_silence(id, 1 - side);
        }
        self.after(time, Event::Wake { host });
    }

    pub fn links_of(&self, host: usize) -> Vec<ConnId> {
        let all = self.conns.iter();
        all.filter(|(_, conn)| conn.ends.contains(&host))
            .map(|(id, _)| *id)
            .collect()
    }

    fn count_home_loss(&mut self, host: usize, what: &'static str) {
        let db = self.hosts[host].db.as_ref();
        if db.is_some_and(|db| !db.attached_nodes().is_empty()) {
            self.history.count(what);
        }
    }

    /// All that it knew is lost.
    fn crash(&mut self, host: usize, told: bool, back: Option<Duration>) {
        if self.hosts[host].db.is_none() {
            return;
        }
        self.say(format!(
            "{} crashes, told: {told}, back: {back:?}",
            self.name(host)
        ));
        self.history.count("crash");
        self.count_home_loss(host, "home crashes with attached nodes");
        for id in self.links_of(host) {
            let (now, drop) = (self.now, self.rng.one_in(2));
            let conn = self.conns.get_mut(&id).unwrap();
            let side = conn.side(host);
            conn.ways[side].silence(now, drop);
            if told {
                let soon = self.ms(0, 100);
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
        self.end(host, back);
    }

    /// It tells its peers and goes.
    fn stop(&mut self, host: usize, back: Option<Duration>) {
        if self.hosts[host].db.is_none() || self.hosts[host].hung.is_some() {
            return;
        }
        self.say(format!("{} stops, back: {back:?}", self.name(host)));
        self.history.count("orderly stop");
        for id in self.links_of(host) {
            let side = self.conns[&id].side(host);
            self.send(id, side, Packet::Leave);
            let now = self.now;
            let conn = self.conns.get_mut(&id).unwrap();
            conn.ways[side].silence(now, false);
            self.expect_silence(id, 1 - side);
        }
        self.end(host, back);
    }

    fn end(&mut self, host: usize, back: Option<Duration>) {
        let now = self.now;
        for id in self.links_of(host) {
            let conn = self.conns.get_mut(&id).unwrap();
            let side = conn.side(host);
            conn.state[side] = End::Down;
            conn.ways[1 - side].silence(now, true);
            if conn.state[1 - side] == End::Pending || conn.is_over() {
                self.conns.remove(&id);
            }
        }
        let state = &mut self.hosts[host];
        state.db = None;
        state.hung = None;
        state.timer = None;
        state.backlog.clear();
        state.faulted = Some(now);
        self.model
            .died
            .insert((host, self.hosts[host].life_no), now);
        if let Some(back) = back {
            self.after(back, Event::Restart { host });
        }
    }

    /// A link that neither end keeps is closed.
    fn close_idle(&mut self) {
        let idle: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| {
                let [a, b] = conn.ends;
                let kept = self.hosts[a].kept.contains(&b) || self.hosts[b].kept.contains(&a);
                conn.is_up() && !kept
            })
            .map(|(id, _)| *id)
            .collect();
        for id in idle {
            self.history.count("idle link closed");
            self.say(format!("link {id} is idle"));
            self.cut(id, false);
        }
    }

    /// Nothing goes wrong any more, and what went wrong is made good. Some nodes stay dead.
    pub fn calm(&mut self) {
        self.say("calm".to_owned());
        self.faulted = self.faulted.max(self.now);
        self.groups = None;
        self.is_calm = true;
        for host in 0..self.hosts.len() {
            self.hosts[host].offset_ms = 0;
            self.wake_up(host);
        }
        for host in 0..self.hosts.len() {
            // a seed that nobody else can stand for, or one of the rest
            let needed = host == 0 || !self.stands(host);
            if self.hosts[host].db.is_none() && (needed || self.rng.one_in(2)) {
                let soon = self.ms(10, 3_000);
                self.after(soon, Event::Restart { host });
            }
        }
    }

    fn wake_up(&mut self, host: usize) {
        if self.hosts[host].hung.is_some() {
            self.after(Duration::ZERO, Event::Wake { host });
        }
    }

    /// Whether all others have another seed that lives.
    fn stands(&self, host: usize) -> bool {
        if host >= self.setup.globals {
            return true;
        }
        let lives = |at: &usize| *at != host && self.hosts[*at].db.is_some();
        let mut seeds = self.setup.seeds.iter().enumerate();
        seeds.all(|(at, own)| at == host || !own.contains(&host) || own.iter().any(lives))
    }
}
