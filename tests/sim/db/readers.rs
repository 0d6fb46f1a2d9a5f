//! What nodes write and read, and what comes of it.

use std::{collections::BTreeMap, time::Duration};

use portmesh::proto::db::{
    engine::{Change, Output, Query, WatchId},
    item::Packed,
};

use super::{
    invariants,
    model::{Group, Life, Shown, View},
    mutants::Mutant,
    plan::Act,
    world::{Event, World},
};

/// Someone who watches a family, and all that was told.
#[derive(Debug, Clone)]
pub struct Reader {
    pub family: usize,
    pub pace: Duration,
    pub view: View,
    pub synced: bool,
    /// Keys that were told as deleted, and what was there.
    pub deleted: BTreeMap<String, Shown>,
    pub is_waiting: bool,
}

impl World {
    pub fn life(&self, host: usize) -> Life {
        (host, self.hosts[host].life_no)
    }

    fn is_awake(&self, host: usize) -> bool {
        self.hosts[host].db.is_some() && self.hosts[host].hung.is_none()
    }

    pub fn act(&mut self, act: Act) {
        match act {
            Act::Set {
                host,
                family,
                key,
                waits,
            } if self.is_awake(host) => {
                self.set(host, family, key, waits);
            }
            Act::Remove { host, family, keys } if self.is_awake(host) => {
                self.remove(host, family, &keys);
            }
            Act::BadSet { host, what } if self.is_awake(host) => self.bad_set(host, what),
            Act::Watch { host, family, pace } if self.is_awake(host) => {
                self.watch(host, family, pace);
            }
            Act::Unwatch { host } if self.is_awake(host) => {
                let Some(id) = self.hosts[host].readers.keys().next().copied() else {
                    return;
                };
                let family = self.hosts[host].readers.remove(&id).unwrap().family;
                self.hosts[host].db.as_mut().unwrap().unwatch(id);
                self.begins_anew(host, family);
                self.say(format!("{} unwatches {}", self.name(host), id.0));
                self.history.count("unwatch");
                self.pump(host);
            }
            Act::Query { host, family, key } if self.is_awake(host) => {
                let name = self.families[family].clone();
                let query = match key {
                    Some(key) => Query::Key(name, format!("k{key}").into()),
                    None => Query::Family(name),
                };
                let now = self.clock(host);
                let id = self.hosts[host].db.as_mut().unwrap().query(query, now);
                self.hosts[host].asked.insert(id, (family, key));
                self.say(format!(
                    "{} asks for f{family} {key:?}: {}",
                    self.name(host),
                    id.0
                ));
                self.pump(host);
                self.hosts[host].answers.remove(&id);
            }
            Act::Set { .. }
            | Act::Remove { .. }
            | Act::BadSet { .. }
            | Act::Watch { .. }
            | Act::Unwatch { .. }
            | Act::Query { .. } => {}
            fault => self.fault(fault),
        }
    }

    pub fn watch(&mut self, host: usize, family: usize, pace: Duration) -> WatchId {
        let now = self.clock(host);
        let name = self.families[family].clone();
        let id = self.hosts[host].db.as_mut().unwrap().watch(&name, now);
        let reader = Reader {
            family,
            pace,
            view: View::new(),
            synced: false,
            deleted: BTreeMap::new(),
            is_waiting: false,
        };
        self.hosts[host].readers.insert(id, reader);
        self.say(format!("{} watches f{family}: {}", self.name(host), id.0));
        self.pump(host);
        id
    }

    fn set(&mut self, host: usize, family: usize, key: u64, waits: bool) {
        let life = self.life(host);
        self.next += 1;
        let no = self.next;
        let value = self.pack(life, no);
        let (key, name, now) = (
            format!("k{key}"),
            self.families[family].clone(),
            self.clock(host),
        );
        if self.mutant == Mutant::LateOwnWrites {
            self.model.set(life, (family, key.clone()), 0, no);
            let done = invariants::r7::own_write_shows(self, host, family, &key);
            return self.check("R7", done);
        }
        let db = self.hosts[host].db.as_mut().unwrap();
        match db.set(&name, &key, value, now) {
            Ok(seq) => {
                if waits && db.wait_for(seq).is_none() {
                    self.hosts[host].waits.insert(seq);
                }
                self.say(format!(
                    "{} sets f{family} {key} = {no}, change {seq}",
                    self.name(host)
                ));
                self.model.set(life, (family, key.clone()), seq, no);
                if let Some(groups) = &self.groups {
                    let side = groups.1[host];
                    self.history.count(if side {
                        "write on one side"
                    } else {
                        "write on the other side"
                    });
                }
            }
            Err(why) => {
                self.say(format!(
                    "{} may not set f{family} {key}: {why}",
                    self.name(host)
                ));
                self.history.count("write refused at once");
                return;
            }
        }
        self.pump(host);
        let done = invariants::r7::own_write_shows(self, host, family, &key);
        self.check("R7", done);
    }

