//! Two nodes on two hosts, with certificates: each proves its name by a certificate of your own CA.
//!
//! ```sh
//! portmesh-cert ca init && portmesh-cert issue a && portmesh-cert issue b
//! cargo run --example two_hosts_certificates -- listen a.pem "*:4040"             # on the first host
//! cargo run --example two_hosts_certificates -- ask b.pem a first.example.net:4040  # on the second
//! ```

use std::time::Duration;

use portmesh::{Context, Identity, Init, Node, NodeId, PortId, SendError};

type Res<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Makes a port that adds up what it is sent. Other nodes spawn it by its name.
async fn init_adder(cx: &Init, (start,): (i64,)) {
    cx.port().state(start).on("add", add).open();
}

async fn add(sum: &mut i64, cx: &Context, (n, reply): (i64, PortId)) -> Result<(), SendError> {
    *sum += n;
    cx.send(&reply, *sum)
}

async fn listen(pem: &str, addr: &str) -> Res {
    let identity = Identity::from_pem_file(pem)?;
    let node = Node::builder(identity.node().as_str())
        .identity(identity)
        .listen(addr)
        .spawnable("adder", init_adder)
        .start()
        .await?;
    println!(
        "{} listens on {}",
        node.id(),
        node.listen_addrs().join(", ")
    );
    tokio::signal::ctrl_c().await?;
    node.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

async fn ask(pem: &str, peer: &str, addr: &str) -> Res {
    let peer: NodeId = peer.parse()?;
    let identity = Identity::from_pem_file(pem)?;
    let node = Node::builder(identity.node().as_str())
        .identity(identity)
        .address(peer.clone(), addr)
        .start()
        .await?;
    let adder = node.spawn(&peer, "adder", (40,))?;
    let sum: i64 = node
        .call(&adder, ("add", 2))
        .within(Duration::from_secs(10))
        .await?;
    for link in node.links() {
        println!(
            "{} proved itself by {}; {}",
            link.node, link.proof, link.security
        );
    }
    println!("{adder} says {sum}");
    node.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

#[tokio::main]
async fn main() -> Res {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [what, pem, addr] if what == "listen" => listen(pem, addr).await,
        [what, pem, peer, addr] if what == "ask" => ask(pem, peer, addr).await,
        _ => Err(
            "usage: two_hosts_certificates listen FILE.pem ADDR | ask FILE.pem PEER ADDR".into(),
        ),
    }
}
