//! TCP with TLS 1.3: both sides prove themselves, by certificates of the cluster's CA or by raw keys and a shared secret.
//!
//! One attempt speaks one mode, which its ALPN names; there is no fallback. A connection that is up proves only the
//! possession of a key (and, in certificate mode, of a certificate of the CA); the mesh handshake inside proves the rest.

mod ahead;
pub mod ca;
mod config;
mod crl;
mod current;
mod explain;
pub(crate) mod files;
mod identity;
pub mod inspect;
mod known_nodes;
mod leaf;
mod name;
mod node_key;
mod raw_key;
mod remembered;
mod secret;
mod secret_file;
mod setup;
mod signatures;
mod stream;
mod verify;

use std::{
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{CommonState, server::Acceptor};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{Accept, Connect, LazyConfigAcceptor, TlsConnector};

use self::{
    ahead::meanwhile,
    config::alpn,
    current::{Current, Held},
    leaf::{Leaf, sha256, time},
    stream::TlsBytes,
};
pub use self::{
    crl::crl_text,
    current::ReplaceError,
    files::FileError,
    identity::{Identity, IdentityError},
    known_nodes::{KnownNodesError, KnownNodesFile},
    name::{dns_name, node_uri},
    node_key::{NodeKey, NodeKeyError},
    secret::SecretSourceError,
    secret_file::{SecretFile, SecretFileError},
    setup::{Membership, Prepared, SetupError, State},
};
use super::{address::Address, local, tcp};
use crate::{
    proto::{
        handshake::{EXPORTER_LABEL, Mode},
        id::NodeId,
        limits::Limits,
    },
    runtime::transport::{
        BoxFuture, Certificates, ConnectError, Connection, Incoming, Listener, Transport,
    },
};

/// What may wait encrypted to be written, in bytes; the kernel holds little more that is unsent.
const WRITE_BUFFER_BYTES: usize = 256 << 10;
/// A fatal alert "no_application_protocol", before any key is agreed on.
const NO_APPLICATION_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

/// Dials and accepts over TCP and TLS 1.3. Made by [`Membership::prepare`].
pub struct TlsTransport {
    held: Arc<Held>,
    loopback_only: bool,
    connect_timeout: Duration,
    tls_timeout: Duration,
}

impl TlsTransport {
    /// With an identity it dials in certificate mode, else in secret mode; it accepts what it has.
    ///
    /// # Errors
    /// [`SetupError::Nothing`] and [`SetupError::Tls`].
    pub fn new(
        identity: Option<Identity>,
        key: Option<NodeKey>,
        limits: &Limits,
    ) -> Result<Self, SetupError> {
        Ok(TlsTransport {
            loopback_only: identity.as_ref().is_some_and(Identity::is_public_fixture),
            held: Arc::new(Held::new(identity, key.as_ref())?),
            connect_timeout: limits.connect_timeout,
            tls_timeout: limits.tls_timeout,
        })
    }

    /// The certificate that connections begin with now; `None` in secret mode.
    pub fn identity(&self) -> Option<Identity> {
        self.held.identity()
    }

    /// Puts another certificate of this node, with its CAs and CRLs, in the place of the former one, for connections
    /// that begin from now on. Newer CRLs than its own, of its CAs, go on to count.
    ///
    /// # Errors
    /// [`ReplaceError`]; the former one stays.
    pub fn replace_identity(&self, identity: Identity) -> Result<(), ReplaceError> {
        self.held.replace(identity)
    }

    /// Takes a CRL (in DER) of a CA that is trusted here; `false`: one that is as new is there already.
    ///
    /// # Errors
    /// [`ReplaceError::SecretMode`] and [`ReplaceError::Crl`].
    pub fn add_crl(&self, der: &[u8]) -> Result<bool, ReplaceError> {
        self.held.add_crl(der)
    }

    /// Likewise, all CRLs of a text in PEM; `true`: at least one is newer than what was there.
    ///
    /// # Errors
    /// As [`Self::add_crl`], of the first one at fault; all others have been taken.
    pub fn add_crls(&self, pem: &str) -> Result<bool, ReplaceError> {
        let (mut taken, mut failed) = (false, None);
        for der in crl::parse(pem).map_err(ReplaceError::Crl)? {
            match self.held.add_crl(&der) {
                Ok(newer) => taken |= newer,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(taken), Err)
    }

    /// The newest CRL of each CA that revokes anything, in PEM, in the order of the digests of the CAs' keys.
    pub fn crls_in_force(&self) -> Vec<String> {
        let mut crls = self.held.crls();
        crls.retain(|crl| crl.revokes);
        crls.sort_by(|a, b| (a.authority, &*a.der).cmp(&(b.authority, &*b.der)));
        let pem = crls.iter().map(|crl| node_key::pem("X509 CRL", &crl.der));
        pem.collect()
    }

    async fn dial_one(&self, addr: &str, to: SocketAddr) -> Result<Connection, ConnectError> {
        // With the name as it was given and where it led to, when these differ.
        let addr = match to.to_string() {
            same if same == addr => same,
            ip => format!("{addr} ({ip})"),
        };
        self.check_loopback(&addr, to)?;
        let tcp = tcp::connect(&addr, to, self.connect_timeout).await?;
        let now = self.held.get();
        let connector = TlsConnector::from(Arc::clone(&now.dial.client));
        let handshake = connector.connect_with(now.server_name.clone(), tcp, |c| {
            c.set_buffer_limit(Some(WRITE_BUFFER_BYTES));
        });
        let tls = |text| ConnectError::Tls {
            addr: addr.clone(),
            text,
        };
        let stream = match timeout(self.tls_timeout, tuned(handshake, Connect::get_ref)).await {
            Ok(Ok((stream, tuned))) => {
                tuned.or_tune(stream.get_ref().0);
                stream
            }
            Ok(Err(e)) => return Err(tls(explain::handshake(&e, true, Some(now.dial_mode)))),
            Err(_) => {
                return Err(ConnectError::Timeout {
                    addr,
                    what: "the TLS handshake",
                    limit: self.tls_timeout,
                });
            }
        };
        let (_, session) = stream.get_ref();
        let mut exporter = [0; 32];
        session
            .export_keying_material(&mut exporter, EXPORTER_LABEL, None)
            .map_err(|e| tls(e.to_string()))?;
        let facts = Facts::of(session, now.dial_mode).map_err(tls)?;
        Ok(facts.connection(
            Box::new(TlsBytes::new(stream.into())),
            addr,
            exporter,
            now.dial.own_key,
            now.generation,
        ))
    }

    /// Keys that everybody has must not protect anything that others can reach.
    fn check_loopback(&self, addr: &str, to: SocketAddr) -> Result<(), ConnectError> {
        if self.loopback_only && !to.ip().to_canonical().is_loopback() {
            return Err(ConnectError::Tls {
                addr: addr.to_owned(),
                text: "the identity is one of the public test fixtures, whose keys everybody has: it works on loopback addresses only; make your own with `portmesh-cert`".into(),
            });
        }
        Ok(())
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTransport")
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl Transport for TlsTransport {
    fn dial<'a>(
        &'a self,
        addr: &'a str,
        _expect: Option<&'a NodeId>,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(async move {
            let mut error = None;
            for to in tcp::resolve(addr, self.connect_timeout).await? {
                match self.dial_one(addr, to).await {
                    Ok(connection) => return Ok(connection),
                    // What got further says more.
                    Err(e) => {
                        let further = !matches!(e, ConnectError::Connect { .. });
                        if error.is_none() || further {
                            error = Some(e);
                        }
                    }
                }
            }
            Err(error.unwrap_or_else(|| tcp::no_address(addr)))
        })
    }

    fn listen<'a>(
        &'a self,
        addr: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, ConnectError>> {
        Box::pin(async move {
            let check = |at| self.check_loopback(addr, at);
            let listener = tcp::listen(addr, self.connect_timeout, check).await?;
            Ok(Box::new(TlsListener {
                listener,
                held: Arc::clone(&self.held),
            }) as Box<dyn Listener>)
        })
    }

    fn complete(&self, addr: &str) -> Result<String, ConnectError> {
        Address::to_dial(addr).map(|address| address.to_string())
    }

    fn certificates(&self) -> Option<&dyn Certificates> {
        Some(&*self.held)
    }

    fn generation(&self) -> u64 {
        self.held.get().generation
    }

    fn advertised(&self, listen_addrs: &[String]) -> Vec<String> {
        local::advertised(listen_addrs)
    }

    fn is_own<'a>(
        &'a self,
        addr: &'a str,
        listen_addrs: &'a [String],
        advertised: &'a [String],
    ) -> BoxFuture<'a, bool> {
        Box::pin(local::is_own(addr, listen_addrs, advertised))
    }
}

