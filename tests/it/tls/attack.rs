//! What attackers have: TLS that believes everything and shows anything, certificates made to order, sockets.

use std::{sync::Arc, time::Duration};

use portmesh::transport::tls::{Identity, Membership, State, dns_name, node_uri};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ED25519, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring::{default_provider, sign::any_supported_type},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::{
        AlwaysResolvesServerRawPublicKeys, ClientHello, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::support::node;

pub(crate) const SECRET: &[u8] = b"portmesh-s/1";
pub(crate) const CERTIFICATE: &[u8] = b"portmesh-c/1";

/// Believes everybody; `raw`: wants raw keys.
#[derive(Debug)]
struct Gullible {
    raw: bool,
}

macro_rules! gullible {
    ($trait:ident, $check:ident($($arg:ident: $of:ty),*) -> $verified:ident $(, $more:item)?) => {
        impl $trait for Gullible {
            fn $check(&self, $($arg: $of),*) -> Result<$verified, Error> {
                Ok($verified::assertion())
            }
            fn verify_tls12_signature(
                &self,
                _: &[u8],
                _: &CertificateDer<'_>,
                _: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, Error> {
                Ok(HandshakeSignatureValid::assertion())
            }
            fn verify_tls13_signature(
                &self,
                _: &[u8],
                _: &CertificateDer<'_>,
                _: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, Error> {
                Ok(HandshakeSignatureValid::assertion())
            }
            fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
                default_provider().signature_verification_algorithms.supported_schemes()
            }
            fn requires_raw_public_keys(&self) -> bool {
                self.raw
            }
            $($more)?
        }
    };
}

gullible!(ServerCertVerifier, verify_server_cert(
    _a: &CertificateDer<'_>, _b: &[CertificateDer<'_>], _c: &ServerName<'_>, _d: &[u8], _e: UnixTime
) -> ServerCertVerified);
gullible!(ClientCertVerifier, verify_client_cert(
    _a: &CertificateDer<'_>, _b: &[CertificateDer<'_>], _c: UnixTime
) -> ClientCertVerified, fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] { &[] });

/// Shows those certificates, however wrong they are.
#[derive(Debug)]
struct Whatever(
    Vec<CertificateDer<'static>>,
    Arc<dyn rustls::sign::SigningKey>,
);

impl Whatever {
    fn key(&self) -> Option<Arc<CertifiedKey>> {
        Some(Arc::new(CertifiedKey::new(self.0.clone(), self.1.clone())))
    }
}

impl ResolvesClientCert for Whatever {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.key()
    }
    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Whatever {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key()
    }
}

/// What the attacker shows as its identity.
#[derive(Clone)]
pub(crate) enum Shows {
    Nothing,
    Certificate(Vec<CertificateDer<'static>>, Arc<KeyPair>),
    RawKey(Arc<KeyPair>),
}

impl Shows {
    pub(crate) fn raw() -> Self {
        Shows::RawKey(Arc::new(KeyPair::generate_for(&PKCS_ED25519).unwrap()))
    }
    fn is_raw(&self) -> bool {
        matches!(self, Shows::RawKey(_))
    }
}

fn signer(key: &KeyPair) -> Arc<dyn rustls::sign::SigningKey> {
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    any_supported_type(&der).unwrap()
}

fn raw_key(key: &KeyPair) -> Arc<CertifiedKey> {
    let signer = signer(key);
    let spki = CertificateDer::from(signer.public_key().unwrap().to_vec());
    Arc::new(CertifiedKey::new(vec![spki], signer))
}

/// A client's TLS as the attacker wants it.
pub(crate) fn client_config(shows: &Shows, alpn: &[&[u8]]) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible {
            raw: shows.is_raw(),
        }));
    let mut config = match shows {
        Shows::Nothing => builder.with_no_client_auth(),
        Shows::Certificate(chain, key) => {
            builder.with_client_cert_resolver(Arc::new(Whatever(chain.clone(), signer(key))))
        }
        Shows::RawKey(key) => builder.with_client_cert_resolver(Arc::new(
            AlwaysResolvesClientRawPublicKeys::new(raw_key(key)),
        )),
    };
    config.alpn_protocols = alpn.iter().map(|a| a.to_vec()).collect();
    config.enable_sni = false;
    config
}

/// Connects with it. `Err` is what TLS says.
pub(crate) async fn connect(
    addr: &str,
    config: ClientConfig,
) -> Result<client::TlsStream<TcpStream>, String> {
    let tcp = TcpStream::connect(addr).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("x").unwrap(), tcp)
        .await
        .map_err(|e| e.to_string())
}

/// A listener of the attacker's; `shows` must not be nothing.
pub(crate) struct Trap {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    pub(crate) addr: String,
}

impl Trap {
    pub(crate) async fn new(shows: &Shows, alpn: &[&[u8]]) -> Self {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(Gullible {
                raw: shows.is_raw(),
            }));
        let mut config = match shows {
            Shows::Nothing => panic!("a TLS server shows something"),
            Shows::Certificate(chain, key) => {
                builder.with_cert_resolver(Arc::new(Whatever(chain.clone(), signer(key))))
            }
            Shows::RawKey(key) => builder.with_cert_resolver(Arc::new(
                AlwaysResolvesServerRawPublicKeys::new(raw_key(key)),
            )),
        };
        config.alpn_protocols = alpn.iter().map(|a| a.to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        Trap {
            listener,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            addr,
        }
    }

