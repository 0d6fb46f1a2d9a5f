//! The commands as they are installed: exit codes, both forms of output, certificates and secrets.

pub(crate) mod bench;
mod ca;
mod cert;
mod config;
#[cfg(target_os = "linux")]
mod hosts;
mod inspect;
mod mesh;
mod policy;
mod rotation;
#[cfg(unix)]
mod rotation_load;
mod secrets;

use std::{fs, path::Path};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::process::{Ended, Running, portmesh, portmesh_cert};

/// A directory with a CA, the identities `a`, `admin` and `other`, and a node `a` that runs.
struct Mesh {
    dir: TempDir,
    addr: String,
    a: Running,
}

impl Mesh {
    fn with_certificates() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Ended::of(portmesh_cert(dir.path()).args(["ca", "init"])).code(0);
        for node in ["a", "admin", "other"] {
            Ended::of(portmesh_cert(dir.path()).args(["issue", node])).code(0);
        }
        let a = Running::start(portmesh(dir.path()).args([
            "--json",
            "run",
            "--identity",
            "a.pem",
            "--listen",
            "127.0.0.1:0",
        ]));
        Mesh {
            addr: a.ready(),
            dir,
            a,
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A command to node `a`, as `admin`.
    fn ask(&self, args: &[&str]) -> Ended {
        let mut command = portmesh(self.path());
        command.args(args).args(["--identity", "admin.pem"]);
        command.args(["--address", &format!("a={}", self.addr)]);
        Ended::of(&mut command)
    }

    fn ask_json(&self, args: &[&str]) -> Vec<Json> {
        let mut all = vec!["--json"];
        all.extend(args);
        self.ask(&all).code(0).json()
    }

    fn spawn(&self, function: &str) -> String {
        let port = &self.ask_json(&["spawn", "a", function])[0]["port"];
        port.as_str().unwrap().to_string()
    }
}

#[test]
fn commands_reach_a_running_node_with_certificates() {
    let mut mesh = Mesh::with_certificates();

    let ping = mesh.ask_json(&["ping", "a", "-c", "2"]);
    assert_eq!(ping.len(), 3);
    assert_eq!(
        (&ping[0]["node"], &ping[0]["mode"]),
        (&json!("a"), &json!("certificate"))
    );
    assert!(ping[0]["security"].as_str().unwrap().starts_with("TLS1.3"));
    let proof = ping[0]["proof"].as_str().unwrap();
    assert!(
        proof.starts_with("certificate serial ") && proof.contains("key SHA256:"),
        "{proof}"
    );
    assert!(ping[2]["ms"].as_f64().unwrap() > 0.0);
    mesh.a.line(&["\"up\"", "\"admin\"", "certificate"]);

    let echo = mesh.spawn("echo");
    let typed = [
        "1",
        "2.5",
        "word",
        "\"3\"",
        "[true,null]",
        r#"{"k":{"$bytes":"AQI="}}"#,
    ];
    let mut args = vec!["call", &echo, "tag"];
    args.extend(typed);
    let answer = mesh.ask_json(&args);
    let expected = json!(["tag", 1, 2.5, "word", "3", [true, null], {"k": {"$bytes": "AQI="}}]);
    assert_eq!(answer[0]["answer"], expected);
    // the same as text, by the short name
    args[0] = "cal";
    let text = mesh.ask(&args).code(0).stdout;
    assert_eq!(serde_json::from_str::<Json>(&text).unwrap(), expected);

    let print = mesh.spawn("print");
    let sent = mesh.ask_json(&["snd", &print, "hello", "-1"]);
    assert_eq!(sent[0], json!({"sent": ["hello", -1], "to": print}));
    let line: Json = serde_json::from_str(&mesh.a.line(&["\"message\""])).unwrap();
    assert_eq!(
        (&line["from"], &line["message"]),
        (&json!("admin"), &json!(["hello", -1]))
    );

    #[cfg(unix)]
    {
        let watcher = Running::start(
            portmesh(mesh.path())
                .args(["mon", &print, "--identity", "admin.pem"])
                .args(["--address", &format!("a={}", mesh.addr)]),
        );
        watcher.error_line(&["linked with a"]);
        assert_eq!(mesh.a.signal("TERM"), Some(0));
        mesh.a.line(&["\"stopped\""]);
        watcher.line(&["transport_error"]);
    }
}

#[test]
fn exit_codes_tell_failures_apart() {
    let mesh = Mesh::with_certificates();
    let nobody = "a#nobody";

    // 2 usage
    for args in [
        &["send"][..],
        &["call", "a#x", "[1"],
        &["ping", "not a node"],
        &["run", "--format", "xml", "--identity", "a.pem"],
        &["nonsense"],
    ] {
        mesh.ask(args).code(2);
    }
    Ended::of(portmesh(mesh.path()).args(["ping", "a", "--identity", "admin.pem"])).code(2);

    // 3 no such port, function, node
    for args in [
        &["send", nobody, "x"][..],
        &["call", nobody, "x"],
        &["monitor", nobody],
        &["spawn", "a", "no.such.function"],
    ] {
        mesh.ask(args).code(3);
    }
    let other = portmesh(mesh.path())
        .args(["ping", "b", "--identity", "admin.pem", "--seed", &mesh.addr])
        .output()
        .unwrap();
    assert_eq!(other.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&other.stderr).contains("--address b="));