struct TlsListener {
    listener: TcpListener,
    held: Arc<Held>,
}

impl Listener for TlsListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming>> {
        Box::pin(async move {
            let (tcp, from) = self.listener.accept().await?;
            let held = Arc::clone(&self.held);
            let peer_addr = from.to_string();
            let addr = peer_addr.clone();
            Ok(Incoming {
                peer_ip: Some(from.ip().to_canonical()),
                peer_addr,
                secure: Box::pin(async move { held.get().secure(tcp, addr).await }),
            })
        })
    }

    fn local_addr(&self) -> String {
        match self.listener.local_addr() {
            Ok(addr) => addr.to_string(),
            Err(e) => format!("unknown ({e})"),
        }
    }
}

impl Current {
    async fn secure(&self, tcp: TcpStream, addr: String) -> Result<Connection, ConnectError> {
        let tls = |text| ConnectError::Tls {
            addr: addr.clone(),
            text,
        };
        let start = meanwhile(LazyConfigAcceptor::new(Acceptor::default(), tcp), |_| {})
            .await
            .map_err(|e| tls(explain::handshake(&e, false, None)))?;
        let offered = offered(&start);
        let chosen = [
            (Mode::Certificate, &self.certificate),
            (Mode::Secret, &self.secret),
        ]
        .into_iter()
        .find(|(mode, _)| offered.as_deref() == Some(alpn(*mode)));
        let (mode, configs) = match chosen {
            Some((mode, Some(configs))) => (mode, configs),
            other => {
                let mut tcp = start.io;
                // A courtesy that lets the other side say what is wrong; it may be gone already.
                let _ = tcp.write_all(&NO_APPLICATION_PROTOCOL).await;
                return Err(tls(match other {
                    Some((Mode::Certificate, _)) => {
                        "the peer comes with a certificate, and this node has none, only a secret".into()
                    }
                    Some((Mode::Secret, _)) => {
                        "the peer comes with a secret, and this node has none, only a certificate".into()
                    }
                    None => "the peer offers no protocol of a Portmesh node (ALPN): it is none, or of another version".into(),
                }));
            }
        };
        let handshake = start.into_stream_with(Arc::clone(&configs.server), |c| {
            c.set_buffer_limit(Some(WRITE_BUFFER_BYTES));
        });
        let (stream, tuned) = tuned(handshake, Accept::get_ref)
            .await
            .map_err(|e| tls(explain::handshake(&e, false, Some(mode))))?;
        tuned.or_tune(stream.get_ref().0);
        let (_, session) = stream.get_ref();
        let mut exporter = [0; 32];
        session
            .export_keying_material(&mut exporter, EXPORTER_LABEL, None)
            .map_err(|e| tls(e.to_string()))?;
        let facts = Facts::of(session, mode).map_err(tls)?;
        Ok(facts.connection(
            Box::new(TlsBytes::new(stream.into())),
            addr,
            exporter,
            configs.own_key,
            self.generation,
        ))
    }
}

