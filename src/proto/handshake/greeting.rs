//! What the two sides tell of themselves: a small JSON object, read strictly and within bounds.

use std::{collections::BTreeSet, fmt, ops::Deref, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de};
use serde_json::{Map, Value};

use super::{GREETING_BYTES_MAX, HandshakeError, Mode, VERSION};
use crate::proto::{
    id::{Incarnation, NodeId},
    limits::Limits,
};

/// Most versions, formats or features in one greeting.
const LIST_MAX: usize = 32;
/// Longest name of a format or a feature, in bytes.
const NAME_MAX: usize = 32;
/// Longest name of a cluster, in bytes.
const CLUSTER_MAX: usize = 128;
/// Less than this is no use to anyone, in bytes: every control frame has to fit.
const BYTES_MIN: u64 = 1024;

/// What the peer said of its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PeerLimits {
    /// Largest frame that it takes, in bytes.
    pub frame_bytes: u64,
    /// Largest message that it takes, in bytes of its CBOR form.
    pub message_bytes: u64,
    /// What may be under way to it on the link, in bytes.
    pub window_bytes: u64,
    /// It gives a link up that is silent for so long, in milliseconds.
    pub link_timeout_ms: u64,
}

impl PeerLimits {
    /// What a node of those limits tells others.
    pub fn of(limits: &Limits) -> Self {
        let bytes = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        PeerLimits {
            frame_bytes: bytes(limits.frame_bytes_max),
            message_bytes: bytes(limits.message_bytes_max),
            window_bytes: bytes(limits.window_bytes),
            link_timeout_ms: u64::try_from(limits.link_timeout.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// How long the peer bears silence.
    pub fn link_timeout(&self) -> Duration {
        Duration::from_millis(self.link_timeout_ms)
    }

    fn check(&self) -> Result<(), String> {
        let bytes = [
            ("frame_bytes", self.frame_bytes),
            ("message_bytes", self.message_bytes),
            ("window_bytes", self.window_bytes),
        ];
        if let Some((name, n)) = bytes.iter().find(|(_, n)| *n < BYTES_MIN) {
            return Err(format!("{name} is {n}, at least {BYTES_MIN} is needed"));
        }
        if self.link_timeout_ms < 1000 {
            return Err(format!(
                "link_timeout_ms is {}, at least 1000 is needed",
                self.link_timeout_ms
            ));
        }
        Ok(())
    }
}

/// What a node tells of itself in every handshake; checked once, when made.
#[derive(Debug, Clone)]
pub struct Local(Arc<Told>);

impl Deref for Local {
    type Target = Told;

    fn deref(&self) -> &Told {
        &self.0
    }
}

#[cfg(test)]
impl std::ops::DerefMut for Local {
    fn deref_mut(&mut self) -> &mut Told {
        Arc::make_mut(&mut self.0)
    }
}

/// See [`Local`].
#[derive(Debug, Clone)]
pub struct Told {
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) cluster: String,
    pub(super) versions: Vec<u16>,
    pub(super) formats: Vec<String>,
    pub(super) features: Vec<String>,
    pub(super) limits: PeerLimits,
}

impl Local {
    /// For a node of that name, life and cluster, with those formats, the preferred one first.
    ///
    /// # Errors
    /// [`HandshakeError::Config`] when a name is not allowed, when there is no format, or when all of it is longer
    /// than a greeting may be.
    pub fn new(
        node: NodeId,
        incarnation: Incarnation,
        cluster: &str,
        formats: Vec<String>,
        features: Vec<String>,
        limits: PeerLimits,
    ) -> Result<Self, HandshakeError> {
        let check = || -> Result<(), String> {
            check_cluster(cluster)?;
            limits.check()?;
            if formats.is_empty() {
                return Err("there is no format".into());
            }
            for list in [&formats, &features] {
                check_list(list)?;
            }
            Ok(())
        };
        check().map_err(HandshakeError::Config)?;
        let local = Local(Arc::new(Told {
            node,
            incarnation,
            cluster: cluster.to_owned(),
            versions: vec![VERSION],
            formats,
            features,
            limits,
        }));
        // The longest that it will ever be: with the longest pick.
        let longest = Pick {
            version: u16::MAX,
            format: "x".repeat(NAME_MAX),
        };
        let n = local.greeting(Mode::Certificate, Some(longest)).len();
        if n > GREETING_BYTES_MAX {
            return Err(HandshakeError::Config(format!(
                "the greeting would be {n} bytes long, {GREETING_BYTES_MAX} are allowed; name fewer formats"
            )));
        }
        Ok(local)
    }

    pub(super) fn greeting(&self, mode: Mode, pick: Option<Pick>) -> Vec<u8> {
        #[derive(Serialize)]
        struct Wire<'a> {
            mode: &'static str,
            cluster: &'a str,
            id: &'a NodeId,
            incarnation: String,
            versions: &'a [u16],
            formats: &'a [String],
            features: &'a [String],
            limits: PeerLimits,
            #[serde(skip_serializing_if = "Option::is_none")]
            pick: Option<Pick>,
        }
        let wire = Wire {
            mode: mode.name(),
            cluster: &self.cluster,
            id: &self.node,
            incarnation: self.incarnation.to_string(),
            versions: &self.versions,
            formats: &self.formats,
            features: &self.features,
            limits: self.limits,
            pick,
        };
        // Plain strings and numbers: it cannot fail, and an empty greeting is refused by everyone.
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}

/// What the responder picked from what both have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pick {
    /// The highest common version.
    pub version: u16,
    /// The first of the initiator's formats that the responder has.
    pub format: String,
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} with {}", self.version, self.format)
    }
}

