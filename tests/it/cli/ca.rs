//! The CA as `portmesh-cert` keeps it: its passphrase, and what becomes of a CA that is overwritten.

#[cfg(target_os = "linux")]
use std::process::Command;

#[cfg(unix)]
use super::cert::mode;
use super::cert::{Desk, labels, set_mode};
use crate::process::{CA_PASSPHRASE, Ended, portmesh_cert};

#[test]
fn the_key_of_a_ca_is_encrypted_unless_that_is_declined() {
    let desk = Desk::new();
    for command in [&["issue", "a"][..], &["list"], &["crl"], &["revoke", "a"]] {
        let error = desk.refused(command);
        assert!(
            error.contains("ca init") && error.contains("--dir"),
            "{error}"
        );
    }
    let made = desk.json(&["ca", "init", "--cluster", "shop"]);
    assert_eq!(made["encrypted"], true);
    let key = desk.read("ca/ca-key.pem");
    assert_eq!(labels(&key), ["ENCRYPTED PRIVATE KEY"]);
    #[cfg(unix)]
    assert_eq!(mode(&desk.path("ca/ca-key.pem")), 0o600);
    let pass = format!("pass:{CA_PASSPHRASE}");
    let read = ["pkey", "-in", "ca/ca-key.pem", "-noout", "-passin"];
    if let Some(ended) = desk.openssl(&[&read[..], &[&pass]].concat()) {
        ended.code(0);
        let wrong = desk.openssl(&[&read[..], &["pass:another one"]].concat());
        assert_ne!(wrong.unwrap().code, Some(0));
    }

    let loud = desk.cert(&["ca", "init", "--dir", "plain", "--no-encryption"]);
    let loud = loud.code(0);
    assert!(loud.stdout.contains("NOT encrypted"), "{}", loud.stdout);
    assert!(
        loud.stderr.contains("Whoever gets that file"),
        "{}",
        loud.stderr
    );
    // as those that were made before keys were encrypted
    let mut without = portmesh_cert(desk.0.path());
    without.env_remove("PORTMESH_CA_PASSPHRASE");
    Ended::of(without.args(["issue", "a", "--dir", "plain"])).code(0);
    // it can be encrypted later
    desk.write("new", "a longer passphrase\n");
    let change = [
        "ca",
        "passphrase",
        "--dir",
        "plain",
        "--new-passphrase-file",
        "new",
    ];
    desk.cert(&change).code(0);
    assert_eq!(
        labels(&desk.read("plain/ca-key.pem")),
        ["ENCRYPTED PRIVATE KEY"]
    );
    desk.refused(&["issue", "b", "--dir", "plain"]);
    desk.cert(&["issue", "b", "--dir", "plain", "--passphrase-file", "new"])
        .code(0);
    assert_eq!(desk.identity("b.pem").node().as_str(), "b");
}

#[test]
fn without_the_right_passphrase_nothing_is_signed() {
    let desk = Desk::with_ca();
    let with = |passphrase: Option<&str>, args: &[&str]| {
        let mut command = portmesh_cert(desk.0.path());
        command.env_remove("PORTMESH_CA_PASSPHRASE").args(args);
        if let Some(passphrase) = passphrase {
            command.env("PORTMESH_CA_PASSPHRASE", passphrase);
        }
        Ended::of(&mut command).code(8).stderr
    };
    let none = with(None, &["issue", "a"]);
    for remedy in ["--passphrase-file", "PORTMESH_CA_PASSPHRASE", "terminal"] {
        assert!(none.contains(remedy), "{none}");
    }
    let none = with(None, &["ca", "init", "--dir", "other"]);
    assert!(none.contains("--no-encryption"), "{none}");
    let wrong = with(Some("not the passphrase"), &["issue", "a"]);
    assert!(wrong.contains("the passphrase is not that of"), "{wrong}");
    assert!(!wrong.contains("not the passphrase"), "{wrong}");
    let short = with(Some("hunter2"), &["ca", "init", "--dir", "other"]);
    assert!(short.contains("7 characters"), "{short}");
    assert!(!short.contains("hunter2"), "{short}");

    desk.write("file", "two\nlines\n");
    let lines = desk.refused(&["issue", "a", "--passphrase-file", "file"]);
    assert!(lines.contains("one line"), "{lines}");
    desk.write("file", CA_PASSPHRASE);
    set_mode(&desk.path("file"), 0o644);
    #[cfg(unix)]
    {
        let exposed = desk.refused(&["issue", "a", "--passphrase-file", "file"]);
        assert!(exposed.contains("chmod 600 file"), "{exposed}");
    }
    // a cut key, and one that others can read
    let key = desk.read("ca/ca-key.pem");
    desk.write("ca/ca-key.pem", &key[..key.len() / 2]);
    let cut = desk.refused(&["issue", "a"]);
    assert!(cut.contains("cut off"), "{cut}");
    desk.write("ca/ca-key.pem", &key);
    set_mode(&desk.path("ca/ca-key.pem"), 0o640);
    #[cfg(unix)]
    {
        let exposed = desk.refused(&["issue", "a"]);
        assert!(exposed.contains("chmod 600"), "{exposed}");
    }
    assert_eq!(desk.names(), ["ca", "file"]);
    assert!(!desk.path("ca/issued").exists());
}

#[test]
fn a_ca_that_is_overwritten_on_purpose_leaves_no_records_behind() {
    let desk = Desk::with_ca();
    desk.cert(&["issue", "a"]).code(0);
    let error = desk.refused(&["ca", "init", "--cluster", "shop"]);
    assert!(error.contains("--force"), "{error}");
    desk.cert(&["ca", "init", "--cluster", "shop", "--force"])
        .code(0);
    assert_eq!(desk.cert(&["list"]).code(0).stdout, "");
    assert!(desk.path("ca/issued-before-1").is_dir());
    desk.cert(&["revoke", "a"]).code(3);
    desk.cert(&["issue", "a", "--force"]).code(0);
    // a record that is none is told with its name
    desk.write("ca/issued/00.pem", "nothing");
    let error = desk.refused(&["list"]);
    assert!(
        error.contains("00.pem") && error.contains("move it away"),
        "{error}"
    );
}

/// Where there is a terminal the passphrase is asked for; `script` makes one.
#[cfg(target_os = "linux")]
#[test]
fn at_a_terminal_the_passphrase_is_asked_for() {
    let desk = Desk::new();
    let at_terminal = |args: &str, typed: &str| {
        let program = portmesh_cert(desk.0.path()).get_program().to_owned();
        let line = format!("{} {args}", program.to_str().unwrap());
        let mut command = Command::new("script");
        command
            .current_dir(desk.0.path())
            .env_remove("PORTMESH_CA_PASSPHRASE");
        Ended::with_stdin(command.args(["-qec", &line, "/dev/null"]), typed)
    };
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: there is no script here");
        return;
    }
    let twice = "five random words for tests\nfive random words for test\n";
    let differ = at_terminal("ca init", twice).code(8);
    assert!(
        differ.stdout.contains("the two passphrases differ"),
        "{}",
        differ.stdout
    );
    let twice = "five random words for tests\nfive random words for tests\n";
    at_terminal("ca init", twice).code(0);
    let asked = at_terminal("issue a", "five random words for tests\n").code(0);
    assert!(
        asked.stdout.contains("Passphrase of the CA's key"),
        "{}",
        asked.stdout
    );
    at_terminal("issue b", "another\n").code(8);
    assert_eq!(desk.names(), ["a.pem", "ca"]);
}
