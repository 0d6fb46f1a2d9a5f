//! The database between processes on loopback TCP that are cut off, killed and stopped.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use portmesh::Secret;
use serde_json::{Value as Json, json};

use super::{
    child::{Plan, Process, until},
    proxy::Proxy,
};
use crate::process::{Ended, portmesh_cert};

const LINK_TIMEOUT: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(3);
/// Both, and slack for a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(1 + 3 + 8);

/// A mesh of processes.
struct Mesh {
    secret: String,
    certificates: Option<tempfile::TempDir>,
}

impl Mesh {
    fn new() -> Mesh {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        Secret::generate().unwrap().to_file(&file, false).unwrap();
        Mesh {
            secret: std::fs::read_to_string(file).unwrap().trim().to_owned(),
            certificates: None,
        }
    }

    fn with_certificates() -> Mesh {
        let dir = tempfile::tempdir().unwrap();
        Ended::of(portmesh_cert(dir.path()).args(["ca", "init"])).code(0);
        Mesh {
            secret: String::new(),
            certificates: Some(dir),
        }
    }

    fn identity(&self, dir: &Path, name: &str) -> String {
        let file = dir.join(format!("{name}.pem"));
        if !file.exists() {
            Ended::of(portmesh_cert(dir).args(["issue", name])).code(0);
        }
        file.to_str().unwrap().to_owned()
    }

    fn plan(&self, name: &str, seeds: &[&str]) -> Plan {
        Plan {
            name: name.to_owned(),
            secret: self.secret.clone(),
            identity: self
                .certificates
                .as_ref()
                .map(|dir| self.identity(dir.path(), name)),
            global: name.starts_with('g'),
            advertise: Vec::new(),
            seeds: seeds.iter().map(|seed| (*seed).to_owned()).collect(),
            link_timeout_ms: LINK_TIMEOUT.as_millis() as u64,
            grace_ms: GRACE.as_millis() as u64,
        }
    }

    /// A node that is attached to one home, and knows the other one by its home's word; it follows the family.
    fn attached(&self, name: &str, home: &Process) -> Process {
        let node = Process::start(&self.plan(name, &[&home.listens()]));
        let wanted = home.name.clone();
        node.until("has its home", |node| node.home() == wanted);
        node.ask(json!(["watch", "f"]));
        node.until_change("synced");
        node
    }

    /// Two global nodes that reach each other through proxies alone.
    fn globals(&self) -> ([Process; 2], [Arc<Proxy>; 2]) {
        let proxies = [0, 1].map(|_| Proxy::start(Duration::ZERO));
        let globals = [0, 1].map(|n| {
            let mut plan = self.plan(&format!("g{}", n + 1), &[&proxies[1 - n].addr()]);
            plan.advertise = vec![proxies[n].addr()];
            let node = Process::start(&plan);
            proxies[n].set_target(&node.listens());
            node
        });
        agree(&globals, 2);
        (globals, proxies)
    }
}

fn digest(node: &Process) -> Json {
    node.ask(json!(["digest"]))
}

/// The global nodes show the same, of so many owners.
#[track_caller]
fn agree(globals: &[Process], owners: u64) {
    until("the global nodes agree", || {
        let first = digest(&globals[0]);
        first[1] == owners && globals.iter().all(|node| digest(node) == first)
    });
}

#[track_caller]
fn all_see(nodes: &[&Process], wanted: &Json) {
    for node in nodes {
        node.until(&format!("sees {wanted}"), |node| node.view() == *wanted);
    }
}

#[track_caller]
fn nothing_deleted(nodes: &[&Process]) {
    for node in nodes {
        let changes = node.changes();
        let deleted = changes.iter().any(|change| change.starts_with('-'));
        assert!(!deleted, "{}: {changes:?}", node.name);
    }
}

/// How long something takes that has a bound.
#[track_caller]
fn within_bound<T>(what: &str, since: Instant, work: impl FnOnce() -> T) -> T {
    let done = work();
    let took = since.elapsed();
    println!("{what}: {took:?}");
    assert!(took < BOUND, "{what}: {took:?}");
    done
}

// R3 R4 L4
#[test]
fn a_mesh_that_is_cut_in_two_goes_on_in_both_parts_and_agrees_again() {
    for silently in [false, true] {
        let mesh = Mesh::new();
        let (globals, proxies) = mesh.globals();
        let a = mesh.attached("a", &globals[0]);
        let b = mesh.attached("b", &globals[1]);
        a.set("of-a", 1);
        b.set("of-b", 1);
        let both = json!({"of-a": "1", "of-b": "1"});
        all_see(&[&a, &b, &globals[0], &globals[1]], &both);
        agree(&globals, 4);

        let cut = Instant::now();
        for proxy in &proxies {
            if silently {
                proxy.hang();
            } else {
                proxy.cut();
            }
        }
        // each part goes on at once
        a.set("of-a", 2);
        b.set("of-b", 2);
        a.set("later", 2);
        globals[0].until("goes on", |node| node.view()["of-a"] == "2");
        globals[1].until("goes on", |node| node.view()["of-b"] == "2");
        // and forgets the other in time
        within_bound("the other part is gone", cut, || {
            all_see(&[&a, &globals[0]], &json!({"of-a": "2", "later": "2"}));
            all_see(&[&b, &globals[1]], &json!({"of-b": "2"}));
        });
        b.ask(json!(["remove", "f", "of-b"]));
        b.set("new", 3);
        for proxy in &proxies {
            proxy.heal();
        }
        let all = json!({"of-a": "2", "later": "2", "new": "3"});
        all_see(&[&a, &b, &globals[0], &globals[1]], &all);
        agree(&globals, 4);
        // they have kept their homes
        assert_eq!((a.home(), b.home()), (json!("g1"), json!("g2")));
    }
}

