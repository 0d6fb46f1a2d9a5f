//! `portmesh db get`, `keys` and `family`.

use serde_json::json;

use super::{ReadFamily, ReadKey, entry_json, entry_text};
use crate::{
    DbValue,
    cli::{
        exit::{Exit, Failure, Outcome},
        node::db_failure,
        output::{Output, plain},
        remote::Remote,
        values::json_of,
    },
};

pub(super) async fn get(args: ReadKey, out: Output) -> Outcome {
    let remote = Remote::join(&args.remote, out).await?;
    remote
        .leave(async |remote| {
            let (family, key) = (&args.family, &args.key);
            let found = remote.within(async { remote.node.db().entry(family.as_str(), key).await });
            let Some(value) = found.await?.map_err(db_failure)? else {
                let text = format!("there is no {key} in the family {family}");
                return Err(Failure::new(Exit::NotFound, text));
            };
            out.data(json_of(&value.value()), &entry_json(family, key, &value));
            Ok(())
        })
        .await
}

pub(super) async fn keys(args: ReadFamily, out: Output) -> Outcome {
    for (key, value) in entries(&args, out).await? {
        let family = args.family.as_str();
        out.data(
            plain(&key),
            &json!({"family": family, "key": key, "owner": value.owner()}),
        );
    }
    Ok(())
}

pub(super) async fn family(args: ReadFamily, out: Output) -> Outcome {
    for (key, value) in entries(&args, out).await? {
        out.data(
            entry_text(&key, &value),
            &entry_json(&args.family, &key, &value),
        );
    }
    Ok(())
}

async fn entries(args: &ReadFamily, out: Output) -> Outcome<Vec<(String, DbValue)>> {
    let remote = Remote::join(&args.remote, out).await?;
    remote
        .leave(async |remote| {
            let found =
                remote.within(async { remote.node.db().family(args.family.as_str()).await });
            let found = found.await?.map_err(db_failure)?;
            Ok(found)
        })
        .await
}
