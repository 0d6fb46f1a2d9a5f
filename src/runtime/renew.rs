//! What proves who is at the ends of links, while they are up: renewed by RENEW, judged again when what is accepted
//! changes, and the end of the link when it is accepted no more.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    NodePorts,
    auth::{Basis, LinkProof, Renew, Secrets, secret_text},
    driver::Event,
    events::NodeEvent,
    links::LinkHandle,
    mesh::Mesh,
    shared::{Shared, Stage, clean},
    transport::{Mode, Signed},
};
use crate::proto::{
    close::CloseReason,
    node::{peer::Reply, session::RENEW_BYTES_MAX},
};

/// After the secrets have changed peers have so long to prove that they have one that is accepted, before their links end.
const GRACE: Duration = Duration::from_secs(5);
/// How often the expiry of proofs is looked at.
const TICK: Duration = Duration::from_secs(2);
/// How often every proof is judged as if it had just come, whatever has changed or not.
const JUDGE: Duration = Duration::from_secs(60);
/// RENEWs of one peer: so many at once, and then one each [`RENEW_PAUSE`].
const RENEW_BURST: u32 = 16;
const RENEW_PAUSE: Duration = Duration::from_secs(1);

impl<P: NodePorts> Mesh<P> {
    /// Replaces the secrets: handshakes that begin from now on use and accept the new ones, and this node proves over
    /// each link that it has the current one. Links of peers that have not proved one that is accepted end within 10 s.
    /// `false`: this node has no secret, and takes none.
    pub fn set_secrets(&self, secrets: Secrets) -> bool {
        let taken = self.shared.auth.set_secrets(secrets);
        if taken {
            self.credentials_changed();
        }
        taken
    }

    /// News that certificates or secrets of this node were replaced.
    pub fn renewals(&self) -> watch::Receiver<()> {
        self.shared.renewed.subscribe()
    }

    /// The transport's certificates were replaced: this node proves over each link what it has now. Links of peers whose
    /// certificate is not acceptable any more end within 10 s.
    pub fn credentials_changed(&self) {
        self.shared.renewed.send_replace(());
    }
}

/// Watches over the proofs of all links until the node stops.
pub(super) fn start<P: NodePorts>(shared: &Arc<Shared<P>>) {
    let shared = shared.clone();
    let mut stage = shared.stage.subscribe();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            _ = stage.wait_for(|stage| *stage >= Stage::Closing) => {}
            () = run(&shared) => {}
        }
    });
}

async fn run<P: NodePorts>(shared: &Arc<Shared<P>>) {
    let mut changed = shared.renewed.subscribe();
    let mut judge = Instant::now() + JUDGE;
    loop {
        tokio::select! {
            told = changed.changed() => {
                if told.is_err() {
                    return;
                }
                for handle in shared.links.all() {
                    renew(shared, &handle);
                    if matches!(handle.proof().basis, Basis::Certificate(_)) {
                        end_if_unproven(shared, &handle);
                    }
                }
                judge = judge.min(Instant::now() + GRACE);
            }
            () = sleep_until((Instant::now() + TICK).min(judge)) => {
                let all = judge <= Instant::now();
                if all {
                    judge = Instant::now() + JUDGE;
                }
                let now = SystemTime::now();
                for handle in shared.links.all() {
                    if all || handle.proof().expires.is_some_and(|at| at <= now) {
                        end_if_unproven(shared, &handle);
                    }
                }
            }
        }
    }
}

/// What this node has proved over a link that has just come up may have been replaced since the handshake began, and so
/// may what the peer has. `Err`: the link has to end.
pub(super) fn begin<P: NodePorts>(
    shared: &Shared<P>,
    handle: &LinkHandle,
) -> Result<(), CloseReason> {
    if shared.generations() == handle.facts.generations {
        return Ok(());
    }
    renew(shared, handle);
    // nothing was sent over it yet: a peer that has what is accepted now is linked again in a moment
    judge(shared, handle)
}

