//! The commands that find their way by the database: nodes, trace, db, and targets known by their ID alone.

use std::path::Path;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::process::{Ended, Running, portmesh, portmesh_cert};

/// `g1` and `g2` are global, `b` is attached to one of them and takes orders, `p` too and listens nowhere.
struct Mesh {
    dir: TempDir,
    seed: String,
    nodes: Vec<Running>,
}

impl Mesh {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Ended::of(portmesh(dir.path()).args(["secret", "gen", "--out", "s"])).code(0);
        let mut mesh = Mesh {
            dir,
            seed: String::new(),
            nodes: Vec::new(),
        };
        let listen = ["--listen", "127.0.0.1:*"];
        let trust = ["--trust-global", "g*"];
        let g1 = mesh.run("g1", &[&listen[..], &trust].concat());
        mesh.seed = g1.ready();
        let seed = mesh.seed.clone();
        let seeded = |more: &[&'static str]| [&["--seed", &seed[..]][..], more].concat();
        let g2 = mesh.run(
            "g2",
            &seeded(&["--listen", "127.0.0.1:*", "--global", trust[0], trust[1]]),
        );
        g2.line(&["\"up\"", "\"g1\""]);
        let b = mesh.run("b", &seeded(&["--listen", "127.0.0.1:*", "--db-admin"]));
        let p = mesh.run("p", &seeded(&[]));
        for node in [&b, &p] {
            let home = node.line(&["\"event\":\"home\""]);
            let home: Json = serde_json::from_str(&home).unwrap();
            assert_eq!(home["node"], "g1");
        }
        mesh.nodes.extend([g1, g2, b, p]);
        mesh
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn run(&self, id: &str, args: &[&str]) -> Running {
        let mut command = portmesh(self.path());
        command.args(["--json", "run", "--id", id, "--secret-file", "s"]);
        command.args(["--state", &format!("state-{id}")]);
        Running::start(command.args(args))
    }

    /// A command that has the seed and nothing else.
    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = portmesh(self.path());
        command.args(args);
        command.args(["--secret-file", "s", "--seed", &self.seed]);
        command
    }

    fn ask(&self, args: &[&str]) -> Ended {
        Ended::of(&mut self.command(args))
    }

    fn ask_json(&self, args: &[&str]) -> Vec<Json> {
        let all = [&["--json"], args].concat();
        self.ask(&all).code(0).json()
    }

    fn stderr(&self, args: &[&str], code: i32) -> String {
        self.ask(args).code(code).stderr
    }
}

fn row<'a>(rows: &'a [Json], key: &str, value: &str) -> &'a Json {
    let found = rows.iter().find(|row| row[key] == value);
    found.unwrap_or_else(|| panic!("no {key} {value} in {rows:?}"))
}

