//! What a certificate says, and the checks that the TLS library leaves to us.

use std::{
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{name, node_key::fingerprint, remembered::Remembered};
use crate::proto::id::NodeId;

/// A node's certificate, its form checked; whether it is to be trusted is another question.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) cluster: String,
    pub(super) node: NodeId,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(super) key: [u8; 32],
    /// Hexadecimal, with colons.
    pub(super) serial: String,
    /// Seconds since 1970.
    pub(super) not_before: i64,
    /// Seconds since 1970.
    pub(super) not_after: i64,
    /// For people: what a certificate proves its node with.
    pub(super) proof: String,
}

/// What certificates say that were verified, by their digest: a node meets the same ones at every handshake. Whether one is
/// to be trusted is not remembered.
static VERIFIED: LazyLock<Mutex<Remembered<Arc<Leaf>>>> = LazyLock::new(Mutex::default);

impl Leaf {
    /// `Err` says what is wrong, as the end of "its certificate is not acceptable: …".
    pub(super) fn read(der: &[u8]) -> Result<Self, String> {
        let cert = parse(der)?;
        for check in CHECKS {
            check(&cert)?;
        }
        let (cluster, node) = named(&cert)?;
        let key = sha256(cert.public_key().raw);
        let serial = cert.raw_serial_as_string();
        let not_after = cert.validity().not_after.timestamp();
        Ok(Leaf {
            cluster,
            node,
            key,
            not_before: cert.validity().not_before.timestamp(),
            not_after,
            proof: format!(
                "certificate serial {serial}, key {}, expires {}",
                fingerprint(&key),
                utc(not_after)
            ),
            serial,
        })
    }

    /// As [`Self::read`], and remembered: for a certificate that was verified just now, since what strangers show is not worth
    /// remembering.
    pub(super) fn of_verified(der: &[u8]) -> Result<Arc<Self>, String> {
        let digest = sha256(der);
        let verified = || VERIFIED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leaf) = verified().get(&digest) {
            return Ok(Arc::clone(leaf));
        }
        let leaf = Arc::new(Leaf::read(der)?);
        verified().insert(digest, Arc::clone(&leaf));
        Ok(leaf)
    }
}

type Check = fn(&X509Certificate<'_>) -> Result<(), String>;

/// What a node's certificate must be, one by one.
const CHECKS: [Check; 4] = [is_no_ca, is_for_signatures, is_for_both_sides, |cert| {
    named(cert).map(drop)
}];

/// All that is wrong with the form of a node's certificate.
pub(super) fn faults(cert: &X509Certificate<'_>) -> Vec<String> {
    let faults = CHECKS.iter().filter_map(|check| check(cert).err());
    faults.collect()
}

fn is_no_ca(cert: &X509Certificate<'_>) -> Result<(), String> {
    if let Some(constraints) = cert.basic_constraints().map_err(unreadable)?
        && constraints.value.ca
    {
        return Err("it is a CA certificate, not a node's".into());
    }
    Ok(())
}

fn is_for_signatures(cert: &X509Certificate<'_>) -> Result<(), String> {
    let usage = cert
        .key_usage()
        .map_err(unreadable)?
        .ok_or("it has no key usage")?
        .value;
    if !usage.digital_signature() {
        return Err("its key usage does not allow signatures (digitalSignature)".into());
    }
    if usage.key_cert_sign() || usage.crl_sign() {
        return Err("its key may sign certificates or CRLs, which is for CAs only".into());
    }
    Ok(())
}

fn is_for_both_sides(cert: &X509Certificate<'_>) -> Result<(), String> {
    let extended = cert
        .extended_key_usage()
        .map_err(unreadable)?
        .ok_or("it has no extended key usage")?
        .value;
    if !(extended.server_auth && extended.client_auth) {
        return Err("it is not for both sides of a connection (serverAuth and clientAuth)".into());
    }
    Ok(())
}

/// Cluster and node.
fn named(cert: &X509Certificate<'_>) -> Result<(String, NodeId), String> {
    let names = cert
        .subject_alternative_name()
        .map_err(unreadable)?
        .ok_or("it has no subject alternative name")?
        .value;
    let mut uris = names.general_names.iter().filter_map(|n| match n {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (uri, more) = (uris.next(), uris.next());
    let (cluster, node) = match (uri, more) {
        (Some(uri), None) => name::parse_node_uri(uri)?,
        (None, _) => {
            return Err("it names no node: it has no URI spiffe://<cluster>/node/<node-id>".into());
        }
        _ => return Err("it has more than one URI".into()),
    };
    let dns = name::dns_name(&cluster);
    if !names
        .general_names
        .iter()
        .any(|n| matches!(n, GeneralName::DNSName(d) if *d == dns))
    {
        return Err(format!("it lacks the DNS name {dns}"));
    }
    Ok((cluster, node))
}

/// The whole of `der` as a certificate of version 3.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    let (rest, cert) =
        X509Certificate::from_der(der).map_err(|e| format!("it is not X.509: {e}"))?;
    if !rest.is_empty() {
        return Err("something follows the certificate".into());
    }
    if cert.version().0 != 2 {
        return Err("it is not of X.509 version 3".into());
    }
    Ok(cert)
}

/// Whether that certificate may sign others. `Err` says why not.
pub(super) fn check_ca(cert: &X509Certificate<'_>) -> Result<(), String> {
    let constraints = cert.basic_constraints().map_err(unreadable)?;
    if !constraints.is_some_and(|c| c.value.ca) {
        return Err("it is not a CA certificate".into());
    }
    let usage = cert.key_usage().map_err(unreadable)?;
    if !usage.is_some_and(|u| u.value.key_cert_sign()) {
        return Err("its key usage does not allow signing certificates (keyCertSign)".into());
    }
    Ok(())
}

pub(super) fn unreadable(error: impl std::fmt::Display) -> String {
    format!("it has an extension that cannot be read: {error}")
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    for (to, from) in out.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    out
}

/// From seconds since 1970; what a system cannot tell is 1970.
pub(super) fn time(seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    let time = match seconds {
        0.. => UNIX_EPOCH.checked_add(by),
        _ => UNIX_EPOCH.checked_sub(by),
    };
    time.unwrap_or(UNIX_EPOCH)
}

/// `2026-11-24 02:31 UTC`, from seconds since 1970.
pub(super) fn utc(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01, in eras of 400 years; years that begin in March have their leap day last.
    let day = days + 719_468;
    let era = day.div_euclid(146_097);
    let in_era = day.rem_euclid(146_097);
    let year = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let (d, m) = (
        in_year - (153 * month + 2) / 5 + 1,
        if month < 10 { month + 3 } else { month - 9 },
    );
    let y = year + era * 400 + i64::from(m <= 2);
    format!(
        "{y:04}-{m:02}-{d:02} {:02}:{:02} UTC",
        rest / 3600,
        rest % 3600 / 60
    )
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn dates_are_written_as_people_do() {
        let cases = [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_795_487_460, "2026-11-24 02:31 UTC"),
            (4_107_542_399, "2100-02-28 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
            (-1, "1969-12-31 23:59 UTC"),
        ];
        for (seconds, text) in cases {
            assert_eq!(utc(seconds), text);
        }
    }
}
