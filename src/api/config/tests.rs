//! Layers and errors of the configuration, as tables.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{fs, path::Path};

use super::{
    error::{ConfigError, ConfigOrigin},
    file::ConfigFile,
    keys,
    layers::{Environment, Layers, Places, Settings, default, variable},
    value::{self, Setting},
};

/// What is wrong with a file of this text.
fn faults(text: &str) -> Vec<String> {
    match ConfigFile::parse(Path::new("c.toml"), text) {
        Err(ConfigError::Wrong(faults)) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn every_mistake_is_told_with_its_place_and_a_remedy() {
    let cases = [
        (
            "sede = [\"a\"]",
            "c.toml:1:1: there is no key sede; did you mean seed?",
        ),
        (
            "id = \"a\"\n  listn = 1",
            "c.toml:2:3: there is no key listn; did you mean listen?",
        ),
        ("zzz = 1", "c.toml:1:1: there is no key zzz"),
        (
            "\"limits.link_timeout\" = \"5s\"",
            "c.toml:1:1: there is no key limits.link_timeout",
        ),
        (
            "[limits]\nlink_timeou = \"5s\"",
            "c.toml:2:1: there is no key limits.link_timeou; did you mean link_timeout?",
        ),
        (
            "link_timeout = \"5s\"",
            "c.toml:1:1: there is no key link_timeout; did you mean limits.link_timeout?",
        ),
        (
            "[profil.a]",
            "c.toml:1:2: there is no key profil; did you mean profile?",
        ),
        (
            "[profile.a]\n\nlimit = {}",
            "c.toml:3:1: there is no key limit; did you mean limits",
        ),
        (
            "listen = 4040",
            "c.toml:1:10: listen is to be a list of addresses, as [\"a.example.net:4040\"], not an integer",
        ),
        (
            "listen = [\"*\", 4040]",
            "c.toml:1:16: listen is to be a list of addresses",
        ),
        (
            "listen = { a = 1 }",
            "c.toml:1:10: listen is to be a list of addresses",
        ),
        (
            "[listen]",
            "c.toml:1:2: listen is to be a list of addresses, as [\"a.example.net:4040\"], not a table",
        ),
        (
            "listen = [\"*\", \"::1:4040\"]",
            "c.toml:1:16: listen: \"::1:4040\"",
        ),
        ("seed = \"*:4040\"", "c.toml:1:8: seed: \"*:4040\""),
        (
            "id = true",
            "c.toml:1:6: id is to be a text, as \"worker/%n/%u\", not a boolean",
        ),
        ("id = \"a b\"", "c.toml:1:6: id: \"a b\" makes no node ID"),
        (
            "cluster = \"Shop\"",
            "c.toml:1:11: cluster: a cluster's name has lower-case letters",
        ),
        (
            "global = \"yes\"",
            "c.toml:1:10: global is to be true or false, not a string",
        ),
        (
            "format = [\"xml\"]",
            "c.toml:1:11: format: no format \"xml\": there are cbor and json",
        ),
        (
            "address = [\"a\"]",
            "c.toml:1:12: address: expected NODE=HOST:PORT",
        ),
        ("trust_global = [\"a b*\"]", "c.toml:1:17: trust_global: "),
        (
            "flush = \"5y\"",
            "c.toml:1:9: flush: unknown unit \"y\"; use ms, s, m or h",
        ),
        (
            "flush = [1]",
            "c.toml:1:9: flush is to be a time, as \"10s\", \"300ms\" or \"2m\", not an array",
        ),
        (
            "log_format = \"xml\"",
            "c.toml:1:14: log_format: \"xml\" is none of text, json",
        ),
        (
            "services = [1]",
            "c.toml:1:13: services is to be a list of names of functions",
        ),
        (
            "services = [[1]]",
            "c.toml:1:13: services is to be a list of names of functions",
        ),
        (
            "services = [[\"a\", 1979-05-27]]",
            "c.toml:1:13: services: 1979-05-27 cannot be an argument",
        ),
        (
            "limits = 5",
            "c.toml:1:10: limits is to be a table: write [limits]",
        ),
        (
            "[limits]\ndepth_max = -1",
            "c.toml:2:13: limits.depth_max: -1 is not within 1 and",
        ),
        (
            "[limits]\naccepts_burst = 4294967296",
            "c.toml:2:17: limits.accepts_burst: 4294967296 is not within 1 and 4294967295",
        ),
        (
            "[limits]\ndepth_max = \"64\"",
            "c.toml:2:13: limits.depth_max is to be a whole number, not a string",
        ),
        (
            "[limits]\nlink_timeout = \"500ms\"",
            "c.toml:2:16: limits.link_timeout: 1s is the least",
        ),
        (
            "[limits]\nkill_wait = 0",
            "c.toml:2:13: limits.kill_wait: it must not be zero",
        ),
        (
            "profile = 1",
            "c.toml:1:11: profile is a table of tables: write [profile.NAME]",
        ),
        (
            "[[profile]]\nid = \"a\"",
            "profile is a table of tables: write [profile.NAME]",
        ),
        (
            "profile.a = 1",
            "c.toml:1:13: profile.a is to be a table: write [profile.NAME]",
        ),
        (
            "[profile.a.profile.b]",
            "there are no profiles within profiles",
        ),
        (
            "parent = \"a\"",
            "c.toml:1:1: parent belongs into a profile",
        ),
        (
            "[profile.a]\nparent = [\"b\"]",
            "c.toml:2:10: parent is to be the name of a profile in quotes",
        ),
        (
            "secret_file = \"-\"",
            "c.toml:1:15: secret_file: the standard input can be named by the flag only",
        ),
        (
            "secret_file = \"\"",
            "c.toml:1:15: secret_file: the name of a file is empty",
        ),
        (
            "id = \"a\nlisten = \"*\"",
            "c.toml:1:8: invalid basic string",
        ),
        ("id = \"a\"\nid = \"b\"", "c.toml:2:1: duplicate key"),
        ("ключ = 1", "c.toml:1:1: "),
    ];
    for (text, fault) in cases {
        let faults = faults(text);
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
        assert!(faults[0].contains(fault), "{text}: {}", faults[0]);
    }
    assert_eq!(faults("a1 = 1\nb1 = 2\nlisten = 3").len(), 3);
}

#[test]
fn a_secret_in_a_file_is_refused_and_not_repeated() {
    let secret = "pms1_abcdefghijklmnopqrstuvwxyz234567";
    for text in [
        format!("secret = \"{secret}\""),
        format!("[profile.a]\npassphrase = \"{secret}\""),
        format!("secret_file = \"{secret}\""),
        format!("identity = \"{secret}\""),
        format!("secret = {secret}"),
    ] {
        let faults = faults(&text).join("\n");
        assert!(!faults.contains("abcdefg"), "{faults}");
        if text.contains('"') {
            assert!(faults.contains("secret_file"), "{faults}");
        }
    }
}

/// Layers of a system's and a user's file.
fn layers(system: &str, user: &str) -> (tempfile::TempDir, Result<Layers, ConfigError>) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("system.toml"), system).unwrap();
    fs::write(path("user.toml"), user).unwrap();
    let places = Places::Usual {
        system: path("system.toml"),
        user: Some(path("user.toml")),
    };
    let layers = Layers::read(places);
    (dir, layers)
}

