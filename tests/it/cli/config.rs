//! `portmesh config` and the configuration of the other commands, with files of a home of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::process::{Ended, Running, portmesh};

/// A folder that is the home of its commands.
struct Home(TempDir);

impl Home {
    fn new(config: &str) -> Self {
        let home = Home(tempfile::tempdir().unwrap());
        fs::create_dir_all(home.file().parent().unwrap()).unwrap();
        fs::write(home.file(), config).unwrap();
        home
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The user's file.
    fn file(&self) -> PathBuf {
        self.path().join("xdg/portmesh/config.toml")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = portmesh(self.path());
        command.env_remove("PORTMESH_CONFIG");
        command.env("HOME", self.path());
        command.env("XDG_CONFIG_HOME", self.path().join("xdg"));
        command.args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        Ended::of(&mut self.command(args))
    }

    /// What holds and where it comes from, with the names of folders left out.
    fn shown(&self, key: &str, command: &mut Command) -> (Json, String) {
        let lines = Ended::of(command).code(0).json();
        let line = lines.iter().find(|line| line["key"] == key).unwrap();
        let origin = &line["origin"];
        let origin = match (&origin["file"], &origin["variable"], &origin["flag"]) {
            (Json::String(file), ..) => {
                let name = Path::new(file).file_name().unwrap().to_str().unwrap();
                format!("{name}:{}:{}", origin["line"], origin["column"])
            }
            (_, Json::String(name), _) | (.., Json::String(name)) => name.clone(),
            _ => origin.as_str().unwrap().to_owned(),
        };
        (line["value"].clone(), origin)
    }
}

#[test]
fn show_says_of_every_value_where_it_comes_from() {
    let home = Home::new("cluster = \"top\"\n[profile.w]\ncluster = \"own\"\nlisten = \"*\"\n");
    let show = ["--json", "config", "show"];
    let shown = |args: &[&str], variable: Option<&str>, key| {
        let mut command = home.command(&[&show[..], args].concat());
        if let Some(text) = variable {
            command.env("PORTMESH_CLUSTER", text);
        }
        home.shown(key, &mut command)
    };
    let origin = |text: &str| text.to_owned();
    assert_eq!(
        shown(&[], None, "cluster"),
        (json!("top"), origin("config.toml:1:1"))
    );
    assert_eq!(shown(&[], None, "flush"), (json!("5s"), origin("default")));
    assert_eq!(shown(&[], None, "listen"), (Json::Null, origin("default")));
    let w = ["--profile", "w"];
    assert_eq!(
        shown(&w, None, "cluster"),
        (json!("own"), origin("config.toml:3:1"))
    );
    assert_eq!(
        shown(&w, None, "listen"),
        (json!(["*"]), origin("config.toml:4:1"))
    );
    assert_eq!(
        shown(&w, Some("env"), "cluster"),
        (json!("env"), origin("PORTMESH_CLUSTER"))
    );
    assert_eq!(
        shown(&w, Some(""), "cluster"),
        (json!("own"), origin("config.toml:3:1"))
    );
    let flag = [&w[..], &["--cluster", "flag"]].concat();
    assert_eq!(
        shown(&flag, Some("env"), "cluster"),
        (json!("flag"), origin("--cluster"))
    );

    // as text it is a file again, which says the same
    let text = home
        .run(&["config", "show", "--origin", "--profile", "w"])
        .code(0)
        .stdout;
    let file = home.file().display().to_string();
    assert!(
        text.contains(&format!("cluster = \"own\"  # {file}:3:1\n")),
        "{text}"
    );
    assert!(text.contains("# id: what the certificate says"), "{text}");
    let copy = Home::new(&text);
    let again = copy.run(&["config", "show"]).code(0).stdout;
    let values = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let lines = lines.map(|line| line.split("  #").next().unwrap().to_owned());
        lines.collect::<Vec<_>>()
    };
    assert_eq!(values(&again), values(&text));
    // and another place of files
    let other = home.path().join("other.toml");
    fs::write(&other, "flush = \"1s\"").unwrap();
    let mut command = home.command(&show);
    command.env("PORTMESH_CONFIG", &other);
    assert_eq!(
        home.shown("flush", &mut command),
        (json!("1s"), origin("other.toml:1:1"))
    );
    let paths = home.run(&["--json", "config", "path"]).code(0).json();
    assert_eq!(paths[0]["file"], "system");
    assert_eq!(
        paths[1],
        json!({"file": "user", "path": file, "exists": true})
    );
}

