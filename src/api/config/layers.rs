//! The layers of a configuration: defaults, the system's file, the user's, a profile, the environment, flags.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    error::{ConfigError, ConfigFault, ConfigOrigin},
    file::ConfigFile,
    keys::{self, Key, PROOFS},
    limits,
    value::{self, Setting},
};

/// The system's file.
pub(crate) const SYSTEM: &str = "/etc/portmesh/config.toml";
/// Names one file in place of the system's and the user's.
pub(crate) const CONFIG_VARIABLE: &str = "PORTMESH_CONFIG";
/// Names the profile.
pub(crate) const PROFILE_VARIABLE: &str = "PORTMESH_PROFILE";
/// Holds a secret itself.
pub(crate) const SECRET_VARIABLE: &str = "PORTMESH_SECRET";

/// The environment: the process's own, or what stands for it. A variable that is empty counts as not set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    texts: BTreeMap<String, String>,
    /// The names of those that are no text.
    others: BTreeSet<String>,
}

impl Environment {
    /// Of this process.
    pub(crate) fn of_process() -> Self {
        let mut environment = Environment::default();
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => _ = environment.texts.insert(name, value),
                (Ok(name), Err(_)) => _ = environment.others.insert(name),
                (Err(_), _) => {}
            }
        }
        environment
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let value = self.texts.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    /// Of this process, but for one variable.
    pub(crate) fn without(name: &str) -> Self {
        let mut environment = Self::of_process();
        environment.texts.remove(name);
        environment
    }

    /// Variables that look as if they were meant for Portmesh.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &str> {
        let ours = |name: &&String| name.starts_with("PORTMESH_");
        self.texts.keys().filter(ours).map(String::as_str)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        let pairs = pairs.into_iter();
        Environment {
            texts: pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            others: BTreeSet::new(),
        }
    }
}

/// The variable that sets a key.
pub(crate) fn variable(key: &str) -> String {
    format!("PORTMESH_{}", key.to_uppercase().replace('.', "_"))
}

/// The files that a configuration is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Places {
    /// This one alone; it must be there.
    One(PathBuf),
    /// The system's and the user's, which may be missing.
    Usual {
        system: PathBuf,
        user: Option<PathBuf>,
    },
}

impl Places {
    /// The file that was named, else the one of the variable, else the usual ones.
    pub(crate) fn of(named: Option<&Path>, environment: &Environment) -> Self {
        if let Some(path) = named {
            return Places::One(path.to_owned());
        }
        if let Some(path) = environment.get(CONFIG_VARIABLE) {
            return Places::One(path.into());
        }
        let home = || Some(Path::new(environment.get("HOME")?).join(".config"));
        // a relative one is to be ignored, says its specification
        let xdg = environment.get("XDG_CONFIG_HOME").map(PathBuf::from);
        let user = xdg.filter(|path| path.is_absolute()).or_else(home);
        Places::Usual {
            system: SYSTEM.into(),
            user: user.map(|folder| folder.join("portmesh").join("config.toml")),
        }
    }

    /// Whose they are, in the order of [`Self::paths`].
    pub(crate) fn names(&self) -> &'static [&'static str] {
        match self {
            Places::One(_) => &["file"],
            Places::Usual { .. } => &["system", "user"],
        }
    }

    /// All of them, the weakest first.
    pub(crate) fn paths(&self) -> Vec<&Path> {
        match self {
            Places::One(path) => vec![path],
            Places::Usual { system, user } => [Some(system), user.as_ref()]
                .into_iter()
                .flatten()
                .map(PathBuf::as_path)
                .collect(),
        }
    }
}

/// The files, read and checked.
#[derive(Debug)]
pub(crate) struct Layers {
    places: Places,
    /// The weakest first.
    files: Vec<ConfigFile>,
}

/// What a configuration comes to.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The profile, where one was chosen.
    pub(crate) profile: Option<String>,
    values: BTreeMap<&'static str, (Setting, ConfigOrigin)>,
}

