//! `portmesh db digest`: what nodes hold of the database, in figures, and whether it is the same.

use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    CallError, DbDigest, NodeId, PortId,
    cli::{
        args::RemoteArgs,
        exit::{Exit, Failure, Outcome},
        node::{call_failure, db_failure},
        output::{Output, aligned, counted},
        remote::{AGAIN, Remote},
    },
};

/// Whose sums.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this node
    node: Option<NodeId>,
    #[command(flatten)]
    remote: RemoteArgs,
}

type Answers = Vec<(NodeId, Result<DbDigest, CallError>)>;

pub(super) async fn run(args: Args, out: Output) -> Outcome {
    let remote = Remote::join(&args.remote, out).await?;
    let work = async |remote: &Remote| match args.node {
        Some(node) => one(remote, node, out).await,
        None => compare(remote, out).await,
    };
    remote.leave(work).await
}

async fn one(remote: &Remote, node: NodeId, out: Output) -> Outcome {
    remote.reach(&node).await?;
    let digest = remote.node.db_digest(&node, remote.left()).await;
    let digest = digest.map_err(|error| call_failure(&PortId::of_node(node), error))?;
    print(&[digest], out);
    Ok(())
}

async fn compare(remote: &Remote, out: Output) -> Outcome {
    let (answers, same) = ask_until_same(remote).await?;
    let (mut digests, mut silent) = (Vec::new(), Vec::new());
    for (node, answer) in answers {
        match answer {
            Ok(digest) => digests.push(digest),
            Err(error) => silent.push((node, error)),
        }
    }
    print(&digests, out);
    let names: Vec<_> = silent.iter().map(|(node, _)| node.to_string()).collect();
    if let Some((node, error)) = silent.into_iter().next() {
        let Failure { exit, error } = call_failure(&PortId::of_node(node), error);
        let error = match names.len() {
            1 => error,
            _ => error.context(format!("no answer from {}", names.join(", "))),
        };
        return Err(Failure { exit, error });
    }
    let nodes = digests.len();
    if !same {
        let text = format!(
            "the {nodes} global nodes do not hold the same; if that lasts, see whether they are linked: portmesh trace NODE"
        );
        return Err(Failure::new(Exit::Failed, text));
    }
    let text = match nodes {
        1 => "1 global node holds it alone".to_owned(),
        _ => format!("{nodes} global nodes hold the same"),
    };
    out.data(text, &json!({"same": true, "nodes": nodes}));
    Ok(())
}

fn print(digests: &[DbDigest], out: Output) {
    let rows: Vec<_> = digests
        .iter()
        .map(|it| {
            vec![
                it.node.to_string(),
                it.digest.clone(),
                format!(
                    "{} of {}",
                    counted(it.entries, "entry", "entries"),
                    counted(it.owners, "node", "nodes")
                ),
                format!(
                    "holds {}, {} bytes",
                    counted(it.held_entries, "entry", "entries"),
                    it.held_bytes
                ),
            ]
        })
        .collect();
    for (line, it) in aligned(&rows).iter().zip(digests) {
        let json = json!({
            "node": it.node, "global": it.global, "digest": it.digest, "entries": it.entries, "owners": it.owners,
            "held_entries": it.held_entries, "held_bytes": it.held_bytes,
        });
        out.data(line, &json);
    }
}

/// Asks all global nodes, again where what they hold differs: it may be on its way.
async fn ask_until_same(remote: &Remote) -> Outcome<(Answers, bool)> {
    loop {
        let nodes = remote.within(async { remote.node.db().nodes().await });
        let nodes = nodes.await?.map_err(db_failure)?;
        let globals = nodes
            .into_iter()
            .filter(|node| node.global)
            .map(|node| node.node);
        let mut asked = JoinSet::new();
        for node in globals {
            // the other half is for a second question
            let (me, time) = (remote.node.clone(), remote.half());
            asked.spawn(async move {
                let digest = me.db_digest(&node, time).await;
                (node, digest)
            });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by(|a, b| a.0.cmp(&b.0));
        let same = are_same(&answers);
        let all_answered = answers.iter().all(|(_, answer)| answer.is_ok());
        if same || !all_answered || remote.left() < 2 * AGAIN {
            return Ok((answers, same));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Whether all have answered, and hold the same.
fn are_same(answers: &Answers) -> bool {
    let mut digests = answers
        .iter()
        .map(|(_, answer)| answer.as_ref().ok().map(|it| &it.digest));
    match digests.next() {
        Some(first @ Some(_)) => digests.all(|digest| digest == first),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(digests: &[Option<&str>]) -> Answers {
        let answer = |digest: Option<&str>| {
            let node: NodeId = "a".parse().unwrap_or_else(|_| unreachable!());
            let digest = digest.ok_or(CallError::NoSuchPort).map(|digest| DbDigest {
                node: node.clone(),
                global: true,
                owners: 0,
                entries: 0,
                digest: digest.to_owned(),
                held_entries: 0,
                held_bytes: 0,
            });
            (node, digest)
        };
        digests.iter().copied().map(answer).collect()
    }

    // R3
    #[test]
    fn nodes_hold_the_same_when_all_say_the_same() {
        for same in [&[Some("1")][..], &[Some("1"), Some("1"), Some("1")]] {
            assert!(are_same(&answers(same)), "{same:?}");
        }
        for other in [
            &[][..],
            &[None],
            &[None, None],
            &[Some("1"), None],
            &[None, Some("1")],
            &[Some("1"), Some("1"), Some("2")],
        ] {
            assert!(!are_same(&answers(other)), "{other:?}");
        }
    }
}
