//! `portmesh-cert inspect`: what a file says, or what a node shows to whoever connects.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value as Json, json};

use crate::{
    Mode, TrustBundle,
    ca::utc_text,
    cli::{
        args::duration,
        block_on,
        exit::{Exit, Failure, OrExit, Outcome},
        node::mode_text,
        output::{Output, plain},
    },
    inspect::{self, CertificateFacts, Item, LiveError, Shown},
};

/// Print what is in a file with keys, certificates, requests or revocations, or what a node shows
///
/// Of a file nothing is verified but the signature of a request; verify does that. A node is given as HOST:PORT: this
/// connects as a stranger, without a certificate, prints what the node shows, and trusts none of it; the node logs that.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file, or HOST:PORT of a node
    target: String,
    /// Of a node: verify the certificate with these CAs and revocations, a file or a CA's directory
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Of a node: how long this may take
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    timeout: Duration,
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    let path = Path::new(&args.target);
    if path.exists() || !is_address(&args.target) {
        if args.ca.is_some() {
            let text =
                "--ca is for nodes; a file is verified with `portmesh-cert verify FILE --ca FILE`";
            return Err(Failure::new(Exit::Usage, text));
        }
        let items = inspect::read_file(path).or_exit(Exit::Config)?;
        for item in &items {
            let (human, mut json) = told(item, &items);
            add(&mut json, "file", json!(args.target));
            out.data(human, &json);
        }
        return Ok(());
    }
    // before anything is dialled
    let trust = args.ca.as_deref().map(TrustBundle::from_path).transpose();
    let trust = trust.or_exit(Exit::Config)?;
    block_on(async move {
        let shown = inspect::look(&args.target, args.timeout).await;
        let shown = shown.map_err(|e| Failure {
            exit: match &e {
                LiveError::Timeout { .. } => Exit::Timeout,
                LiveError::Setup(_) => Exit::Failed,
                _ => Exit::Unreachable,
            },
            error: e.into(),
        })?;
        live(&args.target, &shown, trust.as_ref(), out)
    })
}

