//! `portmesh db watch`: a family and its changes, one line each.

use serde_json::{Value as Json, json};

use super::{entry_json, entry_text};
use crate::{
    DbEvent, DbValue, Family, Watch,
    cli::{
        args::RemoteArgs,
        exit::{Exit, Failure, Outcome},
        node::db_failure,
        output::Output,
        remote::Remote,
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
    remote
        .finish(async |remote| {
            let mut watch = remote
                .node
                .db()
                .watch(args.family.as_str())
                .map_err(db_failure)?;
            let told = async {
                if args.until_synced {
                    remote
                        .within(tell(&mut watch, &args.family, true, out))
                        .await?
                } else {
                    tell(&mut watch, &args.family, false, out).await
                }
            };
            tokio::select! {
                told = told => told?,
                () = &mut stop => {}
            }
            drop(watch);
            Ok(())
        })
        .await
}

/// Prints what comes. Ends where it is asked to, or with the node.
async fn tell(watch: &mut Watch, family: &Family, until_synced: bool, out: Output) -> Outcome {
    while let Some(event) = watch.next().await {
        let (human, json) = in_words(family, &event);
        out.data(human, &json);
        if until_synced && event == DbEvent::Synced {
            return Ok(());
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
            format!("deleted {key}"),
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
                format!("conflict {key}: {}", all.join(", ")),
                json!({"event": "conflict", "family": name, "key": key, "values": values}),
            )
        }
        DbEvent::Synced => (
            "synced".to_owned(),
            json!({"event": "synced", "family": name}),
        ),
    }
}
