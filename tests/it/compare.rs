//! What `cargo bench --bench compare` makes of lines: figures found, ratios, aims, and its table. Nothing is measured here.

#[path = "../../benches/compare/judge.rs"]
mod judge;
#[path = "../../benches/compare/plan/mod.rs"]
mod plan;
#[allow(dead_code)]
#[path = "../../benches/compare/raw/mod.rs"]
mod raw;
#[cfg(unix)]
#[path = "../../benches/compare/run.rs"]
mod run;
#[allow(dead_code)]
#[path = "../../benches/support/mod.rs"]
mod support;

use std::{collections::BTreeSet, time::Duration};

use clap::ValueEnum;
use judge::{Found, Rounds};
use plan::{Aim, KINDS, OWN, Ours, RAW, Theirs};

const SMALL: Ours = Ours {
    row: "small",
    format: "cbor",
    bench: "one_way_small",
    figure: "value",
};

fn theirs(says: &'static [(&'static str, &'static str)]) -> Theirs {
    Theirs {
        bench: "nodekill",
        says,
        figure: "last_DOWN_p50_ms",
        scale: 1000.0,
        cpu_scale: 0.5,
    }
}

fn found(value: f64, cpu: Option<f64>) -> Found {
    Found { value, cpu }
}

#[test]
fn a_figure_is_found_by_all_that_its_line_must_say() {
    let lines = judge::lines(
        "bench: remark\n\
         {\"bench\": \"nodekill\", \"monitors\": 1, \"last_DOWN_p50_ms\": 4.9}\n\
         17\n\
         {\"bench\": \"nodekill\", \"monitors\": 10000, \"last_DOWN_p50_ms\": 20.5, \"tx_cpu_ns\": 3, \"rx_cpu_ns\": 5}\n",
    );
    assert_eq!(lines.len(), 2);
    let one = judge::theirs(&lines, &theirs(&[("monitors", "1")]));
    assert_eq!(one, Ok(found(4900.0, None)));
    let many = judge::theirs(&lines, &theirs(&[("monitors", "10000")]));
    assert_eq!(many, Ok(found(20_500.0, Some(4.0))));
    let none = judge::theirs(&lines, &theirs(&[("monitors", "2")])).unwrap_err();
    assert!(none.contains("nodekill") && none.contains('2'), "{none}");
    assert!(judge::theirs(&lines, &theirs(&[("variant", "1")])).is_err());
}

