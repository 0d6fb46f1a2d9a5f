//! `portmesh-cert` as it is installed: the CA's passphrase, keys that stay where they are, renewal, revocation, two CAs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use portmesh::{CertificateRequest, Identity, KeyKind};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::process::{Ended, Running, portmesh, portmesh_cert};

/// A directory to work in.
pub(super) struct Desk(pub(super) TempDir);

impl Desk {
    pub(super) fn new() -> Self {
        Desk(tempfile::tempdir().unwrap())
    }

    /// With a CA of the mesh `shop` in `ca`.
    pub(super) fn with_ca() -> Self {
        let desk = Self::new();
        desk.cert(&["ca", "init", "--cluster", "shop"]).code(0);
        desk
    }

    pub(super) fn cert(&self, args: &[&str]) -> Ended {
        Ended::of(portmesh_cert(self.0.path()).args(args))
    }

    /// The one object that it prints.
    #[track_caller]
    pub(super) fn json(&self, args: &[&str]) -> Json {
        let all = self.cert(&[&["--json"], args].concat()).code(0).json();
        let [one] = <[Json; 1]>::try_from(all).unwrap();
        one
    }

    /// Refused with exit code 8, and what it says on the standard error.
    #[track_caller]
    pub(super) fn refused(&self, args: &[&str]) -> String {
        let ended = self.cert(args).code(8);
        assert_eq!(ended.stdout, "");
        ended.stderr
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        set_mode(&self.path(name), 0o600);
    }

    pub(super) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names = Vec::from_iter(names);
        names.sort();
        names
    }

    pub(super) fn identity(&self, name: &str) -> Identity {
        Identity::from_pem_file(self.path(name)).unwrap()
    }

    /// `openssl` there, if there is one.
    pub(super) fn openssl(&self, args: &[&str]) -> Option<Ended> {
        let mut command = Command::new("openssl");
        command.current_dir(self.0.path()).args(args);
        if command.output().is_err() {
            eprintln!("skipped: there is no openssl here");
            return None;
        }
        Some(Ended::of(&mut command))
    }

    pub(super) fn run(&self, args: &[&str]) -> Running {
        let mut command = portmesh(self.0.path());
        command.args(["--json", "run", "--listen", "127.0.0.1:*"]);
        Running::start(command.args(args))
    }
}

#[cfg(unix)]
pub(super) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
#[cfg(not(unix))]
pub(super) fn set_mode(_: &Path, _: u32) {}

#[cfg(unix)]
pub(super) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Every `-----BEGIN …-----` of a PEM text.
pub(super) fn labels(text: &str) -> Vec<&str> {
    let begins = text.lines().filter_map(|l| l.strip_prefix("-----BEGIN "));
    begins.map(|l| l.trim_end_matches('-')).collect()
}

