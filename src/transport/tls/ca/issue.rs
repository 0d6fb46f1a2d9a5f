//! Certificates for nodes: with a new key, or for the key of a request.

use std::{
    fmt,
    path::Path,
    time::{Duration, SystemTime},
};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber,
};
use zeroize::Zeroizing;

use super::{
    BACKDATED, CaError, CertificateAuthority, CertificateRequest, DAY, KeyKind, Serial, date,
    failed, now, random_serial, seconds,
};
use crate::{
    proto::id::NodeId,
    transport::tls::{
        files::{self, Access, FileError},
        leaf::{sha256, time, utc},
        name,
        node_key::private_key_pem,
    },
};

/// How a node's certificate is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssueOptions {
    /// Its key.
    pub key: KeyKind,
    /// How long it is valid from now on; never longer than its CA.
    pub life: Duration,
}

impl Default for IssueOptions {
    /// Ed25519, 90 days.
    fn default() -> Self {
        IssueOptions {
            key: KeyKind::Ed25519,
            life: 90 * DAY,
        }
    }
}

impl CertificateAuthority {
    /// A certificate for that node with a new key: 90 days, Ed25519.
    ///
    /// # Errors
    /// [`CaError::Expired`], [`CaError::Failed`].
    pub fn issue(&self, node: &NodeId) -> Result<IssuedIdentity, CaError> {
        self.issue_with(node, IssueOptions::default())
    }

    /// A certificate for that node with a new key. It never outlives the CA.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn issue_with(
        &self,
        node: &NodeId,
        options: IssueOptions,
    ) -> Result<IssuedIdentity, CaError> {
        let key = options.key.generate()?;
        Ok(IssuedIdentity {
            certificate: self.certify(node, &key, options.life)?,
            key_pem: private_key_pem(key.serialized_der()),
        })
    }

    /// A certificate for that node and the key of that request. It never outlives the CA. The name is the caller's word:
    /// what the request asks for counts for nothing.
    ///
    /// # Errors
    /// [`CaError::Expired`], [`CaError::Failed`]; [`CaError::RevokedKey`] when a certificate with that key was revoked.
    pub fn sign(
        &self,
        node: &NodeId,
        request: &CertificateRequest,
        life: Duration,
    ) -> Result<IssuedCertificate, CaError> {
        self.certify(node, request.public(), life)
    }

    pub(super) fn certify(
        &self,
        node: &NodeId,
        key: &impl PublicKeyData,
        life: Duration,
    ) -> Result<IssuedCertificate, CaError> {
        self.check_not_expired()?;
        let digest = sha256(&key.subject_public_key_info());
        if let Some(serial) = self.revoked_keys.get(&digest) {
            return Err(CaError::RevokedKey(serial.clone()));
        }
        let now = now();
        let end = (now + life).min(Duration::from_secs(self.not_after.unsigned_abs()));
        let serial = random_serial()?;
        let start = now - BACKDATED;
        let mut params = CertificateParams::default();
        params.not_before = date!(start);
        params.not_after = date!(end);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "portmesh");
        params.subject_alt_names = vec![
            SanType::URI(
                name::node_uri(&self.cluster, node)
                    .try_into()
                    .map_err(failed)?,
            ),
            SanType::DnsName(name::dns_name(&self.cluster).try_into().map_err(failed)?),
        ];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(key, &self.issuer).map_err(failed)?;
        Ok(IssuedCertificate {
            node: node.clone(),
            serial: Serial::from_bytes(&serial),
            certificate_pem: cert.pem(),
            ca_pem: self.certificate_pem(),
            crl_pem: self.crl_pem.clone(),
            not_before: seconds(start),
            not_after: seconds(end),
        })
    }
}

/// A certificate that was just issued, without a private key: nothing in it is secret.
#[derive(Debug, Clone)]
pub struct IssuedCertificate {
    node: NodeId,
    serial: Serial,
    certificate_pem: String,
    ca_pem: String,
    crl_pem: String,
    not_before: i64,
    not_after: i64,
}

impl IssuedCertificate {
    /// Certificate, CA and CRL in one text: with the private key put before it, it is what the node runs from.
    pub fn to_pem(&self) -> String {
        [&*self.certificate_pem, &self.ca_pem, &self.crl_pem].concat()
    }

    /// Writes [`Self::to_pem`] to a file that everybody may read. An existing file is left alone unless `overwrite`.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn save(&self, path: impl AsRef<Path>, overwrite: bool) -> Result<(), FileError> {
        let text = self.to_pem();
        files::write(path.as_ref(), text.as_bytes(), Access::Public, overwrite)
    }

    /// The node that it is for.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Its serial number.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// The certificate alone.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// When it expires: `2027-02-22 02:31 UTC`.
    pub fn expires(&self) -> String {
        utc(self.not_after)
    }

    /// When it expires.
    pub fn not_after(&self) -> SystemTime {
        time(self.not_after)
    }

    /// When it should be renewed: two thirds of its life.
    pub fn renew_after(&self) -> SystemTime {
        time(self.renewal())
    }

    /// The same for people: `2027-01-23 02:31 UTC`.
    pub fn renewal_advised(&self) -> String {
        utc(self.renewal())
    }

    fn renewal(&self) -> i64 {
        self.not_after - (self.not_after - self.not_before) / 3
    }
}

/// A certificate that was just issued, with its private key.
pub struct IssuedIdentity {
    certificate: IssuedCertificate,
    key_pem: Zeroizing<String>,
}

impl IssuedIdentity {
    /// Everything that the node needs, in one text: key, certificate, CA, CRL. See
    /// [`Identity::from_pem_file`](crate::transport::tls::Identity::from_pem_file).
    pub fn to_pem(&self) -> Zeroizing<String> {
        let rest = self.certificate.to_pem();
        let mut out = Zeroizing::new(String::with_capacity(self.key_pem.len() + rest.len()));
        out.push_str(&self.key_pem);
        out.push_str(&rest);
        out
    }

    /// Writes [`Self::to_pem`] to a file of mode 0600. An existing file is left alone unless `overwrite`.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn save(&self, path: impl AsRef<Path>, overwrite: bool) -> Result<(), FileError> {
        let text = self.to_pem();
        files::write(path.as_ref(), text.as_bytes(), Access::Private, overwrite)
    }

    /// All but the key.
    pub fn certificate(&self) -> &IssuedCertificate {
        &self.certificate
    }

    /// The node that it is for.
    pub fn node(&self) -> &NodeId {
        self.certificate.node()
    }

    /// The certificate alone.
    pub fn certificate_pem(&self) -> &str {
        self.certificate.certificate_pem()
    }

    /// The private key alone.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// When it expires: `2027-02-22 02:31 UTC`.
    pub fn expires(&self) -> String {
        self.certificate.expires()
    }

    /// When it expires.
    pub fn not_after(&self) -> SystemTime {
        self.certificate.not_after()
    }
}

impl fmt::Debug for IssuedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedIdentity")
            .field("node", self.node())
            .field("expires", &self.expires())
            .finish_non_exhaustive()
    }
}