/// Runs a handshake; its socket is set up while the peer is at work.
async fn tuned<H, S>(
    handshake: H,
    socket: impl Fn(&H) -> Option<&TcpStream>,
) -> io::Result<(S, Tuned)>
where
    H: Future<Output = io::Result<S>> + Unpin,
{
    let mut tuned = Tuned(false);
    let stream = meanwhile(handshake, |handshake| {
        if let Some(tcp) = socket(handshake) {
            tcp::tune(tcp);
            tuned.0 = true;
        }
    });
    let stream = stream.await?;
    Ok((stream, tuned))
}

/// Whether the socket was set up.
struct Tuned(bool);

impl Tuned {
    /// The handshake did not wait once.
    fn or_tune(self, tcp: &TcpStream) {
        if !self.0 {
            tcp::tune(tcp);
        }
    }
}

/// The one protocol that the client offers; `None` if it offers none or several.
fn offered(start: &tokio_rustls::StartHandshake<TcpStream>) -> Option<Vec<u8>> {
    let hello = start.client_hello();
    let mut offered = hello.alpn()?;
    let first = offered.next()?;
    offered.next().is_none().then(|| first.to_vec())
}

/// What a completed TLS handshake says of the peer.
struct Facts {
    mode: Mode,
    peer_key: [u8; 32],
    certified: Option<NodeId>,
    chain: Vec<Vec<u8>>,
    expires: Option<SystemTime>,
    security: String,
    proof: String,
}

impl Facts {
    fn of(session: &CommonState, mode: Mode) -> Result<Self, String> {
        if session.alpn_protocol() != Some(alpn(mode)) {
            return Err("the peer did not agree to the protocol of a Portmesh node (ALPN)".into());
        }
        let shown = session
            .peer_certificates()
            .and_then(|c| c.first())
            .ok_or("the peer showed neither certificate nor key")?;
        let suite = session
            .negotiated_cipher_suite()
            .ok_or("no cipher suite was agreed on")?;
        let security = format!("TLS1.3 {:?}", suite.suite());
        Ok(match mode {
            Mode::Secret => {
                let peer_key = sha256(shown);
                Facts {
                    mode,
                    peer_key,
                    certified: None,
                    chain: Vec::new(),
                    expires: None,
                    security,
                    proof: format!("key {}", node_key::fingerprint(&peer_key)),
                }
            }
            Mode::Certificate => {
                let leaf = Leaf::of_verified(shown)?;
                let chain = session.peer_certificates().unwrap_or_default();
                Facts {
                    mode,
                    peer_key: leaf.key,
                    proof: leaf.proof.clone(),
                    chain: chain.iter().map(|der| der.to_vec()).collect(),
                    expires: Some(time(leaf.not_after)),
                    certified: Some(leaf.node.clone()),
                    security,
                }
            }
        })
    }

    fn connection(
        self,
        stream: Box<TlsBytes>,
        peer_addr: String,
        exporter: [u8; 32],
        own_key: [u8; 32],
        generation: u64,
    ) -> Connection {
        Connection {
            stream,
            peer_addr,
            exporter,
            own_key,
            peer_key: self.peer_key,
            mode: self.mode,
            certified: self.certified,
            chain: self.chain,
            expires: self.expires,
            generation,
            in_process: false,
            security: self.security,
            proof: self.proof,
        }
    }
}
