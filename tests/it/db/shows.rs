//! What nodes set, others see, find and follow.

use std::time::Duration;

use portmesh::{
    Context, DbError, DbEvent, Limits, Node, NodeEvent, PortId, Watch, WriteRefused,
    transport::memory::MemoryNetwork,
};

use super::whole::{builder, next, until_added, within};
use crate::links::rig::eventually;

struct Mesh {
    network: MemoryNetwork,
}

impl Mesh {
    fn new() -> Self {
        Mesh {
            network: MemoryNetwork::new(),
        }
    }

    async fn node(&self, name: &str, seeds: &[&str]) -> Node {
        self.with(name, seeds, Limits::default()).await
    }

    /// Not yet attached.
    async fn with(&self, name: &str, seeds: &[&str], limits: Limits) -> Node {
        let builder = builder(&self.network, name, seeds).limits(limits);
        builder.start().await.unwrap()
    }
}

async fn until_home(node: &Node, home: &Node) {
    let mut events = node.events();
    within(async {
        while node.db().home().as_ref() != Some(home.id()) {
            events.next().await;
        }
    })
    .await;
}

async fn until_deleted(watch: &mut Watch, wanted: &str) {
    loop {
        match next(watch).await {
            DbEvent::Deleted { key } if key == wanted => return,
            DbEvent::Synced => {}
            other => panic!("{other:?}"),
        }
    }
}

// R1 R6 R7
#[tokio::test(start_paused = true)]
async fn two_attached_nodes_see_what_each_other_sets() {
    let mesh = Mesh::new();
    let _g = mesh.node("g", &[]).await;
    let a = mesh.node("a", &["g"]).await;
    let b = mesh.node("b", &["g"]).await;
    let entry = a.db().set_wait("colours", "sky", "blue").await.unwrap();
    assert_eq!(
        within(a.db().get::<String>("colours", "sky"))
            .await
            .unwrap()
            .as_deref(),
        Some("blue")
    );
    let found = within(b.db().entry("colours", "sky"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.owner(), found.decode::<String>().unwrap()),
        (a.id(), "blue".to_owned())
    );
    let mut watch = b.db().watch("colours").unwrap();
    assert!(matches!(next(&mut watch).await, DbEvent::Added { key, .. } if key == "sky"));
    assert_eq!(next(&mut watch).await, DbEvent::Synced);
    a.db().set("colours", "sky", "grey").unwrap().detach();
    assert!(
        matches!(next(&mut watch).await, DbEvent::Changed { value, .. } if value.decode::<String>().unwrap() == "grey")
    );
    // the first guard is for what was set then
    drop(entry);
    a.db().set("colours", "grass", "green").unwrap().detach();
    assert!(matches!(next(&mut watch).await, DbEvent::Added { key, .. } if key == "grass"));
    assert_eq!(
        within(b.db().keys("colours")).await.unwrap(),
        ["grass", "sky"]
    );
    assert_eq!(
        within(b.db().values::<String>("colours")).await.unwrap(),
        ["green", "grey"]
    );
    assert_eq!(
        a.db().remove("colours", ["grass", "sky", "none"]).unwrap(),
        2
    );
    until_deleted(&mut watch, "grass").await;
    until_deleted(&mut watch, "sky").await;
}

// R10
#[tokio::test(start_paused = true)]
async fn a_registered_port_is_found_and_its_entry_goes_when_it_dies() {
    let mesh = Mesh::new();
    let _g = mesh.node("g", &[]).await;
    let a = mesh.node("a", &["g"]).await;
    let b = mesh.node("b", &["g"]).await;
    let mut watch = b.db().watch("workers").unwrap();
    let worker = a
        .port()
        .on(
            "double",
            async |_: &mut (), cx: &Context, (n, to): (u64, PortId)| cx.send(&to, 2 * n),
        )
        .open();
    a.db().register("workers", worker.id()).unwrap().detach();
    until_added(&mut watch, &worker.id().to_string()).await;
    let found: PortId = within(b.db().keys("workers")).await.unwrap()[0]
        .parse()
        .unwrap();
    // b knows a by its ID alone: the db says where it is
    let answer: u64 = within(b.call(&found, ("double", 21))).await.unwrap();
    assert_eq!(answer, 42);
    a.kill(worker.id(), ()).unwrap();
    until_deleted(&mut watch, &worker.id().to_string()).await;
    // and one that is there while its guard is
    let other = a.port().open();
    let entry = a.db().register_with("workers", other.id(), &7).unwrap();
    until_added(&mut watch, &other.id().to_string()).await;
    entry.remove();
    until_deleted(&mut watch, &other.id().to_string()).await;
}

