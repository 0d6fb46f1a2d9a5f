//! A TCP stream that reads a whole TLS record at once, for a reader that asks for it in small pieces.
//!
//! rustls asks for 4 KiB whenever it has nothing, and for no more than that again until it has a record: up to five system
//! calls for one of 16 KiB. What it did not ask for goes into a buffer beside, and is copied when it asks again.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// See the module.
pub(super) struct Ahead {
    tcp: TcpStream,
    /// What was read beyond what was asked for.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    rest: beside::Rest,
}

impl Ahead {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Ahead {
            tcp,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            rest: beside::Rest::default(),
        }
    }
}

/// What has to be kept in between.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod beside {
    use std::{
        cell::Cell,
        io::{self, IoSliceMut, Read},
        task::{Context, Poll, ready},
    };

    use socket2::SockRef;
    use tokio::{
        io::{Interest, ReadBuf},
        net::TcpStream,
    };

    /// What rustls asks for first.
    const FIRST_BYTES: usize = 4096;
    /// The rest of the longest record.
    const REST_BYTES: usize = 5 + (16 << 10) + 2048 - FIRST_BYTES;

    thread_local! {
        /// The buffer beside of whichever stream of this thread reads: one that waits has none.
        static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }

    #[derive(Default)]
    pub(super) struct Rest {
        bytes: Vec<u8>,
        at: usize,
        end: usize,
    }

    impl Rest {
        #[cfg(test)]
        pub(super) fn capacity(&self) -> usize {
            self.bytes.capacity()
        }

        /// Reads what is there to be read, from beside or from the stream. `None`: the stream can do it as well.
        pub(super) fn poll_read(
            &mut self,
            tcp: &TcpStream,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Option<Poll<io::Result<()>>> {
            if let Some(rest) = self.bytes.get(self.at..self.end)
                && !rest.is_empty()
            {
                let count = rest.len().min(buf.remaining());
                buf.put_slice(rest.get(..count).unwrap_or_default());
                self.at += count;
                if self.at == self.end {
                    SPARE.set(std::mem::take(&mut self.bytes));
                }
                return Some(Poll::Ready(Ok(())));
            }
            (buf.remaining() <= FIRST_BYTES).then(|| self.poll_both(tcp, cx, buf))
        }

        fn poll_both(
            &mut self,
            tcp: &TcpStream,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            loop {
                ready!(tcp.poll_read_ready(cx))?;
                let mut beside = SPARE.take();
                if beside.is_empty() {
                    beside = vec![0; REST_BYTES];
                }
                let wanted = buf.initialize_unfilled();
                let first = wanted.len();
                let mut got = None;
                let read = tcp.try_io(Interest::READABLE, || {
                    let socket = SockRef::from(tcp);
                    let mut slices = [IoSliceMut::new(wanted), IoSliceMut::new(&mut beside)];
                    let count = (&*socket).read_vectored(&mut slices)?;
                    got = Some(count);
                    if count > 0 && count < first + REST_BYTES {
                        // all there was: not asked again before the system says that there is more
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    Ok(())
                });
                let Some(count) = got else {
                    SPARE.set(beside);
                    match read {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        other => return Poll::Ready(other),
                    }
                };
                buf.advance(count.min(first));
                if count > first {
                    (self.bytes, self.at, self.end) = (beside, 0, count - first);
                } else {
                    SPARE.set(beside);
                }
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncRead for Ahead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(done) = this.rest.poll_read(&this.tcp, cx, buf) {
            return done;
        }
        Pin::new(&mut this.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (TcpStream, Ahead) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(near, listener.accept());
        near.as_ref().unwrap().set_nodelay(true).unwrap();
        (near.unwrap(), Ahead::new(far.unwrap().0))
    }

    /// Sizes that come again and again in no order.
    fn sizes(of: &'static [usize]) -> impl Iterator<Item = usize> {
        (0..).map(|n: usize| of[(n * n + n / 3) % of.len()])
    }

    // P1
    #[tokio::test]
    async fn bytes_come_as_they_were_sent_however_they_are_asked_for() {
        const BYTES: usize = 3_000_000;
        let (mut near, mut far) = pair().await;
        let sent: Vec<u8> = (0..BYTES).map(|at| (at * 31 / 7) as u8).collect();
        let write = async {
            let (mut rest, mut sizes) = (&sent[..], sizes(&[1, 16_406, 100, 60_000, 5]));
            while !rest.is_empty() {
                let (now, later) = rest.split_at(sizes.next().unwrap().min(rest.len()));
                near.write_all(now).await.unwrap();
                rest = later;
            }
            near.shutdown().await.unwrap();
        };
        let read = async {
            let mut got = Vec::new();
            let mut buf = vec![0; 20_000];
            for size in sizes(&[4096, 4096, 16_406, 1, 2053, 20_000, 4000]) {
                match far.read(&mut buf[..size]).await.unwrap() {
                    0 => break,
                    count => got.extend_from_slice(&buf[..count]),
                }
            }
            got
        };
        let ((), got) = tokio::join!(write, read);
        assert!(got == sent, "{} bytes of {BYTES}", got.len());
    }

    #[tokio::test]
    async fn what_comes_while_nothing_is_there_wakes_who_waits_for_it() {
        let (mut near, mut far) = pair().await;
        let mut buf = [0; 4096];
        for n in 0..200_u8 {
            let read = far.read(&mut buf);
            let write = async {
                tokio::task::yield_now().await;
                near.write_all(&[n; 10]).await.unwrap();
            };
            let (got, ()) = tokio::join!(read, write);
            assert_eq!(buf[..got.unwrap()], [n; 10]);
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[tokio::test]
    async fn a_stream_with_nothing_to_read_has_no_buffer() {
        let (mut near, mut far) = pair().await;
        near.write_all(&[7; 10_000]).await.unwrap();
        let mut all = [0; 10_000];
        while far.tcp.peek(&mut all).await.unwrap() < all.len() {}
        let mut buf = [0; 4096];
        let (mut got, mut held) = (0, false);
        while got < 10_000 {
            got += far.read(&mut buf).await.unwrap();
            held |= far.rest.capacity() > 0;
        }
        assert!(held);
        assert_eq!(far.rest.capacity(), 0);
    }
}
