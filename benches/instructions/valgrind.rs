//! Runs this program again, under callgrind.

use std::process::{Command, Stdio};

/// glibc picks its `memcpy` and the like by the processor; without these it picks the same everywhere.
const PLAIN: &str = "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM,-RTM,\
                     -AVX_Fast_Unaligned_Load,-Prefer_No_VZEROUPPER";

pub(crate) fn is_here() -> bool {
    let mut asked = Command::new("valgrind");
    asked.arg("--version").stdout(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}

/// How many instructions the whole process executes for so many messages of a case.
pub(crate) fn count(case: &str, messages: u64, profile: bool) -> u64 {
    let me = std::env::current_exe().expect("this program has a path");
    let out = match profile {
        true => format!("target/callgrind.{case}.out"),
        false => "/dev/null".to_owned(),
    };
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--vgdb=no"])
        .arg(format!("--callgrind-out-file={out}"))
        .arg(me)
        .args(["run", case, &messages.to_string()])
        .env("GLIBC_TUNABLES", PLAIN)
        .stdin(Stdio::null())
        .output()
        .expect("valgrind starts");
    let text = String::from_utf8_lossy(&run.stderr);
    assert!(
        run.status.success(),
        "{case} failed under valgrind:\n{text}"
    );
    if profile {
        println!("{case}: callgrind_annotate {out} (of {messages} messages and what goes around)");
    }
    let line = text.lines().find_map(|line| line.split_once("Collected :"));
    let number = line.and_then(|(_, number)| number.trim().parse().ok());
    number.unwrap_or_else(|| panic!("callgrind counted nothing:\n{text}"))
}
