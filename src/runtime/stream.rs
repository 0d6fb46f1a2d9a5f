//! Reading and writing in batches, with a limit of time on the peer and not on this process.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::Poll,
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep_until},
};

use super::driver::LATE;

/// What is read at once.
const READ_BYTES: usize = 64 << 10;
/// When less room than this is left in the buffer, it is made anew.
const ROOM_BYTES: usize = 16 << 10;

/// Reads all that is there, about 64 KiB at most, waiting only for the first of it. 0: the end.
pub(super) async fn read_batch(
    stream: &mut (impl AsyncRead + Unpin),
    into: &mut BytesMut,
) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut total = 0;
        while total < READ_BYTES {
            if into.capacity() - into.len() < ROOM_BYTES {
                into.reserve(READ_BYTES);
            }
            match pin!(stream.read_buf(into)).poll(cx) {
                Poll::Ready(Ok(0)) => break,
                Poll::Ready(Ok(count)) => total += count,
                Poll::Ready(Err(error)) if total == 0 => return Poll::Ready(Err(error)),
                Poll::Pending if total == 0 => return Poll::Pending,
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

/// What is to be written, and how much of it has been: kept outside of the future, so that nothing is lost or written
/// twice when that is dropped.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) bytes: Vec<u8>,
    written: usize,
}

impl Outgoing {
    /// Writes it all. `patience`: how long the peer may take no byte.
    pub(super) async fn write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        patience: Duration,
    ) -> Result<usize, WriteError> {
        while let Some(rest) = self.bytes.get(self.written..)
            && !rest.is_empty()
        {
            let count = patiently(patience, stream.write(rest)).await?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            self.written += count;
        }
        let count = self.bytes.len();
        self.bytes.clear();
        self.written = 0;
        Ok(count)
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
