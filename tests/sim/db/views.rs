//! What nodes show, and what their answers say.

use portmesh::proto::db::{
    engine::{Db, Found, Query},
    item::Packed,
    name::Key,
};

use super::{
    invariants,
    model::{Life, Shown, View, shown},
    world::World,
};

impl World {
    /// The family as that node sees it, where it can say so at once.
    pub fn view(&mut self, host: usize, family: usize) -> Option<View> {
        let now = self.clock(host);
        let query = Query::Family(self.families[family].clone());
        let state = &self.hosts[host];
        let mut readers = state.readers.values();
        if !state.is_global && !readers.any(|r| r.family == family && r.synced) {
            return None;
        }
        let db = self.hosts[host].db.as_mut()?;
        let id = db.query(query, now);
        self.hosts[host].asked.insert(id, (family, None));
        self.pump(host);
        let host = &mut self.hosts[host];
        host.asked.remove(&id);
        let view = host.answers.remove(&id);
        if view.is_none()
            && let Some(db) = &mut host.db
        {
            db.cancel(id);
        }
        view
    }

    /// Each node that is not global asks for each family that it does not watch.
    pub fn ask_all(&mut self) {
        for (host, _) in self.living() {
            for family in 0..self.families.len() {
                if self.hosts[host].is_global || self.view(host, family).is_some() {
                    continue;
                }
                let now = self.clock(host);
                let query = Query::Family(self.families[family].clone());
                let id = self.hosts[host].db.as_mut().unwrap().query(query, now);
                self.hosts[host].asked.insert(id, (family, None));
                self.pump(host);
            }
        }
    }

    pub fn pack(&self, life: Life, no: u64) -> Packed {
        let large = self.setup.large && no.is_multiple_of(3);
        let fill = "x".repeat(if large { 6_000 } else { 0 });
        let value = (life.0 as u64, life.1, no, fill);
        Packed::encode(&value, &self.setup.limits).unwrap()
    }

    /// All that nodes show now.
    pub fn sample(&mut self) {
        for host in 0..self.hosts.len() {
            let state = &self.hosts[host];
            // of the others `view` asks where they have a reader that is synced
            let has_all = |db: &Db| !db.is_global() || db.is_synced();
            if state.hung.is_some() || !state.db.as_ref().is_some_and(has_all) {
                continue;
            }
            for family in 0..self.families.len() {
                if let Some(view) = self.view(host, family) {
                    invariants::seen(self, host, family, &view);
                }
            }
        }
    }

    /// The same where an answer came.
    pub fn read(&mut self, found: &[(Key, Found)]) -> View {
        let mut view = View::new();
        for (key, found) in found {
            if let Some(shown) = self.decode(found) {
                view.insert(key.to_string(), shown);
            }
        }
        view
    }

    pub fn decode(&mut self, found: &Found) -> Option<Shown> {
        let shown = shown(found);
        if let Some(shown) = shown
            && self.hosts[shown.owner.0].name != found.owner
        {
            self.broken("R1", format!("{} owns what {shown:?} wrote", found.owner));
        }
        shown
    }
}