fn armoured(label: &str, der: &[u8]) -> String {
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    let lines = body
        .as_bytes()
        .chunks(64)
        .map(|l| std::str::from_utf8(l).unwrap());
    let lines = Vec::from_iter(lines).join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

const NODE_FILE: [&str; 4] = ["PRIVATE KEY", "CERTIFICATE", "CERTIFICATE", "X509 CRL"];

#[test]
fn a_key_never_leaves_its_node() {
    let desk = Desk::with_ca();
    let request = desk.json(&["csr", "eu/a", "--kind", "p256"]);
    assert_eq!(labels(&desk.read("a.csr")), ["CERTIFICATE REQUEST"]);
    assert_eq!(labels(&desk.read("a.key")), ["PRIVATE KEY"]);
    let signed = desk.json(&["sign", "eu/a", "--csr", "a.csr", "--days", "10"]);
    assert_eq!(signed["key"], request["key"]);
    assert_eq!(
        (&signed["node"], &signed["file"]),
        (&json!("eu/a"), &json!("a.crt"))
    );
    let crt = desk.read("a.crt");
    assert_eq!(labels(&crt), NODE_FILE[1..]);
    let whole = desk.json(&["assemble", "a.crt", "--key", "a.key"]);
    assert_eq!(whole["file"], "a.pem");
    assert_eq!(labels(&desk.read("a.pem")), NODE_FILE);
    let identity = desk.identity("a.pem");
    assert_eq!(
        (identity.node().as_str(), identity.cluster()),
        ("eu/a", "shop")
    );
    #[cfg(unix)]
    for name in ["a.key", "a.pem"] {
        assert_eq!(mode(&desk.path(name)), 0o600, "{name}");
    }

    // renewed without the key going anywhere
    desk.cert(&["csr", "eu/a", "--key", "a.pem", "--out", "new.csr"])
        .code(0);
    let again = desk.json(&["sign", "eu/a", "--csr", "new.csr", "--out", "new.crt"]);
    assert_eq!(again["key"], request["key"]);
    assert_eq!(again["other_valid"][0]["serial"], signed["serial"]);
    desk.cert(&["assemble", "new.crt", "--into", "a.pem"])
        .code(0);
    assert_eq!(desk.identity("a.pem").serial(), again["serial"]);
    assert_eq!(labels(&desk.read("a.pem")), NODE_FILE);

    // negatives: nothing is overwritten, another's key or node does not fit
    desk.refused(&["csr", "eu/a"]);
    desk.refused(&["sign", "eu/a", "--csr", "new.csr"]);
    desk.refused(&["assemble", "a.crt", "--key", "a.key"]);
    desk.cert(&["csr", "b"]).code(0);
    desk.cert(&["sign", "b", "--csr", "b.csr"]).code(0);
    let mixed = desk.refused(&["assemble", "b.crt", "--key", "a.key"]);
    assert!(mixed.contains("mixed up"), "{mixed}");
    let other = desk.refused(&["assemble", "b.crt", "--into", "a.pem"]);
    assert!(other.contains("nothing was changed"), "{other}");
    assert!(!desk.path("b.pem").exists());
    assert_eq!(desk.identity("a.pem").serial(), again["serial"]);
    if let Some(ended) = desk.openssl(&["req", "-in", "a.csr", "-verify", "-noout"]) {
        ended.code(0);
        fs::write(
            desk.path("leaf.pem"),
            crt.split_inclusive("-----END CERTIFICATE-----\n")
                .next()
                .unwrap(),
        )
        .unwrap();
        let verify = [
            "verify",
            "-x509_strict",
            "-crl_check",
            "-CAfile",
            "ca/ca.pem",
            "-CRLfile",
            "ca/ca-crl.pem",
        ];
        desk.openssl(&[&verify[..], &["leaf.pem"]].concat())
            .unwrap()
            .code(0);
    }
}

#[test]
fn from_a_request_only_the_key_is_taken() {
    let desk = Desk::with_ca();
    // a request that asks for everything: a CA of another name, for all of the network
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "admin\u{1b}[2J");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    desk.write(
        "evil.csr",
        &params.serialize_request(&key).unwrap().pem().unwrap(),
    );
    desk.write("evil.key", &key.serialize_pem());
    let signed = desk.cert(&["sign", "a", "--csr", "evil.csr"]).code(0);
    assert!(
        signed.stderr.contains("asks for the name"),
        "{}",
        signed.stderr
    );
    assert!(!signed.stderr.contains('\u{1b}'));
    desk.cert(&["assemble", "a.crt", "--key", "evil.key"])
        .code(0);
    assert_eq!(desk.identity("a.pem").node().as_str(), "a");
    let (_, pem) = x509_parser::pem::parse_x509_pem(desk.read("a.crt").as_bytes()).unwrap();
    let cert = pem.parse_x509().unwrap();
    assert!(!cert.is_ca());
    assert!(!cert.key_usage().unwrap().unwrap().value.key_cert_sign());
    assert!(!format!("{:?}", cert.subject_alternative_name()).contains("evil"));
    assert!(!cert.subject().to_string().contains("admin"));

    // who cannot prove that they have the key gets nothing
    let (_, request) = CertificateRequest::generate(&"b".parse().unwrap(), KeyKind::P256).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(request.pem().as_bytes()).unwrap();
    for (name, at) in [("signature", pem.contents.len() - 3), ("key", 60)] {
        let mut der = pem.contents.clone();
        der[at] ^= 1;
        desk.write("b.csr", &armoured("CERTIFICATE REQUEST", &der));
        let error = desk.refused(&["sign", "b", "--csr", "b.csr"]);
        assert!(
            error.contains("the request cannot be used"),
            "{name}: {error}"
        );
    }
    let text = request.pem();
    for broken in [
        &text[..text.len() / 2],
        "",
        "nonsense",
        &format!("{text}{text}"),
    ] {
        desk.write("b.csr", broken);
        desk.refused(&["sign", "b", "--csr", "b.csr"]);
    }
    if let Some(ended) = desk.openssl(&[
        "req", "-new", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=b", "-keyout", "w.key",
        "-out", "b.csr",
    ]) {
        ended.code(0);
        let weak = desk.refused(&["sign", "b", "--csr", "b.csr"]);
        assert!(weak.contains("RSA of 1024 bits"), "{weak}");
    }
    assert!(!desk.path("b.crt").exists());
}

