//! The values of keys: read from TOML or a text, checked, and written again.

use std::{fmt, ops::Range, path::PathBuf, time::Duration};

use serde_json::json;
use toml_edit::{Array, Value as Toml};

use super::keys::{Key, Kind, NO_SECRETS};
use crate::{
    proto::{
        handshake::check_cluster,
        id::NodeId,
        naming::{self, NodePattern},
        value::Value,
    },
    transport::address::Address,
};

/// The value of a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Setting {
    Text(String),
    Path(PathBuf),
    Bool(bool),
    Time(Duration),
    Count(u64),
    List(Vec<String>),
    Services(Vec<Service>),
}

/// A registered function that is started with the node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) args: Vec<Value>,
}

/// What is wrong with a value, and which part of it where that is known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) span: Option<Range<usize>>,
    pub(crate) text: String,
}

impl Wrong {
    fn new(value: &Toml, text: impl Into<String>) -> Self {
        Wrong {
            span: value.span(),
            text: text.into(),
        }
    }
}

/// The value of a key as TOML has it, checked.
pub(crate) fn read(key: &Key, value: &Toml) -> Result<Setting, Wrong> {
    let wanted = |found: &Toml| {
        let text = format!(
            "{} is to be {}, not {}",
            key.name,
            key.kind.wanted(),
            with_article(found.type_name())
        );
        Wrong::new(found, text)
    };
    let text = || value.as_str().ok_or_else(|| wanted(value));
    let refuse = |part: &Toml, text: String| Wrong::new(part, format!("{}: {text}", key.name));
    match key.kind {
        Kind::Bool => value
            .as_bool()
            .map(Setting::Bool)
            .ok_or_else(|| wanted(value)),
        Kind::Count(max) => {
            let count = value.as_integer().ok_or_else(|| wanted(value))?;
            match u64::try_from(count) {
                Ok(count) if (1..=max).contains(&count) => Ok(Setting::Count(count)),
                _ => Err(refuse(value, format!("{count} is not within 1 and {max}"))),
            }
        }
        Kind::Time => {
            let text = match value {
                Toml::String(text) => text.value().clone(),
                Toml::Integer(_) | Toml::Float(_) => value.to_string().trim().replace('_', ""),
                _ => return Err(wanted(value)),
            };
            let time = time(&text).map_err(|error| refuse(value, error))?;
            check_time(key.name, time).map_err(|error| refuse(value, error))?;
            Ok(Setting::Time(time))
        }
        Kind::Id | Kind::Cluster | Kind::Text | Kind::OneOf(_) => {
            let text = text()?;
            check_text(key.kind, text).map_err(|error| refuse(value, error))?;
            Ok(Setting::Text(text.to_owned()))
        }
        Kind::Path => {
            let text = text()?;
            check_text(key.kind, text).map_err(|error| refuse(value, error))?;
            Ok(Setting::Path(text.into()))
        }
        Kind::Services => {
            let parts = parts(value).into_iter().map(|part| {
                service(part).map_err(|error| match error {
                    Some(error) => refuse(part, error),
                    None => wanted(part),
                })
            });
            Ok(Setting::Services(parts.collect::<Result<_, _>>()?))
        }
        kind => {
            let mut list = Vec::new();
            for part in parts(value) {
                let text = part.as_str().ok_or_else(|| wanted(part))?;
                check_text(kind, text).map_err(|error| refuse(part, error))?;
                list.push(text.to_owned());
            }
            Ok(Setting::List(list))
        }
    }
}

/// The elements of a list; what is none is a list of one.
fn parts(value: &Toml) -> Vec<&Toml> {
    match value {
        Toml::Array(array) => array.iter().collect(),
        one => vec![one],
    }
}

