//! The default table, rules together, and that no order of them and no further rule opens what one denies.

#![allow(clippy::unwrap_used)]

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

fn peer(node: &str, proof: Proof) -> PeerIdentity {
    PeerIdentity {
        proof: Some(proof),
        ..PeerIdentity::of_node(node.parse().unwrap())
    }
}

/// A port of that name: whether the asker spawned it, and the family that it is registered in.
#[derive(Debug, Clone, Copy)]
struct Port(&'static str, bool, &'static str);

fn may(policy: &Policy, who: &PeerIdentity, operation: Operation, port: Port) -> bool {
    let Port(name, spawned, family) = port;
    let asked = Asked::Port(PortFacts {
        name,
        is_spawned: &|| spawned,
        is_registered: &|wanted| !family.is_empty() && wanted(family),
    });
    let compiled = policy.for_peer(who);
    let decision = compiled.decide(operation, &asked);
    assert_eq!(
        compiled.check(&who.node, operation, &asked).is_ok(),
        decision.allowed
    );
    // what is open is open for all
    assert!(decision.allowed || !compiled.is_open(operation));
    decision.allowed
}

fn may_name(policy: &Policy, who: &PeerIdentity, operation: Operation, name: &str) -> bool {
    let compiled = policy.for_peer(who);
    compiled.decide(operation, &Asked::Name(name)).allowed
}

fn may_at_all(policy: &Policy, who: &PeerIdentity, operation: Operation) -> bool {
    let compiled = policy.for_peer(who);
    compiled.decide(operation, &Asked::Nothing).allowed
}

// M1, S2
#[test]
fn the_default_policy_is_the_table_of_the_manual() {
    let policy = Policy::default();
    for proof in [Proof::Certificate, Proof::Secret] {
        let who = peer("a", proof);
        for port in [
            Port("", false, ""),
            Port("x", false, ""),
            Port("y", true, "f"),
        ] {
            assert!(may(&policy, &who, Operation::Send, port), "{port:?}");
            assert!(may(&policy, &who, Operation::Monitor, port), "{port:?}");
            let kills = may(&policy, &who, Operation::Kill, port);
            assert_eq!(kills, port.1, "{port:?}");
        }
        for operation in [Operation::Spawn, Operation::DbRead, Operation::DbWrite] {
            assert!(may_name(&policy, &who, operation, "anything"));
            assert!(policy.for_peer(&who).is_open(operation));
        }
        for operation in [Operation::Global, Operation::Relay, Operation::Admin] {
            assert!(!may_at_all(&policy, &who, operation), "{operation}");
        }
    }
    assert!(!policy.may_be_global(&"a".parse().unwrap()));
}

#[test]
fn a_rule_is_for_those_of_its_name_and_proof_alone() {
    let rule = |rule: Rule| {
        let denied = rule.deny(Operation::Send, ["*"]).unwrap();
        Policy::default().with(denied)
    };
    let port = Port("x", false, "");
    let certified = rule(
        Rule::for_nodes("worker/*")
            .unwrap()
            .or_nodes("a")
            .unwrap()
            .by(Proof::Certificate),
    );
    for (name, proof, denied) in [
        ("worker/1", Proof::Certificate, true),
        ("a", Proof::Certificate, true),
        ("worker/1", Proof::Secret, false),
        ("b", Proof::Certificate, false),
        ("my/worker/1", Proof::Certificate, false),
    ] {
        let may = may(&certified, &peer(name, proof), Operation::Send, port);
        assert_eq!(may, !denied, "{name} by {proof}");
    }
    let old = rule(Rule::for_all().by_secret("old"));
    let by = |secret: Option<&str>| PeerIdentity {
        secret: secret.map(str::to_owned),
        ..peer("a", Proof::Secret)
    };
    assert!(!may(&old, &by(Some("old")), Operation::Send, port));
    assert!(may(&old, &by(Some("new")), Operation::Send, port));
    assert!(may(&old, &by(None), Operation::Send, port));
}

