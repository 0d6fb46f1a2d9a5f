//! The rules of the house as tests: floors, lengths, first lines, places that must not be named, the contract's lines.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The lines of the contract that stand so far, each with at least one test that names it.
const CONTRACT: &[&str] = &[
    "P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10", "M1", "M2", "M3", "M4", "M5",
    "M6", "M7", "M8", "S1", "S2", "S3", "S4", "S5", "L1", "L2", "L3", "L4", "L5", "L6", "R1", "R2",
    "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10",
];

/// A floor and what its files may name: modules of the crate, by the beginning of their path.
const FLOORS: &[(&str, &[&str])] = &[
    ("proto", &["proto"]),
    ("runtime", &["runtime", "proto"]),
    ("transport", &["transport", "runtime::transport", "proto"]),
    ("api", &["api", "runtime", "transport", "proto"]),
    ("cli", &["cli", "api"]),
    ("bin", &["cli"]),
];

/// The order inside `proto`: a module may name those of the levels below its own, and itself. Two names in one entry
/// may name each other.
const PROTO: &[&[&[&str]]] = &[
    &[&["limits"], &["id"], &["close"], &["splitmix"]],
    &[&["naming"]],
    &[&["value"]],
    &[&["codec"]],
    &[&["message"]],
    &[&["policy"]],
    &[
        &["handshake"],
        &["link"],
        &["peers"],
        &["monitor"],
        &["ports"],
        &["db"],
        &["seeds"],
    ],
    &[&["node"]],
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files of the project below `dir`, as paths from the root, without what the build makes.
fn files(dir: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![root().join(dir)];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name == ".git" {
                continue; // a folder, or a file in a further working tree
            }
            if path.is_dir() {
                if !["target", "corpus", "artifacts"].contains(&name) {
                    todo.push(path);
                }
            } else {
                found.push(path.strip_prefix(root()).unwrap().to_path_buf());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no files below {dir}");
    found
}

fn rust_files(dirs: &[&str]) -> Vec<(PathBuf, String)> {
    dirs.iter()
        .filter(|dir| root().join(dir).is_dir())
        .flat_map(|dir| files(dir))
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| {
            let text = fs::read_to_string(root().join(&path)).unwrap();
            (path, text)
        })
        .collect()
}

/// Whether the whole file is for tests.
fn is_test_file(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| {
        let stem = stem.to_str().unwrap();
        stem == "tests" || stem.ends_with("_tests")
    }) || path.components().any(|c| c.as_os_str() == "tests")
}

/// The text up to its test module.
fn without_tests(text: &str) -> &str {
    let mut from = 0;
    while let Some(at) = text[from..].find("#[cfg(test)]\n").map(|at| at + from) {
        let after = &text[at + "#[cfg(test)]\n".len()..];
        let line_start = at == 0 || text.as_bytes()[at - 1] == b'\n';
        let module = after.lines().find(|line| !line.starts_with("#["));
        if line_start && module.is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
        {
            return &text[..at];
        }
        from = at + 1;
    }
    text
}

/// The text without comments and without what stands in quotes.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for line in text.lines() {
        let mut chars = line.char_indices().peekable();
        let mut quoted = false;
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' if quoted => _ = chars.next(),
                // a quote as a character of its own
                '"' if !quoted && line[..at].ends_with('\'') => {}
                '"' => quoted = !quoted,
                _ if quoted => {}
                '/' if line[at..].starts_with("//") => break,
                _ => code.push(c),
            }
        }
        code.push('\n');
    }
    code
}

