//! An ordinary member that lies: it is thrown out or refused, and what others own stays as it is.

use portmesh::{
    DbEvent, Events, Incarnation, Limits, Node, NodeEvent, Watch,
    proto::{
        codec::Format,
        db::{
            clock::Stamp,
            item::{Item, Packed},
            name::WriteRefused,
            wire::{Chunk, Stage, Subscribe, Wire},
        },
        message::Message,
    },
    transport::memory::MemoryNetwork,
};

use super::{
    rogue::{Rogue, item, stamped, wall_ms},
    whole::{happened, next, start, until_added, within},
};
use crate::links::rig::eventually;

/// Two global nodes, a victim at the first and a watcher at the second.
pub(super) struct Scene {
    pub(super) network: MemoryNetwork,
    pub(super) g1: Node,
    pub(super) g2: Node,
    pub(super) victim: Node,
    watcher: Node,
    watch: Watch,
    events: Events,
}

impl Scene {
    pub(super) async fn new() -> Scene {
        let network = MemoryNetwork::new();
        let g1 = start(&network, "g1", &["g2"]).await;
        let g2 = start(&network, "g2", &["g1"]).await;
        let victim = start(&network, "v", &["g1"]).await;
        let watcher = start(&network, "w", &["g2"]).await;
        let mut watch = watcher.db().watch("f").unwrap();
        for key in ["one", "two"] {
            let entry = victim.db().set_wait("f", key, &1).await.unwrap();
            entry.detach();
            until_added(&mut watch, key).await;
        }
        let events = victim.events();
        Scene {
            network,
            g1,
            g2,
            victim,
            watcher,
            watch,
            events,
        }
    }

    /// What the victim owns is there, nobody was told otherwise meanwhile, and nobody but the rogue lost a link.
    pub(super) async fn unharmed(mut self) {
        let db = self.victim.db();
        db.set_wait("f", "end", &1).await.unwrap().detach();
        loop {
            match next(&mut self.watch).await {
                DbEvent::Added { key, .. } if key == "end" => break,
                DbEvent::Added { value, .. } if value.owner().as_str() == "m" => {}
                DbEvent::Deleted { key } if key.starts_with('m') => {}
                DbEvent::Synced => {}
                other => panic!("{other:?}"),
            }
        }
        for node in [&self.g1, &self.g2, &self.victim, &self.watcher] {
            let family = within(node.db().family("f")).await.unwrap();
            let own = family.iter().filter(|(_, v)| v.owner() == self.victim.id());
            let own: Vec<(&str, u64)> = own
                .map(|(key, value)| (key.as_str(), value.decode().unwrap()))
                .collect();
            assert_eq!(own, [("end", 1), ("one", 1), ("two", 1)], "{}", node.id());
        }
        for event in happened(&mut self.events).await {
            let harm = match &event {
                NodeEvent::Down { node, .. } => !node.as_str().starts_with('m'),
                NodeEvent::Up { .. } => false,
                _ => true,
            };
            assert!(!harm, "{event:?}");
        }
        let same =
            || self.g1.db().summary().unwrap().digest == self.g2.db().summary().unwrap().digest;
        eventually("the same view", same).await;
    }
}

fn set(key: &str, seq: u64) -> Vec<(&str, Vec<Item>)> {
    vec![("f", vec![item(key, seq, 666)])]
}

pub(super) fn subscribe(sub: u64) -> Wire {
    Wire::Subscribe(Subscribe {
        sub,
        family: "f".parse().unwrap(),
        key: None,
        once: false,
        known: Vec::new(),
    })
}