#[test]
fn each_target_is_what_it_says() {
    let who = peer("a", Proof::Secret);
    let ports = [
        Port("", false, ""),
        Port("abc1", false, ""),
        Port("x", true, ""),
        Port("y", false, "jobs:fast"),
    ];
    for (target, wanted) in [
        ("*", [true, true, true, true]),
        ("node-port", [true, false, false, false]),
        ("port:abc*", [false, true, false, false]),
        ("port:*", [false, true, true, true]),
        ("spawned", [false, false, true, false]),
        ("family:jobs:*", [false, false, false, true]),
        ("family:job", [false, false, false, false]),
    ] {
        let rule = Rule::for_all().allow(Operation::Send, [target]).unwrap();
        let policy = Policy::default().with(rule);
        let got = ports.map(|port| may(&policy, &who, Operation::Send, port));
        assert_eq!(got, wanted, "{target}");
    }
    for (operation, wrong) in [
        (Operation::Kill, "node-port"),
        (Operation::Send, "spawn"),
        (Operation::Send, "family:"),
        (Operation::Send, "host:a"),
        (Operation::Monitor, ""),
        (Operation::DbRead, "a family"),
        (Operation::Admin, "all"),
    ] {
        let rule = Rule::for_all().allow(operation, [wrong]);
        assert!(rule.is_err(), "{operation} {wrong}");
    }
    assert!(Rule::for_nodes("no such").is_err());
}

// the system's families are how nodes find each other
#[test]
fn the_systems_families_are_read_unless_a_rule_names_them() {
    let who = peer("a", Proof::Secret);
    let read = |policy: &Policy, family: &str| may_name(policy, &who, Operation::DbRead, family);
    let few = Rule::for_all().allow(Operation::DbRead, ["jobs"]).unwrap();
    let policy = Policy::default().with(few.clone());
    assert!(read(&policy, "jobs") && read(&policy, "'nodes"));
    assert!(!read(&policy, "other"));
    let none = few.clone().deny(Operation::DbRead, ["*"]).unwrap();
    let policy = Policy::default().with(none);
    assert!(!read(&policy, "jobs") && read(&policy, "'nodes"));
    let hidden = few.deny(Operation::DbRead, ["'*"]).unwrap();
    let policy = Policy::default().with(hidden);
    assert!(read(&policy, "jobs") && !read(&policy, "'nodes"));
}

#[test]
fn a_decision_names_the_rule_that_made_it() {
    let who = peer("a", Proof::Secret);
    let other = Rule::for_nodes("b").unwrap().deny_all(Operation::Spawn);
    let allow = Rule::for_all().allow(Operation::Spawn, ["x*"]).unwrap();
    let deny = Rule::for_all().deny(Operation::Spawn, ["xx*"]).unwrap();
    let policy = Policy::default()
        .with(other.at_line(1))
        .with(allow.at_line(5))
        .with(deny.at_line(9));
    let compiled = policy.for_peer(&who);
    let by = |function: &str| {
        let decision = compiled.decide(Operation::Spawn, &Asked::Name(function));
        (decision.allowed, decision.by.to_string())
    };
    assert_eq!(by("x1"), (true, "rule 2 (line 5)".to_owned()));
    assert_eq!(by("xx1"), (false, "rule 3 (line 9)".to_owned()));
    assert_eq!(by("y"), (false, "rule 2 (line 5)".to_owned()));
    let decision = compiled.decide(Operation::DbWrite, &Asked::Name("f"));
    assert_eq!(
        (decision.allowed, decision.by.to_string().as_str()),
        (true, "the defaults")
    );
    let denial = compiled.check(&who.node, Operation::Spawn, &Asked::Name("y"));
    assert_eq!(denial.unwrap_err().text, "a may not spawn y");
}

#[test]
fn defaults_are_replaced_one_operation_at_a_time() {
    let who = peer("a", Proof::Secret);
    let defaults = Rule::for_all().allow(Operation::Spawn, []).unwrap();
    let defaults = defaults.allow_all(Operation::Kill);
    let policy = Policy::default().with_defaults(defaults);
    let port = Port("x", false, "");
    assert!(!may_name(&policy, &who, Operation::Spawn, "f"));
    assert!(may(&policy, &who, Operation::Kill, port));
    assert!(may(&policy, &who, Operation::Send, port));
    let spawns = Rule::for_nodes("a")
        .unwrap()
        .allow(Operation::Spawn, ["f"])
        .unwrap();
    assert!(may_name(&policy.with(spawns), &who, Operation::Spawn, "f"));
}

