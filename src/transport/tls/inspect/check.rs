//! Everything that nodes check of a certificate, with each fault in words.

use std::path::Path;

use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, UnixTime,
    pem::{PemObject, SectionKind},
};
use x509_parser::prelude::X509Certificate;
use zeroize::Zeroizing;

use super::{CertificateFacts, FILE_BYTES_MAX, certificate, public_half};
use crate::transport::tls::{
    ca::{CaError, Crl, Serial, TrustBundle, cluster_of, parse_crl, utc_text},
    explain, files,
    leaf::{self, Leaf, utc},
    verify::{Side, Trust},
};

/// Half a year before its end a CA should have a successor.
const CA_WARNING_SECONDS: i64 = 183 * 86_400;

/// What a check found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Verdict {
    /// The certificate that was checked; `None` where there was none but CAs.
    pub certificate: Option<Box<CertificateFacts>>,
    /// Why nodes would not take it; none if they would.
    pub faults: Vec<String>,
    /// What is no fault yet.
    pub warnings: Vec<String>,
}

impl Verdict {
    /// Whether nodes would take it.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Checks a PEM text as nodes would: that the private key, if there is one, belongs to the certificate, and then as
/// [`verify_chain`]. What is trusted is `trust`, or what the text has itself. A text with CAs and lists of revocations alone
/// is checked for whether nodes could trust these.
///
/// ```
/// use portmesh::{CertificateAuthority, TrustBundle, transport::tls::inspect};
/// let ca = CertificateAuthority::create("example")?;
/// let issued = ca.issue(&"worker/a".parse()?)?;
/// assert!(inspect::verify(&issued.to_pem(), None)?.is_good());
/// let other = CertificateAuthority::create("example")?;
/// let other = TrustBundle::from_pem(&(other.certificate_pem() + other.crl_pem()))?;
/// assert!(!inspect::verify(&issued.to_pem(), Some(&other))?.is_good());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`CaError::Unusable`] when it is not PEM, or there is nothing in it that can be checked.
pub fn verify(text: &str, trust: Option<&TrustBundle>) -> Result<Verdict, CaError> {
    let wrong = CaError::Unusable;
    let (mut keys, mut own, mut cas, mut between) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut has_crl = false;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
        let (kind, der) = section.map_err(|e| wrong(format!("it is not PEM, or cut off: {e}")))?;
        match kind {
            SectionKind::Certificate => {
                let cert = leaf::parse(&der).map_err(wrong)?;
                let self_signed = cert.subject().as_raw() == cert.issuer().as_raw();
                let list = match (self_signed, leaf::check_ca(&cert).is_ok()) {
                    (true, _) => &mut cas,
                    (false, true) => &mut between,
                    (false, false) => &mut own,
                };
                list.push(der);
            }
            SectionKind::PrivateKey | SectionKind::EcPrivateKey | SectionKind::RsaPrivateKey => {
                keys.push((kind, Zeroizing::new(der)));
            }
            SectionKind::Crl => has_crl = true,
            _ => {}
        }
    }
    let bundle = match trust {
        Some(trust) => trust.clone(),
        None if cas.is_empty() && !has_crl => TrustBundle::default(),
        None => TrustBundle::from_pem(text)?,
    };
    if own.is_empty() {
        if cas.is_empty() && !has_crl {
            return Err(wrong("there is no certificate in it".into()));
        }
        return Ok(check_bundle(&bundle));
    }
    let mut chain = own;
    let mut faults = Vec::new();
    match keys.as_slice() {
        [] => {}
        [(kind, der)] => {
            let public = public_half(*kind, der);
            let belongs = |der: &Vec<u8>| {
                leaf::parse(der).is_ok_and(|c| Some(c.public_key().raw) == public.as_deref())
            };
            match (public.is_some(), chain.iter().position(belongs)) {
                (false, _) => faults.push(
                    "the private key is of a kind that nodes do not take, or cannot be read"
                        .to_owned(),
                ),
                (true, None) => faults.push(
                    "the private key does not belong to the certificate: two files were mixed up"
                        .to_owned(),
                ),
                (true, Some(at)) => chain.swap(0, at),
            }
        }
        several => faults.push(format!("there are {} private keys", several.len())),
    }
    if chain.len() > 1 {
        faults.push(format!(
            "there are {} certificates of nodes; the first one was checked",
            chain.len()
        ));
        chain.truncate(1);
    }
    chain.extend(between);
    let mut verdict = verify_chain(&chain, &bundle)?;
    faults.append(&mut verdict.faults);
    verdict.faults = faults;
    Ok(verdict)
}

