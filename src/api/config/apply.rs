//! What a configuration says, put into a node's builder in place of what was there.

use std::path::Path;

use super::{
    error::ConfigError,
    keys::PROOFS,
    layers::Settings,
    limits,
    value::{self, Setting},
};
use crate::{
    api::builder::NodeBuilder,
    proto::{
        codec::Format,
        handshake::{DEFAULT_CLUSTER, Secrets},
        message::Raw,
    },
    transport::tls::State,
};

/// Any error of a file.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Reads the secrets of a file.
pub(crate) fn secrets_of_file(path: &Path, passphrases: Option<&str>) -> Result<Secrets, BoxError> {
    Ok(Secrets::from_file(path, passphrases)?)
}

/// The cluster that passphrases are stretched with, where they are allowed.
pub(crate) fn passphrases<'a>(settings: &'a Settings, cluster: &'a str) -> Option<&'a str> {
    let allowed = settings.flag("allow_passphrase") == Some(true);
    allowed.then(|| settings.text("cluster").unwrap_or(cluster))
}

/// Each key that somebody set replaces what the builder has of it. Without the key `id` a certificate names the node.
pub(crate) fn apply(
    settings: &Settings,
    mut builder: NodeBuilder,
    secrets: impl Fn(&Path, Option<&str>) -> Result<Secrets, BoxError>,
) -> Result<NodeBuilder, ConfigError> {
    if PROOFS.iter().any(|key| settings.get(key).is_some()) {
        builder.identity = None;
        builder.secrets = None;
        builder.sources.identity = None;
        builder.sources.secrets = None;
    }
    for (key, setting, origin) in settings.iter() {
        let unusable = |key, source| ConfigError::Unusable {
            key,
            origin: origin.clone(),
            source,
        };
        match (key, setting) {
            ("id", Setting::Text(id)) => builder.name = id.clone(),
            ("cluster", Setting::Text(cluster)) => builder.cluster = Some(cluster.clone()),
            ("identity", Setting::Path(path)) => {
                let read = builder.identity_file(path);
                builder = read.map_err(|e| unusable("identity", e.into()))?;
                if let (None, Some(identity)) = (settings.get("id"), &builder.identity) {
                    builder.name = identity.node().to_string();
                }
            }
            ("crl", Setting::Path(path)) => {
                let read = builder.crl_file(path);
                builder = read.map_err(|e| unusable("crl", e.into()))?;
            }
            ("secret_file", Setting::Path(path)) => {
                let cluster = builder.cluster.as_deref().unwrap_or(DEFAULT_CLUSTER);
                let passphrases = passphrases(settings, cluster).map(str::to_owned);
                builder.stamps.note(path);
                let secrets = secrets(path, passphrases.as_deref());
                builder.secrets = Some(secrets.map_err(|e| unusable("secret_file", e))?);
                if path.as_os_str() != "-" {
                    builder.sources.secrets = Some((path.clone(), passphrases));
                }
            }
            ("state", Setting::Path(path)) => builder.state = State::Directory(path.clone()),
            ("format", Setting::List(names)) => {
                let json = |name: &String| match name.as_str() {
                    "json" => Format::json(),
                    _ => Format::cbor(),
                };
                builder.formats = names.iter().map(json).collect();
            }
            ("listen", Setting::List(list)) => builder.listen = list.clone(),
            ("advertise", Setting::List(list)) => builder.advertise = list.clone(),
            ("seed", Setting::List(list)) => builder.seeds = list.clone(),
            ("address", Setting::List(list)) => {
                builder.addresses.clear();
                for text in list {
                    let (node, addr) =
                        value::address(text).map_err(|e| unusable("address", e.into()))?;
                    builder = builder.address(node, addr);
                }
            }
            ("global", Setting::Bool(global)) => builder.global = Some(*global),
            ("trust_global", Setting::List(patterns)) => {
                let patterns = patterns.iter().map(|pattern| pattern.parse());
                let patterns: Result<_, _> = patterns.collect();
                builder.trusted = patterns.map_err(|e: crate::proto::id::ParseIdError| {
                    unusable("trust_global", e.into())
                })?;
            }
            ("policy", Setting::Path(path)) => {
                let read = builder.policy_file(path);
                builder = read.map_err(|e| unusable("policy", e.into()))?;
            }
            ("services", Setting::Services(services)) => {
                builder.services.clear();
                for service in services {
                    builder = builder.service(&service.name, Raw(service.args.clone()));
                }
            }
            (key, setting) if key.starts_with("limits.") => {
                let mut limits = builder.limits.unwrap_or_default();
                limits::set(&mut limits, key, setting);
                builder.limits = Some(limits);
            }
            // of the command, or read with another key
            _ => {}
        }
    }
    Ok(builder)
}