    // 4 unreachable: a port of the system's where nobody listens
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    Ended::of(portmesh(mesh.path()).args([
        "ping",
        "a",
        "--identity",
        "admin.pem",
        "--address",
        &format!("a={addr}"),
    ]))
    .code(4);

    // 5 timeout
    let print = mesh.spawn("print");
    mesh.ask(&["call", &print, "x", "--timeout", "1"]).code(5);
    mesh.ask(&["monitor", &print, "--timeout", "1"]).code(5);

    // 6 refused: a kill by another node than the one that spawned the port
    let address = format!("a={}", mesh.addr);
    let as_other = [
        "--identity",
        "other.pem",
        "--address",
        &address,
        "--timeout",
        "1",
    ];
    let mut kill = portmesh(mesh.path());
    kill.args(["kill", &print, "reason"]).args(as_other);
    let stderr = Ended::of(&mut kill).code(6).stderr;
    assert!(
        stderr.contains("does not take kills") && stderr.contains("other may not kill"),
        "{stderr}"
    );
    mesh.ask(&["kill", &print, "reason"]).code(0);
    mesh.ask(&["kill", &print]).code(3);
    // 6 refused: a node port; a message that no handler takes
    mesh.ask(&["kill", "a"]).code(6);
    mesh.ask(&["call", "a", "no such tag"]).code(6);
    // 6 refused: another CA
    let other = tempfile::tempdir().unwrap();
    Ended::of(portmesh_cert(other.path()).args(["ca", "init"])).code(0);
    Ended::of(portmesh_cert(other.path()).args(["issue", "admin"])).code(0);
    let refused = Ended::of(portmesh(other.path()).args([
        "ping",
        "a",
        "--identity",
        "admin.pem",
        "--address",
        &format!("a={}", mesh.addr),
    ]))
    .code(6);
    assert!(refused.stdout.is_empty());

    // 7 the port died: its init function does not take the argument
    mesh.ask(&["spawn", "a", "print", "1", "--wait"]).code(7);

    // 8 configuration
    Ended::of(portmesh(mesh.path()).args(["run", "--id", "x"])).code(8);
    Ended::of(portmesh(mesh.path()).args(["run", "--identity", "no-such.pem"])).code(8);
    mesh.ask(&["ping", "a", "--id", "somebody"]).code(8);
    Ended::of(portmesh(mesh.path()).args(["run", "--identity", "a.pem", "--listen", ":4040"]))
        .code(8);
}

