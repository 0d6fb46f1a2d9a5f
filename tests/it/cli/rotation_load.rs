//! Keys of a mesh of real processes are changed under a thousand calls a second: no call fails, no monitor fires, and in
//! the end every link is proved by what is new.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use portmesh::{CertificateAuthority, Death, Identity, Node, NodeId, PortId, Secret};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::process::{Running, portmesh};

const GENEROUS: Duration = Duration::from_secs(60);
const NODES: [&str; 3] = ["a", "b", "c"];
/// The node of this process, which calls the others.
const LOAD: &str = "load";
/// Calls a second to each node, three of which make a thousand.
const RATE: u64 = 334;

/// A mesh of three processes and this one, and the calls under way.
struct Mesh {
    dir: TempDir,
    nodes: Vec<Running>,
    load: Node,
    deaths: Vec<Death>,
    calls: Vec<JoinHandle<()>>,
    made: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    /// All links were up by then.
    since: Instant,
}

fn id(node: &str) -> NodeId {
    node.parse().unwrap()
}

/// Writes a file as it should be written: aside, then moved to its place.
fn put(path: &Path, text: &str) {
    let aside = path.with_extension("new");
    fs::write(&aside, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::rename(aside, path).unwrap();
}

impl Mesh {
    /// `flags` of a node's own, and the builder of the one here.
    async fn new(
        dir: TempDir,
        flags: impl Fn(&str) -> Vec<String>,
        load: portmesh::NodeBuilder,
    ) -> Mesh {
        let mut nodes: Vec<Running> = Vec::new();
        let mut seed: Option<String> = None;
        for node in NODES {
            let mut command = portmesh(dir.path());
            command.args(["--json", "run", "--listen", "127.0.0.1:0"]);
            command.args(flags(node));
            if let Some(seed) = &seed {
                command.args(["--seed", seed]);
            }
            let running = Running::start(&mut command);
            let addr = running.ready();
            seed.get_or_insert(addr);
            nodes.push(running);
        }
        let load = load.seed(seed.unwrap()).start().await.unwrap();
        let mut mesh = Mesh {
            dir,
            nodes,
            load,
            deaths: Vec::new(),
            calls: Vec::new(),
            made: Arc::default(),
            done: Arc::default(),
            since: Instant::now(),
        };
        for node in NODES {
            let port = mesh.spawned(node).await;
            mesh.deaths.push(mesh.load.monitor(&port).death());
            mesh.call(port);
        }
        mesh.since = Instant::now();
        mesh
    }

    /// A port on that node which answers.
    async fn spawned(&self, node: &str) -> PortId {
        let end = Instant::now() + GENEROUS;
        loop {
            let port = self.load.spawn(id(node), "echo", ()).unwrap();
            let call = self.load.call::<(String,)>(&port, ("hello",));
            match call.within(Duration::from_secs(5)).await {
                Ok(_) => return port,
                // it is found as soon as it has a home
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
        }
    }

    fn call(&mut self, port: PortId) {
        let (load, made, done) = (self.load.clone(), self.made.clone(), self.done.clone());
        self.calls.push(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / RATE));
            while !done.load(Ordering::Relaxed) {
                ticks.tick().await;
                let n = made.fetch_add(1, Ordering::Relaxed);
                let call = load.call::<(u64,)>(&port, (n,)).within(GENEROUS);
                assert_eq!(call.await.expect("no call fails"), (n,));
            }
        }));
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Lets every node reread its file, and waits until it has.
    fn reload(&self) {
        for node in &self.nodes {
            node.send_signal("HUP");
        }
        for node in &self.nodes {
            node.line(&["\"reread\""]);
        }
        self.load.reload().unwrap();
    }

    /// Waits until each end of every link sees the other proved by what `proof` says of it.
    async fn until(&self, what: &str, proof: impl Fn(&str) -> String) {
        let end = Instant::now() + GENEROUS;
        loop {
            let mut links = Vec::new();
            for node in NODES {
                let report = self.load.report(&id(node), GENEROUS).await.unwrap();
                assert!(!report.links.is_empty());
                links.extend(report.links);
            }
            links.extend(self.load.links());
            let old: Vec<_> = links
                .iter()
                .filter(|link| !link.proof.contains(&proof(link.node.as_str())))
                .collect();
            if old.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "{what}: {old:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn end(mut self) {
        let before = self.made.load(Ordering::Relaxed);
        let end = Instant::now() + GENEROUS;
        // and the calls go on after all of it
        while self.made.load(Ordering::Relaxed) < before + 1000 {
            assert!(Instant::now() < end);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.done.store(true, Ordering::Relaxed);
        for call in self.calls.drain(..) {
            call.await.unwrap();
        }
        for death in self.deaths.drain(..) {
            let fired = tokio::time::timeout(Duration::from_millis(1), death).await;
            assert!(fired.is_err(), "no monitor fires: {fired:?}");
        }
        for node in NODES {
            let up = self.since.elapsed();
            for link in self.load.report(&id(node), GENEROUS).await.unwrap().links {
                assert!(link.age >= up, "no link is lost: {node}: {link:?}");
            }
        }
        assert_eq!(self.load.stats().mesh.links_down, 0);
        assert_eq!(self.load.stats().mesh.unproven, 0);
        self.load.shutdown(Duration::ZERO).await;
    }
}

/// All nodes with certificates of one CA, which trust the others too: the text of each file, and its serial number.
fn certified(
    issuer: &CertificateAuthority,
    trusted: &[&CertificateAuthority],
) -> Vec<(String, String, String)> {
    let all = NODES.iter().chain([&LOAD]);
    all.map(|node| {
        let mut text = issuer.issue(&id(node)).unwrap().to_pem().to_string();
        for ca in trusted {
            text += &ca.certificate_pem();
            text += ca.crl_pem();
        }
        let serial = Identity::from_pem(&text).unwrap().serial().to_owned();
        ((*node).to_owned(), text, serial)
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_and_the_ca_is_rolled_over_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let [old, new] = [0; 2].map(|_| CertificateAuthority::create("shop").unwrap());
    let file = |node: &str| dir.path().join(format!("{node}.pem"));
    let write = |all: &[(String, String, String)], dir: &Path| {
        for (node, text, _) in all {
            put(&dir.join(format!("{node}.pem")), text);
        }
    };
    write(&certified(&old, &[]), dir.path());
    let load = Node::builder(LOAD).identity_file(file(LOAD)).unwrap();
    let mesh = Mesh::new(
        dir,
        |node| vec!["--identity".into(), format!("{node}.pem")],
        load,
    )
    .await;
    for (step, all) in [
        ("renewed", certified(&old, &[])),
        ("both are trusted", certified(&old, &[&new])),
        ("the new CA's certificates", certified(&new, &[&old])),
        ("the new CA alone", certified(&new, &[])),
    ] {
        write(&all, mesh.dir.path());
        mesh.reload();
        mesh.until(step, |node| {
            let (.., serial) = all.iter().find(|(name, ..)| name == node).unwrap();
            format!("serial {serial},")
        })
        .await;
    }
    mesh.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_rotated_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let [old, new] = [0; 2].map(|_| Secret::generate().unwrap());
    let text = |secrets: &[&Secret]| -> String {
        secrets
            .iter()
            .map(|secret| secret.to_text().to_string() + "\n")
            .collect()
    };
    let path = dir.path().join("mesh.secret");
    put(&path, &text(&[&old]));
    let state = dir.path().join("load");
    let load = Node::builder(LOAD)
        .secret_file(&path, None)
        .unwrap()
        .state_dir(state);
    let flags = |node: &str| {
        [
            "--id",
            node,
            "--secret-file",
            "mesh.secret",
            "--state",
            node,
        ]
        .map(str::to_owned)
        .to_vec()
    };
    let mesh = Mesh::new(dir, flags, load).await;
    for (step, secrets, proved) in [
        ("both are accepted", vec![&old, &new], &old),
        ("the new one is used", vec![&new, &old], &new),
        ("the old one is gone", vec![&new], &new),
    ] {
        put(&mesh.path("mesh.secret"), &text(&secrets));
        mesh.reload();
        mesh.until(step, |_| format!("secret {},", proved.id()))
            .await;
    }
    // longer than the links of who has not proved a secret that is accepted would last
    let end = Instant::now() + Duration::from_secs(8);
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(mesh.calls.iter().all(|call| !call.is_finished()));
    }
    mesh.end().await;
}
