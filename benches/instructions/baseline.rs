//! The counts that are kept, and how new ones are judged by them.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use serde::{Deserialize, Serialize};

/// What a case may take more, in percent, unless the file says otherwise.
const TOLERANCE_PERCENT: f64 = 5.0;
const UPDATE: &str = "cargo bench --bench instructions -- --update";

/// What else decides how many instructions there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Toolchain {
    rustc: String,
    libc: String,
    target: String,
}

impl Toolchain {
    pub(crate) fn here() -> Self {
        Toolchain {
            rustc: said(Command::new("rustc").arg("--version")),
            libc: said(Command::new("getconf").arg("GNU_LIBC_VERSION")),
            target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        }
    }
}

fn said(command: &mut Command) -> String {
    match command.output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(_) => "unknown".to_owned(),
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    instructions: f64,
    tolerance_percent: f64,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    toolchain: Toolchain,
    cases: BTreeMap<String, Kept>,
}

/// The file, where there is one.
pub(crate) struct Baseline(Option<File>);

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.json")
}

impl Baseline {
    pub(crate) fn load() -> Self {
        let Ok(text) = std::fs::read_to_string(path()) else {
            return Baseline(None);
        };
        Baseline(Some(serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("benches/instructions.json: {error}; {UPDATE}")
        })))
    }

    /// Prints the counts beside those that are kept. `Err`: one takes more than it may.
    pub(crate) fn compare(&self, here: &Toolchain, counts: &[(&str, f64)]) -> Result<(), String> {
        let mut worse = Vec::new();
        let mut fewer = false;
        println!(
            "{:24} {:>12} {:>12} {:>8}",
            "instructions a message", "now", "kept", "change"
        );
        for (case, now) in counts {
            let kept = self.0.as_ref().and_then(|file| file.cases.get(*case));
            let Some(kept) = kept else {
                println!("{case:24} {now:12.1}");
                worse.push(format!("{case} is not in benches/instructions.json"));
                continue;
            };
            let change = (now / kept.instructions - 1.0) * 100.0;
            println!(
                "{case:24} {now:12.1} {:12.1} {change:+7.1}%",
                kept.instructions
            );
            if change > kept.tolerance_percent {
                worse.push(format!(
                    "{case} takes {now:.1} instructions a message, {change:.1} % more than the {:.1} that are kept; {} % more are allowed",
                    kept.instructions, kept.tolerance_percent
                ));
            }
            fewer |= change < -kept.tolerance_percent;
        }
        if fewer {
            println!("some take fewer than what is kept; to keep that: {UPDATE}");
        }
        match &self.0 {
            Some(file) if file.toolchain != *here => {
                println!(
                    "not judged: counted with {here:?}, kept for {:?}",
                    file.toolchain
                );
                Ok(())
            }
            _ if worse.is_empty() => Ok(()),
            _ => Err(format!(
                "{}\nA profile: cargo bench --bench instructions -- --profile CASE. Where it has to be so: {UPDATE}",
                worse.join("\n")
            )),
        }
    }

    /// Writes the counts into the file; cases that were not counted keep theirs.
    pub(crate) fn update(
        self,
        here: &Toolchain,
        counts: &[(&str, f64)],
        all: bool,
    ) -> Result<(), String> {
        let mut old = BTreeMap::new();
        if let Some(file) = self.0 {
            if file.toolchain != *here && !all {
                let text = "the file was written with another toolchain: update all cases at once";
                return Err(text.to_owned());
            }
            old = file.cases;
        }
        if all {
            old.retain(|case, _| counts.iter().any(|(name, _)| name == case));
        }
        for (case, now) in counts {
            let tolerance_percent = old
                .get(*case)
                .map_or(TOLERANCE_PERCENT, |kept| kept.tolerance_percent);
            let instructions = (now * 10.0).round() / 10.0;
            println!("{case:24} {instructions:12.1}");
            let kept = Kept {
                instructions,
                tolerance_percent,
            };
            old.insert((*case).to_owned(), kept);
        }
        let file = File {
            toolchain: here.clone(),
            cases: old,
        };
        let text = serde_json::to_string_pretty(&file).map_err(|error| error.to_string())?;
        std::fs::write(path(), text + "\n").map_err(|error| error.to_string())
    }
}
