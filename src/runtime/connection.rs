//! An authenticated connection: it waits until it is made the link or closed, is the link, and ends in order.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::{
    NodePorts,
    auth::Established,
    driver::Event,
    link,
    links::{Facts, LinkHandle, Origin},
    shared::{Shared, clean},
    stream::{Outgoing, flush, read_batch},
    transport::Stream,
};
use crate::proto::{
    close::{CloseReason, code},
    link::{
        frame::{EarlyFrame, Frame, close_frame, take_early},
        sink::FrameSink,
    },
};

/// What the driver tells a connection.
pub(super) enum Command {
    /// It is the link.
    Activate {
        /// Say so to the peer, first of all.
        tell: bool,
        /// The link.
        handle: Arc<LinkHandle>,
    },
    /// It is not the link, or not yet: what was left to be said of the handshake is to be said.
    Greet,
    /// It ends.
    Close {
        /// Why; told to the peer where it is for it.
        reason: CloseReason,
        /// Answered when nothing more comes in over it.
        stopped: Option<oneshot::Sender<()>>,
    },
}

/// How long the end of a connection may take: the last words, and the peer's.
const END_TIME: Duration = Duration::from_secs(1);
/// Commands that wait: at most a greeting, an activation and two or three ends.
const COMMANDS_MAX: usize = 8;

/// The two halves of the stream, and what was read or is to be written.
pub(super) struct Io {
    pub(super) read: ReadHalf<Box<dyn Stream>>,
    pub(super) write: WriteHalf<Box<dyn Stream>>,
    pub(super) input: BytesMut,
    pub(super) output: Outgoing,
}

/// Why a connection ended, and who waits to hear that it has.
pub(super) struct End {
    pub(super) reason: CloseReason,
    pub(super) stopped: Option<oneshot::Sender<()>>,
}

impl From<CloseReason> for End {
    fn from(reason: CloseReason) -> Self {
        End {
            reason,
            stopped: None,
        }
    }
}

/// Tells the driver of a connection. What comes back with it is its life, to be run to its end.
pub(super) fn begin<P: NodePorts>(
    shared: &Arc<Shared<P>>,
    mut established: Established,
    addr: String,
    origin: Origin,
) -> (Arc<Facts>, impl Future<Output = ()> + Send + use<P>) {
    let mut output = Outgoing::default();
    output.bytes.bytes().append(&mut established.unsaid);
    let (facts, stream) = Facts::new(shared.next_link(), established, addr, origin);
    let facts = Arc::new(facts);
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    shared.tell_driver(Event::Candidate {
        facts: facts.clone(),
        commands,
    });
    let life = run(shared.clone(), facts.clone(), stream, output, inbox);
    (facts, life)
}

/// As [`begin`], with a task of its own.
pub(super) fn start<P: NodePorts>(
    shared: &Arc<Shared<P>>,
    established: Established,
    addr: String,
    origin: Origin,
) -> (Arc<Facts>, JoinHandle<()>) {
    let (facts, life) = begin(shared, established, addr, origin);
    (facts, tokio::spawn(life))
}

async fn run<P: NodePorts>(
    shared: Arc<Shared<P>>,
    facts: Arc<Facts>,
    stream: Box<dyn Stream>,
    output: Outgoing,
    mut commands: mpsc::Receiver<Command>,
) {
    // its life is what a shutdown waits for
    let _stage = shared.stage.subscribe();
    let (read, write) = tokio::io::split(stream);
    let mut io = Io {
        read,
        write,
        input: BytesMut::new(),
        output,
    };
    let end = match wait(&shared, &facts, &mut io, &mut commands).await {
        Ok(handle) => link::run(&shared, handle, &mut io, &mut commands).await,
        Err(end) => end,
    };
    // the session has ended: nothing more comes in
    drop(commands);
    let reason = cleaned(end.reason);
    if let Some(stopped) = end.stopped {
        // the driver may be gone
        let _ = stopped.send(());
    }
    tracing::debug!(peer_node = %facts.node, link = ?facts.link, %reason, "connection ended");
    shared.tell_driver(Event::Closed(facts.link, reason.clone()));
    part(io, &reason).await;
}

