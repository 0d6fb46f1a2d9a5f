//! The node of a command: made from flags, linked with the node the command is for.

use std::{io::Read, pin::Pin, time::Duration};

use tokio::time::Instant;

use crate::{
    CallError, Events, Format, Identity, LinkInfo, Mode, Node, NodeBuilder, NodeEvent, NodeId,
    PortId, Reason, Secret,
    cli::{
        args::{IdentityArgs, MeshArgs, RemoteArgs},
        exit::{Exit, Failure, OrExit, Outcome},
        output::Output,
    },
};

const SECRET_VARIABLE: &str = "PORTMESH_SECRET";
const SECRET_BYTES_MAX: u64 = 4096;
/// How long a command may take when nothing is said.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a command waits at its end for what is still to be transmitted.
const FLUSH: Duration = Duration::from_secs(2);

/// A builder with all that the flags say.
pub(crate) fn builder(
    identity: &IdentityArgs,
    mesh: &MeshArgs,
    default_id: &str,
) -> Outcome<NodeBuilder> {
    let id = identity.id.as_deref();
    let mut builder = match &identity.identity {
        Some(path) => {
            let cert = Identity::from_pem_file(path).or_exit(Exit::Config)?;
            // the certificate says who we are
            let id = id.unwrap_or(cert.node().as_str()).to_string();
            Node::builder(&id).identity(cert)
        }
        None => Node::builder(id.unwrap_or(default_id)).secret(secret(identity)?),
    };
    if let Some(cluster) = &identity.cluster {
        builder = builder.cluster(cluster);
    }
    if let Some(dir) = &identity.state {
        builder = builder.state_dir(dir);
    }
    let formats = identity.format.iter().map(|name| format(name));
    builder = builder.formats(formats.collect::<Outcome<Vec<_>>>()?);
    for seed in &mesh.seed {
        builder = builder.seed(seed);
    }
    for (node, addr) in &mesh.address {
        builder = builder.address(node.clone(), addr);
    }
    Ok(builder)
}

/// A format of that name.
pub(crate) fn format(name: &str) -> Outcome<Format> {
    match name {
        "cbor" => Ok(Format::cbor()),
        "json" => Ok(Format::json()),
        _ => Err(Failure::new(
            Exit::Usage,
            format!("no format {name:?}: there are cbor and json"),
        )),
    }
}

/// The secret from a file, the standard input or the environment.
fn secret(identity: &IdentityArgs) -> Outcome<Secret> {
    match &identity.secret_file {
        Some(path) if path.as_os_str() == "-" => {
            let mut text = zeroize::Zeroizing::new(String::new());
            std::io::stdin()
                .take(SECRET_BYTES_MAX)
                .read_to_string(&mut text)
                .or_exit_in(Exit::Config, "reading the secret from the standard input")?;
            text.trim()
                .parse()
                .or_exit_in(Exit::Config, "the secret on the standard input")
        }
        Some(path) => Secret::from_file(path).or_exit(Exit::Config),
        None if std::env::var_os(SECRET_VARIABLE).is_some() => {
            Secret::from_env(SECRET_VARIABLE).or_exit(Exit::Config)
        }
        None => Err(Failure::new(
            Exit::Config,
            "nothing proves who this node is: give --identity FILE (certificate) or --secret-file FILE, or set \
             PORTMESH_SECRET",
        )),
    }
}

/// A node that is linked with the one the command is for.
pub(crate) struct Remote {
    pub(crate) node: Node,
    deadline: Instant,
    timeout: Duration,
}

impl Remote {
    /// Starts a node and links it with `target`. `Err` says why that is not possible.
    pub(crate) async fn connect(
        args: &RemoteArgs,
        target: &NodeId,
        out: Output,
    ) -> Outcome<Remote> {
        let has_address = args.mesh.address.iter().any(|(node, _)| node == target);
        if args.mesh.seed.is_empty() && !has_address {
            return Err(Failure::new(
                Exit::Usage,
                format!("where is {target}? Give --address {target}=HOST:PORT or --seed HOST:PORT"),
            ));
        }
        let timeout = args.timeout.unwrap_or(TIMEOUT);
        let deadline = Instant::now() + timeout;
        let node = builder(&args.identity, &args.mesh, "cli/%n/%u")?
            // gone again in a moment
            .global(false)
            .start()
            .await
            .or_exit(Exit::Config)?;
        if node.id() == target {
            return Err(Failure::new(
                Exit::Usage,
                format!("{target} is the name of this command's own node"),
            ));
        }
        let remote = Remote {
            node,
            deadline,
            timeout,
        };
        remote
            .link(target, args.mesh.seed.len(), has_address)
            .await?;
        out.chat(format!("linked with {target}"));
        Ok(remote)
    }

