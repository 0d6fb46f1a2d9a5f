//! A policy as TOML: read with the place of every fault, written for people.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use toml_edit::{Document, Item, TableLike, Value};

use crate::proto::policy::{Operation, Policy, Proof, Rule};

#[cfg(feature = "cli")]
mod question;

#[cfg(feature = "cli")]
pub(crate) use question::{Question, Verdict};

/// Larger is no policy.
const BYTES_MAX: u64 = 1 << 20;

/// One thing that is wrong in a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyFault {
    /// The line, from 1.
    pub line: usize,
    /// What, and what to do.
    pub text: String,
}

/// Why there is no policy. Nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something in it is wrong. All of it is told.
    #[error("{}", Faults(path, faults))]
    Wrong {
        /// The file, or what stands for one.
        path: PathBuf,
        /// What is wrong, in the order of the text.
        faults: Vec<PolicyFault>,
    },
}

struct Faults<'a>(&'a Path, &'a [PolicyFault]);

impl fmt::Display for Faults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, PolicyFault { line, text }) in self.1.iter().enumerate() {
            let comma = if n > 0 { "; " } else { "" };
            write!(f, "{comma}{}:{line}: {text}", self.0.display())?;
        }
        Ok(())
    }
}

impl Policy {
    /// Reads a policy from a TOML file: see [the manual](crate::manual::policy).
    ///
    /// # Errors
    /// [`PolicyError`]: the file cannot be read, or something in it is no policy.
    pub fn from_toml_file(path: impl AsRef<Path>) -> Result<Self, PolicyError> {
        let path = path.as_ref();
        let failed = |source| PolicyError::Read {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let file = File::open(path).map_err(failed)?;
        file.take(BYTES_MAX + 1)
            .read_to_string(&mut text)
            .map_err(failed)?;
        if text.len() as u64 > BYTES_MAX {
            let text = format!("it is larger than {BYTES_MAX} bytes: this is no policy");
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        Policy::parse(path, &text)
    }

    /// Likewise from a text; `name` stands for the file in errors.
    ///
    /// ```
    /// use portmesh::Policy;
    /// let policy = Policy::from_toml("policy", r#"
    ///     [[rule]]
    ///     node = "worker/*"
    ///     spawn = ["count.*"]
    /// "#)?;
    /// assert_eq!(policy.rules().len(), 1);
    /// let error = Policy::from_toml("policy", "[[rule]]\nspwan = []").unwrap_err();
    /// assert_eq!(error.to_string(), "policy:2: unknown key spwan; did you mean spawn?");
    /// # Ok::<(), portmesh::PolicyError>(())
    /// ```
    ///
    /// # Errors
    /// [`PolicyError::Wrong`].
    pub fn from_toml(name: &str, text: &str) -> Result<Self, PolicyError> {
        Policy::parse(Path::new(name), text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, PolicyError> {
        let mut reader = Reader {
            text,
            faults: Vec::new(),
        };
        let policy = match Document::parse(text) {
            Ok(document) => reader.policy(document.as_table()),
            Err(error) => {
                // the parser's message says several things, one a line
                let message = error.message().trim().replace('\n', ", ");
                reader.fault(error.span(), message);
                Policy::default()
            }
        };
        let mut faults = reader.faults;
        if faults.is_empty() {
            return Ok(policy);
        }
        faults.sort_by_key(|fault| fault.line);
        Err(PolicyError::Wrong {
            path: path.to_owned(),
            faults,
        })
    }

    /// What to think of in rules that are right: for `portmesh policy check`.
    pub fn advice(&self) -> Vec<PolicyFault> {
        let mut advice = Vec::new();
        for (at, rule) in self.rules().iter().enumerate() {
            let line = rule.line().unwrap_or_default();
            let mut say = |text: String| advice.push(PolicyFault { line, text });
            let number = at + 1;
            if !rule.nodes().is_empty() && rule.proof() != Some(Proof::Certificate) {
                say(format!(
                    "rule {number} goes by node IDs, and whoever holds the secret of a mesh can take one that nobody has used \
                     yet: add proof = \"certificate\" where the mesh has certificates"
                ));
            }
            let relay = rule.allowed(Operation::Relay).is_some();
            if relay || !rule.denied(Operation::Relay).is_empty() {
                say(format!(
                    "rule {number} is about relay, which nothing uses so far: no node passes messages on"
                ));
            }
        }
        advice
    }

    /// The defaults as TOML: what holds where no rule says anything.
    pub fn defaults_toml(&self) -> String {
        let mut lines = String::from("[default]\n");
        for operation in Operation::ALL {
            let targets = self.defaults(operation);
            let value: Value = match operation.is_on_port() || operation.is_on_name() {
                true => {
                    let texts = targets.iter().map(ToString::to_string);
                    Value::Array(texts.collect())
                }
                false => (!targets.is_empty()).into(),
            };
            lines += &format!("{operation} = {}\n", value.to_string().trim());
        }
        lines
    }
}

struct Reader<'a> {
    text: &'a str,
    faults: Vec<PolicyFault>,
}

type Span = Option<Range<usize>>;

impl Reader<'_> {
    fn line(&self, span: Span) -> usize {
        let at = span.map_or(0, |span| span.start);
        let before = self.text.get(..at).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }

    fn fault(&mut self, span: Span, text: impl Into<String>) {
        let line = self.line(span);
        let text = text.into();
        self.faults.push(PolicyFault { line, text });
    }

    fn policy(&mut self, root: &dyn TableLike) -> Policy {
        let mut policy = Policy::default();
        for (name, item) in root.iter() {
            let span = item.span().or_else(|| key_span(root, name));
            match (name, item) {
                ("rule", Item::ArrayOfTables(rules)) => {
                    for table in rules.iter() {
                        let line = self.line(table.span());
                        policy = policy.with(self.rule(table, true).at_line(line));
                    }
                }
                ("rule", _) => self.fault(span, "write [[rule]] before the lines of a rule"),
                ("default", item) => match item.as_table_like() {
                    Some(table) => policy = policy.with_defaults(self.rule(table, false)),
                    None => self.fault(span, "write [default] before the lines of the defaults"),
                },
                (name, _) if is_key(name, true) => self.fault(
                    key_span(root, name),
                    format!("{name} belongs below [[rule]] or [default]"),
                ),
                _ => self.fault(
                    key_span(root, name),
                    unknown(name, ["rule", "default"].into_iter()),
                ),
            }
        }
        policy
    }

    /// A rule, or the defaults, which are for everybody and only allow.
    fn rule(&mut self, table: &dyn TableLike, is_rule: bool) -> Rule {
        let mut rule = Rule::for_all();
        let mut secret = None;
        for (name, item) in table.iter() {
            let key = key_span(table, name);
            let span = item.span().or_else(|| key.clone());
            if name == "call" && table.contains_key("send") {
                self.fault(key, "call is another name for send, which is there already");
                continue;
            }
            if let Some(operation) = Operation::named(name) {
                rule = self.grant(rule, operation, item, span, is_rule);
                continue;
            }
            match name {
                "node" if is_rule => {
                    for (pattern, span) in self.texts(item, span, "a pattern of node IDs") {
                        rule = self.take(rule, span, |rule| rule.or_nodes(&pattern));
                    }
                }
                "proof" if is_rule => match item.as_str() {
                    Some("certificate") => rule = rule.by(Proof::Certificate),
                    Some("secret") => rule = rule.by(Proof::Secret),
                    _ => self.fault(span, "proof is \"certificate\" or \"secret\""),
                },
                "secret" if is_rule => match item.as_str() {
                    Some(name) if is_secret_name(name) => secret = Some((name.to_owned(), span)),
                    _ => self.fault(
                        span,
                        "secret is the name of a secret, as portmesh secret list shows it: eight hexadecimal digits in quotes",
                    ),
                },
                _ => self.fault(key, unknown(name, keys(is_rule))),
            }
        }
        if let Some((secret, span)) = secret {
            if rule.proof() == Some(Proof::Certificate) {
                self.fault(span, "who proved itself by certificate used no secret");
            }
            rule = rule.by_secret(secret);
        }
        rule
    }

    /// Something that may fail on its own account.
    fn take<E: fmt::Display>(
        &mut self,
        rule: Rule,
        span: Span,
        change: impl FnOnce(Rule) -> Result<Rule, E>,
    ) -> Rule {
        match change(rule.clone()) {
            Ok(rule) => rule,
            Err(error) => {
                self.fault(span, error.to_string());
                rule
            }
        }
    }

    /// `true`, `false`, a list of what is allowed, or a table of lists.
    fn grant(
        &mut self,
        rule: Rule,
        operation: Operation,
        item: &Item,
        span: Span,
        is_rule: bool,
    ) -> Rule {
        match item.as_bool() {
            Some(true) => return rule.allow_all(operation),
            Some(false) if is_rule => return rule.deny_all(operation),
            Some(false) => return self.take(rule, span, |rule| rule.allow(operation, [])),
            None => {}
        }
        if !operation.is_on_port() && !operation.is_on_name() {
            self.fault(span, format!("{operation} is true or false"));
            return rule;
        }
        let wanted = "what it may be done to";
        let Some(table) = item.as_table_like() else {
            return self.allow(rule, operation, item, span, wanted);
        };
        let mut rule = rule;
        for (name, item) in table.iter() {
            let key = key_span(table, name);
            let span = item.span().or_else(|| key.clone());
            match name {
                "allow" => rule = self.allow(rule, operation, item, span, wanted),
                "deny" if is_rule => {
                    for (text, span) in self.texts(item, span, wanted) {
                        rule = self.take(rule, span, |rule| rule.deny(operation, [&*text]));
                    }
                }
                "deny" => self.fault(key, "the defaults only allow: deny belongs below [[rule]]"),
                _ => self.fault(key, unknown(name, ["allow", "deny"].into_iter())),
            }
        }
        rule
    }

    fn allow(
        &mut self,
        rule: Rule,
        operation: Operation,
        item: &Item,
        span: Span,
        wanted: &str,
    ) -> Rule {
        // an empty list allows nothing, which is to be said as well
        let mut rule = self.take(rule, span.clone(), |rule| rule.allow(operation, []));
        for (text, span) in self.texts(item, span, wanted) {
            rule = self.take(rule, span, |rule| rule.allow(operation, [&*text]));
        }
        rule
    }

    /// A text, or a list of them.
    fn texts(&mut self, item: &Item, span: Span, wanted: &str) -> Vec<(String, Span)> {
        if let Some(text) = item.as_str() {
            return vec![(text.to_owned(), span)];
        }
        let Some(list) = item.as_array() else {
            self.fault(span, format!("give {wanted}, as a text or a list of texts"));
            return Vec::new();
        };
        let mut texts = Vec::new();
        for value in list.iter() {
            match value.as_str() {
                Some(text) => texts.push((text.to_owned(), value.span())),
                None => self.fault(value.span(), format!("give {wanted} as a text in quotes")),
            }
        }
        texts
    }
}

/// A name of another form would be one that no secret has, and the rule for nobody.
fn is_secret_name(name: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    name.len() == 8 && name.bytes().all(digit)
}

fn key_span(table: &dyn TableLike, name: &str) -> Span {
    table.key(name).and_then(toml_edit::Key::span)
}

/// The keys of a rule, or of the defaults.
fn keys(is_rule: bool) -> impl Iterator<Item = &'static str> + Clone {
    let own = if is_rule {
        &["node", "proof", "secret"][..]
    } else {
        &[]
    };
    let operations = Operation::ALL.into_iter().map(Operation::name);
    own.iter().copied().chain(operations)
}

fn is_key(name: &str, is_rule: bool) -> bool {
    keys(is_rule).any(|key| key == name)
}

fn unknown(name: &str, known: impl Iterator<Item = &'static str> + Clone) -> String {
    let near = known
        .clone()
        .map(|key| (strsim::damerau_levenshtein(key, name), key));
    match near.min() {
        Some((distance, key)) if distance <= 2.max(name.len() / 3) => {
            format!("unknown key {name}; did you mean {key}?")
        }
        _ => {
            let known: Vec<&str> = known.collect();
            format!("unknown key {name}; there are {}", known.join(", "))
        }
    }
}
