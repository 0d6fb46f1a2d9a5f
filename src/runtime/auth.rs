//! The mesh handshake over a secured connection: who is there, proven, or why not.

use std::{
    fmt, io,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::transport::{Connection, Mode, Stream};
pub use crate::proto::handshake::{
    Binding, Credentials, Forgetful, HandshakeError, KnownNodes, PeerLimits, Proof, Renew, Role,
    Secret, SecretId, Secrets,
};
use crate::proto::{
    codec::Format,
    handshake::{self, Channel, Greeting, Initiator, Local, Responder, TAG_BYTES},
    id::{Incarnation, NodeId},
    limits::Limits,
};

/// The features of this version, by the names under which nodes greet with them.
pub mod feature {
    /// The node takes part in the replicated database.
    pub const DB: &str = "db";
    /// A new certificate or secret can be proved over a link that is up.
    pub const RENEW: &str = "renew";
    /// Idle links may end without a loss.
    pub const RETIRE: &str = "retire";
}

/// What [`authenticate`] needs to know of this node. Made once a node; its secrets may change.
pub struct AuthConfig {
    local: Local,
    formats: Vec<Format>,
    cluster: String,
    known: Arc<dyn KnownNodes>,
    only_in_process: bool,
    secrets: RwLock<Option<Arc<Secrets>>>,
    /// Grows each time that the secrets change.
    generation: AtomicU64,
    timeout: Duration,
}

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("local", &self.local)
            .field("secrets", &self.secrets())
            .finish_non_exhaustive()
    }
}

impl AuthConfig {
    /// `formats` in order of preference; `features` are what the node greets with.
    ///
    /// # Errors
    /// [`HandshakeError::Config`] when it cannot be announced: a name that is not allowed, too many formats, none.
    pub fn new(
        node: NodeId,
        incarnation: Incarnation,
        cluster: &str,
        formats: Vec<Format>,
        features: Vec<String>,
        limits: &Limits,
        credentials: Credentials,
    ) -> Result<Self, HandshakeError> {
        let names = formats.iter().map(|f| f.name().to_owned()).collect();
        let local = Local::new(
            node,
            incarnation,
            cluster,
            names,
            features,
            PeerLimits::of(limits),
        )?;
        Ok(AuthConfig {
            local,
            formats,
            cluster: cluster.to_owned(),
            only_in_process: credentials.only_in_process(),
            known: credentials.known,
            secrets: RwLock::new(credentials.secrets.map(Arc::new)),
            generation: AtomicU64::new(0),
            timeout: limits.auth_timeout,
        })
    }

    /// The secrets that are accepted now.
    pub fn secrets(&self) -> Option<Arc<Secrets>> {
        let secrets = self.secrets.read();
        secrets.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the secrets, for handshakes that begin from now on. `false`: this node has none, and takes none.
    pub fn set_secrets(&self, new: Secrets) -> bool {
        let secrets = self.secrets.write();
        let mut secrets = secrets.unwrap_or_else(PoisonError::into_inner);
        if secrets.is_none() || self.only_in_process {
            return false;
        }
        *secrets = Some(Arc::new(new));
        self.generation.fetch_add(1, Ordering::Release);
        true
    }

    /// Grows each time that the secrets are replaced.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn check(&self, peer: &Greeting, proof: Proof) -> Result<(), HandshakeError> {
        self.known.check(&peer.node, proof)
    }

    /// Remembering may wait for the disk.
    async fn learn(&self, node: NodeId, proof: Proof) -> Result<(), HandshakeError> {
        if self.known.is_quick(&node, proof) {
            return self.known.learn(&node, proof);
        }
        let known = Arc::clone(&self.known);
        tokio::task::spawn_blocking(move || known.learn(&node, proof))
            .await
            .unwrap_or_else(|_| {
                Err(HandshakeError::Config(
                    "remembering the peer failed".to_owned(),
                ))
            })
    }
}

