//! What operations are done to, as rules name it.

use std::fmt;

use super::{Operation, rule::BadRule};
use crate::proto::naming;

/// A pattern of names: `*` stands for any characters, also none; everything else for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Whether the text is one of them. Names that begin with `'`, which are the system's, are matched by patterns that
    /// begin so alone.
    pub fn matches(&self, text: &str) -> bool {
        self.0.starts_with('\'') == text.starts_with('\'') && naming::glob(&self.0, text)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What an operation is done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Everything. For what is either allowed or not (global, relay, admin) the only one.
    Any,
    /// The node's own port.
    NodePort,
    /// A port that a node of the asker's ID spawned.
    Spawned,
    /// A port whose name matches.
    Port(Pattern),
    /// A port that its node has registered in a family of the database that matches.
    Family(Pattern),
    /// A function, or a family of the database, whose name matches.
    Name(Pattern),
}

impl Target {
    /// Reads one, as it stands in a rule about that operation.
    ///
    /// # Errors
    /// [`BadRule`]: there is no such target for it.
    pub fn parse(operation: Operation, text: &str) -> Result<Target, BadRule> {
        let bad = || BadRule::Target {
            operation,
            text: text.to_owned(),
        };
        if text.is_empty() {
            return Err(bad());
        }
        if text == "*" {
            return Ok(Target::Any);
        }
        if operation.is_on_name() {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:/-*'".contains(c);
            // a function may have any name
            let good = operation == Operation::Spawn || text.chars().all(allowed);
            return match good {
                true => Ok(Target::Name(Pattern(text.to_owned()))),
                false => Err(bad()),
            };
        }
        if !operation.is_on_port() {
            return Err(bad());
        }
        let pattern = |rest: &str| {
            let good = !rest.is_empty() && rest.chars().all(|c| !c.is_whitespace());
            good.then(|| Pattern(rest.to_owned())).ok_or_else(bad)
        };
        match text.split_once(':') {
            Some(("port", rest)) => Ok(Target::Port(pattern(rest)?)),
            Some(("family", rest)) => Ok(Target::Family(pattern(rest)?)),
            None if text == "spawned" => Ok(Target::Spawned),
            // it can never be killed
            None if text == "node-port" && operation != Operation::Kill => Ok(Target::NodePort),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Any => f.write_str("*"),
            Target::NodePort => f.write_str("node-port"),
            Target::Spawned => f.write_str("spawned"),
            Target::Port(pattern) => write!(f, "port:{pattern}"),
            Target::Family(pattern) => write!(f, "family:{pattern}"),
            Target::Name(pattern) => write!(f, "{pattern}"),
        }
    }
}
