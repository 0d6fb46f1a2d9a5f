//! What a policy comes to for one peer, and the decisions that follow.

use std::fmt;

use super::{Operation, PeerIdentity, Policy, Target};
use crate::proto::id::NodeId;

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The defaults.
    Default,
    /// A rule.
    Rule {
        /// Which one, the first being 1.
        number: usize,
        /// The line of the file where it begins.
        line: Option<usize>,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("the defaults"),
            Source::Rule { number, line: None } => write!(f, "rule {number}"),
            Source::Rule {
                number,
                line: Some(line),
            } => write!(f, "rule {number} (line {line})"),
        }
    }
}

/// Says yes to names of families.
pub type Wanted<'a> = dyn Fn(&str) -> bool + 'a;

/// What is to be known of a port to decide on it. What costs something is asked for only where a rule is about it.
pub struct PortFacts<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether a node of the asker's ID spawned it.
    pub is_spawned: &'a dyn Fn() -> bool,
    /// Whether it is registered in a family that this says yes to.
    pub is_registered: &'a dyn Fn(&Wanted<'_>) -> bool,
}

/// What an operation is to be done to.
pub enum Asked<'a> {
    /// A port.
    Port(PortFacts<'a>),
    /// A function or a family of that name.
    Name(&'a str),
    /// Nothing: it is allowed or not.
    Nothing,
}

impl Asked<'_> {
    fn is(&self, target: &Target) -> bool {
        match (target, self) {
            (Target::Any, Asked::Name(name)) => !name.starts_with('\''),
            (Target::Any, _) => true,
            (Target::Name(pattern), Asked::Name(name)) => pattern.matches(name),
            (Target::NodePort, Asked::Port(port)) => port.name.is_empty(),
            (Target::Port(pattern), Asked::Port(port)) => {
                !port.name.is_empty() && pattern.matches(port.name)
            }
            (Target::Spawned, Asked::Port(port)) => (port.is_spawned)(),
            (Target::Family(pattern), Asked::Port(port)) => {
                (port.is_registered)(&|family| pattern.matches(family))
            }
            _ => false,
        }
    }

    /// One of the system's families.
    fn is_system(&self) -> bool {
        matches!(self, Asked::Name(name) if name.starts_with('\''))
    }
}

/// What was decided, and what decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// What decided it: the rule that denies it, the one that allows it, or the first one that says what is allowed and
    /// does not name this.
    pub by: Source,
    /// What of the rule it was.
    pub target: Option<Target>,
}

/// A refusal, to be told to the asker, audited and counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// What was asked for.
    pub operation: Operation,
    /// What it was to be done to.
    pub target: String,
    /// Who decided; `None`: no rule, but a limit.
    pub by: Option<Source>,
    /// For the asker: what was refused. It does not tell the rules.
    pub text: String,
}

/// What may be done of one operation.
#[derive(Debug, Clone, Default)]
struct Access {
    /// All of it, be it what it may.
    open: bool,
    deny: Vec<(Target, Source)>,
    allow: Vec<(Target, Source)>,
    /// Who says what is allowed.
    by: Option<Source>,
}

/// What one peer may do: [`Policy::for_peer`].
#[derive(Debug, Clone)]
pub struct PeerPolicy {
    access: [Access; Operation::ALL.len()],
}

impl Default for PeerPolicy {
    fn default() -> Self {
        let nobody = std::iter::empty();
        PeerPolicy::of(&Policy::default(), nobody)
    }
}

impl PeerPolicy {
    pub(super) fn new(policy: &Policy, peer: &PeerIdentity) -> Self {
        let rules = policy.rules().iter().enumerate();
        let matching = rules.filter(|(_, rule)| rule.matches(peer));
        let matching = matching.map(|(at, rule)| {
            let (number, line) = (at + 1, rule.line());
            (rule, Source::Rule { number, line })
        });
        PeerPolicy::of(policy, matching)
    }

