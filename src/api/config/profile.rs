//! A node from a profile of the configuration.

use std::{fmt, path::PathBuf};

use super::{
    apply::{apply, passphrases, secrets_of_file},
    error::{ConfigError, ConfigOrigin},
    host_profile,
    keys::PROOFS,
    layers::{Environment, Layers, PROFILE_VARIABLE, Places, SECRET_VARIABLE, Settings},
};
use crate::{
    api::{
        builder::NodeBuilder, error::StartError, message::FromMessage, node::Node, spawn::InitFn,
    },
    proto::handshake::{DEFAULT_CLUSTER, Secrets},
    transport::tls::State,
};

/// Describes a node that is started from a profile of the configuration: [`Node::from_profile`]. Nothing is read and nothing
/// happens before [`start`](Self::start).
///
/// What the program says are [defaults](Self::defaults), which the configuration replaces key by key: a list of seeds in the
/// profile is used in place of the program's, not beside it. What is not to be configured is [forced](Self::forced).
#[must_use = "nothing is started before `.start().await`"]
pub struct ProfileBuilder {
    profile: Option<String>,
    config: Option<PathBuf>,
    environment: Option<Environment>,
    defaults: NodeBuilder,
    forced: NodeBuilder,
}

impl Node {
    /// Describes a node to be started from a profile of the configuration: see
    /// [the manual](crate::manual::configuration). `None` is the profile that `PORTMESH_PROFILE` names, else the one of the
    /// host's name. A profile that is in no file is an empty one, and a profile without an ID gives its name with `/%u`, or
    /// what the certificate says.
    ///
    /// ```no_run
    /// use portmesh::{Init, Node};
    /// # async fn start() -> Result<(), portmesh::StartError> {
    /// let node = Node::from_profile(Some("worker"))
    ///     .defaults(|node| node.seed("seed.example.net").listen("*")) // where the configuration says nothing
    ///     .forced(|node| node.cluster("shop")) // whatever it says
    ///     .spawnable("count.words", async |cx: &Init, (): ()| { /* … */ }) // services = ["count.words"] starts it
    ///     .start()
    ///     .await?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "configure")]
    pub fn from_profile(profile: Option<&str>) -> ProfileBuilder {
        ProfileBuilder::new(profile)
    }
}

impl ProfileBuilder {
    pub(crate) fn new(profile: Option<&str>) -> Self {
        ProfileBuilder {
            profile: profile.map(str::to_owned),
            config: None,
            environment: None,
            defaults: NodeBuilder::new(String::new()),
            forced: NodeBuilder::new(String::new()),
        }
    }

    /// Reads this file in place of the system's and the user's. It must be there.
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config = Some(path.into());
        self
    }

    /// Takes these for the environment, in place of the variables of the process: names and values.
    pub fn variables<N: Into<String>, V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.environment = Some(variables.into_iter().collect());
        self
    }

    /// What holds where neither a file nor the environment says otherwise, set at the builder that the closure gets and
    /// gives back. The functions that are registered there are what `services` can name.
    pub fn defaults(mut self, set: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Self {
        self.defaults = set(self.defaults);
        self
    }

    /// What holds whatever a file or the environment says. Of the two ways to prove itself, identity and secret, a node that
    /// is forced to one has no other.
    pub fn forced(mut self, set: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Self {
        self.forced = set(self.forced);
        self
    }

    /// [`NodeBuilder::spawnable`], in one word less.
    pub fn spawnable<A, F>(self, name: impl Into<String>, init: F) -> Self
    where
        A: FromMessage + Send + 'static,
        F: for<'a> InitFn<'a, A> + Send + Sync + 'static,
    {
        self.defaults(|builder| builder.spawnable(name, init))
    }

    /// Reads the configuration, and starts the node with its services.
    ///
    /// # Errors
    /// [`StartError::Config`] where the configuration is wrong, with file, line and column; otherwise as for
    /// [`NodeBuilder::start`]. Nothing is left running then.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn start(self) -> Result<Node, StartError> {
        self.builder()?.start().await
    }

    /// Reads the configuration, and describes the node that [`start`](Self::start) would start.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn builder(self) -> Result<NodeBuilder, ConfigError> {
        let environment = self.environment.unwrap_or_else(Environment::of_process);
        let layers = Layers::read(Places::of(self.config.as_deref(), &environment))?;
        let (profile, name) = match (self.profile, environment.get(PROFILE_VARIABLE)) {
            (Some(profile), _) => (profile.clone(), profile),
            (None, Some(profile)) => {
                layers.require(profile)?;
                (profile.to_owned(), profile.to_owned())
            }
            // a name that fits into an ID
            (None, None) => (host_profile(), "%n".to_owned()),
        };
        let settings = layers.resolve(Some(&profile), &environment, Vec::new())?;
        let builder = with_secret(&settings, &environment, self.defaults)?;
        let builder = apply(&settings, builder, secrets_of_file)?;
        let names_itself = settings.get("id").is_none();
        let mut builder = over(builder, self.forced, names_itself);
        if builder.name.is_empty() {
            builder.name = match &builder.identity {
                Some(identity) => identity.node().to_string(),
                None => format!("{name}/%u"),
            };
        }
        Ok(builder)
    }
}

