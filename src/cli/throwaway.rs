//! How the nodes of one run prove themselves: certificates of a throw-away CA, or a throw-away secret.

use std::path::{Path, PathBuf};

use crate::{
    CertificateAuthority, Identity, Node, NodeBuilder, NodeId, Secret,
    cli::{
        exit::{Exit, OrExit, Outcome},
        node::format,
    },
};

const SECRET_FILE: &str = "mesh.secret";

/// What stands in the directory of a run, for all of its processes.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    dir: PathBuf,
    secret: bool,
    cluster: &'static str,
}

impl Credentials {
    /// Writes what these nodes need into the directory; says what it was.
    pub(crate) fn create(
        dir: &Path,
        secret: bool,
        cluster: &'static str,
        nodes: &[&str],
    ) -> Outcome<(Self, String)> {
        let credentials = Self::open(dir, secret, cluster);
        if secret {
            let secret = Secret::generate().or_exit(Exit::Failed)?;
            let path = dir.join(SECRET_FILE);
            secret.to_file(path, false).or_exit(Exit::Failed)?;
            let made = "a secret of 32 random bytes, and a key for each node".to_string();
            return Ok((credentials, made));
        }
        let ca = CertificateAuthority::create(cluster).or_exit(Exit::Failed)?;
        for node in nodes {
            let issued = ca.issue(&id(node)?).or_exit(Exit::Failed)?;
            let file = dir.join(file(node));
            issued.save(file, false).or_exit(Exit::Failed)?;
        }
        let made = format!("a CA for this run alone, and {} certificates", nodes.len());
        Ok((credentials, made))
    }

    /// What another process has written.
    pub(crate) fn open(dir: &Path, secret: bool, cluster: &'static str) -> Self {
        Credentials {
            dir: dir.to_path_buf(),
            secret,
            cluster,
        }
    }

    /// A node that proves itself with it.
    pub(crate) fn builder(&self, node: &str, format_name: &str) -> Outcome<NodeBuilder> {
        let builder = Node::builder(node).formats([format(format_name)?]);
        if self.secret {
            let secret = Secret::from_file(self.dir.join(SECRET_FILE)).or_exit(Exit::Config)?;
            let state = self.dir.join(file(node)).with_extension("state");
            return Ok(builder
                .cluster(self.cluster)
                .secret(secret)
                .state_dir(state));
        }
        let identity = Identity::from_pem_file(self.dir.join(file(node))).or_exit(Exit::Config)?;
        Ok(builder.identity(identity))
    }
}

fn id(node: &str) -> Outcome<NodeId> {
    node.parse().or_exit(Exit::Failed)
}

fn file(node: &str) -> String {
    format!("{}.pem", node.replace('/', "-"))
}