/// A connection whose other end is proven to be a node of this cluster, with that ID.
#[non_exhaustive]
pub struct Established {
    /// The bytes; nothing behind the handshake has been read.
    pub stream: Box<dyn Stream>,
    /// Where the peer is, for logs.
    pub peer_addr: String,
    /// Its ID.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// What its identity rests on: a digest of its public key in secret mode, of cluster and node ID in certificate
    /// mode. A newcomer with another one is another node, whatever its ID.
    pub identity: [u8; 32],
    /// How payloads are written on this link.
    pub format: Format,
    /// What the peer takes.
    pub limits: PeerLimits,
    /// Features that both have, sorted.
    pub features: Vec<String>,
    /// All features that the peer says it has.
    pub peer_features: Vec<String>,
    /// How both proved themselves.
    pub mode: Mode,
    /// For people: TLS version and cipher.
    pub security: String,
    /// For people: the key or certificate that was shown.
    pub shown: String,
    /// What proved the identity, and for how long.
    pub proof: LinkProof,
    /// What later proofs over this link are bound to.
    pub binding: Binding,
    /// What the generations of certificates and of secrets were when the connection began.
    pub generations: (u64, u64),
    /// Whether this side opened the connection.
    pub initiator: bool,
    /// What is to be said before anything else; see [`prove`].
    pub(super) unsaid: Vec<u8>,
}

impl fmt::Debug for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Established")
            .field("node", &self.node)
            .field("peer_addr", &self.peer_addr)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// What proves who is at the other end of a link, at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkProof {
    /// For people.
    pub text: String,
    /// When it ends by itself: the expiry of a certificate.
    pub expires: Option<SystemTime>,
    /// What it can be judged by again.
    pub basis: Basis,
}

/// See [`LinkProof`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Basis {
    /// Both have this secret.
    Secret(Option<SecretId>),
    /// The peer's certificate, and those of CAs that came with it, in DER.
    Certificate(Vec<Vec<u8>>),
}

/// The text of a proof by secret.
pub(super) fn secret_text(key: &str, secret: Option<SecretId>) -> String {
    match secret {
        Some(id) => format!("secret {id}, {key}"),
        None => key.to_owned(),
    }
}

/// Why a connection was not authenticated. It has been closed, without a word to the peer.
#[derive(Debug, thiserror::Error)]
#[error("authentication with {peer_addr} failed: {reason}")]
pub struct AuthError {
    /// Where the peer is.
    pub peer_addr: String,
    /// The ID it proved or, in certificate mode, its certificate shows; where that is known.
    pub node: Option<NodeId>,
    /// What went wrong.
    pub reason: AuthFailure,
}

/// What went wrong in an authentication.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthFailure {
    /// The peer was refused.
    #[error(transparent)]
    Refused(#[from] HandshakeError),
    /// The peer closed the connection: it has refused this node, or stopped.
    #[error("{}", closed_text(*.role))]
    Closed {
        /// This side's role.
        role: Role,
    },
    /// The peer took too long.
    #[error("the peer did not complete the handshake within {0:?}")]
    Timeout(Duration),
    /// The connection broke.
    #[error("{0}")]
    Io(io::Error),
}

fn closed_text(role: Role) -> &'static str {
    match role {
        Role::Initiator => {
            "the peer closed the connection without a word: it refused this node (another secret, another cluster, no common format, an ID that is taken); its log says why"
        }
        Role::Responder => {
            "the peer closed the connection before it had proved itself: a scanner, or it refused this node; its log says why"
        }
    }
}

/// Runs the handshake over `connection` within the limit of time. `expect`: the node that a dial was for.
///
/// Reads at most one bounded frame at a time and nothing behind the handshake. Whatever fails, the connection is
/// dropped without an answer.
///
/// # Errors
/// [`AuthError`], with the peer's address.
pub async fn authenticate(
    connection: Connection,
    role: Role,
    local: &AuthConfig,
    expect: Option<&NodeId>,
) -> Result<Established, AuthError> {
    prove(connection, role, local, expect, true).await
}

/// As [`authenticate`]. `say_all`: also the last word of an initiator, READY. Else it is left to the caller, who has more to say
/// at once, perhaps: what goes in one write takes the peer one turn.
pub(super) async fn prove(
    connection: Connection,
    role: Role,
    local: &AuthConfig,
    expect: Option<&NodeId>,
    say_all: bool,
) -> Result<Established, AuthError> {
    let peer_addr = connection.peer_addr.clone();
    let mut node = connection.certified.clone();
    let run = run(connection, role, local, expect, say_all, &mut node);
    let ended = match tokio::time::timeout(local.timeout, run).await {
        Ok(ended) => ended,
        Err(_) => Err(AuthFailure::Timeout(local.timeout)),
    };
    ended.map_err(|reason| AuthError {
        peer_addr,
        node,
        reason,
    })
}

