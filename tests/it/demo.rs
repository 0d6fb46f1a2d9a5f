//! The demo as a user runs it, in both modes and both formats; and what a recording of all its links shows.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value as Json;

use crate::recorder::{Recorder, Records, find};

fn demo(args: &[&str]) -> (Option<i32>, Vec<Json>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_portmesh"))
        .args(["--json", "demo"])
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), lines.collect(), stderr)
}

fn events<'a>(story: &'a [Json], name: &str) -> Vec<&'a Json> {
    story.iter().filter(|line| line["event"] == name).collect()
}

/// Runs it, and checks that what it tells is the whole story.
fn demo_tells_the_whole_story(args: &[&str], mode: &str, format: &str) -> Vec<Json> {
    let (code, story, stderr) = demo(args);
    let told = || {
        let lines: Vec<_> = story.iter().map(Json::to_string).collect();
        format!("{}\n{stderr}", lines.join("\n"))
    };
    assert_eq!(code, Some(0), "{}", told());
    assert_eq!(events(&story, "process").len(), 4, "{}", told());
    let links = events(&story, "link");
    let nodes: BTreeSet<_> = links.iter().map(|l| l["node"].as_str().unwrap()).collect();
    assert_eq!(nodes.len(), 4, "{}", told());
    for link in links {
        assert_eq!(link["mode"], mode);
        assert_eq!(link["format"], format);
        let security = link["security"].as_str().unwrap();
        assert!(security.starts_with("TLS1.3"), "{security}");
        assert!(!link["proof"].as_str().unwrap().is_empty());
    }
    let found = events(&story, "find");
    assert!(
        found.len() == 3 && found.iter().all(|f| f["family"] == "demo:workers"),
        "{}",
        told()
    );
    assert_eq!(events(&story, "spawn").len(), 3, "{}", told());
    let [kill] = events(&story, "SIGKILL")[..] else {
        panic!("not one kill: {}", told());
    };
    assert!(kill["held"].as_u64() >= Some(1) && kill["begun"].as_u64() >= Some(1));
    // the port's monitor and the node's
    let monitors = events(&story, "monitor");
    assert_eq!(monitors.len(), 2, "{}", told());
    assert!(monitors.iter().all(|m| m["ms"].as_f64() < Some(5000.0)));
    let [left] = events(&story, "left")[..] else {
        panic!(
            "the killed worker did not leave the family, or others did: {}",
            told()
        );
    };
    assert_eq!(left["node"], kill["node"]);
    assert!(left["ms"].as_f64() < Some(5000.0));
    let [hand_on] = events(&story, "hand on")[..] else {
        panic!("nothing was handed on: {}", told());
    };
    assert!(!hand_on["begun"].as_array().unwrap().is_empty());
    let checks = events(&story, "check");
    assert!(checks.len() >= 10, "{}", told());
    assert!(checks.iter().all(|check| check["ok"] == true), "{}", told());
    assert_eq!(
        events(&story, "passed")[0]["checks"].as_u64(),
        Some(checks.len() as u64)
    );
    for process in events(&story, "process") {
        let pid = process["pid"].as_u64().unwrap();
        let left = format!("/proc/{pid}/exe");
        if let Ok(exe) = std::fs::read_link(left) {
            let own = std::path::Path::new(env!("CARGO_BIN_EXE_portmesh"));
            assert_ne!(exe, own, "process {pid} is left");
        }
    }
    story
}

#[test]
fn the_demo_holds_with_certificates_and_cbor() {
    let story = demo_tells_the_whole_story(&[], "certificate", "cbor");
    let texts = events(&story, "texts")[0]["source"].as_str().unwrap();
    assert!(texts.contains("from this directory"), "{texts}");
}

#[test]
fn the_demo_holds_with_certificates_and_json() {
    demo_tells_the_whole_story(&["--format", "json"], "certificate", "json");
}

#[test]
fn the_demo_holds_with_a_secret_and_cbor() {
    demo_tells_the_whole_story(&["--secret"], "secret", "cbor");
}