/// Proves over a link what this node has now.
fn renew<P: NodePorts>(shared: &Shared<P>, handle: &LinkHandle) {
    let facts = &handle.facts;
    if !facts.renew {
        return;
    }
    let body = match facts.mode {
        Mode::Secret => {
            let Some(secrets) = shared.auth.secrets() else {
                return;
            };
            let body = facts.binding.prove(secrets.current(), false);
            body.map_err(|error| error.to_string())
        }
        Mode::Certificate => {
            let words = |certificate: &[u8]| facts.binding.own_words(certificate);
            let certificates = shared.transport.certificates();
            match certificates.and_then(|certificates| certificates.sign(&words)) {
                Some(signed) => signed.map(|signed| encode(&signed)),
                None => return,
            }
        }
    };
    match body {
        Ok(body) if body.len() + 64 <= facts.peer_frame_bytes_max.min(RENEW_BYTES_MAX) => {
            say(shared, handle, body);
        }
        Ok(body) => tracing::error!(
            peer_node = %facts.node, bytes = body.len(),
            "this node's certificate is too long to be renewed over the link, which ends when the former one expires"
        ),
        Err(error) => tracing::error!(peer_node = %facts.node, %error, "nothing can be proved"),
    }
}

fn encode(signed: &Signed) -> Vec<u8> {
    Renew::Certificate {
        scheme: signed.scheme,
        signature: &signed.signature,
        chain: signed.chain.iter().map(Vec::as_slice).collect(),
    }
    .encode()
}

fn say<P: NodePorts>(shared: &Shared<P>, handle: &LinkHandle, body: Vec<u8>) {
    let facts = &handle.facts;
    let wake = handle
        .cell
        .lock()
        .peer
        .reply(facts.link, Reply::Renew(body));
    shared.wake(&handle.cell, &facts.node, wake);
}

/// How many RENEWs a peer may send. One a link.
#[derive(Debug)]
pub(super) struct Measure {
    left: u32,
    since: Duration,
}

impl Measure {
    pub(super) fn new(mono: Duration) -> Self {
        Measure {
            left: RENEW_BURST,
            since: mono,
        }
    }

    fn take(&mut self, mono: Duration) -> bool {
        let past = mono.saturating_sub(self.since);
        let more = (past.as_millis() / RENEW_PAUSE.as_millis()) as u32;
        self.left = self.left.saturating_add(more).min(RENEW_BURST);
        self.since += RENEW_PAUSE * more;
        let taken = self.left.checked_sub(1);
        self.left = taken.unwrap_or(0);
        taken.is_some()
    }
}

/// The body of a RENEW came. `Err`: it is none, or one too many. A proof that is not acceptable changes nothing: what was
/// proved before holds as long as it does.
pub(super) fn handle<P: NodePorts>(
    shared: &Shared<P>,
    handle: &LinkHandle,
    measure: &mut Measure,
    body: &[u8],
) -> Result<(), CloseReason> {
    let wrong = |text: &str| CloseReason::Protocol(text.to_owned());
    if !measure.take(shared.clock.now().mono) {
        return Err(wrong("more RENEWs than one a second"));
    }
    let facts = &handle.facts;
    match (facts.mode, Renew::decode(body).map_err(wrong)?) {
        (Mode::Secret, Renew::Secret { answers, tag }) => {
            let Some(secrets) = shared.auth.secrets() else {
                return Ok(());
            };
            let Some(secret) = facts.binding.find(&secrets, answers, tag) else {
                refused(
                    shared,
                    handle,
                    "the peer proves a secret that this node does not accept",
                );
                return Ok(());
            };
            if !answers && let Ok(body) = facts.binding.prove(secret, true) {
                say(shared, handle, body);
            }
            let id = Some(secret.id());
            let proof = LinkProof {
                text: secret_text(&facts.shown, id),
                expires: None,
                basis: Basis::Secret(id),
            };
            accepted(shared, handle, proof);
        }
        (
            Mode::Certificate,
            Renew::Certificate {
                scheme,
                signature,
                chain,
            },
        ) => {
            let signed = Signed {
                chain: chain.into_iter().map(<[u8]>::to_vec).collect(),
                scheme,
                signature: signature.to_vec(),
            };
            let words = signed
                .chain
                .first()
                .map(|der| facts.binding.peer_words(der));
            let verified = match (shared.transport.certificates(), words) {
                (Some(certificates), Some(words)) => certificates.verify(&signed, &words),
                _ => Err("there is nothing to verify it by".to_owned()),
            };
            match verified {
                Ok(certified) if certified.node == facts.node => {
                    let proof = LinkProof {
                        text: certified.proof,
                        expires: Some(certified.expires),
                        basis: Basis::Certificate(signed.chain),
                    };
                    accepted(shared, handle, proof);
                }
                Ok(certified) => {
                    let text = format!("the certificate is for {}", certified.node);
                    refused(shared, handle, &text);
                }
                Err(text) => refused(shared, handle, &text),
            }
        }
        _ => return Err(wrong("a RENEW of the other mode")),
    }
    Ok(())
}

