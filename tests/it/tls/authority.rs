//! The CA of the certificate helper: what it makes, what it writes, what it never does.

use std::{fs, process::Command, time::Duration};

use portmesh::transport::tls::{
    Identity,
    ca::{
        CA_FILE, CRL_FILE, CaDirectory, CaError, CertificateAuthority, IssueOptions, KEY_FILE,
        KeyKind,
    },
};
use x509_parser::prelude::{
    CertificateRevocationList, FromDer, GeneralName, X509Certificate, parse_x509_pem,
};

use super::{
    attack::Mint,
    support::{Party, node},
};

const DAY: i64 = 86_400;

/// Runs `look` on the parsed certificate.
fn parsed<T>(pem: &str, look: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).unwrap();
    let (_, cert) = X509Certificate::from_der(&pem.contents).unwrap();
    look(&cert)
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs() as i64
}

#[test]
fn a_ca_signs_nodes_and_crls_and_no_further_cas() {
    for kind in [KeyKind::Ed25519, KeyKind::P256] {
        let ca = CertificateAuthority::create_with_key("test", kind).unwrap();
        parsed(&ca.certificate_pem(), |cert| {
            let constraints = cert.basic_constraints().unwrap().unwrap();
            assert!(constraints.critical && constraints.value.ca);
            assert_eq!(constraints.value.path_len_constraint, Some(0));
            let usage = cert.key_usage().unwrap().unwrap().value;
            assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
            let life = cert.validity();
            let (from, until) = (
                life.not_before.timestamp() - now(),
                life.not_after.timestamp() - now(),
            );
            assert!((-400..=-300).contains(&from), "{from}");
            assert!((5 * 365 * DAY..=1827 * DAY).contains(&until), "{until}");
        });
        let (_, pem) = parse_x509_pem(ca.crl_pem().as_bytes()).unwrap();
        let (_, crl) = CertificateRevocationList::from_der(&pem.contents).unwrap();
        assert_eq!(crl.iter_revoked_certificates().count(), 0);
        parsed(&ca.certificate_pem(), |cert| {
            crl.verify_signature(cert.public_key()).unwrap()
        });
    }
    // Two CAs of one cluster have different names, so that a bundle of both works.
    let names: Vec<String> = (0..2)
        .map(|_| {
            parsed(
                &CertificateAuthority::create("test")
                    .unwrap()
                    .certificate_pem(),
                |c| c.subject().to_string(),
            )
        })
        .collect();
    assert_ne!(names[0], names[1]);
}

#[test]
fn a_node_certificate_says_what_it_should_and_nothing_more() {
    let ca = CertificateAuthority::create("my.cluster").unwrap();
    for kind in [KeyKind::Ed25519, KeyKind::P256] {
        let options = IssueOptions {
            key: kind,
            ..IssueOptions::default()
        };
        let issued = ca.issue_with(&node("worker/a:4040"), options).unwrap();
        parsed(issued.certificate_pem(), |cert| {
            let names = &cert
                .subject_alternative_name()
                .unwrap()
                .unwrap()
                .value
                .general_names;
            assert_eq!(
                *names,
                [
                    GeneralName::URI("spiffe://my.cluster/node/worker/a%3A4040"),
                    GeneralName::DNSName("node.my.cluster.portmesh.internal"),
                ]
            );
            let life = cert.validity();
            let (from, until) = (
                life.not_before.timestamp() - now(),
                life.not_after.timestamp() - now(),
            );
            assert!((-400..=-300).contains(&from), "{from}");
            assert!((90 * DAY - 60..=90 * DAY).contains(&until), "{until}");
            assert!(
                cert.serial.bits() > 100,
                "a serial number that nobody guesses"
            );
        });
        let identity = Identity::from_pem(&issued.to_pem()).unwrap();
        assert_eq!(identity.node(), &node("worker/a:4040"));
        let left = identity
            .renew_after()
            .duration_since(std::time::SystemTime::now())
            .unwrap();
        assert!(
            (59..=60).contains(&(left.as_secs() / 86_400)),
            "two thirds of 90 days"
        );
    }
    let one = ca.issue(&node("a")).unwrap();
    let two = ca.issue(&node("a")).unwrap();
    assert_ne!(one.key_pem(), two.key_pem());
    assert!(!format!("{one:?}{ca:?}").contains("PRIVATE"));
}

