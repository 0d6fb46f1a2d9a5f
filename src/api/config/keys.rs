//! What can be configured: every key with its kind, its default and what it is for.

use std::fmt;

use super::limits;

/// A key of the configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// As it stands in a file: `listen`, `limits.link_timeout`.
    pub(crate) name: &'static str,
    /// What its value is.
    pub(crate) kind: Kind,
    /// The flag of `portmesh run`, if it has one.
    pub(crate) flag: Option<&'static str>,
    /// What holds where nothing is said, in words.
    pub(crate) default: &'static str,
}

/// What a value is, and what it must be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A template of a node ID.
    Id,
    /// The name of a cluster.
    Cluster,
    /// Any text.
    Text,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A file or a directory.
    Path,
    /// `true` or `false`.
    Bool,
    /// A time.
    Time,
    /// A whole number above zero that is at most this.
    Count(u64),
    /// Names of formats.
    Formats,
    /// Addresses to listen on.
    Listen,
    /// Addresses that others dial.
    Dial,
    /// `NODE=HOST:PORT`.
    Addresses,
    /// Patterns of node IDs.
    Patterns,
    /// Registered functions, with or without arguments.
    Services,
}

impl Kind {
    /// Whether it is a list.
    pub(crate) fn is_list(self) -> bool {
        matches!(
            self,
            Kind::Formats
                | Kind::Listen
                | Kind::Dial
                | Kind::Addresses
                | Kind::Patterns
                | Kind::Services
        )
    }

    /// What it is to be, with an example.
    pub(crate) fn wanted(self) -> &'static str {
        match self {
            Kind::Id => "a text, as \"worker/%n/%u\"",
            Kind::Cluster => "a text, as \"shop\"",
            Kind::Text | Kind::OneOf(_) => "a text",
            Kind::Path => "the name of a file or directory in quotes",
            Kind::Bool => "true or false",
            Kind::Time => "a time, as \"10s\", \"300ms\" or \"2m\"",
            Kind::Count(_) => "a whole number",
            Kind::Formats => "a list of formats, as [\"cbor\", \"json\"]",
            Kind::Listen | Kind::Dial => "a list of addresses, as [\"a.example.net:4040\"]",
            Kind::Addresses => {
                "a list of nodes and where they are, as [\"worker/a=10.0.0.7:4040\"]"
            }
            Kind::Patterns => "a list of node IDs in which * stands for any characters",
            Kind::Services => "a list of names of functions, or [name, argument, …], as [\"echo\"]",
        }
    }
}

/// In the words of the manual.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Id | Kind::Cluster | Kind::Text | Kind::OneOf(_) => "text",
            Kind::Path => "path",
            Kind::Bool => "boolean",
            Kind::Time => "time",
            Kind::Count(_) => "number",
            Kind::Formats => "formats",
            Kind::Listen | Kind::Dial => "addresses",
            Kind::Addresses => "nodes and addresses",
            Kind::Patterns => "patterns",
            Kind::Services => "functions",
        })
    }
}