/// As [`verify`], of a file. If there is a private key in it, only its owner may be able to read it.
///
/// # Errors
/// [`CaError::File`], and as [`verify`].
pub fn verify_file(
    path: impl AsRef<Path>,
    trust: Option<&TrustBundle>,
) -> Result<Verdict, CaError> {
    let path = path.as_ref();
    let text = files::read_as_it_needs(path, FILE_BYTES_MAX)?;
    verify(&text, trust).map_err(|e| CaError::Unusable(format!("{}: {e}", path.display())))
}

/// Checks a node's certificate, the first of the chain, as other nodes would that trust this bundle: form, dates, names,
/// signatures, CAs, revocations.
///
/// # Errors
/// [`CaError::Unusable`] when there is no certificate, or one that cannot be read.
pub fn verify_chain(chain: &[Vec<u8>], trust: &TrustBundle) -> Result<Verdict, CaError> {
    let wrong = CaError::Unusable;
    let [own, between @ ..] = chain else {
        return Err(wrong("there is no certificate".into()));
    };
    let cert = leaf::parse(own).map_err(wrong)?;
    let now = UnixTime::now();
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let mut found = Found::default();
    found.faults.extend(leaf::faults(&cert));
    found.dates(&cert, seconds);
    let leaf = Leaf::read(own).ok();
    let cas = Vec::from_iter(trust.cas().iter().filter_map(|der| leaf::parse(der).ok()));
    let mut signers = Vec::from_iter(&cas);
    let middle = Vec::from_iter(between.iter().filter_map(|der| leaf::parse(der).ok()));
    signers.extend(&middle);
    found.signature(&cert, &signers);
    if let Some(leaf) = &leaf {
        found.cluster(&cert, leaf, &cas);
    }
    found.revoked(&cert, trust);
    if cas.is_empty() {
        found
            .faults
            .push("there is no CA to check it against".into());
    }
    let issuers = Vec::from_iter(middle.iter().chain([&cert]).map(|c| c.issuer().as_raw()));
    found.bundle(trust, seconds, |ca| {
        issuers.contains(&ca.subject().as_raw())
    });
    // The word of what nodes really run comes last: it knows what was forgotten above.
    if let (Some(leaf), true) = (&leaf, found.faults.is_empty()) {
        let (cas, crls) = ders(trust);
        let between = Vec::from_iter(between.iter().map(|d| CertificateDer::from(d.as_slice())));
        match Trust::new(&leaf.cluster, &cas, &crls) {
            Err(e) => found.faults.push(e),
            Ok(trust) => {
                for side in [Side::Server, Side::Client] {
                    let own = CertificateDer::from(own.as_slice());
                    if let Err(e) = trust.verify(&own, &between, side, now) {
                        found.fault(explain::fault(&e));
                    }
                }
            }
        }
    }
    Ok(Verdict {
        certificate: Some(Box::new(certificate(own).map_err(wrong)?)),
        faults: found.faults,
        warnings: found.warnings,
    })
}

fn check_bundle(trust: &TrustBundle) -> Verdict {
    let mut found = Found::default();
    let seconds = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
    if trust.cas().is_empty() {
        found
            .faults
            .push("there are lists of revocations and no CA to check them against".into());
    }
    found.bundle(trust, seconds, |_| true);
    let (cas, crls) = ders(trust);
    let cluster = trust
        .cas()
        .iter()
        .find_map(|der| cluster_of(&leaf::parse(der).ok()?));
    if found.faults.is_empty()
        && let Err(e) = Trust::new(cluster.as_deref().unwrap_or("portmesh"), &cas, &crls)
    {
        found.faults.push(e);
    }
    Verdict {
        certificate: None,
        faults: found.faults,
        warnings: found.warnings,
    }
}

fn ders(
    trust: &TrustBundle,
) -> (
    Vec<CertificateDer<'static>>,
    Vec<CertificateRevocationListDer<'static>>,
) {
    (
        trust.cas().iter().map(|der| der.clone().into()).collect(),
        trust
            .crls_der()
            .iter()
            .map(|der| der.clone().into())
            .collect(),
    )
}

