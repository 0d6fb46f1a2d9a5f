//! Two nodes on two hosts, with a shared secret: each has it in a file, and a directory for its own key.
//!
//! ```sh
//! portmesh secret gen --out mesh.secret                                          # copied to both hosts, safely
//! cargo run --example two_hosts_secret -- listen mesh.secret state-a a "*:4040"        # on the first host
//! cargo run --example two_hosts_secret -- ask mesh.secret state-b b a first.example.net:4040  # on the second
//! ```

use std::time::Duration;

use portmesh::{Context, Init, Node, NodeBuilder, NodeId, PortId, Secret, SendError};

type Res<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Makes a port that adds up what it is sent. Other nodes spawn it by its name.
async fn init_adder(cx: &Init, (start,): (i64,)) {
    cx.port().state(start).on("add", add).open();
}

async fn add(sum: &mut i64, cx: &Context, (n, reply): (i64, PortId)) -> Result<(), SendError> {
    *sum += n;
    cx.send(&reply, *sum)
}

/// The state directory keeps this node's key, and the keys of the nodes that it has seen.
fn builder(secret: &str, state: &str, id: &str) -> Res<NodeBuilder> {
    let secret = Secret::from_file(secret)?;
    Ok(Node::builder(id).secret(secret).state_dir(state))
}

async fn listen(builder: NodeBuilder, addr: &str) -> Res {
    let node = builder
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

async fn ask(builder: NodeBuilder, peer: &str, addr: &str) -> Res {
    let peer: NodeId = peer.parse()?;
    let node = builder.address(peer.clone(), addr).start().await?;
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
        [what, secret, state, id, addr] if what == "listen" => {
            listen(builder(secret, state, id)?, addr).await
        }
        [what, secret, state, id, peer, addr] if what == "ask" => {
            ask(builder(secret, state, id)?, peer, addr).await
        }
        _ => Err(
            "usage: two_hosts_secret listen SECRET STATE ID ADDR | ask SECRET STATE ID PEER ADDR"
                .into(),
        ),
    }
}
