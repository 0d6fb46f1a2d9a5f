//! A CA's directory: its key, its certificate, what it revoked, and a copy of every certificate that it issued.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use rcgen::{Issuer, KeyPair};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use zeroize::Zeroizing;

use super::{
    CA_FILE, CRL_FILE, CaError, CertificateAuthority, FILE_BYTES_MAX, ISSUED_DIRECTORY,
    IssuedCertificate, KEY_FILE, NodeFile, Passphrase, RevocationReason, Serial, TrustBundle,
    cluster_of,
    crl::{self, Crl, Revoked},
    failed, keys, now, seconds, utc_text,
};
use crate::{
    proto::id::NodeId,
    transport::tls::{
        files::{self, Access, FileError},
        identity::Parts,
        leaf::{self, Leaf, time, utc},
        node_key::{fingerprint, pem, private_key_pem},
    },
};

const LOCK_FILE: &str = ".lock";
/// How long to wait for another process that changes the same CA.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// A certificate that this CA issued at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Issued {
    /// The node that it is for.
    pub node: NodeId,
    /// Its serial number.
    pub serial: Serial,
    /// SHA-256 of its key: `SHA256:` and base64.
    pub key: String,
    /// From when on it is valid: five minutes before it was issued.
    pub not_before: SystemTime,
    /// When it expires.
    pub not_after: SystemTime,
    /// Whether, when and why it was revoked.
    pub revoked: Option<Revoked>,
    digest: [u8; 32],
}

impl Issued {
    /// Neither expired nor revoked.
    pub fn is_valid(&self) -> bool {
        self.revoked.is_none() && self.not_after > SystemTime::now()
    }

    /// When it expires: `2027-02-22 02:31 UTC`.
    pub fn expires(&self) -> String {
        utc_text(self.not_after)
    }
}

/// A directory with a CA in it, or where one is to be.
///
/// ```
/// use portmesh::{CaDirectory, CertificateAuthority, Passphrase};
/// # let dir = tempfile::tempdir()?;
/// let directory = CaDirectory::new(dir.path().join("ca"));
/// let passphrase = Passphrase::new("correct horse battery staple".to_owned());
/// directory.create(&CertificateAuthority::create("example")?, &passphrase, false)?;
///
/// assert!(directory.is_encrypted()?);
/// let ca = directory.open(Some(&passphrase))?;
/// let issued = ca.issue(&"worker/a".parse()?)?;
/// directory.record(issued.certificate())?;
/// assert_eq!(directory.issued()?[0].serial, *issued.certificate().serial());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct CaDirectory {
    path: PathBuf,
}

/// While it is held no other process changes the list of revocations.
#[derive(Debug)]
pub struct CaLock(PathBuf);

impl Drop for CaLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl CaDirectory {
    /// That directory. Nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        CaDirectory { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a CA, or part of one.
    pub fn exists(&self) -> bool {
        [KEY_FILE, CA_FILE, CRL_FILE]
            .iter()
            .any(|name| self.path.join(name).symlink_metadata().is_ok())
    }

    /// Whether the private key needs a passphrase.
    ///
    /// # Errors
    /// [`CaError::File`].
    pub fn is_encrypted(&self) -> Result<bool, CaError> {
        Ok(keys::is_encrypted(&self.read(KEY_FILE, Access::Private)?))
    }

