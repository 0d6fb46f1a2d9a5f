//! Who may do what here, by proven identity: rules, and what they come to for one peer.
//!
//! All rules that match a peer count together, in whatever order they stand: what one of them denies is denied; else,
//! where one of them says what is allowed, what any of them allows is allowed; else what the defaults allow. The manual's
//! page on policy has examples.

mod access;
mod rule;
mod target;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use super::{id::NodeId, naming::NodePattern};

pub use access::{Asked, Decision, Denial, PeerPolicy, PortFacts, Source, Wanted};
pub use rule::{BadRule, Rule};
pub use target::{Pattern, Target};

/// What the names of functions begin with that administer a node: to spawn one takes [`Operation::Admin`].
pub const ADMIN_PREFIX: &str = "portmesh.";

/// What a peer may be allowed to do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// To send a message to a port, or to call it.
    Send,
    /// To be told of a port's death.
    Monitor,
    /// To kill a port.
    Kill,
    /// To make a port with a registered function.
    Spawn,
    /// To read a family of the database through this node.
    DbRead,
    /// To have its entries of a family taken by this node.
    DbWrite,
    /// To be taken for a global node.
    Global,
    /// To have messages passed on to other nodes. Nothing uses it so far: no node relays messages yet.
    Relay,
    /// To administer this node.
    Admin,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 9] = [
        Operation::Send,
        Operation::Monitor,
        Operation::Kill,
        Operation::Spawn,
        Operation::DbRead,
        Operation::DbWrite,
        Operation::Global,
        Operation::Relay,
        Operation::Admin,
    ];

    /// Its name in a policy.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Send => "send",
            Operation::Monitor => "monitor",
            Operation::Kill => "kill",
            Operation::Spawn => "spawn",
            Operation::DbRead => "db_read",
            Operation::DbWrite => "db_write",
            Operation::Global => "global",
            Operation::Relay => "relay",
            Operation::Admin => "admin",
        }
    }

    /// The operation of that name; `call` is another name for `send`.
    pub fn named(name: &str) -> Option<Operation> {
        let name = if name == "call" { "send" } else { name };
        let mut all = Operation::ALL.into_iter();
        all.find(|operation| operation.name() == name)
    }

    /// What it takes to spawn that function.
    pub fn to_spawn(function: &str) -> Operation {
        match function.starts_with(ADMIN_PREFIX) {
            true => Operation::Admin,
            false => Operation::Spawn,
        }
    }

    /// Whether it is done to a port.
    pub fn is_on_port(self) -> bool {
        matches!(self, Operation::Send | Operation::Monitor | Operation::Kill)
    }

    /// Whether it is done to something that has a name: a function, a family.
    pub fn is_on_name(self) -> bool {
        matches!(
            self,
            Operation::Spawn | Operation::DbRead | Operation::DbWrite
        )
    }

    /// What it is done to where nobody says anything: the built-in defaults.
    fn built_in(self) -> &'static [Target] {
        match self {
            Operation::Send
            | Operation::Monitor
            | Operation::Spawn
            | Operation::DbRead
            | Operation::DbWrite => &[Target::Any],
            Operation::Kill => &[Target::Spawned],
            Operation::Global | Operation::Relay | Operation::Admin => &[],
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What proved who a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// A certificate of the cluster's CA.
    Certificate,
    /// The shared secret. Who holds it can take any name that nobody has used yet.
    Secret,
}

impl Proof {
    /// Its name in a policy.
    pub fn name(self) -> &'static str {
        match self {
            Proof::Certificate => "certificate",
            Proof::Secret => "secret",
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who a peer is, as its link proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its node ID.
    pub node: NodeId,
    /// What proved that; `None` where there is no link with it: rules that ask for a proof do not match then.
    pub proof: Option<Proof>,
    /// The name of the secret, of those that are accepted: eight hexadecimal digits.
    pub secret: Option<String>,
}

impl PeerIdentity {
    /// A node of which nothing but the ID is known.
    pub fn of_node(node: NodeId) -> Self {
        PeerIdentity {
            node,
            proof: None,
            secret: None,
        }
    }
}

/// Rules, and defaults for what they do not mention. Cheap to clone. [`Policy::default`] has no rules: members may send,
/// call, monitor, spawn what is registered, read and write the database, and kill what they spawned.
///
/// ```
/// use portmesh::proto::policy::{Asked, Operation, PeerIdentity, Policy, Rule};
/// let workers = Rule::for_nodes("worker/*")?.allow(Operation::Spawn, ["count.*"])?;
/// let policy = Policy::default().with(workers);
/// let peer = policy.for_peer(&PeerIdentity::of_node("worker/1".parse()?));
/// assert!(peer.decide(Operation::Spawn, &Asked::Name("count.words")).allowed);
/// assert!(!peer.decide(Operation::Spawn, &Asked::Name("shell")).allowed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    rules: Arc<Vec<Rule>>,
    /// What the defaults allow, where that is not what is built in. It matches everybody.
    defaults: Arc<Rule>,
}

impl Policy {
    /// One rule more.
    pub fn with(mut self, rule: Rule) -> Self {
        Arc::make_mut(&mut self.rules).push(rule);
        self
    }

    /// Other defaults: what that rule allows, operation by operation. What it does not mention stays as it was, and whom
    /// it is for does not matter.
    pub fn with_defaults(mut self, defaults: Rule) -> Self {
        Arc::make_mut(&mut self.defaults).add(defaults);
        self
    }

    /// The rules, in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What an operation may be done to where no rule says anything.
    pub fn defaults(&self, operation: Operation) -> &[Target] {
        let own = self.defaults.allowed(operation);
        own.unwrap_or(operation.built_in())
    }

    /// What all of it comes to for one peer. Costs a look at each rule; what it gives costs next to nothing to ask where
    /// everything is allowed.
    pub fn for_peer(&self, peer: &PeerIdentity) -> PeerPolicy {
        PeerPolicy::new(self, peer)
    }

    /// Whether a node can be taken for a global one that no link has proved: by a rule for its ID, whatever proof that
    /// asks for.
    pub fn may_be_global(&self, node: &NodeId) -> bool {
        let mut rules = self.rules.iter().filter(|rule| rule.is_for(node));
        let allows = |rule: &Rule| {
            let allowed = rule.allowed(Operation::Global);
            allowed.is_some_and(|allowed| !allowed.is_empty())
        };
        rules.any(allows) || !self.defaults(Operation::Global).is_empty()
    }
}

/// Nodes that a rule is for: patterns of which one has to match; none: everybody.
type Nodes = Vec<NodePattern>;
