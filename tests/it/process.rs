//! Real executables as processes: run to their end, or running with their lines read as they come.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use serde_json::Value as Json;

/// Nothing that is waited for takes longer, or it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// `portmesh`, with an environment of its own.
pub(crate) fn portmesh(dir: &Path) -> Command {
    program(env!("CARGO_BIN_EXE_portmesh"), dir)
}

/// The passphrase of every CA that a test makes with [`portmesh_cert`].
pub(crate) const CA_PASSPHRASE: &str = "a passphrase for tests";

/// `portmesh-cert`, likewise, with a passphrase for its CA.
pub(crate) fn portmesh_cert(dir: &Path) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_portmesh-cert"), dir);
    command.env("PORTMESH_CA_PASSPHRASE", CA_PASSPHRASE);
    command
}

/// An example of this project. `cargo test` builds them beside the executables.
pub(crate) fn example(name: &str, dir: &Path) -> Command {
    let bin = PathBuf::from(env!("CARGO_BIN_EXE_portmesh"));
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let path = bin.with_file_name("examples").join(file);
    assert!(
        path.is_file(),
        "{} is not built: cargo build --examples",
        path.display()
    );
    program(path.to_str().unwrap(), dir)
}

fn program(path: &str, dir: &Path) -> Command {
    let mut command = Command::new(path);
    command.current_dir(dir).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PORTMESH_") {
            command.env_remove(name);
        }
    }
    // not that of who runs the tests
    #[cfg(unix)]
    command.env("PORTMESH_CONFIG", "/dev/null");
    command
}

/// Runs it to its end: exit code, the lines of the standard output as JSON where they are, both outputs as text.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::from(command.output().unwrap())
    }

    pub(crate) fn with_stdin(command: &mut Command, text: &str) -> Self {
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        Self::from(child.wait_with_output().unwrap())
    }

    fn from(output: Output) -> Self {
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Panics with both outputs where the exit code is another one.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }

    pub(crate) fn json(&self) -> Vec<Json> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// A process that runs. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running {
            stdout: lines(child.stdout.take().unwrap()),
            stderr: lines(child.stderr.take().unwrap()),
            child,
        }
    }

    /// The first line of the standard output that has all of these in it.
    #[track_caller]
    pub(crate) fn line(&self, needles: &[&str]) -> String {
        wait_for(&self.stdout, needles)
    }

    /// Likewise, of the standard error.
    #[track_caller]
    pub(crate) fn error_line(&self, needles: &[&str]) -> String {
        wait_for(&self.stderr, needles)
    }

    /// The line of `portmesh --json run` that says it is ready: where it listens.
    #[track_caller]
    pub(crate) fn ready(&self) -> String {
        let ready: Json = serde_json::from_str(&self.line(&["\"ready\""])).unwrap();
        ready["listen"][0].as_str().unwrap().to_string()
    }

    /// Sends a signal by its name, and waits for the end.
    #[cfg(unix)]
    #[track_caller]
    pub(crate) fn signal(&mut self, name: &str) -> Option<i32> {
        self.send_signal(name);
        self.child.wait().unwrap().code()
    }

    /// Sends a signal by its name.
    #[cfg(unix)]
    #[track_caller]
    pub(crate) fn send_signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (to, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

#[track_caller]
fn wait_for(lines: &Receiver<String>, needles: &[&str]) -> String {
    let mut seen = Vec::new();
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) if needles.iter().all(|needle| line.contains(needle)) => return line,
            Ok(line) => seen.push(line),
            Err(RecvTimeoutError::Timeout) => panic!("no line with {needles:?} in {seen:#?}"),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("the process ended without a line with {needles:?}: {seen:#?}")
            }
        }
    }
}
