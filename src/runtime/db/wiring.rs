//! How the database hears of links, and says where nodes are.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::sleep_until;

use super::{
    super::{DbLinks, Directory, transport::BoxFuture},
    DbHost, State,
};
use crate::proto::{
    close::CloseReason,
    db::{
        engine::{Advert, Config, Db, GLOBAL, Query},
        name::{Family, system},
        wire::Wire,
    },
    id::{Incarnation, NodeId},
    link::LinkId,
    message::Message,
    policy::PeerPolicy,
};

/// Addresses that are tried of what a node says of itself.
const ADDRESSES_MAX: usize = 16;

impl DbLinks for DbHost {
    fn begin(&self, global: bool) {
        let config = Config {
            node: self.config.node.clone(),
            life: self.config.life,
            global,
            policy: self.config.policy.current(),
            limits: self.config.limits.clone(),
            seed: self.config.seed,
        };
        *self.lock() = Some(State {
            db: Db::new(config, self.clock.now()),
            queries: HashMap::new(),
            writes: HashMap::new(),
            readers: HashMap::new(),
            seeds: BTreeSet::new(),
            linked: HashMap::new(),
            timer: None,
        });
        let (host, timer, clock) = (self.me.clone(), self.timer.clone(), self.clock);
        self.runtime.spawn(async move {
            loop {
                let due = {
                    let Some(host) = host.upgrade() else { return };
                    let guard = host.lock();
                    let Some(state) = guard.as_ref() else { return };
                    state.timer
                };
                let at = due.map_or_else(|| clock.instant(Duration::MAX), |due| clock.instant(due));
                tokio::select! {
                    () = timer.notified() => continue,
                    () = sleep_until(at) => {}
                }
                let Some(host) = host.upgrade() else { return };
                host.with(|state, now| {
                    state.timer = None;
                    state.db.handle_timeout(now);
                });
            }
        });
    }

    fn link_up(
        &self,
        link: LinkId,
        node: &NodeId,
        incarnation: Incarnation,
        features: &[String],
        dialled_seed: bool,
        policy: Arc<PeerPolicy>,
    ) {
        self.with(|state, now| {
            if dialled_seed && state.seeds.insert(node.clone()) {
                let seeds = state.seeds.clone();
                state.db.set_seeds(seeds, now);
            }
            let global = features.iter().any(|feature| feature == GLOBAL);
            state.linked.insert(link, (node.clone(), global));
            state
                .db
                .handle_link_up(link, node, incarnation, features, policy, now);
        });
    }

    fn link_policy(&self, link: LinkId, policy: Arc<PeerPolicy>) -> Result<(), CloseReason> {
        let general = self.config.policy.current();
        let set = self.with(|state, now| {
            state.db.set_general_policy(general);
            state.db.set_policy(link, policy, now)
        });
        set.unwrap_or(Ok(()))
    }

    fn link_down(&self, link: LinkId, _node: &NodeId, reason: &CloseReason) {
        let orderly = matches!(reason, CloseReason::PeerShutdown);
        self.with(|state, now| {
            state.linked.remove(&link);
            state.db.handle_link_down(link, orderly, now);
        });
    }

    fn handle(&self, link: LinkId, message: Message) -> Result<(), CloseReason> {
        let wire = Wire::decode(&message, &self.config.limits)?;
        let handled = self.with(|state, now| state.db.handle(link, wire, now));
        handled.unwrap_or(Ok(()))
    }

    fn room(&self, link: LinkId) {
        let mut guard = self.lock();
        if let Some(state) = guard.as_mut()
            && let Some(links) = self.links.get().and_then(Weak::upgrade)
        {
            self.transmit(state, &*links, link);
        }
    }
}

impl Directory for DbHost {
    fn lookup<'a>(&'a self, node: &'a NodeId) -> BoxFuture<'a, Vec<String>> {
        Box::pin(async move {
            // what it says itself, and where it was before when nobody lists it
            let mut found = Vec::new();
            let known = self.with(|state, _| {
                let known = state.db.global_addresses(node);
                (state.db.is_global(), known, state.db.home().is_some())
            });
            let Some((is_global, known, has_home)) = known else {
                return found;
            };
            if !is_global {
                if !known.is_empty() && !has_home {
                    // another home is looked for: there is nobody to ask
                    return known;
                }
                let family = Family::system(system::NODES);
                let query = Query::Key(family, node.as_str().into());
                if let Ok(Ok(answer)) = self.query(query).await {
                    let own = answer.into_iter().find(|(_, found)| found.owner == *node);
                    let advert = own.and_then(|(_, found)| found.value.decode::<Advert>().ok());
                    let addr = advert.into_iter().flat_map(|advert| advert.addr);
                    found.extend(addr.take(ADDRESSES_MAX));
                }
            } else if self.ready().await.is_err() {
                return found;
            }
            let known = self.with(|state, _| state.db.addresses(node));
            for addr in known.unwrap_or_default().into_iter().take(ADDRESSES_MAX) {
                if !found.contains(&addr) {
                    found.push(addr);
                }
            }
            found
        })
    }
}