#[derive(Default)]
struct Found {
    faults: Vec<String>,
    warnings: Vec<String>,
}

impl Found {
    fn fault(&mut self, text: String) {
        if !self.faults.contains(&text) {
            self.faults.push(text);
        }
    }

    fn dates(&mut self, cert: &X509Certificate<'_>, now: i64) {
        let (from, until) = (
            cert.validity().not_before.timestamp(),
            cert.validity().not_after.timestamp(),
        );
        let due = until.saturating_sub(until.saturating_sub(from) / 3);
        if now > until {
            self.fault(format!(
                "it expired on {}; renew it (or mend the clock)",
                utc(until)
            ));
        } else if now < from {
            self.fault(format!(
                "it is valid only from {} on; check the clocks",
                utc(from)
            ));
        } else if now > due {
            self.warnings.push(format!(
                "it should have been renewed from {} on; it expires on {}",
                utc(due),
                utc(until)
            ));
        }
    }

    fn signature(&mut self, cert: &X509Certificate<'_>, signers: &[&X509Certificate<'_>]) {
        let mut named = signers
            .iter()
            .filter(|ca| ca.subject().as_raw() == cert.issuer().as_raw())
            .peekable();
        if named.peek().is_none() {
            if !signers.is_empty() {
                self.fault(format!(
                    "it is signed by {}, which is none of the CAs that are trusted",
                    cert.issuer()
                ));
            }
        } else if !named.any(|ca| cert.verify_signature(Some(ca.public_key())).is_ok()) {
            self.fault("its signature is wrong: another CA of the same name, or a forgery".into());
        }
    }

    fn cluster(&mut self, cert: &X509Certificate<'_>, leaf: &Leaf, cas: &[X509Certificate<'_>]) {
        let signers = cas
            .iter()
            .filter(|ca| ca.subject().as_raw() == cert.issuer().as_raw());
        for of_ca in signers.filter_map(cluster_of) {
            if of_ca != leaf.cluster {
                self.fault(format!(
                    "it is for the mesh {}, and the CA that signed it is of {of_ca}",
                    leaf.cluster
                ));
            }
        }
    }

    fn revoked(&mut self, cert: &X509Certificate<'_>, trust: &TrustBundle) {
        for der in trust.crls_der() {
            let Ok(list) = parse_crl(der) else { continue };
            if list.issuer().as_raw() != cert.issuer().as_raw() {
                continue;
            }
            let serial = Serial::from_bytes(cert.raw_serial());
            let revoked = Crl::read(der).map(|crl| crl.revoked).unwrap_or_default();
            if let Some(entry) = revoked.iter().find(|entry| entry.serial == serial) {
                self.fault(format!(
                    "it was revoked by its CA on {} ({})",
                    utc_text(entry.at),
                    entry.reason.as_str()
                ));
            }
        }
    }

    /// The CAs and their lists. What a CA that nothing needs has wrong is no fault.
    fn bundle(
        &mut self,
        trust: &TrustBundle,
        now: i64,
        needed: impl Fn(&X509Certificate<'_>) -> bool,
    ) {
        for der in trust.cas() {
            let Ok(ca) = leaf::parse(der) else { continue };
            let name = ca.subject();
            if let Err(e) = leaf::check_ca(&ca) {
                self.fault(format!("the CA {name} cannot be used: {e}"));
            }
            let (from, until) = (
                ca.validity().not_before.timestamp(),
                ca.validity().not_after.timestamp(),
            );
            let wrong = if now > until {
                format!("the CA {name} expired on {}", utc(until))
            } else if now < from {
                format!("the CA {name} is valid only from {} on", utc(from))
            } else {
                if until - now < CA_WARNING_SECONDS {
                    let until = utc(until);
                    self.warnings.push(format!(
                        "the CA {name} expires on {until}: begin with a new one"
                    ));
                }
                continue;
            };
            if needed(&ca) {
                self.fault(wrong);
            } else {
                self.warnings.push(wrong);
            }
        }
        for der in trust.crls_der() {
            let Ok(list) = Crl::read(der) else { continue };
            if let Some(next) = list
                .next_update
                .filter(|next| *next < std::time::SystemTime::now())
            {
                self.warnings.push(format!(
                    "the list of revocations of {} is old: a newer one was promised for {}",
                    list.issuer,
                    utc_text(next)
                ));
            }
        }
    }
}