/// Every path of this crate that the code names, from the crate's root: `proto::id::NodeId`.
fn paths_named(module: &[String], code: &str) -> BTreeSet<String> {
    let mut tokens = Vec::new();
    let mut chars = code.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c.is_alphanumeric() || c == '_' {
            let mut end = at + c.len_utf8();
            while let Some(&(next, c)) = chars.peek() {
                if !(c.is_alphanumeric() || c == '_') {
                    break;
                }
                end = next + c.len_utf8();
                chars.next();
            }
            tokens.push(&code[at..end]);
        } else if code[at..].starts_with("::") {
            chars.next();
            tokens.push("::");
        } else if !c.is_whitespace() {
            tokens.push(&code[at..at + c.len_utf8()]);
        }
    }
    let mut paths = BTreeSet::new();
    for at in 0..tokens.len() {
        let begins = tokens.get(at + 1) == Some(&"::") && (at == 0 || tokens[at - 1] != "::");
        let prefix = match tokens[at] {
            "crate" | "portmesh" if begins => Vec::new(),
            "self" if begins => module.to_vec(),
            "super" if begins => module[..module.len().saturating_sub(1)].to_vec(),
            _ => continue,
        };
        read_tree(&tokens, at + 2, prefix, &mut paths);
    }
    paths
}

