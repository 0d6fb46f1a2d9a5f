//! What a node shows to whoever connects, without trusting any of it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{ring::default_provider, verify_tls13_signature, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    version::TLS13,
};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::{
    proto::handshake::Mode,
    runtime::transport::ConnectError,
    transport::{
        tcp,
        tls::{
            NodeKey, config::alpn, explain, leaf::sha256, node_key::fingerprint, verify::only_tls13,
        },
    },
};

/// Why nothing was shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// Nobody answers there.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Not within the time.
    #[error("{addr}: nothing was shown within {limit:?}")]
    Timeout {
        /// The address.
        addr: String,
        /// The limit.
        limit: Duration,
    },
    /// It speaks no TLS that shows anything.
    #[error("{addr}: {text}")]
    Tls {
        /// The address.
        addr: String,
        /// What happened.
        text: String,
    },
    /// This side cannot speak TLS.
    #[error("TLS cannot be configured: {0}")]
    Setup(String),
}

/// What somebody shows in one mode. It proved that it has the key; nothing else is checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Shown {
    /// In which mode.
    pub mode: Mode,
    /// Where the address led to.
    pub addr: String,
    /// TLS version and cipher suite, if the handshake came that far.
    pub security: Option<String>,
    /// Whether it agreed to the protocol of a Portmesh node (ALPN).
    pub is_node: bool,
    /// Certificate mode: the certificate, then those that came with it, each as DER.
    pub chain: Vec<Vec<u8>>,
    /// Secret mode: the fingerprint of its key.
    pub key: Option<String>,
}

/// Connects as a stranger, in each mode, and says what is shown. An empty answer: it takes neither mode. Never takes
/// longer than `limit`. The other side logs that somebody without a certificate was there.
///
/// # Errors
/// [`LiveError`].
pub async fn look(addr: &str, limit: Duration) -> Result<Vec<Shown>, LiveError> {
    let work = async {
        let mut all = Vec::new();
        for mode in [Mode::Certificate, Mode::Secret] {
            all.extend(look_in(mode, addr, limit).await?);
            // a server that knows nothing of us shows the same again
            if all.iter().any(|shown| !shown.is_node) {
                break;
            }
        }
        Ok(all)
    };
    match timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(LiveError::Timeout {
            addr: addr.to_owned(),
            limit,
        }),
    }
}

async fn look_in(mode: Mode, addr: &str, limit: Duration) -> Result<Option<Shown>, LiveError> {
    let setup = |e: &dyn std::fmt::Display| LiveError::Setup(e.to_string());
    let witness = Arc::new(Witness {
        raw: mode == Mode::Secret,
        seen: Mutex::new(None),
    });
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|e| setup(&e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>);
    let mut config = match mode {
        Mode::Certificate => builder.with_no_client_auth(),
        // A raw key is asked for before any is shown; one for this moment does.
        Mode::Secret => {
            let key = NodeKey::ephemeral().map_err(|e| setup(&e))?;
            let resolver = AlwaysResolvesClientRawPublicKeys::new(key.certified_key());
            builder.with_client_cert_resolver(Arc::new(resolver))
        }
    };
    config.alpn_protocols = vec![alpn(mode).to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    let (tcp, at) = connect(addr, limit).await?;
    // Never sent and never looked at.
    let name = ServerName::try_from("node.portmesh.internal").map_err(|e| setup(&e))?;
    let done = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await;
    let seen = witness
        .seen
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let (security, agreed) = match &done {
        Ok(stream) => {
            let (_, session) = stream.get_ref();
            let suite = session.negotiated_cipher_suite();
            let security = suite.map(|suite| format!("TLS1.3 {:?}", suite.suite()));
            (security, session.alpn_protocol() == Some(alpn(mode)))
        }
        // It refused us after it had shown itself.
        Err(_) => (None, true),
    };
    match (seen, done) {
        (Some(seen), _) => {
            let key = (mode == Mode::Secret)
                .then(|| seen.first().map(|key| fingerprint(&sha256(key))))
                .flatten();
            Ok(Some(Shown {
                mode,
                addr: at,
                security,
                is_node: agreed,
                chain: if key.is_none() { seen } else { Vec::new() },
                key,
            }))
        }
        (None, Err(e)) if refuses_mode(&e) => Ok(None),
        (None, Err(e)) => Err(LiveError::Tls {
            addr: at,
            text: explain::handshake(&e, true, Some(mode)),
        }),
        (None, Ok(_)) => Err(LiveError::Tls {
            addr: at,
            text: "it showed neither certificate nor key".into(),
        }),
    }
}

async fn connect(
    addr: &str,
    limit: Duration,
) -> Result<(tokio::net::TcpStream, String), LiveError> {
    let mut error = None;
    for to in tcp::resolve(addr, limit).await? {
        match tcp::connect(addr, to, limit).await {
            Ok(stream) => return Ok((stream, to.to_string())),
            Err(e) => error = error.or(Some(e)),
        }
    }
    Err(error.unwrap_or_else(|| tcp::no_address(addr)).into())
}

/// Whether the other side takes no connections of that mode; a server of another kind may say that too.
fn refuses_mode(error: &std::io::Error) -> bool {
    matches!(
        explain::tls(error),
        Some(
            Error::NoApplicationProtocol
                | Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)
        )
    )
}

/// Takes everything, and remembers what was shown with proof that its key is there.
#[derive(Debug)]
struct Witness {
    raw: bool,
    seen: Mutex<Option<Vec<Vec<u8>>>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let all = std::iter::once(end_entity).chain(intermediates);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(all.map(|der| der.to_vec()).collect());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let schemes = default_provider().signature_verification_algorithms;
        let done = if self.raw {
            let key = SubjectPublicKeyInfoDer::from(cert.as_ref());
            verify_tls13_signature_with_raw_key(message, &key, dss, &schemes)
        } else {
            verify_tls13_signature(message, cert, dss, &schemes)
        };
        if done.is_err() {
            // somebody who shows what is not theirs
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        done
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.raw
    }
}