fn accepted<P: NodePorts>(shared: &Shared<P>, handle: &LinkHandle, proof: LinkProof) {
    if handle.proof() == proof {
        return;
    }
    let node = &handle.facts.node;
    shared.counters.renewed.add(1);
    tracing::info!(peer_node = %node, proof = %proof.text, "the peer has proved itself anew");
    shared.emit(NodeEvent::Renewed {
        node: node.clone(),
        proof: proof.text.clone(),
        expires: proof.expires,
    });
    handle.set_proof(proof);
}

fn refused<P: NodePorts>(shared: &Shared<P>, handle: &LinkHandle, text: &str) {
    shared.counters.renewals_refused.add(1);
    let (node, now) = (&handle.facts.node, shared.clock.now().mono);
    if let Some(untold) = shared.refusals.take(node.as_str(), now) {
        let reason = clean(text);
        tracing::warn!(peer_node = %node, %reason, untold, "a new proof of the peer is refused, the former one holds");
    }
}

/// Whether what proves the peer is acceptable now.
fn judge<P: NodePorts>(shared: &Shared<P>, handle: &LinkHandle) -> Result<(), CloseReason> {
    let unproven = |text: String| Err(CloseReason::Unproven(text));
    match &handle.proof().basis {
        Basis::Certificate(chain) => match shared.transport.certificates() {
            Some(certificates) => certificates.check(chain).or_else(unproven),
            None => Ok(()),
        },
        Basis::Secret(Some(id)) => match shared.auth.secrets() {
            Some(secrets) if !secrets.accepts(*id) => {
                unproven(format!("the secret {id} is not accepted any more"))
            }
            _ => Ok(()),
        },
        Basis::Secret(None) => Ok(()),
    }
}

fn end_if_unproven<P: NodePorts>(shared: &Shared<P>, handle: &LinkHandle) {
    if let Err(reason) = judge(shared, handle) {
        shared.counters.unproven.add(1);
        tracing::warn!(peer_node = %handle.facts.node, %reason, "the link ends");
        shared.tell_driver(Event::End(handle.facts.link, reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_a_burst_and_then_one_a_second() {
        let start = Duration::from_secs(7);
        let mut measure = Measure::new(start);
        let burst = (0..100).filter(|_| measure.take(start)).count();
        assert_eq!(burst, RENEW_BURST as usize);
        let seconds = |n: u64| start + Duration::from_millis(n * 500);
        let after: Vec<bool> = (1..=6).map(|n| measure.take(seconds(n))).collect();
        assert_eq!(after, [false, true, false, true, false, true]);
        // what is not used does not add up
        let late = start + Duration::from_secs(86_400);
        assert_eq!((0..100).filter(|_| measure.take(late)).count(), 16);
    }
}
