//! `portmesh run`: a node from flags.

use std::{path::PathBuf, time::Duration};

use serde_json::json;

use crate::{
    Context, Init, NodeEvent, NodeId, NodePattern, Operation, Policy, PortId, Raw, Rule, SendError,
    cli::{
        args::{IdentityArgs, MeshArgs, duration},
        cmd::{db::admin, policy},
        exit::{Exit, OrExit, Outcome},
        node::{builder, link_json, tell_home},
        output::{Output, plain},
        signals::stop_signal,
        values::json as to_json,
    },
};

/// Run a node until SIGINT or SIGTERM
///
/// Prints one line when it is ready, one for each node that comes or goes, one for what befalls it in the database (its
/// home, an entry that was refused or that others own too, a clock that differs, a node that is not taken for global), and
/// one for each message to a port that was spawned by the name of print. Other nodes can spawn: echo (a port that answers a call with the call's own values) and
/// print (a port that prints what it gets).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    mesh: MeshArgs,
    /// Where to listen: * as host for every local address, * as port for one that the system picks, 4040 if there is none;
    /// may be given several times
    #[arg(long, value_name = "HOST[:PORT]")]
    listen: Vec<String>,
    /// Where others reach this node, if not where it listens (address translation, containers); may be given several times
    #[arg(long, value_name = "HOST[:PORT]")]
    advertise: Vec<String>,
    /// Be a global node, or with =false do not be one [default: it is one when it has no seed but itself]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    global: Option<bool>,
    /// Take nodes of these IDs for global nodes when they say that they are, besides those that answer at the seeds; * stands
    /// for any characters; may be given several times
    #[arg(long, value_name = "PATTERN")]
    trust_global: Vec<NodePattern>,
    /// Who may do what here, a TOML file (see portmesh policy) [default: members may send, call, monitor, spawn what there is,
    /// kill what they spawned, and read and write the database]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Let every member of the mesh administer this node: set and remove entries of the database that it owns (portmesh db set
    /// --on, portmesh db remove). The same as a rule with admin = true for everybody in the policy, where single nodes can be
    /// named; without either nobody can
    #[arg(long)]
    db_admin: bool,
    /// Write where it listens to this file when it is ready, one address a line
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// How long to go on transmitting at the end
    #[arg(long, value_name = "TIME", default_value = "5", value_parser = duration)]
    flush: Duration,
}

/// How the ports of print print.
struct Printer(Output);

async fn print(printer: &mut Printer, cx: &Context, Raw(values): Raw) {
    let from = cx.sender_node().map_or("", |node| node.as_str());
    let values = to_json(&values);
    printer.0.data(
        format!("message from {from} to {}: {values}", cx.id()),
        &json!({"event": "message", "from": from, "to": cx.id(), "message": values}),
    );
}

async fn echo((): &mut (), cx: &Context, Raw(mut values): Raw) -> Result<(), SendError> {
    // the last value of a call is where its answer goes
    let reply = values.pop();
    let reply: Option<PortId> = reply.and_then(|reply| reply.as_str()?.parse().ok());
    match reply {
        Some(reply) => cx.send(&reply, Raw(values)),
        None => Ok(()),
    }
}

async fn init_echo(cx: &Init, (): ()) {
    cx.port().on_other(echo).open();
}

pub(crate) async fn run(args: Args, out: Output) -> Outcome {
    let mut stop = std::pin::pin!(stop_signal()?);
    let mut builder = builder(&args.identity, &args.mesh, "%n")?
        .spawnable("echo", init_echo)
        .spawnable("print", move |cx: &Init, (): ()| {
            cx.port().state(Printer(out)).on_other(print).open();
            std::future::ready(())
        });
    for addr in &args.listen {
        builder = builder.listen(addr);
    }
    for addr in &args.advertise {
        builder = builder.advertise(addr);
    }
    if let Some(global) = args.global {
        builder = builder.global(global);
    }
    for nodes in args.trust_global {
        builder = builder.trust_global(nodes);
    }
    let mut policy = match &args.policy {
        Some(file) => policy::read(file)?,
        None => Policy::default(),
    };
    if args.db_admin {
        policy = policy.with(Rule::for_all().allow_all(Operation::Admin));
    }
    builder = admin::open(builder).policy(policy);
    let node = builder.start().await.or_exit(Exit::Config)?;
    let mut events = node.events();
    let listen = node.listen_addrs();
    if let Some(file) = &args.ready_file {
        std::fs::write(file, listen.join("\n") + "\n")
            .or_exit_in(Exit::Config, format!("writing {}", file.display()))?;
    }
    out.data(
        format!("ready: {} listens on {}", node.id(), at(&listen)),
        &json!({
            "event": "ready", "node": node.id(), "incarnation": node.incarnation().to_string(), "listen": listen,
            "advertised": node.advertised(), "global": node.is_global(),
        }),
    );
    loop {
        tokio::select! {
            () = &mut stop => break,
            event = events.next() => match event {
                Some(event) => tell(&event, out),
                None => break,
            },
        }
    }
    out.chat("stopping");
    node.shutdown(args.flush).await;
    out.data(
        format!("stopped: {}", node.id()),
        &json!({"event": "stopped", "node": node.id()}),
    );
    Ok(())
}

fn at(listen: &[String]) -> String {
    if listen.is_empty() {
        "nothing".to_string()
    } else {
        listen.join(", ")
    }
}

fn tell(event: &NodeEvent, out: Output) {
    match event {
        NodeEvent::Up { node, link, .. } => out.data(
            format!(
                "up: {node} at {}: {}; {}; messages in {}",
                link.addr, link.proof, link.security, link.format
            ),
            &json!({"event": "up", "node": node, "link": link_json(link)}),
        ),
        NodeEvent::Down { node, reason } => out.data(
            format!("down: {node}: {reason}"),
            &json!({"event": "down", "node": node, "reason": reason.to_string()}),
        ),
        NodeEvent::Home(home) => tell_home(home.as_ref(), out),
        NodeEvent::DbRefused { family, key, why } => out.data(
            format!("entry refused: {key} of {family} is gone again: {why}"),
            &json!({"event": "entry_refused", "family": family.as_str(), "key": key.as_ref(), "reason": why.to_string()}),
        ),
        NodeEvent::DbConflict {
            family,
            key,
            owners,
        } => {
            let names: Vec<_> = owners.iter().map(NodeId::as_str).collect();
            out.data(
                format!(
                    "conflict: {} of {family} has several owners, the first of which shows: {}",
                    plain(key),
                    names.join(", ")
                ),
                &json!({"event": "conflict", "family": family.as_str(), "key": key.as_ref(), "owners": owners}),
            );
        }
        NodeEvent::NotGlobal { node, text } => out.data(
            format!("not global: {node}: {}", plain(text)),
            &json!({"event": "not_global", "node": node, "reason": text}),
        ),
        NodeEvent::ClockSkew { node, ms } => out.data(
            format!("clock skew: the clock of {node} and this node's differ by {ms} ms"),
            &json!({"event": "clock_skew", "node": node, "ms": ms}),
        ),
        // refusals and what could not be reached are in the log
        _ => {}
    }
}
