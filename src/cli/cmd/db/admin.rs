//! What administering a node is: to ask it to set and remove entries of its own.

use std::time::Duration;

use crate::{
    Context, EncodeError, Family, Init, NodeBuilder, NodeId, PortId, SendError, Value,
    cli::{
        exit::{Exit, Failure, OrExit, Outcome},
        orders,
        remote::Remote,
    },
};

/// The function that makes the port which does it. Its name says that spawning it takes `admin` in the policy.
const FUNCTION: &str = "portmesh.db";
/// A port that nobody asks anything ends.
const IDLE: Duration = Duration::from_secs(60);

/// Lets those who may administer the node set and remove entries that it owns.
pub(crate) fn open(builder: NodeBuilder) -> NodeBuilder {
    builder.spawnable(FUNCTION, init)
}

async fn init(cx: &Init, (): ()) -> Result<(), EncodeError> {
    // one order a port, and none that is never asked anything
    cx.after(IDLE).kill(cx.id(), ())?;
    cx.port().on("set", set).on("remove", remove).open();
    Ok(())
}

/// An order and whom to answer.
type Set = (Family, String, Value, PortId);
type Remove = (Family, Vec<String>, PortId);

async fn set((): &mut (), cx: &Context, (family, key, value, reply): Set) -> Result<(), SendError> {
    if !orders::is_permitted(cx) {
        return cx.send(&reply, ("refused", orders::NOT_YOURS));
    }
    cx.stop();
    let db = cx.node().db();
    match db.set_wait(family.as_str(), &key, &value).await {
        Ok(entry) => {
            entry.detach();
            cx.send(&reply, ("done", 1))
        }
        Err(error) => cx.send(&reply, ("refused", error.to_string())),
    }
}

async fn remove((): &mut (), cx: &Context, (family, keys, reply): Remove) -> Result<(), SendError> {
    if !orders::is_permitted(cx) {
        return cx.send(&reply, ("refused", orders::NOT_YOURS));
    }
    cx.stop();
    match cx.node().db().remove(family.as_str(), &keys) {
        Ok(count) => cx.send(&reply, ("done", count)),
        Err(error) => cx.send(&reply, ("refused", error.to_string())),
    }
}

/// What it answers.
#[derive(serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(u64),
    Refused(String),
}

/// Lets a node set an entry.
pub(super) async fn ask_set(
    remote: &Remote,
    on: &NodeId,
    (family, key, value): (&Family, &str, &Value),
) -> Outcome {
    ask(remote, on, ("set", family, key, value))
        .await
        .map(|_| ())
}

/// Lets a node remove entries; how many it had.
pub(super) async fn ask_remove(
    remote: &Remote,
    on: &NodeId,
    family: &Family,
    keys: &[String],
) -> Outcome<u64> {
    ask(remote, on, ("remove", family, keys)).await
}

async fn ask(remote: &Remote, on: &NodeId, order: impl crate::IntoMessage) -> Outcome<u64> {
    remote.reach(on).await?;
    let port = remote.node.spawn(on, FUNCTION, ()).or_exit(Exit::Failed)?;
    let answer = remote
        .node
        .call::<Answer>(&port, order)
        .within(remote.left());
    match answer.await {
        Ok(Answer::Done(count)) => Ok(count),
        Ok(Answer::Refused(text)) => Err(Failure::new(Exit::Refused, format!("{on}: {text}"))),
        Err(error) => Err(orders::failure(remote, on, &port, error)),
    }
}
