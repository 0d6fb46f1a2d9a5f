//! What the runtime needs of a transport: authenticated, encrypted byte streams that can prove who is on them.

use std::{fmt, future::Future, io, pin::Pin, sync::Arc, time::SystemTime};

use tokio::io::{AsyncRead, AsyncWrite};

pub use crate::proto::handshake::Mode;
use crate::proto::id::NodeId;

/// A future in a box.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// A connection that is encrypted, before the mesh handshake.
pub struct Connection {
    /// The bytes.
    pub stream: Box<dyn Stream>,
    /// Where the peer is, for logs and errors.
    pub peer_addr: String,
    /// 32 bytes that only the two ends know, different for each connection (TLS exporter, "EXPORTER-portmesh-auth-v1").
    pub exporter: [u8; 32],
    /// SHA-256 of our SubjectPublicKeyInfo on this connection.
    pub own_key: [u8; 32],
    /// SHA-256 of the peer's.
    pub peer_key: [u8; 32],
    /// Which ALPN was agreed on.
    pub mode: Mode,
    /// Certificate mode: the node ID that the verified certificate names; the greeting must claim the same.
    pub certified: Option<NodeId>,
    /// Certificate mode: the peer's certificate and those of CAs that came with it, in DER.
    pub chain: Vec<Vec<u8>>,
    /// Certificate mode: when the peer's certificate expires.
    pub expires: Option<SystemTime>,
    /// What [`Transport::generation`] was when this connection began.
    pub generation: u64,
    /// Both ends are in this process: nobody else can reach them, and no secret is needed.
    pub in_process: bool,
    /// For people: `TLS1.3 TLS13_AES_128_GCM_SHA256`, or that there is no TLS in a memory transport.
    pub security: String,
    /// For people: what proved the identity (certificate serial and expiry, or key fingerprint).
    pub proof: String,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer_addr", &self.peer_addr)
            .field("mode", &self.mode)
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The text is not an address, or not one that can be used so.
    #[error("{addr:?} is not usable as an address: {text}")]
    Address {
        /// The text.
        addr: String,
        /// What is wrong with it and what to do.
        text: String,
    },
    /// The address is not one of this transport's, or its name has no address.
    #[error("cannot resolve {addr}: {source}")]
    Resolve {
        /// The address.
        addr: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing answers there.
    #[error("cannot connect to {addr}: {source}")]
    Connect {
        /// The address.
        addr: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS failed: whose fault, in words a user can act on.
    #[error("TLS handshake with {addr} failed: {text}")]
    Tls {
        /// The address.
        addr: String,
        /// What was wrong and what to do.
        text: String,
    },
    /// It took too long.
    #[error("{what} with {addr} took longer than {limit:?}")]
    Timeout {
        /// The address.
        addr: String,
        /// What was under way.
        what: &'static str,
        /// The limit.
        limit: std::time::Duration,
    },
}

/// Makes and takes connections. One a node.
pub trait Transport: Send + Sync + 'static {
    /// Opens a connection to `addr` (`host:port`, or a name of the memory transport's): resolves it anew, tries every
    /// address it has, within the limits of time. `expect`: the node the dial is for, where it is known.
    fn dial<'a>(
        &'a self,
        addr: &'a str,
        expect: Option<&'a NodeId>,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>>;
    /// Listens on `addr`; what may be said there is the transport's own.
    fn listen<'a>(
        &'a self,
        addr: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, ConnectError>>;

    /// An address to dial with all that it leaves out (a port that is customary), in the form in which it is shown and
    /// told to others.
    ///
    /// # Errors
    /// [`ConnectError::Address`] where it can never be dialled. A name that has no address now is none of these.
    fn complete(&self, addr: &str) -> Result<String, ConnectError> {
        Ok(addr.to_owned())
    }

    /// The certificates that links over this transport are judged by; `None` where there are none.
    fn certificates(&self) -> Option<&dyn Certificates> {
        None
    }

    /// Grows each time that the certificates are replaced.
    fn generation(&self) -> u64 {
        0
    }

    /// Where others can reach the listeners with those local addresses.
    fn advertised(&self, listen_addrs: &[String]) -> Vec<String> {
        listen_addrs.to_vec()
    }

    /// Whether `addr` leads to the listeners of this very node, as far as it can be told without dialling: they have
    /// `listen_addrs` and are `advertised` as that. A name that cannot be resolved within a short time leads elsewhere.
    fn is_own<'a>(
        &'a self,
        addr: &'a str,
        listen_addrs: &'a [String],
        advertised: &'a [String],
    ) -> BoxFuture<'a, bool> {
        let own = listen_addrs.iter().chain(advertised).any(|own| own == addr);
        Box::pin(std::future::ready(own))
    }
}

/// The certificates of a transport while it runs: this node's, which may be replaced, and what others may show.
pub trait Certificates: Send + Sync {
    /// This node's certificate and those of CAs above it, in DER, and the signature over what `words` makes of the
    /// certificate. `None` without a certificate.
    ///
    /// # Errors
    /// When its key does not sign.
    fn sign(&self, words: &dyn Fn(&[u8]) -> Vec<u8>) -> Option<Result<Signed, String>>;
    /// Who a certificate is for, if it is acceptable now and its key has signed `words`.
    ///
    /// # Errors
    /// Why it is not acceptable, for people.
    fn verify(&self, signed: &Signed, words: &[u8]) -> Result<Certified, String>;
    /// Whether a certificate that was acceptable still is.
    ///
    /// # Errors
    /// Why it is not, for people.
    fn check(&self, chain: &[Vec<u8>]) -> Result<(), String>;
}

/// A certificate with a signature by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The certificate first, then those of CAs above it, in DER.
    pub chain: Vec<Vec<u8>>,
    /// How it is signed: a SignatureScheme of TLS 1.3.
    pub scheme: u16,
    /// The signature.
    pub signature: Vec<u8>,
}

/// What an acceptable certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    /// Whose it is.
    pub node: NodeId,
    /// When it expires.
    pub expires: SystemTime,
    /// For people: its serial number, key and expiry.
    pub proof: String,
}

/// Takes connections on one address.
pub trait Listener: Send + 'static {
    /// The next raw connection. Errors are passing ones (too many files, aborted): log, pause, go on.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming>>;
    /// Where it listens, with the port that the system chose.
    fn local_addr(&self) -> String;
}

/// A connection as it was accepted: nothing has been read from it yet.
pub struct Incoming {
    /// Whose, for limits and logs. `None` in a memory transport.
    pub peer_ip: Option<std::net::IpAddr>,
    /// For logs.
    pub peer_addr: String,
    /// Makes it secure; the caller applies the limits of time and number.
    pub secure: BoxFuture<'static, Result<Connection, ConnectError>>,
}

/// A shared transport.
pub type SharedTransport = Arc<dyn Transport>;