/// What a peer told of itself, after its tag was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Greeting {
    /// How it proves itself.
    pub mode: Mode,
    /// Its cluster.
    pub cluster: String,
    /// The ID that it claims.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// The protocol versions that it speaks.
    pub versions: Vec<u16>,
    /// Its formats, the preferred one first.
    pub formats: Vec<String>,
    /// What else it can do.
    pub features: Vec<String>,
    /// Its bounds.
    pub limits: PeerLimits,
    /// Only from a responder.
    pub pick: Option<Pick>,
}

impl Greeting {
    /// Reads one: unknown keys are ignored, so that later versions can add some; a key twice is refused, at any depth.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, HandshakeError> {
        let read = || -> Result<Self, String> {
            if bytes.len() > GREETING_BYTES_MAX {
                return Err("too long".into());
            }
            let Strict(value) = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
            let map = value.as_object().ok_or("not an object")?;
            let greeting = Greeting {
                mode: match text(map, "mode")? {
                    "secret" => Mode::Secret,
                    "certificate" => Mode::Certificate,
                    _ => return Err("mode is unknown".into()),
                },
                cluster: text(map, "cluster")?.to_owned(),
                node: text(map, "id")?.parse().map_err(|e| format!("id: {e}"))?,
                incarnation: text(map, "incarnation")?
                    .parse()
                    .map_err(|e| format!("incarnation: {e}"))?,
                versions: list(map, "versions", |v| {
                    v.as_u64().and_then(|n| u16::try_from(n).ok())
                })?,
                formats: names(map, "formats")?,
                features: names(map, "features")?,
                limits: limits(field(map, "limits")?)?,
                pick: map.get("pick").map(pick).transpose()?,
            };
            check_cluster(&greeting.cluster)?;
            greeting.limits.check()?;
            Ok(greeting)
        };
        read().map_err(HandshakeError::Greeting)
    }
}

fn field<'a>(map: &'a Map<String, Value>, key: &str) -> Result<&'a Value, String> {
    map.get(key).ok_or_else(|| format!("{key} is missing"))
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    field(map, key)?
        .as_str()
        .ok_or_else(|| format!("{key} is not a text"))
}