/// `cluster` and where it comes from: the file and the line, or the variable, or the flag.
fn cluster(settings: &Settings) -> String {
    match settings.get("cluster") {
        Some((setting, ConfigOrigin::File { path, line, .. })) => {
            let name = path.file_stem().unwrap().to_str().unwrap();
            format!("{setting} {name} {line}")
        }
        Some((setting, origin)) => format!("{setting} {origin}"),
        None => "default".to_owned(),
    }
}

#[test]
fn each_layer_is_over_the_one_below_it() {
    let said = |text: &str| match text {
        "" => String::new(),
        text => format!("cluster = \"{text}\"\n"),
    };
    // system, user, system's base, user's base, system's profile, user's profile, environment, flag
    let cases = [
        (["", "", "", "", "", "", "", ""], "default"),
        (["a", "", "", "", "", "", "", ""], "\"a\" system 1"),
        (["a", "b", "", "", "", "", "", ""], "\"b\" user 1"),
        (["a", "b", "c", "", "", "", "", ""], "\"c\" system 3"),
        (["a", "b", "c", "d", "", "", "", ""], "\"d\" user 3"),
        (["a", "b", "c", "d", "e", "", "", ""], "\"e\" system 6"),
        (["a", "b", "c", "d", "e", "f", "", ""], "\"f\" user 5"),
        (
            ["a", "b", "c", "d", "e", "f", "g", ""],
            "\"g\" PORTMESH_CLUSTER",
        ),
        (["a", "b", "c", "d", "e", "f", "g", "h"], "\"h\" --cluster"),
        (["a", "", "", "", "", "", "", "h"], "\"h\" --cluster"),
        (["", "", "", "d", "", "", "", ""], "\"d\" user 2"),
    ];
    for (said_by, expected) in cases {
        let [
            system,
            user,
            system_base,
            user_base,
            system_own,
            user_own,
            variable,
            flag,
        ] = said_by;
        let (_dir, layers) = layers(
            &format!(
                "{}[profile.base]\n{}[profile.w]\nparent = \"base\"\n{}",
                said(system),
                said(system_base),
                said(system_own)
            ),
            &format!(
                "{}[profile.base]\n{}[profile.w]\n{}",
                said(user),
                said(user_base),
                said(user_own)
            ),
        );
        let environment = Environment::from_iter([("PORTMESH_CLUSTER", variable)]);
        let flags = match flag {
            "" => vec![],
            flag => vec![(
                keys::find("cluster").unwrap(),
                Setting::Text(flag.into()),
                ConfigOrigin::Flag("--cluster".into()),
            )],
        };
        let layers = layers.unwrap();
        let settings = layers.resolve(Some("w"), &environment, flags).unwrap();
        assert_eq!(cluster(&settings), expected, "{said_by:?}");
    }
    let (_dir, layers) = layers("[profile.w]\ncluster = \"a\"", "cluster = \"b\"");
    let layers = layers.unwrap();
    let none = Environment::default();
    let settings = layers.resolve(None, &none, vec![]).unwrap();
    assert_eq!(cluster(&settings), "\"b\" user 1");
    let settings = layers.resolve(Some("unknown"), &none, vec![]).unwrap();
    assert_eq!(cluster(&settings), "\"b\" user 1");
    assert_eq!(layers.profiles().into_iter().collect::<Vec<_>>(), ["w"]);
}

