//! Two hosts, as the README has it, in network namespaces of their own; in both modes. Where the system does not permit
//! to make them the test says so and does nothing else.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::process::{Ended, Running, portmesh, portmesh_cert};

const A: &str = "10.77.0.1";
const B: &str = "10.77.0.2";

/// Two namespaces with a wire between them; gone with this.
struct Hosts {
    a: String,
    b: String,
}

fn ip(args: &[&str]) -> bool {
    let mut command = Command::new("ip");
    let quiet = command
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

impl Hosts {
    /// `None`: it is not permitted, or there is no such command.
    fn new(name: &str) -> Option<Self> {
        let id = std::process::id();
        let hosts = Hosts {
            a: format!("pm{id}{name}a"),
            b: format!("pm{id}{name}b"),
        };
        let (a, b) = (hosts.a.as_str(), hosts.b.as_str());
        if !(ip(&["netns", "add", a]) && ip(&["netns", "add", b])) {
            eprintln!("skipped: network namespaces cannot be made here (`ip netns add`)");
            return None;
        }
        let wire = [
            "link", "add", "wire", "netns", a, "type", "veth", "peer", "name", "wire", "netns", b,
        ];
        assert!(ip(&wire));
        for (host, addr) in [(a, A), (b, B)] {
            assert!(ip(&[
                "-n",
                host,
                "addr",
                "add",
                &format!("{addr}/24"),
                "dev",
                "wire"
            ]));
            assert!(ip(&["-n", host, "link", "set", "wire", "up"]));
            assert!(ip(&["-n", host, "link", "set", "lo", "up"]));
        }
        Some(hosts)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in [&self.a, &self.b] {
            ip(&["netns", "del", host]);
        }
    }
}

/// `portmesh` on a host.
fn on(host: &str, dir: &Path) -> Command {
    let there = portmesh(dir);
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", host])
        .arg(there.get_program());
    command.current_dir(dir);
    for (key, value) in there.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command
}

/// What the README does with two nodes that run, from the first host.
fn try_out(host: &str, dir: &Path, who: &[&str]) {
    let ask = |args: &[&str]| {
        let mut command = on(host, dir);
        command
            .arg("--json")
            .args(args)
            .args(who)
            .args(["--seed", A]);
        Ended::of(&mut command).code(0).json()
    };
    let nodes = ask(&["nodes"]);
    let up: Vec<_> = nodes
        .iter()
        .map(|node| (&node["node"], &node["state"]))
        .collect();
    assert_eq!(
        up,
        [(&"a".into(), &"up".into()), (&"b".into(), &"up".into())],
        "{nodes:?}"
    );
    let b = &nodes[1]["addrs"];
    assert_eq!(
        *b,
        serde_json::json!([format!("{B}:4040")]),
        "it is found through a"
    );
    let port = ask(&["spawn", "b", "print"]);
    let port = port[0]["port"].as_str().unwrap();
    ask(&["send", port, "hello", "world", "42"]);
}

#[test]
fn two_hosts_with_certificates() {
    let Some(hosts) = Hosts::new("c") else { return };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let cert = |args: &[&str]| Ended::of(portmesh_cert(dir).args(args)).code(0);
    cert(&["ca", "init", "--cluster", "shop"]);
    for node in ["a", "b", "admin"] {
        cert(&["issue", node]);
    }
    let run = |host: &str, args: &[&str]| {
        let mut command = on(host, dir);
        Running::start(command.args(["--json", "run", "--listen", "*"]).args(args))
    };
    let a = run(&hosts.a, &["--identity", "a.pem"]);
    a.ready();
    let b = run(&hosts.b, &["--identity", "b.pem", "--seed", A]);
    b.line(&["\"home\"", "\"a\""]);
    try_out(&hosts.a, dir, &["--identity", "admin.pem"]);
    b.line(&["\"message\"", "hello", "42"]);
}

#[test]
fn two_hosts_with_a_secret() {
    let Some(hosts) = Hosts::new("s") else { return };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    Ended::of(portmesh(dir).args(["secret", "gen", "--out", "mesh.secret"])).code(0);
    let run = |host: &str, node: &str, args: &[&str]| {
        let mut command = on(host, dir);
        command.args([
            "--json",
            "run",
            "--id",
            node,
            "--secret-file",
            "mesh.secret",
        ]);
        command.args(["--state", node, "--listen", "*"]);
        Running::start(command.args(args))
    };
    let a = run(&hosts.a, "a", &[]);
    a.ready();
    let b = run(&hosts.b, "b", &["--seed", A]);
    b.line(&["\"home\"", "\"a\""]);
    try_out(&hosts.a, dir, &["--secret-file", "mesh.secret"]);
    b.line(&["\"message\"", "hello", "42"]);
}