/// `Err(None)`: it has not the form of a service.
fn service(part: &Toml) -> Result<Service, Option<String>> {
    let (name, args) = match part {
        Toml::String(name) => (name.value().as_str(), Vec::new()),
        Toml::Array(array) => {
            let mut parts = array.iter();
            let name = parts.next().and_then(Toml::as_str).ok_or(None)?;
            (name, parts.map(argument).collect::<Result<_, _>>()?)
        }
        _ => return Err(None),
    };
    if name.is_empty() || name.len() > crate::proto::id::NAME_BYTES_MAX {
        return Err(Some(format!("{name:?} is no name of a function")));
    }
    Ok(Service {
        name: name.to_owned(),
        args,
    })
}

/// A service as one argument of a command: a name, or a list in brackets.
pub(crate) fn one_service(text: &str) -> Result<Service, String> {
    let part = match text.trim_start().starts_with('[') {
        true => text.trim().parse().unwrap_or_else(|_| Toml::from(true)),
        false => text.into(),
    };
    service(&part).map_err(|error| {
        error.unwrap_or_else(|| format!("{text} is neither a name nor [\"NAME\", ARGUMENT, …]"))
    })
}

fn argument(value: &Toml) -> Result<Value, Option<String>> {
    Ok(match value {
        Toml::String(text) => Value::Text(text.value().clone()),
        Toml::Integer(number) => Value::from(*number.value()),
        Toml::Float(number) if number.value().is_finite() => Value::Float(*number.value()),
        Toml::Boolean(flag) => Value::Bool(*flag.value()),
        Toml::Array(array) => Value::List(array.iter().map(argument).collect::<Result<_, _>>()?),
        Toml::InlineTable(table) => {
            let pairs = table
                .iter()
                .map(|(key, value)| Ok((key.into(), argument(value)?)));
            Value::Map(pairs.collect::<Result<_, Option<String>>>()?)
        }
        Toml::Float(_) | Toml::Datetime(_) => {
            return Err(Some(format!(
                "{} cannot be an argument",
                value.to_string().trim()
            )));
        }
    })
}

/// What a text must be like for keys of that kind.
fn check_text(kind: Kind, text: &str) -> Result<(), String> {
    match kind {
        Kind::Id => match naming::expand(text, "host", 0) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{text:?} makes no node ID: {error}")),
        },
        Kind::Cluster => check_cluster(text),
        Kind::OneOf(words) if !words.contains(&text) => {
            Err(format!("{text:?} is none of {}", words.join(", ")))
        }
        // not shown
        Kind::Path if text.starts_with("pms1_") => Err(NO_SECRETS.to_owned()),
        Kind::Path if text.is_empty() => Err("the name of a file is empty".into()),
        Kind::Formats if !["cbor", "json"].contains(&text) => {
            Err(format!("no format {text:?}: there are cbor and json"))
        }
        Kind::Listen => checked(Address::to_listen(text)),
        Kind::Dial => checked(Address::to_dial(text)),
        Kind::Addresses => match address(text) {
            Ok((_, addr)) => checked(Address::to_dial(&addr)),
            Err(error) => Err(error),
        },
        Kind::Patterns => checked(text.parse::<NodePattern>()),
        _ => Ok(()),
    }
}

fn checked<T>(result: Result<T, impl fmt::Display>) -> Result<(), String> {
    result.map(drop).map_err(|error| error.to_string())
}

fn check_time(key: &str, time: Duration) -> Result<(), String> {
    const LINK_TIMEOUT_MIN: Duration = Duration::from_secs(1);
    match key {
        "limits.link_timeout" if time < LINK_TIMEOUT_MIN => Err("1s is the least".to_owned()),
        "limits.idle_timeout" | "flush" => Ok(()),
        _ if time.is_zero() => Err("it must not be zero".to_owned()),
        _ => Ok(()),
    }
}

/// `worker/a=10.0.0.7:4040`.
pub(crate) fn address(text: &str) -> Result<(NodeId, String), String> {
    let (node, addr) = text
        .split_once('=')
        .filter(|(_, addr)| !addr.is_empty())
        .ok_or("expected NODE=HOST:PORT, as worker/a=10.0.0.7:4040")?;
    Ok((node.parse().map_err(|e| format!("{e}"))?, addr.to_string()))
}