// R4
#[tokio::test(start_paused = true)]
async fn what_a_node_owned_goes_when_it_dies_or_stops() {
    let mesh = Mesh::new();
    let g = mesh.node("g", &[]).await;
    let a = mesh.node("a", &["g"]).await;
    let b = mesh.node("b", &["g"]).await;
    let mut watch = g.db().watch("f").unwrap();
    a.db().set("f", "a", &1).unwrap().detach();
    b.db().set("f", "b", &1).unwrap().detach();
    let (mut one, mut two) = (false, false);
    while !(one && two) {
        if let DbEvent::Added { key, .. } = next(&mut watch).await {
            one |= key == "a";
            two |= key == "b";
        }
    }
    a.shutdown(Duration::from_secs(1)).await;
    until_deleted(&mut watch, "a").await;
    mesh.network.hang("b", "g");
    mesh.network.hang("g", "b");
    until_deleted(&mut watch, "b").await;
    assert!(matches!(a.db().set("f", "x", &1), Err(DbError::ShutDown)));
}

// R3 R5
#[tokio::test(start_paused = true)]
async fn a_home_that_dies_costs_nothing() {
    let mesh = Mesh::new();
    let g1 = mesh.node("g1", &["g2"]).await;
    let g2 = mesh.node("g2", &["g1"]).await;
    let a = mesh.node("a", &["g1"]).await;
    within(a.db().ready()).await.unwrap();
    let b = mesh.node("b", &["g2", "g1"]).await;
    within(b.db().ready()).await.unwrap();
    a.db().set_wait("f", "a", &1).await.unwrap().detach();
    let mut watch = b.db().watch("f").unwrap();
    until_added(&mut watch, "a").await;
    assert_eq!(a.db().home().as_ref(), Some(g1.id()));
    // a does not know g2 but from its home
    mesh.network.cut("g1", "a");
    mesh.network.cut("g1", "b");
    mesh.network.cut("g1", "g2");
    drop(g1);
    until_home(&a, &g2).await;
    a.db().set("f", "later", &2).unwrap().detach();
    let mut told = Vec::new();
    loop {
        match next(&mut watch).await {
            DbEvent::Synced => {}
            DbEvent::Added { key, .. } if key == "later" => break,
            other => told.push(other),
        }
    }
    assert_eq!(told, []);
}

// R5
#[tokio::test(start_paused = true)]
async fn a_global_node_that_came_later_is_a_home_for_those_who_were_there_before() {
    let mesh = Mesh::new();
    let g1 = mesh.node("g1", &[]).await;
    let a = mesh.node("a", &["g1"]).await;
    within(a.db().ready()).await.unwrap();
    let g2 = mesh.node("g2", &["g1"]).await;
    within(g2.db().ready()).await.unwrap();
    let mut nodes = a.db().watch("'nodes").unwrap();
    until_added(&mut nodes, "g2").await;
    mesh.network.cut("g1", "a");
    mesh.network.cut("g1", "g2");
    drop(g1);
    until_home(&a, &g2).await;
}

// R5 L4
#[tokio::test(start_paused = true)]
async fn a_global_node_that_was_cut_off_is_a_home_for_those_who_came_meanwhile() {
    let mesh = Mesh::new();
    let g1 = mesh.node("g1", &["g2"]).await;
    let g2 = mesh.node("g2", &["g1"]).await;
    within(g1.db().ready()).await.unwrap();
    within(g2.db().ready()).await.unwrap();
    eventually("they are linked", || !g1.links().is_empty()).await;
    mesh.network.cut("g1", "g2");
    eventually("they are apart", || g1.links().is_empty()).await;
    let a = mesh.node("a", &["g1"]).await;
    within(a.db().ready()).await.unwrap();
    mesh.network.heal("g1", "g2");
    // what was there shows for a grace; this is new
    g2.db().set("f", "healed", &1).unwrap().detach();
    let mut watch = a.db().watch("f").unwrap();
    until_added(&mut watch, "healed").await;
    mesh.network.cut("g1", "a");
    mesh.network.cut("g1", "g2");
    drop(g1);
    until_home(&a, &g2).await;
}

// L3
#[tokio::test(start_paused = true)]
async fn a_node_known_by_its_id_alone_is_reached() {
    let mesh = Mesh::new();
    let g1 = mesh.node("g1", &["g2"]).await;
    let _g2 = mesh.node("g2", &["g1"]).await;
    let a = mesh.node("a", &["g1"]).await;
    let b = mesh.node("b", &["g2"]).await;
    let echo = b
        .port()
        .on(
            "echo",
            async |_: &mut (), cx: &Context, (n, to): (u64, PortId)| cx.send(&to, n),
        )
        .open();
    within(a.db().ready()).await.unwrap();
    within(b.db().ready()).await.unwrap();
    let mut nodes = a.db().watch("'nodes").unwrap();
    until_added(&mut nodes, "b").await;
    assert!(a.links().iter().all(|link| link.node.as_str() != "b"));
    let answer: u64 = within(a.call(echo.id(), ("echo", 5))).await.unwrap();
    assert_eq!(answer, 5);
    // and from a global node
    let g1_side: u64 = within(g1.call(echo.id(), ("echo", 6))).await.unwrap();
    assert_eq!(g1_side, 6);
}

