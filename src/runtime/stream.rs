//! Reading and writing in batches, with a limit of time on the peer and not on this process.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::pin,
    task::Poll,
    time::Duration,
};

use bytes::{BufMut, BytesMut, buf::Limit};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep_until},
};

use super::driver::LATE;
use crate::proto::{
    link::sink::Spliced,
    node::session::{Ports, Session},
};

/// What is read at once.
const READ_BYTES: usize = 64 << 10;
/// When less room than this is left in the buffer, it is made anew.
const ROOM_BYTES: usize = 16 << 10;
/// What a link waits with.
const SMALL_BYTES: usize = 2 << 10;
/// A larger buffer, after a frame that was larger than most, is not kept.
const SPARE_BYTES_MAX: usize = 256 << 10;

thread_local! {
    /// A large buffer to read into, for whichever link of this thread is at work: one that waits has none, or many links
    /// that were used at some time would keep one each.
    static SPARE: RefCell<Option<BytesMut>> = const { RefCell::new(None) };
}

/// Room for what comes next. A small buffer stays small while little comes.
fn make_room(into: &mut BytesMut) {
    let small = into.capacity() <= SMALL_BYTES;
    let enough = match (small, into.is_empty()) {
        (true, true) => SMALL_BYTES,
        (true, false) => SMALL_BYTES / 2,
        (false, _) => ROOM_BYTES,
    };
    if into.capacity() - into.len() >= enough {
        return;
    }
    if into.is_empty() {
        if !into.try_reclaim(READ_BYTES) {
            into.reserve(SMALL_BYTES);
        }
    } else if small && let Some(mut large) = SPARE.with_borrow_mut(Option::take) {
        large.extend_from_slice(into);
        *into = large;
        into.reserve(READ_BYTES);
    } else {
        into.reserve(READ_BYTES);
    }
}

/// There is nothing to be read: gives back what is needed only at work.
fn rest(into: &mut BytesMut) {
    if into.is_empty() && into.capacity() > SMALL_BYTES {
        let mut large = std::mem::take(into);
        // what somebody still has a part of is of no use to others
        if large.try_reclaim(READ_BYTES) && large.capacity() <= SPARE_BYTES_MAX {
            SPARE.with_borrow_mut(|spare| *spare = Some(large));
        }
    }
}

/// Whether a buffer is more than a link needs over which so much went since this was asked last.
fn is_too_large(capacity: usize, went: usize) -> bool {
    capacity > SMALL_BYTES && went < SMALL_BYTES
}

/// Who knows of some bytes where they belong, before they come: see the methods of [`Session`]. By default nobody.
pub(super) trait Direct {
    fn place(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        None
    }
    fn placed(&mut self, _count: usize) -> bool {
        false
    }
    fn wanted(&self, _data: &[u8]) -> Option<usize> {
        None
    }
    fn expect(&mut self, _data: &mut BytesMut) -> bool {
        false
    }
}

impl Direct for () {}

impl<P: Ports> Direct for Session<P> {
    fn place(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        Session::place(self)
    }
    fn placed(&mut self, count: usize) -> bool {
        Session::placed(self, count)
    }
    fn wanted(&self, data: &[u8]) -> Option<usize> {
        Session::wanted(self, data)
    }
    fn expect(&mut self, data: &mut BytesMut) -> bool {
        // what is wrong is found again by who takes the frame
        Session::expect(self, data).unwrap_or(false)
    }
}

/// Reads all that is there, about 64 KiB at most, waiting only for the first of it. 0: the end. `into` is the beginning of a
/// frame, and `direct` may take what belongs to others.
pub(super) async fn read_batch(
    stream: &mut (impl AsyncRead + Unpin),
    into: &mut BytesMut,
    direct: &mut impl Direct,
) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut total = 0;
        let mut is_head = true;
        let mut complete = false;
        while total < READ_BYTES && !complete {
            let got = if let Some(mut place) = direct.place() {
                let got = pin!(stream.read_buf(&mut place)).poll(cx);
                if let Poll::Ready(Ok(count)) = got {
                    complete = direct.placed(count);
                }
                got
            } else {
                make_room(into);
                let wanted = direct.wanted(into).filter(|_| is_head);
                is_head = wanted.is_some();
                let mut place = (&mut *into).limit(wanted.unwrap_or(usize::MAX));
                let got = pin!(stream.read_buf(&mut place)).poll(cx);
                if is_head && matches!(got, Poll::Ready(Ok(1..))) {
                    direct.expect(into);
                }
                got
            };
            match got {
                Poll::Ready(Ok(0)) => break,
                Poll::Ready(Ok(count)) => total += count,
                Poll::Ready(Err(error)) if total == 0 => return Poll::Ready(Err(error)),
                Poll::Pending if total == 0 => {
                    rest(into);
                    return Poll::Pending;
                }
                // it comes again next time
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(total))
    })
    .await
}

/// Why bytes could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the peer took no byte for {0:?}")]
    Slow(Duration),
}

/// Pieces of what is to be written that are handed on together.
const SLICES_MAX: usize = 16;