/// `5`, `1.5`, `1.5s`, `300ms`, `2m`, `1h`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let at = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit {unit:?}; use ms, s, m or h")),
    };
    let seconds = number
        .parse::<f64>()
        .map_err(|_| format!("{text:?} is not a time; try 5, 1.5s or 300ms"))?;
    Duration::try_from_secs_f64(seconds * factor)
        .map_err(|_| format!("{text:?} is not a usable time"))
}

fn with_article(name: &str) -> String {
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {name}")
}

/// What a text stands for as the value of a key: the text of a variable or an argument. A list is separated by commas, or
/// written as in a file when it begins with a bracket.
pub(crate) fn from_text(kind: Kind, text: &str) -> Toml {
    match kind {
        Kind::Bool => match text.trim() {
            "true" | "1" | "yes" | "on" => true.into(),
            "false" | "0" | "no" | "off" => false.into(),
            _ => text.into(),
        },
        Kind::Count(_) => match text.trim().parse::<Toml>() {
            Ok(value @ Toml::Integer(_)) => value,
            _ => text.into(),
        },
        kind if kind.is_list() && text.trim_start().starts_with('[') => {
            text.trim().parse().unwrap_or_else(|_| text.into())
        }
        kind if kind.is_list() => {
            let parts = text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            Toml::Array(parts.collect::<Array>())
        }
        _ => text.into(),
    }
}

impl Setting {
    /// As it would stand in a file.
    pub(crate) fn to_toml(&self) -> Toml {
        match self {
            Setting::Text(text) => text.into(),
            Setting::Path(path) => path.to_string_lossy().as_ref().into(),
            Setting::Bool(flag) => (*flag).into(),
            Setting::Time(time) => time_text(*time).into(),
            Setting::Count(count) => i64::try_from(*count).unwrap_or(i64::MAX).into(),
            Setting::List(list) => Toml::Array(list.iter().collect()),
            Setting::Services(services) => {
                let one = |service: &Service| match service.args.as_slice() {
                    [] => Toml::from(&service.name),
                    args => {
                        let mut array = Array::from_iter([&service.name]);
                        array.extend(args.iter().map(argument_toml));
                        Toml::Array(array)
                    }
                };
                Toml::Array(services.iter().map(one).collect())
            }
        }
    }

    /// Likewise in JSON.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Setting::Text(text) => json!(text),
            Setting::Path(path) => json!(path.to_string_lossy()),
            Setting::Bool(flag) => json!(flag),
            Setting::Time(time) => json!(time_text(*time)),
            Setting::Count(count) => json!(count),
            Setting::List(list) => json!(list),
            Setting::Services(services) => {
                let one = |service: &Service| {
                    let args = Value::List(service.args.clone()).to_string();
                    let args: serde_json::Value = serde_json::from_str(&args).unwrap_or_default();
                    json!({"function": service.name, "args": args})
                };
                services.iter().map(one).collect()
            }
        }
    }
}

fn time_text(time: Duration) -> String {
    if time.subsec_nanos() == 0 {
        format!("{}s", time.as_secs())
    } else if time.as_secs() == 0 && time.subsec_nanos().is_multiple_of(1_000_000) {
        format!("{}ms", time.as_millis())
    } else {
        format!("{}s", time.as_secs_f64())
    }
}

fn argument_toml(value: &Value) -> Toml {
    match value {
        Value::Bool(flag) => (*flag).into(),
        Value::Float(number) => (*number).into(),
        Value::List(list) => Toml::Array(list.iter().map(argument_toml).collect()),
        Value::Map(pairs) => {
            let pairs = pairs
                .iter()
                .map(|(key, value)| (key.to_string(), argument_toml(value)));
            Toml::InlineTable(pairs.collect())
        }
        Value::Text(text) => text.as_str().into(),
        other => match other.to_string().parse::<i64>() {
            Ok(number) => number.into(),
            Err(_) => other.to_string().into(),
        },
    }
}

/// As it would stand in a file.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_toml().decorated("", ""))
    }
}
