//! `portmesh-cert inspect` and `verify`: what files and nodes show, and every fault in words.

use std::{fs, io::Read, net::TcpListener, time::Instant};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::{Value as Json, json};

use super::cert::Desk;
use crate::process::{Ended, Running, portmesh};

/// The item of that kind.
#[track_caller]
fn item<'a>(all: &'a [Json], kind: &str) -> &'a Json {
    let mut found = all.iter().filter(|item| item["kind"] == kind);
    let (one, more) = (found.next(), found.next());
    assert!(more.is_none(), "several of {kind}: {all:#?}");
    one.unwrap_or_else(|| panic!("no {kind}: {all:#?}"))
}

impl Desk {
    fn inspect(&self, name: &str) -> Vec<Json> {
        self.cert(&["--json", "inspect", name]).code(0).json()
    }

    /// The faults that verify finds.
    #[track_caller]
    fn faults(&self, args: &[&str]) -> Vec<String> {
        let ended = self.cert(&[&["--json", "verify"], args].concat());
        let verdict = &ended.json()[0];
        let faults = verdict["faults"].as_array().unwrap();
        assert_eq!(verdict["good"], faults.is_empty());
        ended.code(if faults.is_empty() { 0 } else { 8 });
        let text = |fault: &Json| fault.as_str().unwrap().to_owned();
        faults.iter().map(text).collect()
    }

    /// Likewise, and each of these is among them, and nothing else.
    #[track_caller]
    fn only_faults(&self, args: &[&str], expected: &[&str]) {
        let faults = self.faults(args);
        for one in expected {
            assert!(
                faults.iter().any(|f| f.contains(one)),
                "no {one:?} in {faults:#?}"
            );
        }
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    }
}

type Alter = fn(&mut CertificateParams);

/// A CA that signs whatever it is asked to.
struct Mint {
    params: CertificateParams,
    key: KeyPair,
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()
}

impl Mint {
    fn new(name: &str, alter: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        alter(&mut params);
        Mint { params, key: key() }
    }

    fn ca_pem(&self) -> String {
        self.params.self_signed(&self.key).unwrap().pem()
    }

    /// A whole node's file for the node `a` of `shop`.
    fn file(&self, alter: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![
            SanType::URI("spiffe://shop/node/a".try_into().unwrap()),
            SanType::DnsName("node.shop.portmesh.internal".try_into().unwrap()),
        ];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        alter(&mut params);
        let key = key();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let cert = params.signed_by(&key, &issuer).unwrap();
        key.serialize_pem() + &cert.pem() + &self.ca_pem()
    }
}

