//! A policy that is replaced while links are up.

use portmesh::{Node, Secret, Secrets};

use super::{House, answers, eventually, policy, refuses, soon};

const SHUT: &str = "[[rule]]\nnode = 'worker/*'\nsend = false\nmonitor = false\nspawn = false\n";

#[tokio::test]
async fn a_policy_that_is_replaced_counts_at_once_for_links_that_are_up() {
    let house = House::new("").await;
    let worker = house.member("worker/1").await;
    let other = house.member("other/1").await;
    let port = house.port("");
    let [told, other_told] = [&worker, &other].map(|node| node.monitor(port.id()).death());
    for node in [&worker, &other] {
        answers(node, port.id()).await;
    }
    let links = house.home.stats().mesh.links_up;

    house.home.set_policy(policy(SHUT));
    refuses(&worker, port.id()).await;
    answers(&other, port.id()).await;
    let spawned = worker.spawn("home", "other", ()).unwrap();
    let reason = soon("it fires", worker.monitor(&spawned).death()).await;
    assert_eq!(reason.tag(), Some("not_permitted"));
    let reason = soon("the monitor ends", told).await;
    assert!(reason.to_string().contains("not_permitted"), "{reason}");

    house.home.set_policy(policy(""));
    answers(&worker, port.id()).await;
    assert_eq!(
        house.home.stats().mesh.links_up,
        links,
        "no link was made anew"
    );
    port.kill_with("at last").unwrap();
    assert_eq!(soon("it fires", other_told).await.to_string(), "at last");
}

// nothing is sent over the link: the new policy is looked at all the same
#[tokio::test]
async fn monitors_that_a_new_policy_does_not_permit_fire_on_a_link_that_is_idle() {
    let house = House::new("").await;
    let worker = house.member("worker/1").await;
    let port = house.port("");
    answers(&worker, port.id()).await;
    let told = worker.monitor(port.id()).death();
    answers(&worker, port.id()).await;
    house
        .home
        .set_policy(policy("[default]\nmonitor = ['spawned']\n"));
    let reason = soon("the monitor ends", told).await;
    assert_eq!(reason.tag(), Some("not_permitted"), "{reason}");
    let told = worker.monitor(port.id()).death();
    assert_eq!(soon("it fires", told).await.tag(), Some("not_permitted"));
    answers(&worker, port.id()).await;
}

#[tokio::test]
async fn a_rule_for_a_secret_counts_until_the_link_is_proved_with_another() {
    let [old, new] = [Secret::generate().unwrap(), Secret::generate().unwrap()];
    let both = Secrets::new(new.clone()).accept(old.clone()).unwrap();
    let text = format!("[[rule]]\nsecret = '{}'\nsend = false\n", old.id());
    let house = House::with(&text, |builder| builder.secret(both.clone())).await;
    let guest = |name: &str, secrets: Secrets| {
        let node = Node::builder(name).secret(secrets).cluster("test");
        node.unpinned().seed(&house.addr).start()
    };
    let late = Secrets::new(old).accept(new.clone()).unwrap();
    let late = guest("late", late).await.unwrap();
    let early = guest("early", new.into()).await.unwrap();
    let port = house.port("");
    for node in [&late, &early] {
        soon("it is attached", node.db().ready()).await.unwrap();
    }
    refuses(&late, port.id()).await;
    answers(&early, port.id()).await;
    late.replace_secrets(both).unwrap();
    eventually("it has proved itself anew", || {
        house.home.stats().mesh.renewed > 0
    })
    .await;
    answers(&late, port.id()).await;
    assert_eq!(late.stats().mesh.links_up, 1, "over the same link");
}