/// `host:port`; a host alone could be the name of a file that is missing.
fn is_address(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn live(addr: &str, shown: &[Shown], trust: Option<&TrustBundle>, out: Output) -> Outcome {
    let of = |mode: Mode| shown.iter().find(|shown| shown.mode == mode);
    let is_node = shown.iter().any(|shown| shown.is_node);
    let (certificate, secret) = (of(Mode::Certificate), of(Mode::Secret));
    let mut human = match (is_node, certificate.is_some(), secret.is_some()) {
        (true, true, true) => format!("{addr} takes certificates and secrets"),
        (true, true, false) => format!("{addr} takes certificates, and no secrets"),
        (true, false, _) => format!("{addr} takes secrets only: it has no certificate"),
        (false, true, _) | (false, _, true) => {
            format!("{addr} is no Portmesh node: it did not agree to its protocol (ALPN)")
        }
        (false, false, false) => {
            let text = format!(
                "{addr} takes neither certificates nor secrets of Portmesh: it is no node of it"
            );
            return Err(Failure::new(Exit::Unreachable, text));
        }
    };
    let security = shown.iter().find_map(|shown| shown.security.as_deref());
    let resolved = shown.first().map(|shown| shown.addr.as_str());
    if let Some(security) = security {
        human.push_str(&format!(" ({security})"));
    }
    let key = secret.and_then(|shown| shown.key.as_deref());
    if let Some(key) = key {
        human.push_str(&format!("; the key that it shows in secret mode: {key}"));
    }
    let modes = Vec::from_iter(
        shown
            .iter()
            .filter(|s| s.is_node)
            .map(|s| mode_text(s.mode)),
    );
    let chain = certificate.map_or(&[][..], |shown| &shown.chain);
    let verdict = match (trust, chain.is_empty()) {
        (Some(trust), false) => Some(inspect::verify_chain(chain, trust).or_exit(Exit::Refused)?),
        _ => None,
    };
    let checked = match &verdict {
        Some(verdict) if verdict.is_good() => "Its certificate is good for the CAs that you gave.".to_owned(),
        Some(verdict) => format!("Its certificate is NOT good: {}", plain(verdict.faults.join("; "))),
        None if chain.is_empty() => {
            "Nothing of this is verified: in secret mode the secret proves a node, which is not asked for here.".to_owned()
        }
        None => {
            "Nothing of this is verified, but that it has the certificate's key: anybody can show such a certificate. To \
             verify it say --ca FILE."
                .to_owned()
        }
    };
    out.data(
        format!("{human}\n{checked}"),
        &json!({
            "kind": "live", "addr": addr, "resolved": resolved, "is_node": is_node, "modes": modes, "security": security,
            "secret_mode_key": key, "verified": verdict.as_ref().map(inspect::Verdict::is_good),
            "faults": verdict.as_ref().map(|v| &v.faults), "warnings": verdict.as_ref().map(|v| &v.warnings),
        }),
    );
    for der in chain {
        let facts = inspect::certificate(der).map_err(|e| {
            Failure::new(Exit::Refused, format!("what it shows as certificate: {e}"))
        })?;
        let (human, mut json) = told(&Item::Certificate(Box::new(facts)), &[]);
        add(&mut json, "addr", json!(addr));
        out.data(human, &json);
    }
    match verdict {
        Some(verdict) if !verdict.is_good() => Err(Failure::new(
            Exit::Refused,
            format!("the certificate of {addr} is not good"),
        )),
        _ => Ok(()),
    }
}

fn add(json: &mut Json, field: &str, value: Json) {
    if let Some(fields) = json.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}

/// One item of a file, in both forms.
fn told(item: &Item, all: &[Item]) -> (String, Json) {
    let (head, rows, json) = match item {
        Item::Key(key) => (
            "private key".to_owned(),
            vec![("key", format!("{}, {}", key.kind, key.fingerprint))],
            json!({"kind": "key", "key_kind": key.kind, "key": key.fingerprint, "supported": key.supported}),
        ),
        Item::EncryptedKey => (
            "private key, encrypted: it shows nothing without its passphrase".to_owned(),
            Vec::new(),
            json!({"kind": "encrypted_key"}),
        ),
        Item::Certificate(cert) => certificate(cert, all),
        Item::Request(request) => (
            "request for a certificate, signed by its own key".to_owned(),
            vec![
                (
                    "asks for",
                    request.asks_for().unwrap_or("no name").to_owned(),
                ),
                (
                    "key",
                    format!("{}, {}", request.key_kind(), request.fingerprint()),
                ),
            ],
            json!({
                "kind": "request", "asked_for": request.asks_for(), "key_kind": request.key_kind(),
                "key": request.fingerprint(),
            }),
        ),
        Item::Crl(crl) => {
            let next = crl.next_update.map(utc_text);
            let mut rows = vec![
                ("issuer", crl.issuer.clone()),
                ("number", crl.number.to_string()),
                (
                    "made",
                    format!(
                        "{}, good until {}",
                        utc_text(crl.this_update),
                        next.as_deref().unwrap_or("the next one")
                    ),
                ),
            ];
            rows.extend(crl.revoked.iter().map(|r| {
                let (at, reason) = (utc_text(r.at), r.reason.as_str());
                ("revoked", format!("{} on {at}: {reason}", r.serial))
            }));
            let revoked = crl.revoked.iter().map(|r| {
                json!({"serial": r.serial.to_string(), "at": utc_text(r.at), "reason": r.reason.as_str()})
            });
            (
                format!("list of revocations with {} entries", crl.revoked.len()),
                rows,
                json!({
                    "kind": "crl", "issuer": crl.issuer, "number": crl.number,
                    "this_update": utc_text(crl.this_update), "next_update": next, "revoked": Vec::from_iter(revoked),
                }),
            )
        }
    };
    let rows = rows
        .iter()
        .map(|(name, text)| format!("  {name:8} {}", plain(text)));
    let lines = std::iter::once(plain(head)).chain(rows);
    (Vec::from_iter(lines).join("\n"), json)
}

type Rows = Vec<(&'static str, String)>;

fn certificate(cert: &CertificateFacts, all: &[Item]) -> (String, Rows, Json) {
    let mesh = cert.cluster.as_deref();
    let head = match (cert.is_ca, &cert.node, mesh) {
        (true, _, Some(mesh)) => format!("certificate of a CA of the mesh {mesh}"),
        (true, _, None) => "certificate of a CA".to_owned(),
        (false, Some(node), Some(mesh)) => {
            format!("certificate of the node {node} of the mesh {mesh}")
        }
        _ => "certificate that is none of a node".to_owned(),
    };
    let here = all
        .iter()
        .any(|item| matches!(item, Item::Key(key) if key.fingerprint == cert.key.fingerprint));
    let left = days_until(cert.not_after);
    let life = cert
        .not_after
        .duration_since(cert.not_before)
        .unwrap_or_default();
    let renewal = cert.not_after - life / 3;
    let due = days_until(renewal);
    let dates = match (left < 0.0, cert.is_ca) {
        (true, _) => format!("EXPIRED {:.1} days ago", -left),
        (false, true) => format!("{left:.1} days more"),
        (false, false) if due < 0.0 => format!("{left:.1} days more, to be renewed NOW"),
        (false, false) => format!("{left:.1} days more, to be renewed in {due:.1} days"),
    };
    let key = format!("{}, {}", cert.key.kind, cert.key.fingerprint);
    let mut rows = vec![
        ("subject", cert.subject.clone()),
        ("issuer", cert.issuer.clone()),
        ("serial", cert.serial.to_string()),
        (
            "valid",
            format!(
                "{} to {}: {dates}",
                utc_text(cert.not_before),
                utc_text(cert.not_after)
            ),
        ),
        (
            "key",
            if here {
                format!("{key}; its private half is in this file")
            } else {
                key
            },
        ),
        ("names", cert.names.join(", ")),
        ("usage", cert.usages.join(", ")),
        ("SHA-256", cert.sha256.clone()),
    ];
    rows.extend(cert.faults.iter().map(|fault| ("fault", fault.clone())));
    let json = json!({
        "kind": if cert.is_ca { "ca" } else { "certificate" }, "node": cert.node, "cluster": cert.cluster,
        "subject": cert.subject, "issuer": cert.issuer, "serial": cert.serial.to_string(), "names": cert.names,
        "usage": cert.usages, "valid_from": utc_text(cert.not_before), "expires": utc_text(cert.not_after),
        "not_after_s": seconds(cert.not_after), "valid_days": rounded(left),
        "renew_in_days": (!cert.is_ca).then(|| rounded(due)), "key_kind": cert.key.kind, "key": cert.key.fingerprint,
        "private_key_here": here, "sha256": cert.sha256, "faults": cert.faults,
    });
    (head, rows, json)
}

/// Negative when it has passed.
fn days_until(time: SystemTime) -> f64 {
    let day = 24.0 * 60.0 * 60.0;
    match time.duration_since(SystemTime::now()) {
        Ok(left) => left.as_secs_f64() / day,
        Err(passed) => -passed.duration().as_secs_f64() / day,
    }
}

fn rounded(days: f64) -> f64 {
    (days * 10.0).round() / 10.0
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