#[test]
fn how_a_node_proves_itself_is_one_choice_of_the_topmost_layer_that_says_it() {
    let (dir, layers) = layers(
        "identity = \"system.pem\"",
        "[profile.s]\nsecret_file = \"mesh.secret\"\n[profile.both]\nsecret_file = \"1\"\nidentity = \"x.pem\"",
    );
    let layers = layers.unwrap();
    let proofs = |profile, variables: &[(&str, &str)]| {
        let environment = variables.iter().copied().collect();
        let settings = layers.resolve(profile, &environment, vec![]).unwrap();
        let shown = |key| settings.get(key).map(|(setting, _)| setting.clone());
        (shown("identity"), shown("secret_file"))
    };
    let path = |name: &str| dir.path().join(name);
    let identity = |name: &str| Some(Setting::Path(path(name)));
    assert_eq!(proofs(None, &[]), (identity("system.pem"), None));
    assert_eq!(proofs(Some("s"), &[]), (None, identity("mesh.secret")));
    assert_eq!(
        proofs(Some("both"), &[]),
        (identity("x.pem"), identity("1"))
    );
    let here = Some(Setting::Path("here.pem".into()));
    let by_variable = [("PORTMESH_IDENTITY", "here.pem")];
    assert_eq!(proofs(Some("s"), &by_variable), (here.clone(), None));
    // a secret in the environment is such a choice too, below a file that is named there
    assert_eq!(proofs(Some("s"), &[("PORTMESH_SECRET", "x")]), (None, None));
    let both = [by_variable[0], ("PORTMESH_SECRET", "x")];
    assert_eq!(proofs(None, &both), (here, None));
    // empty counts as not set
    assert_eq!(
        proofs(None, &[("PORTMESH_SECRET", "")]),
        (identity("system.pem"), None)
    );
}

