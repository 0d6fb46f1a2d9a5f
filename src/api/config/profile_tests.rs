//! Nodes from profiles: what they are called, how much the program's word counts, services.
#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{error::ConfigError, profile::ProfileBuilder};
use crate::{
    CertificateAuthority, Context, Init, Node, PortId, Secret, StartError,
    api::builder::NodeBuilder, proto::naming,
};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(config: &str) -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        std::fs::write(folder.path("config.toml"), config).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// With this file and these variables and nothing of who runs the tests.
    fn profile(&self, name: Option<&str>, variables: &[(&str, &str)]) -> ProfileBuilder {
        Node::from_profile(name)
            .config_file(self.path("config.toml"))
            .variables(variables.iter().copied())
    }

    fn built(&self, name: Option<&str>) -> NodeBuilder {
        self.profile(name, &[]).builder().unwrap()
    }
}

#[test]
fn a_node_is_called_by_its_profile_and_that_by_the_host_where_none_is_named() {
    let folder = Folder::new("[profile.w]\n[profile.fixed]\nid = \"fixed/a\"\n");
    let name = |profile, variables: &[(&str, &str)]| {
        folder.profile(profile, variables).builder().unwrap().name
    };
    assert_eq!(name(Some("w"), &[]), "w/%u");
    assert_eq!(name(Some("fixed"), &[]), "fixed/a");
    assert_eq!(name(Some("in-no-file"), &[]), "in-no-file/%u");
    assert_eq!(name(None, &[]), "%n/%u");
    assert_eq!(name(None, &[("PORTMESH_PROFILE", "fixed")]), "fixed/a");
    assert_eq!(name(Some("w"), &[("PORTMESH_PROFILE", "fixed")]), "w/%u");
    assert_eq!(name(Some("fixed"), &[("PORTMESH_ID", "other")]), "other");
    // who sets the variable has a profile in mind
    let missing = folder
        .profile(None, &[("PORTMESH_PROFILE", "fixd")])
        .builder();
    let error = missing.unwrap_err();
    assert!(matches!(error, ConfigError::NoProfile { .. }), "{error}");
    assert!(
        error.to_string().ends_with("did you mean fixed?"),
        "{error}"
    );

    let program = folder
        .profile(Some("w"), &[])
        .defaults(|node| node.name("mine"));
    assert_eq!(program.builder().unwrap().name, "mine");
    let program = folder
        .profile(Some("fixed"), &[])
        .defaults(|node| node.name("mine"));
    assert_eq!(program.builder().unwrap().name, "fixed/a");
    let program = folder
        .profile(Some("fixed"), &[])
        .forced(|node| node.name("mine"));
    assert_eq!(program.builder().unwrap().name, "mine");
}

#[test]
fn the_profile_of_the_host_is_taken_where_none_is_named() {
    let host = super::host_profile();
    let folder = Folder::new(&format!(
        "[profile.\"{host}\"]\ncluster = \"of-the-host\"\n"
    ));
    assert_eq!(folder.built(None).cluster.as_deref(), Some("of-the-host"));
    assert_eq!(folder.built(Some("other")).cluster, None);
}

#[test]
fn what_the_program_says_is_a_default_unless_it_is_forced() {
    let folder = Folder::new(
        "[profile.w]\nseed = [\"configured\"]\ncluster = \"configured\"\nglobal = true\naddress = \"a=configured\"\n\
         format = \"json\"\ntrust_global = \"configured\"\nadvertise = \"configured\"\nstate = \"configured\"\n\
         [profile.w.limits]\ndepth_max = 7\n",
    );
    let say = |node: NodeBuilder| {
        node.seed("said:1")
            .seed("said:2")
            .cluster("said")
            .global(false)
            .address("b".parse().unwrap(), "said")
            .format(crate::Format::cbor())
            .trust_global("said".parse().unwrap())
            .advertise("said")
            .unpinned()
            .limits(crate::Limits {
                depth_max: 9,
                values_max: 9,
                ..Default::default()
            })
            .listen("said")
    };
    let seen = |node: NodeBuilder| {
        let limits = node.limits.unwrap_or_default();
        format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {} {} {:?}",
            node.seeds,
            node.cluster.unwrap(),
            node.global.unwrap(),
            node.addresses
                .keys()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            node.formats
                .iter()
                .map(|format| format.name().to_owned())
                .collect::<Vec<_>>(),
            node.trusted
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            node.advertise,
            limits.depth_max,
            limits.values_max,
            node.listen,
        )
    };
    let profile = || folder.profile(Some("w"), &[]);
    let configured = r#"["configured"] "configured" true ["a"] ["json"] ["configured"] ["configured"] 7 9 ["said"]"#;
    let said = r#"["said:1", "said:2"] "said" false ["b"] ["cbor"] ["said"] ["said"] 9 9 ["said"]"#;
    assert_eq!(seen(profile().defaults(say).builder().unwrap()), configured);
    assert_eq!(seen(profile().forced(say).builder().unwrap()), said);
    let both = profile()
        .defaults(|node| node.listen("default"))
        .forced(|node| node.cluster("forced"));
    let both = both.builder().unwrap();
    assert_eq!(
        (both.listen, both.cluster.unwrap()),
        (vec!["default".to_owned()], "forced".to_owned())
    );
    assert_eq!(both.seeds, ["configured"]);
    // a profile that says nothing leaves all as it was said
    assert_eq!(
        seen(
            folder
                .profile(Some("empty"), &[])
                .defaults(say)
                .builder()
                .unwrap()
        ),
        said
    );
}