    pub(crate) async fn next(&self) -> Result<server::TlsStream<TcpStream>, String> {
        let (tcp, _) = self.listener.accept().await.unwrap();
        self.acceptor.accept(tcp).await.map_err(|e| e.to_string())
    }
}

/// Reads one AUTH1 or AUTH2.
pub(crate) async fn read_auth(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut header = [0; 2];
    stream.read_exact(&mut header).await.unwrap();
    let mut frame = vec![0; usize::from(u16::from_be_bytes(header)) + 32];
    stream.read_exact(&mut frame).await.unwrap();
    [header.to_vec(), frame].concat()
}

/// Sends bytes and flushes; the other side may have closed meanwhile.
pub(crate) async fn send(stream: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) {
    if stream.write_all(bytes).await.is_ok() {
        let _ = stream.flush().await;
    }
}

/// Reads until the other side ends the connection, one way or another; what it said before.
pub(crate) async fn read_to_end(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        said.extend(&buffer[..n]);
    }
    said
}

/// A CA that signs whatever it is told to.
pub(crate) struct Mint {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) der: CertificateDer<'static>,
    pem: String,
}

/// Days from now; negative ones are past.
pub(crate) fn days(n: i64) -> Duration {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    match u64::try_from(n) {
        Ok(n) => now + Duration::from_secs(n * 86_400),
        Err(_) => now - Duration::from_secs(n.unsigned_abs() * 86_400),
    }
}

macro_rules! date {
    ($since_1970:expr) => {
        date_time_ymd(1970, 1, 1) + Duration::from_secs($since_1970.as_secs())
    };
}

impl Mint {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    /// Valid for a day before and ten days after, unless `change` says otherwise.
    pub(crate) fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let params = Self::params(name, change);
        let cert = params.self_signed(&key).unwrap();
        Mint {
            pem: cert.pem(),
            der: cert.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn params(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.not_before = date!(days(-1));
        params.not_after = date!(days(10));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        change(&mut params);
        params
    }

    /// A CA below this one.
    pub(crate) fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let params = Self::params(name, change);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Mint {
            pem: cert.pem(),
            der: cert.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A node's certificate, good but for what `change` does to it.
    pub(crate) fn leaf(
        &self,
        id: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (CertificateDer<'static>, Arc<KeyPair>) {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::default();
        params.not_before = date!(days(-1));
        params.not_after = date!(days(5));
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![
            SanType::URI(node_uri("test", &node(id)).try_into().unwrap()),
            SanType::DnsName(dns_name("test").try_into().unwrap()),
        ];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.der().clone(), Arc::new(key))
    }

    /// Such a certificate as an attacker shows it.
    pub(crate) fn shows(&self, id: &str, change: impl FnOnce(&mut CertificateParams)) -> Shows {
        let (der, key) = self.leaf(id, change);
        Shows::Certificate(vec![der], key)
    }

    /// The PEM of an honest node.
    pub(crate) fn pem(&self, id: &str, change: impl FnOnce(&mut CertificateParams)) -> String {
        let (der, key) = self.leaf(id, change);
        let leaf = to_pem("CERTIFICATE", &der);
        [key.serialize_pem(), leaf, self.pem.clone()].concat()
    }

    pub(crate) fn ca_pem(&self) -> &str {
        &self.pem
    }

    /// An honest node of this CA.
    pub(crate) fn member(&self, id: &str) -> Membership {
        self.member_with(id, "")
    }

    /// An honest node, with more PEM in its file (CRLs, other CAs).
    pub(crate) fn member_with(&self, id: &str, more: &str) -> Membership {
        let pem = self.pem(id, |_| {}) + more;
        Membership {
            node: node(id),
            cluster: None,
            identity: Some(Identity::from_pem(&pem).unwrap()),
            secrets: None,
            state: State::None,
        }
    }

    /// A CRL with those serial numbers.
    pub(crate) fn crl(&self, revoked: &[u64]) -> String {
        self.crl_numbered(1, revoked)
    }

    /// Such a CRL with a number.
    pub(crate) fn crl_numbered(&self, number: u64, revoked: &[u64]) -> String {
        let revoked_certs = revoked
            .iter()
            .map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from(*serial),
                revocation_time: date!(days(0)),
                reason_code: None,
                invalidity_date: None,
            })
            .collect();
        CertificateRevocationListParams {
            this_update: date!(days(-1)),
            next_update: date!(days(10)),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)
        .unwrap()
        .pem()
        .unwrap()
    }
}

/// Sets the time from which and until which a certificate is valid, in days from now.
pub(crate) fn valid(from: i64, until: i64) -> impl FnOnce(&mut CertificateParams) {
    move |params| {
        params.not_before = date!(days(from));
        params.not_after = date!(days(until));
    }
}

pub(crate) fn to_pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}