#[test]
fn parents_that_are_missing_or_go_round_in_a_circle_are_refused() {
    let cases = [
        ("[profile.a]\nparent = \"b\"", "", ["system.toml:2:10: the parent of profile a: there is no profile b; there are no profiles"].as_slice()),
        ("[profile.base]\n[profile.a]\nparent = \"bas\"", "", &["system.toml:3:10: the parent of profile a: there is no profile bas; did you mean base?"]),
        ("[profile.a]\nparent = \"a\"", "", &["system.toml:2:10: the parents go round in a circle: a, a"]),
        (
            "[profile.a]\nparent = \"b\"",
            "[profile.b]\nparent = \"a\"\n[profile.c]\nparent = \"b\"",
            &["system.toml:2:10: the parents go round in a circle: a, b, a", "user.toml:2:10: the parents go round in a circle: b, a, b"],
        ),
    ];
    for (system, user, expected) in cases {
        let (dir, layers) = layers(system, user);
        let Err(ConfigError::Wrong(faults)) = layers else {
            panic!("{layers:?}");
        };
        let folder = format!("{}/", dir.path().display());
        let faults: Vec<_> = faults
            .iter()
            .map(|f| f.to_string().replace(&folder, ""))
            .collect();
        assert_eq!(faults, expected);
    }
    // the user's word on a parent counts more
    let (_dir, layers) = layers(
        "[profile.a]\nparent = \"a\"\n[profile.b]\ncluster = \"b\"",
        "[profile.a]\nparent = \"b\"",
    );
    let settings = layers
        .unwrap()
        .resolve(Some("a"), &Environment::default(), vec![]);
    assert_eq!(cluster(&settings.unwrap()), "\"b\" system 4");
}

#[test]
fn variables_are_read_as_values_of_their_keys() {
    let (_dir, layers) = layers("", "");
    let layers = layers.unwrap();
    let resolve = |name: &str, text: &str| {
        layers.resolve(None, &Environment::from_iter([(name, text)]), vec![])
    };
    for (name, text, key, shown) in [
        ("PORTMESH_SEED", "a, b:1,", "seed", "[\"a:4040\", \"b:1\"]"),
        ("PORTMESH_SEED", "[\"a\"]", "seed", "[\"a\"]"),
        ("PORTMESH_GLOBAL", "true", "global", "true"),
        ("PORTMESH_FLUSH", "2", "flush", "\"2s\""),
        ("PORTMESH_FLUSH", "90", "flush", "\"90s\""),
        ("PORTMESH_FLUSH", "1.5", "flush", "\"1.5s\""),
        (
            "PORTMESH_SERVICES",
            "[\"echo\", [\"x\", 1, {a = \"b\"}]]",
            "services",
            "[\"echo\", [\"x\", 1, { a = \"b\" }]]",
        ),
        ("PORTMESH_LIMITS_DEPTH_MAX", "32", "limits.depth_max", "32"),
        (
            "PORTMESH_LIMITS_IDLE_TIMEOUT",
            "0",
            "limits.idle_timeout",
            "\"0s\"",
        ),
        ("PORTMESH_ID", "true", "id", "\"true\""),
    ] {
        let settings = resolve(name, text).unwrap();
        let (setting, origin) = settings.get(key).unwrap();
        assert_eq!(
            setting.to_string(),
            shown.replace("a:4040", "a"),
            "{name}={text}"
        );
        assert_eq!(origin.to_string(), name);
        // what is shown is read as the same
        let again = value::read(keys::find(key).unwrap(), &setting.to_toml()).unwrap();
        assert_eq!(again, *setting);
    }
    for (name, text, fault) in [
        (
            "PORTMESH_GLOBAL",
            "maybe",
            "PORTMESH_GLOBAL: global is to be true or false, not a string",
        ),
        ("PORTMESH_SEED", "a,*:1", "PORTMESH_SEED: seed: \"*:1\""),
        (
            "PORTMESH_SEED",
            "[\"a\"",
            "PORTMESH_SEED: seed: \"[\\\"a\\\"\"",
        ),
        (
            "PORTMESH_LIMITS_DEPTH_MAX",
            "x",
            "PORTMESH_LIMITS_DEPTH_MAX: limits.depth_max is to be a whole number",
        ),
    ] {
        let error = resolve(name, text).unwrap_err().to_string();
        assert!(error.starts_with(fault), "{error}");
    }
}