#[test]
fn a_node_says_where_others_find_it() {
    let mesh = Mesh::with_certificates();
    let cases: &[(&[&str], Json, bool)] = &[
        (&[], Json::Null, true),
        (
            &["--advertise", "a.example.net"],
            json!(["a.example.net:4040"]),
            true,
        ),
        (
            &["--advertise", "[::1]:7", "--global=false"],
            json!(["[::1]:7"]),
            false,
        ),
        (&["--seed", &mesh.addr], Json::Null, false),
        (&["--seed", &mesh.addr, "--global"], Json::Null, true),
    ];
    for (args, advertised, global) in cases {
        let node = Running::start(
            portmesh(mesh.path())
                .args([
                    "--json",
                    "run",
                    "--identity",
                    "other.pem",
                    "--listen",
                    "127.0.0.1:*",
                ])
                .args(*args),
        );
        let ready: Json = serde_json::from_str(&node.line(&["\"ready\""])).unwrap();
        let told = if advertised.is_null() {
            &ready["listen"]
        } else {
            advertised
        };
        assert_eq!(
            (&ready["advertised"], &ready["global"]),
            (told, &json!(global)),
            "{args:?}"
        );
    }
    let refused = [
        ("--seed", "*:4040", "every address of a host"),
        ("--advertise", "a:*", "not known beforehand"),
        ("--listen", "::1:4040", "in brackets"),
        ("--address", "b=:4040", "host is missing"),
    ];
    for (flag, addr, reason) in refused {
        let args = [
            "run",
            "--identity",
            "a.pem",
            "--listen",
            "127.0.0.1:*",
            flag,
            addr,
        ];
        let ended = Ended::of(portmesh(mesh.path()).args(args));
        assert!(ended.code(8).stderr.contains(reason), "{flag} {addr}");
    }
}

#[test]
fn errors_are_json_too_and_quiet_is_quiet() {
    let mesh = Mesh::with_certificates();
    let failed = mesh
        .ask(&["--json", "--quiet", "send", "a#nobody", "x"])
        .code(3);
    assert_eq!(failed.stdout, "");
    let error: Json = serde_json::from_str(failed.stderr.trim()).unwrap();
    assert_eq!(error["exit"], 3);
    assert!(error["error"].as_str().unwrap().contains("a#nobody"));
    let quiet = mesh.ask(&["--quiet", "ping", "a"]).code(0);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn a_secret_comes_from_a_file_the_environment_or_the_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    let gen_ = |out: &str| Ended::of(portmesh(dir.path()).args(["secret", "gen", "--out", out]));
    gen_("mesh.secret").code(0);
    gen_("mesh.secret").code(8); // never overwritten by mistake
    gen_("other.secret").code(0);
    let secret = fs::read_to_string(dir.path().join("mesh.secret")).unwrap();
    let printed = Ended::of(portmesh(dir.path()).args(["--json", "secret", "gen"])).code(0);
    let printed = printed.json()[0]["secret"].as_str().unwrap().to_string();
    assert!(printed.starts_with("pms1_") && printed != secret.trim());

    let run = [
        "--json",
        "run",
        "--id",
        "a",
        "--listen",
        "127.0.0.1:0",
        "--state",
        "state-a",
    ];
    // a fixed name without a place for its key is refused, with the remedy
    let refused = Ended::of(
        portmesh(dir.path())
            .args(&run[..6])
            .args(["--secret-file", "mesh.secret"]),
    );
    assert!(refused.code(8).stderr.contains("state"));
    let a = Running::start(
        portmesh(dir.path())
            .args(run)
            .args(["--secret-file", "mesh.secret"]),
    );
    let addr = a.ready();
    let ping = ["--json", "ping", "a", "--seed", &addr];

    let by_file = Ended::of(
        portmesh(dir.path())
            .args(ping)
            .args(["--secret-file", "mesh.secret"]),
    );
    assert_eq!(by_file.code(0).json()[0]["mode"], "secret");
    let by_env = Ended::of(
        portmesh(dir.path())
            .args(ping)
            .env("PORTMESH_SECRET", secret.trim()),
    );
    by_env.code(0);
    let mut by_stdin = portmesh(dir.path());
    by_stdin.args(ping).args(["--secret-file", "-"]);
    Ended::with_stdin(&mut by_stdin, &secret).code(0);

    let wrong = Ended::of(
        portmesh(dir.path())
            .args(ping)
            .args(["--secret-file", "other.secret"]),
    );
    wrong.code(6);
    a.error_line(&["127.0.0.1", "secret"]);
    let broken = Ended::of(
        portmesh(dir.path())
            .args(ping)
            .env("PORTMESH_SECRET", "hunter2"),
    );
    let broken = broken.code(8);
    assert!(!broken.stderr.contains("hunter2"));
}

