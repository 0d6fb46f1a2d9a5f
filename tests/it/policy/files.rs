//! Policies that are none: every fault is told with its line and what to do.

use portmesh::{Operation, Policy, PolicyError};

fn faults(text: &str) -> Vec<String> {
    match Policy::from_toml("p.toml", text) {
        Err(PolicyError::Wrong { faults, .. }) => faults
            .into_iter()
            .map(|fault| format!("{}: {}", fault.line, fault.text))
            .collect(),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn every_fault_of_a_policy_is_told_with_its_line_and_a_remedy() {
    for (text, wanted) in [
        ("rules = 1", "1: unknown key rules; did you mean rule?"),
        ("\n[[rul]]", "2: unknown key rul; did you mean rule?"),
        (
            "send = ['*']",
            "1: send belongs below [[rule]] or [default]",
        ),
        ("node = 'a'", "1: node belongs below [[rule]] or [default]"),
        ("rule = 3", "1: write [[rule]] before"),
        ("[rule]", "1: write [[rule]] before"),
        ("default = 3", "1: write [default] before"),
        (
            "[[rule]]\nnodes = 'a'",
            "2: unknown key nodes; did you mean node?",
        ),
        (
            "[[rule]]\nfrobnicate = 'a'",
            "2: unknown key frobnicate; there are node, proof, secret, send",
        ),
        (
            "[[rule]]\nnode = 'a b'",
            "2: \"a b\" is no pattern of node IDs",
        ),
        ("[[rule]]\nnode = ['a',\n'']", "3: \"\" is no pattern"),
        (
            "[[rule]]\nnode = [1]",
            "2: give a pattern of node IDs as a text",
        ),
        (
            "[[rule]]\nproof = 'cert'",
            "2: proof is \"certificate\" or \"secret\"",
        ),
        (
            "[[rule]]\nsecret = 'old'",
            "2: secret is the name of a secret, as portmesh secret list",
        ),
        ("[[rule]]\nsecret = 1", "2: secret is the name of a secret"),
        (
            "[[rule]]\nproof = 'certificate'\nsecret = '0a1b2c3d'",
            "3: who proved itself by certificate used no secret",
        ),
        (
            "[[rule]]\nsend = ['family']",
            "2: \"family\" is nothing that send can be done to",
        ),
        (
            "[[rule]]\nkill = ['node-port']",
            "2: \"node-port\" is nothing that kill",
        ),
        ("[[rule]]\nadmin = ['*']", "2: admin is true or false"),
        ("[[rule]]\nsend = 3", "2: give what it may be done to"),
        (
            "[[rule]]\nsend = { alow = [] }",
            "2: unknown key alow; did you mean allow?",
        ),
        (
            "[[rule]]\nsend = []\ncall = []",
            "3: call is another name for send",
        ),
        (
            "[default]\nsend = { deny = ['*'] }",
            "2: the defaults only allow",
        ),
        (
            "[default]\nnode = 'a'",
            "2: unknown key node; there are send",
        ),
        ("[[rule]]\nsend = [", "2: "),
        ("[[rule]]\nsend = []\nsend = []", "3: duplicate key"),
    ] {
        let faults = faults(text);
        assert!(
            faults[0].starts_with(wanted),
            "{text:?}: {faults:?}, wanted {wanted}"
        );
    }
    let several = faults("[[rule]]\nsned = []\n[[rule]]\nspawn = ['']\nadmin = 1\n");
    assert_eq!(several.len(), 3, "{several:?}");
}

#[test]
fn a_file_that_is_no_policy_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Policy::from_toml_file(dir.path().join("none.toml")).unwrap_err();
    assert!(matches!(missing, PolicyError::Read { .. }), "{missing}");
    let binary = dir.path().join("binary");
    std::fs::write(&binary, [0xff, 0xfe, 0]).unwrap();
    let wrong = Policy::from_toml_file(&binary).unwrap_err();
    assert!(matches!(wrong, PolicyError::Read { .. }), "{wrong}");
    let file = dir.path().join("policy.toml");
    std::fs::write(&file, "\n\n[[rule]]\nspam = 1\n").unwrap();
    let wrong = Policy::from_toml_file(&file).unwrap_err().to_string();
    assert!(wrong.contains("policy.toml:4: unknown key spam"), "{wrong}");
    let large = dir.path().join("large");
    std::fs::write(&large, "#".repeat(2 << 20)).unwrap();
    assert!(Policy::from_toml_file(&large).is_err());
}

#[test]
fn the_defaults_as_they_are_shown_are_the_defaults() {
    let shown = Policy::default().defaults_toml();
    let manual =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/manual/policy.md"));
    assert!(manual.unwrap().contains(&shown), "{shown}");
    let read = Policy::from_toml("shown", &shown).unwrap();
    for operation in Operation::ALL {
        assert_eq!(
            read.defaults(operation),
            Policy::default().defaults(operation),
            "{operation}"
        );
    }
}

#[test]
fn rules_that_trust_a_name_more_than_it_is_worth_are_pointed_at() {
    let advice = |text: &str| Policy::from_toml("p", text).unwrap().advice();
    let weak = advice("[[rule]]\nnode = 'admin/*'\nadmin = true\n");
    assert_eq!(weak.len(), 1);
    assert_eq!(weak[0].line, 1);
    assert!(weak[0].text.contains("proof = \"certificate\""), "{weak:?}");
    assert!(advice("[[rule]]\nnode = 'a'\nproof = 'certificate'\nadmin = true\n").is_empty());
    assert!(advice("[[rule]]\nspawn = ['x']\n").is_empty());
    assert!(advice("[[rule]]\nrelay = true\n")[0].text.contains("relay"));
}
