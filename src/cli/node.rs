//! The node of a command, made from flags; and what links and failures are in words, JSON and exit codes.

use std::{
    io::Read,
    pin::Pin,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    CallError, DEFAULT_CLUSTER, DbError, Format, LinkInfo, Mode, Node, NodeBuilder, NodeId, PortId,
    Reason, Secrets, WriteRefused,
    api::config::{
        apply::{BoxError, apply, passphrases, secrets_of_file},
        keys::PROOFS,
        layers::{SECRET_VARIABLE, Settings},
    },
    cli::{
        exit::{Exit, Failure, OrExit, Outcome},
        output::Output,
    },
};

const SECRET_BYTES_MAX: u64 = 4096;

/// A builder with all that the configuration, the environment and the flags say. Without an ID and a certificate the
/// default one is taken.
pub(crate) fn builder(settings: &Settings, default_id: &str) -> Outcome<NodeBuilder> {
    let proved = PROOFS.iter().any(|key| settings.get(key).is_some());
    let base = Node::builder(default_id);
    let base = if proved {
        base
    } else {
        base.secret(secrets_of_environment(settings)?)
    };
    apply(settings, base, |path, passphrases| {
        match path.as_os_str() == "-" {
            true => secrets_of_stdin(passphrases),
            false => secrets_of_file(path, passphrases),
        }
    })
    .or_exit(Exit::Config)
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

fn secrets_of_stdin(passphrases: Option<&str>) -> Result<Secrets, BoxError> {
    let mut text = zeroize::Zeroizing::new(String::new());
    std::io::stdin()
        .take(SECRET_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|e| format!("reading the secret from the standard input: {e}"))?;
    Ok(Secrets::from_text(
        &text,
        "the standard input",
        passphrases,
    )?)
}

fn secrets_of_environment(settings: &Settings) -> Outcome<Secrets> {
    if std::env::var_os(SECRET_VARIABLE).is_some_and(|text| !text.is_empty()) {
        let passphrases = passphrases(settings, DEFAULT_CLUSTER);
        return Secrets::from_env(SECRET_VARIABLE, passphrases).or_exit(Exit::Config);
    }
    Err(Failure::new(
        Exit::Config,
        "nothing proves who this node is: give --identity FILE (certificate) or --secret-file FILE, set PORTMESH_SECRET, \
         or configure identity or secret_file",
    ))
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
    let names_it = matches!(error, CallError::Unreachable { .. }) && port.name().is_node_port();
    let error = anyhow::Error::from(error);
    let error = if names_it {
        error
    } else {
        error.context(port.to_string())
    };
    Failure { exit, error }
}

/// The failure that an error of the database is.
pub(crate) fn db_failure(error: DbError) -> Failure {
    let exit = match &error {
        DbError::Refused(
            WriteRefused::BadFamily(_)
            | WriteRefused::SystemFamily(_)
            | WriteRefused::BadKey { .. }
            | WriteRefused::ValueTooLarge { .. }
            | WriteRefused::NotEncodable(_),
        ) => Exit::Usage,
        DbError::Refused(_) | DbError::NotPermitted(_) => Exit::Refused,
        DbError::NoAnswer(_) => Exit::Timeout,
        _ => Exit::Failed,
    };
    Failure {
        exit,
        error: error.into(),
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Says that this node has another home, or none.
pub(crate) fn tell_home(home: Option<&NodeId>, out: Output) {
    let human = match home {
        Some(home) => format!("home: {home}"),
        None => "home: none; another one is looked for".to_owned(),
    };
    out.data(human, &serde_json::json!({"event": "home", "node": home}));
}

/// What proved who is at the other end of a link, and in which mode.
pub(crate) fn proof_text(link: &LinkInfo) -> String {
    let (mode, proof) = (mode_text(link.mode), &link.proof);
    if proof.starts_with(mode) {
        proof.clone()
    } else {
        format!("{mode}: {proof}")
    }
}

/// A link as JSON.
pub(crate) fn link_json(link: &LinkInfo) -> serde_json::Value {
    serde_json::json!({
        "node": link.node, "incarnation": link.incarnation.to_string(), "addr": link.addr,
        "initiator": link.initiator, "mode": mode_text(link.mode), "security": link.security, "proof": link.proof, "expires_s": link.expires.map(unix_seconds),
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