/// What closes the link of a node that is attached, and a part of the reason.
fn breaches(m: &Rogue, victim: &Node) -> Vec<(Wire, &'static str)> {
    let of = |owner: &Node, life: Incarnation| {
        Wire::Chunk(Chunk {
            owner: owner.id().clone(),
            life,
            ..m.chunk(0, 9, set("one", 9))
        })
    };
    let own = |from, to, items| Wire::Chunk(m.chunk(from, to, items));
    let another = "what another node owns";
    let (life, v) = (m.life, victim.id().clone());
    let later = Incarnation::new(life.started_ms() + 1_000, 1);
    vec![
        (of(victim, victim.incarnation()), another),
        (of(victim, later), another),
        (
            Wire::Chunk(Chunk {
                life: later,
                ..m.chunk(0, 1, set("m", 1))
            }),
            another,
        ),
        (
            Wire::Chunk(Chunk {
                sub: 1,
                ..m.chunk(0, 1, set("m", 1))
            }),
            another,
        ),
        (own(5, 6, set("m", 6)), "hole"),
        (own(u64::MAX, u64::MAX, Vec::new()), "hole"),
        (
            Wire::Chunk(Chunk {
                stage: Stage::Last,
                ..m.chunk(0, 1, set("m", 1))
            }),
            "hole",
        ),
        // numbers that are none of a chunk's
        (own(0, 1, set("m", 2)), "numbers"),
        (own(0, 1, set("m", u64::MAX)), "numbers"),
        (own(3, 2, Vec::new()), "numbers"),
        (
            own(0, 2, vec![("f", vec![item("m", 2, 1), item("m2", 1, 1)])]),
            "numbers",
        ),
        (
            own(0, 2, vec![("f", vec![item("m", 2, 1), item("m2", 2, 1)])]),
            "numbers",
        ),
        (
            own(
                0,
                2,
                vec![(
                    "f",
                    vec![
                        item("m", 1, 1),
                        Item::Floor {
                            seq: 2,
                            floor: u64::MAX,
                        },
                    ],
                )],
            ),
            "numbers",
        ),
        (
            Wire::Known {
                shards: vec![(v.clone(), victim.incarnation(), u64::MAX)],
                last: true,
            },
            "no global node",
        ),
        (Wire::Accept(wall_ms()), "accepts as global"),
        (Wire::Synced(0), "nothing was asked"),
        (
            Wire::Attached {
                version: u64::MAX,
                wall_ms: u64::MAX,
            },
            "was not asked",
        ),
        (Wire::Applied(u64::MAX), "not sent"),
        (
            Wire::Refused {
                seq: 1,
                why: WriteRefused::ClockAhead(1),
            },
            "not sent",
        ),
        (
            Wire::Gone {
                sub: 1,
                owner: v.clone(),
                life: victim.incarnation(),
            },
            "no home",
        ),
        (Wire::Globals(vec![(v, vec!["m".into()])]), "no home"),
        (
            Wire::Attach {
                counter: 2,
                version: 0,
            },
            "attached already",
        ),
        (subscribe(0), "subscription 0"),
    ]
}

// R1 R9
#[tokio::test(start_paused = true)]
async fn a_member_that_breaks_the_rules_is_thrown_out_and_nobody_else_is_harmed() {
    let scene = Scene::new().await;
    let m = Rogue::new(&scene.network, "m", "g1", false).await;
    for (counter, (wire, words)) in (1..).zip(breaches(&m, &scene.victim)) {
        m.attach(counter, 0).await;
        m.say(&wire);
        let reason = m.thrown_out().await;
        assert!(reason.contains(words), "{wire:?}: {reason}");
    }
    // and what is no message, or one of none that there is
    let limits = Limits::default();
    let odd = [
        Message::encode(&("nonsense", 1), &limits).unwrap(),
        Message::encode(&("attach", 1), &limits).unwrap(),
        Message::encode(&("attach", 1, 2, 3), &limits).unwrap(),
        Message::encode(&("attach", -1, 2), &limits).unwrap(),
        Message::encode(&("known", ("a", "b", "c"), true), &limits).unwrap(),
        Message::from_wire(vec![0xff, 0x00].into(), Format::cbor()),
    ];
    for message in odd {
        m.link().await;
        m.say_raw(message);
        let reason = m.thrown_out().await;
        assert!(reason.contains("a DB frame that is none"), "{reason}");
    }
    scene.unharmed().await;
}

// R1 R9
#[tokio::test(start_paused = true)]
async fn a_member_that_is_not_attached_may_say_nothing() {
    let scene = Scene::new().await;
    // a global node, and an ordinary one
    for (name, to) in [("m1", "g1"), ("m2", "v")] {
        let m = Rogue::new(&scene.network, name, to, false).await;
        let own = Wire::Chunk(m.chunk(0, 1, set("m", 1)));
        let mut all = vec![own, subscribe(1), Wire::Detach];
        all.extend(
            breaches(&m, &scene.victim)
                .into_iter()
                .map(|(wire, _)| wire),
        );
        for wire in all {
            if to == "g1" && matches!(wire, Wire::Attach { .. }) {
                continue;
            }
            m.link().await;
            m.say(&wire);
            let reason = m.thrown_out().await;
            assert!(reason.contains("code 6"), "{wire:?}: {reason}");
        }
        // what is ignored
        m.link().await;
        m.say(&Wire::Conflict {
            family: "f".parse().unwrap(),
            key: "one".into(),
            owners: vec![m.node.name.clone(); 20_000],
        });
        m.say(&Wire::Decline("no".repeat(100_000)));
        m.say(&Wire::Unsubscribe(u64::MAX));
        m.say(&Wire::Detach);
        m.thrown_out().await;
    }
    scene.unharmed().await;
}