#[test]
fn no_certificate_outlives_its_ca() {
    let ca = CertificateAuthority::create("test").unwrap();
    let options = IssueOptions {
        life: Duration::from_secs(100 * 365 * 86_400),
        ..IssueOptions::default()
    };
    let issued = ca.issue_with(&node("a"), options).unwrap();
    assert_eq!(issued.expires(), ca.expires());
}

#[test]
fn a_ca_survives_its_directory_and_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("ca");
    let ca = CertificateAuthority::create("test").unwrap();
    let directory = CaDirectory::new(&home);
    directory.create_unencrypted(&ca, false).unwrap();
    let other = CertificateAuthority::create("test").unwrap();
    let error = directory
        .create_unencrypted(&other, false)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("exists already and is not overwritten"),
        "{error}"
    );
    let loaded = CertificateAuthority::load(&home).unwrap();
    assert_eq!(loaded.certificate_pem(), ca.certificate_pem());
    assert_eq!((loaded.cluster(), loaded.expires()), ("test", ca.expires()));
    // What it issues after that is of the same CA.
    let node_file = dir.path().join("node.pem");
    loaded
        .issue(&node("a"))
        .unwrap()
        .save(&node_file, false)
        .unwrap();
    let identity = Identity::from_pem_file(&node_file).unwrap();
    assert_eq!((identity.node(), identity.cluster()), (&node("a"), "test"));
    loaded
        .issue(&node("b"))
        .unwrap()
        .save(&node_file, false)
        .unwrap_err();
    assert_eq!(
        Identity::from_pem_file(&node_file).unwrap().node(),
        &node("a")
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        for path in [home.join(KEY_FILE), node_file] {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", path.display());
        }
        fs::set_permissions(home.join(KEY_FILE), fs::Permissions::from_mode(0o644)).unwrap();
        let error = CertificateAuthority::load(&home).unwrap_err().to_string();
        assert!(
            error.contains("chmod 600") && error.contains(KEY_FILE),
            "{error}"
        );
    }
}

#[test]
fn a_directory_that_holds_no_ca_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let save = |ca: &CertificateAuthority| {
        CaDirectory::new(dir.path())
            .create_unencrypted(ca, true)
            .unwrap()
    };
    assert!(matches!(
        CertificateAuthority::load(dir.path()),
        Err(CaError::File(_))
    ));
    save(&CertificateAuthority::create("test").unwrap());
    let foreign_key = fs::read(dir.path().join(KEY_FILE)).unwrap();
    save(&CertificateAuthority::create("test").unwrap());
    let own_key = fs::read(dir.path().join(KEY_FILE)).unwrap();
    let load = || {
        CertificateAuthority::load(dir.path())
            .map(drop)
            .map_err(|e| e.to_string())
    };
    let put = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    put(KEY_FILE, &foreign_key);
    assert!(load().unwrap_err().contains("two CAs were mixed up"));
    put(KEY_FILE, &own_key);
    load().unwrap();
    put(CA_FILE, b"no PEM at all");
    assert!(load().unwrap_err().contains("no PEM"));
    put(CA_FILE, Mint::new("another's CA").ca_pem().as_bytes());
    assert!(load().unwrap_err().contains("names no cluster"));
    save(&CertificateAuthority::create("test").unwrap());
    fs::remove_file(dir.path().join(CRL_FILE)).unwrap();
    assert!(load().unwrap_err().contains(CRL_FILE));
    let bad = CertificateAuthority::create("Not A Cluster").map(drop);
    assert!(matches!(bad, Err(CaError::ClusterName(_))));
}

