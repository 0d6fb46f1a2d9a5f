//! Further processes of this program: started, spoken to, killed and cleaned up; and a directory for them.

use std::{path::Path, process::Stdio, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, Command},
    time::timeout,
};

use crate::{
    NodeId,
    cli::exit::{Exit, Failure, OrExit, Outcome},
};

const READY_WITHIN: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// The line by which a child says that it runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) node: NodeId,
    /// Where it can be dialled.
    pub(crate) addrs: Vec<String>,
}

/// Such a process. Killed when dropped; ends by itself when its standard input ends, so that it never
/// outlives this process, however that dies.
pub(crate) struct Process {
    pub(crate) node: NodeId,
    /// Where it can be dialled.
    pub(crate) addr: String,
    pub(crate) pid: u32,
    child: Child,
    stdin: Option<ChildStdin>,
}

/// Sends the signal, and the opposite one when its standard input ends: however this process ends, the other one goes on, and
/// ends with it.
const SUSPEND: &str = "kill -STOP \"$0\" && echo suspended && read -r _; kill -CONT \"$0\"";

/// A process stands still as long as there is this.
pub(crate) struct Suspended {
    _until: Option<ChildStdin>,
}

fn spawn(args: &[String]) -> Outcome<Child> {
    let program = std::env::current_exe().or_exit_in(Exit::Failed, "finding this program")?;
    Command::new(program)
        .args(args)
        // the secret of another mesh, or its identity, is none of its business
        .env_remove("PORTMESH_SECRET")
        .env_remove("PORTMESH_ID")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .or_exit_in(Exit::Failed, "starting a process")
}

/// What this program prints when it is started again with these arguments, and ends by itself.
pub(crate) async fn told(args: &[String]) -> Outcome<String> {
    let mut child = spawn(args)?;
    // it would end with its standard input
    let stdin = child.stdin.take();
    let output = child.wait_with_output().await?;
    drop(stdin);
    if !output.status.success() {
        let text = format!("a process of this program ended with {}", output.status);
        return Err(Failure::new(Exit::Failed, text));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Process {
    /// Starts this program again with these arguments, and waits until it is ready.
    pub(crate) async fn start(args: &[String]) -> Outcome<Process> {
        let mut child = spawn(args)?;
        let (Some(stdin), Some(stdout), Some(pid)) =
            (child.stdin.take(), child.stdout.take(), child.id())
        else {
            return Err(Failure::new(Exit::Failed, "the new process ended at once"));
        };
        let mut line = String::new();
        let mut lines = BufReader::new(stdout);
        timeout(READY_WITHIN, lines.read_line(&mut line))
            .await
            .or_exit_in(Exit::Failed, "waiting for a process to be ready")??;
        let ready: Ready =
            serde_json::from_str(&line).or_exit_in(Exit::Failed, "a process did not start")?;
        let Some(addr) = ready.addrs.into_iter().next() else {
            return Err(Failure::new(Exit::Failed, "a process does not listen"));
        };
        Ok(Process {
            node: ready.node,
            addr,
            pid,
            child,
            stdin: Some(stdin),
        })
    }

    /// SIGKILL, or what the system has in its place. Returns at once.
    pub(crate) fn kill(&mut self) -> Outcome {
        self.child
            .start_kill()
            .or_exit_in(Exit::Failed, "killing a process")
    }

    /// SIGSTOP: it stands still, and its connections stay, until what comes back is dropped, or this process ends.
    pub(crate) async fn suspend(&self) -> Outcome<Suspended> {
        let mut child = Command::new("sh")
            .args(["-c", SUSPEND, &self.pid.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .or_exit_in(Exit::Failed, "starting `sh` to suspend a process")?;
        let stdin = child.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let told = BufReader::new(stdout).read_line(&mut line).await;
            told.or_exit_in(Exit::Failed, "suspending a process")?;
        }
        match line.trim_end() {
            "suspended" => Ok(Suspended { _until: stdin }),
            _ => Err(Failure::new(
                Exit::Failed,
                "a process was not suspended: `kill -STOP` failed",
            )),
        }
    }

    /// Waits for the end of a killed process, and says whether it was the kill that ended it.
    pub(crate) async fn was_killed(&mut self) -> Outcome<bool> {
        let status = self.ended().await?;
        #[cfg(unix)]
        {
            Ok(std::os::unix::process::ExitStatusExt::signal(&status) == Some(9))
        }
        #[cfg(not(unix))]
        {
            Ok(!status.success())
        }
    }

    /// Asks it to stop in order, and says whether it did.
    pub(crate) async fn stop(&mut self) -> Outcome<bool> {
        drop(self.stdin.take());
        Ok(self.ended().await?.success())
    }

    async fn ended(&mut self) -> Outcome<std::process::ExitStatus> {
        let status = timeout(STOP_WITHIN, self.child.wait()).await;
        Ok(status.or_exit_in(Exit::Failed, "waiting for a process to end")??)
    }
}

/// A directory of this run, for its owner only, that goes with it.
pub(crate) struct TempDir(std::path::PathBuf);

impl TempDir {
    /// One whose name has `what` in it.
    pub(crate) fn new(what: &str) -> Outcome<TempDir> {
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        let name = format!("portmesh-{what}-{}-{nanos}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        // not recursive: a directory that somebody else has made is an error
        builder
            .create(&path)
            .or_exit_in(Exit::Failed, format!("making {}", path.display()))?;
        Ok(TempDir(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