#[test]
fn without_a_proof_a_node_may_be_global_by_any_rule_for_it() {
    let policy = Policy::default().with(
        Rule::for_nodes("g/*")
            .unwrap()
            .by(Proof::Certificate)
            .allow_all(Operation::Global),
    );
    let node = |name: &str| name.parse::<NodeId>().unwrap();
    assert!(policy.may_be_global(&node("g/1")));
    assert!(!policy.may_be_global(&node("h/1")));
    let by = |proof| may_at_all(&policy, &peer("g/1", proof), Operation::Global);
    assert!(by(Proof::Certificate) && !by(Proof::Secret));
}

const NODES: [&str; 5] = ["*", "a", "a*", "b", "*b"];
const TARGETS: [&str; 6] = [
    "*",
    "node-port",
    "spawned",
    "port:x*",
    "family:f*",
    "port:y",
];
const PORTS: [Port; 5] = [
    Port("", false, ""),
    Port("x1", false, ""),
    Port("y", true, ""),
    Port("z", false, "f1"),
    Port("z", false, "g1"),
];

fn rule() -> impl Strategy<Value = Rule> {
    let proof = prop_oneof![
        2 => Just(None),
        1 => Just(Some(Proof::Certificate)),
        1 => Just(Some(Proof::Secret)),
    ];
    let targets = || vec(select(&TARGETS[..]), 0..3);
    let parts = (
        select(&NODES[..]),
        proof,
        prop::option::of(targets()),
        targets(),
    );
    parts.prop_map(|(node, proof, allow, deny)| {
        let mut rule = Rule::for_nodes(node).unwrap();
        if let Some(proof) = proof {
            rule = rule.by(proof);
        }
        if let Some(allow) = allow {
            rule = rule.allow(Operation::Send, allow).unwrap();
        }
        rule.deny(Operation::Send, deny).unwrap()
    })
}

fn policy(rules: &[Rule]) -> Policy {
    rules.iter().cloned().fold(Policy::default(), Policy::with)
}

/// All that the policy says about a few peers and ports.
fn table(policy: &Policy) -> Vec<bool> {
    let peers = ["a", "ab", "b", "c"].into_iter();
    let peers = peers.flat_map(|name| [Proof::Certificate, Proof::Secret].map(|p| peer(name, p)));
    peers
        .flat_map(|who| PORTS.map(|port| may(policy, &who, Operation::Send, port)))
        .collect()
}

proptest! {
    #[test]
    fn the_order_of_rules_changes_no_decision(rules in vec(rule(), 0..6), turn in 0usize..6) {
        let mut turned = rules.clone();
        turned.reverse();
        let by = turn % turned.len().max(1);
        turned.rotate_left(by);
        prop_assert_eq!(table(&policy(&rules)), table(&policy(&turned)));
    }

    #[test]
    fn what_is_denied_stays_denied_whatever_else_allows_it(
        rules in vec(rule(), 0..5),
        denied in select(&TARGETS[..]),
        node in select(&NODES[..]),
        at in 0usize..6,
    ) {
        let deny = Rule::for_nodes(node).unwrap().deny(Operation::Send, [denied]).unwrap();
        let alone = policy(std::slice::from_ref(&deny));
        let mut with = rules.clone();
        with.insert(at.min(rules.len()), deny);
        with.push(Rule::for_all().allow_all(Operation::Send));
        let with = table(&policy(&with));
        for (alone, with) in table(&alone).into_iter().zip(with) {
            prop_assert!(alone || !with);
        }
    }

    #[test]
    fn a_rule_that_only_denies_opens_nothing(rules in vec(rule(), 0..5), denied in vec(select(&TARGETS[..]), 0..3)) {
        let deny = Rule::for_all().deny(Operation::Send, denied).unwrap();
        let before = table(&policy(&rules));
        let after = table(&policy(&rules).with(deny));
        for (before, after) in before.into_iter().zip(after) {
            prop_assert!(before || !after);
        }
    }
}
