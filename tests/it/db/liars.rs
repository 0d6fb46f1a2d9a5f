//! Nodes that say that they are global: one whose word nobody takes, and one that others trust and that lies all the same.

use std::collections::BTreeMap;

use portmesh::{
    NodeEvent,
    proto::db::wire::{Chunk, Stage, Wire},
    transport::memory::MemoryNetwork,
};

use super::{
    rogue::{Rogue, item, wall_ms},
    whole::{happened, start, until_added, within},
};

// R1 R9
#[tokio::test(start_paused = true)]
async fn who_is_not_trusted_as_global_gets_nothing_written_and_told() {
    let network = MemoryNetwork::new();
    let g1 = start(&network, "g1", &["g2"]).await;
    let g2 = start(&network, "g2", &["g1"]).await;
    let v = start(&network, "v", &["g1"]).await;
    v.db().set_wait("f", "one", &1).await.unwrap().detach();
    let mut events = g1.events();
    let m = Rogue::new(&network, "m", "g1", true).await;
    m.until(|wire| matches!(wire, Wire::Decline(_))).await;
    let known = |shards| Wire::Known { shards, last: true };
    let of_v = Wire::Chunk(Chunk {
        owner: v.id().clone(),
        life: v.incarnation(),
        ..m.chunk(0, 9, vec![("f", vec![item("one", 9, 666)])])
    });
    let own = Wire::Chunk(m.chunk(0, 1, vec![("'homes", vec![item("v", 1, 1)])]));
    let attach = Wire::Attach {
        counter: 1,
        version: 0,
    };
    // with its own acceptance before it, and without
    for accepts in [false, true] {
        for wire in [&of_v, &own, &known(Vec::new()), &attach, &Wire::Applied(1)] {
            m.link().await;
            if accepts {
                for _ in 0..100 {
                    m.say(&Wire::Accept(wall_ms()));
                    m.say(&Wire::Decline("you are none".into()));
                }
            }
            m.say(wire);
            let reason = m.thrown_out().await;
            assert!(reason.contains("code 6"), "{wire:?}: {reason}");
        }
    }
    // nothing was told to it but that it is none
    let told = m.got();
    assert!(
        told.iter().all(|wire| matches!(wire, Wire::Decline(_))),
        "{told:?}"
    );
    let events = happened(&mut events).await;
    let of_lies = events
        .iter()
        .filter(|event| matches!(event, NodeEvent::NotGlobal { .. }));
    // for each of its links once for each word, however often it was said
    assert!(of_lies.count() <= 2 * 12, "{events:?}");
    for node in [&g1, &g2, &v] {
        let found = within(node.db().family("f")).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1.decode::<u64>().unwrap(), 1);
    }
    assert_eq!(
        g1.db().summary().unwrap().digest,
        g2.db().summary().unwrap().digest
    );
    assert_eq!(v.db().home().as_ref(), Some(g1.id()));
}

// R1
#[tokio::test(start_paused = true)]
async fn a_trusted_global_node_is_not_believed_about_this_node_and_those_attached_here() {
    let network = MemoryNetwork::new();
    let g1 = start(&network, "g1", &[]).await;
    g1.db().set("f", "of-g1", &1).unwrap().detach();
    let v = start(&network, "v", &["g1"]).await;
    v.db().set_wait("f", "of-v", &1).await.unwrap().detach();
    let mut watch = v.db().watch("f").unwrap();
    until_added(&mut watch, "of-g1").await;
    let before = g1.db().summary().unwrap();

    let liar = Rogue::new(&network, "g-liar", "g1", true).await;
    liar.until(|wire| matches!(wire, Wire::Accept(_))).await;
    liar.say(&Wire::Accept(wall_ms()));
    // that it has all of what it does not have
    let (of_g1, of_v) = (
        (g1.id().clone(), g1.incarnation()),
        (v.id().clone(), v.incarnation()),
    );
    liar.say(&Wire::Known {
        shards: [&of_g1, &of_v]
            .map(|(node, life)| (node.clone(), *life, u64::MAX))
            .to_vec(),
        last: true,
    });
    let items = || {
        vec![(
            "f",
            vec![
                item("of-g1", 1_000, 666),
                item("of-v", 1_001, 666),
                item("lie", 1_002, 666),
            ],
        )]
    };
    for (owner, life) in [&of_g1, &of_v] {
        for (from, stage) in [
            (0, Stage::Whole),
            (0, Stage::Only),
            (u64::MAX, Stage::Whole),
        ] {
            for to in [1_002, u64::MAX] {
                liar.say(&Wire::Chunk(Chunk {
                    owner: owner.clone(),
                    life: *life,
                    stage,
                    // nothing of theirs is alive any more
                    alive: vec![("f".parse().unwrap(), Vec::new())],
                    ..liar.chunk(from, to, items())
                }));
            }
        }
    }
    // what it owns itself is believed, and is behind the lies
    liar.say(&Wire::Chunk(liar.chunk(
        0,
        1,
        vec![("f", vec![item("own", 1, 7)])],
    )));
    until_added(&mut watch, "own").await;
    let shown = |all: Vec<(String, portmesh::DbValue)>| -> BTreeMap<String, u64> {
        all.into_iter()
            .map(|(key, value)| (key, value.decode().unwrap()))
            .collect()
    };
    let wanted = [("of-g1", 1), ("of-v", 1), ("own", 7)];
    let wanted: BTreeMap<String, u64> = wanted.map(|(k, v)| (k.to_owned(), v)).into();
    for node in [&g1, &v] {
        assert_eq!(shown(within(node.db().family("f")).await.unwrap()), wanted);
    }
    assert!(liar.is_linked());
    // and when it is gone all is as before
    drop(liar);
    network.cut("g-liar", "g1");
    let same = || {
        let now = g1.db().summary().unwrap();
        (now.digest, now.owners) == (before.digest.clone(), before.owners)
    };
    crate::links::rig::eventually("as before", same).await;
    // what they write later is taken
    v.db().set_wait("f", "of-v", &2).await.unwrap().detach();
    let now = within(g1.db().get::<u64>("f", "of-v")).await.unwrap();
    assert_eq!(now, Some(2));
}
