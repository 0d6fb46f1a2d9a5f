//! Who may do what here. The defaults of the design; a later issue adds the table read from a file.

use super::id::NodeId;

/// What a peer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation<'a> {
    /// A message to a port.
    Send {
        /// Its name.
        port: &'a str,
    },
    /// To be told of a port's death.
    Monitor {
        /// Its name.
        port: &'a str,
    },
    /// The death of a port.
    Kill {
        /// Its name.
        port: &'a str,
        /// Whether a node of the asker's ID spawned it.
        spawned_by_asker: bool,
    },
    /// A new port.
    Spawn {
        /// The registered function.
        function: &'a str,
    },
}

/// Decides on inbound operations by the peer's proven identity.
#[derive(Debug, Clone, Default)]
pub struct Policy {}

impl Policy {
    /// `Err` says why not.
    pub fn check(&self, peer: &NodeId, operation: Operation<'_>) -> Result<(), String> {
        match operation {
            Operation::Kill {
                spawned_by_asker: false,
                port,
            } => Err(format!("{peer} may not kill {port}: it did not spawn it")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    // M1
    #[test]
    fn a_member_may_do_everything_but_kill_what_it_did_not_spawn() {
        let policy = Policy::default();
        let peer = "a".parse().unwrap();
        let port = "p";
        let kill = |spawned_by_asker| Operation::Kill {
            port,
            spawned_by_asker,
        };
        for operation in [
            Operation::Send { port },
            Operation::Monitor { port },
            Operation::Spawn { function: "f" },
            kill(true),
        ] {
            assert_eq!(policy.check(&peer, operation), Ok(()));
        }
        let text = policy.check(&peer, kill(false)).unwrap_err();
        assert!(text.contains("may not kill"), "{text}");
    }
}
