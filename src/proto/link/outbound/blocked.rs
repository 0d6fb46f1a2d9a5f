//! Lanes that wait for room in the window, or for a fragmented message to end, and which of them may go next.
//!
//! What the peer frees lets a few of them go, so they are let go one after the other as frames leave, the oldest of those
//! that fit first: a PROGRESS costs what it frees, however many lanes wait.

use std::collections::BTreeSet;

use crate::proto::link::window::{LaneIndex, Room};

/// Those that wait for an end of another fragmented message.
const FRAGMENTS: u8 = u8::MAX;
/// Those that would go alone, uncounted by the window.
const ALONE: u8 = FRAGMENTS - 1;

/// What a lane waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// For what happens to what is under way of the lane itself.
    Itself,
    /// For another fragmented message to end.
    Fragments,
    /// For so many bytes of the window to be free; `alone`: or for the place of the one that it does not count.
    Room { bytes: u64, alone: bool },
}

impl Need {
    /// By what the window says: see [`Window::need`](crate::proto::link::window::Window::need).
    pub(crate) fn of(room: Option<(u64, bool)>) -> Need {
        match room {
            Some((bytes, alone)) => Need::Room { bytes, alone },
            None => Need::Itself,
        }
    }
}

/// Where a lane waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    need: Need,
    /// The lower, the longer it waits.
    ticket: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Blocked {
    /// By class, which for bytes is their power of two, then by age.
    by_age: BTreeSet<(u8, u64, LaneIndex)>,
    /// Those that wait for bytes, by how many.
    by_size: BTreeSet<(u64, u64, LaneIndex)>,
    tickets: u64,
}

impl Blocked {
    /// A lane begins to wait; `since`: where it waited before, if nothing of it has gone out since.
    pub(crate) fn enter(&mut self, lane: LaneIndex, need: Need, since: Option<Waiting>) -> Waiting {
        self.tickets += 1;
        let ticket = since.map_or(self.tickets, |waiting| waiting.ticket);
        let waiting = Waiting { need, ticket };
        for class in waiting.classes() {
            self.by_age.insert((class, ticket, lane));
        }
        if let Need::Room { bytes, .. } = need {
            self.by_size.insert((bytes, ticket, lane));
        }
        waiting
    }

    /// A lane waits no longer.
    pub(crate) fn leave(&mut self, lane: LaneIndex, waiting: Waiting) {
        for class in waiting.classes() {
            self.by_age.remove(&(class, waiting.ticket, lane));
        }
        if let Need::Room { bytes, .. } = waiting.need {
            self.by_size.remove(&(bytes, waiting.ticket, lane));
        }
    }

    /// The lane that waits longest of those that may go; `fragments`: whether one more message may go in fragments.
    pub(crate) fn next(&self, room: Room, fragments: bool) -> Option<LaneIndex> {
        if self.by_age.is_empty() {
            return None;
        }
        // of the class where some fit and some do not, the one that needs least
        let top = class_of(room.free);
        let least = 1_u64.checked_shl(top.into()).unwrap_or(0);
        let fitting = self.by_size.range((least, 0, 0)..).next();
        let fitting = fitting.filter(|(bytes, ..)| *bytes <= room.free);
        let mut oldest = fitting.map(|&(_, ticket, lane)| (ticket, lane));
        let others = [(fragments, FRAGMENTS), (room.alone, ALONE)];
        let others = others.into_iter().filter(|(may, _)| *may);
        for class in (0..top).chain(others.map(|(_, class)| class)) {
            let first = self.by_age.range((class, 0, 0)..).next();
            if let Some(&(found, ticket, lane)) = first
                && found == class
                && oldest.is_none_or(|(other, _)| ticket < other)
            {
                oldest = Some((ticket, lane));
            }
        }
        oldest.map(|(_, lane)| lane)
    }

    /// Whether none is here.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_age.is_empty() && self.by_size.is_empty()
    }
}

impl Waiting {
    fn classes(&self) -> impl Iterator<Item = u8> + use<> {
        let classes = match self.need {
            Need::Itself => [None, None],
            Need::Fragments => [Some(FRAGMENTS), None],
            Need::Room { bytes, alone } => [Some(class_of(bytes)), alone.then_some(ALONE)],
        };
        classes.into_iter().flatten()
    }
}

fn class_of(bytes: u64) -> u8 {
    bytes.checked_ilog2().unwrap_or(0) as u8
}