    fn of<'a>(
        policy: &Policy,
        rules: impl Iterator<Item = (&'a super::Rule, Source)> + Clone,
    ) -> Self {
        let access = Operation::ALL.map(|operation| {
            let mut access = Access::default();
            for (rule, source) in rules.clone() {
                let with = |targets: &[Target]| {
                    let targets = targets.iter().cloned();
                    targets.map(|target| (target, source)).collect::<Vec<_>>()
                };
                access.deny.extend(with(rule.denied(operation)));
                if let Some(allowed) = rule.allowed(operation) {
                    access.by.get_or_insert(source);
                    access.allow.extend(with(allowed));
                }
            }
            if access.by.is_none() {
                let defaults = policy.defaults(operation).iter().cloned();
                access.allow = defaults.map(|target| (target, Source::Default)).collect();
            }
            let is_any = |(target, _): &(Target, Source)| *target == Target::Any;
            access.open = access.deny.is_empty() && access.allow.iter().any(is_any);
            access
        });
        PeerPolicy { access }
    }

    fn access(&self, operation: Operation) -> Option<&Access> {
        self.access.get(operation.index())
    }

    /// Whether the peer may do that to everything, so that nothing need be looked up.
    #[inline]
    pub fn is_open(&self, operation: Operation) -> bool {
        self.access(operation).is_some_and(|access| access.open)
    }

    /// Whether a rule denies something of it, be it what it may.
    pub fn is_denied(&self, operation: Operation) -> bool {
        let access = self.access(operation);
        access.is_none_or(|access| !access.deny.is_empty())
    }

    /// Decides, and says what decided.
    pub fn decide(&self, operation: Operation, asked: &Asked<'_>) -> Decision {
        let Some(access) = self.access(operation) else {
            return Decision {
                allowed: false,
                by: Source::Default,
                target: None,
            };
        };
        let of = |list: &[(Target, Source)]| {
            let found = list.iter().find(|(target, _)| asked.is(target));
            found.map(|(target, by)| (Some(target.clone()), *by))
        };
        let decision = |allowed, (target, by)| Decision {
            allowed,
            by,
            target,
        };
        if let Some(denied) = of(&access.deny) {
            return decision(false, denied);
        }
        if let Some(allowed) = of(&access.allow) {
            return decision(true, allowed);
        }
        // nobody would find anybody without the system's families
        let allowed = asked.is_system();
        let by = access.by.filter(|_| !allowed).unwrap_or(Source::Default);
        decision(allowed, (None, by))
    }

    /// Whether the peer, whose ID is for the text of a refusal, may do that.
    ///
    /// # Errors
    /// [`Denial`]: it may not.
    pub fn check(
        &self,
        peer: &NodeId,
        operation: Operation,
        asked: &Asked<'_>,
    ) -> Result<(), Denial> {
        if self.is_open(operation) {
            return Ok(());
        }
        let decision = self.decide(operation, asked);
        if decision.allowed {
            return Ok(());
        }
        let (target, what) = match asked {
            Asked::Port(port) if port.name.is_empty() => {
                ("node-port".to_owned(), "the node port".to_owned())
            }
            Asked::Port(port) => (port.name.to_owned(), format!("the port {}", port.name)),
            Asked::Name(name) => {
                let name: String = name.chars().take(NAME_SHOWN_MAX).collect();
                (name.clone(), name)
            }
            Asked::Nothing => (String::new(), "this node".to_owned()),
        };
        let text = match operation {
            Operation::Send => format!("{peer} may not send to {what}"),
            Operation::Monitor => format!("{peer} may not monitor {what}"),
            Operation::Kill => format!("{peer} may not kill {what}"),
            Operation::Spawn => format!("{peer} may not spawn {what}"),
            Operation::DbRead => format!("{peer} may not read the family {what}"),
            Operation::DbWrite => format!("{peer} may not write in the family {what}"),
            Operation::Global => format!("{peer} may not be a global node here"),
            Operation::Relay => format!("{peer} may not send to others over {what}"),
            Operation::Admin => format!("{peer} may not administer {what}"),
        };
        Err(Denial {
            operation,
            target,
            by: Some(decision.by),
            text,
        })
    }
}

/// What is shown of a name that a peer gave.
const NAME_SHOWN_MAX: usize = 100;
