//! The database: what a member may write and read through its home, and who is a global node.

use portmesh::{DbError, DbEvent, Node, NodeEvent, PortId, WriteRefused};

use super::{House, certified, eventually, policy, soon};

const GUEST: &str = r#"
    [[rule]]
    node = "guest/*"
    db_write = { allow = ["open", "mine:*"], deny = ["mine:not"] }
    db_read = ["open"]
"#;

async fn set(node: &Node, family: &str, key: &str) -> Result<(), DbError> {
    let db = node.db();
    soon("it is answered", db.set_wait(family, key, &1))
        .await
        .map(|entry| entry.detach())
}

fn is_refused<T: std::fmt::Debug>(done: &Result<T, DbError>) -> bool {
    matches!(done, Err(DbError::Refused(WriteRefused::NotPermitted(text))) if text.contains("may not write"))
}

fn is_unreadable<T: std::fmt::Debug>(done: &Result<T, DbError>) -> bool {
    matches!(done, Err(DbError::NotPermitted(text)) if text.contains("may not read"))
}

#[tokio::test]
async fn an_entry_in_a_family_that_is_not_permitted_is_refused_to_its_writer_and_seen_by_nobody() {
    let house = House::new(GUEST).await;
    let guest = house.member("guest/1").await;
    let worker = house.member("worker/1").await;
    let mut events = guest.events();
    for (family, refused) in [
        ("shut", true),
        ("mine:not", true),
        ("open", false),
        ("mine:own", false),
    ] {
        let denied = house.denied();
        let done = set(&guest, family, "k").await;
        assert_eq!(is_refused(&done), refused, "{family}: {done:?}");
        assert_eq!(house.denied() - denied, u64::from(refused), "{family}");
        let seen = worker.db().keys(family).await.unwrap();
        assert_eq!(seen.is_empty(), refused, "{family}");
        set(&worker, family, "w").await.unwrap();
    }
    let told = soon("it is told", async {
        loop {
            if let Some(NodeEvent::DbRefused { family, .. }) = events.next().await {
                break family;
            }
        }
    });
    assert_eq!(told.await.as_str(), "shut");
    // a write that is refused leaves nothing of what it was to replace, and what is there can be removed
    house.home.set_policy(policy(""));
    set(&guest, "shut", "k").await.unwrap();
    house.home.set_policy(policy(GUEST));
    // in order behind the policy, since it goes over the same link
    assert!(is_refused(&set(&guest, "shut", "other").await));
    assert_eq!(worker.db().keys("shut").await.unwrap(), ["k", "w"]);
    guest.db().remove("shut", ["k"]).unwrap();
    set(&guest, "open", "behind").await.unwrap();
    assert_eq!(worker.db().keys("shut").await.unwrap(), ["w"]);
}

#[tokio::test]
async fn a_family_that_may_not_be_read_is_an_error_for_who_asks_and_for_who_watches() {
    let house = House::new(GUEST).await;
    let guest = house.member("guest/1").await;
    let worker = house.member("worker/1").await;
    for family in ["open", "shut"] {
        set(&worker, family, "k").await.unwrap();
    }
    let db = guest.db();
    assert!(is_unreadable(&db.family("shut").await));
    assert!(is_unreadable(&db.entry("shut", "k").await));
    assert_eq!(house.denied(), 2);
    assert_eq!(db.keys("open").await.unwrap(), ["k"]);
    assert_eq!(worker.db().keys("shut").await.unwrap(), ["k"]);
    let mut watch = db.watch("shut").unwrap();
    let event = soon("it is told", watch.next()).await;
    assert!(
        matches!(&event, Some(DbEvent::Refused { text }) if text.contains("guest/1 may not read the family shut")),
        "{event:?}"
    );
    // it finds the others all the same
    assert!(db.node(worker.id()).await.unwrap().is_some());
    assert!(db.nodes().await.unwrap().len() >= 3);
    // what it owns it reads, as everything that is its own (R7): here it may not write there either
    assert!(is_refused(&set(&guest, "shut", "own").await));
}

