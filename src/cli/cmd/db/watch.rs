//! `portmesh db watch`: a family and its changes, one line each.

use serde_json::{Value as Json, json};

use super::{entry_json, entry_text};
use crate::{
    DbEvent, DbValue, Family, NodeEvent,
    cli::{
        args::RemoteArgs,
        exit::{Exit, Failure, Outcome},
        node::db_failure,
        output::{Output, plain},
        remote::{Home, Remote},
        signals::stop_signal,
        values::json_of,
    },
};

/// A family to be followed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The family
    family: Family,
    /// End when all that is there has been printed
    #[arg(long)]
    until_synced: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(super) async fn run(args: Args, out: Output) -> Outcome {
    let mut stop = std::pin::pin!(stop_signal()?);
    let remote = Remote::join(&args.remote, out).await?;
    let work = async |remote: &Remote| {
        let told = async {
            let told = tell(remote, &args, out);
            if args.until_synced {
                remote.within(told).await?
            } else {
                told.await
            }
        };
        tokio::select! {
            told = told => told,
            () = &mut stop => Ok(()),
        }
    };
    remote.leave(work).await
}

/// Prints what comes, and where this command is at home: without a home all that others own is deleted after a while.
/// Ends where it is asked to, or with the node.
async fn tell(remote: &Remote, args: &Args, out: Output) -> Outcome {
    let mut events = remote.node.events();
    let mut home = Home::of(remote);
    let db = remote.node.db();
    let mut watch = db.watch(args.family.as_str()).map_err(db_failure)?;
    loop {
        tokio::select! {
            event = watch.next() => {
                let Some(event) = event else { break };
                if let DbEvent::Refused { text } = event {
                    return Err(Failure::new(Exit::Refused, format!("not permitted: {text}")));
                }
                let (human, json) = in_words(&args.family, &event);
                out.data(human, &json);
                if args.until_synced && event == DbEvent::Synced {
                    return Ok(());
                }
            }
            event = events.next() => match event {
                Some(NodeEvent::Home(now)) => home.tell(now, out),
                Some(_) => {}
                None => break,
            },
        }
    }
    Err(Failure::new(Exit::Failed, "the node has stopped"))
}

fn in_words(family: &Family, event: &DbEvent) -> (String, Json) {
    let name = family.as_str();
    let with_entry = |what: &str, key: &str, value: &DbValue| {
        let mut json = entry_json(family, key, value);
        if let Some(map) = json.as_object_mut() {
            map.insert("event".to_owned(), json!(what));
        }
        (format!("{what} {}", entry_text(key, value)), json)
    };
    match event {
        DbEvent::Added { key, value } => with_entry("added", key, value),
        DbEvent::Changed { key, value } => with_entry("changed", key, value),
        DbEvent::Deleted { key } => (
            format!("deleted {}", plain(key)),
            json!({"event": "deleted", "family": name, "key": key}),
        ),
        DbEvent::Conflict { key, values } => {
            let all: Vec<_> = values
                .iter()
                .map(|value| format!("{} ({})", json_of(&value.value()), value.owner()))
                .collect();
            let values: Vec<_> = values
                .iter()
                .map(|value| entry_json(family, key, value))
                .collect();
            (
                format!("conflict {}: {}", plain(key), all.join(", ")),
                json!({"event": "conflict", "family": name, "key": key, "values": values}),
            )
        }
        DbEvent::Synced => (
            "synced".to_owned(),
            json!({"event": "synced", "family": name}),
        ),
        DbEvent::Refused { text } => (
            format!("not permitted: {}", plain(text)),
            json!({"event": "refused", "family": name, "reason": text}),
        ),
    }
}
