//! `portmesh db set` and `remove`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    time::Duration,
};

use serde_json::json;

use super::{admin, key};
use crate::{
    Family, NodeEvent, NodeId, Value,
    cli::{
        args::{RemoteArgs, duration},
        exit::{Exit, Failure, OrExit, Outcome},
        node::db_failure,
        output::Output,
        remote::{Home, Remote},
        signals::stop_signal,
        values::{json_of, typed_one},
    },
};

/// What is read of the standard input: more than any value may be.
const INPUT_BYTES_MAX: u64 = 16 << 20;

/// An entry to be set.
#[derive(Debug, clap::Args)]
pub(super) struct Set {
    /// The family
    #[arg(value_parser = own_family)]
    family: Family,
    /// The key
    #[arg(value_parser = key)]
    key: String,
    /// The value, JSON or a bare word; - to read it from the standard input
    #[arg(allow_negative_numbers = true)]
    value: String,
    /// How long to keep it [default: until SIGINT or SIGTERM]
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    keep: Option<Duration>,
    /// Let this node set and own it, and end; it has to let this node administer it (portmesh policy), or run with
    /// --db-admin
    #[arg(long, value_name = "NODE", conflicts_with = "keep")]
    on: Option<NodeId>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Entries to be removed.
#[derive(Debug, clap::Args)]
pub(super) struct Remove {
    /// The family
    #[arg(value_parser = own_family)]
    family: Family,
    /// The keys
    #[arg(required = true, value_parser = key)]
    keys: Vec<String>,
    /// Remove those that this node owns, not those that show
    #[arg(long, value_name = "NODE")]
    on: Option<NodeId>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// A family that is not the system's.
fn own_family(text: &str) -> Result<Family, String> {
    let family: Family = text.parse().map_err(|error| format!("{error}"))?;
    if family.is_system() {
        return Err(format!(
            "{family} is the system's: only nodes themselves write there"
        ));
    }
    Ok(family)
}

fn value(text: &str) -> Outcome<Value> {
    if text != "-" {
        return typed_one(text);
    }
    let mut text = String::new();
    std::io::stdin()
        .take(INPUT_BYTES_MAX)
        .read_to_string(&mut text)
        .or_exit_in(Exit::Usage, "reading the value from the standard input")?;
    typed_one(text.trim_end())
}

pub(super) async fn set(args: Set, out: Output) -> Outcome {
    let mut stop = std::pin::pin!(stop_signal()?);
    let value = value(&args.value)?;
    let (family, key) = (&args.family, &args.key);
    let remote = Remote::join(&args.remote, out).await?;
    if let Some(on) = &args.on {
        let asked =
            remote.finish(async |remote| admin::ask_set(remote, on, (family, key, &value)).await);
        asked.await?;
        tell_set(&args, &value, on, out);
        return Ok(());
    }
    let kept = remote.finish(async |remote| keep(remote, &args, &value, &mut stop, out).await);
    kept.await?;
    out.data(
        format!("removed {key} of {family} again"),
        &json!({"event": "removed", "family": family.as_str(), "key": key}),
    );
    Ok(())
}

/// Owns the entry until it is time to end.
async fn keep(
    remote: &Remote,
    args: &Set,
    value: &Value,
    mut stop: impl Future<Output = ()> + Unpin,
    out: Output,
) -> Outcome {
    let (family, key) = (&args.family, &args.key);
    let mut events = remote.node.events();
    let mut home = Home::of(remote);
    let entry =
        remote.within(async { remote.node.db().set_wait(family.as_str(), key, value).await });
    let entry = entry.await?.map_err(db_failure)?;
    tell_set(args, value, remote.node.id(), out);
    let time = args.keep;
    let over = async move {
        match time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let mut over = std::pin::pin!(over);
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = &mut over => break,
            event = events.next() => match event {
                Some(NodeEvent::DbConflict { owners, .. }) => tell_conflict(args, &owners, out),
                Some(NodeEvent::Home(now)) => home.tell(now, out),
                // it was taken once: another home has another mind
                Some(NodeEvent::DbRefused { why, .. }) => return Err(db_failure(why.into())),
                Some(_) => {}
                None => return Err(Failure::new(Exit::Failed, "the node has stopped")),
            },
        }
    }
    entry.remove();
    Ok(())
}

fn tell_set(args: &Set, value: &Value, owner: &NodeId, out: Output) {
    let (family, key, value) = (&args.family, &args.key, json_of(value));
    let life = match (&args.on, args.keep) {
        (Some(_), _) => "until it removes it or ends".to_owned(),
        (None, Some(time)) => format!("this command, which keeps it for {time:?}"),
        (None, None) => "this command, until SIGINT or SIGTERM".to_owned(),
    };
    out.data(
        format!("set {key} = {value} in {family}; it belongs to {owner}, {life}"),
        &json!({"event": "set", "family": family.as_str(), "key": key, "value": value, "owner": owner}),
    );
}

fn tell_conflict(args: &Set, owners: &[NodeId], out: Output) {
    let (family, key) = (&args.family, &args.key);
    let names: Vec<_> = owners.iter().map(NodeId::as_str).collect();
    out.data(
        format!(
            "{key} of {family} has several owners, the first of which shows: {}",
            names.join(", ")
        ),
        &json!({"event": "conflict", "family": family.as_str(), "key": key, "owners": owners}),
    );
}

pub(super) async fn remove(args: Remove, out: Output) -> Outcome {
    let keys: BTreeSet<&String> = args.keys.iter().collect();
    let keys = Vec::from_iter(keys.into_iter().cloned());
    let remote = Remote::join(&args.remote, out).await?;
    let work = async |remote: &Remote| {
        if let Some(on) = &args.on {
            return remove_of(remote, on, &args.family, &keys, out).await;
        }
        for (owner, keys) in &owners(remote, &args.family, keys).await? {
            let removed = remove_of(remote, owner, &args.family, keys, out).await;
            removed.map_err(|Failure { exit, error }| Failure {
                exit,
                error: error.context(format!(
                    "{} of {} belongs to {owner}, and only {owner} can remove it",
                    keys.join(", "),
                    args.family
                )),
            })?;
        }
        Ok(())
    };
    remote.finish(work).await
}

/// Whose entries show under these keys.
async fn owners(
    remote: &Remote,
    family: &Family,
    keys: Vec<String>,
) -> Outcome<BTreeMap<NodeId, Vec<String>>> {
    let mut owned: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
    for key in keys {
        let found = remote.within(async { remote.node.db().entry(family.as_str(), &key).await });
        let Some(found) = found.await?.map_err(db_failure)? else {
            let text = format!("there is no {key} in the family {family}; nothing was removed");
            return Err(Failure::new(Exit::NotFound, text));
        };
        owned.entry(found.owner().clone()).or_default().push(key);
    }
    Ok(owned)
}

async fn remove_of(
    remote: &Remote,
    owner: &NodeId,
    family: &Family,
    keys: &[String],
    out: Output,
) -> Outcome {
    let names = keys.join(", ");
    let count = admin::ask_remove(remote, owner, family, keys).await?;
    if count < keys.len() as u64 {
        let text = match count {
            0 => format!("{owner} owns no {names} in the family {family}"),
            _ => format!(
                "{owner} owns only {count} of {names} in the family {family}, and has removed what it owns"
            ),
        };
        return Err(Failure::new(Exit::NotFound, text));
    }
    out.data(
        format!("{owner} has removed {names} of {family}"),
        &json!({"removed": keys, "family": family.as_str(), "owner": owner}),
    );
    Ok(())
}
