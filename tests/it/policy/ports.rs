//! Messages, calls, monitors, kills and spawns: what is refused, to whom, and what is not.

use portmesh::{Node, NodeEvent, PortId, Reason};

use super::{House, answers, certified, echoes, eventually, refuses, soon};
use crate::support::log::Log;

async fn death(node: &Node, port: &PortId) -> Reason {
    soon("it fires", node.monitor(port).death()).await
}

#[tokio::test]
async fn a_message_that_is_not_permitted_is_a_loss_of_its_sender_and_of_nobody_else() {
    let house = House::new(
        r#"
        [[rule]]
        node = "guest/*"
        send = ["family:open"]
        "#,
    )
    .await;
    let (shut, open) = (house.port(""), house.port("open"));
    let guest = house.member("guest/1").await;
    let worker = house.member("worker/1").await;
    assert_eq!(house.denied(), 0);

    refuses(&guest, shut.id()).await;
    refuses(&guest, &PortId::of_node(house.home.id().clone())).await;
    assert_eq!(house.denied(), 2);
    let monitor = guest.monitor(shut.id()).death();
    guest.send(shut.id(), ("echo", 1)).unwrap();
    let reason = soon("the monitor fires", monitor).await.to_string();
    assert!(reason.starts_with("transport_error: home"), "{reason}");
    assert!(
        reason.contains(&format!(
            "not_permitted: guest/1 may not send to the port {}",
            shut.id().name()
        )),
        "{reason}"
    );

    answers(&guest, open.id()).await;
    answers(&worker, shut.id()).await;
    answers(&worker, open.id()).await;
    // what is registered no longer is open no longer
    let id = open.id().to_string();
    house.home.db().remove("open", [id]).unwrap();
    refuses(&guest, open.id()).await;
}

#[tokio::test]
async fn who_was_asked_may_always_answer() {
    let house = House::new("[default]\nsend = []\nmonitor = []\n").await;
    let worker = house.member("worker/1").await;
    let port = echoes(worker.port()).open();
    answers(&house.home, port.id()).await;
    // a port that is gone is gone, and no refusal
    let gone = house.port("");
    refuses(&worker, gone.id()).await;
    gone.kill();
    eventually("it is dead", || house.home.stats().ports == 1).await;
    let denied = house.denied();
    let reason = death(&worker, gone.id()).await;
    assert_eq!(reason.tag(), Some("no_such_port"));
    assert_eq!(house.denied(), denied);
}

#[tokio::test]
async fn a_death_is_told_to_those_alone_who_may_monitor_the_port() {
    let house = House::new(
        r#"
        [[rule]]
        node = "guest/*"
        monitor = ["family:open"]
        "#,
    )
    .await;
    let (shut, open) = (house.port(""), house.port("open"));
    let guest = house.member("guest/1").await;
    let worker = house.member("worker/1").await;

    let reason = death(&guest, shut.id()).await;
    assert_eq!(reason.tag(), Some("not_permitted"), "{reason}");
    // a call brings a monitor along: the message arrives, and the death is not told
    let called = super::ask(&guest, shut.id()).await;
    assert!(
        matches!(called, Err(portmesh::CallError::Refused { .. }) | Ok(7)),
        "{called:?}"
    );
    let told = guest.monitor(open.id()).death();
    let worker_told = worker.monitor(shut.id()).death();
    answers(&guest, open.id()).await;
    answers(&worker, shut.id()).await;
    open.kill_with("enough").unwrap();
    shut.kill_with("too").unwrap();
    assert_eq!(soon("it fires", told).await.to_string(), "enough");
    assert_eq!(soon("it fires", worker_told).await.to_string(), "too");
}

// M1
#[tokio::test]
async fn a_kill_takes_a_port_that_the_policy_gives_to_the_killer_and_no_other() {
    let house = House::new(
        r#"
        [[rule]]
        node = "boss/*"
        kill = { allow = ["family:jobs"], deny = ["family:jobs:vital"] }
        "#,
    )
    .await;
    let (plain, job, vital) = (house.port(""), house.port("jobs"), house.port("jobs:vital"));
    let both = house.port("jobs");
    house
        .home
        .db()
        .register("jobs:vital", both.id())
        .unwrap()
        .detach();
    let boss = house.member("boss/1").await;
    let worker = house.member("worker/1").await;

    for (killer, port) in [
        (&boss, plain.id()),
        (&boss, vital.id()),
        (&boss, both.id()),
        (&worker, plain.id()),
        (&worker, job.id()),
    ] {
        let denied = house.denied();
        let mut events = killer.events();
        let watched = killer.monitor(port).call(|_| {});
        killer.kill(port, "die").unwrap();
        let told = soon("it is told", async {
            loop {
                if let Some(NodeEvent::KillRefused { port, reason }) = events.next().await {
                    break (port, reason);
                }
            }
        });
        let (of, reason) = told.await;
        assert_eq!(of, *port);
        assert!(
            reason.contains(&format!("{} may not kill", killer.id())),
            "{reason}"
        );
        assert_eq!(house.denied(), denied + 1);
        answers(killer, port).await;
        assert!(!watched.has_fired(), "nothing is lost");
    }
    // by default what one has spawned; the rule for boss does not name that
    let (of_worker, of_boss) = (
        worker.spawn("home", "other", ()).unwrap(),
        boss.spawn("home", "other", ()).unwrap(),
    );
    answers(&boss, &of_boss).await;
    let denied = house.denied();
    boss.kill(&of_boss, "die").unwrap();
    eventually("it is refused", || house.denied() > denied).await;
    let dies = worker.monitor(&of_worker).death();
    worker.kill(&of_worker, "mine").unwrap();
    assert_eq!(soon("it dies", dies).await.to_string(), "mine");
    let dies = boss.monitor(job.id()).death();
    boss.kill(job.id(), "done").unwrap();
    assert_eq!(soon("it dies", dies).await.to_string(), "done");
}

