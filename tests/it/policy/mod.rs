//! What the policy of a node refuses and permits, between real nodes over TLS with certificates made for the test.

mod db;
mod files;
mod live;
mod ports;

use std::time::Duration;

use portmesh::{
    Context, Identity, Init, Node, NodeBuilder, Policy, Port, PortId, Secret,
    transport::tls::ca::CertificateAuthority,
};

pub(crate) use crate::links::rig::{eventually, soon};

/// A node with a policy, and the means to make others that know it.
pub(crate) struct House {
    pub(crate) ca: CertificateAuthority,
    pub(crate) secret: Secret,
    pub(crate) home: Node,
    pub(crate) addr: String,
}

pub(crate) fn policy(text: &str) -> Policy {
    Policy::from_toml("policy.toml", text).unwrap()
}

async fn servant(cx: &Init, (): ()) {
    echoes(cx.port()).open();
}

/// A port that answers with what it is asked.
pub(crate) fn echoes(port: portmesh::PortBuilder<()>) -> portmesh::PortBuilder<()> {
    port.on(
        "echo",
        async |_: &mut (), cx: &Context, (x, reply): (u64, PortId)| cx.send(&reply, x),
    )
}

impl House {
    pub(crate) async fn new(text: &str) -> House {
        House::with(text, |builder| builder).await
    }

    /// `home` is a global node that others can spawn `count.words`, `other` and `portmesh.test` on.
    pub(crate) async fn with(text: &str, change: impl FnOnce(NodeBuilder) -> NodeBuilder) -> House {
        let ca = CertificateAuthority::create("test").unwrap();
        let secret = Secret::generate().unwrap();
        let builder = certified(&ca, "home")
            .secret(secret.clone())
            .unpinned()
            .listen("127.0.0.1:0")
            .policy(policy(text))
            .spawnable("count.words", servant)
            .spawnable("other", servant)
            .spawnable("portmesh.test", servant);
        let home = change(builder).start().await.unwrap();
        let addr = home.listen_addrs()[0].clone();
        House {
            ca,
            secret,
            home,
            addr,
        }
    }

    /// A node with a certificate for that name, attached to `home`.
    pub(crate) async fn member(&self, name: &str) -> Node {
        let node = certified(&self.ca, name).seed(&self.addr);
        let node = node.start().await.unwrap();
        soon("it is attached", node.db().ready()).await.unwrap();
        node
    }

    /// A node that goes by the secret.
    pub(crate) async fn by_secret(&self, name: &str) -> Node {
        let node = Node::builder(name)
            .secret(self.secret.clone())
            .cluster("test")
            .unpinned()
            .seed(&self.addr);
        let node = node.start().await.unwrap();
        soon("it is attached", node.db().ready()).await.unwrap();
        node
    }

    /// A port of `home`, registered in that family if one is named.
    pub(crate) fn port(&self, family: &str) -> Port<()> {
        let port = echoes(self.home.port()).open();
        if !family.is_empty() {
            let entry = self.home.db().register(family, port.id());
            entry.unwrap().detach();
        }
        port
    }

    pub(crate) fn denied(&self) -> u64 {
        self.home.stats().mesh.denied
    }
}

pub(crate) fn certified(ca: &CertificateAuthority, name: &str) -> NodeBuilder {
    let issued = ca.issue(&name.parse().unwrap()).unwrap();
    Node::builder(name).identity(Identity::from_pem(&issued.to_pem()).unwrap())
}

/// Whether the port answers that node. `Err`: why not, as it reads.
pub(crate) async fn ask(node: &Node, port: &PortId) -> Result<u64, portmesh::CallError> {
    node.call(port, ("echo", 7))
        .within(Duration::from_secs(30))
        .await
}

/// The port does not answer that node, since it may not ask.
pub(crate) async fn refuses(node: &Node, port: &PortId) {
    let answer = ask(node, port).await;
    assert!(
        matches!(&answer, Err(portmesh::CallError::Refused { text }) if text.contains("may not")),
        "{answer:?}"
    );
}

pub(crate) async fn answers(node: &Node, port: &PortId) {
    let answer = ask(node, port).await;
    assert_eq!(answer.unwrap(), 7);
}