#[test]
fn a_node_proves_itself_as_the_profile_says_and_else_as_the_program_does() {
    let folder = Folder::new(
        "[profile.c]\nidentity = \"c.pem\"\n[profile.s]\nsecret_file = \"secret\"\n[profile.n]\nidentity = \"no.pem\"\n\
         [profile.p]\nsecret_file = \"pass\"\nallow_passphrase = true\n",
    );
    let ca = CertificateAuthority::create("shop").unwrap();
    let issue = |node: &str| ca.issue(&node.parse().unwrap()).unwrap();
    issue("certified")
        .save(folder.path("c.pem"), false)
        .unwrap();
    issue("mine").save(folder.path("mine.pem"), false).unwrap();
    Secret::generate()
        .unwrap()
        .to_file(folder.path("secret"), false)
        .unwrap();
    let mine = |node: NodeBuilder| {
        node.identity(crate::Identity::from_pem_file(folder.path("mine.pem")).unwrap())
    };
    let seen = |profile: ProfileBuilder| {
        let node = profile.builder().unwrap();
        (node.name, node.identity.is_some(), node.secrets.is_some())
    };
    let named = |name: &str| name.to_owned();
    let profile = |name| folder.profile(Some(name), &[]);
    assert_eq!(seen(profile("c")), (named("certified"), true, false));
    assert_eq!(seen(profile("s")), (named("s/%u"), false, true));
    assert_eq!(
        seen(profile("none").defaults(mine)),
        (named("mine"), true, false)
    );
    assert_eq!(
        seen(profile("c").defaults(mine)),
        (named("certified"), true, false)
    );
    assert_eq!(
        seen(profile("s").defaults(mine)),
        (named("s/%u"), false, true)
    );
    assert_eq!(
        seen(profile("c").forced(mine)),
        (named("mine"), true, false)
    );
    assert_eq!(
        seen(profile("s").forced(mine)),
        (named("mine"), true, false)
    );
    let text = Secret::generate().unwrap().to_text();
    let by_variable = folder
        .profile(Some("c"), &[("PORTMESH_SECRET", &text)])
        .defaults(mine);
    assert_eq!(seen(by_variable), (named("c/%u"), false, true));

    let error = profile("n").builder().unwrap_err().to_string();
    let place = format!(
        "identity, from {}:6:1",
        folder.path("config.toml").display()
    );
    assert_eq!(error, place);
    let wrong = [("PORTMESH_SECRET", "hunter2")];
    let error = folder.profile(None, &wrong).builder().unwrap_err();
    let error = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert!(
        error.contains("PORTMESH_SECRET") && !error.contains("hunter2"),
        "{error}"
    );
}

async fn init_panics(_: &Init, (): ()) {
    panic!("no");
}

async fn init_sum(cx: &Init, (sum,): (u64,)) {
    cx.port()
        .state(sum)
        .on(
            "get",
            async |sum: &mut u64, cx: &Context, (reply,): (PortId,)| cx.send(&reply, *sum),
        )
        .open();
}

#[tokio::test]
async fn services_run_when_the_node_has_started() {
    let folder = Folder::new("[profile.w]\nservices = [\"count\", [\"count\", 41], \"done\"]\n");
    let sum = Arc::new(AtomicUsize::new(0));
    let seen = sum.clone();
    let node = folder
        .profile(Some("w"), &[])
        .spawnable("count", move |_: &Init, crate::Raw(args): crate::Raw| {
            let number = args.first().map_or("1".to_owned(), ToString::to_string);
            seen.fetch_add(number.parse().unwrap(), Ordering::SeqCst);
            std::future::ready(())
        })
        // one that has its work done
        .spawnable("done", async |cx: &Init, (): ()| cx.stop())
        .start()
        .await
        .unwrap();
    assert_eq!(sum.load(Ordering::SeqCst), 42);
    assert!(naming::has_random_part(node.id()) && node.id().as_str().starts_with("w/"));
    // those of the program are defaults too
    let other = folder
        .profile(Some("none"), &[])
        .forced(|node| node.spawnable("sum", init_sum).service("sum", (5,)))
        .start()
        .await
        .unwrap();
    assert!(other.stats().ports >= 2);
    other.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_service_that_does_not_start_is_a_node_that_does_not_start() {
    let folder = Folder::new(
        "[profile.unknown]\nservices = [\"sums\"]\n[profile.args]\nservices = [[\"sum\", \"x\"]]\n\
         [profile.fails]\nservices = [\"fails\"]\n[profile.panics]\nservices = [\"panics\"]\n",
    );
    for (profile, text) in [
        (
            "unknown",
            "there is no service sums: this program registers fails, panics, sum",
        ),
        (
            "args",
            "the service sum did not start: die: the arguments are not what the function takes",
        ),
        (
            "fails",
            "the service fails did not start: die: out of order",
        ),
        ("panics", "the service panics did not start: die: "),
    ] {
        let started = folder
            .profile(Some(profile), &[])
            .spawnable("sum", init_sum)
            .spawnable("fails", async |_: &Init, (): ()| {
                Err::<(), _>("out of order")
            })
            .spawnable("panics", init_panics)
            .start()
            .await;
        let error = started.unwrap_err();
        assert!(error.to_string().starts_with(text), "{error}");
    }
    let error = Node::builder("a")
        .service("x", ())
        .start()
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no service x: this program registers no functions"
    );
    let broken = folder.path("broken.toml");
    std::fs::write(&broken, "[profile.a\n").unwrap();
    let started = Node::from_profile(None)
        .variables([("HOME", "/none")])
        .config_file(&broken);
    let error = started.start().await.unwrap_err();
    assert!(
        matches!(error, StartError::Config(ConfigError::Wrong(_))),
        "{error}"
    );
    let place = format!("{}:1:", Path::new(&broken).display());
    assert!(error.to_string().starts_with(&place), "{error}");
}