// R1 R2 R9
#[tokio::test(start_paused = true)]
async fn what_a_member_may_not_write_is_refused_and_the_rest_is_taken() {
    let scene = Scene::new().await;
    let m = Rogue::new(&scene.network, "m", "g1", false).await;
    m.attach(1, 0).await;
    let text = |len: usize| {
        let value = Packed::encode(
            &"x".repeat(len),
            &Limits {
                db_value_bytes_max: 1 << 20,
                ..Limits::default()
            },
        );
        (value.unwrap(), Stamp::of_ms(wall_ms()))
    };
    let (value, stamp) = text(300_000);
    let large = Item::Set {
        key: "m-large".into(),
        seq: 8,
        stamp,
        value,
    };
    let ahead = Stamp::of_ms(wall_ms() + 6_000);
    let items = vec![
        ("'homes", vec![item("v", 1, 1), item("m", 2, 1)]),
        ("'links", vec![item("g2", 3, 1)]),
        ("'nodes", vec![item("v", 4, 1)]),
        ("'other", vec![item("m", 5, 1)]),
        (
            "f",
            vec![
                stamped("one", 6, 666, ahead),
                stamped("one", 7, 666, Stamp(u64::MAX)),
                large,
                item(&"m".repeat(2_000), 9, 1),
                item("m-good", 10, 1),
                // none of its own: nothing happens
                Item::Removed {
                    key: "one".into(),
                    seq: 11,
                },
                Item::Floor { seq: 12, floor: 11 },
            ],
        ),
    ];
    let mut items = items;
    items.push(("'crl", vec![item("v", 13, 1)]));
    m.say(&Wire::Chunk(m.chunk(0, 13, items)));
    m.until(|wire| *wire == Wire::Applied(13)).await;
    let got = m.got();
    let refused: Vec<(u64, &'static str)> = got
        .iter()
        .filter_map(|wire| match wire {
            Wire::Refused { seq, why } => Some((
                *seq,
                match why {
                    WriteRefused::NotPermitted(_) => "not permitted",
                    WriteRefused::ClockAhead(5_001..) => "ahead",
                    WriteRefused::ValueTooLarge { .. } => "large",
                    WriteRefused::BadKey { bytes: 2_000, .. } => "key",
                    other => panic!("{other:?}"),
                },
            )),
            _ => None,
        })
        .collect();
    let not = "not permitted";
    assert_eq!(
        refused,
        [
            (1, not),
            (2, not),
            (3, not),
            (4, not),
            (5, not),
            (6, "ahead"),
            (7, "ahead"),
            (8, "large"),
            (9, "key"),
            (13, not)
        ]
    );
    assert!(m.is_linked());
    let keys = || async { within(scene.g1.db().keys("f")).await.unwrap() };
    assert_eq!(keys().await, ["m-good", "one", "two"]);
    // where the victim lives is the victim's word alone
    let nodes = within(scene.g1.db().entry("'nodes", "v")).await.unwrap();
    assert_eq!(nodes.unwrap().owner().as_str(), "v");

    // numbers that go down, and as high as they can
    let say = |from, to, items| m.say(&Wire::Chunk(m.chunk(from, to, items)));
    say(0, 5, set("m-early", 5));
    say(12, u64::MAX, set("m-last", u64::MAX));
    say(u64::MAX, u64::MAX, Vec::new());
    say(0, u64::MAX, set("m-late", u64::MAX));
    let applied = |wire: &&Wire| **wire == Wire::Applied(u64::MAX);
    eventually("all is answered", || {
        m.got().iter().any(|wire| applied(&wire))
    })
    .await;
    assert!(m.is_linked());
    let mut watch = scene.g2.db().watch("f").unwrap();
    until_added(&mut watch, "m-last").await;
    assert_eq!(keys().await, ["m-good", "m-last", "one", "two"]);

    // it moves its home with numbers that are as high as they can be
    m.say(&Wire::Detach);
    m.attach(u64::MAX, u64::MAX).await;
    m.until(|wire| {
        matches!(
            wire,
            Wire::Attached {
                version: u64::MAX,
                ..
            }
        )
    })
    .await;
    drop(watch);
    scene.unharmed().await;
}