    fn remove(&mut self, host: usize, family: usize, keys: &[u64]) {
        let life = self.life(host);
        let now = self.clock(host);
        let name = self.families[family].clone();
        let keys: Vec<String> = keys.iter().map(|key| format!("k{key}")).collect();
        let mut gone = Vec::new();
        for key in &keys {
            if let Some(old) = self.model.remove(life, &(family, key.clone())) {
                gone.push((key.clone(), old.no));
            }
        }
        let refs: Vec<&str> = keys.iter().map(String::as_str).collect();
        let removed = self.hosts[host]
            .db
            .as_mut()
            .unwrap()
            .remove(&name, &refs, now);
        self.say(format!(
            "{} removes f{family} {keys:?}: {removed:?}",
            self.name(host)
        ));
        if removed != Ok(gone.len()) && self.mutant == Mutant::None {
            self.broken("R1", format!("{removed:?} of {gone:?} were there"));
        }
        if gone.len() > 1 {
            self.history.count("several keys removed at once");
            self.model.groups.push(Group {
                owner: life,
                family,
                keys: gone,
            });
        }
        self.pump(host);
        for key in keys {
            let done = invariants::r7::own_write_shows(self, host, family, &key);
            self.check("R7", done);
        }
    }

    /// One that the node itself does not take: nothing changes.
    fn bad_set(&mut self, host: usize, what: u64) {
        let now = self.clock(host);
        let limits = self.setup.limits.clone();
        let value = Packed::encode(&"bad", &limits).unwrap();
        let long = "k".repeat(limits.db_key_bytes_max + 1);
        let large = "v".repeat(limits.db_value_bytes_max + 1);
        let db = self.hosts[host].db.as_mut().unwrap();
        let family = self.families[0].clone();
        let before = db.summary();
        let refused = match what {
            0 => db.set(&family, "", value, now).is_err(),
            1 => db.set(&family, &long, value, now).is_err(),
            2 => db.set(&"'nodes".parse().unwrap(), "k", value, now).is_err(),
            _ => Packed::encode(&large, &limits).is_err(),
        };
        if !refused || before != self.hosts[host].db.as_ref().unwrap().summary() {
            self.broken(
                "R9",
                format!("{} took what is no entry ({what})", self.name(host)),
            );
        }
    }

    pub fn output(&mut self, host: usize, output: Output) {
        let life = self.life(host);
        let me = self.name(host);
        if invariants::l3::answered(self, host, &output) {
            return;
        }
        match output {
            Output::Want(node) => {
                if !self.mutant.gives_up(&self.hosts[host]) {
                    self.want(host, &node);
                }
            }
            Output::Keep(node, keep) => {
                let peer = self.names[&node];
                let kept = &mut self.hosts[host].kept;
                _ = if keep {
                    kept.insert(peer)
                } else {
                    kept.remove(&peer)
                };
            }
            Output::Home(home) => {
                self.say(format!("{me} has home {home:?}"));
                if home.is_none() {
                    self.learn_numbers(host);
                }
                if home.is_some() {
                    self.hosts[host].homes += 1;
                    if self.hosts[host].homes > 1 {
                        self.history.count("attached again");
                    }
                    if self.mutant == Mutant::WatchAnew && self.hosts[host].homes > 1 {
                        self.watch_anew(host);
                    }
                }
            }
            Output::Changed(watch) => {
                let Some(reader) = self.hosts[host].readers.get_mut(&watch) else {
                    return;
                };
                if !reader.is_waiting {
                    reader.is_waiting = true;
                    let pace = reader.pace;
                    self.after(
                        pace,
                        Event::Take {
                            host,
                            life: life.1,
                            watch,
                        },
                    );
                }
            }
            Output::Answer(id, found) => {
                let view = self.read(&found);
                if let Some(&(family, key)) = self.hosts[host].asked.get(&id) {
                    if key.is_none() {
                        // one that asked a home which is behind is no reader that goes back
                        if self.hosts[host].is_global {
                            invariants::seen(self, host, family, &view);
                        }
                        if self.is_over() {
                            self.hosts[host].last_answers.insert(family, view.clone());
                        }
                    }
                    self.hosts[host].answers.insert(id, view);
                    self.hosts[host].asked.remove(&id);
                }
            }
            Output::Written(seq, how) => {
                self.say(format!("{me}: change {seq} is taken: {how:?}"));
                let was = self.hosts[host].waits.remove(&seq);
                if !was {
                    self.broken(
                        "R9",
                        format!("{me} is told of change {seq} and does not wait for it"),
                    );
                }
                if how.is_ok() {
                    let done = invariants::r9::was_not_refused(self, life, seq);
                    self.check("R9", done);
                }
                if how.is_err() {
                    self.history
                        .count("write refused by the home, told to who waits");
                }
            }
            Output::Refused(family, key, why) => {
                self.say(format!("{me}: {family} {key} is refused: {why}"));
                self.history.count("write refused by the home");
                if let Some(at) = self.families.iter().position(|f| *f == family) {
                    self.model.remove(life, &(at, key.to_string()));
                    let done = invariants::r9::refused_is_gone(self, host, at, &key);
                    self.check("R9", done);
                }
            }
            Output::Conflict(family, key, owners) => {
                self.history.count("conflict told to an owner");
                self.say(format!("{me}: {family} {key} is owned by {owners:?}"));
            }
            Output::NotGlobal(node, why) => {
                self.broken("R9", format!("{me}: {node} is not global: {why}"));
            }
            Output::Skew(node, by) => {
                self.history.count("skew told");
                self.say(format!("{me}: the clock of {node} is off by {by} ms"));
            }
            Output::AnswerDenied(_, why) => {
                self.broken("R9", format!("{me}: nobody denies anything: {why}"));
            }
            Output::Denied(node, denial) => {
                self.broken("R9", format!("{me}: {node} was denied: {denial:?}"));
            }
            Output::Synced => self.say(format!("{me} is synced")),
        }
    }

