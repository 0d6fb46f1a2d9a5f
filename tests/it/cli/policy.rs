//! `portmesh policy`, and `portmesh run --policy`.

use std::fs;

use tempfile::TempDir;

use crate::process::{Ended, Running, portmesh, portmesh_cert};

const POLICY: &str = r#"
[default]
spawn = ["echo"]

[[rule]]
node = "worker/*"
spawn = ["count.*"]
kill = { allow = ["spawned", "family:jobs"], deny = ["family:vital"] }

[[rule]]
node = "admin"
proof = "certificate"
admin = true
"#;

fn dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("policy.toml"), POLICY).unwrap();
    dir
}

#[test]
fn policy_test_says_what_a_policy_decides_and_which_line_did() {
    let dir = dir();
    let test = |args: &[&str]| {
        let mut command = portmesh(dir.path());
        Ended::of(command.args(["policy", "test", "policy.toml"]).args(args))
    };
    for (args, code, said) in [
        (
            &["--node", "worker/1", "spawn", "count.words"][..],
            0,
            "allowed: worker/1 spawn count.words, by rule 1 (line 5): count.*",
        ),
        (
            &["--node", "worker/1", "spawn", "echo"],
            6,
            "denied: worker/1 spawn echo, by rule 1 (line 5)",
        ),
        (
            &["--node", "a", "spawn", "echo"],
            0,
            "allowed: a spawn echo, by the defaults: echo",
        ),
        (
            &["--node", "a", "spawn", "print"],
            6,
            "denied: a spawn print, by the defaults",
        ),
        (
            &["--node", "a", "call"],
            0,
            "allowed: a send, by the defaults: *",
        ),
        (
            &["--node", "a", "kill"],
            6,
            "denied: a kill, by the defaults",
        ),
        (
            &["--node", "a", "kill", "spawned"],
            0,
            "by the defaults: spawned",
        ),
        (
            &["--node", "worker/1", "kill", "family:jobs"],
            0,
            "by rule 1 (line 5): family:jobs",
        ),
        (
            &["--node", "worker/1", "kill", "family:jobs", "family:vital"],
            6,
            "by rule 1 (line 5): family:vital",
        ),
        (
            &["--node", "admin", "--proof", "certificate", "admin"],
            0,
            "by rule 2 (line 10): *",
        ),
        (
            &[
                "--node",
                "admin",
                "--proof",
                "certificate",
                "spawn",
                "portmesh.db",
            ],
            0,
            "by rule 2 (line 10): *",
        ),
        (
            &["--node", "admin", "--proof", "secret", "admin"],
            6,
            "by the defaults",
        ),
    ] {
        let told = test(args).code(code);
        assert!(told.stdout.contains(said), "{args:?}: {}", told.stdout);
    }
    for (args, said) in [
        (&["--node", "admin", "admin"][..], "give --proof"),
        (&["--node", "a", "fly"], "there are send"),
        (&["--node", "a", "spawn"], "one name"),
        (&["--node", "a", "admin", "x"], "done to nothing"),
        (&["--node", "a", "send", "x"], "family:NAME"),
        (&["--node", "a b", "send"], "a b"),
    ] {
        let told = test(args).code(2).stderr;
        assert!(told.contains(said), "{args:?}: {told}");
    }
    let mut command = portmesh(dir.path());
    command.args([
        "--json",
        "policy",
        "test",
        "policy.toml",
        "--node",
        "worker/1",
        "spawn",
        "x",
    ]);
    let told = Ended::of(&mut command).code(6).json();
    assert_eq!(told[0]["allowed"], false);
    assert_eq!((&told[0]["rule"], &told[0]["line"]), (&1.into(), &5.into()));
}

#[test]
fn policy_check_tells_faults_and_what_to_think_of() {
    let dir = dir();
    let run = |args: &[&str]| Ended::of(portmesh(dir.path()).arg("policy").args(args));
    let told = run(&["check", "policy.toml"]).code(0).stdout;
    assert!(told.contains("a policy with 2 rules"), "{told}");
    assert!(
        told.contains("policy.toml:5: rule 1 goes by node IDs"),
        "{told}"
    );
    assert!(!told.contains("rule 2"), "{told}");
    fs::write(dir.path().join("bad.toml"), "[[rule]]\nspwan = []\n").unwrap();
    for args in [
        &["check", "bad.toml"][..],
        &["test", "bad.toml", "--node", "a", "send"],
        &["show", "bad.toml"],
    ] {
        let told = run(args).code(8).stderr;
        assert!(
            told.contains("bad.toml:2: unknown key spwan; did you mean spawn?"),
            "{told}"
        );
    }
    run(&["check", "none.toml"]).code(8);
    let shown = run(&["show"]).code(0).stdout;
    assert!(shown.starts_with("[default]\nsend = [\"*\"]\n"), "{shown}");
    let shown = run(&["show", "policy.toml"]).code(0).stdout;
    assert!(shown.contains("\nspawn = [\"echo\"]\n"), "{shown}");
}

#[test]
fn a_node_that_is_run_with_a_policy_holds_to_it() {
    let dir = dir();
    Ended::of(portmesh_cert(dir.path()).args(["ca", "init"])).code(0);
    for node in ["a", "worker/1", "admin", "other"] {
        let file = format!("{}.pem", node.replace('/', "-"));
        Ended::of(portmesh_cert(dir.path()).args(["issue", node, "--out", &file])).code(0);
    }
    let run = |policy: &str| {
        let mut command = portmesh(dir.path());
        command.args([
            "--json",
            "run",
            "--identity",
            "a.pem",
            "--listen",
            "127.0.0.1:0",
        ]);
        command
            .args(["--policy", policy])
            .args(["--ready-file", "a.addr"]);
        command
    };
    Ended::of(&mut run("none.toml")).code(8);
    let a = Running::start(&mut run("policy.toml"));
    let addr = a.ready();
    let ask = |who: &str, args: &[&str]| {
        let mut command = portmesh(dir.path());
        command
            .args(args)
            .args(["--identity", &format!("{who}.pem")]);
        Ended::of(command.args(["--address", &format!("a={addr}")]))
    };
    let told = ask("worker-1", &["spawn", "a", "echo"]).code(6).stderr;
    assert!(told.contains("worker/1 may not spawn echo"), "{told}");
    ask("other", &["spawn", "a", "print"]).code(6);
    ask("other", &["spawn", "a", "echo"]).code(0);
    // to administer is for the one that the policy names
    let told = ask("other", &["db", "set", "f", "k", "1", "--on", "a"])
        .code(6)
        .stderr;
    assert!(told.contains("a takes no orders from other"), "{told}");
    ask("admin", &["db", "set", "f", "k", "1", "--on", "a"]).code(0);
    let told = ask("admin", &["--json", "trace", "a"]).code(0).json();
    assert!(told[0]["denied"].as_u64() >= Some(3), "{}", told[0]);
    assert_eq!(ask("other", &["db", "get", "f", "k"]).code(0).stdout, "1\n");
}