    /// Waits until there is a link, or until it is clear that there will be none.
    async fn link(&self, target: &NodeId, seeds: usize, has_address: bool) -> Outcome {
        let mut events = self.node.events();
        let mut seen = Vec::new();
        let mut refused = None;
        let asked = async {
            // by its address: a monitor on its node port asks for a link (M5)
            if has_address {
                self.node.monitor(&PortId::of_node(target.clone())).await
            } else {
                std::future::pending().await
            }
        };
        let mut asked = std::pin::pin!(asked);
        loop {
            if self.node.links().iter().any(|link| link.node == *target) {
                return Ok(());
            }
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                reason = &mut asked => {
                    // a refusal is told before the monitor fires, perhaps between the two looks
                    while let Some(event) = next_now(&mut events).await {
                        if let NodeEvent::Refused { addr, reason, .. } = event {
                            refused = Some(refusal(&addr, &reason));
                        }
                    }
                    return Err(match refused {
                        Some(why) => Failure::new(Exit::Refused, why),
                        None => Failure::new(Exit::Unreachable, format!("no link with {target}: {reason}")),
                    });
                }
                () = tokio::time::sleep_until(self.deadline) => {
                    return Err(match refused {
                        Some(why) => Failure::new(Exit::Refused, why),
                        None => Failure::new(
                            Exit::Unreachable,
                            format!("no link with {target} within {:?}", self.timeout),
                        ),
                    });
                }
            };
            match event {
                Some(NodeEvent::Up { node, .. }) if node != *target => {
                    seen.push(node);
                    if seen.len() >= seeds && !has_address {
                        let seen: Vec<_> = seen.iter().map(NodeId::as_str).collect();
                        return Err(Failure::new(
                            Exit::NotFound,
                            format!(
                                "the seeds lead to {}, not to {target}: give --address {target}=HOST:PORT",
                                seen.join(", ")
                            ),
                        ));
                    }
                }
                Some(NodeEvent::Refused { addr, reason, .. }) => {
                    refused = Some(refusal(&addr, &reason));
                    // a seed that refuses us will not change its mind within seconds
                    if seeds <= 1 && !has_address {
                        return Err(Failure::new(Exit::Refused, refused.unwrap_or_default()));
                    }
                }
                Some(_) => {}
                None => {
                    return Err(Failure::new(Exit::Failed, "the node has stopped"));
                }
            }
        }
    }

    /// What is left of the timeout, or its end.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = T>) -> Outcome<T> {
        tokio::time::timeout_at(self.deadline, work)
            .await
            .map_err(|_| {
                Failure::new(
                    Exit::Timeout,
                    format!("no answer within {:?}", self.timeout),
                )
            })
    }

    /// What is left of the timeout.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// A round trip through the mesh to that node: a port that never was is reported as such by the node itself. What
    /// was sent before to ports whose lanes are empty has arrived before.
    pub(crate) async fn round_trip(&self, node: &NodeId) -> Outcome<Duration> {
        let nobody = PortId::new(node.clone(), "round-trip".parse().or_exit(Exit::Failed)?);
        let began = Instant::now();
        let reason = self.within(self.node.monitor(&nobody).death()).await?;
        match reason.tag() {
            Some("no_such_port") => Ok(began.elapsed()),
            _ => Err(death(&nobody, &reason)),
        }
    }

    /// Stops in order: what is queued is transmitted first.
    pub(crate) async fn end(self) {
        self.node.shutdown(FLUSH).await;
    }
}

/// What is told of a refusal.
fn refusal(addr: &str, reason: &str) -> String {
    format!("refused by or at {addr}: {reason}")
}

/// The next event, if there is one already.
async fn next_now(events: &mut Events) -> Option<NodeEvent> {
    tokio::select! {
        biased;
        event = events.next() => event,
        () = std::future::ready(()) => None,
    }
}

/// What `work` brings, unless the port is dead by then.
pub(crate) async fn unless_dead<T>(
    port: &PortId,
    mut dead: Pin<&mut impl Future<Output = Reason>>,
    work: impl Future<Output = Outcome<T>>,
) -> Outcome<T> {
    let done = tokio::select! {
        biased;
        reason = &mut dead => return Err(death(port, &reason)),
        done = work => done?,
    };
    // a death that was told before the answer may have come between the two looks
    tokio::select! {
        biased;
        reason = &mut dead => Err(death(port, &reason)),
        () = std::future::ready(()) => Ok(done),
    }
}

/// The failure that a death with that reason is.
pub(crate) fn death(port: &PortId, reason: &Reason) -> Failure {
    call_failure(port, CallError::from_reason(reason.clone()))
}

/// The failure that an error of a call is.
pub(crate) fn call_failure(port: &PortId, error: CallError) -> Failure {
    let exit = match error {
        CallError::NoSuchPort => Exit::NotFound,
        CallError::Died(ref reason) if reason.tag() == Some("no_such_function") => Exit::NotFound,
        CallError::Died(_) => Exit::Died,
        CallError::Unreachable { .. } => Exit::Unreachable,
        CallError::Refused { .. } => Exit::Refused,
        CallError::Deadline(_) => Exit::Timeout,
        _ => Exit::Failed,
    };
    Failure {
        exit,
        error: anyhow::Error::from(error).context(port.to_string()),
    }
}

/// A link as JSON.
pub(crate) fn link_json(link: &LinkInfo) -> serde_json::Value {
    serde_json::json!({
        "node": link.node, "incarnation": link.incarnation.to_string(), "addr": link.addr,
        "initiator": link.initiator, "mode": mode_text(link.mode), "security": link.security, "proof": link.proof,
        "format": link.format,
    })
}

/// `certificate` or `secret`.
pub(crate) fn mode_text(mode: Mode) -> &'static str {
    match mode {
        Mode::Certificate => "certificate",
        Mode::Secret => "secret",
    }
}