#[test]
fn why_a_program_has_no_figure_is_said() {
    let note =
        r#"{"bench":"nodekill","value":null,"last_DOWN_p50_ms":null,"note":"not noticed in 5 s"}"#;
    let why = judge::theirs(&judge::lines(note), &theirs(&[])).unwrap_err();
    assert!(why.contains("not noticed in 5 s"), "{why}");
    // one that was given after all counts
    let both = format!("{note}\n{}", r#"{"bench":"nodekill","last_DOWN_p50_ms":2}"#);
    let value = judge::theirs(&judge::lines(&both), &theirs(&[]));
    assert_eq!(value, Ok(found(2000.0, None)));
    for bad in ["0", "-1", "\"5\"", "[1]"] {
        let line = format!(r#"{{"bench":"nodekill","last_DOWN_p50_ms":{bad}}}"#);
        assert!(
            judge::theirs(&judge::lines(&line), &theirs(&[])).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn portmesh_is_asked_for_its_format() {
    let lines = judge::lines(
        r#"{"bench":"one_way_small","format":"json","value":1}
           {"bench":"one_way_small","format":"cbor","value":2,"tx_cpu_ns":300,"rx_cpu_ns":400}
           {"bench":"idle_port","value":400}"#,
    );
    assert_eq!(judge::ours(&lines, &SMALL), Ok(found(2.0, Some(700.0))));
    let json = Ours {
        format: "json",
        ..SMALL
    };
    assert_eq!(judge::ours(&lines, &json), Ok(found(1.0, None)));
    // memory has none
    let idle = Ours {
        bench: "idle_port",
        row: "idle",
        ..SMALL
    };
    assert_eq!(judge::ours(&lines, &idle), Ok(found(400.0, None)));
    let missing = Ours {
        figure: "p99_us",
        ..SMALL
    };
    assert!(
        judge::ours(&lines, &missing)
            .unwrap_err()
            .contains("p99_us")
    );
    let absent = Ours {
        bench: "bulk_64k",
        ..SMALL
    };
    assert!(
        judge::ours(&lines, &absent)
            .unwrap_err()
            .contains("bulk_64k")
    );
}

#[test]
fn the_ratio_is_the_median_of_the_ratios_of_neighbours() {
    let mut rounds = Rounds::default();
    assert!(
        rounds
            .verdict(&SMALL, "zenoh", String::new(), Aim::None)
            .is_none()
    );
    // the machine is twice as slow in the second round, for both
    for (ours, theirs) in [(4.0, 2.0), (2.0, 1.0), (9.0, 3.0)] {
        let both = (found(ours, Some(100.0)), found(theirs, Some(400.0)));
        rounds.both.push(both);
    }
    let verdict = rounds.verdict(&SMALL, "zenoh", "pub_small".to_owned(), Aim::AtLeast(2.0));
    let verdict = verdict.unwrap();
    assert_eq!(verdict.ratio, (2.0, 2.0, 3.0));
    assert_eq!((verdict.ours, verdict.theirs), (4.0, 2.0));
    assert_eq!(verdict.cpu_ratio, Some(0.25));
    assert_eq!((verdict.rounds, verdict.reached()), (3, Some(true)));
    let json = verdict.json();
    assert_eq!(
        (&json["ratio"], &json["ratio_highest"]),
        (&2.0.into(), &3.0.into())
    );
    assert_eq!(
        (&json["aim"], &json["reached"]),
        (&"≥ 2".into(), &true.into())
    );
    assert_eq!(
        verdict.markdown(),
        "| one_way_small cbor | 4 msg/s | zenoh pub_small | 2 | **2** (2–3) | 0.25 | ≥ 2 | yes | 3 |"
    );
    assert_eq!(judge::HEAD.lines().next().unwrap().matches('|').count(), 10);
}

#[test]
fn an_aim_is_reached_at_its_edge_and_not_beyond() {
    for (aim, number, reached) in [
        (Aim::AtLeast(0.8), 0.8, Some(true)),
        (Aim::AtLeast(0.8), 0.79, Some(false)),
        (Aim::AtMost(0.7), 0.7, Some(true)),
        (Aim::AtMost(0.7), 0.71, Some(false)),
        (Aim::AtLeast(1.0), f64::NAN, Some(false)),
        (Aim::None, 0.0, None),
    ] {
        assert_eq!(aim.reached(number), reached, "{aim:?} {number}");
    }
}

#[test]
fn portmesh_by_itself_is_judged_by_its_figure() {
    let idle = Ours {
        bench: "idle_port",
        row: "idle",
        ..SMALL
    };
    let verdict = judge::own(&idle, &[500.0, 400.0, 600.0], Aim::AtMost(512.0)).unwrap();
    assert_eq!(
        (verdict.ratio, verdict.reached()),
        ((400.0, 500.0, 600.0), Some(true))
    );
    assert!(verdict.json().get("ratio").is_none());
    assert!(
        verdict
            .markdown()
            .starts_with("| idle_port | 500 bytes |  |  | (400–600) |")
    );
    assert!(judge::own(&idle, &[], Aim::None).is_none());
}

#[test]
fn numbers_are_short() {
    for (number, text) in [
        (0.8, "0.8"),
        (0.1234, "0.123"),
        (3.0, "3"),
        (1.256, "1.26"),
        (12.34, "12.3"),
        (100.0, "100"),
        (123.4, "123"),
        (1234.5, "1,234"),
        (9_876_543.2, "9,876,543"),
        (-1234.0, "-1,234"),
        (f64::NAN, "NaN"),
    ] {
        assert_eq!(judge::short(number), text);
    }
}

#[test]
fn every_program_that_is_known_is_compared_by_rows_that_there_are() {
    for ours in plan::all_ours() {
        let mut rows = crate::cli::bench::ROWS.iter();
        let (row, benches, _) = rows.find(|(row, ..)| *row == ours.row).unwrap();
        let known = benches.contains(&ours.bench);
        assert!(known, "row {row} prints no {}", ours.bench);
        assert!(["cbor", "json"].contains(&ours.format));
        assert!(ours.figure != "value" || !judge::unit(&ours).is_empty());
    }
    let kinds: BTreeSet<_> = plan::bouts().map(|bout| bout.kind).collect();
    let known = KINDS.into_iter().filter(|kind| *kind != "portmesh");
    assert_eq!(kinds, known.chain([RAW]).collect());
    for bout in plan::bouts() {
        assert!(!bout.pairs.is_empty() && !bout.args.is_empty());
        // what is run once only has nothing to reach
        let aims = bout.pairs.iter().any(|pair| pair.aim != Aim::None);
        assert!(!(bout.once && aims), "{} {:?}", bout.kind, bout.args);
    }
    assert!(OWN.iter().all(|(_, aim)| *aim != Aim::None));
}

#[test]
fn links_that_are_secured_otherwise_are_not_compared() {
    let lines = |modes: &[&str]| -> Vec<_> {
        let lines = modes.iter();
        lines
            .map(|mode| serde_json::json!({"mode": mode}))
            .collect()
    };
    let aes = "TLS1.3 TLS13_AES_256_GCM_SHA384";
    let portmesh = lines(&[&format!("{aes} cbor"), &format!("{aes} json"), "local"]);
    assert_eq!(judge::alike(&portmesh, &lines(&[aes])), Ok(()));
    for others in [
        &["TLS1.3 TLS13_AES_128_GCM_SHA256"][..],
        &[aes, "TLS1.3 TLS13_AES_128_GCM_SHA256 cbor"],
        &["local"],
        &[],
    ] {
        let why = judge::alike(&portmesh, &lines(others)).unwrap_err();
        assert!(why.contains(aes), "{why}");
    }
    assert!(judge::alike(&[], &[]).is_err());
}

/// Runs it here, the server on a thread of its own; without measuring anything worth keeping.
fn raw_lines(rows: &[raw::Row]) -> Vec<serde_json::Value> {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let [servers, clients] = raw::tls::mint().unwrap();
    let (tell, ports) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let (listeners, ports) = raw::listen().await.unwrap();
            tell.send(ports).unwrap();
            raw::server::serve(&servers, listeners).await.unwrap();
        });
    });
    let ports = ports.recv().unwrap();
    let mut lines = Vec::new();
    let time = Duration::from_millis(20);
    let pid = std::process::id();
    let work = raw::run(rows, time, &clients, &ports, pid, |line| lines.push(line));
    runtime().block_on(work).unwrap();
    lines
}

#[test]
fn the_raw_peer_gives_every_figure_that_portmesh_is_compared_by() {
    let mut bouts = 0;
    for bout in plan::bouts().filter(|bout| bout.kind == RAW) {
        let row = raw::Row::from_str(bout.args[0], false).unwrap();
        let lines = raw_lines(&[row]);
        assert_eq!(lines.len(), bout.pairs.len(), "{lines:?}");
        let mut taken = BTreeSet::new();
        for pair in bout.pairs {
            let found = judge::theirs(&lines, &pair.theirs).unwrap();
            let fits = lines
                .iter()
                .position(|line| judge::theirs(std::slice::from_ref(line), &pair.theirs).is_ok());
            assert!(taken.insert(fits), "two pairs take {found:?}");
            let unit = judge::unit(&pair.ours);
            let said = lines[fits.unwrap()]["unit"].as_str().unwrap();
            assert_eq!(said.replace("us_p50", "µs"), unit);
            // zero where so little was done
            if cfg!(target_os = "linux") {
                let line = &lines[fits.unwrap()];
                let cpu = ["tx_cpu_ns", "rx_cpu_ns"].map(|side| line[side].is_number());
                assert_eq!(cpu, [true, true], "{line}");
            }
        }
        bouts += 1;
    }
    assert_eq!(bouts, raw::Row::value_variants().len());
}

#[test]
fn the_raw_peer_has_the_suite_that_portmesh_has() {
    let lines = raw_lines(&[raw::Row::Rtt]);
    let dir = tempfile::tempdir().unwrap();
    let args = ["rtt", "--format", "cbor"];
    let portmesh = crate::cli::bench::bench(dir.path(), &args).code(0).json();
    assert_eq!(judge::alike(&portmesh, &lines), Ok(()));
}

#[cfg(unix)]
#[test]
fn a_program_that_fails_is_said_with_its_last_words() {
    let run = |script: &str| {
        let program = ["sh", "-c", script, "name"].map(str::to_owned);
        run::run(&program, &["--secs".to_owned(), "0.1".to_owned()])
    };
    // it gets its arguments, and what is no JSON is a remark
    let lines = run(r#"echo remark; echo "{\"said\":\"$*\"}""#).unwrap();
    assert_eq!(lines, [serde_json::json!({"said": "--secs 0.1"})]);
    let error = run(r#"echo '{"value":1}'; echo first >&2; echo no server >&2; exit 3"#);
    let error = error.unwrap_err();
    assert!(error.contains("status: 3: no server"), "{error}");
    let missing = run::run(&["no such program".to_owned()], &[]).unwrap_err();
    assert!(
        missing.contains("no such program does not start"),
        "{missing}"
    );
    assert!(run::run(&[], &[]).is_err());
}
