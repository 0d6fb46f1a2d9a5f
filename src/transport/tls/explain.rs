//! What went wrong in TLS, as a sentence that a user can act on.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use super::{leaf::utc, verify::Said};
use crate::proto::handshake::Mode;

/// Of an error of the TLS stream; `None` where it is not TLS that failed.
pub(super) fn tls(error: &io::Error) -> Option<&Error> {
    let mut source = error
        .get_ref()
        .map(|e| e as &(dyn std::error::Error + 'static));
    while let Some(e) = source {
        if let Some(found) = e.downcast_ref::<Error>() {
            return Some(found);
        }
        source = e.source();
    }
    None
}

/// A handshake that failed. `dialling`: whether this side opened the connection.
pub(super) fn handshake(error: &io::Error, dialling: bool, mode: Option<Mode>) -> String {
    match tls(error) {
        Some(e) => of_peer(e, dialling, mode),
        None if matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
        ) =>
        {
            if dialling {
                "the peer closed the connection during the TLS handshake: it is no Portmesh node, or takes no more connections now".into()
            } else {
                "the peer closed the connection during the TLS handshake: a port scan, or it refused this node, or needs the connection no more".into()
            }
        }
        None => error.to_string(),
    }
}

/// A failure on a connection that was up.
pub(super) fn stream(error: &Error) -> String {
    of_peer(error, true, None)
}

fn of_peer(error: &Error, dialling: bool, mode: Option<Mode>) -> String {
    match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType)
        | Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion)
        | Error::InvalidMessage(InvalidMessage::InvalidEmptyPayload)
        | Error::InvalidMessage(InvalidMessage::MessageTooLarge) => {
            "the peer does not speak TLS: something else listens there, or connects here".into()
        }
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. } => {
            format!("the peer speaks no proper TLS 1.3: {error}")
        }
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => "the peer does not speak TLS 1.3, only an older version, which is refused".into(),
        Error::PeerIncompatible(e) => {
            format!("the peer's TLS cannot agree with this node's: {e:?}")
        }
        Error::NoApplicationProtocol => no_common_alpn(dialling, mode),
        Error::NoCertificatesPresented => {
            "the peer showed no certificate: it is no node, or has no identity configured".into()
        }
        Error::InvalidCertificate(e) => format!(
            "the peer's {}: {}",
            if mode == Some(Mode::Secret) {
                "key"
            } else {
                "certificate"
            },
            certificate(e)
        ),
        Error::AlertReceived(alert) => alerted(*alert, dialling, mode),
        other => other.to_string(),
    }
}

/// What is wrong with a certificate, as the end of a sentence about it.
pub(super) fn fault(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(e) => certificate(e),
        other => other.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    let date =
        |t: &rustls::pki_types::UnixTime| utc(i64::try_from(t.as_secs()).unwrap_or(i64::MAX));
    match error {
        CertificateError::ExpiredContext { not_after, .. } => format!(
            "it expired on {}; issue a new one (or mend the clock)",
            date(not_after)
        ),
        CertificateError::Expired => "it has expired; issue a new one (or mend the clock)".into(),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "it is valid only from {} on; the clocks of the two hosts differ",
            date(not_before)
        ),
        CertificateError::NotValidYet => "it is not valid yet; the clocks of the two hosts differ".into(),
        CertificateError::UnknownIssuer => {
            "it is signed by another CA than those that this node trusts; both need certificates of the same CA".into()
        }
        CertificateError::BadSignature => "its signature is wrong: another CA of the same name, or a forgery".into(),
        CertificateError::Revoked => "it has been revoked by its CA".into(),
        CertificateError::UnknownRevocationStatus => {
            "no CRL of its CA is loaded here, and others are; add the CRL of that CA".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is not for a node of this cluster".into()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not for both sides of a connection (serverAuth and clientAuth)".into()
        }
        CertificateError::BadEncoding => "it cannot be read".into(),
        CertificateError::Other(other) => match other.0.downcast_ref::<Said>() {
            Some(Said(text)) => text.clone(),
            None => other.0.to_string(),
        },
        other => Error::InvalidCertificate(other.clone()).to_string(),
    }
}

fn no_common_alpn(dialling: bool, mode: Option<Mode>) -> String {
    match (dialling, mode) {
        (true, Some(Mode::Certificate)) => {
            "that side does not take certificates: it has none itself, only a secret".into()
        }
        (true, Some(Mode::Secret)) => {
            "that side does not take secrets: it has none itself, only a certificate".into()
        }
        _ => "the peer offers no protocol of a Portmesh node (ALPN)".into(),
    }
}

fn alerted(alert: AlertDescription, dialling: bool, mode: Option<Mode>) -> String {
    let why = match alert {
        AlertDescription::NoApplicationProtocol => return no_common_alpn(dialling, mode),
        AlertDescription::ProtocolVersion => "it does not speak TLS 1.3".into(),
        AlertDescription::CertificateExpired => {
            "it says that this node's certificate has expired, or is not valid yet; check the date of it and both clocks".into()
        }
        AlertDescription::CertificateRevoked => "it says that this node's certificate is revoked".into(),
        AlertDescription::UnknownCA => {
            "it does not trust the CA of this node's certificate; both need certificates of the same CA".into()
        }
        AlertDescription::CertificateRequired => "it demands a certificate".into(),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => {
            format!("it does not accept this node's certificate ({alert:?}); its log says why")
        }
        AlertDescription::HandshakeFailure => "it found nothing in common with this node's TLS".into(),
        other => format!("TLS alert {other:?}"),
    };
    format!("the peer refused this node: {why}")
}
