//! Who is trusted in certificate mode: nodes that a CA of the cluster vouches for, and with what checks.

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, ring::default_provider, verify_tls13_signature,
    },
    pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::{
    crl::{self, Crl},
    leaf::{self, Leaf, utc},
    name, signatures,
};

/// More than these besides its own a peer may not show.
const INTERMEDIATES_MAX: usize = 4;

/// A refusal in words, inside an error of rustls.
#[derive(Debug)]
pub(super) struct Said(pub(super) String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Said {}

pub(super) fn said(text: impl Into<String>) -> Error {
    let text: String = text.into();
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Said(text)))))
}

/// The CAs of a cluster, with what they revoked: checks the certificates of its nodes, on both sides alike.
pub(super) struct Trust {
    cluster: String,
    server_name: ServerName<'static>,
    anchors: Vec<Anchor>,
    schemes: WebPkiSupportedAlgorithms,
}

/// One CA. Each has verifiers of its own, since the library forgets the validity and the path length of anchors.
struct Anchor {
    subject: String,
    not_before: i64,
    not_after: i64,
    path_len: Option<u32>,
    der: CertificateDer<'static>,
    server: Arc<WebPkiServerVerifier>,
    client: Arc<dyn ClientCertVerifier>,
}

/// Which purpose a certificate is checked for.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Server,
    Client,
}

impl Trust {
    /// `Err` says which CA or CRL cannot be used, and why.
    pub(super) fn new(
        cluster: &str,
        cas: &[CertificateDer<'static>],
        crls: &[CertificateRevocationListDer<'static>],
    ) -> Result<Self, String> {
        let server_name = ServerName::try_from(name::dns_name(cluster))
            .map_err(|e| format!("the cluster's name {cluster:?} cannot be used: {e}"))?;
        let own = default_provider();
        let schemes = own.signature_verification_algorithms;
        let provider = Arc::new(CryptoProvider {
            signature_verification_algorithms: signatures::algorithms(),
            ..own
        });
        let mut parsed = Vec::new();
        for der in cas {
            let cert = leaf::parse(der)
                .and_then(|cert| leaf::check_ca(&cert).map(|()| cert))
                .map_err(|e| format!("a certificate of the CA bundle cannot be used: {e}"))?;
            parsed.push((der, cert));
        }
        let crls = sort_crls(&parsed, &only_newest(crls, cas))?;
        let anchors = parsed
            .iter()
            .zip(crls)
            .map(|((der, cert), crls)| Anchor::new(der, cert, crls, &provider))
            .collect::<Result<Vec<_>, String>>()?;
        if anchors.is_empty() {
            return Err("there is no CA certificate".into());
        }
        Ok(Trust {
            cluster: cluster.to_owned(),
            server_name,
            anchors,
            schemes,
        })
    }

    /// The name that dials ask for; never sent.
    pub(super) fn server_name(&self) -> ServerName<'static> {
        self.server_name.clone()
    }

    /// Whether the peer may be who its certificate names, now.
    pub(super) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        side: Side,
        now: UnixTime,
    ) -> Result<Arc<Leaf>, Error> {
        if intermediates.len() > INTERMEDIATES_MAX {
            return Err(said(format!("it comes with {} more", intermediates.len())));
        }
        for ca in intermediates {
            leaf::parse(ca)
                .and_then(|ca| leaf::check_ca(&ca))
                .map_err(|e| {
                    said(format!(
                        "a certificate that came with it is none of a CA: {e}"
                    ))
                })?;
        }
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let mut error = None;
        for anchor in &self.anchors {
            match anchor.verify(
                &self.server_name,
                end_entity,
                intermediates,
                side,
                now,
                seconds,
            ) {
                Ok(()) => {
                    let leaf = Leaf::of_verified(end_entity).map_err(said)?;
                    if leaf.cluster != self.cluster {
                        return Err(said(format!(
                            "it is for cluster {:?}, not {:?}",
                            leaf.cluster, self.cluster
                        )));
                    }
                    return Ok(leaf);
                }
                // The most telling one: that of the CA which did sign it.
                Err(e) => {
                    let vague = matches!(
                        e,
                        Error::InvalidCertificate(CertificateError::UnknownIssuer)
                    );
                    if error.is_none() || !vague {
                        error = Some(e);
                    }
                }
            }
        }
        Err(error.unwrap_or(Error::InvalidCertificate(CertificateError::UnknownIssuer)))
    }
}

