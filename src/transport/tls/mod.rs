//! TCP with TLS 1.3: both sides prove themselves, by certificates of the cluster's CA or by raw keys and a shared secret.
//!
//! One attempt speaks one mode, which its ALPN names; there is no fallback. A connection that is up proves only the
//! possession of a key (and, in certificate mode, of a certificate of the CA); the mesh handshake inside proves the rest.

pub mod ca;
mod config;
mod explain;
pub(crate) mod files;
mod identity;
pub mod inspect;
mod known_nodes;
mod leaf;
mod name;
mod node_key;
mod raw_key;
mod secret;
mod secret_file;
mod setup;
mod stream;
mod verify;

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{CommonState, pki_types::ServerName, server::Acceptor};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

use self::{
    config::{Configs, alpn},
    leaf::{Leaf, sha256, utc},
    stream::TlsBytes,
};
pub use self::{
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
    runtime::transport::{BoxFuture, ConnectError, Connection, Incoming, Listener, Transport},
};

/// What may wait encrypted to be written, in bytes; the kernel holds little more that is unsent.
const WRITE_BUFFER_BYTES: usize = 256 << 10;
/// A fatal alert "no_application_protocol", before any key is agreed on.
const NO_APPLICATION_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

/// Dials and accepts over TCP and TLS 1.3. Made by [`Membership::prepare`].
pub struct TlsTransport {
    dial_mode: Mode,
    dial: Configs,
    server_name: ServerName<'static>,
    accept: Arc<Accept>,
    loopback_only: bool,
    connect_timeout: Duration,
    tls_timeout: Duration,
}

struct Accept {
    secret: Option<Configs>,
    certificate: Option<Configs>,
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
        let failed = |e: rustls::Error| SetupError::Tls(e.to_string());
        let certificate = identity
            .as_ref()
            .map(Configs::certificate)
            .transpose()
            .map_err(failed)?;
        let secret = key
            .as_ref()
            .map(Configs::secret)
            .transpose()
            .map_err(failed)?;
        let (dial_mode, dial) = match (&certificate, &secret) {
            (Some(c), _) => (Mode::Certificate, c.clone()),
            (None, Some(s)) => (Mode::Secret, s.clone()),
            (None, None) => return Err(SetupError::Nothing),
        };
        let server_name = match &identity {
            Some(identity) => identity.trust().server_name(),
            // Never sent and never looked at: raw keys have no names.
            None => ServerName::try_from("node.portmesh.internal")
                .map_err(|e| SetupError::Tls(e.to_string()))?,
        };
        Ok(TlsTransport {
            dial_mode,
            dial,
            server_name,
            accept: Arc::new(Accept {
                secret,
                certificate,
            }),
            loopback_only: identity.is_some_and(|i| i.is_public_fixture()),
            connect_timeout: limits.connect_timeout,
            tls_timeout: limits.tls_timeout,
        })
    }

    async fn dial_one(&self, addr: &str, to: SocketAddr) -> Result<Connection, ConnectError> {
        // With the name as it was given and where it led to, when these differ.
        let addr = match to.to_string() {
            same if same == addr => same,
            ip => format!("{addr} ({ip})"),
        };
        self.check_loopback(&addr, to)?;
        let tcp = tcp::connect(&addr, to, self.connect_timeout).await?;
        let connector = TlsConnector::from(Arc::clone(&self.dial.client));
        let handshake = connector.connect_with(self.server_name.clone(), tcp, |c| {
            c.set_buffer_limit(Some(WRITE_BUFFER_BYTES));
        });
        let tls = |text| ConnectError::Tls {
            addr: addr.clone(),
            text,
        };
        let stream = match timeout(self.tls_timeout, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return Err(tls(explain::handshake(&e, true, Some(self.dial_mode)))),
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
        let facts = Facts::of(session, self.dial_mode).map_err(tls)?;
        Ok(facts.connection(
            Box::new(TlsBytes::new(stream.into())),
            addr,
            exporter,
            self.dial_mode,
            self.dial.own_key,
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
            .field("dial_mode", &self.dial_mode)
            .field("accepts_secret", &self.accept.secret.is_some())
            .field("accepts_certificate", &self.accept.certificate.is_some())
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
                accept: Arc::clone(&self.accept),
            }) as Box<dyn Listener>)
        })
    }

    fn complete(&self, addr: &str) -> Result<String, ConnectError> {
        Address::to_dial(addr).map(|address| address.to_string())
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
    accept: Arc<Accept>,
}

impl Listener for TlsListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming>> {
        Box::pin(async move {
            let (tcp, from) = self.listener.accept().await?;
            let accept = Arc::clone(&self.accept);
            let peer_addr = from.to_string();
            let addr = peer_addr.clone();
            Ok(Incoming {
                peer_ip: Some(from.ip().to_canonical()),
                peer_addr,
                secure: Box::pin(async move { accept.secure(tcp, addr).await }),
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

impl Accept {
    async fn secure(&self, tcp: TcpStream, addr: String) -> Result<Connection, ConnectError> {
        let tls = |text| ConnectError::Tls {
            addr: addr.clone(),
            text,
        };
        tcp::tune(&tcp);
        let start = LazyConfigAcceptor::new(Acceptor::default(), tcp)
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
        let stream = start
            .into_stream_with(Arc::clone(&configs.server), |c| {
                c.set_buffer_limit(Some(WRITE_BUFFER_BYTES));
            })
            .await
            .map_err(|e| tls(explain::handshake(&e, false, Some(mode))))?;
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
            mode,
            configs.own_key,
        ))
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
    peer_key: [u8; 32],
    certified: Option<NodeId>,
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
                    peer_key,
                    certified: None,
                    security,
                    proof: format!("key {}", node_key::fingerprint(&peer_key)),
                }
            }
            Mode::Certificate => {
                let leaf = Leaf::read(shown)?;
                Facts {
                    peer_key: leaf.key,
                    proof: format!(
                        "certificate serial {}, key {}, expires {}",
                        leaf.serial,
                        node_key::fingerprint(&leaf.key),
                        utc(leaf.not_after)
                    ),
                    certified: Some(leaf.node),
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
        mode: Mode,
        own_key: [u8; 32],
    ) -> Connection {
        Connection {
            stream,
            peer_addr,
            exporter,
            own_key,
            peer_key: self.peer_key,
            mode,
            certified: self.certified,
            in_process: false,
            security: self.security,
            proof: self.proof,
        }
    }
}