#[test]
fn the_demo_holds_with_a_secret_and_json() {
    demo_tells_the_whole_story(&["--secret", "--format", "json"], "secret", "json");
}

#[test]
fn the_demo_counts_given_files_down_to_one_word() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("one.txt");
    std::fs::write(&file, "Word").unwrap();
    let story = demo_tells_the_whole_story(&[file.to_str().unwrap()], "certificate", "cbor");
    let total = events(&story, "total")[0];
    assert_eq!(
        (&total["words"], &total["top"][0][0]),
        (&1.into(), &"word".into())
    );
    std::fs::write(&file, "").unwrap();
    assert_eq!(demo(&[file.to_str().unwrap()]).0, Some(8));
    assert_eq!(demo(&["no such file"]).0, Some(8));
}

/// A recording of a whole run shows nothing but TLS 1.3, and the ALPN name is its only clear text.
fn recording_shows_only_tls(args: &[&str], mode: &str, format: &str, alpn: &str) {
    let recorder = Recorder::start();
    let mut args = args.to_vec();
    args.extend(["--proxy", &recorder.control]);
    let story = demo_tells_the_whole_story(&args, mode, format);
    let words = events(&story, "total")[0]["words"].as_u64().unwrap();

    let recordings = recorder.recordings();
    // three workers to the seed, and the boss to all four
    assert!(recordings.len() >= 7, "only {} links", recordings.len());
    let mut secret = 0;
    for recording in &recordings {
        let to_server = recording.to_server.lock().unwrap();
        let to_client = recording.to_client.lock().unwrap();
        let (up, down) = (Records::read(&to_server), Records::read(&to_client));
        secret += up.encrypted() + down.encrypted();

        let hello = up.hello(1);
        let extension = |number: u16| {
            let mut found = hello.iter().filter(|(n, _)| *n == number);
            found.next().map(|(_, content)| content.as_slice())
        };
        assert_eq!(
            extension(43),
            Some(&[2, 3, 4][..]),
            "another TLS version is offered"
        );
        let mut alpn_list = vec![0, alpn.len() as u8 + 1, alpn.len() as u8];
        alpn_list.extend(alpn.bytes());
        assert_eq!(
            extension(16),
            Some(&alpn_list[..]),
            "another ALPN is offered"
        );
        assert_eq!(extension(0), None, "a server name is sent");
        assert_eq!(extension(41), None, "a session is resumed");
        assert_eq!(extension(42), None, "early data is sent");
        let answer = down.hello(2);
        assert!(
            answer.contains(&(43, vec![3, 4])),
            "another TLS version was chosen"
        );

        let (up_clear, down_clear) = (up.clear(), down.clear());
        let at = find(&up_clear, alpn).expect("the ALPN name");
        let mut rest = up_clear.clone();
        rest.drain(at..at + alpn.len());
        for clear in [&rest, &down_clear] {
            let version = env!("CARGO_PKG_VERSION");
            for word in [
                "portmesh", "demo", "cbor", "json", "worker", "boss", "spiffe", version,
            ] {
                assert_eq!(find(clear, word), None, "{word:?} is sent in clear");
            }
        }
        // nowhere at all, encrypted parts included: too long to be there by chance
        for all in [&to_server, &to_client] {
            for name in ["demo/seed", "demo/worker", "demo/boss", "demo.count"] {
                assert_eq!(find(all, name), None, "{name:?} is on the wire");
            }
        }
    }
    // the recording is not of something else: all words went through it
    assert!(
        secret as u64 > 2 * words,
        "only {secret} encrypted bytes for {words} words"
    );
}

#[test]
fn a_recording_with_certificates_shows_only_tls_1_3_and_the_alpn_name() {
    recording_shows_only_tls(&[], "certificate", "cbor", "portmesh-c/1");
}

#[test]
fn a_recording_with_a_secret_shows_only_tls_1_3_and_the_alpn_name() {
    recording_shows_only_tls(
        &["--secret", "--format", "json"],
        "secret",
        "json",
        "portmesh-s/1",
    );
}
