//! Whose turn it is: a link lets the tasks go first whose messages then travel together, and a task that sends without end lets
//! all others run.

use std::{cell::Cell, future::poll_fn, task::Poll};

use tokio::task::yield_now;

use super::cells::PeerCell;

/// How often other tasks go first while they send more.
const PAUSES_MAX: usize = 4;
/// So many messages are sent on a thread by tasks that do not wait, before others have their turn.
const SENDS_MAX: u32 = 1024;

thread_local! {
    static SENDS: Cell<u32> = const { Cell::new(0) };
}

/// Whether messages go both ways, as the last few batches show.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// As [`PeerCell::commands`] was the last time.
    commands: u64,
    /// The newest batch counts for half.
    came: u64,
    went: u64,
}

impl Talk {
    /// `came`: messages of the last batch. `commands`: [`PeerCell::commands`] now. Whether about as much goes out as comes,
    /// or more than half of it.
    pub(super) fn answers(&mut self, came: u64, commands: u64) -> bool {
        let went = commands.wrapping_sub(self.commands);
        self.commands = commands;
        self.came = self.came / 2 + came;
        self.went = self.went / 2 + went;
        self.went > self.came / 2
    }
}

/// Lets the rest of the task run once.
pub(super) async fn pause() {
    let mut paused = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A task that would wait for room is about to send one more message. As long as there is room it would keep its thread, and what
/// it sends would stay where it is: the link's own task may be one that does not run meanwhile.
pub(crate) async fn sends() {
    let sends = SENDS.get() + 1;
    SENDS.set(sends % SENDS_MAX);
    if sends == SENDS_MAX {
        yield_now().await;
    }
}

/// Lets other tasks run as long as they send more, a few times at most.
pub(super) async fn settle(cell: &PeerCell) {
    let mut seen = cell.commands();
    for _ in 0..PAUSES_MAX {
        pause().await;
        let now = cell.commands();
        if std::mem::replace(&mut seen, now) == now {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_sends_without_end_lets_others_run() {
        SENDS.set(0);
        let other = tokio::spawn(async {});
        for _ in 0..SENDS_MAX {
            assert!(!other.is_finished(), "there is one thread");
            sends().await;
        }
        assert!(other.is_finished());
    }

    #[test]
    fn a_conversation_is_told_from_a_flood() {
        let mut talk = Talk::default();
        let mut commands = 0;
        for _ in 0..4 {
            assert!(!talk.answers(1000, commands), "nothing is answered");
        }
        for _ in 0..8 {
            commands += 64;
            talk.answers(64, commands);
        }
        for _ in 0..4 {
            commands += 64;
            assert!(talk.answers(64, commands));
        }
        // one answer now and then, as of a program that asks how far a flood has come
        for _ in 0..8 {
            commands += 1;
            talk.answers(1000, commands);
        }
        commands += 1;
        assert!(!talk.answers(1000, commands));
    }
}