#[cfg(unix)]
#[test]
fn files_that_others_can_read_are_refused_with_the_remedy() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    Ended::of(portmesh(dir.path()).args(["secret", "gen", "--out", "mesh.secret"])).code(0);
    let path = dir.path().join("mesh.secret");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let args = ["run", "--id", "a/%u", "--secret-file", "mesh.secret"];
    let refused = Ended::of(portmesh(dir.path()).args(args)).code(8);
    assert!(refused.stderr.contains("chmod"), "{}", refused.stderr);
}

#[test]
fn certificates_are_made_inspected_and_never_overwritten_by_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let cert = |args: &[&str]| Ended::of(portmesh_cert(dir.path()).args(args));
    cert(&["issue", "a"]).code(8); // no CA yet
    cert(&[
        "ca",
        "init",
        "--cluster",
        "shop",
        "--dir",
        "the-ca",
        "--key",
        "p256",
    ])
    .code(0);
    cert(&["ca", "init", "--cluster", "shop", "--dir", "the-ca"]).code(8);
    let issue = ["--json", "issue", "eu/a", "--dir", "the-ca", "--days", "10"];
    let issued = cert(&issue).code(0).json();
    assert_eq!(issued[0]["node"], "eu/a");
    assert_eq!(
        (&issued[0]["file"], &issued[0]["cluster"]),
        (&json!("a.pem"), &json!("shop"))
    );
    cert(&issue).code(8);
    cert(&["issue", "not a node", "--dir", "the-ca"]).code(2);
    let inspected = cert(&["--json", "inspect", "a.pem"]).code(0).json();
    let inspected = inspected.iter().find(|i| i["kind"] == "certificate");
    let inspected = inspected.unwrap();
    assert_eq!(inspected["node"], "eu/a");
    let days = inspected["valid_days"].as_f64().unwrap();
    assert!((9.8..=10.1).contains(&days), "{days}");
    fs::write(dir.path().join("b.pem"), "not a certificate").unwrap();
    cert(&["inspect", "b.pem"]).code(8);
}

#[test]
fn help_names_exit_codes_and_aliases() {
    let dir = tempfile::tempdir().unwrap();
    let help = Ended::of(portmesh(dir.path()).arg("--help")).code(0).stdout;
    for needed in [
        "Exit codes",
        "snd",
        "cal",
        "mon",
        "kil",
        "NO_COLOR",
        "List the nodes of the mesh",
        "Print the links of a node",
        "the database of the mesh",
    ] {
        assert!(help.contains(needed), "{needed} is missing in:\n{help}");
    }
    assert!(!help.contains("demo-node"));
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let codes = help.lines().filter_map(|line| {
        let (code, text) = line.trim().split_once("  ")?;
        Some((code.parse::<u8>().ok()?, text))
    });
    let mut number = 0;
    for (code, text) in codes {
        number += 1;
        let row = format!("| {code} | {text} |");
        assert!(readme.contains(&row), "README.md has no row {row}");
    }
    assert_eq!(number, 9);
}
