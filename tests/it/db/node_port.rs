//! What the node port answers is what section 12 of the protocol says.

use std::{collections::BTreeSet, fs};

use portmesh::{CallError, Node, PortId, Raw, Value, transport::memory::MemoryNetwork};

use super::whole::{LONG, start};

/// Keys in the first column of the table under this head.
fn keys_of(page: &str, head: &str) -> BTreeSet<String> {
    let head = format!("| {head} | what |\n| --- | --- |\n");
    let (_, table) = page.split_once(&head).unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let names = rows.flat_map(|row| {
        let cell = row.split('|').nth(1).unwrap();
        cell.split('`').skip(1).step_by(2).map(str::to_owned)
    });
    names.collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    let Value::Map(map) = value else {
        panic!("no map: {value}");
    };
    map.keys().cloned().collect()
}

async fn ask(me: &Node, of: &Node, message: Vec<Value>) -> Result<Vec<Value>, CallError> {
    let port = PortId::of_node(of.id().clone());
    let answer = me.call::<Raw>(&port, Raw(message)).within(LONG).await;
    answer.map(|Raw(values)| values)
}

#[tokio::test(start_paused = true)]
async fn the_node_port_answers_as_the_protocol_says() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/src/manual/protocol.md");
    let page = fs::read_to_string(page).unwrap();
    let network = MemoryNetwork::new();
    let g = start(&network, "g", &[]).await;
    let a = start(&network, "a", &["g"]).await;

    let pong = ask(&a, &g, vec!["ping".into()]).await.unwrap();
    assert_eq!(pong, ["pong".into()]);
    assert!(page.contains(r#"| `["ping", reply]` | `["pong"]` |"#));
    let info = ask(&a, &g, vec!["info".into()]).await.unwrap();
    let life = g.incarnation().to_string();
    let version = env!("CARGO_PKG_VERSION");
    let (ports, links) = (g.stats().ports as u64, 1_u64);
    assert_eq!(
        info,
        [
            "g".into(),
            life.as_str().into(),
            version.into(),
            ports.into(),
            links.into()
        ]
    );
    assert!(page.contains("| `[node, life, version, ports, links]` |"));

    let links = ask(&a, &g, vec!["links".into(), Value::Null]).await;
    let [links] = &links.unwrap()[..] else {
        panic!("not one value");
    };
    assert_eq!(keys(links), keys_of(&page, "key of links"));
    let Value::Map(map) = links else {
        panic!("no map: {links}");
    };
    let Some(Value::List(list)) = map.get("links") else {
        panic!("no links in {links}");
    };
    assert_eq!(list.len(), 1);
    assert_eq!(keys(&list[0]), keys_of(&page, "key of a link"));
    // none is above
    let after = ask(&a, &g, vec!["links".into(), "a".into()]).await.unwrap();
    assert!(after[0].to_string().contains(r#""links":[]"#), "{after:?}");

    let digest = ask(&a, &g, vec!["db_digest".into()]).await.unwrap();
    assert_eq!(digest.len(), 1);
    assert_eq!(keys(&digest[0]), keys_of(&page, "key of db_digest"));
}

#[tokio::test(start_paused = true)]
async fn what_the_node_port_does_not_know_is_a_loss_and_no_more() {
    let network = MemoryNetwork::new();
    let g = start(&network, "g", &[]).await;
    let a = start(&network, "a", &["g"]).await;
    for (message, text) in [
        (vec!["later".into()], "unhandled_message"),
        (vec!["links".into()], "bad_message"),
        (vec!["links".into(), 1.into()], "bad_message"),
        (vec!["links".into(), "no node".into()], "bad_message"),
        (vec!["db_digest".into(), 1.into()], "bad_message"),
    ] {
        let error = ask(&a, &g, message).await.unwrap_err();
        assert!(format!("{error:?}").contains(text), "{error:?}");
    }
    assert_eq!(a.report(g.id(), LONG).await.unwrap().node, *g.id());
}