// L3, L4: every node is found by its ID, through a seed
#[test]
fn nodes_and_trace_show_the_whole_mesh_through_one_seed() {
    let mesh = Mesh::new();
    let nodes = mesh.ask_json(&["nodes"]);
    let names: Vec<_> = nodes
        .iter()
        .map(|row| row["node"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["b", "g1", "g2", "p"]);
    for (node, state, global, home) in [
        ("b", "up", false, "g1"),
        ("g1", "up", true, "g1"),
        ("g2", "up", true, "g2"),
        ("p", "private", false, "g1"),
    ] {
        let row = row(&nodes, "node", node);
        let told = (
            &row["state"],
            &row["global"],
            &row["home"],
            &row["version"],
            &row["error"],
        );
        let version = env!("CARGO_PKG_VERSION").into();
        assert_eq!(
            told,
            (
                &state.into(),
                &global.into(),
                &home.into(),
                &version,
                &Json::Null
            )
        );
        let identity = &row["identity"];
        assert_eq!(identity["mode"], "secret", "{row}");
        let proof = identity["proof"].as_str().unwrap();
        assert!(proof.starts_with("secret ") && proof.contains(", key SHA256:"));
        assert!(identity["security"].as_str().unwrap().starts_with("TLS1.3"));
        if state == "up" {
            assert!(row["ms"].as_f64().unwrap() > 0.0);
            assert_eq!(row["addrs"].as_array().unwrap().len(), 1);
        } else {
            assert_eq!(
                (&row["addrs"], &identity["proved_to"]),
                (&json!([]), &"g1".into())
            );
        }
    }
    let listed = mesh.ask_json(&["nodes", "--no-ping"]);
    assert_eq!(listed.len(), 4);
    assert!(
        listed
            .iter()
            .all(|row| row["state"] == "listed" && row["identity"].is_null())
    );
    let text = mesh.ask(&["nodes"]).code(0).stdout;
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines[0].starts_with("b ")
            && lines[0].contains("at g1")
            && lines[0].contains("key SHA256:")
    );
    assert!(
        lines[1].contains("global") && lines[3].contains("private"),
        "{text}"
    );

    let [home] = &mesh.ask_json(&["trace"])[..] else {
        panic!("not one object");
    };
    assert_eq!(
        (&home["node"], &home["global"]),
        (&"g1".into(), &true.into())
    );
    let links = home["links"].as_array().unwrap();
    for node in ["g2", "b", "p"] {
        let link = row(links, "node", node);
        assert_eq!(
            (&link["mode"], &link["initiator"]),
            (&"secret".into(), &false.into())
        );
    }
    let globals = home["globals"].as_array().unwrap();
    assert_eq!(row(globals, "node", "g1")["attached"], json!(["b", "p"]));
    assert_eq!(row(globals, "node", "g2")["attached"], json!([]));
    let other = &mesh.ask_json(&["trace", "b"])[0];
    assert_eq!(
        (&other["node"], &other["home"]),
        (&"b".into(), &"g1".into())
    );
    let tree = mesh.ask(&["trace"]).code(0).stdout;
    for needed in [
        "g1, global, reached at",
        "├─ g1, global",
        "└─ g2, global",
        "(this command)",
    ] {
        assert!(tree.contains(needed), "{needed} is missing in:\n{tree}");
    }

    // by their IDs alone
    assert_eq!(mesh.ask_json(&["ping", "b", "-c", "1"])[0]["node"], "b");
    assert_eq!(mesh.ask_json(&["ping", "g2", "-c", "1"])[0]["node"], "g2");
    let port = &mesh.ask_json(&["spawn", "b", "echo"])[0]["port"];
    let answer = mesh.ask_json(&["call", port.as_str().unwrap(), "x", "1"]);
    assert_eq!(answer[0]["answer"], json!(["x", 1]));
    let told = mesh.stderr(&["ping", "nobody"], 3);
    assert!(
        told.contains("no node nobody") && told.contains("--address nobody="),
        "{told}"
    );
    let told = mesh.stderr(&["ping", "p"], 4);
    assert!(told.contains("listens nowhere"), "{told}");
    mesh.stderr(&["trace", "nobody"], 3);
}

#[cfg(unix)]
#[test]
fn nodes_tells_those_that_do_not_answer() {
    let mesh = Mesh::new();
    let b = &mesh.nodes[2];
    b.send_signal("STOP");
    let nodes = mesh.ask_json(&["nodes"]);
    b.send_signal("CONT");
    let hung = row(&nodes, "node", "b");
    assert_eq!(
        (&hung["state"], &hung["ms"]),
        (&"unreachable".into(), &Json::Null)
    );
    assert!(!hung["error"].as_str().unwrap().is_empty());
    assert_eq!(row(&nodes, "node", "g2")["state"], "up");
    // it does not use up the time of those that are asked after it
    let private = row(&nodes, "node", "p");
    assert_eq!(
        (&private["identity"]["proved_to"], &private["error"]),
        (&"g1".into(), &Json::Null)
    );
}

