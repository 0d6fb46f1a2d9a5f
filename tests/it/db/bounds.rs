//! What one member can make others hold and do is bounded.

use portmesh::{
    Incarnation, Limits,
    proto::db::{
        clock::Stamp,
        item::{Item, Packed},
        wire::{Chunk, Stage, Subscribe, Wire},
    },
    transport::memory::MemoryNetwork,
};

use super::{
    members::{Scene, subscribe},
    rogue::{Rogue, wall_ms},
    whole::{limited, within},
};

// R9: lists as long as a message may be, and more at a time than is borne
#[tokio::test(start_paused = true)]
async fn what_a_member_asks_for_is_bounded() {
    let scene = Scene::new().await;
    let m = Rogue::new(&scene.network, "m", "g1", false).await;
    m.attach(1, 0).await;
    let known = |n: u64| {
        let node = format!("nobody{n}").parse().unwrap();
        (node, Incarnation::new(n, n.into()), u64::MAX)
    };
    m.say(&Wire::Subscribe(Subscribe {
        sub: u64::MAX,
        family: "f".parse().unwrap(),
        key: None,
        once: false,
        known: (0..20_000)
            .map(known)
            .chain([(scene.victim.id().clone(), Incarnation::new(u64::MAX, 1), 0)])
            .collect(),
    }));
    m.until(|wire| *wire == Wire::Synced(u64::MAX)).await;
    let told = |wire: &Wire| matches!(wire, Wire::Chunk(chunk) if chunk.owner.as_str() == "v" && chunk.from == 0);
    m.until(told).await;
    // one name for many, taken back and asked for again
    for n in 0..2_000u64 {
        let family = format!("f{n}").parse().unwrap();
        m.say(&Wire::Subscribe(Subscribe {
            sub: 1,
            family,
            key: None,
            once: false,
            known: Vec::new(),
        }));
        m.say(&subscribe(2 + n));
        m.say(&Wire::Unsubscribe(2 + n));
    }
    m.say(&subscribe(7_777));
    m.until(|wire| *wire == Wire::Synced(7_777)).await;
    for sub in 10_000..10_000 + 1_023 {
        if m.is_linked() {
            m.say(&subscribe(sub));
        }
    }
    let reason = m.thrown_out().await;
    assert!(reason.contains("more at a time"), "{reason}");
    scene.unharmed().await;
}

// R9: what one node says of itself is not told to all others again and again
#[tokio::test(start_paused = true)]
async fn a_member_that_calls_itself_global_in_its_own_entry_moves_nobody() {
    let scene = Scene::new().await;
    let other = Rogue::new(&scene.network, "other", "g1", false).await;
    other.attach(1, 0).await;
    let before = other.got().len();
    let m = Rogue::new(&scene.network, "m", "g1", false).await;
    m.attach(1, 0).await;
    let advert = portmesh::proto::db::engine::Advert {
        addr: vec!["m".to_owned(); 1_000],
        global: true,
        version: "x".repeat(1_000),
    };
    let value = Packed::encode(&advert, &Limits::default()).unwrap();
    for seq in 1..=50 {
        let set = Item::Set {
            key: "m".into(),
            seq,
            stamp: Stamp::of_ms(wall_ms()),
            value: value.clone(),
        };
        m.say(&Wire::Chunk(m.chunk(
            seq - 1,
            seq,
            vec![("'nodes", vec![set])],
        )));
    }
    m.until(|wire| *wire == Wire::Applied(50)).await;
    other.say(&subscribe(1));
    other.until(|wire| *wire == Wire::Synced(1)).await;
    let globals = other.got().split_off(before);
    let globals = globals.iter().filter(|w| matches!(w, Wire::Globals(_)));
    assert_eq!(globals.count(), 0);
    assert!(
        scene
            .g2
            .links()
            .iter()
            .all(|link| link.node.as_str() != "m")
    );
    scene.unharmed().await;
}

// R9: what counts only when it is whole is kept within the quota as well
#[tokio::test(start_paused = true)]
async fn a_member_that_never_ends_a_sweep_is_thrown_out() {
    let network = MemoryNetwork::new();
    let limits = Limits {
        db_node_bytes_max: 100_000,
        ..Limits::default()
    };
    let g = limited(&network, "g1", &[], limits).await;
    let m = Rogue::new(&network, "m", "g1", false).await;
    m.attach(1, 0).await;
    let value = Packed::encode(&"x".repeat(10_000), &Limits::default()).unwrap();
    for seq in 1..100 {
        if !m.is_linked() {
            break;
        }
        let set = Item::Set {
            key: format!("m{seq}").into(),
            seq,
            stamp: Stamp::of_ms(wall_ms()),
            value: value.clone(),
        };
        let stage = match seq {
            1 => Stage::First,
            _ => Stage::Part,
        };
        m.say(&Wire::Chunk(Chunk {
            stage,
            ..m.chunk(0, 1_000, vec![("f", vec![set])])
        }));
    }
    let reason = m.thrown_out().await;
    assert!(reason.contains("hole"), "{reason}");
    assert_eq!(within(g.db().keys("f")).await.unwrap(), [""; 0]);
}