#[test]
fn renewal_keeps_the_key_and_what_the_node_trusts() {
    let desk = Desk::with_ca();
    let first = desk.json(&["issue", "a", "--days", "10"]);
    let renewed = desk.json(&["renew", "a.pem"]);
    assert_eq!(
        (&renewed["file"], &renewed["new_key"]),
        (&json!("a.pem"), &json!(false))
    );
    assert_eq!(renewed["replaced"], first["serial"]);
    let key = |name: &str| {
        desk.read(name)
            .split_inclusive("-----END PRIVATE KEY-----")
            .next()
            .unwrap()
            .to_owned()
    };
    let before = key("a.pem");
    let again = desk.json(&["renew", "a.pem", "--days", "20"]);
    assert_eq!(key("a.pem"), before);
    assert_eq!(desk.identity("a.pem").serial(), again["serial"]);
    assert_eq!(labels(&desk.read("a.pem")), NODE_FILE);
    desk.write(
        "a.crt",
        desk.read("a.pem")
            .split_once("-----END PRIVATE KEY-----\n")
            .unwrap()
            .1,
    );
    let error = desk.refused(&["renew", "a.crt"]);
    assert!(error.contains("no private key"), "{error}");
    fs::remove_file(desk.path("a.crt")).unwrap();
    desk.cert(&["renew", "a.pem", "--new-key", "--kind", "p256"])
        .code(0);
    assert_ne!(key("a.pem"), before);
    #[cfg(unix)]
    assert_eq!(mode(&desk.path("a.pem")), 0o600);
    assert_eq!(desk.names(), ["a.pem", "ca"]);
    assert_eq!(desk.cert(&["--json", "list"]).code(0).json().len(), 4);

    // another CA does not take the word of the first, nor does one of another mesh
    desk.cert(&["ca", "init", "--cluster", "shop", "--dir", "new"])
        .code(0);
    let before = desk.read("a.pem");
    let error = desk.refused(&["renew", "a.pem", "--dir", "new"]);
    assert!(error.contains("--node a"), "{error}");
    desk.refused(&["renew", "a.pem", "--node", "b"]);
    desk.cert(&["ca", "init", "--cluster", "other", "--dir", "other"])
        .code(0);
    let error = desk.refused(&["renew", "a.pem", "--dir", "other", "--node", "a"]);
    assert!(error.contains("of the mesh shop"), "{error}");
    desk.write("cut.pem", &before[..before.len() / 2]);
    desk.refused(&["renew", "cut.pem"]);
    assert_eq!(desk.read("a.pem"), before);
}

