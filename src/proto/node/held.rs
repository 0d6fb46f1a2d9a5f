//! What is held for ports whose mailboxes are full (P8): messages, and what is ordered behind them (M4).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::proto::{
    id::PortName,
    link::lane,
    message::{Batch, Reason},
};

/// Something that is held, with what it counts for in the window.
#[derive(Debug)]
pub(super) enum Item {
    /// Messages, and what the head of their frames is long.
    Messages { batch: Batch, head: usize },
    /// A kill, at the latest at `deadline`.
    Kill {
        reason: Reason,
        deadline: Duration,
        cost: u64,
    },
    /// A monitor.
    Watch { cost: u64 },
    /// The end of one.
    Unwatch { cost: u64 },
    /// The acknowledgement of a loss.
    LossAck { cost: u64 },
}

impl Item {
    pub(super) fn cost(&self) -> u64 {
        match self {
            Item::Messages { batch, head } => batch.lens().map(|len| lane::cost(head + len)).sum(),
            Item::Kill { cost, .. }
            | Item::Watch { cost }
            | Item::Unwatch { cost }
            | Item::LossAck { cost } => *cost,
        }
    }
}

/// What is held for one port, never empty.
#[derive(Debug)]
pub(super) struct HeldPort<T> {
    pub(super) port: T,
    pub(super) items: VecDeque<Item>,
    /// When the kill among them ends its wait.
    pub(super) kill: Option<Duration>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Held<T> {
    ports: BTreeMap<PortName, HeldPort<T>>,
    kills: BTreeSet<(Duration, PortName)>,
    /// What all of it counts for in the window.
    cost: u64,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Held {
            ports: BTreeMap::new(),
            kills: BTreeSet::new(),
            cost: 0,
        }
    }
}

impl<T> Held<T> {
    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.ports.contains_key(name)
    }

    /// Begins to hold something for a port.
    pub(super) fn begin(&mut self, name: &PortName, port: T, item: Item) {
        self.cost += item.cost();
        let held = HeldPort {
            port,
            items: VecDeque::from([item]),
            kill: None,
        };
        self.ports.insert(name.clone(), held);
    }

    /// Holds something more for a port that is held already. Gives it back where it is not.
    pub(super) fn push(&mut self, name: &PortName, item: Item) -> Option<Item> {
        let Some(held) = self.ports.get_mut(name) else {
            return Some(item);
        };
        self.cost += item.cost();
        if let Item::Kill { deadline, .. } = &item
            && held.kill.is_none()
        {
            held.kill = Some(*deadline);
            self.kills.insert((*deadline, name.clone()));
        }
        held.items.push_back(item);
        None
    }

    /// Takes out all that is held for a port.
    pub(super) fn take(&mut self, name: &PortName) -> Option<HeldPort<T>> {
        let held = self.ports.remove(name)?;
        if let Some(deadline) = held.kill {
            self.kills.remove(&(deadline, name.clone()));
        }
        let cost: u64 = held.items.iter().map(Item::cost).sum();
        self.cost = self.cost.saturating_sub(cost);
        Some(held)
    }

    /// Puts back what still does not fit.
    pub(super) fn put_back(&mut self, name: &PortName, mut held: HeldPort<T>) {
        self.cost += held.items.iter().map(Item::cost).sum::<u64>();
        held.kill = held.items.iter().find_map(|item| match item {
            Item::Kill { deadline, .. } => Some(*deadline),
            _ => None,
        });
        if let Some(deadline) = held.kill {
            self.kills.insert((deadline, name.clone()));
        }
        self.ports.insert(name.clone(), held);
    }

    /// When the first kill ends its wait.
    pub(super) fn kill_deadline(&self) -> Option<Duration> {
        self.kills.first().map(|(deadline, _)| *deadline)
    }

    /// A port whose kill has waited long enough.
    pub(super) fn due_kill(&self, now: Duration) -> Option<PortName> {
        let (deadline, name) = self.kills.first()?;
        (*deadline <= now).then(|| name.clone())
    }
}
