//! The names in a node's certificate: the URI that says which node it is, and the constant DNS name.

use crate::proto::id::NodeId;

const SCHEME: &str = "spiffe://";
const PATH: &str = "/node/";

/// The one URI of a node's certificate: `spiffe://<cluster>/node/<node-id>`. What a SPIFFE path cannot have is
/// percent-encoded: colons always, and in an ID with an empty or a dot segment every slash and every dot.
pub fn node_uri(cluster: &str, node: &NodeId) -> String {
    let id = node.as_str();
    let plain = id.split('/').all(|s| !matches!(s, "" | "." | ".."));
    let mut uri = format!("{SCHEME}{cluster}{PATH}");
    for c in id.chars() {
        match c {
            ':' => uri.push_str("%3A"),
            '/' if !plain => uri.push_str("%2F"),
            '.' if !plain => uri.push_str("%2E"),
            c => uri.push(c),
        }
    }
    uri
}

/// The DNS name that the certificates of all nodes of a cluster share. Verifiers can check it; nobody resolves it.
pub fn dns_name(cluster: &str) -> String {
    format!("node.{cluster}.portmesh.internal")
}

/// Cluster and node of such a URI. `Err` says what is wrong.
pub(super) fn parse_node_uri(uri: &str) -> Result<(String, NodeId), String> {
    let wrong = |why: &str| format!("its URI {uri:?} {why}");
    let rest = uri
        .strip_prefix(SCHEME)
        .ok_or_else(|| wrong("is not a SPIFFE ID"))?;
    let (cluster, path) = rest.split_once('/').ok_or_else(|| wrong("has no path"))?;
    let encoded = path
        .strip_prefix("node/")
        .ok_or_else(|| wrong("does not name a node (spiffe://<cluster>/node/<node-id>)"))?;
    let id =
        percent_decode(encoded).ok_or_else(|| wrong("is not percent-encoded as it should be"))?;
    let node = id
        .parse()
        .map_err(|e| wrong(&format!("does not name a node: {e}")))?;
    crate::proto::handshake::check_cluster(cluster).map_err(|e| wrong(&e))?;
    Ok((cluster.to_owned(), node))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '%' {
            let high = chars.next()?.to_digit(16)?;
            let low = chars.next()?.to_digit(16)?;
            out.push(char::from(u8::try_from(high << 4 | low).ok()?));
        } else {
            out.push(c);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_node_id_survives_its_uri() {
        let ids = [
            "a",
            "worker/a",
            "a:4040",
            "::1",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/./b",
            "a.b/c-d_e",
            "name::abc",
        ];
        for id in ids {
            let node: NodeId = id.parse().unwrap();
            let uri = node_uri("c.example", &node);
            assert_eq!(
                parse_node_uri(&uri),
                Ok(("c.example".to_owned(), node)),
                "{uri}"
            );
            let path = uri.strip_prefix("spiffe://c.example/node/").unwrap();
            assert!(path.split('/').all(|s| !matches!(s, "" | "." | "..")));
            assert!(!path.contains(':'));
        }
    }

    #[test]
    fn other_uris_name_no_node() {
        for uri in [
            "",
            "spiffe://",
            "spiffe://c",
            "spiffe://c/",
            "spiffe://c/node/",
            "spiffe://c/node",
            "spiffe:///node/a",
            "spiffe://C/node/a",
            "spiffe://u@c/node/a",
            "spiffe://c:1/node/a",
            "SPIFFE://c/node/a",
            "https://c/node/a",
            "spiffe://c/nodes/a",
            "spiffe://c/node/a?x",
            "spiffe://c/node/a#x",
            "spiffe://c/node/a%2",
            "spiffe://c/node/a%zz",
            "spiffe://c/node/a%00",
            "spiffe://c/node/a%FF",
            "spiffe://c/node/a b",
        ] {
            assert!(parse_node_uri(uri).is_err(), "{uri}");
        }
    }
}
