//! `portmesh config set`, `unset` and `profile`: changes in one file, checked before it is written.

use std::path::{Path, PathBuf};

use serde_json::json;
use toml_edit::{Array, Value as Toml};

use crate::{
    ConfigError, ConfigFault, ConfigOrigin,
    api::config::{
        edit,
        file::{self, ConfigFile},
        keys::{self, Key, Kind, nearest},
        layers::{CONFIG_VARIABLE, Environment, Layers, Places, SYSTEM},
        value::{self, Setting},
    },
    cli::{
        exit::{Exit, Failure, OrExit, Outcome},
        output::{Output, plain},
    },
};

/// For `--help`.
pub(super) const VALUES_HELP: &str = "\
A value is a text, a number, a time or true or false, as the key wants it; a list is several values, or one with commas. A
service with arguments is '[\"NAME\", ARGUMENT, …]'. The name of a file is meant from where the command runs, and written in
full.";

/// For `--help` of profile.
pub(super) const ACTIONS_HELP: &str = "\
Actions, as in AEMP; those with del and nothing behind it leave the key to the layers below:
  setnodeid NODE   delnodeid
  setcert FILE     delcert
  setseeds A,B     delseeds      addseed A      delseed A
  setbinds A,B     delbinds      addbind A      delbind A
  setservices F,G  delservices   addservice F   delservice F
  setparent NAME   delparent
  set KEY VALUE…   unset KEY
  delete           the profile with all that is in it";