#[test]
fn check_tells_every_mistake_with_its_place_and_nothing_starts_with_one() {
    let home = Home::new("sede = \"a\"\n[profile.w]\nglobal = \"yes\"\n");
    let file = home.file().display().to_string();
    let told = home.run(&["config", "check"]).code(8);
    assert_eq!(
        told.stdout,
        format!(
            "{file}:1:1: there is no key sede; did you mean seed?\n{file}:3:10: global is to be true or false, not a string\n"
        )
    );
    assert!(
        told.stderr.contains("2 mistakes in the configuration"),
        "{}",
        told.stderr
    );
    let told = home.run(&["--json", "config", "check"]).code(8).json();
    assert_eq!(
        told[0]["origin"],
        json!({"file": file, "line": 1, "column": 1})
    );
    for command in [
        &["run", "--id", "a/%u", "--secret-file", "none"][..],
        &["nodes", "--seed", "127.0.0.1:9"],
        &["config", "show"],
    ] {
        let refused = home.run(command).code(8).stderr;
        assert!(refused.contains(":1:1: there is no key sede"), "{refused}");
        assert!(
            refused.contains("and 1 more, see `portmesh config check`"),
            "{refused}"
        );
    }

    fs::write(home.file(), "[profile.worker]\n").unwrap();
    let fine = home.run(&["--json", "config", "check"]).code(0).json();
    assert_eq!(fine[0]["profiles"], json!(["worker"]));
    let mut mistaken = home.command(&["config", "check"]);
    mistaken.env("PORTMESH_SEEDS", "a");
    let told = Ended::of(&mut mistaken).code(0).stderr;
    assert!(
        told.contains("PORTMESH_SEEDS: no key has this variable; did you mean PORTMESH_SEED?"),
        "{told}"
    );
    let mut mistaken = home.command(&["config", "check"]);
    mistaken.env("PORTMESH_SEED", "a:b");
    let told = Ended::of(&mut mistaken).code(8).stdout;
    assert!(told.starts_with("PORTMESH_SEED: seed: \"a:b\""), "{told}");
    let refused = home.run(&["nodes", "--profile", "workr"]).code(8).stderr;
    assert!(
        refused.contains("there is no profile workr in "),
        "{refused}"
    );
    assert!(refused.contains("did you mean worker?"), "{refused}");
    let missing = home
        .run(&["nodes", "--config", "missing.toml"])
        .code(8)
        .stderr;
    assert!(missing.contains("cannot read missing.toml"), "{missing}");
    // what is empty is not set
    for name in ["PORTMESH_CONFIG", "PORTMESH_PROFILE", "PORTMESH_SEED"] {
        let mut empty = home.command(&["config", "check"]);
        Ended::of(empty.env(name, "")).code(0);
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let mut no_text = home.command(&["config", "check"]);
        no_text.env("PORTMESH_IDENTITY", std::ffi::OsStr::from_bytes(b"a\xff"));
        let told = Ended::of(&mut no_text).code(8).stdout;
        assert_eq!(
            told,
            "PORTMESH_IDENTITY: the value of identity is not text\n"
        );
    }
    // a home that there is not is no mistake
    let mut nowhere = home.command(&["config", "check"]);
    nowhere.env_remove("HOME").env_remove("XDG_CONFIG_HOME");
    Ended::of(&mut nowhere).code(0);
}

