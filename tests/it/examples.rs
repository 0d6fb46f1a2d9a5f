//! The examples as a user runs them.

use crate::process::{Ended, Running, example, portmesh, portmesh_cert};

#[test]
fn ping_pong_plays_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let ended = Ended::of(&mut example("ping_pong", dir.path())).code(0);
    assert!(
        ended.stdout.contains("1000 balls, 1000 of them came back"),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("the first player ended"));
}

#[test]
fn a_supervised_worker_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let ended = Ended::of(&mut example("supervised_worker", dir.path())).code(0);
    let lines: Vec<_> = ended.stdout.lines().collect();
    let starts = lines.iter().filter(|line| line.contains("starts a worker"));
    assert_eq!(starts.count(), 2, "{}", ended.stdout);
    assert!(lines.contains(&"84 / 2: quotient 42"), "{}", ended.stdout);
    assert!(ended.stdout.contains("1 / 0: failed"), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("1 cannot be divided by 0"),
        "{}",
        ended.stdout
    );
    assert!(lines.contains(&"9 / 3: quotient 3"), "{}", ended.stdout);
}

/// The address in the line of a listening example.
fn listening(example: &Running, node: &str) -> String {
    let line = example.line(&[node, "listens on "]);
    line.rsplit(' ').next().unwrap().to_string()
}

#[test]
fn two_hosts_meet_with_certificates() {
    let dir = tempfile::tempdir().unwrap();
    Ended::of(portmesh_cert(dir.path()).args(["ca", "init"])).code(0);
    for node in ["a", "b"] {
        Ended::of(portmesh_cert(dir.path()).args(["issue", node])).code(0);
    }
    let two_hosts = || example("two_hosts_certificates", dir.path());
    let first = Running::start(two_hosts().args(["listen", "a.pem", "127.0.0.1:0"]));
    let addr = listening(&first, "a ");
    let second = Ended::of(two_hosts().args(["ask", "b.pem", "a", &addr])).code(0);
    assert!(second.stdout.contains("says 42"), "{}", second.stdout);
    assert!(
        second.stdout.contains("a proved itself by"),
        "{}",
        second.stdout
    );
    assert!(second.stdout.contains("TLS1.3"), "{}", second.stdout);
    Ended::of(two_hosts().arg("nonsense")).code(1);
}

#[test]
fn two_hosts_meet_with_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    Ended::of(portmesh(dir.path()).args(["secret", "gen", "--out", "mesh.secret"])).code(0);
    let two_hosts = || example("two_hosts_secret", dir.path());
    let listen = ["listen", "mesh.secret", "state-a", "a", "127.0.0.1:0"];
    let first = Running::start(two_hosts().args(listen));
    let addr = listening(&first, "a ");
    let ask = ["ask", "mesh.secret", "state-b", "b", "a", &addr];
    let second = Ended::of(two_hosts().args(ask)).code(0);
    assert!(second.stdout.contains("says 42"), "{}", second.stdout);
    assert!(second.stdout.contains("TLS1.3"), "{}", second.stdout);
    // again, with the keys that were remembered
    Ended::of(two_hosts().args(ask)).code(0);
}

#[test]
fn a_pool_does_all_its_work_though_workers_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let ended = Ended::of(&mut example("worker_pool", dir.path())).code(0);
    let told = ended.stdout;
    for n in 1..=4 {
        let joins = told.lines().filter(|line| {
            line.starts_with(&format!("pool/worker-{n}/")) && line.ends_with(" joins")
        });
        assert_eq!(joins.count(), 1, "{told}");
    }
    assert!(told.contains(" stops") && told.contains(" dies"), "{told}");
    assert!(told.contains("60 jobs are done"), "{told}");
    assert!(told.contains("the sum is 73810"), "{told}");
    Ended::of(example("worker_pool", dir.path()).arg("nonsense")).code(1);
}

#[cfg(unix)]
#[test]
fn a_pool_of_processes_loses_no_work_with_a_killed_worker() {
    let dir = tempfile::tempdir().unwrap();
    let secret = Ended::of(portmesh(dir.path()).args(["secret", "gen"]))
        .code(0)
        .stdout;
    let pool = |args: &[&str]| {
        let mut command = example("worker_pool", dir.path());
        command.args(args).env("PORTMESH_SECRET", secret.trim());
        Running::start(&mut command)
    };
    let seed = pool(&["seed", "127.0.0.1:0"]);
    let addr = listening(&seed, "pool/seed/");
    let mut workers: Vec<_> = (0..3).map(|_| pool(&["worker", "--seed", &addr])).collect();
    for worker in &workers {
        worker.line(&["is attached to"]);
    }
    let client = pool(&["client", "--seed", &addr]);
    client.line(&["joins"]);
    workers[0].signal("KILL");
    client.line(&["is gone"]);
    // one that joins late
    workers.push(pool(&["worker", "--seed", &addr]));
    client.line(&["100 jobs are done", "the sum is 338350"]);
}