#[tokio::test]
async fn watches_end_and_begin_with_the_policy() {
    let house = House::new("").await;
    let guest = house.member("guest/1").await;
    let worker = house.member("worker/1").await;
    set(&worker, "shut", "k").await.unwrap();
    let mut watch = guest.db().watch("shut").unwrap();
    let mut told = async || soon("it is told", watch.next()).await.unwrap();
    assert!(matches!(told().await, DbEvent::Added { key, .. } if key == "k"));
    assert_eq!(told().await, DbEvent::Synced);

    house.home.set_policy(policy(GUEST));
    let mut ended = (false, false);
    while ended != (true, true) {
        match told().await {
            DbEvent::Refused { .. } => ended.0 = true,
            DbEvent::Deleted { key } if key == "k" => ended.1 = true,
            other => panic!("{other:?}"),
        }
    }
    set(&worker, "shut", "unseen").await.unwrap();
    assert!(is_unreadable(&guest.db().keys("shut").await));
    assert_eq!(guest.db().keys("open").await.unwrap().len(), 0);

    house.home.set_policy(policy(""));
    let mut keys = Vec::new();
    while keys.len() < 2 {
        match told().await {
            DbEvent::Added { key, .. } => keys.push(key),
            other => panic!("{other:?}"),
        }
    }
    keys.sort();
    assert_eq!(keys, ["k", "unseen"]);
}

/// A node that says that it is global and dials `house`.
async fn pretender(house: &House, name: &str) -> Node {
    let node = certified(&house.ca, name)
        .seed(&house.addr)
        .listen("127.0.0.1:0")
        .global(true);
    node.start().await.unwrap()
}

async fn is_linked(node: &Node, with: &Node) {
    eventually("they are linked", || {
        node.links().iter().any(|link| link.node == *with.id())
    })
    .await;
}

/// Whether they hold the same, as global nodes that trust each other do: what one sets the other has.
async fn shares(a: &Node, b: &Node) -> bool {
    a.db().set("shared", a.id().as_str(), &1).unwrap().detach();
    b.db().set("shared", b.id().as_str(), &1).unwrap().detach();
    let both = async |node: &Node| node.db().keys("shared").await.unwrap().len() == 2;
    // what is not shared is not shared later either: asked behind a round trip
    for _ in 0..200 {
        if both(a).await && both(b).await {
            return true;
        }
        let (here, there) = (
            PortId::of_node(a.id().clone()),
            PortId::of_node(b.id().clone()),
        );
        let _: Result<String, _> = a.call(&there, "ping").await;
        let _: Result<String, _> = b.call(&here, "ping").await;
    }
    false
}

#[tokio::test]
async fn who_is_a_global_node_here_says_the_policy() {
    let house = House::new(
        r#"
        [[rule]]
        node = "g/*"
        proof = "certificate"
        global = true
        [[rule]]
        node = "g/bad"
        global = false
        "#,
    )
    .await;
    for (name, trusted) in [("h/1", false), ("g/bad", false), ("g/1", true)] {
        let denied = house.denied();
        let node = pretender(&house, name).await;
        is_linked(&house.home, &node).await;
        assert_eq!(shares(&house.home, &node).await, trusted, "{name}");
        assert_eq!(house.denied() > denied, !trusted, "{name}");
        node.shutdown(std::time::Duration::ZERO).await;
    }
}

#[tokio::test]
async fn what_is_denied_counts_more_than_trust_and_a_seed() {
    let shut = "[[rule]]\nnode = 'g/1'\nglobal = false\n";
    let house = House::with(shut, |builder| builder.trust_global("g/*".parse().unwrap())).await;
    let denied = pretender(&house, "g/1").await;
    let trusted = pretender(&house, "g/2").await;
    is_linked(&house.home, &denied).await;
    is_linked(&house.home, &trusted).await;
    assert!(!shares(&house.home, &denied).await);
    trusted.db().set("f", "k", &1).unwrap().detach();
    eventually("it is trusted", || !house.home.links().is_empty()).await;
    soon("what it has comes over", async {
        while house.home.db().keys("f").await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_global_node_is_one_no_longer_when_a_new_policy_says_so_and_again_when_it_may() {
    let open = "[[rule]]\nnode = 'g/*'\nglobal = true\n";
    let house = House::new(open).await;
    let node = pretender(&house, "g/1").await;
    is_linked(&house.home, &node).await;
    assert!(shares(&house.home, &node).await);
    let mut events = house.home.events();
    house.home.set_policy(policy("[[rule]]\nglobal = false\n"));
    soon("the link ends", async {
        loop {
            if let Some(NodeEvent::Down { reason, .. }) = events.next().await {
                assert!(
                    reason.to_string().contains("no longer a global node"),
                    "{reason}"
                );
                break;
            }
        }
    })
    .await;
    // its entries go when its time is over, and nothing new comes
    eventually("they are linked anew", || node.stats().mesh.links_up >= 2).await;
    is_linked(&node, &house.home).await;
    node.db().set("late", "k", &1).unwrap().detach();
    let port = PortId::of_node(house.home.id().clone());
    let _: String = node.call(&port, "ping").await.unwrap();
    assert!(house.home.db().keys("late").await.unwrap().is_empty());
    house.home.set_policy(policy(open));
    soon("it is one again", async {
        while house.home.db().keys("late").await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