/// The keys without the limits.
const KEYS: &[Key] = &[
    key(
        "id",
        Kind::Id,
        Some("--id"),
        "what the certificate says, or the profile's name with /%u, or the host's name",
    ),
    key(
        "cluster",
        Kind::Cluster,
        Some("--cluster"),
        "what the certificate says, or portmesh",
    ),
    key("identity", Kind::Path, Some("--identity"), "none"),
    key("crl", Kind::Path, Some("--crl"), "none"),
    key("secret_file", Kind::Path, Some("--secret-file"), "none"),
    key(
        "allow_passphrase",
        Kind::Bool,
        Some("--allow-passphrase"),
        "false",
    ),
    key("state", Kind::Path, Some("--state"), "none"),
    key("format", Kind::Formats, Some("--format"), "cbor, json"),
    key("listen", Kind::Listen, Some("--listen"), "nowhere"),
    key(
        "advertise",
        Kind::Dial,
        Some("--advertise"),
        "where it listens",
    ),
    key("seed", Kind::Dial, Some("--seed"), "none"),
    key("address", Kind::Addresses, Some("--address"), "none"),
    key(
        "global",
        Kind::Bool,
        Some("--global"),
        "when it has no seed but itself",
    ),
    key(
        "trust_global",
        Kind::Patterns,
        Some("--trust-global"),
        "those that answer at the seeds",
    ),
    key("policy", Kind::Path, Some("--policy"), "built in"),
    key("services", Kind::Services, Some("--service"), "none"),
    key("db_admin", Kind::Bool, Some("--db-admin"), "false"),
    key("flush", Kind::Time, Some("--flush"), "5s"),
    key("log", Kind::Text, Some("--log"), "warn"),
    key(
        "log_format",
        Kind::OneOf(&["text", "json"]),
        Some("--log-format"),
        "text",
    ),
];

const fn key(
    name: &'static str,
    kind: Kind,
    flag: Option<&'static str>,
    default: &'static str,
) -> Key {
    Key {
        name,
        kind,
        flag,
        default,
    }
}

/// What AEMP calls them, and what comes to mind.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("nodeid", "id"),
    ("node", "id"),
    ("name", "id"),
    ("binds", "listen"),
    ("bind", "listen"),
    ("cert", "identity"),
    ("certificate", "identity"),
    ("functions", "services"),
    ("state_dir", "state"),
];

/// The keys that say how a node proves itself: one choice.
pub(crate) const PROOFS: [&str; 2] = ["identity", "secret_file"];

/// Why a secret is not taken.
pub(crate) const NO_SECRETS: &str = "a secret does not belong into a configuration: put it into a file of its own \
     (`portmesh secret gen --out FILE`) and name that with secret_file";

/// All keys, the limits last.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().chain(limits::KEYS)
}

/// The key of that name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// Why there is no such key, and what may have been meant. `inside`: of the table of that name.
pub(crate) fn unknown(name: &str, inside: Option<&str>) -> String {
    let prefix = inside.map(|table| format!("{table}."));
    let prefix = prefix.as_deref().unwrap_or_default();
    if ["secret", "secrets", "passphrase", "password"].contains(&name) {
        return format!("there is no key {name}: {NO_SECRETS}");
    }
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == name);
    let known = all().filter_map(|key| key.name.strip_prefix(prefix));
    let meant = match other {
        Some((_, key)) if prefix.is_empty() => Some(*key),
        _ => nearest(name, known.chain(["profile", "parent"])),
    };
    // a limit without its table, or the other way round
    let elsewhere = all()
        .map(|key| key.name)
        .find(|key| key.rsplit('.').next() == Some(name));
    match elsewhere.or(meant) {
        Some(meant) => format!("there is no key {prefix}{name}; did you mean {meant}?"),
        None => format!("there is no key {prefix}{name}"),
    }
}

/// The name that is most like another, if one is like it at all.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase().replace('-', "_");
    known
        .map(|known| (strsim::jaro_winkler(&name, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_told_with_what_may_have_been_meant() {
        for (name, inside, meant) in [
            ("sede", None, "seed"),
            ("seeds", None, "seed"),
            ("secret-file", None, "secret_file"),
            ("trust-global", None, "trust_global"),
            ("nodeid", None, "id"),
            ("binds", None, "listen"),
            ("service", None, "services"),
            ("profiles", None, "profile"),
            ("link_timeout", None, "limits.link_timeout"),
            ("link_time", Some("limits"), "link_timeout"),
            ("listen", Some("limits"), "listen"),
        ] {
            let text = unknown(name, inside);
            assert!(text.ends_with(&format!("did you mean {meant}?")), "{text}");
        }
        assert_eq!(unknown("zzz", None), "there is no key zzz");
        assert!(unknown("secret", None).contains("secret_file"));
    }
}
