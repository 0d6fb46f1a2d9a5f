//! Edits of a configuration: what is not changed stays, byte for byte.
#![allow(clippy::unwrap_used)]

use toml_edit::Value;

use super::edit::{change_list, remove, set, unset};

const FILE: &str = "\
# of the shop

cluster = \"shop\" # all hosts
seed   =  [   # the global nodes
  \"a\",  # in the cellar
  \"b\",
  # \"c\" is retired
]

[profile.w]   # workers
\tid = 'w/%u'
limits = { depth_max = 32 }  # braces

# not yet:
# listen = \"*\"

[profile.v.limits]
link_timeout=\"5s\"
";

fn edit(text: &str, path: &[&str], value: &str) -> String {
    set(text, path, &value.parse::<Value>().unwrap()).unwrap()
}

#[test]
fn setting_a_key_changes_its_value_and_no_other_byte() {
    let replaced = |from: &str, to: &str| {
        assert_eq!(FILE.matches(from).count(), 1, "{from}");
        FILE.replace(from, to)
    };
    let cases: &[(&[&str], &str, String)] = &[
        (&["cluster"], "\"x\"", replaced("\"shop\"", "\"x\"")),
        (
            &["profile", "w", "id"],
            "\"y\"",
            replaced("'w/%u'", "\"y\""),
        ),
        (
            &["profile", "w", "limits", "depth_max"],
            "64",
            replaced("depth_max = 32", "depth_max = 64"),
        ),
        (
            &["profile", "v", "limits", "link_timeout"],
            "\"6s\"",
            replaced("\"5s\"", "\"6s\""),
        ),
        // new ones, behind the last of their table
        (
            &["global"],
            "true",
            replaced("retired\n]\n", "retired\n]\nglobal = true\n"),
        ),
        (
            &["profile", "w", "state"],
            "\"s\"",
            replaced("# braces\n", "# braces\nstate = \"s\"\n"),
        ),
        (
            &["profile", "v", "limits", "depth_max"],
            "9",
            format!("{FILE}depth_max = 9\n"),
        ),
        // within braces
        (
            &["profile", "w", "limits", "values_max"],
            "9",
            replaced("{ depth_max = 32 }", "{ depth_max = 32 , values_max = 9 }"),
        ),
        // new tables, at the end
        (
            &["profile", "v", "id"],
            "\"v\"",
            format!("{FILE}\n[profile.v]\nid = \"v\"\n"),
        ),
        (
            &["profile", "host.example", "id"],
            "\"v\"",
            format!("{FILE}\n[profile.\"host.example\"]\nid = \"v\"\n"),
        ),
        (
            &["limits", "depth_max"],
            "9",
            format!("{FILE}\n[limits]\ndepth_max = 9\n"),
        ),
    ];
    for (path, value, expected) in cases {
        let edited = edit(FILE, path, value);
        let squeezed = |text: &str| text.replace(" ,", ",");
        assert_eq!(squeezed(&edited), squeezed(expected), "{path:?}");
        // and once more changes nothing
        assert_eq!(edit(&edited, path, value), edited, "{path:?}");
    }
}

#[test]
fn files_of_all_shapes_are_edited() {
    let cases: &[(&str, &[&str], &str)] = &[
        ("", &["id"], "id = 1\n"),
        ("", &["profile", "a", "id"], "[profile.a]\nid = 1\n"),
        ("# alone", &["id"], "id = 1\n\n# alone"),
        (
            "# alone",
            &["profile", "a", "id"],
            "# alone\n\n[profile.a]\nid = 1\n",
        ),
        (
            "[profile.a]",
            &["profile", "a", "id"],
            "[profile.a]\nid = 1\n",
        ),
        (
            "[profile.a]\n[profile.b]\n",
            &["profile", "a", "id"],
            "[profile.a]\nid = 1\n[profile.b]\n",
        ),
        ("[profile.a]\n", &["id"], "id = 1\n\n[profile.a]\n"),
        ("x = 2", &["id"], "x = 2\nid = 1\n"),
        ("x = 2\r\n", &["id"], "x = 2\r\nid = 1\r\n"),
        (
            "limits.x = 2\n",
            &["limits", "id"],
            "limits.x = 2\nlimits.id = 1\n",
        ),
        (
            "profile.a.x = 2\n",
            &["profile", "a", "id"],
            "profile.a.x = 2\nprofile.a.id = 1\n",
        ),
        (
            "profile = { }\n",
            &["profile", "a", "id"],
            "profile = { a.id = 1 }\n",
        ),
        (
            "x = '''\n[profile.a]\n'''\n",
            &["profile", "a", "id"],
            "x = '''\n[profile.a]\n'''\n\n[profile.a]\nid = 1\n",
        ),
    ];
    for (text, path, expected) in cases {
        let edited = edit(text, path, "1");
        let squeezed = |text: &str| text.replace(' ', "");
        assert_eq!(squeezed(&edited), squeezed(expected), "{text}");
        // taken back, what was there is there again, but for headers and the last line's end
        let back = unset(&edited, path).unwrap().unwrap();
        let values = |text: &str| text.lines().filter(|l| l.contains('=')).count();
        assert!(values(&back) <= values(text).max(1), "{back}");
        assert_eq!(unset(&back, path).unwrap(), None, "{back}");
    }
}