// S2
#[tokio::test]
async fn only_functions_that_the_policy_names_are_spawned() {
    let house = House::new(
        r#"
        [[rule]]
        node = "boss/*"
        spawn = ["count.*", "missing"]
        [[rule]]
        node = "guest/*"
        spawn = false
        "#,
    )
    .await;
    let boss = house.member("boss/1").await;
    let guest = house.member("guest/1").await;
    let worker = house.member("worker/1").await;
    for (node, function, tag) in [
        (&guest, "count.words", "not_permitted"),
        (&guest, "missing", "not_permitted"),
        (&boss, "other", "not_permitted"),
        (&boss, "missing", "no_such_function"),
        (&worker, "missing", "no_such_function"),
    ] {
        let port = node.spawn("home", function, ()).unwrap();
        let reason = death(node, &port).await;
        assert_eq!(reason.tag(), Some(tag), "{} {function}", node.id());
    }
    assert_eq!(house.denied(), 3);
    for (node, function) in [
        (&boss, "count.words"),
        (&worker, "count.words"),
        (&worker, "other"),
    ] {
        let port = node.spawn("home", function, ()).unwrap();
        answers(node, &port).await;
    }
}

#[tokio::test]
async fn to_administer_takes_a_rule_of_its_own() {
    let house = House::new(
        r#"
        [[rule]]
        spawn = true
        [[rule]]
        node = "admin/*"
        proof = "certificate"
        admin = true
        "#,
    )
    .await;
    let worker = house.member("worker/1").await;
    let port = worker.spawn("home", "portmesh.test", ()).unwrap();
    let reason = death(&worker, &port).await;
    assert_eq!(
        reason.to_string(),
        "not_permitted: worker/1 may not administer portmesh.test"
    );
    // the name alone is worth nothing
    let false_admin = house.by_secret("admin/2").await;
    let port = false_admin.spawn("home", "portmesh.test", ()).unwrap();
    let reason = death(&false_admin, &port).await;
    assert_eq!(reason.tag(), Some("not_permitted"));
    let admin = house.member("admin/1").await;
    let port = admin.spawn("home", "portmesh.test", ()).unwrap();
    answers(&admin, &port).await;
}

#[tokio::test]
async fn a_rule_for_certificates_is_for_no_holder_of_the_secret() {
    let house = House::new(
        r#"
        [default]
        send = []
        [[rule]]
        node = "worker/*"
        proof = "certificate"
        send = true
        "#,
    )
    .await;
    let port = house.port("");
    refuses(&house.by_secret("worker/2").await, port.id()).await;
    refuses(&house.member("guest/1").await, port.id()).await;
    answers(&house.member("worker/1").await, port.id()).await;
}

#[tokio::test]
async fn refusals_are_audited_once_in_a_while_and_counted_each_time() {
    let (log, _guard) = Log::begin();
    let house = House::new("\n[[rule]]\nnode = 'guest/*'\nspawn = false\n").await;
    let guest = house.member("guest/1").await;
    for _ in 0..50 {
        let port = guest.spawn("home", "count.words", ()).unwrap();
        death(&guest, &port).await;
    }
    assert_eq!(house.denied(), 50);
    let lines = log.lines();
    let audit: Vec<&String> = lines
        .iter()
        .filter(|line| line.contains("portmesh::audit"))
        .collect();
    // one in ten seconds
    assert!((1..8).contains(&audit.len()), "{audit:?}");
    for part in [
        "peer=\"guest/1\"",
        "operation=\"spawn\"",
        "what=\"count.words\"",
        "rule=\"rule 1 (line 2)\"",
        "guest/1 may not spawn count.words",
    ] {
        assert!(audit[0].contains(part), "{part}: {}", audit[0]);
    }
    let report = guest.report(house.home.id(), std::time::Duration::from_secs(30));
    assert_eq!(report.await.unwrap().denied, 50);
}

#[tokio::test]
async fn what_a_node_does_to_its_own_ports_is_never_refused() {
    let nothing = "[default]\nsend = []\nmonitor = []\nkill = []\nspawn = []\ndb_read = []\n";
    let house = House::new(nothing).await;
    let port = house.port("mine");
    answers(&house.home, port.id()).await;
    let spawned = house.home.spawn("home", "count.words", ()).unwrap();
    answers(&house.home, &spawned).await;
    assert_eq!(house.home.db().keys("mine").await.unwrap().len(), 1);
    let dies = house.home.monitor(port.id()).death();
    house.home.kill(port.id(), ()).unwrap();
    assert!(soon("it dies", dies).await.is_normal());
    assert_eq!(house.denied(), 0);
    drop(certified(&house.ca, "unused"));
}