#[test]
fn nodes_and_commands_run_from_profiles() {
    let home = Home::new(
        "cluster = \"shop\"\nsecret_file = \"mesh.secret\"\n\
         [profile.base]\nlisten = \"127.0.0.1:*\"\n\
         [profile.a]\nparent = \"base\"\nid = \"a\"\nstate = \"state-a\"\nlog = \"info\"\nlimits.link_timeout = \"7s\"\n\
         [profile.worker]\nparent = \"base\"\nservices = [\"echo\", [\"print\"]]\n",
    );
    let folder = home.file().parent().unwrap().to_owned();
    let secret = folder.join("mesh.secret");
    Ended::of(
        portmesh(home.path())
            .args(["secret", "gen", "--out"])
            .arg(&secret),
    )
    .code(0);
    let a = Running::start(&mut home.command(&["--json", "run", "--profile", "a"]));
    let addr = a.ready();
    assert!(
        folder.join("state-a").is_dir(),
        "beside the file that names it"
    );
    // the mesh is where a variable says, and a file how to prove oneself
    let mut nodes = home.command(&["--json", "nodes"]);
    nodes.env("PORTMESH_SEED", &addr);
    let listed = Ended::of(&mut nodes).code(0).json();
    assert!(listed.iter().any(|node| node["node"] == "a"), "{listed:?}");
    // nor does it take the name of a node that is configured for the whole host
    let host = fs::read_to_string(home.file()).unwrap();
    fs::write(folder.join("host.toml"), format!("id = \"a\"\n{host}")).unwrap();
    let mut asks = home.command(&["--json", "ping", "a", "--seed", &addr]);
    asks.env("PORTMESH_CONFIG", folder.join("host.toml"));
    Ended::of(&mut asks).code(0);
    let mut forget = home.command(&["--json", "forget", "--profile", "a"]);
    Ended::of(&mut forget).code(0);
    home.run(&["forget"]).code(2);
    // a profile without an ID is its name and a random part
    let mut worker = home.command(&["--json", "run", "--seed", &addr]);
    worker.env("PORTMESH_PROFILE", "worker");
    let worker = Running::start(&mut worker);
    let ready: Json = serde_json::from_str(&worker.line(&["\"ready\""])).unwrap();
    assert!(
        ready["node"].as_str().unwrap().starts_with("worker/"),
        "{ready}"
    );
    a.line(&["\"up\"", "worker/"]);
    // a service that nobody knows
    let refused = home
        .run(&["run", "--profile", "worker", "--service", "ech"])
        .code(8)
        .stderr;
    assert!(
        refused.contains("there is no service ech: this program registers echo, print"),
        "{refused}"
    );
    let refused = home
        .run(&["run", "--profile", "worker", "--service", "[\"print\", 1]"])
        .code(8)
        .stderr;
    assert!(
        refused.contains("the service print did not start: "),
        "{refused}"
    );
    // a flag counts more: here one cluster, there another
    Ended::of(&mut home.command(&["ping", "a", "--seed", &addr])).code(0);
    let other = [
        "ping",
        "a",
        "--cluster",
        "other",
        "--seed",
        &addr,
        "--timeout",
        "2",
    ];
    let refused = Ended::of(&mut home.command(&other));
    refused.code(6);
}