impl Anchor {
    fn new(
        der: &CertificateDer<'static>,
        cert: &X509Certificate<'_>,
        crls: Vec<CertificateRevocationListDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let subject = short(&cert.subject().to_string());
        let wrong = |e: &dyn fmt::Display| format!("the CA {subject} cannot be used: {e}");
        let mut roots = RootCertStore::empty();
        roots.add(der.clone()).map_err(|e| wrong(&e))?;
        let roots = Arc::new(roots);
        let server =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider))
                .with_crls(crls.clone())
                .build()
                .map_err(|e| wrong(&e))?;
        let client = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
            .with_crls(crls)
            .clear_root_hint_subjects()
            .build()
            .map_err(|e| wrong(&e))?;
        let path_len = cert
            .basic_constraints()
            .map_err(|e| wrong(&e))?
            .and_then(|c| c.value.path_len_constraint);
        Ok(Anchor {
            not_before: cert.validity().not_before.timestamp(),
            not_after: cert.validity().not_after.timestamp(),
            path_len,
            der: der.clone(),
            server,
            client,
            subject,
        })
    }

    fn verify(
        &self,
        name: &ServerName<'_>,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        side: Side,
        now: UnixTime,
        seconds: i64,
    ) -> Result<(), Error> {
        match side {
            Side::Server => self
                .server
                .verify_server_cert(end_entity, intermediates, name, &[], now)
                .map(|_| ())?,
            Side::Client => self
                .client
                .verify_client_cert(end_entity, intermediates, now)
                .map(|_| ())?,
        }
        // It did sign it; whether it may still do so is what the library does not ask.
        if seconds > self.not_after {
            return Err(said(format!(
                "the CA that signed it, {}, expired on {}; make a new CA and issue new certificates",
                self.subject,
                utc(self.not_after)
            )));
        }
        if seconds < self.not_before {
            return Err(said(format!(
                "the CA that signed it, {}, is valid only from {} on; check the clocks",
                self.subject,
                utc(self.not_before)
            )));
        }
        let between = intermediates
            .iter()
            .filter(|c| c.as_ref() != self.der.as_ref())
            .count();
        if self
            .path_len
            .is_some_and(|max| between > usize::try_from(max).unwrap_or(usize::MAX))
        {
            return Err(said(format!(
                "the CA {} does not allow {between} further CAs between itself and a node",
                self.subject
            )));
        }
        Ok(())
    }
}

/// The TLS library takes the first CRL of a CA: an older one must not come before a newer one. What cannot be read is
/// left for [`sort_crls`] to name.
fn only_newest(
    crls: &[CertificateRevocationListDer<'static>],
    cas: &[CertificateDer<'static>],
) -> Vec<CertificateRevocationListDer<'static>> {
    let read = |der: &&CertificateRevocationListDer<'static>| Crl::read(der, cas).ok();
    let (known, others): (Vec<_>, Vec<_>) = crls.iter().partition(|der| read(der).is_some());
    let known = crl::newest(known.iter().filter_map(read).collect());
    let known = known.into_iter().map(|crl| crl.der);
    known.chain(others.into_iter().cloned()).collect()
}

/// Which CRLs belong to which CA: those that it signed itself, and those of CAs that are not in the bundle.
fn sort_crls(
    cas: &[(&CertificateDer<'static>, X509Certificate<'_>)],
    crls: &[CertificateRevocationListDer<'static>],
) -> Result<Vec<Vec<CertificateRevocationListDer<'static>>>, String> {
    let mut sorted = vec![Vec::new(); cas.len()];
    let mut others = Vec::new();
    for der in crls {
        let (_, crl) = CertificateRevocationList::from_der(der)
            .map_err(|e| format!("a CRL cannot be read: {e}"))?;
        let issuer = short(&crl.issuer().to_string());
        let mut of_bundle = false;
        let mut used = false;
        for ((_, ca), list) in cas.iter().zip(&mut sorted) {
            if ca.subject().as_raw() != crl.issuer().as_raw() {
                continue;
            }
            of_bundle = true;
            if crl.verify_signature(ca.public_key()).is_err() {
                continue;
            }
            let usage = ca.key_usage().map_err(leaf::unreadable)?;
            if !usage.is_some_and(|u| u.value.crl_sign()) {
                return Err(format!(
                    "the CRL of {issuer} cannot be used: that CA may not sign CRLs (no cRLSign)"
                ));
            }
            list.push(der.clone());
            used = true;
        }
        match (of_bundle, used) {
            (true, false) => {
                return Err(format!(
                    "the CRL of {issuer} is not signed by the CA of that name in the bundle"
                ));
            }
            (false, _) => others.push(der.clone()),
            (true, true) => {}
        }
    }
    if !crls.is_empty() {
        for ((_, ca), list) in cas.iter().zip(&mut sorted) {
            if list.is_empty() {
                return Err(format!(
                    "there are CRLs, and none of the CA {}: all of its nodes would be refused; add its CRL (an empty one will do)",
                    short(&ca.subject().to_string())
                ));
            }
            list.extend(others.iter().cloned());
        }
    }
    Ok(sorted)
}

/// Names in certificates are as long as their makers like.
pub(super) fn short(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(120)
        .collect();
    format!("{text:?}")
}

/// [`Trust`] as rustls wants it.
#[derive(Clone)]
pub(super) struct CertificateVerifier(pub(super) Arc<Trust>);

impl fmt::Debug for CertificateVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateVerifier")
    }
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0
            .verify(end_entity, intermediates, Side::Server, now)
            .map(|_| ServerCertVerified::assertion())
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
        verify_tls13_signature(message, cert, dss, &self.0.schemes)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.schemes.supported_schemes()
    }
}

impl ClientCertVerifier for CertificateVerifier {
    /// None: the names of the CAs are nobody's business.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0
            .verify(end_entity, intermediates, Side::Client, now)
            .map(|_| ClientCertVerified::assertion())
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
        verify_tls13_signature(message, cert, dss, &self.0.schemes)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.schemes.supported_schemes()
    }
}

pub(super) fn only_tls13() -> Error {
    Error::PeerIncompatible(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13)
}