    /// Nobody reads that family there any more: who does later may ask a home that is behind.
    fn begins_anew(&mut self, host: usize, family: usize) {
        let host = &mut self.hosts[host];
        if !host.is_global && host.readers.values().all(|other| other.family != family) {
            host.high.retain(|(_, of), _| *of != family);
        }
    }

    /// What a lost home has not answered has new numbers.
    fn learn_numbers(&mut self, host: usize) {
        let life = self.life(host);
        let places = self.model.owned.get(&life).into_iter().flatten();
        let places: Vec<_> = places.map(|(place, _)| place.clone()).collect();
        for place in places {
            let db = self.hosts[host].db.as_ref().unwrap();
            let found = db.owned(&self.families[place.0], &place.1);
            if let Some(found) = found
                && let Some(old) = self.model.renumber(life, &place, found.seq)
            {
                self.refused.remove(&(life, old));
                self.history.count("write numbered anew");
            }
        }
    }

    /// A reader that begins anew at each home, without telling whom it tells.
    fn watch_anew(&mut self, host: usize) {
        for (id, reader) in std::mem::take(&mut self.hosts[host].readers) {
            self.hosts[host].db.as_mut().unwrap().unwatch(id);
            let now = self.clock(host);
            let family = self.families[reader.family].clone();
            let new = self.hosts[host].db.as_mut().unwrap().watch(&family, now);
            let reader = Reader {
                is_waiting: false,
                ..reader
            };
            self.hosts[host].readers.insert(new, reader);
        }
    }

    /// A reader takes all that there is.
    pub fn take(&mut self, host: usize, watch: WatchId) {
        let Some(mut reader) = self.hosts[host].readers.remove(&watch) else {
            return;
        };
        reader.is_waiting = false;
        let mut taken = 0;
        let me = self.name(host);
        loop {
            let Some(db) = &mut self.hosts[host].db else {
                return;
            };
            let Some(change) = db.next_change(watch) else {
                break;
            };
            taken += 1;
            let at = self.now - super::world::START;
            self.history
                .whisper(at, &[1], || format!("{me} reads {}: {change:?}", watch.0));
            self.told(host, &mut reader, change);
        }
        let (family, synced, view) = (reader.family, reader.synced, reader.view.clone());
        if taken > 1 && !reader.pace.is_zero() {
            self.history.count("slow reader takes several changes");
        }
        let done = invariants::r9::in_one_step(self, &reader);
        self.check("R9", done);
        self.hosts[host].readers.insert(watch, reader);
        if synced {
            invariants::seen(self, host, family, &view);
            let done = invariants::r6::holds_what_is_there(self, host, watch);
            self.check("R6", done);
        }
    }

    fn told(&mut self, host: usize, reader: &mut Reader, change: Change) {
        let shown = match &change {
            Change::Added(_, found) | Change::Changed(_, found) => self.decode(found),
            _ => None,
        };
        let done = invariants::r2::conflict_is_in_order(&change);
        self.check("R2", done);
        if matches!(change, Change::Conflict(..)) {
            self.history.count("conflict told to a reader");
        }
        if let Change::Deleted(key) = &change {
            let done = invariants::r5::goes_only_with_its_owner(self, host, reader, key);
            self.check("R5", done);
            let shown = reader.view.get(&**key);
            if shown.is_some_and(|shown| self.model.stands(shown, reader.family, key)) {
                self.history.count("a living owner is out of reach");
            }
        }
        let done = invariants::r6::is_well_formed(reader, &change, shown);
        if let Err(why) = done {
            let why = format!("{}: {why}", self.name(host));
            self.broken("R6", why);
        }
    }
}
