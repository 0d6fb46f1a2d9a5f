//! The database between nodes of a test.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod net;

use std::time::Duration;

use self::net::Net;
use super::{engine::Output, item::Packed, name::Family};
use crate::proto::limits::Limits;

fn pairs(list: &[(&str, u64)]) -> Vec<(String, u64)> {
    list.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect()
}

/// Two global nodes, and one node attached to each.
fn two_homes() -> Net {
    let mut net = Net::new(Limits::default());
    net.start("g1", true);
    net.start("g2", true);
    net.link("g1", "g2");
    net.start("a", false);
    net.start("b", false);
    net.link("a", "g1");
    net.link("b", "g2");
    net
}

// R1 R3 R7
#[test]
fn what_one_node_sets_the_others_see_and_it_goes_with_its_owner() {
    let mut net = two_homes();
    net.set("a", "f", "k", 1);
    for node in ["a", "g1", "g2", "b"] {
        assert_eq!(net.see(node, "f"), pairs(&[("k", 1)]), "{node}");
    }
    net.set("b", "f", "l", 2);
    net.remove("a", "f", "k");
    for node in ["a", "g1", "g2", "b"] {
        assert_eq!(net.see(node, "f"), pairs(&[("l", 2)]), "{node}");
    }
    net.crash("b");
    for node in ["a", "g1", "g2"] {
        assert_eq!(net.see(node, "f"), pairs(&[]), "{node}");
    }
}

// R2
#[test]
fn of_several_owners_the_latest_shows_and_then_the_next() {
    let mut net = two_homes();
    net.set("a", "f", "k", 1);
    net.wait(Duration::from_millis(5));
    net.set("b", "f", "k", 2);
    for node in ["a", "g1", "g2", "b"] {
        assert_eq!(net.see(node, "f"), pairs(&[("k", 2)]), "{node}");
    }
    net.crash("b");
    for node in ["a", "g1", "g2"] {
        assert_eq!(net.see(node, "f"), pairs(&[("k", 1)]), "{node}");
    }
}

// R5 R6
#[test]
fn a_home_that_dies_costs_no_entry_and_no_flapping() {
    let mut net = two_homes();
    net.set("a", "f", "k", 1);
    let watch = net.watch("b", "f");
    let local = net.watch("g2", "f");
    assert_eq!(net.changes("b", watch), ["+k=1", "synced"]);
    assert_eq!(net.changes("g2", local), ["+k=1", "synced"]);
    net.crash("g1");
    net.wait(Duration::from_secs(2));
    net.link("a", "g2");
    net.wait(Duration::from_secs(20));
    net.set("a", "f", "l", 2);
    assert_eq!(net.changes("b", watch), ["+l=2"]);
    assert_eq!(net.changes("g2", local), ["+l=2"]);
    // and one that dies for good, with all that is attached to it
    net.crash("a");
    assert_eq!(net.changes("b", watch), ["-k", "-l"]);
}

// R6
#[test]
fn a_watcher_goes_on_with_the_difference_at_another_home() {
    let mut net = two_homes();
    for n in 0..50 {
        net.set("a", "f", &format!("k{n}"), n);
    }
    net.start("w", false);
    net.link("w", "g2");
    let watch = net.watch("w", "f");
    assert_eq!(net.changes("w", watch).len(), 51);
    net.cut("w", "g2");
    net.set("a", "f", "new", 1);
    net.bytes = 0;
    net.link("w", "g1");
    net.wait(Duration::from_secs(10));
    assert_eq!(net.changes("w", watch), ["+new=1"]);
    assert!(net.bytes < 2_000, "{}", net.bytes);
}

// R3 R8
#[test]
fn nodes_that_meet_again_exchange_the_difference_alone() {
    let mut net = two_homes();
    for n in 0..500 {
        net.set("a", "f", &format!("k{n}"), n);
        net.set("b", "g", &format!("k{n}"), n);
    }
    net.cut("g1", "g2");
    net.wait(Duration::from_secs(10));
    assert_eq!(net.see("b", "f").len(), 0);
    for n in 0..10 {
        net.set("a", "f", &format!("k{n}"), n + 1_000);
        net.remove("b", "g", &format!("k{n}"));
    }
    net.bytes = 0;
    net.link("g1", "g2");
    assert!(net.bytes < 4_000, "{}", net.bytes);
    assert_eq!(net.see("g1", "g").len(), 490);
    assert_eq!(net.see("b", "f").len(), 500);
    let (one, two) = (net.nodes["g1"].summary(), net.nodes["g2"].summary());
    assert_eq!(one.digest, two.digest);
}

// R3
#[test]
fn global_nodes_that_are_linked_only_through_others_hold_the_same() {
    let mut net = Net::new(Limits::default());
    for name in ["g1", "g2", "g3"] {
        net.start(name, true);
    }
    net.link("g1", "g2");
    net.link("g2", "g3");
    net.start("a", false);
    net.link("a", "g1");
    net.set("a", "f", "k", 1);
    net.set("g3", "f", "l", 2);
    for node in ["g1", "g2", "g3", "a"] {
        assert_eq!(net.see(node, "f"), pairs(&[("k", 1), ("l", 2)]), "{node}");
    }
    let digests = net.nodes.values().filter(|db| db.is_global());
    let digests: Vec<String> = digests.map(|db| db.summary().digest).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
}