#[test]
fn a_file_says_all_that_is_in_it_and_no_private_key() {
    let desk = Desk::with_ca();
    let issued = desk.json(&["issue", "eu/a", "--days", "30"]);
    let all = desk.inspect("a.pem");
    let kinds = Vec::from_iter(all.iter().map(|item| item["kind"].as_str().unwrap()));
    assert_eq!(kinds, ["key", "certificate", "ca", "crl"]);
    let cert = item(&all, "certificate");
    for (field, value) in [
        ("node", json!("eu/a")),
        ("cluster", json!("shop")),
        ("serial", issued["serial"].clone()),
        ("expires", issued["expires"].clone()),
        ("key_kind", json!("Ed25519")),
        ("key", item(&all, "key")["key"].clone()),
        ("private_key_here", json!(true)),
        (
            "usage",
            json!(["digitalSignature", "serverAuth", "clientAuth"]),
        ),
        ("faults", json!([])),
    ] {
        assert_eq!(cert[field], value, "{field}");
    }
    assert_eq!(item(&all, "ca")["cluster"], "shop");
    assert_eq!(item(&all, "crl")["number"], 1);
    let text = desk.cert(&["inspect", "a.pem"]).code(0).stdout;
    for part in [
        "node eu/a of the mesh shop",
        "to be renewed in",
        "spiffe://shop/node/eu/a",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let secret = desk.read("a.pem").lines().nth(1).unwrap().to_owned();
    assert!(!text.contains(&secret) && !json!(all).to_string().contains(&secret));

    desk.cert(&["csr", "b", "--kind", "p256"]).code(0);
    assert_eq!(item(&desk.inspect("b.csr"), "request")["asked_for"], "b");
    assert_eq!(
        item(&desk.inspect("b.key"), "key")["key_kind"],
        "ECDSA P-256"
    );
    item(&desk.inspect("ca/ca-key.pem"), "encrypted_key");
    desk.cert(&["revoke", "eu/a", "--reason", "cessation"])
        .code(0);
    let list = desk.inspect("ca/ca-crl.pem");
    assert_eq!(list[0]["revoked"][0]["reason"], "cessation");

    for (name, text) in [
        ("empty", ""),
        ("words", "no PEM"),
        ("cut", &desk.read("a.pem")[..900]),
    ] {
        desk.write(name, text);
        desk.refused(&["inspect", name]);
    }
    desk.refused(&["inspect", "missing.pem"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(desk.path("a.pem"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(desk.refused(&["inspect", "a.pem"]).contains("chmod 600"));
        assert!(desk.refused(&["verify", "a.pem"]).contains("chmod 600"));
    }
}

#[test]
fn verify_names_every_fault() {
    let desk = Desk::with_ca();
    desk.cert(&["issue", "a"]).code(0);
    assert_eq!(desk.faults(&["a.pem"]), [] as [&str; 0]);
    assert_eq!(desk.faults(&["a.pem", "--ca", "ca"]), [] as [&str; 0]);
    assert_eq!(desk.faults(&["ca/ca.pem"]), [] as [&str; 0]);
    let a = desk.read("a.pem");
    let without = |label: &str| {
        let parts = a.split_inclusive("-----\n").collect::<String>();
        let mut out = String::new();
        let mut skip = false;
        for line in parts.lines() {
            skip |= line == format!("-----BEGIN {label}-----");
            if !skip {
                out.push_str(line);
                out.push('\n');
            }
            skip &= line != format!("-----END {label}-----");
        }
        out
    };

    desk.cert(&["ca", "init", "--cluster", "shop", "--dir", "twin"])
        .code(0);
    desk.cert(&["ca", "init", "--cluster", "other", "--dir", "other"])
        .code(0);
    desk.only_faults(
        &["a.pem", "--ca", "twin"],
        &["none of the CAs that are trusted"],
    );
    desk.only_faults(
        &["a.pem", "--ca", "other"],
        &["none of the CAs that are trusted"],
    );
    desk.cert(&["issue", "b"]).code(0);
    let key = without("CERTIFICATE")
        .split("-----BEGIN X509")
        .next()
        .unwrap()
        .to_owned();
    let b = desk.read("b.pem");
    let b = b
        .split_once("-----END PRIVATE KEY-----\n")
        .unwrap()
        .1
        .to_owned();
    desk.write("mixed.pem", &(key + &b));
    desk.only_faults(&["mixed.pem"], &["two files were mixed up"]);
    let leaf = b
        .split_inclusive("-----END CERTIFICATE-----\n")
        .next()
        .unwrap();
    desk.write("leaf.pem", leaf);
    desk.only_faults(&["leaf.pem"], &["no CA to check it against"]);
    assert_eq!(desk.faults(&["leaf.pem", "--ca", "ca"]), [] as [&str; 0]);
    desk.cert(&["revoke", "b", "--reason", "key-compromise"])
        .code(0);
    desk.only_faults(&["b.pem", "--ca", "ca"], &["(key-compromise)"]);
    // a list of one CA and none of the other
    desk.write("both.pem", &(a.clone() + &desk.read("twin/ca.pem")));
    desk.only_faults(&["both.pem"], &["there are CRLs, and none of the CA"]);
    desk.write("none", "nothing");
    desk.cert(&["verify", "none"]).code(8);

    let mint = Mint::new("a CA", |_| {});
    desk.write("good.pem", &mint.file(|_| {}));
    assert_eq!(desk.faults(&["good.pem"]), [] as [&str; 0]);
    let flawed: [(&str, Alter, &[&str]); 6] = [
        (
            "expired",
            |p| p.not_after = date_time_ymd(2020, 1, 1),
            &["expired on 2020-01-01"],
        ),
        (
            "early",
            |p| p.not_before = date_time_ymd(4000, 1, 1),
            &["only from 4000-01-01"],
        ),
        (
            "no usage",
            |p| {
                p.key_usages = Vec::new();
                p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            },
            &["no key usage", "both sides"],
        ),
        (
            "no URI",
            |p| _ = p.subject_alt_names.remove(0),
            &["names no node"],
        ),
        (
            "no DNS",
            |p| _ = p.subject_alt_names.pop(),
            &["lacks the DNS name"],
        ),
        (
            "all at once",
            |p| {
                p.not_after = date_time_ymd(2020, 1, 1);
                p.key_usages = vec![KeyUsagePurpose::CrlSign];
                p.extended_key_usages.clear();
                p.subject_alt_names.clear();
            },
            &[
                "expired",
                "digitalSignature",
                "no extended key usage",
                "no subject alternative name",
            ],
        ),
    ];
    for (name, alter, expected) in flawed {
        desk.write("flawed.pem", &mint.file(alter));
        println!("{name}");
        desk.only_faults(&["flawed.pem"], expected);
    }
    let old = Mint::new("an old CA", |p| p.not_after = date_time_ymd(2020, 1, 1));
    desk.write("old.pem", &old.file(|_| {}));
    desk.only_faults(&["old.pem"], &["expired on 2020-01-01"]);
    // a CA that is past and that nothing needs any more is no fault
    desk.write("rest.pem", &(mint.file(|_| {}) + &old.ca_pem()));
    let ended = desk.cert(&["--json", "verify", "rest.pem"]).code(0).json();
    let warning = ended[0]["warnings"][0].as_str().unwrap();
    assert!(warning.contains("an old CA expired"), "{warning}");
    let foreign = Mint::new("a CA of others", |params| {
        params.subject_alt_names = vec![SanType::URI("spiffe://other".try_into().unwrap())];
    });
    desk.write("foreign.pem", &foreign.file(|_| {}));
    desk.only_faults(&["foreign.pem"], &["the CA that signed it is of other"]);
    let forger = Mint::new("a CA", |_| {});
    let forged = forger
        .file(|_| {})
        .replace(&forger.ca_pem(), &mint.ca_pem());
    desk.write("forged.pem", &forged);
    desk.only_faults(&["forged.pem"], &["its signature is wrong"]);
}

#[test]
fn a_node_shows_its_certificate_and_nobody_has_to_believe_it() {
    let desk = Desk::with_ca();
    desk.cert(&["issue", "a"]).code(0);
    desk.cert(&["ca", "init", "--cluster", "shop", "--dir", "twin"])
        .code(0);
    let a = desk.run(&["--identity", "a.pem"]);
    let addr = a.ready();
    let all = desk.inspect(&addr);
    let live = item(&all, "live");
    assert_eq!(
        (&live["modes"], &live["verified"]),
        (&json!(["certificate"]), &Json::Null)
    );
    assert_eq!(item(&all, "certificate")["node"], "a");
    let text = desk.cert(&["inspect", &addr]).code(0).stdout;
    assert!(text.contains("Nothing of this is verified"), "{text}");

    let good = desk
        .cert(&["--json", "inspect", &addr, "--ca", "ca"])
        .code(0)
        .json();
    assert_eq!(item(&good, "live")["verified"], true);
    let bad = desk
        .cert(&["--json", "inspect", &addr, "--ca", "twin"])
        .code(6)
        .json();
    assert_eq!(item(&bad, "live")["verified"], false);
    desk.cert(&["inspect", "a.pem", "--ca", "ca"]).code(2);

    Ended::of(portmesh(desk.path("").as_path()).args(["secret", "gen", "--out", "s"])).code(0);
    let mut secret = portmesh(desk.path("").as_path());
    secret.args([
        "--json",
        "run",
        "--listen",
        "127.0.0.1:*",
        "--id",
        "s/%u",
        "--secret-file",
        "s",
    ]);
    let s = Running::start(&mut secret);
    let all = desk.inspect(&s.ready());
    assert_eq!((all.len(), &all[0]["modes"]), (1, &json!(["secret"])));
    assert!(
        all[0]["secret_mode_key"]
            .as_str()
            .unwrap()
            .starts_with("SHA256:")
    );
}

#[test]
fn who_is_no_node_or_says_nothing_does_not_hold_inspect_up() {
    let desk = Desk::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    // takes connections and says nothing
    let begun = Instant::now();
    desk.cert(&["inspect", &addr, "--timeout", "300ms"]).code(5);
    assert!(begun.elapsed().as_secs() < 20);
    // speaks something else
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let other_addr = other.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"220 mail.example.net ESMTP\r\n").unwrap();
        let _ = stream.read(&mut [0; 1024]);
    });
    let ended = desk.cert(&["inspect", &other_addr]).code(4);
    assert!(
        ended.stderr.contains("does not speak TLS"),
        "{}",
        ended.stderr
    );
    server.join().unwrap();
    // nobody there
    drop(listener);
    desk.cert(&["inspect", &addr]).code(4);
    desk.cert(&["inspect", "no-such-host.invalid:4040"]).code(4);
}