/// Reads a path or a tree of paths that begins at `at`; returns where it ends.
fn read_tree(
    tokens: &[&str],
    mut at: usize,
    mut prefix: Vec<String>,
    paths: &mut BTreeSet<String>,
) -> usize {
    loop {
        match tokens.get(at).copied() {
            Some("{") => {
                at += 1;
                while tokens.get(at).is_some_and(|&t| t != "}") {
                    at = read_tree(tokens, at, prefix.clone(), paths);
                    while tokens.get(at).is_some_and(|&t| t != "," && t != "}") {
                        at += 1;
                    }
                    if tokens.get(at) == Some(&",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            Some("super") => _ = prefix.pop(),
            Some("self") => {}
            Some(word) if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                prefix.push(word.to_string());
            }
            Some("*") => prefix.push("*".to_string()),
            _ => {
                paths.insert(prefix.join("::"));
                return at;
            }
        }
        at += 1;
        if tokens.get(at) != Some(&"::") {
            paths.insert(prefix.join("::"));
            return at;
        }
        at += 1;
    }
}

/// `src/proto/node/peer.rs` is `[proto, node, peer]`.
fn module_of(path: &Path) -> Vec<String> {
    path.strip_prefix("src")
        .unwrap()
        .with_extension("")
        .components()
        .map(|c| c.as_os_str().to_str().unwrap().to_string())
        .filter(|part| part != "mod")
        .collect()
}

fn within(path: &str, module: &str) -> bool {
    path == module
        || path
            .strip_prefix(module)
            .is_some_and(|rest| rest.starts_with("::"))
}

/// What is wrong with one path that one module names, if something is.
fn import_fault(module: &[String], path: &str) -> Option<String> {
    let floor = module.first()?;
    let (_, allowed) = FLOORS.iter().find(|(name, _)| name == floor)?;
    let first = path.split("::").next()?;
    let is_floor = FLOORS.iter().any(|(name, _)| *name == first);
    // what is re-exported at the root is api's
    let path_floor = if is_floor { first } else { "api" };
    let fine = if is_floor {
        allowed.iter().any(|module| within(path, module))
    } else {
        allowed.contains(&path_floor) || floor == "bin"
    };
    if !fine {
        return Some(format!("{} names {path}", module.join("::")));
    }
    if floor != "proto" {
        return None;
    }
    let (own, other) = (module.get(1)?, path.split("::").nth(1)?);
    let place = |name: &str| {
        PROTO.iter().enumerate().find_map(|(level, entries)| {
            let entry = entries.iter().position(|e| e.contains(&name))?;
            Some((level, entry))
        })
    };
    let Some(own_place) = place(own) else {
        return Some(format!("proto::{own} has no place in the order of proto"));
    };
    match place(other) {
        Some(place) if place.0 < own_place.0 || place == own_place => None,
        // `use super::*` and helpers of proto itself
        None if other == "*" || path == "proto::Map" => None,
        // only a name, which all of them use
        _ if path == "proto::link::LinkId" => None,
        _ => Some(format!("{} names {path}", module.join("::"))),
    }
}

#[test]
fn imports_never_point_up() {
    let mut faults = Vec::new();
    let mut seen = 0;
    for (path, text) in rust_files(&["src"]) {
        if is_test_file(&path) || path == Path::new("src/lib.rs") {
            continue;
        }
        let module = module_of(&path);
        let code = code_only(without_tests(&text));
        for named in paths_named(&module, &code) {
            seen += 1;
            faults.extend(import_fault(&module, &named));
        }
    }
    assert!(seen > 20, "only {seen} imports were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn imports_that_point_up_are_found() {
    let fault = |path: &str, code: &str| {
        let module = module_of(Path::new(path));
        paths_named(&module, &code_only(code))
            .iter()
            .any(|named| import_fault(&module, named).is_some())
    };
    assert!(fault("src/proto/id.rs", "use crate::runtime::clock;"));
    assert!(fault("src/proto/id.rs", "use crate::{proto::limits, api};"));
    assert!(fault("src/proto/id.rs", "fn f() { super::node::x() }"));
    assert!(fault(
        "src/proto/peers.rs",
        "use super::{id, ports::mailbox};"
    ));
    assert!(fault(
        "src/proto/node/peer.rs",
        "use super::super::super::api;"
    ));
    assert!(fault("src/runtime/mesh.rs", "let x = crate::Node::new();"));
    assert!(fault(
        "src/transport/tcp.rs",
        "use crate::runtime::{mesh, x};"
    ));
    assert!(fault("src/cli/run.rs", "use crate::runtime::mesh;"));
    assert!(fault("src/bin/portmesh.rs", "portmesh::runtime::x();"));
    assert!(!fault(
        "src/proto/node/peer.rs",
        "use super::super::link::x;"
    ));
    assert!(!fault(
        "src/proto/id.rs",
        "// crate::api\nlet x = \"crate::api::x\";"
    ));
    assert!(!fault(
        "src/transport/tcp.rs",
        "use crate::{proto::id, runtime::transport::{A, B}};"
    ));
    assert!(!fault(
        "src/cli/run.rs",
        "use crate::{Node, api::x, cli::y}; use super::exit;"
    ));
    assert!(!fault("src/bin/portmesh.rs", "portmesh::cli::main();"));
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    const LINES_MAX: usize = 500;
    let mut faults = Vec::new();
    for (path, text) in rust_files(&["src", "tests", "examples", "benches"]) {
        let first = text.lines().next().unwrap_or_default();
        if !first.starts_with("//! ") || first.len() < 12 {
            faults.push(format!(
                "{} does not begin with a `//!` line",
                path.display()
            ));
        }
        let lines = without_tests(&text).lines().count();
        if !is_test_file(&path) && lines > LINES_MAX {
            faults.push(format!(
                "{} has {lines} lines without its tests",
                path.display()
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn nothing_names_this_machine() {
    // put together here, so that this file does not name them
    let places: Vec<String> = ["/work", "/root", "/home", "/Users", "/tmp/bash"]
        .iter()
        .map(|place| format!("{place}/"))
        .collect();
    let mut faults = Vec::new();
    for path in files("") {
        let Ok(text) = fs::read_to_string(root().join(&path)) else {
            continue; // binary vectors
        };
        for (number, line) in text.lines().enumerate() {
            let at = |place: &String| {
                line.match_indices(place.as_str()).any(|(at, _)| {
                    // the beginning of a path, not a part of one
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_.-$}".contains(c))
                })
            };
            if let Some(place) = places.iter().find(|place| at(place)) {
                faults.push(format!("{}:{}: {place}", path.display(), number + 1));
            }
        }
        if path.ends_with("Cargo.lock") {
            let public = "registry+https://github.com/rust-lang/crates.io-index";
            faults.extend(
                text.lines()
                    .filter(|line| line.starts_with("source = ") && !line.contains(public))
                    .map(|line| format!("{}: {line}", path.display())),
            );
        }
    }
    for path in [".cargo/config.toml", ".cargo/config"] {
        assert!(!root().join(path).exists(), "{path} redirects the build");
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The lines of the contract that a comment names at its beginning: `// P4, M6: why`.
fn lines_named(comment: &str) -> Vec<&str> {
    comment
        .trim_start_matches('/')
        .split([',', ' ', ':', '.', ';'])
        .filter(|word| !word.is_empty() && *word != "and")
        .take_while(|word| {
            CONTRACT.contains(word)
                || word.starts_with(|c: char| c.is_ascii_uppercase())
                    && word.len() < 4
                    && word[1..].bytes().all(|b| b.is_ascii_digit())
        })
        .collect()
}

#[test]
fn every_line_of_the_contract_has_a_test_that_names_it() {
    let mut tests: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, text) in rust_files(&["src", "tests"]) {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            if !line.starts_with("// ") {
                continue;
            }
            let head = |line: &&&str| line.starts_with("//") || line.starts_with("#[");
            let below = lines[at..].iter();
            let is_test = below
                .clone()
                .take_while(head)
                .any(|line| line.starts_with("#[") && line.contains("test"));
            let function = below.clone().find(|line| !head(line));
            // `here_and_there!` makes two tests of each function in it
            let is_test = |f: &&&str| is_test || f.contains("(world: World) with ");
            let Some(function) = function.filter(|f| is_test(f) && f.contains("fn ")) else {
                continue;
            };
            for name in lines_named(line) {
                if let Some(name) = CONTRACT.iter().find(|&&line| line == name) {
                    let function = function.trim_start_matches("async ");
                    tests
                        .entry(name)
                        .or_default()
                        .push(format!("{}: {function}", path.display()));
                }
            }
        }
    }
    let missing: Vec<_> = CONTRACT
        .iter()
        .filter(|line| !tests.contains_key(*line))
        .collect();
    assert!(missing.is_empty(), "no test names {missing:?}");
}

#[test]
fn the_manual_carries_every_line_of_the_contract() {
    let contract = fs::read_to_string(root().join("src/manual/contract.md")).unwrap();
    let missing: Vec<_> = CONTRACT
        .iter()
        .filter(|name| {
            let begins = format!("- {name} ");
            !contract.lines().any(|line| line.starts_with(&begins))
        })
        .collect();
    assert!(missing.is_empty(), "contract.md lacks {missing:?}");
}

#[test]
fn the_readme_names_the_two_commands_and_the_manual() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for needed in [
        "cargo run --release -- demo",
        "cargo test",
        "cargo bench",
        "SECURITY.md",
        "src/manual/contract.md",
        "src/manual/defaults.md",
    ] {
        assert!(
            readme.contains(needed),
            "README.md does not mention {needed}"
        );
    }
}

#[test]
fn the_table_of_defaults_is_that_of_the_code() {
    let table = fs::read_to_string(root().join("src/manual/defaults.md")).unwrap();
    let code = format!("{:#?}", portmesh::Limits::default());
    let fields: Vec<_> = code
        .lines()
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(": "))
        .collect();
    assert!(fields.len() > 10);
    for (name, value) in fields {
        let row = format!("| `{name}` | `{value}` |");
        assert!(table.contains(&row), "defaults.md has no row {row}");
    }
}

#[test]
fn every_test_that_the_security_policy_names_is_there() {
    let policy = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let sources: Vec<String> = rust_files(&["src", "tests"])
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    let mut named = 0;
    for row in policy.lines().filter(|line| line.starts_with("| ")) {
        let tests = row.rsplit('|').nth(1).unwrap_or_default();
        for test in tests.split('`').skip(1).step_by(2) {
            named += 1;
            let function = format!("fn {test}");
            assert!(
                sources.iter().any(|text| text.contains(&function)),
                "SECURITY.md names {test}, which is not there"
            );
        }
    }
    assert!(named > 30, "only {named} tests are named");
}
