//! Who has which work: batches of lines, handed to workers, acknowledged, and handed on when a worker is lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A batch of lines, by number.
pub(super) type Batch = u64;

/// See the module. Workers are numbers.
#[derive(Debug)]
pub(super) struct Plan {
    waiting: VecDeque<Batch>,
    out: BTreeMap<usize, BTreeMap<Batch, Stage>>,
    done: BTreeSet<Batch>,
    total: u64,
    window: usize,
}

/// How far a batch is on its worker, as far as we were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Sent,
    Taken,
}

/// What was lost with a worker.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// All that it had not finished.
    pub(super) unfinished: Vec<Batch>,
    /// Those of them that it had said it had begun.
    pub(super) begun: Vec<Batch>,
}

impl Plan {
    /// `total` batches; a worker has at most `window` of them at a time.
    pub(super) fn new(total: u64, window: usize) -> Self {
        Plan {
            waiting: (0..total).collect(),
            out: BTreeMap::new(),
            done: BTreeSet::new(),
            total,
            window,
        }
    }

    /// That worker can take work.
    pub(super) fn join(&mut self, worker: usize) {
        self.out.entry(worker).or_default();
    }

    /// What to send next and to whom, the worker with the least first; it is under way from now on.
    pub(super) fn hand_out(&mut self) -> Option<(usize, Batch)> {
        let (&worker, batches) = self.out.iter_mut().min_by_key(|(_, b)| b.len())?;
        if batches.len() >= self.window {
            return None;
        }
        let batch = self.waiting.pop_front()?;
        batches.insert(batch, Stage::Sent);
        Some((worker, batch))
    }

    /// The worker says that it has begun. `false`: it does not have that batch.
    pub(super) fn begun(&mut self, worker: usize, batch: Batch) -> bool {
        let stage = self.out.get_mut(&worker).and_then(|b| b.get_mut(&batch));
        stage.is_some_and(|stage| std::mem::replace(stage, Stage::Taken) == Stage::Sent)
    }

    /// The worker says that it is done. `false`: it does not have that batch, so it must not count.
    pub(super) fn counted(&mut self, worker: usize, batch: Batch) -> bool {
        let had = self.out.get_mut(&worker).and_then(|b| b.remove(&batch));
        had.is_some() && self.done.insert(batch)
    }

    /// How many batches that worker has now, and how many of them it has begun.
    pub(super) fn held_by(&self, worker: usize) -> (usize, usize) {
        self.out.get(&worker).map_or((0, 0), |batches| {
            let begun = batches.values().filter(|&&s| s == Stage::Taken).count();
            (batches.len(), begun)
        })
    }

    /// The worker is gone: what it had goes to the front of what waits.
    pub(super) fn lose(&mut self, worker: usize) -> Lost {
        let batches = self.out.remove(&worker).unwrap_or_default();
        for &batch in batches.keys().rev() {
            self.waiting.push_front(batch);
        }
        let begun = batches.iter().filter(|(_, s)| **s == Stage::Taken);
        Lost {
            begun: begun.map(|(&batch, _)| batch).collect(),
            unfinished: batches.into_keys().collect(),
        }
    }

    /// Whether that worker is gone.
    pub(super) fn is_lost(&self, worker: usize) -> bool {
        !self.out.contains_key(&worker)
    }

    /// How many batches are done.
    pub(super) fn done(&self) -> u64 {
        self.done.len() as u64
    }

    /// Whether every batch was counted, once.
    pub(super) fn is_finished(&self) -> bool {
        self.done() == self.total
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn every_batch_is_counted_once_though_a_worker_is_lost() {
        let mut plan = Plan::new(10, 2);
        for worker in 0..3 {
            plan.join(worker);
        }
        let mut has: BTreeMap<usize, Vec<Batch>> = BTreeMap::new();
        while let Some((worker, batch)) = plan.hand_out() {
            has.entry(worker).or_default().push(batch);
        }
        assert!(has.values().all(|batches| batches.len() == 2));
        let lost = has.remove(&1).unwrap_or_default();
        assert!(plan.begun(1, lost[0]) && !plan.begun(1, lost[0]));
        assert_eq!(plan.held_by(1), (2, 1));
        assert_eq!(
            plan.lose(1),
            Lost {
                unfinished: lost.clone(),
                begun: vec![lost[0]]
            }
        );
        // what a lost worker says afterwards does not count
        assert!(!plan.counted(1, lost[0]));
        let mut counted = 0;
        while !plan.is_finished() {
            let (&worker, _) = has
                .iter()
                .find(|(_, b)| !b.is_empty())
                .unwrap_or((&0, &lost));
            let batch = has.get_mut(&worker).and_then(Vec::pop).unwrap_or_default();
            assert!(plan.counted(worker, batch) && !plan.counted(worker, batch));
            counted += 1;
            while let Some((worker, batch)) = plan.hand_out() {
                assert_ne!(worker, 1);
                has.entry(worker).or_default().push(batch);
            }
        }
        assert_eq!((counted, plan.done()), (10, 10));
    }
}
