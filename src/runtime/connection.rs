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
    control::Control,
    driver::Event,
    link,
    shared::{Facts, LinkHandle, Shared},
    stream::{Outgoing, flush, read_batch},
    transport::Stream,
};
use crate::proto::close::CloseReason;

/// What the driver tells a connection.
pub(super) enum Command {
    /// It is the link.
    Activate {
        /// Say so to the peer, first of all.
        tell: bool,
        /// The link.
        handle: Arc<LinkHandle>,
    },
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
/// Commands that wait: at most an activation and two or three ends.
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

/// Starts the task of a connection, and tells the driver of it. The task ends when the connection does.
pub(super) fn start<P: NodePorts>(
    shared: &Arc<Shared<P>>,
    established: Established,
    addr: String,
    dialed: bool,
) -> (Arc<Facts>, JoinHandle<()>) {
    let (facts, stream) = Facts::new(shared.next_link(), established, addr, dialed);
    let facts = Arc::new(facts);
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    shared.tell_driver(Event::Candidate {
        facts: facts.clone(),
        commands,
    });
    let task = run(shared.clone(), facts.clone(), stream, inbox);
    (facts, tokio::spawn(task))
}

async fn run<P: NodePorts>(
    shared: Arc<Shared<P>>,
    facts: Arc<Facts>,
    stream: Box<dyn Stream>,
    mut commands: mpsc::Receiver<Command>,
) {
    // its life is what a shutdown waits for
    let _stage = shared.stage.subscribe();
    let (read, write) = tokio::io::split(stream);
    let mut io = Io {
        read,
        write,
        input: BytesMut::new(),
        output: Outgoing::default(),
    };
    let end = match wait(&shared, &facts, &mut io, &mut commands).await {
        Ok(handle) => link::run(&shared, handle, &mut io, &mut commands).await,
        Err(end) => end,
    };
    // the session has ended: nothing more comes in
    drop(commands);
    if let Some(stopped) = end.stopped {
        // the driver may be gone
        let _ = stopped.send(());
    }
    tracing::debug!(peer_node = %facts.node, link = ?facts.link, reason = %end.reason, "connection ended");
    shared.tell_driver(Event::Closed(facts.link, end.reason.clone()));
    part(io, &end.reason).await;
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
    loop {
        let answers = !io.output.bytes.is_empty();
        let answer = async {
            io.output.write(&mut io.write, patience).await?;
            flush(&mut io.write, patience).await
        };
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Activate { tell, handle }) => {
                    if tell {
                        Control::Activate.encode(&mut io.output.bytes);
                    }
                    return Ok(handle);
                }
                Some(Command::Close { reason, stopped }) => return Err(End { reason, stopped }),
                None => return Err(CloseReason::Shutdown.into()),
            },
            answered = answer, if answers => {
                answered.map_err(|e| CloseReason::Transport(e.to_string()))?;
            }
            // what follows ACTIVATE is for the link, and who takes no answer asks no more
            got = read_batch(&mut io.read, &mut io.input), if !activated && !answers => {
                ended(got)?;
            }
        }
        while !activated && let Some(control) = Control::take(&mut io.input)? {
            match control {
                Control::Ping(number) => Control::Pong(number).encode(&mut io.output.bytes),
                Control::Pong(_) => {}
                Control::Activate => {
                    activated = true;
                    shared.tell_driver(Event::Activated(facts.link));
                }
                Control::Close(reason) => return Err(reason.into()),
            }
        }
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
        if let Some(close) = Control::close(reason) {
            close.encode(&mut io.output.bytes);
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