/// Where there is an `openssl` it agrees with us: chain, purposes, and TLS 1.3 with a certificate demanded.
#[tokio::test]
async fn openssl_agrees() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: there is no openssl here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let ca = CertificateAuthority::create_with_key("test", KeyKind::P256).unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("ca.pem"), ca.certificate_pem() + ca.crl_pem()).unwrap();
    let issued = ca.issue(&node("a")).unwrap();
    issued.save(path("a.pem"), false).unwrap();
    fs::write(path("leaf.pem"), issued.certificate_pem()).unwrap();
    for purpose in ["sslserver", "sslclient"] {
        let ca = path("ca.pem");
        let leaf = path("leaf.pem");
        let args = [
            "verify",
            "-x509_strict",
            "-crl_check",
            "-purpose",
            purpose,
            "-CAfile",
            &ca,
            "-CRLfile",
            &ca,
            &leaf,
        ];
        let done = Command::new("openssl").args(args).output().unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    let mut server = Party::certified(&ca, "seed").serve().await;
    let addr = server.addr.clone();
    let pem = path("a.pem");
    let client = move |more: &[&str]| {
        let args = [
            "s_client",
            "-connect",
            &addr,
            "-alpn",
            "portmesh-c/1",
            "-cert",
            &pem,
            "-key",
            &pem,
        ];
        Command::new("openssl")
            .args(args)
            .args(more)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap()
    };
    let (old, new) =
        tokio::task::spawn_blocking(move || (client(&["-tls1_2"]), client(&["-tls1_3"])))
            .await
            .unwrap();
    let text = |out: &std::process::Output| {
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    };
    assert!(text(&old).contains("protocol version"), "{}", text(&old));
    let error = server.next().await.unwrap_err();
    assert!(error.contains("does not speak TLS 1.3"), "{error}");
    let said = text(&new);
    assert!(
        said.contains("TLSv1.3") && said.contains("ALPN protocol: portmesh-c/1"),
        "{said}"
    );
    assert!(
        !said.contains("New Session Ticket") || said.contains("no session"),
        "{said}"
    );
    // It got through TLS with its certificate, and is no node.
    let error = server.next().await.unwrap_err();
    assert!(error.contains("closed the connection"), "{error}");
}

/// Whatever a file that is not ours holds, it is refused in words and nothing panics.
#[test]
fn damaged_files_are_refused_in_words() {
    use portmesh::{CertificateRequest, NodeFile, TrustBundle, inspect};
    let ca = CertificateAuthority::create_with_key("test", KeyKind::P256).unwrap();
    let issued = ca.issue(&node("a")).unwrap();
    let (_, request) = CertificateRequest::generate(&node("a"), KeyKind::P256).unwrap();
    let text = issued.to_pem().to_string() + request.pem();
    let mut state = 7_u64;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    let parts = x509_parser::pem::Pem::iter_from_buffer(text.as_bytes());
    let parts: Vec<_> = parts.map(Result::unwrap).collect();
    let rounds = std::env::var("PORTMESH_DAMAGE").map_or(2000, |n| n.parse().unwrap());
    let (mut refused, mut good) = (0, 0);
    for round in 0..rounds {
        // in turns what the text is made of, and what it stands for
        let mut bytes = text.clone().into_bytes();
        if round % 2 == 0 {
            for _ in 0..=random(3) {
                if bytes.is_empty() {
                    break;
                }
                let at = random(bytes.len());
                match random(3) {
                    0 => bytes[at] = b"AZaz09+/=-\n"[random(11)],
                    1 => bytes.truncate(at.max(1)),
                    _ => _ = bytes.remove(at),
                }
            }
        } else {
            let damaged = random(parts.len());
            bytes.clear();
            for (i, part) in parts.iter().enumerate() {
                let mut der = part.contents.clone();
                for _ in 0..=random(3) {
                    if i != damaged || der.is_empty() {
                        break;
                    }
                    let at = random(der.len());
                    match random(4) {
                        0 => der[at] ^= 1 << random(8),
                        1 => der[at] = [0, 0x7f, 0x80, 0xff][random(4)],
                        2 => der.truncate(at.max(1)),
                        _ => _ = der.remove(at),
                    }
                }
                let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
                let label = &part.label;
                let armoured = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
                bytes.extend(armoured.into_bytes());
            }
        }
        let text = String::from_utf8(bytes).unwrap();
        let all = [
            inspect::read(&text).err().map(|e| e.to_string()),
            inspect::verify(&text, None).err().map(|e| e.to_string()),
            CertificateRequest::from_pem(&text)
                .err()
                .map(|e| e.to_string()),
            TrustBundle::from_pem(&text).err().map(|e| e.to_string()),
            NodeFile::from_pem(&text).err().map(|e| e.to_string()),
        ];
        for said in &all {
            match said {
                Some(error) => {
                    assert!(error.len() > 10, "{error}");
                    refused += 1;
                }
                None => good += 1,
            }
        }
    }
    assert!(
        refused > 1000 && good > 100,
        "{refused} refused, {good} read"
    );
}
