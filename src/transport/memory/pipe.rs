//! Two byte streams back to back, with bounded buffers and the faults of a network between them.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::coop,
    time::{Instant, Sleep, sleep_until},
};

/// What one direction of a connection goes through.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    /// Bytes arrive this much later than they were written.
    pub(super) delay: Duration,
    /// Nothing arrives.
    pub(super) hung: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Direction {
    chunks: VecDeque<Chunk>,
    queued: usize,
    faults: Faults,
    /// Hung for good: no healing.
    abandoned: bool,
    /// The writer has shut down or is gone.
    ended: bool,
    /// Nobody will read any more.
    unread: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
struct Chunk {
    /// When it arrives; `None`: at once.
    at: Option<Instant>,
    data: VecDeque<u8>,
}

impl Direction {
    fn hung(&self) -> bool {
        self.faults.hung || self.abandoned
    }
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }
}

#[derive(Debug)]
struct State {
    /// From the dialling end, from the accepting end.
    directions: [Direction; 2],
    cut: bool,
}

/// A connection as the network sees it.
#[derive(Debug)]
pub(super) struct Wire {
    state: Mutex<State>,
    buffer_bytes: usize,
}

impl Wire {
    pub(super) fn new(buffer_bytes: usize, faults: [Faults; 2]) -> Arc<Self> {
        let [out, back] = faults.map(|faults| Direction {
            faults,
            ..Direction::default()
        });
        Arc::new(Wire {
            state: Mutex::new(State {
                directions: [out, back],
                cut: false,
            }),
            buffer_bytes: buffer_bytes.max(1),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Both ends fail, for good.
    pub(super) fn cut(&self) {
        let mut state = self.lock();
        state.cut = true;
        state.directions.iter_mut().for_each(Direction::wake);
    }

    /// No byte and no error arrives at either end, for good.
    pub(super) fn abandon(&self) {
        for direction in &mut self.lock().directions {
            direction.abandoned = true;
        }
    }

    /// What goes from the dialling end (`back`: to it) goes through from now on.
    pub(super) fn set_faults(&self, back: bool, faults: Faults) {
        let mut state = self.lock();
        let [out, other] = &mut state.directions;
        let direction = if back { other } else { out };
        direction.faults = faults;
        // the end of the stream and errors hang with the bytes, so both ends look again
        state.directions.iter_mut().for_each(Direction::wake);
    }
}

/// One end of a [`Wire`].
#[derive(Debug)]
pub(super) struct End {
    wire: Arc<Wire>,
    accepting: bool,
    arrival: Option<Pin<Box<Sleep>>>,
}

impl End {
    /// The dialling and the accepting end.
    pub(super) fn pair(wire: &Arc<Wire>) -> (End, End) {
        let end = |accepting| End {
            wire: wire.clone(),
            accepting,
            arrival: None,
        };
        (end(false), end(true))
    }
}

/// What an end writes and what it reads.
fn sides(state: &mut State, accepting: bool) -> (&mut Direction, &mut Direction) {
    let [out, back] = &mut state.directions;
    if accepting { (back, out) } else { (out, back) }
}

fn was_cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the memory network was cut")
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let turn = ready!(coop::poll_proceed(cx));
        let this = &mut *self;
        loop {
            let mut state = this.wire.lock();
            if state.cut {
                return Poll::Ready(Err(was_cut()));
            }
            let (_, from) = sides(&mut state, this.accepting);
            if from.hung() {
                from.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let Some(chunk) = from.chunks.front_mut() else {
                if from.ended {
                    return Poll::Ready(Ok(()));
                }
                from.reader = Some(cx.waker().clone());
                return Poll::Pending;
            };
            if let Some(at) = chunk.at.filter(|&at| at > Instant::now()) {
                from.reader = Some(cx.waker().clone());
                drop(state);
                let arrival = this
                    .arrival
                    .get_or_insert_with(|| Box::pin(sleep_until(at)));
                if arrival.deadline() != at {
                    arrival.as_mut().reset(at);
                }
                ready!(arrival.as_mut().poll(cx));
                continue;
            }
            let mut taken = 0;
            while buf.remaining() > 0 && !chunk.data.is_empty() {
                let (first, _) = chunk.data.as_slices();
                let count = first.len().min(buf.remaining());
                buf.put_slice(first.get(..count).unwrap_or_default());
                chunk.data.drain(..count);
                taken += count;
            }
            if chunk.data.is_empty() {
                from.chunks.pop_front();
            }
            from.queued -= taken;
            if let Some(writer) = from.writer.take() {
                writer.wake();
            }
            turn.made_progress();
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let turn = ready!(coop::poll_proceed(cx));
        let mut state = self.wire.lock();
        if state.cut {
            return Poll::Ready(Err(was_cut()));
        }
        let (to, back) = sides(&mut state, self.accepting);
        if to.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if to.unread && !to.hung() && !back.hung() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let room = self.wire.buffer_bytes.saturating_sub(to.queued);
        if room == 0 {
            to.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let data = data.get(..data.len().min(room)).unwrap_or_default();
        // a shorter delay never lets bytes overtake
        let last = to.chunks.back().and_then(|chunk| chunk.at);
        let at = match (to.faults.delay, last) {
            (Duration::ZERO, last) => last,
            (delay, last) => Some(Instant::now() + delay).max(last),
        };
        match to.chunks.back_mut() {
            Some(chunk) if chunk.at == at => chunk.data.extend(data),
            _ => to.chunks.push_back(Chunk {
                at,
                data: data.iter().copied().collect(),
            }),
        }
        to.queued += data.len();
        if let Some(reader) = to.reader.take() {
            reader.wake();
        }
        turn.made_progress();
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.lock().cut {
            return Poll::Ready(Err(was_cut()));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.wire.lock();
        if state.cut {
            return Poll::Ready(Err(was_cut()));
        }
        let (to, _) = sides(&mut state, self.accepting);
        to.ended = true;
        to.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.wire.lock();
        let (to, from) = sides(&mut state, self.accepting);
        to.ended = true;
        to.wake();
        from.unread = true;
        from.wake();
    }
}