    /// Reads the CA. A key that is not encrypted needs no passphrase.
    ///
    /// # Errors
    /// When a file is missing, others can read the key, it is encrypted and the passphrase is missing or wrong, the
    /// parts do not belong together, or the CA has expired.
    pub fn open(&self, passphrase: Option<&Passphrase>) -> Result<CertificateAuthority, CaError> {
        let (der, cluster) = self.certificate()?;
        let wrong = |e: String| CaError::Unusable(format!("{}: {e}", self.show(CA_FILE)));
        let key = self.key(passphrase)?;
        let cert = leaf::parse(&der).map_err(wrong)?;
        if rcgen::PublicKeyData::subject_public_key_info(&key) != cert.public_key().raw {
            return Err(CaError::Unusable(format!(
                "{KEY_FILE} is not the key of {CA_FILE}: two CAs were mixed up"
            )));
        }
        let not_after = cert.validity().not_after.timestamp();
        if not_after < seconds(now()) {
            return Err(CaError::Expired(utc(not_after)));
        }
        let crl_pem = self.read(CRL_FILE, Access::Public)?.to_string();
        let crl = self.crl()?;
        let revoked_keys = if crl.revoked.is_empty() {
            BTreeMap::new()
        } else {
            let issued = self.issued()?.into_iter();
            // One that was superseded may have passed its key on.
            let lost = |r: &Revoked| r.reason != RevocationReason::Superseded;
            let revoked = issued.filter(|issued| issued.revoked.as_ref().is_some_and(lost));
            revoked.map(|i| (i.digest, i.serial)).collect()
        };
        let der: rustls::pki_types::CertificateDer<'static> = der.into();
        Ok(CertificateAuthority {
            cluster,
            issuer: Issuer::from_ca_cert_der(&der, key).map_err(|e| wrong(e.to_string()))?,
            der,
            crl_pem,
            not_after,
            revoked_keys,
        })
    }

    /// Writes certificate, CRL and key (mode 0600, encrypted with the passphrase) to the directory, which is made if
    /// there is none. Existing files are left alone, and nothing is written, unless `overwrite`.
    ///
    /// # Errors
    /// [`CaError::WeakPassphrase`], [`CaError::File`].
    pub fn create(
        &self,
        ca: &CertificateAuthority,
        passphrase: &Passphrase,
        overwrite: bool,
    ) -> Result<(), CaError> {
        let plain = private_key_pem(ca.issuer.key().serialized_der());
        let der = PrivatePkcs8KeyDer::from_pem_slice(plain.as_bytes()).map_err(failed)?;
        let key = keys::encrypt(der.secret_pkcs8_der(), passphrase)?;
        Ok(self.write_all(ca, &key, overwrite)?)
    }

