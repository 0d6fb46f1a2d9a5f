//! The flags that subcommands share: who this node is, how it proves it, and where the mesh is.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::{
    ConfigOrigin, NodePattern, PortId,
    api::config::{
        keys,
        layers::{Environment, Layers, PROFILE_VARIABLE, Places, Said, Settings},
        value::{self, Setting},
    },
    cli::{
        exit::{Exit, Failure, OrExit, Outcome},
        log::LogArgs,
    },
};

/// Which configuration holds.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct ConfigArgs {
    /// A configuration file in place of the system's and the user's [env: PORTMESH_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Profile of the configuration, [profile.NAME] in its files [env: PORTMESH_PROFILE]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
}

/// How the node of this command proves that it belongs to the mesh.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Identity")]
pub(crate) struct IdentityArgs {
    /// Name of this node; %n is the host name, %u a random text [env: PORTMESH_ID]
    #[arg(long, value_name = "NODE")]
    pub(crate) id: Option<String>,
    /// Certificate mode: a PEM file with this node's certificate and key and the CA's certificate [env:
    /// PORTMESH_IDENTITY]
    #[arg(long, value_name = "FILE", conflicts_with = "secret_file")]
    pub(crate) identity: Option<PathBuf>,
    /// Certificate mode: a file with CRLs besides those in the identity file [env: PORTMESH_CRL]
    #[arg(long, value_name = "FILE")]
    pub(crate) crl: Option<PathBuf>,
    /// Secret mode: a file with the secrets of the mesh (see portmesh secret), - for the standard input. Without it and
    /// without --identity the variable PORTMESH_SECRET is read. Secrets are never flags: every user of a host sees the
    /// flags of a process [env: PORTMESH_SECRET_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Take what is no generated secret for a passphrase, of 20 characters or more. A generated secret is better: whoever
    /// answers in place of a node that is dialled can test guesses of a passphrase [env: PORTMESH_ALLOW_PASSPHRASE]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) allow_passphrase: Option<bool>,
    /// Name of the mesh: nodes of another one are refused [default: what the certificate says, or portmesh] [env:
    /// PORTMESH_CLUSTER]
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// Secret mode: where this node keeps its key and the keys it has seen of others. Needed for an ID without %u [env:
    /// PORTMESH_STATE]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Formats of messages, the preferred one first [default: cbor,json] [env: PORTMESH_FORMAT]
    #[arg(long, value_name = "FORMAT,…", value_delimiter = ',', value_parser = format_name)]
    pub(crate) format: Vec<String>,
}

/// Whether passphrases count as secrets.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct PassphraseArgs {
    /// Take what is no generated secret for a passphrase, of 20 characters or more. A generated secret is better: whoever
    /// answers in place of a node that is dialled can test guesses of a passphrase
    #[arg(long, env = "PORTMESH_ALLOW_PASSPHRASE")]
    pub(crate) allow_passphrase: bool,
}

impl PassphraseArgs {
    /// What passphrases are stretched with, where they are allowed.
    pub(crate) fn of(self, cluster: &str) -> Option<&str> {
        self.allow_passphrase.then_some(cluster)
    }
}

/// Where other nodes are.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Mesh")]
pub(crate) struct MeshArgs {
    /// An address of the mesh, port 4040 if it has none; may be given several times [env: PORTMESH_SEED]
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) seed: Vec<String>,
    /// Where a node is, port 4040 if it has none; may be given several times [env: PORTMESH_ADDRESS]
    #[arg(long, value_name = "NODE=HOST[:PORT]", value_parser = address)]
    pub(crate) address: Vec<String>,
}

/// What a node that runs is besides.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Node")]
pub(crate) struct NodeArgs {
    /// Where to listen: * as host for every local address, * as port for one that the system picks, 4040 if there is none;
    /// may be given several times [env: PORTMESH_LISTEN]
    #[arg(long, value_name = "HOST[:PORT]")]
    listen: Vec<String>,
    /// Where others reach this node, if not where it listens (address translation, containers); may be given several times
    /// [env: PORTMESH_ADVERTISE]
    #[arg(long, value_name = "HOST[:PORT]")]
    advertise: Vec<String>,
    /// Be a global node, or with =false do not be one [default: it is one when it has no seed but itself] [env:
    /// PORTMESH_GLOBAL]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    global: Option<bool>,
    /// Take nodes of these IDs for global nodes when they say that they are, besides those that answer at the seeds; * stands
    /// for any characters; may be given several times [env: PORTMESH_TRUST_GLOBAL]
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    trust_global: Vec<String>,
    /// Start this function with the node, or with arguments: '["NAME", ARGUMENT, …]'; may be given several times [env:
    /// PORTMESH_SERVICES]
    #[arg(long, value_name = "NAME")]
    service: Vec<String>,
    /// Who may do what here, a TOML file (see portmesh policy) [default: members may send, call, monitor, spawn what there is,
    /// kill what they spawned, and read and write the database] [env: PORTMESH_POLICY]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Let every member of the mesh administer this node: set and remove entries of the database that it owns (portmesh db set
    /// --on, portmesh db remove), and have its files reread (portmesh reload). The same as a rule with admin = true for everybody in the policy, where single nodes can be
    /// named; without either nobody can [env: PORTMESH_DB_ADMIN]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    db_admin: Option<bool>,
    /// How long to go on transmitting at the end [default: 5] [env: PORTMESH_FLUSH]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    flush: Option<Duration>,
}

/// For the commands that do one thing to a node and end.
#[derive(Debug, Clone, Args)]
pub(crate) struct RemoteArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    pub(crate) mesh: MeshArgs,
    /// How long the command may take: 5, 1.5, 300ms, 2m [default: 5 s; a wait for a death has no end]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

