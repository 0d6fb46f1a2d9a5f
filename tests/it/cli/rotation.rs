//! A running node rereads its files: when they change, at SIGHUP, and never a bad one.

use std::{fs, path::Path};

use serde_json::Value as Json;

use crate::process::{Ended, Running, portmesh, portmesh_cert};

fn cert(dir: &Path, args: &[&str]) {
    Ended::of(portmesh_cert(dir).args(args)).code(0);
}

fn run(dir: &Path, args: &[&str]) -> Running {
    let mut command = portmesh(dir);
    command.args(["--json", "run", "--listen", "127.0.0.1:0"]);
    Running::start(command.args(args))
}

fn json(line: &str) -> Json {
    serde_json::from_str(line).unwrap()
}

#[test]
fn a_renewed_certificate_is_taken_from_its_file_and_told_to_the_mesh() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    cert(dir, &["ca", "init"]);
    for node in ["a", "b"] {
        cert(dir, &["issue", node]);
    }
    let a = run(dir, &["--identity", "a.pem"]);
    let seed = a.ready();
    let b = run(dir, &["--identity", "b.pem", "--seed", &seed]);
    let up = json(&b.line(&["\"up\""]));
    let before = up["link"]["proof"].as_str().unwrap().to_owned();

    // a bad file keeps what was there, and says so
    fs::write(dir.join("a.pem"), "half of a fi").unwrap();
    a.error_line(&["a.pem", "not taken"]);
    // so does one of another node, however good
    cert(dir, &["issue", "c", "--out", "c.pem"]);
    fs::copy(dir.join("c.pem"), dir.join("a.pem")).unwrap();
    a.error_line(&["a.pem", "not taken", "c of portmesh"]);
    cert(dir, &["issue", "a", "--force"]);
    let renewed = json(&b.line(&["\"renewed\""]));
    assert_eq!(renewed["node"], "a");
    assert_ne!(renewed["proof"], before);
    assert!(renewed["expires_s"].as_u64().is_some());
}

#[cfg(unix)]
#[test]
fn files_that_others_can_read_are_not_taken_at_a_hangup_either() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let secret = |args: &[&str]| Ended::of(portmesh(dir).args(["secret"]).args(args)).code(0);
    secret(&["gen", "--out", "mesh.secret"]);
    let a = run(dir, &["--id", "a/%u", "--secret-file", "mesh.secret"]);
    a.ready();
    a.send_signal("HUP");
    let reread = json(&a.line(&["\"reread\""]));
    assert_eq!(reread["files"][0], "mesh.secret");
    let path = dir.join("mesh.secret");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    a.send_signal("HUP");
    let not = json(&a.line(&["\"not_reread\""]));
    assert!(
        not["error"].as_str().unwrap().contains("chmod 600"),
        "{not}"
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "hunter2").unwrap();
    a.send_signal("HUP");
    let not = json(&a.line(&["\"not_reread\"", "portmesh secret gen"]));
    assert!(!not.to_string().contains("hunter2"));
}
#[test]
fn a_crl_file_puts_a_node_out_and_keeps_it_out() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    cert(dir, &["ca", "init"]);
    for node in ["a", "b"] {
        cert(dir, &["issue", node]);
    }
    // one of another CA is no CRL for this node
    cert(dir, &["ca", "init", "--dir", "other"]);
    let wrong = [
        "--identity",
        "a.pem",
        "--listen",
        "127.0.0.1:0",
        "--crl",
        "other/ca-crl.pem",
    ];
    let refused = Ended::of(portmesh(dir).arg("run").args(wrong)).code(8);
    assert!(refused.stderr.contains("CRL"), "{}", refused.stderr);

    fs::copy(dir.join("ca/ca-crl.pem"), dir.join("crl.pem")).unwrap();
    let a = run(dir, &["--identity", "a.pem", "--crl", "crl.pem"]);
    let seed = a.ready();
    let b = run(dir, &["--identity", "b.pem", "--seed", &seed]);
    a.line(&["\"up\"", "\"b\""]);
    b.line(&["\"up\""]);
    cert(dir, &["revoke", "b"]);
    fs::copy(dir.join("ca/ca-crl.pem"), dir.join("crl.pem")).unwrap();
    a.line(&["\"down\"", "\"b\"", "revoked"]);
    a.error_line(&["connection refused", "revoked"]);
}

#[test]
fn who_may_administer_a_node_can_have_its_files_reread() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    cert(dir, &["ca", "init"]);
    for node in ["a", "admin", "other"] {
        cert(dir, &["issue", node]);
    }
    let policy = "[[rule]]\nnode = \"admin\"\nadmin = true\n";
    fs::write(dir.join("policy.toml"), policy).unwrap();
    let a = run(dir, &["--identity", "a.pem", "--policy", "policy.toml"]);
    let seed = a.ready();
    let reload = |who: &str| {
        let mut command = portmesh(dir);
        command.args(["--json", "reload", "a", "--identity", who, "--seed", &seed]);
        Ended::of(&mut command)
    };
    let files = reload("admin.pem").code(0).json();
    assert_eq!(
        files[0]["files"],
        serde_json::json!(["a.pem", "policy.toml"])
    );
    let refused = reload("other.pem").code(6);
    assert!(
        refused.stderr.contains("admin = true"),
        "{}",
        refused.stderr
    );
    // a policy that is none stays without effect, and the other file was taken
    fs::write(
        dir.join("policy.toml"),
        "[[rule]]\nnode = \"other\"\nadmn = true\n",
    )
    .unwrap();
    let failed = reload("admin.pem").code(8);
    assert!(failed.stderr.contains("policy.toml"), "{}", failed.stderr);
    // and one that is good has its effect at once
    fs::write(
        dir.join("policy.toml"),
        policy.replace("admin\"", "other\""),
    )
    .unwrap();
    reload("admin.pem").code(0);
    reload("admin.pem").code(6);
    reload("other.pem").code(0);
}

#[test]
fn a_certificate_that_expires_soon_is_shown_among_the_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    cert(dir, &["ca", "init"]);
    cert(dir, &["issue", "a"]);
    cert(dir, &["issue", "b", "--days", "10"]);
    cert(dir, &["issue", "admin"]);
    let a = run(dir, &["--identity", "a.pem"]);
    let seed = a.ready();
    let b = run(dir, &["--identity", "b.pem", "--seed", &seed]);
    b.line(&["\"home\"", "\"a\""]);
    let nodes = |json: &[&str]| {
        let mut command = portmesh(dir);
        command
            .args(json)
            .args(["nodes", "--identity", "admin.pem", "--seed", &seed]);
        Ended::of(&mut command).code(0)
    };
    let text = nodes(&[]).stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert!(!lines[0].contains("EXPIRES"), "{text}");
    let days = lines[1].split_once("EXPIRES IN ").expect(&text).1;
    let days: f64 = days.split_once(' ').unwrap().0.parse().unwrap();
    assert!((9.5..=10.5).contains(&days), "{text}");
    let json = nodes(&["--json"]).json();
    assert!(
        json.iter()
            .all(|node| node["identity"]["expires_s"].as_u64().is_some())
    );
}
