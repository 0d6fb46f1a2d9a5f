//! The bytes of a TLS connection, with errors that a user understands.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

use super::explain;

/// TLS has an end of its own; a stream that just stops lacks it.
const CUT_OFF: &str = "the peer's end of the connection is gone without a word: its process ended, or something on the way cut it";

/// See the module.
pub(super) struct TlsBytes(TlsStream<TcpStream>);

impl TlsBytes {
    pub(super) fn new(stream: TlsStream<TcpStream>) -> Self {
        TlsBytes(stream)
    }
}

fn explained<T>(done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    match done {
        Poll::Ready(Err(e)) => {
            let text = match e.kind() {
                io::ErrorKind::UnexpectedEof => Some(CUT_OFF.to_owned()),
                _ => explain::tls(&e).map(explain::stream),
            };
            Poll::Ready(Err(match text {
                Some(text) => io::Error::new(e.kind(), text),
                None => e,
            }))
        }
        other => other,
    }
}

impl AsyncRead for TlsBytes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        explained(Pin::new(&mut self.0).poll_read(cx, buf))
    }
}

impl AsyncWrite for TlsBytes {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        explained(Pin::new(&mut self.0).poll_write(cx, buf))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        explained(Pin::new(&mut self.0).poll_flush(cx))
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        explained(Pin::new(&mut self.0).poll_shutdown(cx))
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        explained(Pin::new(&mut self.0).poll_write_vectored(cx, bufs))
    }
    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