#[test]
fn what_is_revoked_is_found_by_node_file_or_number_and_stays_revoked() {
    let desk = Desk::with_ca();
    for (node, file) in [
        ("a", "a.pem"),
        ("a", "a2.pem"),
        ("b", "b.pem"),
        ("c", "c.pem"),
    ] {
        desk.cert(&["issue", node, "--out", file]).code(0);
    }
    let serial = |file: &str| desk.identity(file).serial().to_owned();
    let crl = || desk.json(&["crl"]);
    assert_eq!(
        (&crl()["number"], &crl()["revoked"]),
        (&json!(1), &json!([]))
    );

    // unknown ones
    desk.cert(&["revoke", "nobody"]).code(3);
    desk.cert(&["revoke", "--serial", "40:41"]).code(3);
    desk.cert(&["revoke", "--serial", "not hex"]).code(2);
    desk.cert(&["revoke"]).code(2);
    desk.cert(&["revoke", "a", "--file", "a.pem"]).code(2);
    desk.cert(&["ca", "init", "--cluster", "shop", "--dir", "other"])
        .code(0);
    let foreign = desk.refused(&["revoke", "--file", "a.pem", "--dir", "other"]);
    assert!(foreign.contains("another CA"), "{foreign}");
    assert_eq!(crl()["number"], 1);

    let both = desk
        .cert(&["--json", "revoke", "a", "--reason", "key-compromise"])
        .code(0)
        .json();
    assert_eq!(both.len(), 2);
    desk.cert(&["revoke", "a"]).code(3);
    desk.cert(&["revoke", "--file", "b.pem", "--reason", "cessation"])
        .code(0);
    desk.cert(&["revoke", "--serial", &serial("c.pem").to_uppercase()])
        .code(0);
    let again = desk
        .cert(&["--json", "revoke", "--serial", &serial("c.pem")])
        .code(0)
        .json();
    assert_eq!(
        (&again[0]["new"], &again[0]["crl_number"]),
        (&json!(false), &json!(4))
    );
    desk.cert(&["crl", "--refresh"]).code(0);
    desk.cert(&["revoke", "--serial", "40:41", "--force"])
        .code(0);
    let list = crl();
    assert_eq!(list["number"], 6);
    let revoked = list["revoked"].as_array().unwrap();
    let of = |node: &str| Vec::from_iter(revoked.iter().filter(|r| r["node"] == node));
    assert_eq!((revoked.len(), of("a").len()), (5, 2));
    assert_eq!(of("b")[0]["reason"], "cessation");
    assert!(desk.cert(&["list", "--valid"]).code(0).stdout.is_empty());
    // the key counts as lost, and so does the certificate
    let error = desk.refused(&["renew", "a.pem"]);
    assert!(error.contains("was revoked"), "{error}");
    desk.cert(&["csr", "a", "--key", "a.pem"]).code(0);
    let error = desk.refused(&["sign", "a", "--csr", "a.csr"]);
    assert!(error.contains("the key counts as lost"), "{error}");
    // a new one has the list
    desk.cert(&["issue", "a", "--force"]).code(0);
    assert_eq!(labels(&desk.read("a.pem")), NODE_FILE);
    if let Some(ended) = desk.openssl(&[
        "crl",
        "-in",
        "ca/ca-crl.pem",
        "-CAfile",
        "ca/ca.pem",
        "-noout",
        "-crlnumber",
    ]) {
        let said = ended.code(0).stdout;
        let number = said.trim().trim_start_matches("crlNumber=");
        let number = u8::from_str_radix(number.trim_start_matches("0x"), 16);
        assert_eq!(number, Ok(6), "{said}");
    }
    // a list that is not the CA's own is not gone on from
    fs::copy(desk.path("other/ca-crl.pem"), desk.path("ca/ca-crl.pem")).unwrap();
    let error = desk.refused(&["revoke", "a"]);
    assert!(error.contains("not signed by this CA"), "{error}");
}

#[test]
fn two_revocations_at_once_are_both_kept() {
    let desk = Desk::with_ca();
    let nodes = ["a", "b", "c", "d"];
    for node in nodes {
        desk.cert(&["issue", node]).code(0);
    }
    std::thread::scope(|scope| {
        for node in nodes {
            let desk = &desk;
            scope.spawn(move || desk.cert(&["revoke", node]).code(0));
        }
    });
    let crl = desk.json(&["crl"]);
    assert_eq!(
        (&crl["number"], crl["revoked"].as_array().unwrap().len()),
        (&json!(5), 4)
    );
    // one that was interrupted is told from one that runs
    desk.write("ca/.lock", "");
    let error = desk.refused(&["crl", "--refresh"]);
    assert!(error.contains("remove ca/.lock"), "{error}");
}