async fn run(
    connection: Connection,
    role: Role,
    local: &AuthConfig,
    expect: Option<&NodeId>,
    say_all: bool,
    node: &mut Option<NodeId>,
) -> Result<Established, AuthFailure> {
    let Connection {
        mut stream,
        peer_addr,
        exporter,
        own_key,
        peer_key,
        mode,
        certified,
        chain,
        expires,
        generation,
        in_process,
        security,
        proof: shown,
    } = connection;
    if local.only_in_process && !in_process {
        return Err(HandshakeError::NoSecret.into());
    }
    let channel = Channel {
        mode,
        exporter,
        own_key,
        peer_key,
        certified,
    };
    let proof = match mode {
        Mode::Secret => Proof::Key(peer_key),
        Mode::Certificate => Proof::Certificate,
    };
    // in this order: whoever replaces secrets counts behind
    let generations = (generation, local.generation());
    let secrets = local.secrets();
    let secrets = secrets.as_deref();
    let binding = Binding::new(&channel, role, &local.cluster);
    let failed = |e| io_failure(e, role);
    let mut unsaid = Vec::new();
    let agreed = match role {
        Role::Initiator => {
            let current = secrets.map(Secrets::current);
            let (state, auth1) = Initiator::start(&local.local, channel, current)?;
            write(&mut stream, &auth1).await.map_err(failed)?;
            let auth2 = read_auth(&mut stream, role).await?;
            let state = state.handle_auth2(&auth2, expect)?;
            *node = Some(state.peer().node.clone());
            local.check(state.peer(), proof)?;
            local.learn(state.peer().node.clone(), proof).await?;
            let (agreed, ready) = state.finish();
            if say_all {
                write(&mut stream, &ready).await.map_err(failed)?;
            } else {
                unsaid.extend(ready);
            }
            agreed
        }
        Role::Responder => {
            let state = Responder::start(&local.local, channel, secrets)?;
            let auth1 = read_auth(&mut stream, role).await?;
            let state = state.handle_auth1(&auth1)?;
            *node = Some(state.peer().node.clone());
            local.check(state.peer(), proof)?;
            let (state, auth2) = state.answer()?;
            write(&mut stream, &auth2).await.map_err(failed)?;
            let mut ready = [0; TAG_BYTES];
            stream.read_exact(&mut ready).await.map_err(failed)?;
            let agreed = state.handle_ready(&ready)?;
            local.learn(agreed.peer.node.clone(), proof).await?;
            agreed
        }
    };
    let format = local
        .formats
        .iter()
        .find(|f| f.name() == agreed.pick.format)
        .cloned()
        .ok_or_else(|| HandshakeError::Config("the picked format is not there".to_owned()))?;
    Ok(Established {
        stream,
        peer_addr,
        identity: identity(mode, &agreed.peer, &peer_key),
        node: agreed.peer.node,
        incarnation: agreed.peer.incarnation,
        format,
        limits: agreed.peer.limits,
        features: agreed.features,
        peer_features: agreed.peer.features,
        mode,
        security,
        proof: LinkProof {
            text: match mode {
                Mode::Secret if !local.only_in_process => secret_text(&shown, agreed.secret),
                _ => shown.clone(),
            },
            expires,
            basis: match mode {
                Mode::Secret => Basis::Secret(agreed.secret),
                Mode::Certificate => Basis::Certificate(chain),
            },
        },
        shown,
        binding,
        generations,
        initiator: role == Role::Initiator,
        unsaid,
    })
}

async fn write(stream: &mut Box<dyn Stream>, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// One AUTH1 or AUTH2: never reads beyond it, never allocates more than its bound.
async fn read_auth(stream: &mut Box<dyn Stream>, role: Role) -> Result<Vec<u8>, AuthFailure> {
    let failed = |e| io_failure(e, role);
    let mut header = [0; 2];
    stream.read_exact(&mut header).await.map_err(failed)?;
    let n = handshake::auth_bytes_after(header)?;
    let mut frame = vec![0; header.len() + n];
    let (head, rest) = frame.split_at_mut(header.len());
    head.copy_from_slice(&header);
    stream.read_exact(rest).await.map_err(failed)?;
    Ok(frame)
}

fn io_failure(error: io::Error, role: Role) -> AuthFailure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => AuthFailure::Closed { role },
        _ => AuthFailure::Io(error),
    }
}

fn identity(mode: Mode, peer: &Greeting, key: &[u8; 32]) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(mode.name().as_bytes());
    context.update(&[0]);
    match mode {
        Mode::Secret => context.update(key),
        Mode::Certificate => {
            context.update(peer.cluster.as_bytes());
            context.update(&[0]);
            context.update(peer.node.as_str().as_bytes());
        }
    }
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    out
}
