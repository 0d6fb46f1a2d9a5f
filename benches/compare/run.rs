//! Programs that are run to their end, within a limit, and their lines.

use std::{
    io::Read,
    process::{Child, Command, Stdio},
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

use serde_json::Value as Json;

use super::judge;

/// No run of a program takes longer, or it has failed.
const RUN_MAX: Duration = Duration::from_secs(150);
/// How long it may take to clean up then.
const GRACE: Duration = Duration::from_secs(5);

/// Runs it and reads its lines; says what went wrong where something did.
pub(crate) fn run(program: &[String], args: &[String]) -> Result<Vec<Json>, String> {
    let (name, first) = program.split_first().ok_or("there is no command")?;
    let mut child = Command::new(name)
        .args(first)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{name} does not start: {error}"))?;
    let stdout = child.stdout.take().map(read);
    let stderr = child.stderr.take().map(read);
    let status = wait(&mut child)?;
    let text = |reader: Option<JoinHandle<String>>| {
        reader
            .and_then(|reader| reader.join().ok())
            .unwrap_or_default()
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    if !status.success() {
        let last = stderr.lines().last().unwrap_or_default();
        return Err(format!(
            "{name} {} ended with {status}: {last}",
            args.join(" ")
        ));
    }
    Ok(judge::lines(&stdout))
}

fn read(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child) -> Result<std::process::ExitStatus, String> {
    let began = Instant::now();
    let mut told = false;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if !told => return Ok(status),
            Ok(Some(_)) => return Err(format!("it took more than {} s", RUN_MAX.as_secs())),
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
        if began.elapsed() > RUN_MAX && !told {
            told = true;
            // in order first: it may have started others
            let _ = Command::new("kill").arg(child.id().to_string()).status();
        }
        if began.elapsed() > RUN_MAX + GRACE {
            let _ = child.kill();
        }
        sleep(Duration::from_millis(20));
    }
}