#[test]
fn one_ca_takes_the_place_of_another_by_way_of_both() {
    let desk = Desk::with_ca();
    desk.cert(&["ca", "init", "--cluster", "shop", "--dir", "new"])
        .code(0);
    for node in ["a", "b", "gone"] {
        desk.cert(&["issue", node]).code(0);
    }
    // not both at once
    let before = desk.read("a.pem");
    let early = desk.refused(&["bundle", "new", "--into", "a.pem"]);
    assert!(early.contains("nothing was changed"), "{early}");
    assert_eq!(desk.read("a.pem"), before);

    let both = desk.cert(&["--json", "bundle", "ca", "new", "--into", "a.pem", "b.pem"]);
    for file in both.code(0).json() {
        assert_eq!(file["trusts"].as_array().unwrap().len(), 2);
    }
    // what the old one revokes meanwhile goes into the files, and does not go back out
    desk.cert(&["revoke", "gone"]).code(0);
    fs::copy(desk.path("ca/ca-crl.pem"), desk.path("newer.pem")).unwrap();
    desk.cert(&["bundle", "newer.pem", "--into", "a.pem"])
        .code(0);
    let revoked = |name: &str| {
        let text = desk.read(name);
        let bundle = portmesh::TrustBundle::from_pem(&text).unwrap();
        bundle
            .crls()
            .iter()
            .map(|crl| crl.revoked.len())
            .sum::<usize>()
    };
    assert_eq!((revoked("a.pem"), revoked("b.pem")), (1, 0));
    desk.cert(&["bundle", "b.pem", "--into", "a.pem"]).code(0);
    assert_eq!(revoked("a.pem"), 1);

    desk.cert(&["renew", "a.pem", "--dir", "new", "--node", "a"])
        .code(0);
    let a = desk.run(&["--identity", "a.pem"]);
    let addr = a.ready();
    let ping = |file: &str, code: i32| {
        let address = format!("a={addr}");
        Ended::of(portmesh(desk.0.path()).args([
            "ping",
            "a",
            "--identity",
            file,
            "--address",
            &address,
        ]))
        .code(code)
    };
    ping("b.pem", 0);
    desk.cert(&["renew", "b.pem", "--dir", "new", "--node", "b"])
        .code(0);
    desk.cert(&["bundle", "new", "--into", "b.pem"]).code(0);
    ping("b.pem", 0);
    ping("gone.pem", 6);

    let printed = desk.cert(&["bundle", "ca", "new"]).code(0).stdout;
    assert_eq!(
        labels(&printed),
        ["CERTIFICATE", "CERTIFICATE", "X509 CRL", "X509 CRL"]
    );
    desk.cert(&["bundle", "ca", "new", "--out", "both.pem"])
        .code(0);
    desk.refused(&["bundle", "ca", "--out", "both.pem"]);
    desk.refused(&["bundle", "newer.pem", "--out", "only-lists.pem"]);
}

#[test]
fn nodes_with_signed_requests_meet_and_a_revoked_one_stays_out() {
    let desk = Desk::with_ca();
    for node in ["a", "b"] {
        desk.cert(&["csr", node]).code(0);
        desk.cert(&["sign", node, "--csr", &format!("{node}.csr")])
            .code(0);
        let (crt, key) = (format!("{node}.crt"), format!("{node}.key"));
        desk.cert(&["assemble", &crt, "--key", &key]).code(0);
    }
    let early = Ended::of(portmesh(desk.0.path()).args(["run", "--identity", "a.crt"])).code(8);
    assert!(early.stderr.contains("assemble"), "{}", early.stderr);
    let a = desk.run(&["--identity", "a.pem"]);
    let address = format!("a={}", a.ready());
    let ping = [
        "--json",
        "ping",
        "a",
        "-c",
        "1",
        "--identity",
        "b.pem",
        "--address",
        &address,
    ];
    let ping = || Ended::of(portmesh(desk.0.path()).args(ping));
    let met = ping().code(0).json();
    assert_eq!(met[0]["mode"], "certificate");
    a.line(&["\"up\"", "\"b\""]);
    a.line(&["\"down\"", "\"b\""]);
    let b = desk.run(&[
        "--identity",
        "b.pem",
        "--seed",
        address.trim_start_matches("a="),
    ]);
    a.line(&["\"up\"", "\"b\""]);

    desk.cert(&["revoke", "b", "--reason", "withdrawn"]).code(0);
    desk.cert(&["bundle", "ca/ca-crl.pem", "--into", "a.pem"])
        .code(0);
    // without being started anew
    a.line(&["\"down\"", "\"b\""]);
    drop(b);
    let ping = ["ping", "a", "--identity", "b.pem", "--address", &address];
    let refused = Ended::of(portmesh(desk.0.path()).args(ping)).code(6);
    assert!(refused.stderr.contains("revoked"), "{}", refused.stderr);
}

/// Signs as the CA in `plain`, whose key is not encrypted.
fn issuer(desk: &Desk) -> rcgen::Issuer<'static, rcgen::KeyPair> {
    let key = rcgen::KeyPair::from_pem(&desk.read("plain/ca-key.pem")).unwrap();
    rcgen::Issuer::from_ca_cert_pem(&desk.read("plain/ca.pem"), key).unwrap()
}

