//! What is counted: the given files, or the project's own texts from the disk, or else those built into the program.

use std::path::{Path, PathBuf};

use crate::cli::exit::{Exit, OrExit, Outcome};

/// The project's own texts.
const OWN: &[(&str, &str)] = &[
    ("README.md", include_str!("../../../../README.md")),
    ("SECURITY.md", include_str!("../../../../SECURITY.md")),
    (
        "src/manual/contract.md",
        include_str!("../../../manual/contract.md"),
    ),
    (
        "src/manual/architecture.md",
        include_str!("../../../manual/architecture.md"),
    ),
    (
        "src/manual/threats.md",
        include_str!("../../../manual/threats.md"),
    ),
    (
        "src/manual/defaults.md",
        include_str!("../../../manual/defaults.md"),
    ),
    (
        "src/manual/glossary.md",
        include_str!("../../../manual/glossary.md"),
    ),
];

/// The lines to count and where they are from, for people.
pub(super) struct Texts {
    pub(super) lines: Vec<String>,
    pub(super) source: String,
}

/// Reads the files; without any, the project's own texts.
pub(super) fn read(files: &[PathBuf]) -> Outcome<Texts> {
    let mut lines = Vec::new();
    if files.is_empty() {
        let built_in = !OWN.iter().all(|(path, _)| Path::new(path).is_file());
        for (path, text) in OWN {
            let text = if built_in {
                (*text).to_string()
            } else {
                read_file(Path::new(path))?
            };
            lines.extend(text.lines().map(ToString::to_string));
        }
        let place = if built_in {
            "as they were built in (they are not in this directory)"
        } else {
            "from this directory"
        };
        return Ok(Texts {
            lines,
            source: format!("the project's own {} texts, {place}", OWN.len()),
        });
    }
    for file in files {
        lines.extend(read_file(file)?.lines().map(ToString::to_string));
    }
    let names: Vec<_> = files.iter().map(|f| f.display().to_string()).collect();
    Ok(Texts {
        lines,
        source: names.join(", "),
    })
}

fn read_file(path: &Path) -> Outcome<String> {
    let bytes =
        std::fs::read(path).or_exit_in(Exit::Config, format!("reading {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
