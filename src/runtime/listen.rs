//! Accepting: connections of strangers, within the limits on them.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{
    NodePorts,
    auth::{Established, Role, authenticate},
    connection,
    dial::is_own_node,
    gate::{AddressKey, Pass},
    links::Origin,
    shared::{Shared, Stage},
    transport::{BoxFuture, ConnectError, Incoming, Listener},
};

/// After an error of `accept`: too many open files, mostly. Closing them takes others a moment.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Accepts on one address until the node stops.
pub(super) fn start<P: NodePorts>(shared: &Arc<Shared<P>>, listener: Box<dyn Listener>) {
    let shared = shared.clone();
    let mut stage = shared.stage.subscribe();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            _ = stage.wait_for(|stage| *stage >= Stage::Closing) => {}
            () = accept(&shared, listener) => {}
        }
    });
}

async fn accept<P: NodePorts>(shared: &Arc<Shared<P>>, mut listener: Box<dyn Listener>) {
    let addr = listener.local_addr();
    loop {
        while let Some(wait) = shared.gate.take_token(shared.clock.now().mono) {
            sleep(wait).await;
        }
        match listener.accept().await {
            Ok(incoming) => admit(shared, incoming),
            Err(error) => {
                shared.counters.accept_errors.add(1);
                let mono = shared.clock.now().mono;
                if let Some(untold) = shared.refusals.take(&addr, mono) {
                    tracing::error!(listen_addr = addr, %error, untold, "accept failed, going on");
                }
                sleep(ERROR_PAUSE).await;
            }
        }
    }
}

/// What counts as one address in the log.
fn key(incoming: &Incoming) -> String {
    match incoming.peer_ip {
        Some(ip) => AddressKey::new(ip).to_string(),
        None => incoming.peer_addr.clone(),
    }
}

fn admit<P: NodePorts>(shared: &Arc<Shared<P>>, incoming: Incoming) {
    shared.counters.accepted.add(1);
    let key = key(&incoming);
    match shared.gate.admit(incoming.peer_ip) {
        Ok(pass) => {
            let shared = shared.clone();
            // in a box, so that the task of a link is not as large as a handshake
            let proved = until_closing(shared.clone(), incoming, key, pass);
            // its life is what a shutdown waits for
            let stage = shared.stage.subscribe();
            tokio::spawn(async move {
                if let Some((established, addr)) = proved.await {
                    let (_, life) = connection::begin(&shared, established, addr, Origin::Accepted);
                    life.await;
                }
                drop(stage);
            });
        }
        Err(turned) => {
            shared.counters.refused_by_limit.add(1);
            shared.refused(&incoming.peer_addr, &key, None, turned.to_string());
        }
    }
}

/// What [`prove`] says, or nothing where the node stops.
fn until_closing<P: NodePorts>(
    shared: Arc<Shared<P>>,
    incoming: Incoming,
    key: String,
    pass: Pass,
) -> BoxFuture<'static, Option<(Established, String)>> {
    Box::pin(async move {
        let mut stage = shared.stage.subscribe();
        tokio::select! {
            biased;
            _ = stage.wait_for(|stage| *stage >= Stage::Closing) => None,
            proved = prove(&shared, incoming, &key, pass) => proved,
        }
    })
}

/// TLS and authentication, each within its time. Who it is, with the address, or nobody.
async fn prove<P: NodePorts>(
    shared: &Arc<Shared<P>>,
    incoming: Incoming,
    key: &str,
    pass: Pass,
) -> Option<(Established, String)> {
    let addr = incoming.peer_addr;
    let limit = shared.limits.tls_timeout;
    let secured = timeout(limit, shared.gate.computing(incoming.secure)).await;
    let secured = secured.unwrap_or_else(|_| {
        Err(ConnectError::Timeout {
            addr: addr.clone(),
            what: "the TLS handshake",
            limit,
        })
    });
    let refuse = |node, reason: String| {
        shared.counters.refused_by_auth.add(1);
        shared.refused(&addr, key, node, reason);
    };
    let connection = match secured {
        Ok(connection) => connection,
        Err(error) => {
            refuse(None, error.to_string());
            return None;
        }
    };
    let certified = connection.certified.clone();
    let proof = pin!(authenticate(
        connection,
        Role::Responder,
        &shared.auth,
        None
    ));
    match shared.gate.computing(proof).await {
        Ok(established) => {
            drop(pass);
            return Some((established, addr));
        }
        // a seed that is this node itself: the dialling side says so
        Err(error) if is_own_node(&error) => {
            tracing::debug!(peer_addr = addr, "this node dialled itself");
        }
        Err(error) => refuse(
            error.node.as_ref().or(certified.as_ref()),
            error.to_string(),
        ),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_networks_of_one_customer_share_a_line() {
        let incoming = |ip: &str| Incoming {
            peer_ip: ip.parse().ok(),
            peer_addr: format!("{ip}:1"),
            secure: Box::pin(std::future::pending()),
        };
        assert_eq!(key(&incoming("2001:db8::1")), key(&incoming("2001:db8::2")));
        assert_ne!(key(&incoming("192.0.2.1")), key(&incoming("192.0.2.2")));
    }
}
