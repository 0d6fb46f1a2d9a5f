//! `portmesh config`: check and show the configuration, and edit its files.

mod edit;
mod show;

use serde_json::{Value as Json, json};

use crate::{
    ConfigError, ConfigOrigin,
    api::config::{
        keys::{self, nearest},
        layers::{
            CONFIG_VARIABLE, Environment, PROFILE_VARIABLE, Places, SECRET_VARIABLE, variable,
        },
    },
    cli::{
        args::{ConfigArgs, Flags},
        exit::{Exit, Failure, OrExit, Outcome},
        log::LogArgs,
        output::{Output, counted, plain},
    },
};

/// Check, show and edit the configuration
///
/// Files are read in this order, and what is read later counts more: /etc/portmesh/config.toml, then
/// $XDG_CONFIG_HOME/portmesh/config.toml (or ~/.config/portmesh/config.toml), in both what stands outside of profiles; then the
/// profile behind its parents; then PORTMESH_… variables; then flags. --config FILE or PORTMESH_CONFIG names one file in place of
/// the two.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check the files and the environment, and tell all that is wrong
    Check {
        #[command(flatten)]
        config: ConfigArgs,
    },
    Show(Box<show::Args>),
    /// Print the names of the files
    Path {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Set a key in the user's file; all else in it stays as it is
    #[command(after_help = edit::VALUES_HELP)]
    Set(edit::SetArgs),
    /// Remove a key from the user's file, so that the layers below it hold
    Unset(edit::UnsetArgs),
    /// Print or change a profile in the user's file
    #[command(after_help = edit::ACTIONS_HELP)]
    Profile(edit::ProfileArgs),
}

pub(crate) fn run(args: Args, log: LogArgs, out: Output) -> Outcome {
    match args.command {
        Command::Check { config } => check(&config, out),
        Command::Show(args) => show::run(&args, &log, out),
        Command::Path { config } => path(&config, out),
        Command::Set(args) => edit::set(&args, out),
        Command::Unset(args) => edit::unset(&args, out),
        Command::Profile(args) => edit::profile(&args, out),
    }
}

fn check(config: &ConfigArgs, out: Output) -> Outcome {
    let environment = Environment::of_process();
    let read = config.layers(&environment).and_then(|layers| {
        config.resolve(&layers, &environment, Flags::default(), true)?;
        Ok(layers)
    });
    let strange = strange_variables(&environment);
    for (name, text) in &strange {
        out.chat(format!("{name}: {text}"));
    }
    let layers = match read {
        Ok(layers) => layers,
        Err(failure) => return Err(tell_faults(failure, out)),
    };
    let files = layers.found().map(|path| path.display().to_string());
    let files: Vec<String> = files.collect();
    let profiles = layers.profiles();
    let human = match files.as_slice() {
        [] => "there is no configuration file; the defaults hold".to_owned(),
        files => format!(
            "{} read, {}: nothing is wrong",
            files.join(" and "),
            counted(profiles.len() as u64, "profile", "profiles")
        ),
    };
    let strange: Vec<&String> = strange.iter().map(|(name, _)| name).collect();
    let json = json!({"files": files, "profiles": profiles, "unknown_variables": strange});
    out.data(human, &json);
    Ok(())
}

/// Tells every fault by itself, and leaves how many they were.
fn tell_faults(failure: Failure, out: Output) -> Failure {
    let Some(ConfigError::Wrong(faults)) = failure.error.downcast_ref() else {
        return failure;
    };
    for fault in faults {
        let json = json!({"error": fault.text, "origin": origin_json(&fault.origin)});
        out.data(plain(fault), &json);
    }
    let count = counted(faults.len() as u64, "mistake", "mistakes");
    Failure::new(Exit::Config, format!("{count} in the configuration"))
}

/// Variables that look as if they were meant for Portmesh, and stand for nothing.
fn strange_variables(environment: &Environment) -> Vec<(String, String)> {
    let others = [CONFIG_VARIABLE, PROFILE_VARIABLE, SECRET_VARIABLE].map(str::to_owned);
    let known = keys::all().map(|key| variable(key.name)).chain(others);
    let known: Vec<String> = known.collect();
    let strange = environment
        .ours()
        .filter(|name| !known.iter().any(|k| k == name));
    let told = strange.map(|name| {
        let lower: Vec<String> = known.iter().map(|name| name.to_lowercase()).collect();
        let meant = nearest(name, lower.iter().map(String::as_str));
        let text = match meant {
            Some(meant) => format!(
                "no key has this variable; did you mean {}?",
                meant.to_uppercase()
            ),
            None => "no key has this variable".to_owned(),
        };
        (name.to_owned(), text)
    });
    told.collect()
}

fn path(config: &ConfigArgs, out: Output) -> Outcome {
    let places = Places::of(config.config.as_deref(), &Environment::of_process());
    for (path, of) in places.paths().iter().zip(places.names()) {
        let there = path.try_exists().or_exit_in(Exit::Config, path.display())?;
        let note = if there { "" } else { " (not there)" };
        let json = json!({"file": of, "path": path.display().to_string(), "exists": there});
        out.data(format!("{of}: {}{note}", path.display()), &json);
    }
    Ok(())
}

/// Where a value comes from.
fn origin_json(origin: &ConfigOrigin) -> Json {
    match origin {
        ConfigOrigin::File { path, line, column } => {
            json!({"file": path.display().to_string(), "line": line, "column": column})
        }
        ConfigOrigin::Variable(name) => json!({"variable": name}),
        ConfigOrigin::Flag(name) => json!({"flag": name}),
        other => json!(other.to_string()),
    }
}
