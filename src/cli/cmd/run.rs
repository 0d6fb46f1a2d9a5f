//! `portmesh run`: a node from configuration and flags.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use serde_json::json;

use crate::{
    Context, Init, Node, NodeBuilder, NodeEvent, NodeId, Operation, PortId, Raw, Rule, SendError,
    api::config::layers::Settings,
    cli::{
        args::{ConfigArgs, Flags, IdentityArgs, MeshArgs, NodeArgs},
        cmd::{
            db::admin,
            reload::{self, files_text, reread},
        },
        exit::{Exit, OrExit, Outcome},
        log::LogArgs,
        node::{builder, link_json, tell_home, unix_seconds},
        output::{Output, plain},
        signals::{Hangups, stop_signal},
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
    config: ConfigArgs,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    mesh: MeshArgs,
    #[command(flatten)]
    node: NodeArgs,
    /// Write where it listens to this file when it is ready, one address a line
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// How long to go on transmitting at the end.
const FLUSH: Duration = Duration::from_secs(5);

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

/// The flags are in the settings already.
fn builder_of(settings: &Settings, out: Output) -> Outcome<NodeBuilder> {
    // a profile without an ID is a name for many nodes
    let default_id = match &settings.profile {
        Some(profile) => format!("{profile}/%u"),
        None => "%n".to_owned(),
    };
    let builder = builder(settings, &default_id)?
        .spawnable("echo", init_echo)
        .spawnable("print", move |cx: &Init, (): ()| {
            cx.port().state(Printer(out)).on_other(print).open();
            std::future::ready(())
        });
    let builder = reload::open(admin::open(builder));
    Ok(match settings.flag("db_admin") {
        Some(true) => builder.policy_rule(Rule::for_all().allow_all(Operation::Admin)),
        _ => builder,
    })
}

pub(crate) async fn run(args: Args, log: LogArgs, quiet: bool, out: Output) -> Outcome {
    let mut stop = std::pin::pin!(stop_signal()?);
    let mut hangups = Hangups::start()?;
    let flags = Flags::default().identity(&args.identity).mesh(&args.mesh);
    let flags = flags.node(&args.node)?.log(&log);
    let settings = args.config.settings(flags, true)?;
    LogArgs::start_with(&settings, quiet);
    let builder = builder_of(&settings, out)?;
    let started = builder.start_with_events().await;
    let (node, mut events) = started.or_exit(Exit::Config)?;
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
            () = hangups.next() => reload(&node, out).await,
            event = events.next() => match event {
                Some(event) => tell(&event, out),
                None => break,
            },
        }
    }
    out.chat("stopping");
    node.shutdown(settings.time("flush").unwrap_or(FLUSH)).await;
    out.data(
        format!("stopped: {}", node.id()),
        &json!({"event": "stopped", "node": node.id()}),
    );
    Ok(())
}

/// Rereads the files; what is wrong with one is in the log too.
async fn reload(node: &Node, out: Output) {
    match reread(node).await {
        Ok(files) => out.data(
            files_text(&files),
            &json!({"event": "reread", "files": files}),
        ),
        Err(error) => out.data(
            format!("not reread: {error}"),
            &json!({"event": "not_reread", "error": error}),
        ),
    }
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
        NodeEvent::Renewed {
            node,
            proof,
            expires,
        } => out.data(
            format!("renewed: {node}: {proof}"),
            &json!({"event": "renewed", "node": node, "proof": proof, "expires_s": expires.map(unix_seconds)}),
        ),
        NodeEvent::Expires { expires } => {
            let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
            out.data(
                format!(
                    "this node's certificate expires in {:.1} days: renew it",
                    left.as_secs_f64() / 86_400.0
                ),
                &json!({"event": "expires", "expires_s": unix_seconds(*expires)}),
            );
        }
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
