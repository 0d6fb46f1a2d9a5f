//! The side that receives: what it is asked for, until the connection ends.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};
use tokio_rustls::{TlsAcceptor, server};

use super::{
    Res,
    tls::Identity,
    wire::{All, Arguments, Format, Frames, Owned},
};

/// The first byte to a client: its certificate was taken.
pub(super) const TOOK: u8 = b'k';
/// What bulk does not hold: that was all of this round.
pub(super) const BULK_END: u8 = 0;

/// Room for what is read, in bytes.
const BUFFER_BYTES: usize = 256 << 10;
/// What there is room for at least when something is to be read, in bytes.
const READ_BYTES: usize = 64 << 10;
/// Batches on their way to the task that takes them.
const BATCHES: usize = 16;
/// What a message takes about, in bytes.
const MESSAGE_BYTES: usize = 64;

/// What a client wants; the first line of a connection.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) enum Job {
    Small(Small),
    Bulk,
    Echo,
}

/// How small messages are received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Small {
    pub(crate) format: Format,
    /// Whether it is all of the message that is owned, or what a handler of Portmesh gets of it.
    pub(crate) all: bool,
    /// Whether a task gets them, a batch a read, or they are dropped at once.
    pub(crate) batched: bool,
}

/// What was received in a round, and in what time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

impl Taken {
    fn count(&mut self, message: &impl Owned) {
        self.messages += 1;
        self.bytes += black_box(message).body().len() as u64;
    }
}

/// What is below TLS.
trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

type Stream<T> = server::TlsStream<T>;

/// Takes connections with one identity on each listener, and with the first one on the last, where it reads ahead below TLS:
/// that is faster for small messages, and slower for large ones.
pub(crate) async fn serve(identities: &[Identity], listeners: Vec<TcpListener>) -> Res<()> {
    let mut listeners = listeners.into_iter();
    let mut all = tokio::task::JoinSet::new();
    for (identity, listener) in identities.iter().zip(&mut listeners) {
        all.spawn(accept(identity.acceptor()?, listener, |tcp| tcp));
    }
    for (identity, listener) in identities.iter().zip(listeners) {
        let ahead = |tcp| BufReader::with_capacity(READ_BYTES, tcp);
        all.spawn(accept(identity.acceptor()?, listener, ahead));
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok(())
}

async fn accept<T: Io>(
    acceptor: TlsAcceptor,
    listener: TcpListener,
    below: impl Fn(TcpStream) -> T,
) -> Res<()> {
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        let (acceptor, tcp) = (acceptor.clone(), below(tcp));
        tokio::spawn(async move {
            if let Err(error) = connection(acceptor, tcp).await {
                eprintln!("the raw server: {error}");
            }
        });
    }
}

async fn connection<T: Io>(acceptor: TlsAcceptor, tcp: T) -> Res<()> {
    let mut stream = acceptor.accept(tcp).await?;
    stream.write_u8(TOOK).await?;
    stream.flush().await?;
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await {
            Ok(b'\n') => break,
            Ok(byte) => line.push(byte),
            // a handshake was all that was wanted
            Err(_) if line.is_empty() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    match serde_json::from_slice(&line)? {
        Job::Bulk => bulk(stream).await,
        Job::Echo => echo(stream).await,
        Job::Small(Small {
            format,
            all,
            batched,
        }) => match (format, all) {
            (Format::Cbor, true) => small(stream, All::cbor, batched).await,
            (Format::Cbor, false) => small(stream, Arguments::cbor, batched).await,
            (Format::Json, true) => small(stream, All::json, batched).await,
            (Format::Json, false) => small(stream, Arguments::json, batched).await,
        },
    }
}

/// Reads more; `false` at the end. The client just goes.
async fn read(stream: &mut Stream<impl Io>, buffer: &mut BytesMut) -> Res<bool> {
    buffer.reserve(READ_BYTES);
    Ok(stream.read_buf(buffer).await? > 0)
}

async fn tell(stream: &mut Stream<impl Io>, taken: Taken) -> Res<()> {
    for number in [taken.messages, taken.bytes, taken.time.as_nanos() as u64] {
        stream.write_u64(number).await?;
    }
    Ok(stream.flush().await?)
}

/// What the task gets that messages are handed over to.
enum Handed<M> {
    Batch(Vec<M>),
    /// All of a round, which began then.
    End(Instant, oneshot::Sender<Taken>),
}

/// Counts what it gets.
async fn take<M: Owned>(mut handed: mpsc::Receiver<Handed<M>>) {
    let mut taken = Taken::default();
    while let Some(item) = handed.recv().await {
        match item {
            Handed::Batch(messages) => messages.iter().for_each(|message| taken.count(message)),
            Handed::End(began, answer) => {
                taken.time = began.elapsed();
                // whoever asked may be gone
                let _ = answer.send(std::mem::take(&mut taken));
            }
        }
    }
}

async fn small<M: Owned>(
    mut stream: Stream<impl Io>,
    decode: impl Fn(&[u8]) -> Res<M>,
    batched: bool,
) -> Res<()> {
    let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
    let (hand, handed) = mpsc::channel(BATCHES);
    tokio::spawn(take(handed));
    let mut taken = Taken::default();
    let mut began = None;
    while read(&mut stream, &mut buffer).await? {
        let began_at = *began.get_or_insert_with(Instant::now);
        let mut frames = Frames(&buffer);
        let mut batch = Vec::with_capacity(if batched {
            buffer.len() / MESSAGE_BYTES
        } else {
            0
        });
        let mut ended = false;
        for frame in &mut frames {
            if frame.is_empty() {
                ended = true;
                break;
            }
            let message = decode(frame)?;
            if batched {
                batch.push(message);
            } else {
                taken.count(&message);
            }
        }
        let used = buffer.len() - frames.0.len();
        buffer.advance(used);
        if batched {
            hand.send(Handed::Batch(batch)).await?;
        }
        if ended {
            let all = match batched {
                true => {
                    let (answer, all) = oneshot::channel();
                    hand.send(Handed::End(began_at, answer)).await?;
                    all.await?
                }
                false => Taken {
                    time: began_at.elapsed(),
                    ..std::mem::take(&mut taken)
                },
            };
            began = None;
            tell(&mut stream, all).await?;
        }
    }
    Ok(())
}

async fn bulk(mut stream: Stream<impl Io>) -> Res<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    let mut began = None;
    loop {
        let got = stream.read(&mut buffer).await?;
        if got == 0 {
            return Ok(());
        }
        let began_at = *began.get_or_insert_with(Instant::now);
        bytes += got as u64;
        if buffer.get(got - 1) == Some(&BULK_END) {
            let taken = Taken {
                messages: 0,
                bytes: bytes - 1,
                time: began_at.elapsed(),
            };
            (bytes, began) = (0, None);
            tell(&mut stream, taken).await?;
        }
    }
}

/// Answers each message with one that holds its number.
async fn echo(mut stream: Stream<impl Io>) -> Res<()> {
    let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
    let mut answers = Vec::new();
    while read(&mut stream, &mut buffer).await? {
        let mut frames = Frames(&buffer);
        answers.clear();
        for frame in &mut frames {
            let (_, _, n, _) = black_box(All::cbor(frame)?);
            Format::Cbor.put(n, &mut answers)?;
        }
        let used = buffer.len() - frames.0.len();
        buffer.advance(used);
        stream.write_all(&answers).await?;
        stream.flush().await?;
    }
    Ok(())
}
