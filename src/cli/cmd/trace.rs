//! `portmesh trace`: the topology as seen from a node.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    LinkInfo, MeshNode, NodeId, NodeReport,
    cli::{
        args::RemoteArgs,
        exit::Outcome,
        node::{call_failure, db_failure, link_json, proof_text},
        output::{Output, aligned, counted, millis, plain},
        remote::Remote,
    },
};

/// Print the links of a node, and who in the mesh is attached to whom
///
/// The node is asked for its links, and the database for the global nodes and those that are attached to them. Without a
/// node it is the home of this command.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node whose links are printed [default: the home of this command]
    node: Option<NodeId>,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(crate) async fn run(args: Args, out: Output) -> Outcome {
    let remote = Remote::join(&args.remote, out).await?;
    remote
        .leave(async |remote| {
            let node = match args.node {
                Some(node) => {
                    remote.reach(&node).await?;
                    node
                }
                None => remote.home()?,
            };
            let report = remote.node.report(&node, remote.left()).await;
            let report = report
                .map_err(|error| call_failure(&crate::PortId::of_node(node.clone()), error))?;
            let nodes = remote.within(async { remote.node.db().nodes().await });
            let mut nodes = nodes.await?.map_err(db_failure)?;
            nodes.retain(|node| node.node != *remote.node.id());
            let mesh = Mesh::of(&nodes);
            out.data(
                text(&report, &mesh, remote.node.id()),
                &in_json(&report, &mesh),
            );
            Ok(())
        })
        .await
}

/// Global nodes, and who is attached to them.
struct Mesh<'a> {
    globals: BTreeMap<&'a NodeId, Vec<&'a MeshNode>>,
    homeless: Vec<&'a MeshNode>,
}

impl<'a> Mesh<'a> {
    fn of(nodes: &'a [MeshNode]) -> Self {
        let globals = nodes.iter().filter(|node| node.global);
        let mut mesh = Mesh {
            globals: globals.map(|node| (&node.node, Vec::new())).collect(),
            homeless: Vec::new(),
        };
        for node in nodes.iter().filter(|node| !node.global) {
            match &node.home {
                Some(home) => mesh.globals.entry(home).or_default().push(node),
                None => mesh.homeless.push(node),
            }
        }
        mesh
    }
}

fn direction(link: &LinkInfo) -> &'static str {
    if link.initiator { "to" } else { "from" }
}

fn text(report: &NodeReport, mesh: &Mesh<'_>, me: &NodeId) -> String {
    let home = match (report.global, &report.home) {
        (true, _) => "global".to_owned(),
        (false, Some(home)) => format!("at home with {home}"),
        (false, None) => "without a home".to_owned(),
    };
    let at = match &report.advertised[..] {
        [] => "listens nowhere".to_owned(),
        addrs => format!("reached at {}", plain(addrs.join(", "))),
    };
    let mut lines = vec![
        format!("{}, {home}, {at}", report.node),
        format!(
            "├─ version {}, incarnation {}, {}, {} bytes in, {} bytes out, {} refused by policy",
            plain(&report.version),
            report.incarnation,
            counted(report.ports, "port", "ports"),
            report.bytes_in,
            report.bytes_out,
            report.denied
        ),
        format!("├─ {}", counted(report.links.len() as u64, "link", "links")),
    ];
    let rows: Vec<Vec<String>> = report
        .links
        .iter()
        .map(|link| {
            let rtt = link.rtt.map(|rtt| format!("{:.3} ms", millis(rtt)));
            let note = if link.node == *me {
                " (this command)"
            } else {
                ""
            };
            vec![
                format!("{}{note}", link.node),
                format!("{} {}", direction(link), link.addr),
                rtt.unwrap_or_else(|| "-".to_owned()),
                format!("up {:.1} s", link.age.as_secs_f64()),
                proof_text(link),
            ]
        })
        .collect();
    branch(&mut lines, "│  ", &aligned(&rows));
    lines.push("└─ the mesh".to_owned());
    let count = mesh.globals.len() + usize::from(!mesh.homeless.is_empty());
    let homeless =
        (!mesh.homeless.is_empty()).then_some(("without a home".to_owned(), &mesh.homeless));
    let homes = mesh
        .globals
        .iter()
        .map(|(home, nodes)| (format!("{home}, global"), nodes));
    for (at, (head, nodes)) in homes.chain(homeless).enumerate() {
        let (knot, rail) = if at + 1 == count {
            ("└─", "   ")
        } else {
            ("├─", "│  ")
        };
        lines.push(format!("   {knot} {head}"));
        let names: Vec<String> = nodes.iter().map(|node| node.node.to_string()).collect();
        branch(&mut lines, &format!("   {rail}"), &names);
    }
    lines.join("\n")
}

/// The twigs of one branch.
fn branch(lines: &mut Vec<String>, rail: &str, twigs: &[String]) {
    for (at, twig) in twigs.iter().enumerate() {
        let knot = if at + 1 == twigs.len() {
            "└─"
        } else {
            "├─"
        };
        lines.push(format!("{rail}{knot} {twig}"));
    }
}

fn in_json(report: &NodeReport, mesh: &Mesh<'_>) -> serde_json::Value {
    let names = |nodes: &[&MeshNode]| {
        nodes
            .iter()
            .map(|node| node.node.to_string())
            .collect::<Vec<_>>()
    };
    let globals: Vec<_> = mesh
        .globals
        .iter()
        .map(|(node, attached)| json!({"node": node, "attached": names(attached)}))
        .collect();
    let links: Vec<_> = report
        .links
        .iter()
        .map(|link| {
            let mut value = link_json(link);
            if let Some(map) = value.as_object_mut() {
                map.insert("ms".to_owned(), json!(link.rtt.map(millis)));
                map.insert("age_ms".to_owned(), json!(millis(link.age)));
            }
            value
        })
        .collect();
    json!({
        "node": report.node, "incarnation": report.incarnation, "version": report.version, "global": report.global,
        "home": report.home, "advertised": report.advertised, "ports": report.ports, "bytes_in": report.bytes_in,
        "bytes_out": report.bytes_out, "denied": report.denied, "links": links, "globals": globals, "homeless": names(&mesh.homeless),
    })
}
