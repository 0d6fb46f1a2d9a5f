//! What can be wrong with a configuration, and where it comes from.

use std::{fmt, io, path::PathBuf};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigOrigin {
    /// Nobody said anything: the default.
    Default,
    /// What the program said, for where no profile says otherwise.
    Program,
    /// A configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A flag of the command.
    Flag(String),
}

impl fmt::Display for ConfigOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigOrigin::Default => f.write_str("default"),
            ConfigOrigin::Program => f.write_str("program"),
            ConfigOrigin::File { path, line, column } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            ConfigOrigin::Variable(name) | ConfigOrigin::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigFault {
    /// Where.
    pub origin: ConfigOrigin,
    /// What, and what to do.
    pub text: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.text)
    }
}

/// Why there is no configuration. A file is never changed by it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something in it, or in the environment, is wrong. All of it is told.
    #[error("{}", Faults(.0))]
    Wrong(Vec<ConfigFault>),
    /// The profile that was asked for is in no file.
    #[error("there is no profile {name} in {places}{hint}")]
    NoProfile {
        /// The profile.
        name: String,
        /// The files that were read.
        places: String,
        /// What there is.
        hint: String,
    },
    /// A file that the configuration names cannot be used.
    #[error("{key}, from {origin}")]
    Unusable {
        /// The key that names it.
        key: &'static str,
        /// Where that was said.
        origin: ConfigOrigin,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file cannot be written. What was there before is untouched.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no place for a file of the user.
    #[error(
        "where is the user's file? Neither XDG_CONFIG_HOME nor HOME is set; give --config FILE or set PORTMESH_CONFIG"
    )]
    NoHome,
}

/// The first fault, and how many more there are.
struct Faults<'a>(&'a [ConfigFault]);

impl fmt::Display for Faults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, more)) = self.0.split_first() else {
            return f.write_str("the configuration is wrong");
        };
        write!(f, "{first}")?;
        match more.len() {
            0 => Ok(()),
            more => write!(f, " (and {more} more, see `portmesh config check`)"),
        }
    }
}
