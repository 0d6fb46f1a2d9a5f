//! What a node says that finds no home: why, and what to do about it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

use super::{DbHost, State};
use crate::proto::id::NodeId;

/// How long a node looks for a home before it says so.
const PATIENCE: Duration = Duration::from_secs(10);

impl DbHost {
    /// Warns once each time that there is no home for so long after all seeds were tried.
    pub(super) fn warn_when_homeless(&self, seeds: usize, mut untried: watch::Receiver<usize>) {
        let (host, mut home) = (self.me.clone(), self.home.subscribe());
        self.runtime.spawn(async move {
            // an error says that the node is gone, here and below
            let _ = untried.wait_for(|untried| *untried == 0).await;
            loop {
                if home.wait_for(Option::is_none).await.is_err() {
                    return;
                }
                let is_late = timeout(PATIENCE, home.wait_for(Option::is_some))
                    .await
                    .is_err();
                if is_late {
                    let Some(host) = host.upgrade() else { return };
                    host.say_homeless(seeds);
                }
                if home.wait_for(Option::is_some).await.is_err() {
                    return;
                }
            }
        });
    }

    fn say_homeless(self: Arc<Self>, seeds: usize) {
        // without the lock while it is told
        if let Some(Some(why)) = self.with(|state, _| why(state, seeds)) {
            tracing::warn!(
                node = %self.config.node, "no home in the database: {why}. Until there is one this node sees only its \
                 own entries, and nobody else sees them"
            );
        }
    }
}

/// Why there is no home, and what to do; nothing where there is one after all.
fn why(state: &State, seeds: usize) -> Option<String> {
    if state.db.is_global() || state.db.home().is_some() {
        return None;
    }
    let names = |nodes: &mut dyn Iterator<Item = &NodeId>| {
        let nodes: BTreeSet<&str> = nodes.map(NodeId::as_str).take(5).collect();
        nodes.into_iter().collect::<Vec<_>>().join(", ")
    };
    let linked = state.linked.values();
    let global = names(
        &mut linked
            .clone()
            .filter_map(|(node, global)| global.then_some(node)),
    );
    let mut seeded = linked
        .map(|(node, _)| node)
        .filter(|node| state.seeds.contains(*node));
    let (answering, answered) = (names(&mut seeded), names(&mut state.seeds.iter()));
    Some(if seeds == 0 {
        "this node is no global node and has no seed: give it the address of a global node as a seed, or let it be \
         global"
            .to_owned()
    } else if !global.is_empty() {
        format!(
            "{global} would be a global node by its own word, but did not answer at a seed of this node: make its \
             address a seed, or name it with trust_global"
        )
    } else if answered.is_empty() {
        "none of the seeds answers: see that a global node runs there and lets this one in"
            .to_owned()
    } else if answering.is_empty() {
        format!(
            "no node at the seeds is linked any more ({answered} was): see that a global node runs there and lets this one \
             in, or give the addresses of several as seeds"
        )
    } else {
        format!(
            "the nodes that answer at the seeds ({answering}) are no global nodes: start one of them as a global node, \
             or give the address of one as a seed"
        )
    })
}