#[test]
fn unsetting_a_key_takes_its_line_and_leaves_all_comments_around_it() {
    let without = |line: &str| {
        assert_eq!(FILE.matches(line).count(), 1, "{line}");
        FILE.replace(line, "")
    };
    let cases: &[(&[&str], String)] = &[
        (&["cluster"], without("cluster = \"shop\" # all hosts\n")),
        (&["profile", "w", "id"], without("\tid = 'w/%u'\n")),
        (
            &["profile", "w", "limits"],
            without("limits = { depth_max = 32 }  # braces\n"),
        ),
        (
            &["profile", "v", "limits", "link_timeout"],
            without("link_timeout=\"5s\"\n"),
        ),
    ];
    for (path, expected) in cases {
        assert_eq!(
            unset(FILE, path).unwrap().as_ref(),
            Some(expected),
            "{path:?}"
        );
    }
    for path in [&["none"][..], &["profile", "x", "id"], &["cluster", "id"]] {
        assert_eq!(unset(FILE, path).unwrap(), None);
    }
    let braces = unset("a = { b = 1, c = 2 }\n", &["a", "b"])
        .unwrap()
        .unwrap();
    assert_eq!(braces.replace(' ', ""), "a={c=2}\n");
}

#[test]
fn lists_grow_and_shrink_with_their_comments() {
    let change = |text: &str, add, element: &str| {
        change_list(text, &["seed"], &[Value::from(element)], add).unwrap()
    };
    let more = change(FILE, true, "d");
    assert_eq!(more, FILE.replace("  \"b\",\n", "  \"b\",\n  \"d\",\n"));
    assert_eq!(change(&more, true, "d"), more, "it is there");
    assert_eq!(change(&more, false, "d"), FILE);
    assert_eq!(change(FILE, false, "x"), FILE, "it is not there");
    let less = change(FILE, false, "a");
    for comment in [
        "# the global nodes",
        "# in the cellar",
        "# \"c\" is retired",
    ] {
        assert!(less.contains(comment), "{comment}: {less}");
    }
    let none = change(&less, false, "b");
    assert!(
        none.contains("# \"c\" is retired") && !none.contains("\"b\""),
        "{none}"
    );

    for (text, add, expected) in [
        ("", true, "seed = [\"d\"]\n"),
        ("", false, ""),
        (
            "seed = \"a\" # one\n",
            true,
            "seed = [\"a\", \"d\"] # one\n",
        ),
        ("seed = [\"a\"]\n", true, "seed = [\"a\", \"d\"]\n"),
        ("seed = [ \"d\", 'a' ]\n", false, "seed = ['a' ]\n"),
        ("seed = \"d\"\n", false, "seed = []\n"),
    ] {
        let changed = change(text, add, "d");
        assert_eq!(changed.replace("[ ", "["), expected, "{text}");
    }
}

#[test]
fn removing_a_profile_takes_its_tables_and_nothing_else() {
    let without = |lines: &str| {
        assert_eq!(FILE.matches(lines).count(), 1, "{lines}");
        FILE.replace(lines, "")
    };
    let rest = remove(FILE, &["profile", "v"]).unwrap();
    assert_eq!(rest, without("\n[profile.v.limits]\nlink_timeout=\"5s\"\n"));
    let rest = remove(FILE, &["profile", "w"]).unwrap();
    let own = "\n[profile.w]   # workers\n\tid = 'w/%u'\nlimits = { depth_max = 32 }  # braces\n";
    assert_eq!(rest, without(own));
    assert_eq!(remove(FILE, &["profile", "x"]).unwrap(), FILE);
    for (text, expected) in [
        (
            "[profile.a]\n[profile.b]\n[profile.a.limits]\nx = 1\n",
            "[profile.b]\n",
        ),
        ("profile.a.x = 1\nprofile.b.x = 1\n", "profile.b.x = 1\n"),
        (
            "profile = { a = { x = 1 }, b = { x = 1 } }\n",
            "profile = { b = { x = 1 } }\n",
        ),
        ("[profile]\na.x = 1\nb.x = 1\n", "[profile]\nb.x = 1\n"),
    ] {
        let rest = remove(text, &["profile", "a"]).unwrap();
        assert_eq!(rest.replace(' ', ""), expected.replace(' ', ""), "{text}");
    }
}