/// Which file is changed.
#[derive(Debug, clap::Args)]
pub(super) struct FileArgs {
    /// The file to change in place of the user's; it is made if there is none [env: PORTMESH_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Change the system's file
    #[arg(long)]
    system: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct SetArgs {
    /// The key: see portmesh config show
    key: String,
    /// Its value
    #[arg(required = true, allow_negative_numbers = true)]
    value: Vec<String>,
    /// In this profile, which is made if there is none
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    #[command(flatten)]
    file: FileArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct UnsetArgs {
    /// The key
    key: String,
    /// In this profile
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    #[command(flatten)]
    file: FileArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ProfileArgs {
    /// The profile, which is made if there is none
    name: String,
    /// What to do; without it the profile's own keys are printed
    action: Option<String>,
    /// What to do it with
    #[arg(allow_negative_numbers = true)]
    values: Vec<String>,
    #[command(flatten)]
    file: FileArgs,
}

/// A change of one key, in a profile or outside.
struct Change<'a> {
    profile: Option<&'a str>,
    key: &'a str,
    verb: Verb,
    values: &'a [String],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Set,
    Unset,
    Add,
    Take,
}

pub(super) fn set(args: &SetArgs, out: Output) -> Outcome {
    let change = Change {
        profile: args.profile.as_deref(),
        key: &args.key,
        verb: Verb::Set,
        values: &args.value,
    };
    change.make(&args.file, out)
}

pub(super) fn unset(args: &UnsetArgs, out: Output) -> Outcome {
    let change = Change {
        profile: args.profile.as_deref(),
        key: &args.key,
        verb: Verb::Unset,
        values: &[],
    };
    change.make(&args.file, out)
}

pub(super) fn profile(args: &ProfileArgs, out: Output) -> Outcome {
    let Some(action) = &args.action else {
        return show(args, out);
    };
    if action == "delete" {
        expect(action, &args.values, 0)?;
        return delete(args, out);
    }
    let (verb, key, values) = match (action.as_str(), args.values.split_first()) {
        ("set", Some((key, values))) => (Verb::Set, key.as_str(), values),
        ("unset", Some((key, values))) => (Verb::Unset, key.as_str(), values),
        (action, _) => {
            let (verb, key) = named(action)?;
            (verb, key, args.values.as_slice())
        }
    };
    match verb {
        Verb::Unset => expect(action, values, 0)?,
        _ if values.is_empty() => expect(action, values, 1)?,
        _ => {}
    }
    let change = Change {
        profile: Some(&args.name),
        key,
        verb,
        values,
    };
    change.make(&args.file, out)
}

fn expect(action: &str, values: &[String], count: usize) -> Outcome {
    if values.len() == count {
        return Ok(());
    }
    let text = match count {
        0 => format!("{action} takes no value"),
        _ => format!("{action} needs a value"),
    };
    Err(Failure::new(Exit::Usage, text))
}

/// What an action of AEMP's does.
fn named(action: &str) -> Outcome<(Verb, &'static str)> {
    let singles = [("nodeid", "id"), ("cert", "identity"), ("parent", "parent")];
    let lists = [
        ("seed", "seed"),
        ("bind", "listen"),
        ("service", "services"),
    ];
    let mut known = vec![
        ("set".to_owned(), None),
        ("unset".to_owned(), None),
        ("delete".to_owned(), None),
    ];
    for (name, key) in singles {
        known.push((format!("set{name}"), Some((Verb::Set, key))));
        known.push((format!("del{name}"), Some((Verb::Unset, key))));
    }
    for (name, key) in lists {
        known.push((format!("set{name}s"), Some((Verb::Set, key))));
        known.push((format!("del{name}s"), Some((Verb::Unset, key))));
        known.push((format!("add{name}"), Some((Verb::Add, key))));
        known.push((format!("del{name}"), Some((Verb::Take, key))));
    }
    let found = known.iter().find(|(name, _)| name == action);
    let text = match found {
        Some((_, Some(named))) => return Ok(*named),
        Some((name, None)) => format!("{name} needs a key"),
        None => match nearest(action, known.iter().map(|(name, _)| name.as_str())) {
            Some(near) => format!("there is no action {action}; did you mean {near}?"),
            None => format!("there is no action {action}; see portmesh config profile --help"),
        },
    };
    Err(Failure::new(Exit::Usage, text))
}

impl Change<'_> {
    fn make(&self, file: &FileArgs, out: Output) -> Outcome {
        let is_parent = self.key == "parent" && self.profile.is_some();
        let key = match keys::find(self.key) {
            Some(key) => Some(key),
            None if is_parent => None,
            None if self.key == "parent" => {
                let text = "parent belongs into a profile: give --profile NAME";
                return Err(Failure::new(Exit::Usage, text));
            }
            None => return Err(Failure::new(Exit::Usage, keys::unknown(self.key, None))),
        };
        let new = match (self.verb, key) {
            (Verb::Unset, _) => None,
            (_, Some(key)) => Some(self.value(key)?),
            (_, None) => match self.values {
                [parent] => Some(Toml::from(parent)),
                _ => return Err(Failure::new(Exit::Usage, "a profile has one parent")),
            },
        };
        let mut path: Vec<&str> = Vec::new();
        if let Some(profile) = self.profile {
            path.extend(["profile", profile]);
        }
        path.extend(self.key.split('.'));
        let file = file.path()?;
        let changed = change(&file, |text| {
            Ok(match (self.verb, &new) {
                (Verb::Set, Some(value)) => Some(edit::set(text, &path, value)?),
                (Verb::Unset, _) | (_, None) => edit::unset(text, &path)?,
                (verb, Some(value)) => {
                    let elements: Vec<Toml> = match value {
                        Toml::Array(array) => array.iter().cloned().collect(),
                        one => vec![one.clone()],
                    };
                    Some(edit::change_list(
                        text,
                        &path,
                        &elements,
                        verb == Verb::Add,
                    )?)
                }
            })
        })?;
        let shown = file.display().to_string();
        let place = self
            .profile
            .map_or(String::new(), |name| format!("[profile.{name}] "));
        let human = match (&new, self.verb, changed) {
            (_, _, false) => format!("{shown}: nothing to change"),
            (Some(value), Verb::Set, _) => format!("{shown}: {place}{} = {value}", self.key),
            (Some(value), Verb::Add, _) => format!("{shown}: {place}{} has {value}", self.key),
            (Some(value), _, _) => format!("{shown}: {place}{} has no longer {value}", self.key),
            (None, ..) => format!("{shown}: {place}{} is no longer set", self.key),
        };
        let json = json!({
            "file": shown, "profile": self.profile, "key": self.key, "changed": changed,
        });
        out.data(plain(human), &json);
        Ok(())
    }

    /// What was typed, as it is to stand in the file.
    fn value(&self, key: &'static Key) -> Outcome<Toml> {
        let wrong = |text: String| Failure::new(Exit::Usage, text);
        let typed = match (key.kind, self.values) {
            (kind, values) if kind.is_list() => {
                let mut list = Array::new();
                for text in values {
                    match value::from_text(kind, text) {
                        // one with its arguments, not a list of them
                        whole if kind == Kind::Services && text.trim_start().starts_with('[') => {
                            list.push(whole)
                        }
                        Toml::Array(some) => list.extend(some),
                        one => list.push(one),
                    }
                }
                Toml::Array(list)
            }
            (kind, [text]) => value::from_text(kind, text),
            _ => return Err(wrong(format!("{} has one value", key.name))),
        };
        let setting = value::read(key, &typed).map_err(|error| wrong(error.text))?;
        let setting = match setting {
            Setting::Path(path) if path == Path::new("-") => {
                return Err(wrong(format!(
                    "{}: the standard input can be named by the flag only",
                    key.name
                )));
            }
            Setting::Path(path) => Setting::Path(std::path::absolute(path)?),
            setting => setting,
        };
        Ok(setting.to_toml())
    }
}

fn delete(args: &ProfileArgs, out: Output) -> Outcome {
    let file = args.file.path()?;
    let changed = change(&file, |text| {
        Ok(Some(edit::remove(text, &["profile", &args.name])?))
    })?;
    let shown = file.display().to_string();
    if !changed {
        let text = format!("there is no profile {} in {shown}", args.name);
        return Err(Failure::new(Exit::NotFound, text));
    }
    let json = json!({"file": shown, "profile": args.name, "changed": true});
    out.data(
        plain(format!("{shown}: profile {} is deleted", args.name)),
        &json,
    );
    Ok(())
}

/// The profile's own keys.
fn show(args: &ProfileArgs, out: Output) -> Outcome {
    let path = args.file.path()?;
    let file = ConfigFile::read(&path).or_exit(Exit::Config)?;
    let profile = file.as_ref().and_then(|file| file.profiles.get(&args.name));
    let Some(profile) = profile else {
        let text = format!("there is no profile {} in {}", args.name, path.display());
        return Err(Failure::new(Exit::NotFound, text));
    };
    if let Some((parent, origin)) = &profile.parent {
        let json = json!({"key": "parent", "value": parent, "origin": super::origin_json(origin)});
        out.data(plain(format!("parent = {}", Toml::from(parent))), &json);
    }
    for (key, (setting, origin)) in &profile.entries {
        let json =
            json!({"key": key, "value": setting.to_json(), "origin": super::origin_json(origin)});
        out.data(plain(format!("{key} = {setting}")), &json);
    }
    Ok(())
}

impl FileArgs {
    fn path(&self) -> Outcome<PathBuf> {
        let places = Places::of(self.config.as_deref(), &Environment::of_process());
        match places {
            _ if self.system => Ok(SYSTEM.into()),
            Places::One(path) => Ok(path),
            Places::Usual { user, .. } => user.ok_or(ConfigError::NoHome).or_exit(Exit::Config),
        }
    }
}

/// Changes a file, unless it cannot be read, or would be wrong then. `false`: there was nothing to change.
fn change(
    path: &Path,
    change: impl FnOnce(&str) -> Result<Option<String>, toml_edit::TomlError>,
) -> Outcome<bool> {
    let before = file::text(path).or_exit(Exit::Config)?;
    let text = before.as_deref().unwrap_or_default();
    ConfigFile::parse(path, text).or_exit_in(Exit::Config, "nothing is changed")?;
    // it has just been parsed
    let Some(new) = change(text).or_exit(Exit::Config)? else {
        return Ok(false);
    };
    if new == text {
        return Ok(false);
    }
    check(path, &new).or_exit_in(Exit::Config, "nothing is changed, since then")?;
    if file::text(path).or_exit(Exit::Config)? != before {
        let text = format!(
            "{} has changed meanwhile and is left as it is: try again",
            path.display()
        );
        return Err(Failure::new(Exit::Failed, text));
    }
    file::write(path, &new).or_exit(Exit::Config)?;
    Ok(true)
}

/// What would be wrong in this file, also with its parents in the other one.
fn check(path: &Path, new: &str) -> Result<(), ConfigError> {
    ConfigFile::parse(path, new)?;
    let usual = Places::of(None, &Environment::without(CONFIG_VARIABLE));
    let places = match usual.paths().contains(&path) {
        true => usual,
        false => Places::One(path.to_owned()),
    };
    match Layers::read_with(places, Some((path, new))) {
        Err(ConfigError::Wrong(faults)) => {
            let here = |fault: &ConfigFault| matches!(&fault.origin, ConfigOrigin::File { path: at, .. } if at == path);
            let faults: Vec<_> = faults.into_iter().filter(here).collect();
            match faults.is_empty() {
                true => Ok(()),
                false => Err(ConfigError::Wrong(faults)),
            }
        }
        _ => Ok(()),
    }
}
