//! Two ends over loopback: real transports with real certificates, and a server that goes on serving.

use std::{sync::Arc, time::Duration};

use portmesh::{
    Incarnation, Limits, NodeId,
    proto::{
        codec::Format,
        handshake::{Secret, Secrets},
    },
    runtime::{
        auth::{AuthConfig, Established, Role, authenticate},
        transport::Transport,
    },
    transport::tls::{Identity, Membership, State, TlsTransport, ca::CertificateAuthority},
};
use tokio::sync::mpsc;

/// Longer than anything here takes.
pub(crate) const GENEROUS: Duration = Duration::from_secs(30);

/// Short limits, so that what has to time out does so soon.
pub(crate) fn limits() -> Limits {
    Limits {
        tls_timeout: Duration::from_millis(1500),
        auth_timeout: Duration::from_millis(1500),
        connect_timeout: Duration::from_millis(1500),
        ..Limits::default()
    }
}

/// A node up to the point where its link would begin.
#[derive(Clone)]
pub(crate) struct Party {
    pub(crate) transport: Arc<TlsTransport>,
    pub(crate) auth: Arc<AuthConfig>,
}

impl Party {
    pub(crate) fn new(membership: Membership, formats: Vec<Format>) -> Self {
        let node = membership.node.clone();
        let prepared = membership.prepare(&limits()).unwrap();
        let auth = AuthConfig::new(
            node,
            Incarnation::new(1, 2),
            &prepared.cluster,
            formats,
            Vec::new(),
            &limits(),
            prepared.credentials,
        )
        .unwrap();
        Party {
            transport: Arc::new(prepared.transport),
            auth: Arc::new(auth),
        }
    }

    pub(crate) fn certified(ca: &CertificateAuthority, node: &str) -> Self {
        Self::new(certified(ca, node), both())
    }

    pub(crate) fn secret(node: &str, secret: &Secret) -> Self {
        Self::new(secretly(node, secret.clone()), both())
    }

    /// Dials and authenticates. `Err` is what a user reads.
    pub(crate) async fn dial(
        &self,
        addr: &str,
        expect: Option<&str>,
    ) -> Result<Established, String> {
        let expect = expect.map(node);
        let connection = self
            .transport
            .dial(addr, expect.as_ref())
            .await
            .map_err(|e| e.to_string())?;
        authenticate(connection, Role::Initiator, &self.auth, expect.as_ref())
            .await
            .map_err(|e| e.to_string())
    }

    /// Serves for ever, each connection in a task of its own, and reports how each ended.
    pub(crate) async fn serve(&self) -> Server {
        let mut listener = self.transport.listen("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr();
        let (report, ended) = mpsc::unbounded_channel();
        let auth = self.auth.clone();
        let task = tokio::spawn(async move {
            loop {
                let incoming = listener.accept().await.unwrap();
                let (auth, report) = (auth.clone(), report.clone());
                tokio::spawn(async move {
                    let _ = report.send(accept(incoming, &auth).await);
                });
            }
        });
        Server { addr, ended, task }
    }
}

async fn accept(
    incoming: portmesh::runtime::transport::Incoming,
    auth: &AuthConfig,
) -> Result<Established, String> {
    let limit = limits().tls_timeout;
    let connection = match tokio::time::timeout(limit, incoming.secure).await {
        Ok(done) => done.map_err(|e| e.to_string())?,
        Err(_) => return Err(format!("TLS with {} took too long", incoming.peer_addr)),
    };
    authenticate(connection, Role::Responder, auth, None)
        .await
        .map_err(|e| e.to_string())
}

/// What [`Party::serve`] started.
pub(crate) struct Server {
    pub(crate) addr: String,
    ended: mpsc::UnboundedReceiver<Result<Established, String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// How the next connection ended on this side.
    pub(crate) async fn next(&mut self) -> Result<Established, String> {
        tokio::time::timeout(GENEROUS, self.ended.recv())
            .await
            .expect("the server must say how the connection ended")
            .expect("the server lives")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn node(id: &str) -> NodeId {
    id.parse().unwrap()
}

pub(crate) fn both() -> Vec<Format> {
    vec![Format::cbor(), Format::json()]
}

pub(crate) fn certified(ca: &CertificateAuthority, id: &str) -> Membership {
    let issued = ca.issue(&node(id)).unwrap();
    Membership {
        node: node(id),
        cluster: None,
        identity: Some(Identity::from_pem(&issued.to_pem()).unwrap()),
        secrets: None,
        state: State::None,
    }
}

pub(crate) fn secretly(id: &str, secrets: impl Into<Secrets>) -> Membership {
    Membership {
        node: node(id),
        cluster: Some("test".to_owned()),
        identity: None,
        secrets: Some(secrets.into()),
        state: State::Unpinned,
    }
}