// R8: removals that the owner has forgotten do not come back
#[test]
fn who_missed_forgotten_removals_learns_of_them_all_the_same() {
    let limits = Limits {
        db_tombstones_max: 4,
        ..Limits::default()
    };
    let mut net = Net::new(limits);
    net.start("g1", true);
    net.start("g2", true);
    net.link("g1", "g2");
    net.start("a", false);
    net.link("a", "g1");
    for n in 0..40 {
        net.set("a", "f", &format!("k{n:02}"), n);
    }
    let watch = net.watch("g2", "f");
    net.changes("g2", watch);
    net.cut("g1", "g2");
    for n in 0..35 {
        net.remove("a", "f", &format!("k{n:02}"));
    }
    net.set("a", "f", "k36", 1_000);
    net.link("g1", "g2");
    assert_eq!(net.see("g2", "f").len(), 5);
    let changes = net.changes("g2", watch);
    assert_eq!(changes.iter().filter(|c| c.starts_with('-')).count(), 35);
    assert!(changes.contains(&"~k36=1000".to_owned()));
}

// R9
#[test]
fn a_home_refuses_what_is_too_far_ahead_and_its_owner_drops_it() {
    let mut net = two_homes();
    let family: Family = "f".parse().unwrap();
    let value = Packed::encode(&1, &net.limits).unwrap();
    let mut now = net.now();
    now.wall_ms += 6_000;
    let a = net.nodes.get_mut("a").unwrap();
    let seq = a.set(&family, "k", value, now).unwrap();
    assert_eq!(a.wait_for(seq), None);
    net.settle();
    let outputs = &net.outputs["a"];
    assert!(
        outputs
            .iter()
            .any(|o| matches!(o, Output::Written(s, Err(_)) if *s == seq))
    );
    for node in ["a", "g1", "b"] {
        assert_eq!(net.see(node, "f"), pairs(&[]), "{node}");
    }
    net.set("a", "f", "k", 2);
    assert_eq!(net.see("b", "f"), pairs(&[("k", 2)]));
}

// R3: a home that never had an entry passes its removal on
#[test]
fn what_was_removed_between_two_homes_is_gone_where_it_was_known() {
    let mut net = two_homes();
    net.set("a", "f", "k", 1);
    net.crash("g1");
    net.remove("a", "f", "k");
    net.set("a", "f", "l", 2);
    net.start("g3", true);
    net.link("a", "g3");
    net.link("g3", "g2");
    assert_eq!(net.see("b", "f"), pairs(&[("l", 2)]));
}

// R3 R9: a home that refuses a write has not seen what it was to replace; its readers have
#[test]
fn what_a_refused_write_was_to_replace_does_not_come_back() {
    let mut net = two_homes();
    let watch = net.watch("g2", "f");
    let family: Family = "f".parse().unwrap();
    net.set("a", "f", "k", 1);
    net.crash("g1");
    let value = Packed::encode(&2, &net.limits).unwrap();
    let mut now = net.now();
    now.wall_ms += 60_000;
    let a = net.nodes.get_mut("a").unwrap();
    a.set(&family, "k", value, now).unwrap();
    net.wait(Duration::from_secs(30));
    assert_eq!(net.see("g2", "f"), pairs(&[]), "its owner is gone");
    net.changes("g2", watch);
    net.follows = Some(("g2".to_owned(), watch));
    net.start("g3", true);
    net.link("g3", "g2");
    net.link("a", "g3");
    net.wait(Duration::from_secs(30));
    assert_eq!(net.see("g2", "f"), pairs(&[]));
    assert_eq!(net.followed, Vec::<String>::new());
}

// R3 R9
#[test]
fn a_refusal_that_is_lost_with_the_home_parts_no_views() {
    let mut net = two_homes();
    let family: Family = "f".parse().unwrap();
    let value = Packed::encode(&1, &net.limits).unwrap();
    let mut now = net.now();
    now.wall_ms += 6_000;
    let a = net.nodes.get_mut("a").unwrap();
    let seq = a.set(&family, "k", value, now).unwrap();
    assert_eq!(a.wait_for(seq), None);
    // what g1 answers does not arrive
    let links = net.links.clone();
    net.links
        .retain(|(from, _), (to, _)| (&**from, &**to) != ("g1", "a"));
    net.settle();
    net.links = links;
    net.cut("a", "g1");
    net.wait(Duration::from_secs(10));
    net.link("a", "g2");
    for node in ["a", "g1", "g2", "b"] {
        assert_eq!(net.see(node, "f"), pairs(&[("k", 1)]), "{node}");
    }
    // under the number that its writer knows
    let now = net.now();
    let a = net.nodes.get_mut("a").unwrap();
    assert!(a.remove_if(&family, "k", seq, now));
    net.settle();
    assert_eq!(net.see("b", "f"), pairs(&[]));
}

// R2: told as an event with all owners
#[test]
fn a_conflict_is_told_to_readers_and_to_both_owners() {
    let mut net = two_homes();
    let watch = net.watch("g1", "f");
    net.set("a", "f", "k", 1);
    net.wait(Duration::from_millis(5));
    net.set("b", "f", "k", 2);
    let told = |net: &Net, node: &str| {
        let outputs = &net.outputs[node];
        outputs.iter().any(
            |o| matches!(o, Output::Conflict(_, key, owners) if **key == *"k" && owners.len() == 2),
        )
    };
    assert!(told(&net, "a"));
    assert!(told(&net, "b"));
    assert_eq!(net.changes("g1", watch), ["synced", "+k=2", "!k:2"]);
}

/// A slow reader is told one change a key.
// R6
#[test]
fn what_a_slow_reader_missed_is_one_change_a_key() {
    let mut net = two_homes();
    let watch = net.watch("b", "f");
    assert_eq!(net.changes("b", watch), ["synced"]);
    for n in 0..100 {
        net.set("a", "f", "k", n);
        net.set("a", "f", "passing", n);
        net.remove("a", "f", "passing");
    }
    assert_eq!(net.changes("b", watch), ["+k=99"]);
}
