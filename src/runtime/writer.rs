//! The writing half of a link's task.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::WriteHalf,
    task::yield_now,
    time::{Instant, sleep_until},
};

use super::{
    NodePorts,
    cells::fire,
    links::LinkHandle,
    shared::Shared,
    stream::{Outgoing, flush},
    transport::Stream,
    turns::{pause, settle},
};
use crate::proto::{close::CloseReason, id::PortId};

/// What is transmitted in one write, about.
const WRITE_BYTES: usize = 64 << 10;
/// What is written at most before the reader and all other tasks have their turn, about.
const TURN_BYTES: usize = 256 << 10;

pub(super) struct Writer<'a, P: NodePorts> {
    pub(super) shared: &'a Arc<Shared<P>>,
    pub(super) handle: &'a Arc<LinkHandle>,
    /// What is there goes out at once: it answers what was just read. Set by the reader.
    pub(super) fresh: &'a AtomicBool,
}

impl<P: NodePorts> Writer<'_, P> {
    /// Messages that cannot go over this link at all: a loss like any other (P2). `Err`: the link cannot go on.
    fn lost(&self) -> Result<(), CloseReason> {
        let cell = &self.handle.cell;
        let node = &self.handle.facts.node;
        let lost = cell.lock().peer.take_lost();
        fire(lost.fired);
        for port in lost.settle {
            let Some(link) = lost.link else { continue };
            let wake = cell.lock().peer.settle(link, &port);
            self.shared.wake(cell, node, wake);
            let reason = "it is too large for the peer, or its format cannot carry it";
            self.shared
                .lost(PortId::new(node.clone(), port), 1, reason.to_owned());
        }
        lost.close.map_or(Ok(()), Err)
    }

    /// Until the link has to end, and why.
    pub(super) async fn run(
        &self,
        stream: &mut WriteHalf<Box<dyn Stream>>,
        output: &mut Outgoing,
    ) -> CloseReason {
        let patience = self.shared.limits.link_timeout;
        let cell = &self.handle.cell;
        // what it was woken for by now goes out first thing
        let _ = pin!(cell.writer.notified()).enable();
        // what came right behind ACTIVATE may be answered by now if ports go first, and no timer is set for nothing
        if self.fresh.load(Ordering::Relaxed) {
            pause().await;
        }
        let mut turn = 0;
        loop {
            let now = self.shared.clock.now();
            let (transmit, due, flushed) = {
                let peer = &mut cell.lock().peer;
                let transmit = peer.transmit(&mut output.bytes, WRITE_BYTES, now);
                (transmit, peer.poll_timeout(), peer.is_flushed())
            };
            if transmit.room {
                cell.room.notify_waiters();
            }
            if transmit.lost
                && let Err(reason) = self.lost()
            {
                return reason;
            }
            if transmit.db_room
                && let Some(db) = &self.shared.db
            {
                db.room(self.handle.facts.link);
            }
            if !output.bytes.is_empty() {
                match output.write(stream, patience).await {
                    Ok(count) => {
                        self.shared.counters.bytes_out.add(count as u64);
                        turn += count;
                    }
                    Err(error) => return CloseReason::Transport(error.to_string()),
                }
                if output.bytes.capacity() > 4 * WRITE_BYTES {
                    // a frame that was larger than most
                    output.bytes.shrink();
                }
                if !transmit.more
                    && let Err(error) = flush(stream, patience).await
                {
                    return CloseReason::Transport(error.to_string());
                }
                if turn >= TURN_BYTES {
                    // A socket that takes everything would keep the thread for as long as there is room in the window: an
                    // answer that came meanwhile is not read, and who waits for it does not run.
                    turn = 0;
                    yield_now().await;
                }
                continue;
            }
            turn = 0;
            if flushed && self.handle.is_flushing() {
                return CloseReason::Shutdown;
            }
            output.rest(now.mono, patience / 4);
            let until = due.map(|mono| self.shared.clock.instant(mono));
            tokio::select! {
                () = cell.writer.notified() => {
                    // Senders that are ready to run add to what is written: a write a message costs forty times as much. What
                    // answers what was just read goes at once: a turn more, which may wake another thread, is a large part of
                    // a round trip.
                    if !self.fresh.swap(false, Ordering::Relaxed) {
                        settle(cell).await;
                    }
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
            }
        }
    }
}