/// What a command's flags, or a program, say.
pub(crate) type Said = Vec<(&'static Key, Setting, ConfigOrigin)>;

impl Layers {
    /// Reads the files and checks them whole, with the parents of all profiles.
    pub(crate) fn read(places: Places) -> Result<Self, ConfigError> {
        Self::read_with(places, None)
    }

    /// Likewise, where one of the files is to have this text instead.
    pub(crate) fn read_with(
        places: Places,
        instead: Option<(&Path, &str)>,
    ) -> Result<Self, ConfigError> {
        let must_be = matches!(places, Places::One(_));
        let mut files = Vec::new();
        let mut faults = Vec::new();
        for path in places.paths() {
            let file = match instead.filter(|(other, _)| *other == path) {
                Some((path, text)) => ConfigFile::parse(path, text).map(Some),
                None => ConfigFile::read(path),
            };
            match file {
                Ok(Some(file)) => files.push(file),
                Ok(None) if must_be => {
                    return Err(ConfigError::Read {
                        path: path.to_owned(),
                        source: std::io::ErrorKind::NotFound.into(),
                    });
                }
                Ok(None) => {}
                Err(ConfigError::Wrong(found)) => faults.extend(found),
                Err(error) => return Err(error),
            }
        }
        let layers = Layers { places, files };
        // a parent may be in a file that could not be read
        if faults.is_empty() {
            faults = layers.wrong_parents();
        }
        match faults.is_empty() {
            true => Ok(layers),
            false => Err(ConfigError::Wrong(faults)),
        }
    }

    /// The files that were there, the weakest first.
    pub(crate) fn found(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// The names of all profiles.
    pub(crate) fn profiles(&self) -> BTreeSet<&str> {
        let names = self.files.iter().flat_map(|file| file.profiles.keys());
        names.map(String::as_str).collect()
    }

    fn parent(&self, profile: &str) -> Option<&(String, ConfigOrigin)> {
        let in_files = self.files.iter().rev();
        in_files
            .filter_map(|file| file.profiles.get(profile)?.parent.as_ref())
            .next()
    }

    /// The profile behind its parent, and that behind its own.
    fn chain<'a>(&'a self, profile: &'a str) -> Vec<&'a str> {
        let mut chain = vec![profile];
        let mut last = profile;
        while let Some((parent, _)) = self.parent(last) {
            if chain.contains(&parent.as_str()) {
                break; // refused when the files were read
            }
            chain.push(parent);
            last = parent;
        }
        chain.reverse();
        chain
    }

    fn wrong_parents(&self) -> Vec<ConfigFault> {
        let names = self.profiles();
        let mut faults = Vec::new();
        for &name in &names {
            let Some((parent, origin)) = self.parent(name) else {
                continue;
            };
            let text = if !names.contains(parent.as_str()) {
                let others = names.iter().copied().filter(|&other| other != name);
                format!(
                    "the parent of profile {name}: there is no profile {parent}{}",
                    hint(parent, others)
                )
            } else {
                let mut loop_ = vec![name];
                let mut last = name;
                while let Some((parent, _)) = self.parent(last) {
                    loop_.push(parent);
                    if parent == name || loop_.len() > names.len() + 1 {
                        break;
                    }
                    last = parent;
                }
                if loop_.len() < 2 || loop_.last() != Some(&name) {
                    continue;
                }
                format!("the parents go round in a circle: {}", loop_.join(", "))
            };
            faults.push(ConfigFault {
                origin: origin.clone(),
                text,
            });
        }
        faults
    }

    /// That profile must be in one of the files.
    pub(crate) fn require(&self, profile: &str) -> Result<(), ConfigError> {
        let names = self.profiles();
        if names.contains(profile) {
            return Ok(());
        }
        let places: Vec<_> = self
            .places
            .paths()
            .iter()
            .map(|p| p.display().to_string())
            .collect();
        Err(ConfigError::NoProfile {
            name: profile.to_owned(),
            places: places.join(" and "),
            hint: hint(profile, names.iter().copied()),
        })
    }

    /// What holds in the end. A profile that is in no file is empty.
    pub(crate) fn resolve(
        &self,
        profile: Option<&str>,
        environment: &Environment,
        flags: Said,
    ) -> Result<Settings, ConfigError> {
        let mut values = BTreeMap::new();
        for file in &self.files {
            lay(&mut values, file.top.clone());
        }
        for name in profile
            .map(|profile| self.chain(profile))
            .unwrap_or_default()
        {
            for profile in self.files.iter().filter_map(|file| file.profiles.get(name)) {
                lay(&mut values, profile.entries.clone());
            }
        }
        let from_environment = read_environment(environment)?;
        if environment.get(SECRET_VARIABLE).is_some() {
            // a secret that is there itself is the choice of how to prove oneself
            values.retain(|key, _| !PROOFS.contains(key));
        }
        lay(&mut values, from_environment);
        let flags = flags.into_iter();
        lay(
            &mut values,
            flags
                .map(|(key, setting, origin)| (key.name, (setting, origin)))
                .collect(),
        );
        Ok(Settings {
            profile: profile.map(str::to_owned),
            values,
        })
    }
}

type Values = BTreeMap<&'static str, (Setting, ConfigOrigin)>;

/// One layer on top. How a node proves itself is one choice: the topmost layer that says something of it decides all of it.
fn lay(values: &mut Values, layer: Values) {
    if PROOFS.iter().any(|key| layer.contains_key(key)) {
        values.retain(|key, _| !PROOFS.contains(key));
    }
    values.extend(layer);
}

fn read_environment(environment: &Environment) -> Result<Values, ConfigError> {
    let mut values = Values::new();
    let mut faults = Vec::new();
    for key in keys::all() {
        let name = variable(key.name);
        let text = environment.get(&name);
        let is_text = !environment.others.contains(&name);
        let origin = ConfigOrigin::Variable(name);
        let Some(text) = text else {
            if !is_text {
                faults.push(ConfigFault {
                    origin,
                    text: format!("the value of {} is not text", key.name),
                });
            }
            continue;
        };
        match value::read(key, &value::from_text(key.kind, text)) {
            Ok(setting) => _ = values.insert(key.name, (setting, origin)),
            Err(wrong) => faults.push(ConfigFault {
                origin,
                text: wrong.text,
            }),
        }
    }
    match faults.is_empty() {
        true => Ok(values),
        false => Err(ConfigError::Wrong(faults)),
    }
}

fn hint<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = keys::nearest(name, known.clone()) {
        return format!("; did you mean {near}?");
    }
    let known: Vec<_> = known.collect();
    match known.as_slice() {
        [] => "; there are no profiles".to_owned(),
        [one] => format!("; there is {one}"),
        known => format!("; there are {}", known.join(", ")),
    }
}

impl Settings {
    /// The value of a key, where somebody said it.
    pub(crate) fn get(&self, key: &str) -> Option<&(Setting, ConfigOrigin)> {
        self.values.get(key)
    }

    /// All of it but these keys.
    pub(crate) fn without(mut self, keys: &[&str]) -> Self {
        self.values.retain(|key, _| !keys.contains(key));
        self
    }

    /// A time, where somebody said it.
    pub(crate) fn time(&self, key: &str) -> Option<std::time::Duration> {
        match self.get(key) {
            Some((Setting::Time(time), _)) => Some(*time),
            _ => None,
        }
    }

    /// Texts of a list.
    pub(crate) fn list(&self, key: &str) -> &[String] {
        match self.get(key) {
            Some((Setting::List(list), _)) => list,
            _ => &[],
        }
    }

    /// True or false, where somebody said it.
    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key) {
            Some((Setting::Bool(flag), _)) => Some(*flag),
            _ => None,
        }
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some((Setting::Text(text), _)) => Some(text),
            _ => None,
        }
    }

    /// All that somebody said.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &Setting, &ConfigOrigin)> {
        let values = self.values.iter();
        values.map(|(key, (setting, origin))| (*key, setting, origin))
    }
}

/// The default of a key as a value, where it is one.
pub(crate) fn default(key: &Key) -> Option<Setting> {
    match key.name {
        "db_admin" | "allow_passphrase" => Some(Setting::Bool(false)),
        "flush" => Some(Setting::Time(std::time::Duration::from_secs(5))),
        "format" => Some(Setting::List(vec!["cbor".into(), "json".into()])),
        "log" | "log_format" => Some(Setting::Text(key.default.into())),
        name => limits::default(name),
    }
}
