//! Too much of anything, from a program that does not mean it: its writer is told, and the others go on (R9).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use portmesh::{
    Context, DbError, Entry, Limits, Node, NodeEvent, PortId, WriteRefused,
    transport::memory::MemoryNetwork,
};

use super::whole::{happened, limited, start, until_added, within};
use crate::links::rig::eventually;

fn refused(result: Result<Entry, DbError>) -> WriteRefused {
    match result {
        Err(DbError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn few(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

/// A node at a home with those limits, and another one there.
async fn at_home(limits: Limits) -> (Node, Node, Node) {
    let network = MemoryNetwork::new();
    let g = limited(&network, "g", &[], limits).await;
    let a = start(&network, "a", &["g"]).await;
    let b = start(&network, "b", &["g"]).await;
    (g, a, b)
}

// R9
#[tokio::test(start_paused = true)]
async fn values_and_keys_over_the_limit_are_refused_where_they_are_written() {
    let (g, a, b) = at_home(Limits::default()).await;
    let bytes = |len| bytes::Bytes::from(vec![0u8; len]);
    for node in [&g, &a] {
        let db = node.db();
        for name in ["", "'", "9", "a b", "ä", "a-b", &"x".repeat(256)] {
            let why = refused(db.set(name, "k", &1));
            assert!(matches!(why, WriteRefused::BadFamily(_)), "{name}");
            assert!(matches!(db.watch(name), Err(DbError::Refused(_))), "{name}");
            assert!(db.remove(name, ["k"]).is_err(), "{name}");
        }
        assert!(matches!(
            refused(db.set("'homes", "k", &1)),
            WriteRefused::SystemFamily(_)
        ));
        assert!(db.remove("'nodes", [node.id().as_str()]).is_err());
        for len in [0, 1_025, 1 << 20] {
            let why = refused(db.set("f", &"k".repeat(len), &1));
            assert!(matches!(why, WriteRefused::BadKey { bytes, .. } if bytes == len as u64));
        }
        // as long as they may be, and one more
        let max = (256 << 10) - 5;
        db.set("f", &"k".repeat(1_024), &bytes(max))
            .unwrap()
            .accepted()
            .await
            .unwrap();
        let why = refused(db.set("f", "k", &bytes(max + 1)));
        assert!(
            matches!(why, WriteRefused::ValueTooLarge { bytes, max } if bytes == max + 1),
            "{why:?}"
        );
        let many = vec![0u8; 99_000];
        let why = refused(db.set("f", "k", &many));
        assert!(matches!(why, WriteRefused::NotEncodable(_)), "{why:?}");
    }
    assert_eq!(within(b.db().keys("f")).await.unwrap(), [""; 0]);
}

// R9
#[tokio::test(start_paused = true)]
async fn what_is_over_a_quota_is_refused_and_costs_others_nothing() {
    let limits = few(|limits| {
        limits.db_node_families_max = 4;
        limits.db_node_entries_max = 20;
        limits.db_node_bytes_max = 10_000;
    });
    let (g, a, b) = at_home(limits).await;
    // 'nodes is one family and one entry
    let mut events = a.events();
    let mut refusals = 0;
    for n in 0..50 {
        match within(a.db().set_wait("f", &format!("k{n:02}"), &n)).await {
            Ok(entry) => entry.detach(),
            Err(DbError::Refused(WriteRefused::TooManyEntries(20))) => refusals += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(refusals, 50 - 19);
    for family in ["f1", "f2", "f3"] {
        a.db().remove("f", ["k00"]).unwrap();
        refused(within(a.db().set_wait(family, "k", &1)).await);
    }
    let told = happened(&mut events).await;
    let told = told
        .iter()
        .filter(|event| matches!(event, NodeEvent::DbRefused { .. }));
    assert_eq!(told.count(), 31 + 3);
    assert_eq!(within(g.db().keys("f")).await.unwrap().len(), 18);
    // all at once, by another one: its quota is its own, and counts as well in one go
    let mut entries = Vec::new();
    for n in 0..200 {
        entries.push(b.db().set("f", &format!("b{n:03}"), &n).unwrap());
    }
    let mut taken = 0;
    for entry in &entries {
        match within(entry.accepted()).await {
            Ok(()) => taken += 1,
            Err(DbError::Refused(WriteRefused::TooManyEntries(_))) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(taken, 19);
    assert_eq!(within(a.db().keys("f")).await.unwrap().len(), 18 + 19);
    for entry in entries {
        entry.remove();
    }
    // families and bytes
    let c = |what: &WriteRefused| matches!(what, WriteRefused::TooManyFamilies(4));
    let network = MemoryNetwork::new();
    let limits = few(|limits| {
        limits.db_node_families_max = 4;
        limits.db_node_bytes_max = 10_000;
    });
    let g = limited(&network, "g", &[], limits).await;
    let a = start(&network, "a", &["g"]).await;
    for n in 1..10 {
        let set = within(a.db().set_wait(&format!("f{n}"), "k", &1)).await;
        match n {
            1..=3 => set.unwrap().detach(),
            _ => assert!(c(&refused(set))),
        }
    }
    let part = bytes::Bytes::from(vec![0u8; 3_000]);
    let mut taken = 0;
    for n in 0..10 {
        match within(a.db().set_wait("f1", &format!("b{n}"), &part)).await {
            Ok(entry) => {
                entry.detach();
                taken += 1;
            }
            Err(DbError::Refused(WriteRefused::NodeFull(10_000))) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(taken, 3);
    // what a global node owns itself is measured as well
    let mut families = 0;
    for n in 0..10 {
        match g.db().set(&format!("g{n}"), "k", &1) {
            Ok(entry) => {
                entry.detach();
                families += 1;
            }
            Err(DbError::Refused(why)) => assert!(c(&why), "{why}"),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(families < 4, "{families}");
}

// R3 R9: as many values as one may have, in entries that go together
#[tokio::test(start_paused = true)]
async fn values_that_hold_very_many_values_arrive() {
    let network = MemoryNetwork::new();
    let g1 = start(&network, "g1", &["g2"]).await;
    let g2 = start(&network, "g2", &["g1"]).await;
    let a = start(&network, "a", &["g1"]).await;
    let mut watch = g2.db().watch("f").unwrap();
    let sizes = [16_000, 1, 74_000, 16_300, 74_000, 10, 74_000];
    let mut entries = Vec::new();
    for node in [&a, &g1] {
        for (n, size) in sizes.iter().enumerate() {
            let key = format!("{}{n}", node.id());
            let entry = node.db().set("f", &key, &vec![1u8; *size]).unwrap();
            entries.push(entry);
        }
    }
    for entry in &entries {
        within(entry.accepted()).await.unwrap();
    }
    let last = sizes.len() - 1;
    until_added(&mut watch, &format!("a{last}")).await;
    let all = || async { within(g2.db().keys("f")).await.unwrap().len() };
    let start = tokio::time::Instant::now();
    while all().await < entries.len() {
        assert!(start.elapsed() < Duration::from_secs(30), "{}", all().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn echo(
    (): &mut (),
    cx: &Context,
    (n, to): (u64, PortId),
) -> Result<(), portmesh::SendError> {
    cx.send(&to, n)
}

// R9
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_writes_ten_thousand_keys_a_second_harms_nobody_else() {
    const PER_SECOND: u64 = 10_000;
    let network = MemoryNetwork::new();
    let limits = few(|limits| limits.db_node_entries_max = 15_000);
    let g1 = limited(&network, "g1", &["g2"], limits.clone()).await;
    let g2 = limited(&network, "g2", &["g1"], limits).await;
    let (writer, a, b) = (
        start(&network, "writer", &["g1"]).await,
        start(&network, "a", &["g1"]).await,
        start(&network, "b", &["g2"]).await,
    );
    let port = b.port().on("echo", echo).open();
    let mut nodes = a.db().watch("'nodes").unwrap();
    until_added(&mut nodes, "b").await;
    let mut watch = b.db().watch("other").unwrap();
    let mut downs: Vec<_> = [&g1, &g2, &writer, &a, &b].map(Node::events).into();
    // the writer, as fast as was said where the machine can
    let (done, refusals) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut told = writer.events();
    let count = refusals.clone();
    let listener = tokio::spawn(async move {
        while let Some(event) = told.next().await {
            if let NodeEvent::DbRefused { why, .. } = event {
                assert!(matches!(why, WriteRefused::TooManyEntries(15_000)), "{why}");
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let (is_done, by) = (done.clone(), writer.clone());
    let writing = tokio::spawn(async move {
        let start = Instant::now();
        let mut written = 0u64;
        while start.elapsed() < Duration::from_secs(3) {
            let due = (start.elapsed().as_secs_f64() * PER_SECOND as f64) as u64;
            for _ in 0..due.saturating_sub(written).min(1_000) {
                let entry = by.db().set("flood", &format!("{written}"), &written);
                entry.unwrap().detach();
                written += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        is_done.store(true, Ordering::Relaxed);
        written
    });
    let mut took = Vec::new();
    let mut n = 0u64;
    while !done.load(Ordering::Relaxed) {
        let start = Instant::now();
        let answer: u64 = within(a.call(port.id(), ("echo", n))).await.unwrap();
        assert_eq!(answer, n);
        took.push(start.elapsed());
        n += 1;
        if n.is_multiple_of(50) {
            let key = format!("{n}");
            within(a.db().set_wait("other", &key, &n))
                .await
                .unwrap()
                .detach();
            until_added(&mut watch, &key).await;
        }
    }
    let written = writing.await.unwrap();
    took.sort();
    println!(
        "{written} keys written; {} pings meanwhile, p50 {:?}, p99 {:?}",
        took.len(),
        took[took.len() / 2],
        took[took.len() * 99 / 100]
    );
    assert!(!took.is_empty());
    if written > 15_000 {
        eventually("the writer is told", || {
            refusals.load(Ordering::Relaxed) > 0
        })
        .await;
        // nothing that was refused stays, and nothing that was taken goes
        let settled = within(writer.db().set_wait("flood", "0", &0)).await;
        settled.unwrap().detach();
    }
    for events in &mut downs {
        for event in happened(events).await {
            assert!(!matches!(event, NodeEvent::Down { .. }), "{event:?}");
        }
    }
    let same = || g1.db().summary().unwrap().digest == g2.db().summary().unwrap().digest;
    eventually("the same view", same).await;
    listener.abort();
}
