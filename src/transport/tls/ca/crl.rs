//! What a CA has revoked: the list, its reasons, and new lists with higher numbers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevocationReason as Code,
    RevokedCertParams, SerialNumber,
};
use rustls::pki_types::{CertificateRevocationListDer, pem::PemObject};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::{BACKDATED, CaError, CertificateAuthority, Serial, date, failed, now};
use crate::transport::tls::{
    leaf::{self, time},
    node_key::pem,
};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why a certificate was revoked.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub enum RevocationReason {
            $($(#[$doc])* $name,)*
        }

        impl RevocationReason {
            /// As it is written: `key-compromise`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(RevocationReason::$name => $text,)*
                }
            }

            fn from_code(code: u8) -> Self {
                match code {
                    $($code => RevocationReason::$name,)*
                    _ => RevocationReason::Unspecified,
                }
            }

            fn code(self) -> Code {
                match self {
                    $(RevocationReason::$name => Code::$name,)*
                }
            }
        }
    };
}

reasons! {
    /// None was given.
    #[default]
    Unspecified = 0, "unspecified";
    /// Somebody else may have the node's private key.
    KeyCompromise = 1, "key-compromise";
    /// Somebody else may have the CA's private key.
    CaCompromise = 2, "ca-compromise";
    /// The node is called otherwise now, or belongs to another.
    AffiliationChanged = 3, "affiliation-changed";
    /// Another certificate has taken its place.
    Superseded = 4, "superseded";
    /// The node is no more.
    CessationOfOperation = 5, "cessation";
    /// For the time being.
    CertificateHold = 6, "hold";
    /// The node may not take part any more.
    PrivilegeWithdrawn = 9, "withdrawn";
    /// Of attribute certificates, which there are none of here.
    AaCompromise = 10, "aa-compromise";
}

/// One entry of a list of revocations.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revoked {
    /// The certificate.
    pub serial: Serial,
    /// When it was revoked.
    pub at: SystemTime,
    /// Why.
    pub reason: RevocationReason,
}

/// What a list of revocations (CRL) says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Crl {
    /// The name of the CA that signed it.
    pub issuer: String,
    /// Grows with each list of a CA; 0 where the list has none.
    pub number: u64,
    /// When it was made.
    pub this_update: SystemTime,
    /// Until when the CA promises a newer one.
    pub next_update: Option<SystemTime>,
    /// What is revoked.
    pub revoked: Vec<Revoked>,
}

impl Crl {
    /// Reads one, without checking who signed it. `Err` says what is wrong.
    pub(in crate::transport::tls) fn read(der: &[u8]) -> Result<Self, String> {
        let crl = parse(der)?;
        let number = match crl.crl_number() {
            Some(number) => u64::try_from(number).map_err(|_| "its number is too large")?,
            None => 0,
        };
        let revoked = crl.iter_revoked_certificates().map(|entry| Revoked {
            serial: Serial::from_bytes(entry.raw_serial()),
            at: time(entry.revocation_date.timestamp()),
            reason: entry
                .reason_code()
                .map_or(RevocationReason::Unspecified, |(_, code)| {
                    RevocationReason::from_code(code.0)
                }),
        });
        Ok(Crl {
            issuer: crl.issuer().to_string(),
            number,
            this_update: time(crl.last_update().timestamp()),
            next_update: crl.next_update().map(|t| time(t.timestamp())),
            revoked: revoked.collect(),
        })
    }
}

/// The whole of `der` as a list.
pub(in crate::transport::tls) fn parse(
    der: &[u8],
) -> Result<CertificateRevocationList<'_>, String> {
    match CertificateRevocationList::from_der(der) {
        Ok(([], crl)) => Ok(crl),
        Ok(_) => Err("something follows the CRL".into()),
        Err(e) => Err(format!("it is no CRL: {e}")),
    }
}