/// For every command.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Print JSON, one object a line, with all that the text says
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing on the standard error but errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// A port ID, or a node ID for the node's own port.
pub(crate) fn port_id(text: &str) -> Result<PortId, String> {
    text.parse()
        .map_err(|e| format!("{e} (expected NODE or NODE#PORT)"))
}

/// What the address itself may be is the transport's to say, when the node starts.
fn address(text: &str) -> Result<String, String> {
    value::address(text).map(|_| text.to_owned())
}

fn pattern(text: &str) -> Result<String, String> {
    let pattern = text.parse::<NodePattern>();
    pattern.map(|_| text.to_owned()).map_err(|e| e.to_string())
}

fn format_name(text: &str) -> Result<String, String> {
    match text {
        "cbor" | "json" => Ok(text.to_owned()),
        _ => Err(format!("no format {text:?}: there are cbor and json")),
    }
}

/// `5`, `1.5`, `1.5s`, `300ms`, `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match value::time(text) {
        Ok(time) if time.is_zero() => Err(format!("{text:?} is not a usable time")),
        time => time,
    }
}

/// What flags say, key by key.
#[derive(Debug, Default)]
pub(crate) struct Flags(Said);

impl Flags {
    fn add(&mut self, name: &str, setting: Option<Setting>) {
        let key = keys::find(name).and_then(|key| Some((key, key.flag?)));
        if let (Some((key, flag)), Some(setting)) = (key, setting) {
            self.0
                .push((key, setting, ConfigOrigin::Flag(flag.to_owned())));
        }
    }

    fn add_list(&mut self, name: &str, list: &[String]) {
        let setting = (!list.is_empty()).then(|| Setting::List(list.to_vec()));
        self.add(name, setting);
    }

    pub(crate) fn identity(mut self, args: &IdentityArgs) -> Self {
        self.add("id", args.id.clone().map(Setting::Text));
        self.add("identity", args.identity.clone().map(Setting::Path));
        self.add("crl", args.crl.clone().map(Setting::Path));
        self.add("secret_file", args.secret_file.clone().map(Setting::Path));
        self.add("allow_passphrase", args.allow_passphrase.map(Setting::Bool));
        self.add("cluster", args.cluster.clone().map(Setting::Text));
        self.add_list("format", &args.format);
        self.state(args.state.clone())
    }

    pub(crate) fn state(mut self, state: Option<PathBuf>) -> Self {
        self.add("state", state.map(Setting::Path));
        self
    }

    pub(crate) fn mesh(mut self, args: &MeshArgs) -> Self {
        self.add_list("seed", &args.seed);
        self.add_list("address", &args.address);
        self
    }

    pub(crate) fn node(mut self, args: &NodeArgs) -> Outcome<Self> {
        self.add_list("listen", &args.listen);
        self.add_list("advertise", &args.advertise);
        self.add("global", args.global.map(Setting::Bool));
        self.add_list("trust_global", &args.trust_global);
        if !args.service.is_empty() {
            let services = args.service.iter().map(|text| value::one_service(text));
            let services = services.collect::<Result<_, _>>();
            let services =
                services.map_err(|e| Failure::new(Exit::Usage, format!("--service: {e}")));
            self.add("services", Some(Setting::Services(services?)));
        }
        self.add("policy", args.policy.clone().map(Setting::Path));
        self.add("db_admin", args.db_admin.map(Setting::Bool));
        self.add("flush", args.flush.map(Setting::Time));
        Ok(self)
    }

    pub(crate) fn log(mut self, args: &LogArgs) -> Self {
        self.add("log", args.log.clone().map(Setting::Text));
        let form = args
            .log_format
            .map(|form| Setting::Text(form.name().to_owned()));
        self.add("log_format", form);
        self
    }
}

impl ConfigArgs {
    /// The files, read and checked.
    pub(crate) fn layers(&self, environment: &Environment) -> Outcome<Layers> {
        Layers::read(Places::of(self.config.as_deref(), environment)).or_exit(Exit::Config)
    }

    /// What holds with these flags. A node that runs has the profile of its host's name, if there is one, where none is
    /// named.
    pub(crate) fn settings(&self, flags: Flags, runs: bool) -> Outcome<Settings> {
        let environment = Environment::of_process();
        let layers = self.layers(&environment)?;
        self.resolve(&layers, &environment, flags, runs)
    }

    pub(crate) fn resolve(
        &self,
        layers: &Layers,
        environment: &Environment,
        flags: Flags,
        runs: bool,
    ) -> Outcome<Settings> {
        let host = crate::api::config::host_profile();
        let named = self.profile.as_deref();
        let profile = match named.or_else(|| environment.get(PROFILE_VARIABLE)) {
            Some(name) => {
                layers.require(name).or_exit(Exit::Config)?;
                Some(name)
            }
            None => Some(host.as_str()).filter(|host| runs && layers.profiles().contains(host)),
        };
        layers
            .resolve(profile, environment, flags.0)
            .or_exit(Exit::Config)
    }
}

impl RemoteArgs {
    /// What holds for the node of the command.
    pub(crate) fn settings(&self) -> Outcome<Settings> {
        let flags = Flags::default().identity(&self.identity).mesh(&self.mesh);
        self.config.settings(flags, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_units() {
        for (text, ms) in [("5", 5000), ("1.5", 1500), ("300ms", 300), ("2m", 120_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "x", "5y", "0", "-1", "1e9s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_name_a_node_and_a_place() {
        assert!(address("a/b=host:4040").is_ok());
        assert!(address("a/b=host").is_ok());
        for text in ["a", "a=", "=host:1", "a b=host:1"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