// R5 R6
#[test]
fn the_nodes_of_a_home_that_is_killed_move_and_nobody_sees_it() {
    let mesh = Mesh::new();
    let ([g1, g2], _proxies) = mesh.globals();
    let a = mesh.attached("a", &g1);
    let b = mesh.attached("b", &g1);
    let w = mesh.attached("w", &g2);
    a.set("of-a", 1);
    b.set("of-b", 1);
    all_see(&[&a, &b, &w, &g1, &g2], &json!({"of-a": "1", "of-b": "1"}));
    let killed = Instant::now();
    g1.kill();
    a.set("meanwhile", 2);
    within_bound("they have moved", killed, || {
        for node in [&a, &b] {
            node.until("moves", |node| node.home() == "g2");
        }
    });
    b.set("of-b", 3);
    let all = json!({"of-a": "1", "of-b": "3", "meanwhile": "2"});
    all_see(&[&a, &b, &w, &g2], &all);
    // until all that could have gone would be gone
    while killed.elapsed() < LINK_TIMEOUT + GRACE + Duration::from_secs(1) {
        assert_eq!(w.view(), all);
    }
    nothing_deleted(&[&a, &b, &w]);
    assert_eq!(digest(&g2)[1], 4);
}

// R4 R5 M7
#[test]
fn a_home_that_stands_still_costs_nothing_and_comes_back() {
    let mesh = Mesh::new();
    let (globals, _proxies) = mesh.globals();
    let [g1, g2] = &globals;
    let a = mesh.attached("a", g1);
    let w = mesh.attached("w", g2);
    g1.set("of-g1", 1);
    a.set("of-a", 1);
    all_see(&[&a, &w, g1, g2], &json!({"of-g1": "1", "of-a": "1"}));
    let stopped = Instant::now();
    g1.signal("STOP");
    within_bound("it has moved", stopped, || {
        a.until("moves", |node| node.home() == "g2");
    });
    within_bound("what the home owned is gone", stopped, || {
        all_see(&[&w, g2, &a], &json!({"of-a": "1"}));
    });
    a.set("of-a", 2);
    all_see(&[&w, g2, &a], &json!({"of-a": "2"}));
    let gone = |node: &Process| {
        let deleted: Vec<String> = node
            .changes()
            .into_iter()
            .filter(|change| change.starts_with('-'))
            .collect();
        assert_eq!(deleted, ["-of-g1"], "{}", node.name);
    };
    gone(&w);
    gone(&a);
    g1.signal("CONT");
    let all = json!({"of-g1": "1", "of-a": "2"});
    all_see(&[&a, &w, g1, g2], &all);
    agree(&globals, 4);
    gone(&w);
    // it is a home again
    let late = mesh.attached("late", g1);
    late.set("late", 1);
    w.until_change("+late=1");
}

// R1 R4
#[test]
fn an_owner_that_stands_still_is_gone_in_time_and_comes_back_with_all_it_owns() {
    let mesh = Mesh::new();
    let (globals, _proxies) = mesh.globals();
    let [g1, g2] = &globals;
    let a = mesh.attached("a", g1);
    let w = mesh.attached("w", g2);
    a.set("one", 1);
    a.set("two", 1);
    w.until_change("+two=1");
    let stopped = Instant::now();
    a.signal("STOP");
    within_bound("its entries are gone", stopped, || {
        all_see(&[&w, g1, g2], &json!({}));
    });
    agree(&globals, 3);
    a.signal("CONT");
    all_see(&[&a, &w, g1, g2], &json!({"one": "1", "two": "1"}));
    a.set("two", 2);
    w.until_change("~two=2");
    agree(&globals, 4);
}

// R1 R4 R10
#[test]
fn what_a_killed_owner_had_is_gone_and_its_next_life_begins_anew() {
    for mesh in [Mesh::new(), Mesh::with_certificates()] {
        let (globals, _proxies) = mesh.globals();
        let [g1, g2] = &globals;
        let a = mesh.attached("a", g1);
        let w = mesh.attached("w", g2);
        a.set("old", 1);
        a.set("both", 1);
        let port = a.ask(json!(["register", "f"]));
        let port = port.as_str().unwrap();
        w.until_change(&format!("+{port}=null"));
        all_see(&[&w, g2], &json!({"old": "1", "both": "1", port: "null"}));
        // a port that dies takes its entry along
        a.ask(json!(["kill", port]));
        w.until_change(&format!("-{port}"));
        all_see(&[&w, g1, g2], &json!({"old": "1", "both": "1"}));

        let killed = Instant::now();
        a.kill();
        within_bound("its entries are gone", killed, || {
            all_see(&[&w, g1, g2], &json!({}));
        });
        agree(&globals, 3);
        // at the other home
        let a = mesh.attached("a", g2);
        a.set("both", 2);
        a.set("new", 2);
        all_see(&[&a, &w, g1, g2], &json!({"both": "2", "new": "2"}));
        agree(&globals, 4);
        // killed and started again at once
        let killed = Instant::now();
        a.kill();
        let a = mesh.attached("a", g1);
        a.set("last", 3);
        within_bound("only the last life shows", killed, || {
            all_see(&[&a, &w, g1, g2], &json!({"last": "3"}));
        });
        agree(&globals, 4);
    }
}