/// With the secret of the environment, where that is how the node is to prove itself.
fn with_secret(
    settings: &Settings,
    environment: &Environment,
    mut builder: NodeBuilder,
) -> Result<NodeBuilder, ConfigError> {
    let Some(text) = environment.get(SECRET_VARIABLE) else {
        return Ok(builder);
    };
    if PROOFS.iter().any(|key| settings.get(key).is_some()) {
        return Ok(builder);
    }
    let cluster = builder.cluster.as_deref().unwrap_or(DEFAULT_CLUSTER);
    let secrets = Secrets::from_text(text, SECRET_VARIABLE, passphrases(settings, cluster));
    builder.secrets = Some(secrets.map_err(|error| ConfigError::Unusable {
        key: "secret",
        origin: ConfigOrigin::Variable(SECRET_VARIABLE.to_owned()),
        source: error.into(),
    })?);
    builder.identity = None;
    builder.sources.identity = None;
    builder.sources.secrets = None;
    Ok(builder)
}

/// What is set in the second one replaces what the first has of it. `named`: a certificate of the second names the node.
fn over(mut builder: NodeBuilder, forced: NodeBuilder, named: bool) -> NodeBuilder {
    let NodeBuilder {
        name,
        trusted,
        always,
        identity,
        secrets,
        sources,
        stamps,
        crls,
        state,
        cluster,
        transport,
        listen,
        advertise,
        seeds,
        global,
        addresses,
        formats,
        limits,
        policy,
        functions,
        services,
        node,
    } = forced;
    if identity.is_some() || secrets.is_some() {
        if let Some(identity) = identity.as_ref().filter(|_| named) {
            builder.name = identity.node().to_string();
        }
        builder.identity = identity;
        builder.secrets = secrets;
        builder.sources.identity = sources.identity.clone();
        builder.sources.secrets = sources.secrets.clone();
    }
    if !crls.is_empty() {
        builder.crls = crls;
        builder.sources.crls = sources.crls;
    }
    builder.stamps.extend(stamps);
    if !name.is_empty() {
        builder.name = name;
    }
    if state != State::None {
        builder.state = state;
    }
    replace(&mut builder.trusted, trusted);
    replace(&mut builder.listen, listen);
    replace(&mut builder.advertise, advertise);
    replace(&mut builder.seeds, seeds);
    replace(&mut builder.formats, formats);
    replace(&mut builder.services, services);
    if !addresses.is_empty() {
        builder.addresses = addresses;
    }
    builder.cluster = cluster.or(builder.cluster);
    builder.transport = transport.or(builder.transport);
    builder.global = global.or(builder.global);
    builder.limits = limits.or(builder.limits);
    if policy.is_some() {
        builder.policy = policy;
        builder.sources.policy = sources.policy;
    }
    builder.always.extend(always);
    builder.functions.extend(functions);
    builder.node.extend(node);
    builder
}

fn replace<T>(list: &mut Vec<T>, with: Vec<T>) {
    if !with.is_empty() {
        *list = with;
    }
}

impl fmt::Debug for ProfileBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProfileBuilder")
            .field("profile", &self.profile)
            .field("config", &self.config)
            .field("defaults", &self.defaults)
            .field("forced", &self.forced)
            .finish_non_exhaustive()
    }
}
