//! Why a port died.

use std::fmt::{self, Write};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{EncodeError, IntoMessage, Raw, raw::RawRef};
use crate::proto::{
    id::{NodeId, PortId},
    limits::Limits,
    value::Value,
};

/// What a text inside a reason that the system makes is cut to, in bytes.
const TEXT_MAX: usize = 4 << 10;

/// Why a port died: a list of values; empty for a normal death.
///
/// ```
/// use portmesh::Reason;
/// let reason = Reason::new(("too_hot", 451))?;
/// assert_eq!(reason.tag(), Some("too_hot"));
/// assert_eq!(reason.to_string(), "too_hot: 451");
/// assert!(Reason::new(())?.is_normal());
/// # Ok::<(), portmesh::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Reason(pub Vec<Value>);

impl Reason {
    /// A normal death.
    pub fn normal() -> Self {
        Reason(Vec::new())
    }
    /// Any serde type as a reason, as it would be a message; `()` is a normal death.
    ///
    /// # Errors
    /// See [`EncodeError`]; the limits are the default ones.
    pub fn new(what: impl IntoMessage) -> Result<Self, EncodeError> {
        let limits = Limits::default();
        Ok(Reason(what.into_args(&limits)?.values(&limits)?))
    }
    /// `["die", text]`: a handler failed or panicked.
    pub fn die(text: impl fmt::Display) -> Self {
        Self::tagged("die", [cut(text)])
    }
    /// `["no_such_port", port]`: it never was, or is already gone.
    pub fn no_such_port(port: &PortId) -> Self {
        Self::tagged("no_such_port", [port.to_string()])
    }
    /// `["transport_error", node, text]`: messages to that node may have been lost.
    pub fn transport_error(node: &NodeId, text: impl fmt::Display) -> Self {
        Self::tagged("transport_error", [node.to_string(), cut(text)])
    }
    /// `["mailbox_overflow", n]`: n messages were waiting.
    pub fn mailbox_overflow(n: usize) -> Self {
        Reason(vec!["mailbox_overflow".into(), (n as u64).into()])
    }
    /// `["bad_message", text]`: a message was not what the handler asked for.
    pub fn bad_message(text: impl fmt::Display) -> Self {
        Self::tagged("bad_message", [cut(text)])
    }
    /// `["unhandled_message", tag]`: no handler took a message.
    pub fn unhandled_message(tag: impl fmt::Display) -> Self {
        Self::tagged("unhandled_message", [cut(tag)])
    }
    /// `["no_such_function", name]`: nothing of that name can be spawned.
    pub fn no_such_function(name: impl fmt::Display) -> Self {
        Self::tagged("no_such_function", [cut(name)])
    }
    /// `["not_permitted", text]`: the policy refused.
    pub fn not_permitted(text: impl fmt::Display) -> Self {
        Self::tagged("not_permitted", [cut(text)])
    }
    fn tagged<const N: usize>(tag: &str, texts: [String; N]) -> Self {
        Reason(
            std::iter::once(tag.into())
                .chain(texts.map(Value::from))
                .collect(),
        )
    }
    /// Whether the port died normally.
    pub fn is_normal(&self) -> bool {
        self.0.is_empty()
    }
    /// The first value where it is a text: `"die"`, `"no_such_port"`, `"transport_error"`, ….
    pub fn tag(&self) -> Option<&str> {
        self.0.first().and_then(Value::as_str)
    }
    /// The values.
    pub fn values(&self) -> &[Value] {
        &self.0
    }
}

/// A text that fits into a reason.
fn cut(text: impl fmt::Display) -> String {
    let mut text = text.to_string();
    if text.len() > TEXT_MAX {
        let mut end = TEXT_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

/// For people, on one line: `normal`, or the tag and what follows it.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0.as_slice() else {
            return f.write_str("normal");
        };
        plain(first, f)?;
        for (n, value) in rest.iter().enumerate() {
            f.write_str(if n == 0 { ": " } else { ", " })?;
            plain(value, f)?;
        }
        Ok(())
    }
}

/// Texts without quotes, but with what could forge a line of a log escaped.
fn plain(value: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Value::Text(text) = value else {
        return fmt::Display::fmt(value, f);
    };
    for c in text.chars() {
        if c.is_control() {
            write!(f, "{}", c.escape_default())?;
        } else {
            f.write_char(c)?;
        }
    }
    Ok(())
}

impl From<Vec<Value>> for Reason {
    fn from(list: Vec<Value>) -> Self {
        Reason(list)
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        RawRef(&self.0).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Raw::deserialize(from).map(|raw| Reason(raw.0))
    }
}