/// Before the activation: only PING, PONG, ACTIVATE and CLOSE are legal. `Ok`: it is the link now.
async fn wait<P: NodePorts>(
    shared: &Shared<P>,
    facts: &Facts,
    io: &mut Io,
    commands: &mut mpsc::Receiver<Command>,
) -> Result<Arc<LinkHandle>, End> {
    let patience = shared.limits.link_timeout;
    let mut activated = false;
    // where this node decides, READY, ACTIVATE and the first messages go in one write
    let mut held = !io.output.bytes.is_empty();
    loop {
        let answers = !held && !io.output.bytes.is_empty();
        let mut nobody = ();
        let answer = async {
            io.output.write(&mut io.write, patience).await?;
            flush(&mut io.write, patience).await
        };
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Activate { tell, handle }) => {
                    if tell {
                        Frame::Activate.encode(io.output.bytes.bytes());
                    }
                    return Ok(handle);
                }
                Some(Command::Greet) => held = false,
                Some(Command::Close { reason, stopped }) => return Err(End { reason, stopped }),
                None => return Err(CloseReason::Shutdown.into()),
            },
            answered = answer, if answers => {
                answered.map_err(|e| CloseReason::Transport(e.to_string()))?;
            }
            // what follows ACTIVATE is for the link, and who takes no answer asks no more
            got = read_batch(&mut io.read, &mut io.input, &mut nobody), if !activated && !answers => {
                ended(got)?;
            }
        }
        while !activated
            && let Some(frame) = take_early(&mut io.input).map_err(CloseReason::from)?
        {
            match frame {
                EarlyFrame::Ping(number) => Frame::Pong(number).encode(io.output.bytes.bytes()),
                EarlyFrame::Pong(_) => {}
                EarlyFrame::Activate => {
                    activated = true;
                    shared.tell_driver(Event::Activated(facts.link));
                }
                EarlyFrame::Close(reason) => {
                    return Err(closed(shared, facts, cleaned(reason)).into());
                }
            }
        }
    }
}

/// The reason with the peer's text fit for a log.
fn cleaned(reason: CloseReason) -> CloseReason {
    match reason {
        CloseReason::ByPeer(code, text) => CloseReason::ByPeer(code, clean(&text)),
        other => other,
    }
}

/// The peer does not want the connection: where that is not the course of things, it is said.
fn closed<P: NodePorts>(shared: &Shared<P>, facts: &Facts, reason: CloseReason) -> CloseReason {
    match reason {
        CloseReason::ByPeer(code::DUPLICATE, _) => CloseReason::Duplicate,
        CloseReason::PeerShutdown => reason,
        reason @ CloseReason::ByPeer(..) => {
            let node = Some(&facts.node);
            shared.refused(&facts.addr, facts.node.as_str(), node, reason.to_string());
            reason
        }
        other => other,
    }
}

/// A read that brought nothing is the end.
pub(super) fn ended(got: std::io::Result<usize>) -> Result<usize, CloseReason> {
    match got {
        Ok(0) => Err(CloseReason::Transport(
            "the peer closed the connection without a word".to_owned(),
        )),
        Ok(count) => Ok(count),
        Err(error) => Err(CloseReason::Transport(error.to_string())),
    }
}

/// The last words: what was begun, why it ends, and the end; then what the peer still sends is read and dropped until its
/// end, so that closing does not make the system throw away what the peer has not read yet.
async fn part(mut io: Io, reason: &CloseReason) {
    let words = async {
        if let Some(close) = close_frame(reason) {
            io.output.bytes.bytes().extend(close);
            io.output.write(&mut io.write, END_TIME).await?;
        }
        flush(&mut io.write, END_TIME).await?;
        io.write.shutdown().await?;
        let mut rest = [0; 4096];
        while io.read.read(&mut rest).await? > 0 {}
        Ok::<(), super::stream::WriteError>(())
    };
    // whatever goes wrong here, the connection ends
    let _ = timeout(END_TIME, words).await;
}