#[test]
fn set_and_unset_change_one_key_and_no_other_byte() {
    let text = "# mine\ncluster = 'shop'   # the shop\n\n[profile.w] # workers\n# where\nlisten = [\n  \"a:1\", # first\n]\n";
    let home = Home::new(text);
    let is = |expected: &str| assert_eq!(fs::read_to_string(home.file()).unwrap(), expected);
    let file = home.file().display().to_string();
    let told = home
        .run(&["config", "set", "cluster", "mart"])
        .code(0)
        .stdout;
    assert_eq!(told, format!("{file}: cluster = \"mart\"\n"));
    let mart = text.replace("'shop'", "\"mart\"");
    is(&mart);
    let again = home
        .run(&["--json", "config", "set", "cluster", "mart"])
        .code(0)
        .json();
    assert_eq!(
        again[0],
        json!({"file": file, "profile": null, "key": "cluster", "changed": false})
    );
    home.run(&["config", "set", "seed", "a.example.net", "b,c:1"])
        .code(0);
    let seeds = mart.replace(
        "# the shop\n",
        "# the shop\nseed = [\"a.example.net\", \"b\", \"c:1\"]\n",
    );
    is(&seeds);
    home.run(&["config", "unset", "seed"]).code(0);
    is(&mart);
    home.run(&["config", "unset", "seed"]).code(0);
    is(&mart);
    home.run(&[
        "config",
        "set",
        "--profile",
        "w",
        "limits.link_timeout",
        "7",
    ])
    .code(0);
    is(&format!(
        "{mart}\n[profile.w.limits]\nlink_timeout = \"7s\"\n"
    ));
    // the name of a file is meant from here, not from where the configuration is
    home.run(&["config", "set", "--profile", "x", "identity", "x.pem"])
        .code(0);
    let shown = home
        .run(&["--json", "config", "show", "--profile", "x"])
        .code(0)
        .json();
    let identity = shown.iter().find(|line| line["key"] == "identity").unwrap();
    let place = fs::canonicalize(home.path()).unwrap().join("x.pem");
    assert_eq!(identity["value"], place.to_str().unwrap());
    // one that there is not is made, where a flag or the variable says
    home.run(&["config", "set", "--config", "new/c.toml", "global", "true"])
        .code(0);
    let mut by_variable = home.command(&["config", "set", "services", "echo", "[\"print\", 1]"]);
    Ended::of(by_variable.env("PORTMESH_CONFIG", "new/c.toml")).code(0);
    let made = fs::read_to_string(home.path().join("new/c.toml")).unwrap();
    assert_eq!(
        made,
        "global = true\nservices = [\"echo\", [\"print\", 1]]\n"
    );
    let left = fs::read_dir(home.path().join("new")).unwrap().count();
    assert_eq!(left, 1, "nothing else is left there");
}

#[test]
fn nothing_wrong_is_written_and_a_file_that_is_wrong_is_left_alone() {
    let text = "[profile.a]\nparent = \"b\"\n[profile.b]\n";
    let home = Home::new(text);
    let refused = |args: &[&str], code: i32, reason: &str| {
        let all = [&["config"], args].concat();
        let told = home.run(&all).code(code).stderr;
        assert!(told.contains(reason), "{args:?}: {told}");
    };
    let unchanged = |text: &[u8]| {
        assert_eq!(fs::read(home.file()).unwrap(), text);
        let folder = home.file().parent().unwrap().to_owned();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
    };
    for (args, code, reason) in [
        (
            &["set", "sede", "a"][..],
            2,
            "there is no key sede; did you mean seed?",
        ),
        (&["set", "seed", "*:1"], 2, "every address of a host"),
        (
            &["set", "global", "maybe"],
            2,
            "global is to be true or false",
        ),
        (&["set", "cluster", "a", "b"], 2, "cluster has one value"),
        (&["set", "limits.depth_max", "0"], 2, "not within 1 and"),
        (&["set", "secret_file", "-"], 2, "by the flag only"),
        (&["set", "parent", "a"], 2, "give --profile NAME"),
        (
            &["set", "parent", "a", "--profile", "b"],
            8,
            "go round in a circle",
        ),
        (
            &["profile", "a", "setparent", "bb"],
            8,
            "there is no profile bb; did you mean b?",
        ),
        (&["profile", "b", "delete"], 8, "there is no profile b"),
        (&["profile", "c", "delete"], 3, "there is no profile c"),
        (
            &["profile", "a", "setsede", "x"],
            2,
            "did you mean setseeds?",
        ),
        (&["profile", "a", "setseeds"], 2, "setseeds needs a value"),
        (
            &["profile", "a", "delseeds", "x"],
            2,
            "delseeds takes no value",
        ),
    ] {
        refused(args, code, reason);
        unchanged(text.as_bytes());
    }
    // a secret is refused, and not repeated
    let told = home
        .run(&["config", "set", "secret", "pms1_hush"])
        .code(2)
        .stderr;
    assert!(
        told.contains("secret_file") && !told.contains("pms1_hush"),
        "{told}"
    );
    let told = home
        .run(&["config", "set", "identity", "pms1_hush"])
        .code(2)
        .stderr;
    assert!(!told.contains("pms1_hush"), "{told}");
    // what cannot be read or understood is not overwritten
    let broken: [&[u8]; 4] = [
        b"id = \n",
        b"sede = 1\n",
        b"[profile.a]\n\xff\n",
        b"id = \"a\"\nid = \"b\"\n",
    ];
    for text in broken {
        fs::write(home.file(), text).unwrap();
        for args in [
            &["set", "cluster", "a"][..],
            &["unset", "cluster"],
            &["profile", "a", "setseeds", "b"],
            &["profile", "a", "delete"],
        ] {
            refused(args, 8, "config.toml");
            unchanged(text);
        }
    }
}

