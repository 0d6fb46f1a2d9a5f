//! The task of a port at work: takes what waits, handles one thing at a time, ends when nothing waits.

use std::{
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep};

use super::{
    behaviour::{Behaviour, Fault, Incoming, Origin, Step, panic_text, shielded},
    port::{Item, PortCell},
    registry::Registry,
    transport::BoxFuture,
};
use crate::proto::{link::LinkId, message::Reason};

/// Items taken out of the mailbox at once, and the bytes at which no more are taken: what is taken no longer counts.
const BATCH_COUNT: usize = 256;
const BATCH_BYTES: usize = 16 << 10;

/// Runs the port until nothing waits or it is dead.
pub(super) async fn run(registry: Arc<Registry>, cell: Arc<PortCell>) {
    registry.released().await;
    let Some(mut behaviour) = cell.lock().behaviour.take() else {
        return;
    };
    let mut batch = VecDeque::new();
    let mut turns = 0;
    // what the behaviour was last told of where messages come from
    let mut told = None;
    let death = loop {
        match next_batch(&registry, &cell, &mut batch, &mut behaviour, &mut told) {
            Next::Batch(count) => turns += count,
            Next::Rest => return,
            Next::Gone => break None,
            Next::Die(reason) => break Some(reason),
        }
        match handle_batch(&registry, &cell, &mut batch, &mut behaviour, &mut told).await {
            Ok(()) => {}
            Err(death) => break death,
        }
        if turns >= BATCH_COUNT {
            // other tasks of this thread have their turn
            turns = 0;
            tokio::task::yield_now().await;
        }
    };
    if let Some(reason) = death {
        registry.die(&cell, reason);
    }
    let lost: usize = batch.iter().map(Item::messages).sum();
    registry.count_lost(&cell, lost as u64);
    shielded("dropping a port", || drop(batch));
    shielded("dropping a port", || drop(behaviour));
}

enum Next {
    /// So many things to do.
    Batch(usize),
    Rest,
    Gone,
    Die(Reason),
}

fn next_batch(
    registry: &Registry,
    cell: &Arc<PortCell>,
    batch: &mut VecDeque<Item>,
    behaviour: &mut Box<dyn Behaviour>,
    told: &mut Option<Option<LinkId>>,
) -> Next {
    let mut rested = false;
    loop {
        let mut inner = cell.lock();
        if inner.dead {
            return Next::Gone;
        }
        if let Some(reason) = inner.extras().and_then(|more| more.stop.take()) {
            return Next::Die(reason);
        }
        if let Some(successor) = inner.extras().and_then(|more| more.successor.take()) {
            let old = std::mem::replace(behaviour, successor);
            drop(inner);
            *told = None;
            shielded("dropping a behaviour", || drop(old));
            rested = false;
            continue;
        }
        let before = inner.mailbox.bytes();
        let mut count = 0;
        while count < BATCH_COUNT
            && before.saturating_sub(inner.mailbox.bytes()) < BATCH_BYTES
            && let Some(item) = inner.pop(BATCH_COUNT - count)
        {
            count += item.messages().max(1);
            batch.push_back(item);
        }
        if batch.is_empty() && rested {
            let idle = std::mem::replace(behaviour, Box::new(super::behaviour::Nothing));
            inner.rest(idle);
            return Next::Rest;
        }
        if batch.is_empty() {
            drop(inner);
            behaviour.rest();
            *told = None;
            rested = true;
            continue;
        }
        let links = inner.mailbox.take_waiting();
        let room = if inner.is_roomy() {
            inner.room.take()
        } else {
            None
        };
        drop(inner);
        if let Some(room) = room {
            room.notify_waiters();
        }
        registry.tell_room(cell, links);
        return Next::Batch(count);
    }
}

/// `Err`: the port has to die with the reason, or is dead.
async fn handle_batch(
    registry: &Arc<Registry>,
    cell: &Arc<PortCell>,
    batch: &mut VecDeque<Item>,
    behaviour: &mut Box<dyn Behaviour>,
    told: &mut Option<Option<LinkId>>,
) -> Result<(), Option<Reason>> {
    loop {
        if cell.is_urgent() {
            check_urgent(cell, behaviour, told)?;
        }
        let Some(item) = batch.front_mut() else {
            return Ok(());
        };
        let (step, from) = if let Item::Batch(messages, link) = item {
            let link = *link;
            if messages.is_empty() || cell.is_broken(link) {
                registry.count_lost(cell, messages.len() as u64);
                batch.pop_front();
                continue;
            }
            tell_origin(registry, cell, behaviour, told, Some(link));
            let behaviour = &mut **behaviour;
            let step = caught(move || behaviour.handle_batch(cell, messages));
            (step, Some(Some(link)))
        } else {
            let (incoming, from) = match batch.pop_front() {
                Some(Item::Kill(reason)) => return Err(Some(reason)),
                Some(Item::LossAck(link)) => {
                    // the session has told the link already that the loss is settled
                    cell.mend(link);
                    continue;
                }
                Some(Item::Message(message)) => {
                    tell_origin(registry, cell, behaviour, told, None);
                    (Incoming::Message(message), Some(None))
                }
                Some(Item::Work(work)) => (Incoming::Work(work), None),
                Some(Item::Batch(..)) | None => continue,
            };
            let behaviour = &mut **behaviour;
            let step = caught(move || behaviour.handle(cell, incoming));
            (step, from)
        };
        let result = match step {
            Err(payload) => Err(Fault::Die(panic_text(&*payload))),
            Ok(Step::Done(result)) => result,
            Ok(Step::Later(future)) => {
                Supervised {
                    future: Some(future),
                    cell,
                    sleep: None,
                }
                .await?
            }
        };
        if let Err(fault) = result {
            refuse(registry, cell, fault, from)?;
        }
    }
}

