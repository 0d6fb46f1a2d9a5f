//! One rule: whom it is for, and what it allows and denies.

use std::collections::BTreeMap;

use super::{Nodes, Operation, PeerIdentity, Proof, Target};
use crate::proto::{
    id::{NodeId, ParseIdError},
    naming::NodePattern,
};

/// Why something is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRule {
    /// The pattern of node IDs is none.
    #[error("{text:?} is no pattern of node IDs: {source}")]
    Node {
        /// What was given.
        text: String,
        /// Why not.
        source: ParseIdError,
    },
    /// Not something that this operation is done to.
    #[error("{text:?} is nothing that {operation} can be done to: {}", possible(*.operation))]
    Target {
        /// The operation.
        operation: Operation,
        /// What was given.
        text: String,
    },
}

fn possible(operation: Operation) -> &'static str {
    match operation {
        Operation::Send | Operation::Monitor => {
            "give \"*\", \"node-port\", \"spawned\", \"family:PATTERN\" or \"port:PATTERN\""
        }
        Operation::Kill => "give \"*\", \"spawned\", \"family:PATTERN\" or \"port:PATTERN\"",
        Operation::Spawn => "give a pattern of names of functions",
        Operation::DbRead | Operation::DbWrite => "give a pattern of names of families",
        Operation::Global | Operation::Relay | Operation::Admin => "it is true or false",
    }
}

/// What is allowed and denied of one operation.
#[derive(Debug, Clone, Default, PartialEq)]
struct Grant {
    allow: Option<Vec<Target>>,
    deny: Vec<Target>,
}

/// Whom it is for, and what it allows and denies them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rule {
    nodes: Nodes,
    proof: Option<Proof>,
    secret: Option<String>,
    line: Option<usize>,
    grants: BTreeMap<Operation, Grant>,
}

impl Rule {
    /// For everybody.
    pub fn for_all() -> Self {
        Rule::default()
    }

    /// For nodes whose ID matches (`*` stands for any characters).
    ///
    /// # Errors
    /// [`BadRule::Node`].
    pub fn for_nodes(pattern: &str) -> Result<Self, BadRule> {
        Rule::for_all().or_nodes(pattern)
    }

    /// For nodes of that pattern.
    pub fn for_pattern(pattern: NodePattern) -> Self {
        Rule {
            nodes: vec![pattern],
            ..Rule::default()
        }
    }

    /// Also for those.
    ///
    /// # Errors
    /// [`BadRule::Node`].
    pub fn or_nodes(mut self, pattern: &str) -> Result<Self, BadRule> {
        let parsed = pattern.parse().map_err(|source| BadRule::Node {
            text: pattern.to_owned(),
            source,
        })?;
        self.nodes.push(parsed);
        Ok(self)
    }

    /// Only for those that proved themselves that way.
    pub fn by(mut self, proof: Proof) -> Self {
        self.proof = Some(proof);
        self
    }

    /// Only for those that proved themselves with the accepted secret of that name.
    pub fn by_secret(mut self, name: impl Into<String>) -> Self {
        self.proof = Some(Proof::Secret);
        self.secret = Some(name.into());
        self
    }

    /// The line of the file that it was read from.
    pub fn at_line(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    /// Allows that. With a list of what is allowed, be it empty, the defaults do not count any more.
    ///
    /// # Errors
    /// [`BadRule::Target`].
    pub fn allow<'a>(
        mut self,
        operation: Operation,
        targets: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, BadRule> {
        let allow = self.grants.entry(operation).or_default();
        let allow = allow.allow.get_or_insert_default();
        for text in targets {
            allow.push(Target::parse(operation, text)?);
        }
        Ok(self)
    }

    /// Allows all of an operation.
    pub fn allow_all(mut self, operation: Operation) -> Self {
        let grant = self.grants.entry(operation).or_default();
        grant.allow.get_or_insert_default().push(Target::Any);
        self
    }

    /// Denies all of an operation, whatever else allows it.
    pub fn deny_all(mut self, operation: Operation) -> Self {
        let grant = self.grants.entry(operation).or_default();
        grant.deny.push(Target::Any);
        self
    }

    /// Denies that, whatever else allows it.
    ///
    /// # Errors
    /// [`BadRule::Target`].
    pub fn deny<'a>(
        mut self,
        operation: Operation,
        targets: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, BadRule> {
        let grant = self.grants.entry(operation).or_default();
        for text in targets {
            grant.deny.push(Target::parse(operation, text)?);
        }
        Ok(self)
    }

    /// Whether that peer is one that it is for.
    pub fn matches(&self, peer: &PeerIdentity) -> bool {
        self.is_for(&peer.node)
            && (self.proof.is_none() || self.proof == peer.proof)
            && (self.secret.is_none() || self.secret == peer.secret)
    }

    /// Whether the ID is one that it is for, whatever the proof.
    pub(super) fn is_for(&self, node: &NodeId) -> bool {
        self.nodes.is_empty() || self.nodes.iter().any(|pattern| pattern.matches(node))
    }

    /// The patterns of node IDs that it is for; none: everybody.
    pub fn nodes(&self) -> &[NodePattern] {
        &self.nodes
    }

    /// The proof that it asks for.
    pub fn proof(&self) -> Option<Proof> {
        self.proof
    }

    /// The line of the file that it was read from, the first being 1.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// What it says is allowed; `None`: it does not say.
    pub fn allowed(&self, operation: Operation) -> Option<&[Target]> {
        self.grants.get(&operation)?.allow.as_deref()
    }

    /// What it denies.
    pub fn denied(&self, operation: Operation) -> &[Target] {
        let grant = self.grants.get(&operation);
        grant.map_or(&[], |grant| &grant.deny)
    }

    /// What the other says about an operation takes the place of what this one does.
    pub(super) fn add(&mut self, other: Rule) {
        self.grants.extend(other.grants);
    }
}
