//! A node in a process of its own: this test binary once more, told what to do by lines on its standard input.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use portmesh::{DbEvent, Identity, Limits, Node, PortId, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tokio::io::AsyncBufReadExt;

/// More than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const VARIABLE: &str = "PORTMESH_TEST_DB_CHILD";
/// What begins the lines that are for the test.
const MARK: &str = "@@";

/// What a node is made from.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) secret: String,
    /// A PEM file instead of the secret.
    pub(crate) identity: Option<String>,
    pub(crate) global: bool,
    pub(crate) advertise: Vec<String>,
    pub(crate) seeds: Vec<String>,
    pub(crate) link_timeout_ms: u64,
    pub(crate) grace_ms: u64,
}

/// A node in a process. Killed when dropped.
pub(crate) struct Process {
    pub(crate) name: String,
    child: Child,
    stdin: Mutex<ChildStdin>,
    lines: Arc<(Mutex<Vec<Json>>, Condvar)>,
    asked: Mutex<u64>,
}

impl Process {
    pub(crate) fn start(plan: &Plan) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "db::child::child",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(VARIABLE, serde_json::to_string(plan).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines: Arc<(Mutex<Vec<Json>>, Condvar)> = Arc::default();
        let (to, from) = (lines.clone(), child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                // the harness may have begun the line
                if let Some((_, line)) = line.split_once(MARK) {
                    to.0.lock()
                        .unwrap()
                        .push(serde_json::from_str(line).unwrap());
                    to.1.notify_all();
                }
            }
        });
        Process {
            name: plan.name.clone(),
            stdin: Mutex::new(child.stdin.take().unwrap()),
            child,
            lines,
            asked: Mutex::new(0),
        }
    }

    /// The first line of which this says something.
    #[track_caller]
    pub(crate) fn find<T>(&self, what: &str, look: impl Fn(&Json) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines.0.lock().unwrap();
        loop {
            if let Some(found) = lines.iter().find_map(&look) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{} never says {what}: {lines:#?}",
                self.name
            );
            lines = self.lines.1.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Where it listens, when it does.
    #[track_caller]
    pub(crate) fn listens(&self) -> String {
        self.find("where it listens", |line| {
            line["listens"].as_str().map(str::to_owned)
        })
    }

    /// Has something done and answered.
    #[track_caller]
    pub(crate) fn ask(&self, what: Json) -> Json {
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        let id = *asked;
        drop(asked);
        writeln!(self.stdin.lock().unwrap(), "{}", json!([id, what])).unwrap();
        self.find(&what.to_string(), |line| {
            (line["re"] == id).then(|| line["is"].clone())
        })
    }

    pub(crate) fn set(&self, key: &str, value: u64) {
        assert_eq!(self.ask(json!(["set", "f", key, value])), true);
    }

    /// Keys and values of the family, as this node sees it.
    pub(crate) fn view(&self) -> Json {
        self.ask(json!(["view", "f"]))
    }

    pub(crate) fn home(&self) -> Json {
        self.ask(json!(["home"]))
    }

    /// What was told of the family since that number: its changes.
    pub(crate) fn changes(&self) -> Vec<String> {
        let lines = self.lines.0.lock().unwrap();
        let changes = lines.iter().filter_map(|line| line["change"].as_str());
        changes.map(str::to_owned).collect()
    }

    #[track_caller]
    pub(crate) fn until_change(&self, wanted: &str) {
        self.find(wanted, |line| (line["change"] == wanted).then_some(()));
    }

    /// Asks again until it is so.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, is: impl Fn(&Process) -> bool) {
        until(&format!("{}: {what}", self.name), || is(self));
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again until it is so.
#[track_caller]
pub(crate) fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

// --- the process ---

fn say(line: &Json) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{MARK}{line}").and_then(|()| out.flush());
}

async fn start(plan: Plan) -> Node {
    let mut builder = Node::builder(&plan.name)
        .limits(Limits {
            link_timeout: Duration::from_millis(plan.link_timeout_ms),
            db_grace: Duration::from_millis(plan.grace_ms),
            unauthenticated_per_address_max: 64,
            ..Limits::default()
        })
        .listen("127.0.0.1:0")
        .global(plan.global)
        .trust_global("g*".parse().unwrap());
    builder = match &plan.identity {
        Some(path) => builder.identity(Identity::from_pem_file(path).unwrap()),
        None => builder
            .secret(plan.secret.parse::<Secret>().unwrap())
            .unpinned(),
    };
    for addr in plan.advertise {
        builder = builder.advertise(addr);
    }
    for addr in plan.seeds {
        builder = builder.seed(addr);
    }
    builder.start().await.unwrap()
}

fn follow(node: &Node, family: &str) {
    let mut watch = node.db().watch(family).unwrap();
    tokio::spawn(async move {
        while let Some(event) = watch.next().await {
            let text = match event {
                DbEvent::Added { key, value } => format!("+{key}={}", value.value()),
                DbEvent::Changed { key, value } => format!("~{key}={}", value.value()),
                DbEvent::Deleted { key } => format!("-{key}"),
                DbEvent::Synced => "synced".to_owned(),
                other => format!("{other:?}"),
            };
            say(&json!({"change": text}));
        }
    });
}

async fn act(node: &Node, ports: &mut HashMap<String, PortId>, what: &Json) -> Json {
    let db = node.db();
    let text = |n: usize| what[n].as_str().unwrap_or_default();
    match text(0) {
        "set" => {
            let set = db.set(text(1), text(2), &what[3].as_u64());
            set.map(portmesh::Entry::detach).is_ok().into()
        }
        "remove" => db.remove(text(1), [text(2)]).unwrap().into(),
        "view" => match db.family(text(1)).await {
            Ok(family) => family
                .into_iter()
                .map(|(key, value)| (key, json!(value.value().to_string())))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Err(error) => error.to_string().into(),
        },
        "home" => db.home().map(|home| home.to_string()).into(),
        "links" => node.links().iter().map(|l| l.node.to_string()).collect(),
        "digest" => {
            let sum = db.summary().unwrap();
            json!([sum.digest, sum.owners, sum.entries])
        }
        "watch" => {
            follow(node, text(1));
            true.into()
        }
        "register" => {
            let port = node.port().open();
            db.register(text(1), port.id()).unwrap().detach();
            let id = port.id().to_string();
            ports.insert(id.clone(), port.id().clone());
            id.into()
        }
        "kill" => {
            let port = ports.remove(text(1)).unwrap();
            node.kill(&port, ("die", "of a test")).is_ok().into()
        }
        other => panic!("{other}"),
    }
}

/// The process; nothing where no test started it.
#[test]
fn child() {
    let Ok(plan) = std::env::var(VARIABLE) else {
        return;
    };
    let plan: Plan = serde_json::from_str(&plan).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let node = start(plan).await;
        say(&json!({"listens": node.listen_addrs()[0]}));
        let mut ports = HashMap::new();
        let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
        // the end of what it is told is the end of its parent
        while let Ok(Some(line)) = lines.next_line().await {
            let line: Json = serde_json::from_str(&line).unwrap();
            let is = act(&node, &mut ports, &line[1]).await;
            say(&json!({"re": line[0], "is": is}));
        }
    });
    std::process::exit(0);
}
