//! Edits of a configuration: what is not changed stays, byte for byte.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::{prelude::*, sample::subsequence};
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

/// Lines of a file in all their shapes; each key occurs in one place of a table at most.
fn documents() -> impl Strategy<Value = String> {
    let top = [
        "id = 'a'",
        "cluster=\"shop\"   # why",
        "# a comment = 1",
        "",
        "  seed = [ 'x', # first\n  \"y\",\n\n  # retired\n ] # after",
        "limits.depth_max = 0x20",
        "services = [['f', 1, {k = [1, 2]}], \"g\"]",
        "text = \"\"\"\n[profile.w]\n# no comment\n\"\"\"",
    ];
    let own = [
        "id = \"b\"",
        "# own",
        "seed = 'z'",
        "\tglobal = true # tab",
        "limits = { values_max = 7 }",
    ];
    let lines = |lines: &'static [&'static str]| {
        let all: Vec<usize> = (0..lines.len()).collect();
        subsequence(all, 0..=lines.len())
            .prop_shuffle()
            .prop_map(move |some| {
                some.iter()
                    .map(|at| format!("{}\n", lines[*at]))
                    .collect::<String>()
            })
    };
    let top: &'static [&'static str] = Box::leak(Box::new(top));
    let own: &'static [&'static str] = Box::leak(Box::new(own));
    (
        lines(top),
        lines(own),
        lines(own),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(top, v, w, has_w, crlf, cut)| {
            let w = if has_w {
                format!("# of w\n[profile.w]#x\n{w}")
            } else {
                String::new()
            };
            let mut text = format!("{top}\n[ profile . v ]\n{v}{w}");
            if crlf {
                text = text.replace('\n', "\r\n");
            }
            if cut {
                text.truncate(text.trim_end().len());
            }
            text
        })
}

proptest! {
    #[test]
    fn an_edit_leaves_every_line_that_it_is_not_about(
        text in documents(),
        profile in prop_oneof![Just(None), Just(Some("v")), Just(Some("w")), Just(Some("new"))],
        key in prop_oneof![Just("id"), Just("seed"), Just("state"), Just("global")],
    ) {
        let mut path: Vec<&str> = profile.iter().flat_map(|name| ["profile", name]).collect();
        path.push(key);
        let end = |text: &str| text.replace("\r\n", "\n");
        let lines = |text: &str| end(text).lines().map(str::to_owned).collect::<Vec<_>>();
        // how many lines of the text are not there any more, in their order
        let lost = |edited: &str| {
            let (old, new) = (lines(&text), lines(edited));
            let mut common = vec![0; new.len() + 1];
            for line in &old {
                let before = common.clone();
                for (at, other) in new.iter().enumerate() {
                    let here = if line == other { before[at] + 1 } else { before[at + 1] };
                    common[at + 1] = here.max(common[at]);
                }
            }
            old.len() - common[new.len()]
        };
        let one = Value::from("one");
        let edited = set(&text, &path, &one).unwrap();
        // the key's own line alone may differ; a list may have five
        prop_assert!(lost(&edited) <= 5, "{edited}");
        let is_new = unset(&text, &path).unwrap().is_none();
        if is_new {
            prop_assert_eq!(lost(&edited), 0, "{}", edited);
            let back = unset(&edited, &path).unwrap().unwrap();
            prop_assert!(end(&back).starts_with(&end(&text)) || end(&back).ends_with(&end(&text)) || lost(&back) == 0, "{}", back);
        }
        prop_assert_eq!(set(&edited, &path, &one).unwrap(), edited.clone());
        if text.contains("\r\n") {
            prop_assert_eq!(edited.matches('\n').count(), edited.matches("\r\n").count(), "{}", edited);
        }
        // a list that grows and shrinks again
        let more = change_list(&text, &path, std::slice::from_ref(&one), true).unwrap();
        let less = change_list(&more, &path, &[one], false).unwrap();
        for comment in lines(&text).iter().filter_map(|line| Some(line.split_once("# ")?.1)) {
            prop_assert!(less.contains(comment), "{comment}: {less}");
        }
    }
}
