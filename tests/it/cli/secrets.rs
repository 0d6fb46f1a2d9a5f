//! `portmesh secret`: files with several secrets, and passphrases.

use std::{fs, path::Path};

use crate::process::{Ended, Running, portmesh};

fn secret(dir: &Path, args: &[&str]) -> Ended {
    let mut command = portmesh(dir);
    Ended::of(command.args(["--json", "secret"]).args(args))
}

/// The names of the secrets of a file, the current one first.
fn list(dir: &Path, file: &str) -> Vec<String> {
    let listed = secret(dir, &["list", file]).code(0).json();
    assert_eq!(listed[0]["current"], true);
    assert!(listed.iter().skip(1).all(|line| line["current"] == false));
    let ids = listed.iter().map(|line| line["id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

#[test]
fn secrets_are_added_used_and_removed_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    secret(dir, &["gen", "--out", "a.secret"]).code(0);
    fs::copy(dir.join("a.secret"), dir.join("b.secret")).unwrap();
    let old = list(dir, "a.secret");
    secret(dir, &["add", "a.secret"]).code(0);
    secret(dir, &["add", "b.secret"]).code(0);
    let added = list(dir, "a.secret");
    assert_eq!((added.len(), &added[0]), (2, &old[0]));
    let (new, other) = (&added[1], &list(dir, "b.secret")[1]);
    assert_ne!(new, other, "each add makes a new one");

    // what is refused changes nothing
    for (args, code) in [
        (vec!["remove", "a.secret", &old[0]], 8),
        (vec!["use", "a.secret", other], 8),
        (vec!["use", "a.secret", "xyz"], 2),
        (vec!["list", "none.secret"], 8),
    ] {
        secret(dir, &args).code(code);
    }
    assert_eq!(list(dir, "a.secret"), added);

    secret(dir, &["use", "a.secret", new]).code(0);
    assert_eq!(list(dir, "a.secret"), [new.clone(), old[0].clone()]);
    let removed = secret(dir, &["remove", "a.secret", &old[0]]).code(0);
    assert!(!removed.stdout.contains("pms1_"));
    assert_eq!(list(dir, "a.secret"), std::slice::from_ref(new));
    let taken = secret(dir, &["add", "b.secret", "--from", "a.secret"]);
    taken.code(0);
    assert_eq!(list(dir, "b.secret").len(), 3);
    assert!(list(dir, "b.secret").contains(new));
}

#[test]
fn a_passphrase_is_a_secret_only_where_that_is_said_and_only_a_long_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let run = |phrase: &str, allow: bool| {
        let mut command = portmesh(dir);
        command.args(["--json", "run", "--listen", "127.0.0.1:0"]);
        command.args(["--id", "b", "--state", "b"]);
        command.env("PORTMESH_SECRET", phrase);
        if allow {
            command.arg("--allow-passphrase");
        }
        command
    };
    let long = "a phrase of more than twenty characters";
    let refused = Ended::of(&mut run(long, false)).code(8);
    assert!(refused.stderr.contains("portmesh secret gen"));
    assert!(!refused.stderr.contains("phrase of more"));
    let short = Ended::of(&mut run("nineteen characters", true)).code(8);
    assert!(short.stderr.contains("20 characters"), "{}", short.stderr);

    let b = Running::start(&mut run(long, true));
    let seed = b.ready();
    let mut ping = portmesh(dir);
    ping.args(["--json", "ping", "b", "--seed", &seed, "--allow-passphrase"]);
    Ended::of(ping.env("PORTMESH_SECRET", long)).code(0);
}
