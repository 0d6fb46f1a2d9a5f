//! `portmesh config show`: what holds in the end, and where it comes from.

use serde_json::json;

use super::origin_json;
use crate::{
    ConfigOrigin,
    api::config::{
        keys,
        layers::{Environment, default},
    },
    cli::{
        args::{ConfigArgs, Flags, IdentityArgs, MeshArgs, NodeArgs},
        exit::Outcome,
        log::LogArgs,
        output::{Output, plain},
    },
};

/// Print what holds for portmesh run with these flags, as a configuration file would have it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Say of each value where it comes from: default, file:line:column, variable or flag
    #[arg(long)]
    origin: bool,
    /// Leave out what nobody has set
    #[arg(long)]
    set: bool,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    mesh: MeshArgs,
    #[command(flatten)]
    node: NodeArgs,
}

pub(super) fn run(args: &Args, log: &LogArgs, out: Output) -> Outcome {
    let environment = Environment::of_process();
    let layers = args.config.layers(&environment)?;
    let flags = Flags::default().identity(&args.identity).mesh(&args.mesh);
    let flags = flags.node(&args.node)?.log(log);
    let settings = args.config.resolve(&layers, &environment, flags, true)?;
    if let Some(profile) = &settings.profile {
        let human = format!("# profile {}", plain(profile));
        out.data(human, &json!({"profile": profile}));
    }
    for key in keys::all() {
        let (value, origin) = match settings.get(key.name) {
            Some((setting, origin)) => (Some(setting.clone()), origin),
            None if args.set => continue,
            None => (default(key), &ConfigOrigin::Default),
        };
        let human = match &value {
            Some(value) => format!("{} = {value}", key.name),
            None => format!("# {}: {}", key.name, key.default),
        };
        let human = match (args.origin, &value) {
            (false, _) => human,
            (true, Some(_)) => format!("{human}  # {origin}"),
            (true, None) => format!("{human} ({origin})"),
        };
        let json = json!({
            "key": key.name, "value": value.as_ref().map(|value| value.to_json()), "origin": origin_json(origin),
        });
        out.data(plain(human), &json);
    }
    Ok(())
}