/// Runs a step; what panics is the port's fault, not the runner's (P5).
fn caught<T>(step: impl FnOnce() -> T) -> std::thread::Result<T> {
    catch_unwind(AssertUnwindSafe(step))
}

/// Tells the behaviour where the messages come from that follow, where that is not what it was told last.
fn tell_origin(
    registry: &Registry,
    cell: &Arc<PortCell>,
    behaviour: &mut Box<dyn Behaviour>,
    told: &mut Option<Option<LinkId>>,
    link: Option<LinkId>,
) {
    if *told != Some(link) {
        *told = Some(link);
        let origin = match link {
            Some(link) => Origin::Link(link, registry.node_of(link)),
            None => Origin::Local,
        };
        behaviour.origin(cell, origin);
    }
}

/// After a handler failed: the port dies, or the message is a loss of its link (P4, P5).
fn refuse(
    registry: &Registry,
    cell: &Arc<PortCell>,
    fault: Fault,
    from: Option<Option<LinkId>>,
) -> Result<(), Option<Reason>> {
    if let Fault::BadMessage(_) | Fault::Unhandled(_) = fault {
        match from {
            Some(Some(link)) if !registry.may_kill(cell, link) => {
                registry.break_link(cell, link, &fault);
                return Ok(());
            }
            Some(None) if cell.name().is_node_port() => {
                registry.lose_on_node_port(cell, &fault);
                return Ok(());
            }
            _ => {}
        }
    }
    if cell.name().is_node_port() {
        tracing::error!(?fault, "the node port failed");
        return Ok(());
    }
    tracing::debug!(port = %cell.id(), ?fault, "a handler failed");
    Err(Some(fault.reason()))
}

/// Between two handlers: is the port dead, stopped, killed, or equipped?
fn check_urgent(
    cell: &PortCell,
    behaviour: &mut Box<dyn Behaviour>,
    told: &mut Option<Option<LinkId>>,
) -> Result<(), Option<Reason>> {
    let mut inner = cell.lock();
    if inner.dead {
        return Err(None);
    }
    let mut successor = None;
    let mut is_killed = false;
    if let Some(more) = inner.extras() {
        if let Some(reason) = more.stop.take() {
            return Err(Some(reason));
        }
        if let Some((at, reason)) = &more.kill {
            if Instant::now() >= *at {
                return Err(Some(reason.clone()));
            }
            is_killed = true;
        }
        successor = more.successor.take();
    }
    if !is_killed {
        cell.clear_urgent();
    }
    drop(inner);
    if let Some(successor) = successor {
        let old = std::mem::replace(behaviour, successor);
        *told = None;
        shielded("dropping a behaviour", || drop(old));
    }
    Ok(())
}

/// A handler's future: a panic in it is a fault, and a kill whose time is up ends it (M4).
struct Supervised<'a> {
    future: Option<BoxFuture<'a, Result<(), Fault>>>,
    cell: &'a Arc<PortCell>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Supervised<'_> {
    /// Whether the port is dead or has to die now; else when it has to at the latest, and who is to be woken.
    fn fate(&self, cx: &Context<'_>) -> Result<Option<Instant>, Option<Reason>> {
        let mut inner = self.cell.lock();
        if inner.dead {
            return Err(None);
        }
        let at = match inner.extras().and_then(|more| more.kill.as_ref()) {
            Some((at, reason)) if Instant::now() >= *at => return Err(Some(reason.clone())),
            Some((at, _)) => Some(*at),
            None => None,
        };
        match &inner.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => inner.waker = Some(cx.waker().clone()),
        }
        Ok(at)
    }

    fn poll_future(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let Some(future) = &mut self.future else {
            return Poll::Ready(Ok(()));
        };
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(result)) => Poll::Ready(result),
            Err(payload) => Poll::Ready(Err(Fault::Die(panic_text(&*payload)))),
        }
    }
}

impl Future for Supervised<'_> {
    type Output = Result<Result<(), Fault>, Option<Reason>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.cell.is_urgent()
            && let Err(death) = this.fate(cx)
        {
            return Poll::Ready(Err(death));
        }
        if let Poll::Ready(result) = this.poll_future(cx) {
            return Poll::Ready(Ok(result));
        }
        loop {
            // the waker is registered and the fate read under one lock, so that no kill goes unseen
            let at = match this.fate(cx) {
                Ok(None) => return Poll::Pending,
                Ok(Some(at)) => at,
                Err(death) => return Poll::Ready(Err(death)),
            };
            let sleep = this
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if sleep.deadline() != at {
                sleep.as_mut().reset(at);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Supervised<'_> {
    fn drop(&mut self) {
        let future = self.future.take();
        shielded("dropping a handler", || drop(future));
    }
}