#[test]
fn files_are_where_the_environment_says_and_one_that_is_named_must_be_there() {
    let places = |named: Option<&str>, variables: &[(&str, &str)]| {
        let environment = variables.iter().copied().collect();
        let places = Places::of(named.map(Path::new), &environment);
        let paths = places.paths();
        paths
            .iter()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
    };
    let system = "/etc/portmesh/config.toml";
    assert_eq!(places(None, &[]), [system]);
    assert_eq!(
        places(None, &[("HOME", "/h")]),
        [system, "/h/.config/portmesh/config.toml"]
    );
    let xdg = [("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")];
    assert_eq!(places(None, &xdg), [system, "/x/portmesh/config.toml"]);
    let relative = [("HOME", "/h"), ("XDG_CONFIG_HOME", "x")];
    assert_eq!(
        places(None, &relative),
        [system, "/h/.config/portmesh/config.toml"]
    );
    let one = [("HOME", "/h"), ("PORTMESH_CONFIG", "/c.toml")];
    assert_eq!(places(None, &one), ["/c.toml"]);
    assert_eq!(places(Some("/d.toml"), &one), ["/d.toml"]);

    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.toml");
    let error = Layers::read(Places::One(missing.clone())).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }));
    let usual = Places::Usual {
        system: missing.clone(),
        user: Some(missing.join("below")),
    };
    assert_eq!(Layers::read(usual).unwrap().found().count(), 0);
    // what is there and cannot be read is not taken for missing
    for unreadable in [dir.path().to_owned(), {
        let path = dir.path().join("binary");
        fs::write(&path, [0xff, 0xfe]).unwrap();
        path
    }] {
        let usual = Places::Usual {
            system: unreadable,
            user: None,
        };
        let error = Layers::read(usual).unwrap_err();
        assert!(matches!(error, ConfigError::Read { .. }), "{error}");
    }
}

#[test]
fn a_profile_that_is_asked_for_and_is_not_there_is_told_with_those_that_are() {
    for (user, hint) in [
        ("", "; there are no profiles"),
        ("[profile.worker]", "; did you mean worker?"),
        ("[profile.a]\n[profile.b]", "; there are a, b"),
    ] {
        let (_dir, layers) = layers("", user);
        let error = layers.unwrap().require("workr").unwrap_err().to_string();
        assert!(
            error.contains("no profile workr in ") && error.ends_with(hint),
            "{error}"
        );
    }
}

#[test]
fn the_manual_has_every_key_with_its_type_default_variable_and_flag() {
    let page = include_str!("../../manual/configuration.md");
    for key in keys::all() {
        let row = match key.name.strip_prefix("limits.") {
            Some(_) => format!("| `{}` | {} |", key.name, key.kind),
            None => format!(
                "| `{}` | {} | {} | `{}` | `{}` |",
                key.name,
                key.kind,
                key.default,
                variable(key.name),
                key.flag.unwrap_or_default()
            ),
        };
        assert!(page.lines().any(|line| line == row), "no row {row}");
        if let Some(setting) = default(key) {
            assert!(key.default.is_empty() || !setting.to_string().is_empty());
            assert_eq!(value::read(key, &setting.to_toml()).unwrap(), setting);
        }
    }
    // and the file in it is one
    let example = page.split("```").nth(1).unwrap();
    let example = example.strip_prefix("toml").unwrap();
    let file = ConfigFile::parse(Path::new("c.toml"), example).unwrap();
    assert_eq!(file.profiles.len(), 2);
}
