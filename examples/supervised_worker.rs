//! A worker that dies of bad input, and a supervisor that starts it again: `cargo run --example supervised_worker`.
//!
//! The worker is spawned by the name of its function, so that it could as well be on another node.

use portmesh::{Context, Init, Node, NodeId, PortId, Reason, SendError, Value};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Equips a worker that was spawned.
async fn init_worker(cx: &Init, (): ()) {
    cx.port().on("divide", divide).open();
}

async fn divide(
    (): &mut (),
    cx: &Context,
    (a, b, reply): (i64, i64, PortId),
) -> Result<(), Failed> {
    // an error kills the port with ["die", text], and nothing else
    let quotient = a
        .checked_div(b)
        .ok_or(format!("{a} cannot be divided by {b}"))?;
    Ok(cx.send(&reply, ("quotient", quotient))?)
}

/// Keeps one worker alive, and hands it the work.
struct Supervisor {
    node: NodeId,
    worker: Option<PortId>,
    /// Who waits for an answer.
    asker: Option<PortId>,
}

async fn hand_on(
    supervisor: &mut Supervisor,
    cx: &Context,
    (a, b, reply): (i64, i64, PortId),
) -> Result<(), Failed> {
    let worker = match supervisor.worker.clone() {
        Some(worker) => worker,
        None => {
            let worker = cx.spawn(&supervisor.node, "worker", ())?;
            println!("the supervisor starts a worker");
            // its death comes as a message: "died", and the values of the reason
            cx.monitor(&worker).send(cx.id(), "died")?;
            supervisor.worker.insert(worker).clone()
        }
    };
    supervisor.asker = Some(reply.clone());
    Ok(cx.send(&worker, ("divide", a, b, reply))?)
}

async fn died(supervisor: &mut Supervisor, cx: &Context, reason: Reason) -> Result<(), SendError> {
    supervisor.worker = None;
    match supervisor.asker.take() {
        Some(asker) => cx.send(&asker, ("failed", reason.to_string())),
        None => Ok(()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::builder("supervised/%u")
        .spawnable("worker", init_worker)
        .start()
        .await?;
    let state = Supervisor {
        node: node.id().clone(),
        worker: None,
        asker: None,
    };
    let supervisor = node
        .port()
        .state(state)
        .on("divide", hand_on)
        .on("died", died)
        .open();

    for (a, b) in [(84, 2), (1, 0), (9, 3)] {
        let (word, value) = node
            .call::<(String, Value)>(supervisor.id(), ("divide", a, b))
            .await?;
        println!("{a} / {b}: {word} {value}");
    }
    Ok(())
}
