//! How the demo's nodes prove themselves: certificates of a throw-away CA, or a throw-away secret.

use std::path::Path;

use crate::{
    CertificateAuthority, Identity, Node, NodeBuilder, NodeId, Secret,
    cli::{
        exit::{Exit, OrExit, Outcome},
        node::format,
    },
};

const CLUSTER: &str = "demo";
const SECRET_FILE: &str = "mesh.secret";

/// Writes what the nodes need into the directory; says what it was.
pub(super) fn prepare(dir: &Path, with_secret: bool, nodes: &[&str]) -> Outcome<String> {
    if with_secret {
        let secret = Secret::generate().or_exit(Exit::Failed)?;
        let path = dir.join(SECRET_FILE);
        secret.to_file(path, false).or_exit(Exit::Failed)?;
        return Ok("a secret of 32 random bytes, and a key for each node".to_string());
    }
    let ca = CertificateAuthority::create(CLUSTER).or_exit(Exit::Failed)?;
    for node in nodes {
        let issued = ca.issue(&id(node)?).or_exit(Exit::Failed)?;
        issued
            .save(dir.join(file(node)), false)
            .or_exit(Exit::Failed)?;
    }
    Ok(format!(
        "a CA for this run alone, and {} certificates",
        nodes.len()
    ))
}

/// A node that proves itself with what [`prepare`] wrote.
pub(super) fn builder(
    dir: &Path,
    with_secret: bool,
    node: &str,
    format_name: &str,
) -> Outcome<NodeBuilder> {
    let builder = Node::builder(node).formats([format(format_name)?]);
    if with_secret {
        let secret = Secret::from_file(dir.join(SECRET_FILE)).or_exit(Exit::Config)?;
        let state = dir.join(file(node)).with_extension("state");
        return Ok(builder.cluster(CLUSTER).secret(secret).state_dir(state));
    }
    let identity = Identity::from_pem_file(dir.join(file(node))).or_exit(Exit::Config)?;
    Ok(builder.identity(identity))
}

pub(super) fn id(node: &str) -> Outcome<NodeId> {
    node.parse().or_exit(Exit::Failed)
}

fn file(node: &str) -> String {
    format!("{}.pem", node.replace('/', "-"))
}