// R5, R6
#[cfg(unix)]
#[test]
fn a_command_that_watches_tells_of_its_homes() {
    let mut mesh = Mesh::new();
    let nodes = mesh.ask_json(&["nodes", "--no-ping"]);
    let g2 = row(&nodes, "node", "g2")["addrs"][0].as_str().unwrap();
    let watch = ["--json", "db", "watch", "conf", "--seed", g2];
    let watch = Running::start(&mut mesh.command(&watch));
    let first = watch.error_line(&["attached to g"]);
    watch.line(&["\"synced\""]);
    let (lost, next) = match first.ends_with("g1") {
        true => (0, "g2"),
        false => (1, "g1"),
    };
    mesh.nodes[lost].signal("KILL");
    watch.line(&[r#""event":"home","node":null"#]);
    watch.line(&[r#""event":"home","node":"#, next]);
}

#[test]
fn nobody_at_the_seed_and_no_seed_and_no_global_node_are_told_apart() {
    let mesh = Mesh::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap().to_string();
    drop(free);
    let commands: [&[&str]; 5] = [
        &["nodes"],
        &["trace"],
        &["db", "keys", "f"],
        &["db", "digest"],
        &["ping", "b"],
    ];
    for command in commands {
        let mut alone = portmesh(mesh.path());
        alone.args(command).args(["--secret-file", "s"]);
        let told = Ended::of(&mut alone).code(2).stderr;
        assert!(told.contains("--seed"), "{told}");
        let args = ["--seed", &nobody, "--timeout", "500ms"];
        let told = Ended::of(alone.args(args)).code(4).stderr;
        assert!(told.contains("nobody answers"), "{told}");
    }
    // a seed that is no global node
    let b = mesh.ask_json(&["nodes", "--no-ping"]);
    let b = row(&b, "node", "b")["addrs"][0].as_str().unwrap();
    let mut to_b = portmesh(mesh.path());
    to_b.args(["nodes", "--secret-file", "s", "--seed", b, "--timeout", "1"]);
    let told = Ended::of(&mut to_b).code(4).stderr;
    assert!(
        told.contains("linked with b") && told.contains("global"),
        "{told}"
    );
    // an address of a global node is as good as a seed
    let mut by_address = portmesh(mesh.path());
    by_address.args(["--json", "nodes", "--no-ping", "--secret-file", "s"]);
    let address = format!("g1={}", mesh.seed);
    let nodes = Ended::of(by_address.args(["--address", &address]))
        .code(0)
        .json();
    assert_eq!(nodes.len(), 4);
    // another secret
    Ended::of(portmesh(mesh.path()).args(["secret", "gen", "--out", "other"])).code(0);
    let mut other = portmesh(mesh.path());
    other.args(["nodes", "--secret-file", "other", "--seed", &mesh.seed]);
    Ended::of(&mut other).code(6);
}

// R1, R6
#[cfg(unix)]
#[test]
fn db_set_lives_as_long_as_the_command_and_watch_tells() {
    let mut mesh = Mesh::new();
    let watch = Running::start(&mut mesh.command(&["--json", "db", "watch", "conf"]));
    watch.line(&["\"synced\"", "\"conf\""]);
    let mut set =
        Running::start(&mut mesh.command(&["--json", "db", "set", "conf", "colour", "red"]));
    let told: Json = serde_json::from_str(&set.line(&["\"set\""])).unwrap();
    let owner = told["owner"].as_str().unwrap();
    assert_eq!(
        (&told["key"], &told["value"]),
        (&"colour".into(), &"red".into())
    );
    let event: Json = serde_json::from_str(&watch.line(&["\"added\""])).unwrap();
    let expected = (&"colour".into(), &"red".into(), &owner.into());
    assert_eq!((&event["key"], &event["value"], &event["owner"]), expected);
    let got = &mesh.ask_json(&["db", "get", "conf", "colour"])[0];
    assert_eq!((&got["key"], &got["value"], &got["owner"]), expected);
    assert_eq!(
        mesh.ask(&["db", "get", "conf", "colour"]).code(0).stdout,
        "\"red\"\n"
    );

    // a second owner: told to readers and to both
    let second = [
        "db",
        "set",
        "conf",
        "colour",
        r#"{"rgb":[1,2,3]}"#,
        "--for",
        "1",
    ];
    let second = Running::start(&mut mesh.command(&second));
    second.line(&["set colour", r#"{"rgb":[1,2,3]}"#, "keeps it for 1s"]);
    watch.line(&["\"changed\"", "rgb"]);
    let conflict: Json = serde_json::from_str(&watch.line(&["\"conflict\""])).unwrap();
    assert_eq!(conflict["values"].as_array().unwrap().len(), 2);
    set.line(&["\"conflict\"", owner]);
    second.line(&["removed colour"]);
    watch.line(&["\"changed\"", "\"red\""]);

    // a cli node listens nowhere, so that nobody can give it orders
    let told = mesh.stderr(&["db", "remove", "conf", "colour"], 4);
    assert!(
        told.contains(&format!(
            "belongs to {owner}, and only {owner} can remove it"
        )),
        "{told}"
    );
    assert_eq!(set.signal("INT"), Some(0));
    set.line(&["\"removed\"", "colour"]);
    watch.line(&["\"deleted\"", "colour"]);
    mesh.stderr(&["db", "get", "conf", "colour"], 3);
    // killed, it goes as well
    let mut killed = Running::start(&mut mesh.command(&["db", "set", "conf", "size", "-3"]));
    watch.line(&["\"added\"", "size", "-3"]);
    killed.signal("KILL");
    watch.line(&["\"deleted\"", "size"]);
    let mut watch = watch;
    assert_eq!(watch.signal("TERM"), Some(0));

    let told = mesh.ask_json(&["db", "watch", "'nodes", "--until-synced"]);
    assert!(
        told.len() >= 5 && told[told.len() - 1]["event"] == "synced",
        "{told:?}"
    );
    assert_eq!(row(&told, "key", "p")["value"]["addr"], json!([]));
    mesh.nodes.clear();
}

// R9
#[test]
fn db_refuses_what_no_entry_can_be() {
    let mesh = Mesh::new();
    let long = "k".repeat(1025);
    let wrong: &[(&[&str], &str)] = &[
        (
            &["db", "set", "9lives", "k", "1"],
            "not the name of a family",
        ),
        (&["db", "get", "a-b", "k"], "not the name of a family"),
        (&["db", "watch", ""], "not the name of a family"),
        (&["db", "set", "f", "", "1"], "1 to 1024 bytes"),
        (&["db", "get", "f", &long], "1 to 1024 bytes"),
        (&["db", "set", "f", &long, "1"], "1 to 1024 bytes"),
        (&["db", "set", "f", "k", "{1"], "{1"),
        (&["db", "set", "'nodes", "b", "1"], "the system's"),
        (&["db", "remove", "'homes", "b"], "the system's"),
        (
            &["db", "set", "f", "k", "1", "--on", "b", "--for", "1"],
            "--for",
        ),
    ];
    for (args, reason) in wrong {
        let told = mesh.stderr(args, 2);
        assert!(told.contains(reason), "{args:?}: {told}");
    }
    // too large a value, which fits on no command line
    let mut large = mesh.command(&["--json", "db", "set", "f", "k", "-"]);
    let told = Ended::with_stdin(&mut large, &"x".repeat(300 << 10)).code(2);
    let error: Json = serde_json::from_str(told.stderr.lines().last().unwrap()).unwrap();
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .contains("the limit is 262144"),
        "{error}"
    );
    let told = mesh.stderr(&["db", "get", "f", "k"], 3);
    assert!(told.contains("no k in the family f"), "{told}");
    let mut fits = mesh.command(&["--json", "db", "set", "f", "k", "-", "--for", "100ms"]);
    let told = Ended::with_stdin(&mut fits, &"x".repeat(200 << 10))
        .code(0)
        .json();
    assert_eq!(told[0]["value"].as_str().map(str::len), Some(200 << 10));
}

// R1
#[test]
fn only_a_node_with_db_admin_takes_orders_and_only_about_its_own_entries() {
    let mesh = Mesh::new();
    let told = mesh.stderr(&["db", "set", "conf", "k", "1", "--on", "g2"], 6);
    assert!(
        told.contains("g2 takes no orders") && told.contains("--db-admin"),
        "{told}"
    );
    assert!(
        !told.contains("WARN"),
        "it is said once, by the command: {told}"
    );
    let told = mesh.stderr(&["db", "remove", "conf", "k", "--on", "g2"], 6);
    assert!(told.contains("g2 takes no orders"), "{told}");
    mesh.stderr(&["db", "set", "conf", "k", "1", "--on", "nobody"], 3);

    let set = mesh.ask_json(&["db", "set", "conf", "k", "[1]", "--on", "b"]);
    assert_eq!(
        (&set[0]["owner"], &set[0]["value"]),
        (&"b".into(), &json!([1]))
    );
    mesh.ask(&["db", "set", "conf", "l", "word", "--on", "b"])
        .code(0);
    let family = mesh.ask_json(&["db", "family", "conf"]);
    let told: Vec<_> = family
        .iter()
        .map(|row| (&row["key"], &row["owner"], &row["value"]))
        .collect();
    let (b, one) = ("b".into(), json!([1]));
    assert_eq!(
        told,
        [(&"k".into(), &b, &one), (&"l".into(), &b, &"word".into())]
    );
    assert_eq!(mesh.ask(&["db", "keys", "conf"]).code(0).stdout, "k\nl\n");
    assert_eq!(
        mesh.ask(&["db", "family", "conf"]).code(0).stdout,
        "k = [1] (b)\nl = \"word\" (b)\n"
    );
    // the owner's bounds, in its words
    let mut large = mesh.command(&["db", "set", "conf", "large", "-", "--on", "b"]);
    let told = Ended::with_stdin(&mut large, &"x".repeat(300 << 10))
        .code(6)
        .stderr;
    assert!(told.contains("the limit is 262144"), "{told}");

    // a key that would write on the terminal of who reads
    let magic = "\u{1b}[2J\nforged";
    mesh.ask(&["db", "set", "magic", magic, "1", "--on", "b"])
        .code(0);
    let shown = "\u{fffd}[2J\u{fffd}forged";
    let told = mesh.ask(&["db", "keys", "magic"]).code(0).stdout;
    assert_eq!(told, format!("{shown}\n"));
    let told = mesh.ask(&["db", "family", "magic"]).code(0).stdout;
    assert_eq!(told, format!("{shown} = 1 (b)\n"));
    assert_eq!(mesh.ask_json(&["db", "keys", "magic"])[0]["key"], magic);

    // nothing is removed where one of the keys is not there
    mesh.stderr(&["db", "remove", "conf", "k", "m"], 3);
    mesh.ask(&["db", "get", "conf", "k"]).code(0);
    let removed = mesh.ask_json(&["db", "remove", "conf", "k", "l"]);
    assert_eq!(
        removed,
        [json!({"removed": ["k", "l"], "family": "conf", "owner": "b"})]
    );
    mesh.stderr(&["db", "get", "conf", "k"], 3);
    let told = mesh.stderr(&["db", "remove", "conf", "k", "--on", "b"], 3);
    assert!(told.contains("b owns no k in the family conf"), "{told}");
    // a key twice is one key
    mesh.ask(&["db", "set", "conf", "k", "1", "--on", "b"])
        .code(0);
    let told = mesh.stderr(&["db", "remove", "conf", "k", "m", "--on", "b"], 3);
    assert!(
        told.contains("b owns only 1 of k, m in the family conf"),
        "{told}"
    );
    mesh.ask(&["db", "set", "conf", "k", "1", "--on", "b"])
        .code(0);
    mesh.ask(&["db", "remove", "conf", "k", "k"]).code(0);
}

// R3
#[test]
fn db_digest_says_whether_the_global_nodes_hold_the_same() {
    let mesh = Mesh::new();
    mesh.ask(&["db", "set", "conf", "k", "1", "--on", "b"])
        .code(0);
    let told = mesh.ask_json(&["db", "digest"]);
    let [g1, g2, verdict] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((&g1["node"], &g2["node"]), (&"g1".into(), &"g2".into()));
    assert_eq!(g1["digest"], g2["digest"]);
    assert_eq!(g1["digest"].as_str().map(str::len), Some(64));
    assert_eq!(verdict, &json!({"same": true, "nodes": 2}));
    let one = mesh.ask_json(&["db", "digest", "b"]);
    assert_eq!(
        (one.len(), &one[0]["node"], &one[0]["global"]),
        (1, &"b".into(), &false.into())
    );
    assert!(
        mesh.ask(&["db", "digest"])
            .code(0)
            .stdout
            .contains("2 global nodes hold the same")
    );
    mesh.stderr(&["db", "digest", "nobody"], 3);
    // one that hangs is not taken for equal
    #[cfg(unix)]
    {
        mesh.nodes[1].send_signal("STOP");
        let told = mesh.ask(&["db", "digest", "--timeout", "2"]).code(5);
        mesh.nodes[1].send_signal("CONT");
        assert!(
            told.stdout.starts_with("g1 ") && told.stderr.contains("g2"),
            "{}",
            told.stderr
        );
    }
}

#[test]
fn run_tells_in_words_what_befalls_a_node_in_the_database() {
    let dir = tempfile::tempdir().unwrap();
    Ended::of(portmesh_cert(dir.path()).args(["ca", "init"])).code(0);
    for node in ["a", "b", "g"] {
        Ended::of(portmesh_cert(dir.path()).args(["issue", node])).code(0);
    }
    let run = |file: &str, args: &[&str]| {
        let mut command = portmesh(dir.path());
        command.args(["run", "--identity", file, "--listen", "127.0.0.1:*"]);
        Running::start(command.args(args))
    };
    let a = run("a.pem", &["--ready-file", "a.addr"]);
    a.line(&["ready: a listens on"]);
    let addr = std::fs::read_to_string(dir.path().join("a.addr")).unwrap();
    let seed = ["--seed", addr.trim()];
    let b = run("b.pem", &[&seed[..], &["--db-admin"]].concat());
    b.line(&["home: a"]);
    // a does not take it for global
    let g = run("g.pem", &[&seed[..], &["--global"]].concat());
    g.line(&["not global: a: a takes g for no global node"]);
    for pattern in ["", "a b"] {
        let args = ["run", "--identity", "g.pem", "--trust-global", pattern];
        Ended::of(portmesh(dir.path()).args(args)).code(2);
    }
    drop(a);
    b.line(&["home: none"]);
}