#[test]
fn an_expired_certificate_can_be_renewed_and_an_expired_ca_renews_nothing() {
    let desk = Desk::new();
    let init = [
        "ca",
        "init",
        "--cluster",
        "shop",
        "--dir",
        "plain",
        "--no-encryption",
    ];
    desk.cert(&init).code(0);
    let mut params = rcgen::CertificateParams::default();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    params.subject_alt_names = vec![
        rcgen::SanType::URI("spiffe://shop/node/a".try_into().unwrap()),
        rcgen::SanType::DnsName("node.shop.portmesh.internal".try_into().unwrap()),
    ];
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let cert = params.signed_by(&key, &issuer(&desk)).unwrap();
    let old = key.serialize_pem()
        + &cert.pem()
        + &desk.read("plain/ca.pem")
        + &desk.read("plain/ca-crl.pem");
    desk.write("a.pem", &old);
    desk.cert(&["verify", "a.pem"]).code(8);
    desk.cert(&["renew", "a.pem", "--dir", "plain"]).code(0);
    desk.cert(&["verify", "a.pem"]).code(0);

    let mut params = rcgen::CertificateParams::default();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.key_usages = vec![
        rcgen::KeyUsagePurpose::KeyCertSign,
        rcgen::KeyUsagePurpose::CrlSign,
    ];
    params.subject_alt_names = vec![rcgen::SanType::URI("spiffe://shop".try_into().unwrap())];
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    desk.write("plain/ca.pem", &params.self_signed(&key).unwrap().pem());
    desk.write("plain/ca-key.pem", &key.serialize_pem());
    let before = desk.read("a.pem");
    for args in [
        &["renew", "a.pem", "--dir", "plain"][..],
        &["issue", "b", "--dir", "plain"],
        &["crl", "--refresh", "--dir", "plain"],
    ] {
        let error = desk.refused(args);
        assert!(error.contains("the CA expired on 2020-01-01"), "{error}");
    }
    assert_eq!(desk.read("a.pem"), before);
}

#[test]
fn a_ca_from_a_backup_forgets_no_revocation() {
    let desk = Desk::with_ca();
    for node in ["a", "b", "c"] {
        desk.cert(&["issue", node]).code(0);
    }
    let backup = desk.read("ca/ca-crl.pem");
    desk.cert(&["revoke", "b"]).code(0);
    desk.cert(&["crl", "--refresh"]).code(0);
    let changed = desk.json(&["bundle", "ca", "--into", "a.pem"]);
    assert_eq!(changed["crl_numbers"], json!([3]));
    desk.write("ca/ca-crl.pem", &backup);
    desk.cert(&["revoke", "c"]).code(0);
    // the nodes would take no notice of a number that they have had
    let told = desk
        .cert(&["bundle", "ca", "--into", "a.pem"])
        .code(0)
        .stderr;
    assert!(told.contains("crl --restore a.pem"), "{told}");
    let list = desk.json(&["crl", "--restore", "a.pem"]);
    assert_eq!(
        (&list["number"], &list["revoked"][0]["node"]),
        (&json!(3), &json!("b"))
    );
    desk.cert(&["revoke", "c"]).code(0);
    let list = desk.json(&["crl", "--restore", "a.pem"]);
    assert_eq!(
        (&list["number"], list["revoked"].as_array().unwrap().len()),
        (&json!(4), 2)
    );
    // a list that is lost comes back, another CA's is none
    fs::remove_file(desk.path("ca/ca-crl.pem")).unwrap();
    desk.cert(&["ca", "init", "--cluster", "shop", "--dir", "other"])
        .code(0);
    desk.refused(&["crl", "--restore", "other"]);
    assert_eq!(desk.json(&["crl", "--restore", "a.pem"])["number"], 3);
}

#[test]
fn a_certificate_without_a_record_is_revoked_by_its_file_and_its_key_with_it() {
    let desk = Desk::with_ca();
    desk.cert(&["issue", "a"]).code(0);
    fs::remove_dir_all(desk.path("ca/issued")).unwrap();
    desk.cert(&["revoke", "a"]).code(3);
    desk.cert(&["revoke", "--file", "a.pem"]).code(0);
    let listed = desk.json(&["list"]);
    assert_eq!(
        (&listed["node"], &listed["valid"]),
        (&json!("a"), &json!(false))
    );
    desk.cert(&["csr", "a", "--key", "a.pem"]).code(0);
    let error = desk.refused(&["sign", "a", "--csr", "a.csr"]);
    assert!(error.contains("the key counts as lost"), "{error}");
}
