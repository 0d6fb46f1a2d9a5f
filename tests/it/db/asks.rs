//! What nodes say of themselves when they are asked: who is in the mesh, links, sums.

use std::time::Duration;

use portmesh::{CallError, Context, Limits, Node, transport::memory::MemoryNetwork};

use super::whole::{LONG, builder, start};

/// Global nodes `g1` and `g2`, and `l`, which listens nowhere and is attached to `g1`.
async fn mesh() -> (Node, Node, Node) {
    let network = MemoryNetwork::new();
    let g1 = start(&network, "g1", &[]).await;
    let g2 = start(&network, "g2", &["g1"]).await;
    let l = Node::builder("l")
        .transport(network.host("l"))
        .seed("g1")
        .trust_global("g*".parse().unwrap());
    let l = l.start().await.unwrap();
    l.db().ready().await.unwrap();
    (g1, g2, l)
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(LONG, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[tokio::test(start_paused = true)]
async fn every_node_knows_who_is_in_the_mesh_and_where_they_are_at_home() {
    let (g1, g2, l) = mesh().await;
    for asked in [&g1, &g2, &l] {
        let all = async || asked.db().nodes().await.unwrap();
        until("three nodes", async || {
            let nodes = all().await;
            nodes.len() == 3 && nodes.iter().all(|node| node.home.is_some())
        })
        .await;
        let told: Vec<_> = all()
            .await
            .into_iter()
            .map(|node| {
                assert_eq!(node.version, env!("CARGO_PKG_VERSION"));
                let home = node.home.map(|home| home.to_string());
                (node.node.to_string(), node.global, home, node.addrs)
            })
            .collect();
        let row = |node: &str, global, home: &str, addrs: &[&str]| {
            let addrs: Vec<_> = addrs.iter().map(ToString::to_string).collect();
            (node.to_owned(), global, Some(home.to_owned()), addrs)
        };
        let expected = [
            row("g1", true, "g1", &["g1"]),
            row("g2", true, "g2", &["g2"]),
            row("l", false, "g1", &[]),
        ];
        assert_eq!(told, expected, "as {asked:?} tells it");
        let one = asked.db().node(l.id()).await.unwrap();
        assert_eq!(one.and_then(|node| node.home).as_ref(), Some(g1.id()));
        let nobody = asked.db().node(&"nobody".parse().unwrap()).await.unwrap();
        assert_eq!(nobody, None);
    }
    l.shutdown(LONG).await;
    until("l is gone", async || {
        g2.db().node(l.id()).await.unwrap().is_none()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_tells_its_links_and_its_sums_to_whom_asks() {
    let (g1, g2, l) = mesh().await;
    let report = l.report(g1.id(), LONG).await.unwrap();
    assert_eq!(
        (
            &report.node,
            report.incarnation,
            report.global,
            &report.home
        ),
        (g1.id(), g1.incarnation(), true, &Some(g1.id().clone()))
    );
    assert_eq!(report.advertised, ["g1"]);
    assert!(report.ports >= 1 && report.bytes_in > 0 && report.bytes_out > 0);
    let linked: Vec<_> = report.links.iter().map(|link| link.node.as_str()).collect();
    assert_eq!(linked, ["g2", "l"]);
    for (told, own) in report.links.iter().zip(g1.links()) {
        assert_eq!(
            (
                &told.addr,
                told.initiator,
                told.incarnation,
                &told.proof,
                told.mode
            ),
            (
                &own.addr,
                own.initiator,
                own.incarnation,
                &own.proof,
                own.mode
            )
        );
    }

    // fields are in no order
    #[derive(serde::Serialize)]
    struct Shape {
        width: f32,
        area: u64,
    }
    let (width, area) = (0.5, 1);
    let shape = Shape { width, area };
    let entry = g1.db().set("f", "k", &shape).unwrap();
    let digest = async |node: &Node| l.db_digest(node.id(), LONG).await.unwrap();
    until("the same", async || {
        let (one, other) = (digest(&g1).await, digest(&g2).await);
        one.digest == other.digest && one.entries == other.entries
    })
    .await;
    let one = digest(&g1).await;
    assert_eq!((&one.node, one.global, one.owners), (g1.id(), true, 3));
    assert_eq!(one.digest, g1.db().summary().unwrap().digest);
    drop(entry);
    until("other sums", async || {
        digest(&g2).await.digest != one.digest
    })
    .await;
    let own = digest(&l).await;
    assert_eq!((own.global, own.owners), (false, 1));
}

// P2, L6: what it was told has arrived
#[tokio::test(start_paused = true)]
async fn who_asks_and_goes_at_once_leaves_no_loss_behind() {
    let (g1, _g2, l) = mesh().await;
    l.report(g1.id(), LONG).await.unwrap();
    l.db_digest(g1.id(), LONG).await.unwrap();
    let to_port = l
        .port()
        .on("never", async |_: &mut (), _: &Context, ()| {})
        .open();
    l.shutdown(LONG).await;
    until("l is gone", async || g1.links().len() == 1).await;
    assert_eq!(g1.stats().mesh.lost, 0);
    // what nobody takes is lost as before
    let death = g1.monitor(to_port.id()).death();
    g1.send(to_port.id(), "never").unwrap();
    assert_eq!(death.await.tag(), Some("transport_error"));
    assert_eq!(g1.stats().mesh.lost, 1);
}

#[tokio::test(start_paused = true)]
async fn more_links_than_one_answer_has_are_told_in_several() {
    const NODES: usize = 300;
    let network = MemoryNetwork::new();
    let limits = Limits {
        unauthenticated_max: NODES,
        unauthenticated_per_address_max: NODES,
        ..Limits::default()
    };
    let hub = builder(&network, "ghub", &[]).limits(limits);
    let hub = hub.start().await.unwrap();
    let mut nodes = Vec::new();
    for n in 0..NODES {
        let name = format!("n{n}");
        let node = Node::builder(&name)
            .transport(network.host(&name))
            .seed("ghub");
        nodes.push(node.start().await.unwrap());
    }
    until("all links", async || hub.links().len() == NODES).await;
    let report = nodes[7].report(hub.id(), LONG).await.unwrap();
    let told: Vec<_> = report.links.into_iter().map(|link| link.node).collect();
    let own: Vec<_> = hub.links().into_iter().map(|link| link.node).collect();
    assert_eq!(told, own);
}

#[tokio::test(start_paused = true)]
async fn who_is_not_there_or_does_not_answer_in_time_is_an_error() {
    let (g1, _g2, l) = mesh().await;
    let nobody = "nobody".parse().unwrap();
    let time = Duration::from_secs(3);
    let error = l.report(&nobody, time).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error:?}");
    let error = l.db_digest(&nobody, time).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error:?}");
    let error = l.report(g1.id(), Duration::ZERO).await.unwrap_err();
    assert!(
        matches!(error, CallError::Deadline(Duration::ZERO)),
        "{error:?}"
    );
    // it goes on answering
    assert_eq!(l.report(g1.id(), time).await.unwrap().node, *g1.id());
}