fn since(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A list with that number, valid as long as the CA.
pub(super) fn sign(
    issuer: &Issuer<'_, KeyPair>,
    ca_not_after: i64,
    number: u64,
    revoked: &[Revoked],
) -> Result<String, CaError> {
    let entries = revoked.iter().map(|entry| RevokedCertParams {
        serial_number: SerialNumber::from_slice(entry.serial.bytes()),
        revocation_time: date!(since(entry.at)),
        reason_code: Some(entry.reason.code()),
        invalidity_date: None,
    });
    let signed = CertificateRevocationListParams {
        this_update: date!((now() - BACKDATED)),
        next_update: date!(Duration::from_secs(ca_not_after.unsigned_abs())),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: entries.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
    .signed_by(issuer)
    .map_err(failed)?;
    Ok(pem("X509 CRL", signed.der()))
}

/// The list in that PEM text, which the CA must have signed. `Err` says what is wrong.
pub(super) fn check(text: &str, ca: &[u8]) -> Result<Crl, String> {
    let der = CertificateRevocationListDer::from_pem_slice(text.as_bytes())
        .map_err(|e| format!("it is no CRL: {e:?}"))?;
    let ca = leaf::parse(ca)?;
    parse(&der)?
        .verify_signature(ca.public_key())
        .map_err(|_| "it is not signed by this CA".to_owned())?;
    Crl::read(&der)
}

impl CertificateAuthority {
    /// What it has revoked so far, with the number of the list.
    ///
    /// # Errors
    /// [`CaError::Unusable`].
    pub fn crl(&self) -> Result<Crl, CaError> {
        check(&self.crl_pem, &self.der)
            .map_err(|e| CaError::Unusable(format!("the CA's list of revocations: {e}")))
    }

    /// Revokes those certificates: from now on [`Self::crl_pem`] is a new list with a higher number. Returns those
    /// that were not revoked before; if there is none the list stays as it is. Nodes refuse the certificates as soon
    /// as they have the list.
    ///
    /// ```
    /// use portmesh::{CertificateAuthority, transport::tls::ca::RevocationReason};
    /// let mut ca = CertificateAuthority::create("example")?;
    /// let issued = ca.issue(&"worker/a".parse()?)?;
    /// let serial = issued.certificate().serial().clone();
    /// ca.revoke(std::slice::from_ref(&serial), RevocationReason::KeyCompromise)?;
    /// let crl = ca.crl()?;
    /// assert_eq!((crl.number, &crl.revoked[0].serial), (2, &serial));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CaError::Expired`], [`CaError::Failed`].
    pub fn revoke(
        &mut self,
        serials: &[Serial],
        reason: RevocationReason,
    ) -> Result<Vec<Serial>, CaError> {
        let Crl {
            number,
            mut revoked,
            ..
        } = self.crl()?;
        let mut new = Vec::new();
        for serial in serials {
            if revoked.iter().all(|entry| entry.serial != *serial) {
                revoked.push(Revoked {
                    serial: serial.clone(),
                    at: SystemTime::now(),
                    reason,
                });
                new.push(serial.clone());
            }
        }
        if !new.is_empty() {
            self.sign_crl(number, &revoked)?;
        }
        Ok(new)
    }

    /// Signs the list of revocations anew, with the next number and today's date.
    ///
    /// # Errors
    /// As [`Self::revoke`].
    pub fn refresh_crl(&mut self) -> Result<(), CaError> {
        let Crl {
            number, revoked, ..
        } = self.crl()?;
        self.sign_crl(number, &revoked)
    }

    fn sign_crl(&mut self, number: u64, revoked: &[Revoked]) -> Result<(), CaError> {
        self.check_not_expired()?;
        let next = number
            .checked_add(1)
            .ok_or_else(|| failed("the numbers of lists are used up"))?;
        self.crl_pem = sign(&self.issuer, self.not_after, next, revoked)?;
        Ok(())
    }
}
