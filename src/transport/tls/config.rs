//! How TLS is spoken: 1.3 only, ring, mutual, no SNI, no resumption, no early data, one ALPN.

use std::sync::Arc;

use rustls::{
    ClientConfig, ServerConfig,
    client::{
        AlwaysResolvesClientRawPublicKeys, ResolvesClientCert, Resumption,
        danger::ServerCertVerifier,
    },
    crypto::{SupportedKxGroup, ring::default_provider},
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage, ResolvesServerCert,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
    version::TLS13,
};

use super::{
    Identity, NodeKey, ahead::Ahead, raw_key::RawKeyVerifier, verify::CertificateVerifier,
};
use crate::proto::handshake::Mode;

/// What TLS clear text shows of a node.
pub(super) fn alpn(mode: Mode) -> &'static [u8] {
    match mode {
        Mode::Secret => b"portmesh-s/1",
        Mode::Certificate => b"portmesh-c/1",
    }
}

/// Both directions of one mode.
#[derive(Clone)]
pub(super) struct Configs {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    /// SHA-256 of our SubjectPublicKeyInfo.
    pub(super) own_key: [u8; 32],
}

impl Configs {
    pub(super) fn certificate(identity: &Identity) -> Result<Self, rustls::Error> {
        let verifier = Arc::new(CertificateVerifier(identity.trust()));
        let key = Arc::new(Always(identity.certified_key()));
        Self::new(
            Mode::Certificate,
            (verifier.clone(), verifier),
            (key.clone(), key),
            identity.key_digest(),
        )
    }

    pub(super) fn secret(key: &NodeKey) -> Result<Self, rustls::Error> {
        let verifier = Arc::new(RawKeyVerifier::new());
        let certified = key.certified_key();
        Self::new(
            Mode::Secret,
            (verifier.clone(), verifier),
            (
                Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(
                    &certified,
                ))),
                Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified)),
            ),
            key.digest(),
        )
    }

    fn new(
        mode: Mode,
        (of_servers, of_clients): (Arc<dyn ServerCertVerifier>, Arc<dyn ClientCertVerifier>),
        (as_client, as_server): (Arc<dyn ResolvesClientCert>, Arc<dyn ResolvesServerCert>),
        own_key: [u8; 32],
    ) -> Result<Self, rustls::Error> {
        let mut provider = default_provider();
        for group in &mut provider.kx_groups {
            if group.name() == Ahead.name() {
                *group = &Ahead;
            }
        }
        let provider = Arc::new(provider);
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(of_servers)
            .with_client_cert_resolver(as_client);
        client.alpn_protocols = vec![alpn(mode).to_vec()];
        client.enable_sni = false;
        client.resumption = Resumption::disabled();
        client.enable_early_data = false;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(of_clients)
            .with_cert_resolver(as_server);
        server.alpn_protocols = vec![alpn(mode).to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        Ok(Configs {
            client: Arc::new(client),
            server: Arc::new(server),
            own_key,
        })
    }
}

/// One certificate, whatever the peer asks for.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Always {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
