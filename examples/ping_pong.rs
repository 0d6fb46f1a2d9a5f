//! Two ports that play ping-pong in one node, with no mesh at all: `cargo run --example ping_pong`.

use portmesh::{Context, Node, PortId, SendError};

/// How many balls are played.
const ROUNDS: u64 = 1000;

/// A player counts the balls that it has seen.
#[derive(Default)]
struct Player {
    seen: u64,
}

async fn ping(
    player: &mut Player,
    cx: &Context,
    (n, partner): (u64, PortId),
) -> Result<(), SendError> {
    player.seen += 1;
    cx.send(&partner, ("pong", n, cx.id()))
}

async fn pong(
    player: &mut Player,
    cx: &Context,
    (n, partner): (u64, PortId),
) -> Result<(), SendError> {
    player.seen += 1;
    if n < ROUNDS {
        return cx.send(&partner, ("ping", n + 1, cx.id()));
    }
    println!("{} balls, {} of them came back", n, player.seen);
    cx.stop(); // a normal death, which ends the program below
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::builder("ping-pong/%u").start().await?;
    let first = node.port().state(Player::default()).on("pong", pong).open();
    let second = node.port().state(Player::default()).on("ping", ping).open();

    let end = node.monitor(first.id());
    node.send(second.id(), ("ping", 1, first.id()))?;
    println!("the first player ended: {}", end.await);
    Ok(())
}
