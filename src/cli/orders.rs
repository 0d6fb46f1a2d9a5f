//! What administering a node over the mesh has in common: who may, and what is said to who may not.

use crate::{
    CallError, Context, NodeId, PortId,
    cli::{
        exit::{Exit, Failure},
        node::call_failure,
        remote::Remote,
    },
};

/// To who knows of the port and has not been asked for permission.
pub(crate) const NOT_YOURS: &str = "this port takes orders from the node that spawned it";

/// Whether the message being handled is of the node that spawned the port, which the policy has permitted.
pub(crate) fn is_permitted(cx: &Context) -> bool {
    cx.sender_node() == Some(cx.spawned_by().unwrap_or(cx.node().id()))
}

/// The failure that an order to a node ends with.
pub(crate) fn failure(remote: &Remote, on: &NodeId, port: &PortId, error: CallError) -> Failure {
    let refused = |text: String| Failure::new(Exit::Refused, text);
    match error {
        CallError::Refused { .. } => refused(format!(
            "{on} takes no orders from {}: its policy has to say admin = true for it, or it has to run with --db-admin",
            remote.node.id()
        )),
        CallError::Died(reason) if reason.tag() == Some("no_such_function") => refused(format!(
            "{on} takes no orders: it is not run by portmesh run"
        )),
        error => call_failure(port, error),
    }
}