/// What is to be written, and how much of it has been: kept outside of the future, so that nothing is lost or written
/// twice when that is dropped.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) bytes: Spliced,
    /// What went out since the time beside it.
    went: usize,
    since: Duration,
}

impl Outgoing {
    /// Nothing is to be written: gives back what the buffer does not need while little goes out. To be called now and
    /// then; it looks at what went out in the last `period`.
    pub(super) fn rest(&mut self, mono: Duration, period: Duration) {
        if mono.saturating_sub(self.since) >= period {
            if self.bytes.is_empty() && is_too_large(self.bytes.capacity(), self.went) {
                self.bytes.shrink();
            }
            self.went = 0;
            self.since = mono;
        }
    }

    /// Writes it all. `patience`: how long the peer may take no byte.
    pub(super) async fn write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        patience: Duration,
    ) -> Result<usize, WriteError> {
        let mut total = 0;
        while !self.bytes.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut used = 0;
            for (slice, piece) in slices.iter_mut().zip(self.bytes.pieces()) {
                *slice = IoSlice::new(piece);
                used += 1;
            }
            let slices = slices.get(..used).unwrap_or_default();
            let count = patiently(patience, stream.write_vectored(slices)).await?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            self.bytes.advance(count);
            total += count;
        }
        self.went += total;
        Ok(total)
    }
}

/// Flushes the stream.
pub(super) async fn flush(
    stream: &mut (impl AsyncWrite + Unpin),
    patience: Duration,
) -> Result<(), WriteError> {
    patiently(patience, stream.flush()).await
}

/// Gives up after that time; but when this process stood still, the time begins again.
async fn patiently<T>(
    patience: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, WriteError> {
    let mut work = pin!(work);
    loop {
        let until = Instant::now() + patience;
        tokio::select! {
            biased;
            done = work.as_mut() => return Ok(done?),
            () = sleep_until(until) => {
                if until.elapsed() <= LATE {
                    return Err(WriteError::Slow(patience));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Buf;
    use tokio::io::duplex;

    use super::*;
    use crate::proto::link::sink::FrameSink;

    fn spare() -> usize {
        SPARE.with_borrow(|spare| spare.as_ref().map_or(0, BytesMut::capacity))
    }

    /// Nothing comes.
    async fn wait(far: &mut (impl AsyncRead + Unpin), input: &mut BytesMut) {
        let mut nobody = ();
        let mut read = pin!(read_batch(far, input, &mut nobody));
        poll_fn(|cx| {
            assert!(read.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn a_link_that_waits_has_a_small_buffer_and_one_at_work_a_large_one() {
        let (mut near, mut far) = duplex(1 << 20);
        let mut input = BytesMut::new();
        for _ in 0..100 {
            near.write_all(&[7; 100]).await.unwrap();
            assert_eq!(
                read_batch(&mut far, &mut input, &mut ()).await.unwrap(),
                100
            );
            input.advance(100);
            assert!(input.capacity() <= SMALL_BYTES, "{}", input.capacity());
        }
        for n in 0..10 {
            // all that is there comes in one batch
            let data: Vec<u8> = (0..60_000_u32).map(|at| (at + n) as u8).collect();
            near.write_all(&data).await.unwrap();
            assert_eq!(
                read_batch(&mut far, &mut input, &mut ()).await.unwrap(),
                60_000
            );
            assert_eq!(&*input, &*data);
            input.advance(59_999);
            wait(&mut far, &mut input).await;
            assert_eq!(input.len(), 1, "what is not taken stays");
            input.advance(1);
            wait(&mut far, &mut input).await;
            assert!(input.capacity() <= SMALL_BYTES, "{}", input.capacity());
            assert!(spare() >= READ_BYTES);
        }
        // what is still needed elsewhere is not used again
        near.write_all(&[7; 60_000]).await.unwrap();
        read_batch(&mut far, &mut input, &mut ()).await.unwrap();
        let kept = input.split().freeze();
        wait(&mut far, &mut input).await;
        near.write_all(&[8; 60_000]).await.unwrap();
        read_batch(&mut far, &mut input, &mut ()).await.unwrap();
        assert!(kept.iter().all(|&byte| byte == 7));
    }

    #[tokio::test]
    async fn a_write_buffer_is_kept_while_much_goes_out() {
        let (mut near, _far) = duplex(1 << 20);
        let (second, patience) = (Duration::from_secs(1), Duration::from_secs(5));
        let mut output = Outgoing::default();
        output.bytes.bytes().extend([7; 60_000]);
        output.write(&mut near, patience).await.unwrap();
        output.rest(second, second);
        assert!(output.bytes.capacity() >= 60_000, "it was needed just now");
        output.rest(second * 3 / 2, second);
        assert!(output.bytes.capacity() >= 60_000);
        output.bytes.bytes().push(7);
        output.rest(second * 2, second);
        assert_eq!(output.bytes.size(), 1, "what is to be written stays");
        output.write(&mut near, patience).await.unwrap();
        output.rest(second * 3, second);
        assert_eq!(output.bytes.capacity(), 0);
    }
}