fn number(map: &Map<String, Value>, key: &str) -> Result<u64, String> {
    field(map, key)?
        .as_u64()
        .ok_or_else(|| format!("{key} is not a whole number"))
}

fn list<'a, T>(
    map: &'a Map<String, Value>,
    key: &str,
    take: impl Fn(&'a Value) -> Option<T>,
) -> Result<Vec<T>, String> {
    let values = field(map, key)?
        .as_array()
        .ok_or_else(|| format!("{key} is not a list"))?;
    if values.len() > LIST_MAX {
        return Err(format!("{key} has more than {LIST_MAX} elements"));
    }
    values
        .iter()
        .map(|v| take(v).ok_or_else(|| format!("an element of {key} is not of its kind")))
        .collect()
}

fn names(map: &Map<String, Value>, key: &str) -> Result<Vec<String>, String> {
    let names = list(map, key, |v| v.as_str().map(str::to_owned))?;
    check_list(&names)?;
    Ok(names)
}

fn limits(value: &Value) -> Result<PeerLimits, String> {
    let map = value.as_object().ok_or("limits is not an object")?;
    Ok(PeerLimits {
        frame_bytes: number(map, "frame_bytes")?,
        message_bytes: number(map, "message_bytes")?,
        window_bytes: number(map, "window_bytes")?,
        link_timeout_ms: number(map, "link_timeout_ms")?,
    })
}

fn pick(value: &Value) -> Result<Pick, String> {
    let map = value.as_object().ok_or("pick is not an object")?;
    let format = text(map, "format")?;
    check_name(format)?;
    Ok(Pick {
        version: u16::try_from(number(map, "version")?).map_err(|_| "version is too large")?,
        format: format.to_owned(),
    })
}

fn check_list(names: &[String]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in names {
        check_name(name)?;
        if !seen.insert(name) {
            return Err(format!("{name:?} stands twice in one list"));
        }
    }
    if names.len() > LIST_MAX {
        return Err(format!("more than {LIST_MAX} names in one list"));
    }
    Ok(())
}

/// Whether a format or a feature may be called so: 1 to 32 of `[A-Za-z0-9._+-]`. `Err` says why not.
///
/// # Errors
/// A sentence for people.
pub fn check_name(name: &str) -> Result<(), String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
    if (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(good) {
        Ok(())
    } else {
        Err(format!(
            "the name of a format or feature has 1 to {NAME_MAX} letters, digits and . _ + -"
        ))
    }
}

/// Whether a cluster may be called so: labels of `[a-z0-9-]`, 1 to 63 characters each and not beginning or ending with
/// a hyphen, joined by dots, 128 characters at most. It is a part of a DNS name and of a SPIFFE ID. `Err` says why not.
///
/// # Errors
/// A sentence for people.
pub fn check_cluster(name: &str) -> Result<(), String> {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if name.len() <= CLUSTER_MAX && name.split('.').all(label) {
        Ok(())
    } else {
        Err(format!(
            "a cluster's name has lower-case letters, digits, hyphens and dots, like a host name, and at most {CLUSTER_MAX} of them"
        ))
    }
}

/// A JSON value in which no object has a key twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
                Ok(v.into())
            }
            fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
                Ok(v.into())
            }
            fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
                Ok(v.into())
            }
            fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
                Ok(v.into())
            }
            fn visit_str<E>(self, v: &str) -> Result<Value, E> {
                Ok(v.into())
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut out = Vec::new();
                while let Some(Strict(v)) = seq.next_element()? {
                    out.push(v);
                }
                Ok(Value::Array(out))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut out = Map::new();
                while let Some((key, Strict(value))) = map.next_entry::<String, Strict>()? {
                    if out.insert(key, value).is_some() {
                        return Err(de::Error::custom("a key stands twice in one object"));
                    }
                }
                Ok(Value::Object(out))
            }
        }
        from.deserialize_any(Visitor).map(Strict)
    }
}
