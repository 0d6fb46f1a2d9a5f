//! Mutual TLS 1.3 as rustls and ring choose it, as in Portmesh, with certificates that are minted for one run and stay in memory.

use std::{net::Ipv4Addr, sync::Arc};

use portmesh::cli::measure::Load;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, ServerConfig,
    client::{Resumption, WebPkiServerVerifier},
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

use super::{Res, server::TOOK};

/// The name of the server in its certificate.
const SERVER: &str = "raw-server";

/// The algorithms that certificates are signed with, the first one being what Portmesh's CA takes by default.
pub(crate) const KEYS: [&str; 2] = ["ed25519", "p256"];

/// What one side proves itself with, in DER, and whom it believes.
#[derive(Serialize, Deserialize)]
pub(crate) struct Identity {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// The server's identities and the client's, one for each of [`KEYS`].
pub(crate) fn mint() -> Res<[Vec<Identity>; 2]> {
    let mut both = [Vec::new(), Vec::new()];
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256] {
        let key = KeyPair::generate_for(algorithm)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = params.self_signed(&key)?.der().to_vec();
        let issuer = Issuer::new(params, key);
        for (side, name) in both.iter_mut().zip([SERVER, "raw-client"]) {
            let key = KeyPair::generate_for(algorithm)?;
            let mut params = CertificateParams::new([name.to_owned()])?;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ];
            side.push(Identity {
                ca: ca.clone(),
                certificate: params.signed_by(&key, &issuer)?.der().to_vec(),
                key: key.serialize_der(),
            });
        }
    }
    Ok(both)
}

impl Identity {
    fn roots(&self) -> Res<Arc<RootCertStore>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.ca.clone()))?;
        Ok(Arc::new(roots))
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from(self.certificate.clone())]
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }

    /// It sends no tickets: nobody comes back with one, in Portmesh neither.
    pub(super) fn acceptor(&self) -> Res<TlsAcceptor> {
        let provider = Arc::new(default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(self.roots()?, Arc::clone(&provider));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(clients.build()?)
            .with_single_cert(self.chain(), self.key())?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn connector(&self) -> Res<TlsConnector> {
        let provider = Arc::new(default_provider());
        let servers =
            WebPkiServerVerifier::builder_with_provider(self.roots()?, Arc::clone(&provider));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_webpki_verifier(servers.build()?)
            .with_client_auth_cert(self.chain(), self.key())?;
        config.resumption = Resumption::disabled();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

pub(super) type Stream = client::TlsStream<TcpStream>;

/// The server as the client has it: where it takes connections with one algorithm.
pub(super) struct Dialler {
    connector: TlsConnector,
    name: ServerName<'static>,
    port: u16,
    server_pid: u32,
}

impl Dialler {
    pub(super) fn new(identity: &Identity, port: u16, server_pid: u32) -> Res<Self> {
        Ok(Dialler {
            connector: identity.connector()?,
            name: ServerName::try_from(SERVER)?,
            port,
            server_pid,
        })
    }

    /// A connection whose server has taken our certificate, and says so.
    pub(super) async fn connect(&self) -> Res<Stream> {
        let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        tcp.set_nodelay(true)?;
        let mut stream = self.connector.connect(self.name.clone(), tcp).await?;
        if stream.read_u8().await? != TOOK {
            return Err("the server does not say that it took the certificate".into());
        }
        if stream.get_ref().1.handshake_kind() != Some(HandshakeKind::Full) {
            return Err("that was no full handshake".into());
        }
        Ok(stream)
    }

    pub(super) fn load(&self) -> Load {
        Load::start(self.server_pid)
    }
}

/// How the connection is secured, in Portmesh's words.
pub(super) fn security(stream: &Stream) -> Res<String> {
    let suite = stream.get_ref().1.negotiated_cipher_suite();
    let suite = suite.ok_or("no cipher suite was agreed on")?;
    Ok(format!("TLS1.3 {:?}", suite.suite()))
}
