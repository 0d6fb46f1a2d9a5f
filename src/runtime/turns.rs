//! Whose turn it is: a link lets the tasks go first whose messages then travel together.

use std::{future::poll_fn, task::Poll};

use super::cells::PeerCell;

/// How often other tasks go first while they send more.
const PAUSES_MAX: usize = 4;

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