// R9
#[tokio::test(start_paused = true)]
async fn bad_input_is_refused_to_the_writer_and_harms_nobody() {
    let mesh = Mesh::new();
    let g = mesh
        .with(
            "g",
            &[],
            Limits {
                db_node_entries_max: 3,
                ..Limits::default()
            },
        )
        .await;
    let a = mesh.node("a", &["g"]).await;
    let refused = |result: Result<portmesh::Entry, DbError>| match result {
        Err(DbError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    let db = a.db();
    assert!(matches!(
        refused(db.set("9", "k", &1)),
        WriteRefused::BadFamily(_)
    ));
    assert!(matches!(
        refused(db.set("'nodes", "g", &1)),
        WriteRefused::SystemFamily(_)
    ));
    assert!(matches!(
        refused(db.set("f", "", &1)),
        WriteRefused::BadKey { .. }
    ));
    assert!(matches!(
        refused(db.set("f", &"k".repeat(2_000), &1)),
        WriteRefused::BadKey { bytes: 2_000, .. }
    ));
    assert!(matches!(
        refused(db.set("f", "k", &"x".repeat(300_000))),
        WriteRefused::ValueTooLarge { .. }
    ));
    assert!(matches!(
        refused(db.set("f", "k", &f64::NAN)),
        WriteRefused::NotEncodable(_)
    ));
    let asked = within(db.get::<u64>("f", &"k".repeat(2_000))).await;
    assert!(matches!(
        asked,
        Err(DbError::Refused(WriteRefused::BadKey { bytes: 2_000, .. }))
    ));
    // the home's quota: its own advert is one, so that two more fit
    db.set_wait("f", "1", &1).await.unwrap().detach();
    db.set_wait("f", "2", &1).await.unwrap().detach();
    let mut events = a.events();
    let why = refused(within(db.set_wait("f", "3", &1)).await);
    assert_eq!(why, WriteRefused::TooManyEntries(3));
    assert_eq!(within(db.get::<u64>("f", "3")).await.unwrap(), None);
    loop {
        if let Some(NodeEvent::DbRefused { key, .. }) = within(events.next()).await {
            assert_eq!(&*key, "3");
            break;
        }
    }
    assert_eq!(within(g.db().keys("f")).await.unwrap(), ["1", "2"]);
    // a value that was there before is changed all the same
    db.set_wait("f", "2", &2).await.unwrap().detach();
    assert_eq!(within(g.db().get::<u64>("f", "2")).await.unwrap(), Some(2));
}

// R2
#[tokio::test(start_paused = true)]
async fn both_owners_of_a_key_hear_of_it() {
    let mesh = Mesh::new();
    let _g = mesh.node("g", &[]).await;
    let a = mesh.node("a", &["g"]).await;
    let b = mesh.node("b", &["g"]).await;
    let (mut of_a, mut of_b) = (a.events(), b.events());
    a.db().set_wait("f", "k", "first").await.unwrap().detach();
    let second = b.db().set_wait("f", "k", "second").await.unwrap();
    for events in [&mut of_a, &mut of_b] {
        loop {
            if let Some(NodeEvent::DbConflict { owners, .. }) = within(events.next()).await {
                assert_eq!(owners.len(), 2);
                break;
            }
        }
    }
    assert_eq!(
        within(a.db().get::<String>("f", "k"))
            .await
            .unwrap()
            .as_deref(),
        Some("second")
    );
    drop(second);
    let mut watch = b.db().watch("f").unwrap();
    loop {
        if let DbEvent::Added { value, .. } = next(&mut watch).await
            && value.owner() == a.id()
        {
            break;
        }
    }
}

// R9: who is no global node by anybody's word but its own is none
#[tokio::test(start_paused = true)]
async fn nobody_becomes_a_global_node_by_their_own_word() {
    let mesh = Mesh::new();
    let g = mesh.node("g", &[]).await;
    let mut events = g.events();
    let liar = builder(&mesh.network, "liar", &["g"]).global(true);
    let liar = liar.start().await.unwrap();
    loop {
        if let Some(NodeEvent::NotGlobal { node, text }) = within(events.next()).await {
            assert_eq!(node.as_str(), "liar");
            assert!(text.contains("no global node"), "{text}");
            break;
        }
    }
    liar.db().set("f", "k", &1).unwrap().detach();
    let a = mesh.node("a", &["g"]).await;
    within(a.db().ready()).await.unwrap();
    a.db().set_wait("f", "mine", &1).await.unwrap().detach();
    assert_eq!(within(g.db().keys("f")).await.unwrap(), ["mine"]);
}