    /// As [`Self::create`], with a private key that is not encrypted: whoever gets that file can make certificates for
    /// every node.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn create_unencrypted(
        &self,
        ca: &CertificateAuthority,
        overwrite: bool,
    ) -> Result<(), FileError> {
        let key = private_key_pem(ca.issuer.key().serialized_der());
        self.write_all(ca, &key, overwrite)
    }

    fn write_all(
        &self,
        ca: &CertificateAuthority,
        key: &str,
        overwrite: bool,
    ) -> Result<(), FileError> {
        files::create_directory(&self.path)?;
        let certificate = ca.certificate_pem();
        let all = [
            (KEY_FILE, key.as_bytes(), Access::Private),
            (CA_FILE, certificate.as_bytes(), Access::Public),
            (CRL_FILE, ca.crl_pem.as_bytes(), Access::Public),
        ];
        for (name, _, _) in &all {
            let path = self.path.join(name);
            if !overwrite && path.symlink_metadata().is_ok() {
                return Err(FileError::Exists { path });
            }
        }
        self.retire_records()?;
        for (name, bytes, access) in all {
            files::write(&self.path.join(name), bytes, access, overwrite)?;
        }
        Ok(())
    }

    /// What a former CA issued is not the new one's; it is kept under another name.
    fn retire_records(&self) -> Result<(), FileError> {
        let records = self.path.join(ISSUED_DIRECTORY);
        if records.symlink_metadata().is_err() {
            return Ok(());
        }
        let names = (1..).map(|n| self.path.join(format!("{ISSUED_DIRECTORY}-before-{n}")));
        let mut free = names.filter(|path| path.symlink_metadata().is_err());
        let to = free.next().unwrap_or_else(|| records.clone());
        fs::rename(&records, &to).map_err(|source| FileError::Write { path: to, source })
    }

    /// Encrypts the private key with another passphrase, or with a first one.
    ///
    /// # Errors
    /// As [`Self::open`], and [`CaError::WeakPassphrase`].
    pub fn change_passphrase(
        &self,
        old: Option<&Passphrase>,
        new: &Passphrase,
    ) -> Result<(), CaError> {
        let ca = self.open(old)?;
        let plain = private_key_pem(ca.issuer.key().serialized_der());
        let der = PrivatePkcs8KeyDer::from_pem_slice(plain.as_bytes()).map_err(failed)?;
        let key = keys::encrypt(der.secret_pkcs8_der(), new)?;
        let path = self.path.join(KEY_FILE);
        Ok(files::write(&path, key.as_bytes(), Access::Private, true)?)
    }

    /// Keeps a copy of a certificate, so that it can be found and revoked by the name of its node.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn record(&self, issued: &IssuedCertificate) -> Result<(), FileError> {
        let directory = self.path.join(ISSUED_DIRECTORY);
        files::create_directory(&directory)?;
        let path = directory.join(format!("{}.pem", issued.serial().hex()));
        let text = issued.certificate_pem();
        files::write(&path, text.as_bytes(), Access::Public, false)
    }

    /// Keeps a copy of the certificate in that file, which this CA issued when it kept none. One that is kept stays.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn record_file(&self, file: &NodeFile) -> Result<(), FileError> {
        let directory = self.path.join(ISSUED_DIRECTORY);
        files::create_directory(&directory)?;
        let path = directory.join(format!("{}.pem", file.serial().hex()));
        match files::write(
            &path,
            file.certificate_pem().as_bytes(),
            Access::Public,
            false,
        ) {
            Err(FileError::Exists { .. }) => Ok(()),
            done => done,
        }
    }

    /// All certificates that were recorded, the oldest first. Needs no passphrase.
    ///
    /// # Errors
    /// [`CaError::File`]; [`CaError::Unusable`] when one of the copies is not a certificate of this CA.
    pub fn issued(&self) -> Result<Vec<Issued>, CaError> {
        let (ca, _) = self.certificate()?;
        let revoked = self.crl()?.revoked;
        let directory = self.path.join(ISSUED_DIRECTORY);
        let failed = |source| FileError::Read {
            path: directory.clone(),
            source,
        };
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            // Nothing was issued yet, or by a version that kept no copies.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(e).into()),
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            // A temporary file of another process begins with a dot.
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') || !name.ends_with(".pem") {
                continue;
            }
            let text = files::read(&path, FILE_BYTES_MAX, Access::Public)?;
            let issued = recorded(&text, &ca, &revoked).map_err(|e| {
                let path = path.display();
                CaError::Unusable(format!(
                    "{path} is not the copy of a certificate that this CA issued: {e}; move it away"
                ))
            })?;
            all.push(issued);
        }
        all.sort_by(|a, b| (a.not_before, &a.serial).cmp(&(b.not_before, &b.serial)));
        Ok(all)
    }

    /// What is revoked. Needs no passphrase.
    ///
    /// # Errors
    /// [`CaError::File`]; [`CaError::Unusable`] when the list is not signed by this CA.
    pub fn crl(&self) -> Result<Crl, CaError> {
        let (ca, _) = self.certificate()?;
        let text = self.read(CRL_FILE, Access::Public)?;
        crl::check(&text, &ca).map_err(|e| {
            CaError::Unusable(format!(
                "{}: {e}; every node's file has a copy of the list, see `portmesh-cert crl --restore`",
                self.show(CRL_FILE)
            ))
        })
    }

    /// The CA's certificate and list of revocations as PEM, which every node gets. Needs no passphrase.
    ///
    /// # Errors
    /// [`CaError::File`].
    pub fn bundle_pem(&self) -> Result<String, CaError> {
        let (ca, crl) = (
            self.read(CA_FILE, Access::Public)?,
            self.read(CRL_FILE, Access::Public)?,
        );
        Ok(format!("{}\n{}\n", ca.trim_end(), crl.trim_end()))
    }

    /// Writes the CA's list of revocations. Hold [`Self::lock`] from before the CA was opened.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn save_crl(&self, ca: &CertificateAuthority, _lock: &CaLock) -> Result<(), FileError> {
        let path = self.path.join(CRL_FILE);
        files::write(&path, ca.crl_pem.as_bytes(), Access::Public, true)
    }

    /// Takes the list of revocations of this CA from a node's file or a bundle, if that is newer, or if the CA's own is
    /// lost: after the directory was restored from a backup, say. Returns whether it was.
    ///
    /// # Errors
    /// [`CaError::File`]; [`CaError::Unusable`] when there is no list of this CA in it.
    pub fn restore_crl(&self, from: &TrustBundle, _lock: &CaLock) -> Result<bool, CaError> {
        let (ca, _) = self.certificate()?;
        let lists = from.crls_der().iter().map(|der| pem("X509 CRL", der));
        let own = lists.filter_map(|text| Some((crl::check(&text, &ca).ok()?, text)));
        let (found, text) = own.max_by_key(|(crl, _)| crl.number).ok_or_else(|| {
            CaError::Unusable("there is no list of revocations of this CA in it".into())
        })?;
        let path = self.path.join(CRL_FILE);
        if path.symlink_metadata().is_ok() && self.crl()?.number >= found.number {
            return Ok(false);
        }
        files::write(&path, text.as_bytes(), Access::Public, true)?;
        Ok(true)
    }

    /// Keeps other processes from changing the list of revocations at the same time. Waits 5 s for one that does.
    ///
    /// # Errors
    /// [`CaError::Busy`], [`CaError::File`].
    pub fn lock(&self) -> Result<CaLock, CaError> {
        let path = self.path.join(LOCK_FILE);
        let begun = Instant::now();
        loop {
            match files::write(&path, b"", Access::Private, false) {
                Ok(()) => return Ok(CaLock(path)),
                Err(FileError::Exists { .. }) if begun.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(FileError::Exists { path }) => return Err(CaError::Busy(path)),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn key(&self, passphrase: Option<&Passphrase>) -> Result<KeyPair, CaError> {
        let name = self.show(KEY_FILE);
        let text = self.read(KEY_FILE, Access::Private)?;
        if !keys::is_encrypted(&text) {
            return KeyPair::from_pem(&text).map_err(|e| CaError::Unusable(format!("{name}: {e}")));
        }
        let passphrase = passphrase.ok_or_else(|| CaError::Encrypted(name.clone()))?;
        let der = keys::decrypt(&text, passphrase, &name)?;
        let plain = Zeroizing::new(pem("PRIVATE KEY", &der));
        // A wrong passphrase may give something, once in 256 times, and that is no key.
        KeyPair::from_pem(&plain).map_err(|_| CaError::WrongPassphrase(name))
    }

    /// The CA's certificate and cluster.
    fn certificate(&self) -> Result<(Vec<u8>, String), CaError> {
        let wrong = |e: String| CaError::Unusable(format!("{}: {e}", self.show(CA_FILE)));
        let text = self.read(CA_FILE, Access::Public)?;
        let mut certs = Parts::read(&text).map_err(|e| wrong(e.to_string()))?.certs;
        let (Some(der), true) = (certs.pop(), certs.is_empty()) else {
            return Err(wrong("it is not one certificate".into()));
        };
        let cert = leaf::parse(&der).map_err(wrong)?;
        leaf::check_ca(&cert).map_err(wrong)?;
        let cluster = cluster_of(&cert).ok_or_else(|| {
            wrong(
                "it names no cluster (spiffe://<cluster>): it was not made by portmesh-cert".into(),
            )
        })?;
        Ok((der.to_vec(), cluster))
    }

    fn read(&self, name: &str, access: Access) -> Result<Zeroizing<String>, FileError> {
        files::read(&self.path.join(name), FILE_BYTES_MAX, access)
    }

    fn show(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

fn recorded(text: &str, ca: &[u8], revoked: &[Revoked]) -> Result<Issued, String> {
    let certs = Parts::read(text).map_err(|e| e.to_string())?.certs;
    let der = certs.first().ok_or("there is no certificate in it")?;
    let (cert, ca) = (leaf::parse(der)?, leaf::parse(ca)?);
    cert.verify_signature(Some(ca.public_key()))
        .map_err(|_| "another CA signed it")?;
    let leaf = Leaf::read(der)?;
    let serial = Serial::from_bytes(cert.raw_serial());
    Ok(Issued {
        node: leaf.node,
        key: fingerprint(&leaf.key),
        digest: leaf.key,
        not_before: time(leaf.not_before),
        not_after: time(leaf.not_after),
        revoked: revoked.iter().find(|r| r.serial == serial).cloned(),
        serial,
    })
}