#[test]
fn profiles_are_edited_as_with_aemp() {
    let home = Home::new("# kept\n");
    let profile = |args: &[&str]| {
        let all = [&["config", "profile", "w"], args].concat();
        home.run(&all).code(0).stdout
    };
    profile(&["setseeds", "a,b:1"]);
    profile(&["addseed", "c"]);
    profile(&["delseed", "b:1"]);
    profile(&["setbinds", "*"]);
    profile(&["addbind", "127.0.0.1:*"]);
    profile(&["setservices", "echo"]);
    profile(&["addservice", "[\"print\", 1]"]);
    profile(&["setnodeid", "w/%n"]);
    profile(&["set", "global", "true"]);
    home.run(&["config", "profile", "base", "set", "cluster", "shop"])
        .code(0);
    profile(&["setparent", "base"]);
    assert_eq!(
        fs::read_to_string(home.file()).unwrap(),
        "# kept\n\n[profile.w]\nseed = [\"a\", \"c\"]\nlisten = [\"*\", \"127.0.0.1:*\"]\nservices = [\"echo\", [\"print\", 1]]\n\
         id = \"w/%n\"\nglobal = true\nparent = \"base\"\n\n[profile.base]\ncluster = \"shop\"\n"
    );
    let shown = profile(&[]);
    assert!(
        shown.starts_with("parent = \"base\"\n") && shown.contains("seed = [\"a\", \"c\"]\n"),
        "{shown}"
    );
    profile(&["delservice", "[\"print\", 1]"]);
    for key in [
        "delseeds",
        "delbinds",
        "delservices",
        "delnodeid",
        "delparent",
    ] {
        profile(&[key]);
    }
    profile(&["unset", "global"]);
    assert_eq!(profile(&[]), "");
    profile(&["delete"]);
    home.run(&["config", "profile", "base", "delete"]).code(0);
    assert_eq!(fs::read_to_string(home.file()).unwrap(), "# kept\n");
}

#[cfg(unix)]
#[test]
fn a_file_keeps_its_mode_and_a_link_to_it_stays_one() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let home = Home::new("");
    let real = home.path().join("dotfiles.toml");
    fs::write(&real, "# real\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o664)).unwrap();
    fs::remove_file(home.file()).unwrap();
    symlink(&real, home.file()).unwrap();
    home.run(&["config", "set", "global", "true"]).code(0);
    assert!(fs::symlink_metadata(home.file()).unwrap().is_symlink());
    assert_eq!(
        fs::read_to_string(&real).unwrap(),
        "global = true\n\n# real\n"
    );
    let mode = fs::metadata(&real).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o664);
}
