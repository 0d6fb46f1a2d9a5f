//! What can be asked of a policy without a node: for `portmesh policy test`.

use crate::proto::{
    id::NodeId,
    policy::{Asked, Operation, PeerIdentity, Policy, PortFacts, Proof, Source},
};

/// An operation, and what it is done to.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    operation: Operation,
    /// The function or family.
    name: String,
    port: PortIs,
}

/// What is known of a port.
#[derive(Debug, Clone)]
struct PortIs {
    name: String,
    spawned: bool,
    families: Vec<String>,
}

/// What a policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    pub(crate) by: Source,
    pub(crate) rule: Option<usize>,
    pub(crate) line: Option<usize>,
    /// What of the rule or the defaults it was.
    pub(crate) matched: Option<String>,
}

impl Question {
    /// `Err`: that cannot be asked.
    pub(crate) fn new(operation: Operation, targets: &[String]) -> Result<Self, String> {
        let mut question = Question {
            operation,
            name: String::new(),
            port: PortIs {
                name: "p".to_owned(),
                spawned: false,
                families: Vec::new(),
            },
        };
        if operation.is_on_port() {
            for target in targets {
                question.port.add(target)?;
            }
            return Ok(question);
        }
        match targets {
            [] if !operation.is_on_name() => Ok(question),
            [name] if operation.is_on_name() => {
                question.operation = match operation {
                    Operation::Spawn => Operation::to_spawn(name),
                    other => other,
                };
                question.name.clone_from(name);
                Ok(question)
            }
            _ if operation.is_on_name() => Err(format!("{operation} is done to one name")),
            _ => Err(format!("{operation} is done to nothing")),
        }
    }

    pub(crate) fn ask(
        &self,
        policy: &Policy,
        node: &NodeId,
        proof: &str,
        secret: Option<&str>,
    ) -> Verdict {
        let peer = policy.for_peer(&PeerIdentity {
            node: node.clone(),
            proof: Some(match proof {
                "certificate" => Proof::Certificate,
                _ => Proof::Secret,
            }),
            secret: secret.map(str::to_owned),
        });
        let PortIs {
            name,
            spawned,
            families,
        } = &self.port;
        let asked = if self.operation.is_on_port() {
            Asked::Port(PortFacts {
                name,
                is_spawned: &|| *spawned,
                is_registered: &|wanted| families.iter().any(|family| wanted(family)),
            })
        } else if self.operation.is_on_name() {
            Asked::Name(&self.name)
        } else {
            Asked::Nothing
        };
        let decision = peer.decide(self.operation, &asked);
        let (rule, line) = match decision.by {
            Source::Default => (None, None),
            Source::Rule { number, line } => (Some(number), line),
        };
        Verdict {
            allowed: decision.allowed,
            by: decision.by,
            rule,
            line,
            matched: decision.target.map(|target| target.to_string()),
        }
    }
}

impl PortIs {
    fn add(&mut self, target: &str) -> Result<(), String> {
        match (target, target.split_once(':')) {
            ("node-port", _) => self.name.clear(),
            ("spawned", _) => self.spawned = true,
            (_, Some(("family", name))) => self.families.push(name.to_owned()),
            (_, Some(("port", name))) => name.clone_into(&mut self.name),
            _ => {
                return Err(format!(
                    "{target:?} is nothing that is known of a port: give node-port, spawned, family:NAME or port:NAME"
                ));
            }
        }
        Ok(())
    }
}
